"""The result of a replay for people: tables on stdout."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from bedrock_meter.cli.terminal import console

_WIDTH_ELSEWHERE = 110
_SUMS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def print_outcome(document: Mapping[str, Any], unattributed: Mapping[str, Any]) -> None:
    """Print counts, usage and limits by tenant, and received events of an outcome document.

    Args:
        document: The outcome.
        unattributed: Sums of what belongs to no tenant yet; not a part of the document.
    """
    out = console(_WIDTH_ELSEWHERE)
    for table in (_tenants_table(document, unattributed), _limits_table(document), _events_table(document)):
        out.print(table)
        out.print()
    out.print(
        f"{document['read']:,} records read = {document['recorded']:,} recorded + {document['duplicates']:,} duplicates"
        f" + {document['errors']:,} errors + {document['quarantined']:,} quarantined;"
        f" {document['unattributed']:,} of the recorded belong to no tenant yet,"
        f" {document['unpriced']:,} have no price.",
        soft_wrap=True,
    )


def _tenants_table(document: Mapping[str, Any], unattributed: Mapping[str, Any]) -> Table:
    table = _table("Usage")
    table.add_column("tenant", overflow="fold")
    for name in ("requests", "input", "output", "cache read", "cache write", "cost USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for tenant, usage in document["tenants"].items():
        table.add_row(tenant, *_numbers(usage))
    if any(unattributed[name] for name in _SUMS):
        table.add_row("(no tenant yet)", *_numbers(unattributed), style="italic")
    return table


def _limits_table(document: Mapping[str, Any]) -> Table:
    table = _table("Limits")
    for name in ("tenant", "limit", "window"):
        table.add_column(name, overflow="fold")
    for name in ("used", "max", "remaining"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("throttled until UTC", no_wrap=True)
    for tenant, usage in document["tenants"].items():
        for limit in usage["limits"]:
            forever = "" if limit["used"] < limit["max"] else "for ever"
            throttled = _instant(limit["throttled_until"]) or forever
            table.add_row(
                tenant,
                limit["name"],
                limit["window"] + (" hard" if limit["hard"] else ""),
                ("" if limit["complete"] else "at least ") + _amount(limit["used"], limit["unit"]),
                *(_amount(limit[name], limit["unit"]) for name in ("max", "remaining")),
                throttled,
                style="" if limit["allowed"] else "bold",
            )
    return table


def _events_table(document: Mapping[str, Any]) -> Table:
    table = _table("Events that the consumer queue received")
    for name in ("event", "tenant", "about"):
        table.add_column(name, overflow="fold")
    for event in document["events"]:
        table.add_row(event["detail-type"], event["tenant"] or "-", _about(event["detail"]))
    return table


def _about(detail: Mapping[str, Any]) -> str:
    if "limit" not in detail:
        profile, model = detail.get("profile", "-"), detail.get("model", "-")
        return f"profile {profile}" + (f", model {model}" if model not in ("-", profile) else "")
    words = f"limit {detail['limit']['name']}"
    if "threshold_percent" in detail:
        words += f" at {detail['threshold_percent']} %"
    if "used" in detail:
        words += f", used {_amount(detail['used'], detail['limit'].get('unit', ''))}"
    if "projected" in detail:
        words += f", projected {_amount(detail['projected'], detail['limit']['unit'])}"
    return words


def _amount(value: object, unit: str) -> str:
    """Return ``24,981`` of an integer, ``$0.06`` of US dollars."""
    return f"${value}" if unit == "USD" else f"{value:,}"


def _instant(text: str | None) -> str:
    """Return ``2026-11-24T03:45:00.000Z`` as ``2026-11-24 03:45:00``."""
    return f"{text[:10]} {text[11:19]}" if text else ""


def _numbers(usage: Mapping[str, Any]) -> list[str]:
    missing = f" + {usage['unpriced']:,} unpriced" if usage["unpriced"] else ""
    return [*(f"{usage[name]:,}" for name in _SUMS), usage["cost_usd"] + missing]


def _table(title: str) -> Table:
    style = box.SIMPLE_HEAD
    return Table(
        title=title, title_justify="left", title_style="bold", box=style, padding=(0, 1, 0, 0), show_edge=False
    )
