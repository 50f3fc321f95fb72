"""``rerate``: a range of the ledger rated anew, with the prices of its event times as they are known now."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, tables_of
from bedrock_meter.cli.options import Output, Resume, Stack, Yes
from bedrock_meter.cli.terminal import console
from bedrock_meter.money import usd_text

if TYPE_CHECKING:
    from bedrock_meter.cli.rerate_position import Position, Question
    from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
    from bedrock_meter.usage.rerating import Page, Rerated, Rerating

NOT_ALL = 1
"""Exit code: entries keep their cost that other writers kept us from; run it again."""

UNITS_OF_A_COST = 6
"""Write units of an entry whose cost changes: entry, roll-up and gauge in a transaction, each under a kilobyte."""

UNITS_OF_A_NAME = 2
"""Write units of an entry whose cost stays."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Rate recorded usage anew, with the prices of its time as they are known now.",
        help="Rate the calls of a range of event times anew, with the prices that hold for their time as the book and "
        "your overrides say now, and put the difference into ledger, roll-ups and limits. Each entry is rewritten in "
        "one transaction, whatever runs beside it; stopped it goes on, twice it changes nothing.\n\nReads the whole "
        "ledger, consistently: on DynamoDB about 110,000 read units for each million entries. Writes about "
        f"{UNITS_OF_A_COST} write units for each entry whose cost changes. Says so, and asks before it writes.",
        epilog="Example: bedrock-meter rerate --from 2026-11-01T00:00Z --to 2026-12-01T00:00Z --dry-run --stack "
        "bedrock-meter",
    )(rerate)


def rerate(
    start: Annotated[str, typer.Option("--from", metavar="ISO", help="Called at or after this instant.")],
    end: Annotated[str, typer.Option("--to", metavar="ISO", help="Called before this instant.")],
    stack: Stack = LOCAL,
    tenant: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Look at this tenant only, or at unattributed; can be repeated."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Look at this model only, as entries name it; can be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show the difference.")] = False,
    yes: Yes = False,
    resume: Resume = None,
    output: Output = "table",
) -> None:
    """Rate recorded usage anew."""
    import random

    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.positions import read_range
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.repairing import repairing
    from bedrock_meter.cli.rerate_position import Position, Question, load, position_file, report_of
    from bedrock_meter.clock import now_ms, sleep_ms
    from bedrock_meter.pricing.wiring import rater_for
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
    from bedrock_meter.storage.recording import DynamoDBRecordingStore
    from bedrock_meter.usage.rerating import Rerating

    from_ms, to_ms = read_range(start, end, now_ms())
    tenants, models = sorted(set(tenant or ())), sorted(set(model or ()))
    tables, dynamodb = tables_of(outputs_of_stack(stack)), client("dynamodb")
    ledger = DynamoDBLedgerRange(dynamodb, tables, from_ms, to_ms, tenants=tenants, models=models)
    size = ledger.size()
    costs = (
        f"The ledger held about {size.entries:,} entries some hours ago at worst: reading it costs about"
        f" {size.read_units:,} read units, and writing about {UNITS_OF_A_COST} write units for each entry whose cost"
        " changes."
    )
    if not dry_run:
        confirm(f"{costs} `--dry-run` shows the difference first. Go on?", yes=yes)
    with Progress() as progress, repairing("rerate", dynamodb, tables, dry_run=dry_run) as check:
        if dry_run:
            progress.note(costs)
        rater = rater_for(dynamodb, tables, now_ms).current()
        question = Question(tables.ledger, from_ms, to_ms, tenants, models, rater.version)
        work = Rerating(
            DynamoDBRecordingStore(dynamodb, tables),
            rater,
            clock=now_ms,
            sleep_ms=sleep_ms,
            uniform=random.random,
            check=check,
        )
        file = None if dry_run else resume or position_file(stack, start, end, tenants, models)
        position = Position(question) if file is None else load(file, question, progress.note)
        report = report_of(position)
        try:
            _run(work, ledger, position, report, file, progress)
        finally:
            progress.pause()
            document = document_of(report, question, round(ledger.units), dry_run=dry_run)
            if output == "json":
                print(json.dumps(document, indent=2))
            else:
                _print_table(document)
    if report.refused:
        raise typer.Exit(NOT_ALL)


def _run(
    work: "Rerating",
    ledger: "DynamoDBLedgerRange",
    position: "Position",
    report: "Rerated",
    file: Path | None,
    progress: Any,
) -> None:
    import msgspec

    from bedrock_meter.cli.rerate_position import save

    def done(page: "Page") -> None:
        position.after = page.after
        position.report = msgspec.to_builtins(report)
        if file is not None and page.after is not None:
            save(file, position)
        progress.tell(
            f"scanned {report.scanned:,} entries of the ledger; {report.looked_at:,} of the range,"
            f" {report.rewritten:,} differ"
        )

    work.run(ledger.pages(position.after), report, dry_run=file is None, done=done)
    if file is not None:
        file.unlink(missing_ok=True)


def document_of(report: "Rerated", question: "Question", read_units: int, *, dry_run: bool) -> dict[str, Any]:
    """Return the result as the command's JSON document."""
    from bedrock_meter.clock import iso

    rows = [(tenant, model, one) for tenant, models in report.changed.items() for model, one in models.items()]
    old, new = sum(one.old_nano_usd for *_, one in rows), sum(one.new_nano_usd for *_, one in rows)
    names = sum(one.same_cost for *_, one in rows)
    return {
        "mode": "dry-run" if dry_run else "rerated",
        "from": iso(question.from_ms),
        "to": iso(question.to_ms),
        "prices": question.prices,
        "scanned": report.scanned,
        "read_units": read_units,
        "write_units": (report.rewritten - names) * UNITS_OF_A_COST + names * UNITS_OF_A_NAME,
        "looked_at": report.looked_at,
        "changed": [
            {
                "tenant": tenant,
                "model": model,
                "entries": one.entries,
                "same_cost": one.same_cost,
                "newly_priced": one.newly_priced,
                "newly_unpriced": one.newly_unpriced,
                "old_cost_usd": usd_text(one.old_nano_usd),
                "new_cost_usd": usd_text(one.new_nano_usd),
                "difference_usd": usd_text(one.new_nano_usd - one.old_nano_usd),
            }
            for tenant, model, one in sorted(rows, key=lambda row: row[:2])
        ],
        "old_cost_usd": usd_text(old),
        "new_cost_usd": usd_text(new),
        "difference_usd": usd_text(new - old),
        "same": report.same,
        "failed": report.failed,
        "expired": report.expired,
        "refused": report.refused,
    }


def _print_table(document: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    if document["changed"]:
        table = Table("tenant", "model", box=box.SIMPLE_HEAD)
        for name in ("entries", "same cost", "priced", "unpriced", "old USD", "new USD", "difference"):
            table.add_column(name, justify="right")
        for row in document["changed"]:
            # Models are named by callers: nothing in them is a mark for the table.
            values = [value if isinstance(value, str) else f"{value:,}" for value in row.values()]
            table.add_row(*(Text(value) for value in values))
        out.print(table)
    would = "would be rated anew" if document["mode"] == "dry-run" else "rated anew"
    entries = sum(row["entries"] for row in document["changed"])
    out.print(
        f"{document['looked_at']:,} calls in the range: {entries:,} {would} from {document['old_cost_usd']} to"
        f" {document['new_cost_usd']} USD ({document['difference_usd']}), {document['same']:,} are right,"
        f" {document['failed']:,} failed and cost nothing, {document['expired']:,} are past their retention,"
        f" {document['refused']:,} keep their cost{': run it again' if document['refused'] else ''}."
        f" Prices {document['prices']};"
        f" {document['scanned']:,} entries read, {document['read_units']:,} read units, about"
        f" {document['write_units']:,} write units.",
        soft_wrap=True,
    )
