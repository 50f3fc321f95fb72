"""``rebuild``: roll-ups and gauges against the ledger, and put right on demand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, retention_ms, tables_of

if TYPE_CHECKING:
    from bedrock_meter.reconciliation.rebuild import Repaired, Report
    from bedrock_meter.usage.rollup import Sums

DIFFERENT = 3
"""Exit code: something differs, or could not be put right now."""

SEGMENTS = 4
"""Parts of the ledger that are read side by side: parsing, not DynamoDB, is what takes the time from there on."""

_WIDTH_WITHOUT_TERMINAL = 140
_COLUMNS = ("requests", "errors", "input", "output", "cache_read", "cache_write", "cost_usd", "unpriced")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Compare roll-ups and gauges with the ledger, and put them right.",
        help="Add the ledger up and compare it with the roll-ups and with what every limit reads. Exit code 3 when "
        "anything differs.\n\nReads the whole ledger, consistently: on DynamoDB about 110,000 read units for each "
        "million entries, and twice that where something has to be put right.",
        epilog="Example: bedrock-meter rebuild --stack bedrock-meter",
    )(rebuild)


def rebuild(
    stack: Annotated[
        str,
        typer.Option(metavar="NAME", help="CloudFormation stack, with your AWS settings; local: the one `up` serves."),
    ] = LOCAL,
    tenant: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Look at this tenant only; can be repeated.")
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place/--compare-only",
            help="Put right what differs, while usage goes on being recorded; or write nothing.",
        ),
    ] = False,
    into_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rebuilt roll-ups to this file.", show_default=False)
    ] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help="Form of the result on stdout.")] = "table",
) -> None:
    """Compare roll-ups and gauges with the ledger, and put them right."""
    from uuid import uuid4

    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.repairing import Check, repairing, undisturbed
    from bedrock_meter.clock import now_ms
    from bedrock_meter.reconciliation.rebuild import Rebuild, Repaired
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore

    with Progress() as progress:
        outputs = outputs_of_stack(stack)
        tables, dynamodb = tables_of(outputs), client("dynamodb")
        store = DynamoDBReconciliationStore(dynamodb, tables)

        def work(check: Check = lambda: None) -> Rebuild:
            return Rebuild(
                store,
                retention_ms=retention_ms(outputs),
                clock=now_ms,
                new_id=lambda: uuid4().hex,
                tell=progress.tell,
                segments=SEGMENTS,
                check=check,
            )

        if in_place:
            with repairing("rebuild --in-place", dynamodb, tables) as check:
                result = work(check).put_right(tenant)
        else:
            with undisturbed(dynamodb, tables):
                result = Repaired(work().compare(tenant))
        document = {"mode": "in-place" if in_place else "compare-only", **document_of(result, store.units)}
        if into_json is not None:
            into_json.write_text(json.dumps(rebuilt_document(result.found), indent=1) + "\n", encoding="utf-8")
        progress.pause()
        if output == "json":
            print(json.dumps(document, indent=2))
        else:
            _print_tables(document)
    if result.refused or (result.found.differing and not in_place):
        raise typer.Exit(DIFFERENT)


def document_of(result: "Repaired", units: float) -> dict[str, Any]:
    """Return the result as the command's JSON document."""
    from bedrock_meter.clock import iso

    found = result.found
    compared = [found.tenants[name] for name in sorted(found.tenants)]
    return {
        "at": iso(found.at_ms),
        "ledger_entries": found.entries,
        "read_units": round(units),
        "tenants": len(compared),
        "rows": sum(one.rows for one in compared),
        "limits": sum(one.limits for one in compared),
        "moving": sum(one.moving for one in compared),
        "seeded": _named((one.tenant, one.seeded) for one in compared),
        "partial": _named((one.tenant, one.partial) for one in compared),
        "row_differences": [
            {"tenant": one.tenant, "row": row.name, "held": _columns(row.held), "rebuilt": _columns(row.rebuilt)}
            for one in compared
            for row in one.row_differences
        ],
        "limit_differences": [
            {
                "tenant": one.tenant,
                "limit": limit.installed.name,
                "held": limit.installed.meter.shown(limit.held),
                "rebuilt": limit.installed.meter.shown(limit.rebuilt),
                "buckets": dict(limit.corrections),
            }
            for one in compared
            for limit in one.limit_differences
        ],
        "corrected_rows": result.rows,
        "corrected_limits": result.limits,
        "refused": result.refused,
    }


def rebuilt_document(found: "Report") -> dict[str, Any]:
    """Return what the ledger adds up to: row by row, by tenant."""
    return {
        tenant: {name: _columns(sums) for name, sums in sorted(rows.items())}
        for tenant, rows in sorted(found.rebuilt.items())
    }


def _columns(sums: "Sums") -> dict[str, int | str]:
    from msgspec.structs import asdict as fields_of

    from bedrock_meter.money import usd_text

    money: dict[str, int | str] = {"cost_usd": usd_text(sums.cost_nano_usd), "unpriced": sums.unpriced}
    return {"requests": sums.requests, "errors": sums.errors, **fields_of(sums.tokens), **money}


def _shown(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _named(limits: Iterable[tuple[str, Sequence[str]]]) -> list[dict[str, str]]:
    return [{"tenant": tenant, "limit": name} for tenant, names in limits for name in names]


def _print_tables(document: Mapping[str, Any]) -> None:
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(highlight=False, width=width)
    if document["row_differences"]:
        table = Table("tenant", "row", "counted", title="Roll-ups that differ", box=box.SIMPLE_HEAD, title_style="bold")
        for name in ("held", "ledger"):
            table.add_column(name, justify="right")
        for row in document["row_differences"]:
            for column in _COLUMNS:
                held, rebuilt = row["held"][column], row["rebuilt"][column]
                if held != rebuilt:
                    table.add_row(row["tenant"], row["row"], column, _shown(held), _shown(rebuilt))
        console.print(table)
    if document["limit_differences"]:
        table = Table("tenant", "limit", title="Limits that differ", box=box.SIMPLE_HEAD, title_style="bold")
        for name in ("reads", "ledger"):
            table.add_column(name, justify="right")
        for row in document["limit_differences"]:
            table.add_row(row["tenant"], row["limit"], _shown(row["held"]), _shown(row["rebuilt"]))
        console.print(table)
    for tenant, reasons in document["refused"].items():
        for reason in reasons:
            console.print(f"{tenant}: {reason}", markup=False, soft_wrap=True)
    differing = len(document["row_differences"]) + len(document["limit_differences"])
    console.print(
        f"{document['ledger_entries']:,} ledger entries; {document['rows']:,} roll-ups and {document['limits']:,}"
        f" limits of {document['tenants']:,} tenants compared: {differing:,} differ,"
        f" {document['moving']:,} moved meanwhile. Corrected {document['corrected_rows']:,} roll-ups and"
        f" {document['corrected_limits']:,} limits. {document['read_units']:,} read units.",
        soft_wrap=True,
    )
