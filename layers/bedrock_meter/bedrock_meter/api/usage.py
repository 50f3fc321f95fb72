"""``GET /v1/tenants/{tenant}/usage``: the roll-ups by period of the tenant's own clock, page by page."""

from collections.abc import Callable
from typing import Any, cast

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.answers import NOT_KEPT, json_answer
from bedrock_meter.api.cursors import Position, refused
from bedrock_meter.api.cursors import read as read_cursor
from bedrock_meter.api.cursors import write as write_cursor
from bedrock_meter.api.outage import storage_failed
from bedrock_meter.api.problems import invalid, tenant_not_found
from bedrock_meter.api.reports import Reports
from bedrock_meter.api.requests import choice, instant, query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.spreadsheet import csv_text
from bedrock_meter.clock import iso
from bedrock_meter.limits.windows import QUARTER_MS, CalendarWindow
from bedrock_meter.money import usd_text
from bedrock_meter.storage.dynamodb import AWS_ERRORS

DAY_MS = 86_400_000
LONGEST_DAYS = {"hour": 62, "day": 400, "month": 400}
PAGES = 8
"""Pages of the table that one answer reads, of at most 1 MB each: a few seconds of the function's time."""

LINES = 5_000
"""Lines after which an answer ends at the next period or, within one, at the next quarter-hour."""

BY = ("hour", "day", "month")
GROUPS = ("none", "model", "profile")
FORMATS = ("json", "csv")
PARAMETERS = ("from", "to", "by", "group", "format", "cursor")
SUMS = (
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "total_tokens",
    "cost_usd",
    "unpriced",
)


def sums_document(sums: Any) -> dict[str, int | str]:
    """Return sums as the API shows them; the keys are ``SUMS``.

    ``cost_usd`` is what the priced calls cost, as an exact decimal text; ``unpriced`` is how many calls it leaves
    out.
    """
    tokens = sums.tokens
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "total_tokens": tokens.total,
        "cost_usd": usd_text(sums.cost_nano_usd),
        "unpriced": sums.unpriced,
    }


def add_usage(
    api: Resolver,
    reports: Reports,
    *,
    admit: Callable[[str], None],
    failed: Callable[[str], None],
    now: Callable[[], int],
) -> None:
    """Add the route.

    Args:
        api: Gets it.
        reports: What it reads.
        admit: Raises the answer for a tenant that has asked for too many.
        failed: Told the error code when the storage could not be read.
        now: Current time in milliseconds.
    """

    @api.routes.get("/v1/tenants/<tenant>/usage")
    def usage(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        parameters = query(api.event, PARAMETERS)
        by = choice(parameters, "by", BY, "day")
        group = choice(parameters, "group", GROUPS, "none")
        form = choice(parameters, "format", FORMATS, "json")
        admit(tenant)
        try:
            timezone = reports.timezone(tenant)
            if timezone is None:
                raise tenant_not_found()
            bound_to = (tenant, by, group, parameters.get("from", ""), parameters.get("to", ""))
            position = _position(parameters, by, timezone, bound_to, now())
            return _answer(reports, tenant, timezone, by, group, form, position, bound_to)
        except AWS_ERRORS as error:
            raise storage_failed(error, failed, "The usage cannot be read at the moment. Try again.") from error


def _position(parameters: dict[str, str], by: str, timezone: str, bound_to: tuple[str, ...], now_ms: int) -> Position:
    if "cursor" in parameters:
        position = read_cursor(parameters["cursor"], bound_to)
        if not _may_go_on(position, parameters, by, timezone):
            raise refused()
        return position
    end_ms = now_ms - now_ms % QUARTER_MS + QUARTER_MS
    to_ms = _bound("to", parameters["to"], timezone) if "to" in parameters else end_ms
    if "from" in parameters:
        from_ms = _bound("from", parameters["from"], timezone)
    else:
        from_ms = CalendarWindow("month", timezone).bounds(max(0, to_ms - 1))[0]
    if from_ms >= to_ms:
        raise invalid("from", "must be before 'to'")
    if _is_too_long(from_ms, to_ms, by):
        raise invalid("from", f"at most {LONGEST_DAYS[by]} days by {by}")
    return Position(from_ms, to_ms, False)


def _may_go_on(position: Position, parameters: dict[str, str], by: str, timezone: str) -> bool:
    """Return whether a cursor's position lies within what its query may ask for: anybody can make a cursor."""
    from_ms = _bound("from", parameters["from"], timezone) if "from" in parameters else 0
    to_ms = _bound("to", parameters["to"], timezone) if "to" in parameters else position.to_ms
    return from_ms <= position.from_ms and position.to_ms == to_ms and not _is_too_long(*position[:2], by)


def _is_too_long(from_ms: int, to_ms: int, by: str) -> bool:
    # A period of the tenant's clock is up to an hour longer where its summer time ends.
    return to_ms - from_ms > LONGEST_DAYS[by] * DAY_MS + 3_600_000


def _bound(name: str, text: str, timezone: str) -> int:
    found = instant(name, text)
    if isinstance(found, str):
        found = _midnight_ms(found, timezone)
    if not 0 <= found < 10**14 or found % QUARTER_MS:
        raise invalid(name, "must be on a quarter-hour from 1970 on: usage is added up by quarter-hours")
    return found


def _midnight_ms(day: str, timezone: str) -> int:
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(timezone))
    try:
        noon_ms = (noon - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(milliseconds=1)
        return CalendarWindow("day", timezone).bounds(max(0, noon_ms))[0]
    except (OverflowError, ValueError):
        return -1


def _answer(
    reports: Reports,
    tenant: str,
    timezone: str,
    by: str,
    group: str,
    form: str,
    position: Position,
    bound_to: tuple[str, ...],
) -> Response:  # type: ignore[type-arg]
    from bedrock_meter.usage.report import By, Group, report

    # What was recorded within the last second may be missing: a report is no decision, and so it costs half.
    pages = reports.pages(tenant, position.from_ms, position.to_ms, is_consistent=False)
    found = report(
        pages,
        cast("By", by),
        cast("Group", group),
        timezone,
        may_go_on=lambda read, lines: read <= PAGES and lines < LINES,
        resumes=position.is_cut,
    )
    headers = {**NOT_KEPT}
    following = None
    if found.next_ms is not None:
        following = write_cursor(Position(found.next_ms, position.to_ms, found.is_cut), bound_to)
        headers["X-Next-Cursor"] = following
    heads: list[dict[str, str | bool]] = [
        {
            "period": line.period.label,
            "start": iso(line.period.start_ms),
            "end": iso(line.period.end_ms),
            **({} if group == "none" else {group: line.group}),
            "complete": line.is_whole,
        }
        for line in found.lines
    ]
    if form == "csv":
        names = ["period", "start", "end", *([] if group == "none" else [group]), "complete", *SUMS]
        rows = [
            [*head.values(), *sums_document(line.sums).values()] for head, line in zip(heads, found.lines, strict=True)
        ]
        return Response(200, "text/csv; charset=utf-8; header=present", csv_text(names, rows), headers=headers)
    document = {
        "tenant": tenant,
        "timezone": timezone,
        "from": iso(position.from_ms),
        "to": iso(position.to_ms),
        "by": by,
        "group": group,
        "usage": [{**head, **sums_document(line.sums)} for head, line in zip(heads, found.lines, strict=True)],
        "next": following,
    }
    return json_answer(document, headers=headers)
