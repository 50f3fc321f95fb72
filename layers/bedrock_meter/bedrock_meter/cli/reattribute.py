"""``reattribute``: usage that nobody owned when it was recorded, moved to the tenant that owns it today."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, tables_of
from bedrock_meter.cli.options import Output, Stack
from bedrock_meter.cli.terminal import console
from bedrock_meter.money import usd_text

if TYPE_CHECKING:
    from bedrock_meter.usage.reattribution import Reattributed

NOT_ALL = 1
"""Exit code: entries still wait that other writers kept us from; run it again."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Move usage without a tenant to the tenant that owns it today.",
        help="Move usage that was recorded as unattributed to the tenant that owns its profile, or its caller, at the "
        "time of the call, as they are mapped today. Each entry is moved once, in one transaction, whatever runs "
        "beside it; stopped or started twice it goes on or finds nothing.\n\nPROFILE: ids or ARNs, or models, as "
        "`Usage Unattributed` names them. On DynamoDB about 9 write units an entry.",
        epilog="Example: bedrock-meter reattribute --all --dry-run --stack bedrock-meter",
    )(reattribute)


def reattribute(
    profiles: Annotated[
        list[str] | None, typer.Argument(metavar="[PROFILE]...", help="What to look at.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Look at all that waits.")] = False,
    stack: Stack = LOCAL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be moved.")] = False,
    output: Output = "table",
) -> None:
    """Move usage without a tenant."""
    import random
    import time

    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.repairing import repairing
    from bedrock_meter.clock import now_ms
    from bedrock_meter.invocations.identifiers import last_segment
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.pricing.wiring import rater_for
    from bedrock_meter.storage.directory import DynamoDBDirectoryStore
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.recording import DynamoDBRecordingStore
    from bedrock_meter.storage.worklist import DynamoDBWorklist
    from bedrock_meter.tenants.directory import CachedDirectory
    from bedrock_meter.usage.reattribution import Reattributed, Reattribution

    if bool(profiles) == everything:
        raise BadInput("name profiles, or say --all")
    with Progress() as progress:
        tables, dynamodb = tables_of(outputs_of_stack(stack)), client("dynamodb")
        worklist = DynamoDBWorklist(dynamodb, tables)
        chosen = [last_segment(one) for one in profiles or ()] or worklist.profiles()
        report = Reattributed()
        with repairing("reattribute", dynamodb, tables, dry_run=dry_run) as check:
            work = Reattribution(
                worklist,
                DynamoDBRecordingStore(dynamodb, tables),
                CachedDirectory(DynamoDBDirectoryStore(dynamodb, tables)),
                rater_for(dynamodb, tables, now_ms).current(),
                clock=now_ms,
                sleep_ms=lambda duration_ms: time.sleep(duration_ms / 1000),
                uniform=random.random,
                tell=progress.tell,
                check=check,
            )
            try:
                work.run(chosen, report, dry_run=dry_run)
            finally:
                progress.pause()
                document = document_of(report, dry_run=dry_run)
                if output == "json":
                    print(json.dumps(document, indent=2))
                else:
                    _print_table(document)
    if report.refused:
        raise typer.Exit(NOT_ALL)


def document_of(report: "Reattributed", *, dry_run: bool) -> dict[str, Any]:
    """Return the result as the command's JSON document."""
    return {
        "mode": "dry-run" if dry_run else "moved",
        "looked_at": report.looked_at,
        "moved": [
            {
                "profile": profile,
                "tenant": tenant,
                "rule": rule,
                "entries": one.entries,
                "requests": one.sums.requests,
                "errors": one.sums.errors,
                "input_tokens": one.sums.tokens.input,
                "output_tokens": one.sums.tokens.output,
                "cache_read_tokens": one.sums.tokens.cache_read,
                "cache_write_tokens": one.sums.tokens.cache_write,
                "unpriced": one.sums.unpriced,
                "cost_usd": usd_text(one.sums.cost_nano_usd),
            }
            for (profile, tenant, rule), one in sorted(report.moved.items())
        ],
        "left": dict(sorted(report.left.items())),
        "elsewhere": report.elsewhere,
        "expired": report.expired,
        "refused": report.refused,
    }


def _print_table(document: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    if document["moved"]:
        table = Table("profile", "tenant", "rule", box=box.SIMPLE_HEAD)
        for name in (
            "entries",
            "requests",
            "errors",
            "input",
            "output",
            "cache read",
            "cache write",
            "unpriced",
            "cost USD",
        ):
            table.add_column(name, justify="right")
        for row in document["moved"]:
            values = list(row.values())
            # Profiles are named by callers: nothing in them is a mark for the table.
            table.add_row(*(Text(value) for value in values[:3]), *(f"{value:,}" for value in values[3:-1]), values[-1])
        out.print(table)
    would = "would be moved" if document["mode"] == "dry-run" else "moved"
    entries = sum(row["entries"] for row in document["moved"])
    out.print(
        f"{document['looked_at']:,} entries without a tenant: {entries:,} {would},"
        f" {sum(document['left'].values()):,} belong to nobody today either, {document['elsewhere']:,} were moved by"
        f" others, {document['expired']:,} are past their retention, {document['refused']:,} still"
        f" wait{': run it again' if document['refused'] else ''}.",
        soft_wrap=True,
    )


def point_to_reattribution(stack: str) -> None:
    """Say on stderr, after something was mapped, how usage from before comes to its tenant."""
    said = f"bedrock-meter reattribute --all --dry-run --stack {stack}"
    print(f"usage that was recorded without a tenant before: {said}", file=sys.stderr)
