"""``prices list``, ``show``, ``explain``, ``apply``, ``overrides``: what calls cost, why, and your own prices."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bedrock_meter.cli.deployed import outputs_of_stack, tables_of
from bedrock_meter.cli.options import Output
from bedrock_meter.cli.price_tables import (
    in_words,
    like,
    override_rows,
    reckoning_document,
    reckoning_lines,
    usd_of,
)
from bedrock_meter.cli.terminal import print_table

if TYPE_CHECKING:
    from bedrock_meter.pricing.overrides import Override
    from bedrock_meter.storage.prices import DynamoDBOverrideStore

Model = Annotated[str, typer.Argument(help="Base model, or a system profile, as id or ARN.", show_default=False)]
Region = Annotated[str, typer.Option(metavar="NAME", help="Region from which the call is made.")]
Routing = Annotated[
    Literal["in-region", "geo", "global"] | None,
    typer.Option(help="How the call is routed; as the model's prefix says, by default.", show_default=False),
]
Tier = Annotated[
    str | None, typer.Option(metavar="TIER", help="Service tier: default, flex, priority.", show_default=False)
]
Batch = Annotated[bool, typer.Option("--batch/--on-demand", help="A row of a batch job, or a call.")]
At = Annotated[
    str | None, typer.Option(metavar="ISO", help="A day (UTC) or an instant; now, by default.", show_default=False)
]
Tenant = Annotated[str, typer.Option(metavar="ID", help="Tenant that makes the call, for overrides.")]
Profile = Annotated[str, typer.Option(metavar="ID", help="Profile of the call, for overrides.")]
Stack = Annotated[str, typer.Option(metavar="NAME", help="CloudFormation stack; local: the one `up` serves.")]
SomeStack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        metavar="NAME",
        help="Use the overrides of this CloudFormation stack; local: the one `up` serves. None, by default.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    prices = typer.Typer(help="What calls cost, why, and the operator's own prices.", rich_markup_mode=None)
    prices.command(
        "list",
        short_help="List the models of the price book.",
        help="List the models of the price book, with the default prices of calls from a Region.",
        epilog="Example: bedrock-meter prices list 'anthropic.*' --region eu-west-1",
    )(list_models)
    prices.command(
        "show",
        short_help="Show what one model costs.",
        help="Show what one model costs: US dollars per million tokens of each kind, or for one image or request.",
        epilog="Example: bedrock-meter prices show anthropic.claude-sonnet-4-6 --routing global",
    )(show_model)
    prices.command(
        "explain",
        short_help="Explain the cost of one call, line by line.",
        help="Explain the cost of one call, line by line, as the recorder rates it.",
        epilog="Example: bedrock-meter prices explain us.amazon.nova-pro-v1:0 --input-tokens 1000 --output-tokens 200",
    )(explain_call)
    prices.command(
        "apply",
        short_help="Load a prices file into a deployed stack.",
        help="Load a prices file into a deployed stack: your prices, markups and discounts. What the file no longer "
        "holds ends. Can be repeated: the same file changes nothing.",
        epilog="Example: bedrock-meter prices apply prices.yaml --stack bedrock-meter",
    )(apply_file)
    prices.command(
        "overrides",
        short_help="Show a stack's own prices, and who changed them.",
        help="Show the prices, markups and discounts that a stack holds, past ones included, and who changed them.",
        epilog="Example: bedrock-meter prices overrides --stack bedrock-meter",
    )(show_overrides)
    app.add_typer(prices, name="prices")


def list_models(
    pattern: Annotated[str, typer.Argument(help="Only models like this, for example 'anthropic.*'.")] = "*",
    region: Region = "us-east-1",
    at: At = None,
    output: Output = "table",
) -> None:
    """List models."""
    from fnmatch import fnmatchcase

    from bedrock_meter.pricing.book import load_book
    from bedrock_meter.pricing.models import GLOBAL, IN_REGION, scopes_of

    at_ms = _instant_ms(at)
    book = load_book()
    rows: list[dict[str, Any]] = []
    for model in book.cards:
        if fnmatchcase(model, pattern):
            row: dict[str, Any] = {"model": model}
            for routing, name in ((IN_REGION, "regional"), (GLOBAL, "global")):
                found = book.find(model, scopes_of(region, routing, ""), at_ms)
                row[name] = usd_of(found[1].tiers.get("default", {})) if found else None
            rows.append(row)
    if output == "json":
        print(json.dumps({"version": book.version, "region": region, "models": rows}, indent=2))
        return
    print_table([{key: in_words(value) for key, value in row.items()} for row in rows], f"book {book.version}")


def show_model(
    model: Model,
    region: Region = "us-east-1",
    routing: Routing = None,
    tier: Tier = None,
    batch: Batch = False,
    at: At = None,
    output: Output = "table",
) -> None:
    """Show one model.

    Raises:
        CommandFailed: The book has no prices for it.
    """
    from bedrock_meter.local.failures import CommandFailed
    from bedrock_meter.pricing.book import load_book
    from bedrock_meter.pricing.models import base_model, routing_of, scopes_of
    from bedrock_meter.pricing.weights import weights_of

    book = load_book()
    named = base_model(model)
    decided = routing or routing_of(named.prefix)
    found = book.find(named.model, scopes_of(region, decided, named.prefix), _instant_ms(at))
    if found is None:
        raise CommandFailed(f"no price for {named.model}, {decided}, from {region}{like(named.model, book.cards)}")
    scope, card = found
    wanted = "batch" if batch else tier
    document = {
        "model": named.model,
        "region": region,
        "routing": decided,
        "card": scope,
        "version": book.version,
        "usd": {name: usd_of(prices) for name, prices in card.tiers.items() if wanted in (None, name)},
        "above_tokens": card.above or None,
        "usd_above": {name: usd_of(prices) for name, prices in card.step.items() if wanted in (None, name)},
        "assumes": list(card.assumes),
        "weights": weights_of(named.model)._asdict(),
    }
    if not document["usd"]:
        raise CommandFailed(f"no price for tier {wanted} of {named.model}; there are {', '.join(card.tiers)}")
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    rows = [{"tier": name, **usd_of(prices)} for name, prices in card.tiers.items() if wanted in (None, name)]
    rows += [
        {"tier": f"{name}, above {card.above:,} tokens", **usd_of(prices)}
        for name, prices in card.step.items()
        if wanted in (None, name)
    ]
    weights = ", ".join(f"{kind} {weight}" for kind, weight in weights_of(named.model)._asdict().items())
    print_table(
        rows,
        f"{named.model}, {decided}, from {region}: card {scope} of book {book.version}. US dollars per million tokens, "
        f"or for one image or request. Weights: {weights}.",
    )


def explain_call(
    model: Model,
    region: Region = "us-east-1",
    routing: Routing = None,
    tier: Tier = None,
    batch: Batch = False,
    at: At = None,
    input_tokens: Annotated[int, typer.Option(metavar="N", min=0, help="Input, without what the cache gave.")] = 0,
    output_tokens: Annotated[int, typer.Option(metavar="N", min=0, help="Output.")] = 0,
    cache_read_tokens: Annotated[int, typer.Option(metavar="N", min=0, help="Read from the cache.")] = 0,
    cache_write_tokens: Annotated[int, typer.Option(metavar="N", min=0, help="Written into the cache.")] = 0,
    cache_write_1h_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="How many of these live for an hour.", show_default=False),
    ] = None,
    images: Annotated[int | None, typer.Option(metavar="N", min=0, help="Images produced.", show_default=False)] = None,
    tenant: Tenant = "unattributed",
    profile: Profile = "-",
    stack: SomeStack = None,
    output: Output = "table",
) -> None:
    """Explain the cost of one call."""
    from bedrock_meter.invocations.record import TokenCounts
    from bedrock_meter.pricing.book import load_book
    from bedrock_meter.pricing.overrides import NONE
    from bedrock_meter.pricing.rating import Call, Rater

    tokens = TokenCounts(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    call = Call(
        tenant=tenant,
        profile=profile,
        model=model,
        region=region,
        routing=routing,
        event_ms=_instant_ms(at),
        tokens=tokens,
        cache_write_1h=cache_write_1h_tokens,
        tier=tier,
        images=images,
        batch=batch,
    )
    rater = Rater(load_book(), NONE if stack is None else _store(stack).read())
    reckoning = rater.reckon(call)
    if output == "json":
        print(json.dumps(reckoning_document(reckoning, rater.version), indent=2))
    else:
        for line in reckoning_lines(reckoning, rater.version):
            print(line)


def apply_file(
    file: Annotated[Path, typer.Argument(help="Prices, markups and discounts (YAML).", show_default=False)],
    stack: Stack = "local",
    output: Output = "table",
) -> None:
    """Load a prices file into a stack.

    Raises:
        CommandFailed: Somebody else changed the overrides at the same time.
    """
    from bedrock_meter.clock import iso, now_ms
    from bedrock_meter.local.failures import CommandFailed
    from bedrock_meter.pricing.file import load
    from bedrock_meter.pricing.overrides import EFFECTIVE_AFTER_MS, merged

    wanted = load(file)
    store = _store(stack)
    at_ms = now_ms()
    held = store.read()
    new = merged(held, wanted, at_ms)
    if new is not held and not store.replace(held, new, now_ms=at_ms, by=_caller()):
        raise CommandFailed("somebody else changed the overrides just now: look at them, then apply the file again")
    added = [row for row in new.rows if row not in held.rows]
    for note in _notes([row for row, _ in wanted], added, at_ms + EFFECTIVE_AFTER_MS):
        _tell(note)
    if output == "json":
        document = {"version": new.version, "changed": new is not held, "overrides": override_rows(new, None)}
        print(json.dumps(document, indent=2))
    elif new is held:
        print(f"version {held.version}: as it was")
    else:
        change = iso(at_ms + EFFECTIVE_AFTER_MS)
        print(f"version {new.version}: {len(added)} rows new or ended; without a day, from {change}")


def show_overrides(stack: Stack = "local", at: At = None, output: Output = "table") -> None:
    """Show a stack's overrides."""
    from bedrock_meter.clock import iso

    store = _store(stack)
    held = store.read()
    at_ms = _instant_ms(at)
    rows = override_rows(held, at_ms)
    changes = [
        {"version": one.version, "at": iso(one.at_ms), "by": one.by, "rows": one.rows} for one in store.changes()
    ]
    if output == "json":
        print(json.dumps({"version": held.version, "overrides": rows, "changes": changes}, indent=2))
        return
    words = [{key: in_words(value) for key, value in row.items()} for row in rows]
    print_table(words, f"version {held.version}; the most specific row counts")
    print_table(changes, f"{len(changes)} changes")


def _notes(wanted: "Sequence[Override]", added: "Sequence[Override]", change_ms: int) -> list[str]:
    """Return what a person should know about the rows just applied."""
    from bedrock_meter.pricing.book import load_book

    cards = load_book().cards
    notes = [
        f"{row.model} is not in the price book: only calls with a price of yours are priced{like(row.model, cards)}"
        for row in wanted
        if "*" not in row.model and row.model not in cards
    ]
    if any(row.from_ms < change_ms and (row.to_ms is None or row.to_ms > change_ms) for row in added):
        notes.append("rows begin in the past or within the next minute: what is recorded already keeps its cost")
    return notes


def _tell(note: str) -> None:
    import sys

    print(f"bedrock-meter: {note}", file=sys.stderr)


def _store(stack: str) -> "DynamoDBOverrideStore":
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.prices import DynamoDBOverrideStore

    tables = tables_of(outputs_of_stack(stack))
    return DynamoDBOverrideStore(client("dynamodb"), tables)


def _caller() -> str:
    """Return the ARN of who runs this; every identity may ask for its own."""
    from bedrock_meter.storage.dynamodb import client

    return str(client("sts").get_caller_identity()["Arn"])


def _instant_ms(at: str | None) -> int:
    """Read ``--at``.

    Raises:
        BadInput: It is no instant.
    """
    from bedrock_meter.clock import now_ms
    from bedrock_meter.invocations.timestamps import parse_timestamp
    from bedrock_meter.local.failures import BadInput

    if at is None:
        return now_ms()
    at_ms = parse_timestamp(at if "T" in at else f"{at}T00:00Z")
    if at_ms is None:
        raise BadInput(f"--at {at}: write a day or an instant, for example 2026-12-01")
    return at_ms
