"""``profiles sync``: the function ``sync_profiles`` on demand, with your own AWS settings."""

import json
from typing import Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack

INCOMPLETE = 1
_FOREVER_MS = 86_400_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    profiles = typer.Typer(help="Application inference profiles in Bedrock.", rich_markup_mode=None)
    profiles.command(
        "sync",
        short_help="Follow profiles and their tags in Bedrock into the directory.",
        help="Follow application inference profiles and their tags in Bedrock into the directory, as the function "
        "sync_profiles does each hour. A mapping that a person made is never changed by a tag.",
        epilog="Example: bedrock-meter profiles sync --stack bedrock-meter",
    )(sync)
    app.add_typer(profiles, name="profiles")


def sync(
    stack: Stack = LOCAL,
    tag_key: Annotated[str, typer.Option(metavar="KEY", help="Key of the tag that names the tenant.")] = "tenantId",
    by: By = None,
    output: Output = "table",
) -> None:
    """Follow profiles and tags."""
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.reattribute import point_to_reattribution
    from bedrock_meter.storage.synchronisation import service_quota, synchroniser
    from bedrock_meter.tenants.synchronisation import MAPPED, MOVED, Synchronised, fullness_percent

    report = Synchronised()
    with Progress() as progress:
        tables, who = tables_of(outputs_of_stack(stack)), caller(by)
        work = synchroniser(tables, tag_key=tag_key, here=who.here, by=who.by)
        work.run(report, lambda: _FOREVER_MS, progress.tell)
        maximum, why = service_quota().maximum()
        progress.pause()
    document: dict[str, Any] = {
        "profiles": report.listed,
        "service_quota": maximum,
        "service_quota_unknown_because": why or None,
        "used_percent": fullness_percent(report.listed or 0, maximum),
        "counts": dict(sorted(report.counts.items())),
        "findings": report.findings,
        "failures": report.failures,
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        for finding in report.findings:
            print(finding)
        for profile, problem in report.failures.items():
            print(f"{profile}: {problem}")
        counts = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in sorted(report.counts.items()))
        room = f"of {maximum:,} that the account may have" if maximum is not None else f"service quota unknown: {why}"
        print(f"{report.listed:,} profiles ({room}): {counts or 'nothing to do'}")
    if report.counts.keys() & {MAPPED, MOVED}:
        point_to_reattribution(stack)
    if report.failures:
        raise typer.Exit(INCOMPLETE)
