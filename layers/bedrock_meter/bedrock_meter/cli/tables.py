"""The result of a replay for people: tables on stdout."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 150
_SUMS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def print_outcome(document: Mapping[str, Any], unattributed: Mapping[str, int]) -> None:
    """Print counts, usage and limits by tenant, and received events of an outcome document.

    Args:
        document: The outcome.
        unattributed: Sums of what belongs to no tenant yet; not a part of the document.
    """
    console = (
        Console(highlight=False) if sys.stdout.isatty() else Console(width=_WIDTH_WITHOUT_TERMINAL, highlight=False)
    )
    console.print(_tenants_table(document, unattributed))
    console.print(_limits_table(document))
    console.print(_events_table(document))
    console.print(
        f"{document['read']:,} records read = {document['recorded']:,} recorded + {document['duplicates']:,} duplicates"
        f" + {document['errors']:,} errors + {document['quarantined']:,} quarantined;"
        f" {document['unattributed']:,} of the recorded belong to no tenant yet.",
        soft_wrap=True,
    )


def _tenants_table(document: Mapping[str, Any], unattributed: Mapping[str, int]) -> Table:
    table = _table("Usage")
    table.add_column("tenant")
    for name in ("requests", "input", "output", "cache read", "cache write"):
        table.add_column(name, justify="right")
    for tenant, usage in document["tenants"].items():
        table.add_row(tenant, *_numbers(usage))
    if any(unattributed.values()):
        table.add_row("(no tenant yet)", *_numbers(unattributed), style="italic")
    return table


def _limits_table(document: Mapping[str, Any]) -> Table:
    table = _table("Limits")
    for name in ("tenant", "limit", "window"):
        table.add_column(name)
    for name in ("used", "max", "remaining"):
        table.add_column(name, justify="right")
    table.add_column("throttled until")
    for tenant, usage in document["tenants"].items():
        for limit in usage["limits"]:
            throttled = "" if limit["allowed"] else limit["throttled_until"] or "for ever"
            table.add_row(
                tenant,
                limit["name"],
                limit["window"] + (" hard" if limit["hard"] else ""),
                f"{limit['used']:,}",
                f"{limit['max']:,}",
                f"{limit['remaining']:,}",
                throttled,
                style="" if limit["allowed"] else "bold",
            )
    return table


def _events_table(document: Mapping[str, Any]) -> Table:
    table = _table("Events that the consumer queue received")
    for name in ("event", "tenant", "about", "event id"):
        table.add_column(name)
    for event in document["events"]:
        table.add_row(event["detail-type"], event["tenant"] or "-", _about(event["detail"]), event["id"])
    return table


def _about(detail: Mapping[str, Any]) -> str:
    if "limit" not in detail:
        return f"profile {detail.get('profile', '-')}"
    words = f"limit {detail['limit']['name']}"
    if "threshold_percent" in detail:
        words += f" at {detail['threshold_percent']} %"
    if "used" in detail:
        words += f", used {detail['used']:,}"
    return words


def _numbers(usage: Mapping[str, int]) -> list[str]:
    return [f"{usage[name]:,}" for name in _SUMS]


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")
