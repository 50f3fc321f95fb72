"""Usage by period and group, from quarter-hour rows that come in the order of time.

Three facts: a period is an hour, day or month of the tenant's own clock and a whole number of quarter-hours; rows are
added up while they stream past, so that memory holds the groups of one period; a report is cut between periods where
it can be, and only a period that is too big for one answer is given in parts, which say so.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from bedrock_meter.limits.windows import QUARTER_MS, CalendarWindow
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums

By = Literal["hour", "day", "month"]
Group = Literal["model", "profile", "none"]

_HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Page = Iterable[tuple[RollupKey, Sums]]


@dataclass(frozen=True, slots=True)
class Period:
    """An hour, day or month of a tenant's clock: [start_ms, end_ms).

    Attributes:
        label: ``2026-11``, ``2026-11-24`` or ``2026-11-24T14:00+01:00``.
    """

    start_ms: int
    end_ms: int
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """What one group used in one period.

    Attributes:
        period: The period, whole even where a report begins or ends inside it.
        group: Model or profile; empty where nothing is grouped.
        sums: What was used in the part of the period that this line covers.
        is_whole: False for a line that covers a part of its period's rows only, because the period was too big for one
            answer: the next answer goes on with it, and lines of the same period and group add up.
    """

    period: Period
    group: str
    sums: Sums
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """A part of a report.

    Attributes:
        lines: By period, then by group.
        next_ms: Quarter-hour at which the next part begins; None at the end.
        is_cut: Whether that is inside a period of which these lines hold the beginning.
    """

    lines: tuple[Line, ...]
    next_ms: int | None
    is_cut: bool


def period_of(by: By, timezone: str, at_ms: int) -> Period:
    """Return the hour, day or month of ``timezone`` that holds ``at_ms``.

    An hour begins when the local clock shows minute zero, or when the clock is changed: where a clock is set back, the
    repeated hour is a period of its own.
    """
    return _period_of(by, timezone, at_ms - at_ms % QUARTER_MS)


def report(
    pages: Iterator[Page],
    by: By,
    group: Group,
    timezone: str,
    *,
    may_go_on: Callable[[int, int], bool],
    resumes: bool = False,
) -> Report:
    """Add up rows.

    Args:
        pages: Rows of one tenant in the order of their quarter-hours, in any number of pages.
        by: Length of a period.
        group: What a line is about within its period.
        timezone: The tenant's.
        may_go_on: Asked with (pages read, lines so far) at the first row of each quarter-hour but the first, whether
            there is room for it: every answer gets further by a quarter-hour at least.
        resumes: Whether an earlier answer holds a part of the first period already.
    """
    done: list[Line] = []
    sums: dict[str, Sums] = {}
    period: Period | None = None
    quarter_ms: int | None = None
    is_part = resumes
    for read, page in enumerate(pages, 1):
        for key, amounts in page:
            if key.quarter_ms != quarter_ms:
                is_new = quarter_ms is not None
                quarter_ms = key.quarter_ms
                this = period_of(by, timezone, quarter_ms)
                if is_new and not may_go_on(read, len(done) + len(sums)):
                    if done and period is not None and period == this:
                        return Report(tuple(done), period.start_ms, False)
                    is_cut = period == this
                    return Report((*done, *_lines(period, sums, not (is_part or is_cut))), quarter_ms, is_cut)
                if period is not None and period != this:
                    done += _lines(period, sums, not is_part)
                    sums, is_part = {}, False
                period = this
            name = "" if group == "none" else getattr(key, group)
            sums[name] = sums.get(name, NOTHING) + amounts
    return Report((*done, *_lines(period, sums, not is_part)), None, False)


def _lines(period: Period | None, sums: dict[str, Sums], is_whole: bool) -> Iterator[Line]:
    if period is not None:
        for name in sorted(sums):
            yield Line(period, name, sums[name], is_whole)


@lru_cache(maxsize=4096)
def _period_of(by: By, timezone: str, quarter_ms: int) -> Period:
    if by == "hour":
        start_ms = _hour_start(timezone, quarter_ms)
        end_ms = quarter_ms + QUARTER_MS
        while _hour_start(timezone, end_ms) == start_ms:
            end_ms += QUARTER_MS
        return Period(start_ms, end_ms, _local(timezone, start_ms).isoformat(timespec="minutes"))
    start_ms, end_ms = CalendarWindow(by, timezone).bounds(quarter_ms)
    return Period(start_ms, end_ms, _local(timezone, start_ms).strftime("%Y-%m-%d" if by == "day" else "%Y-%m"))


def _hour_start(timezone: str, quarter_ms: int) -> int:
    local = _local(timezone, quarter_ms)
    start_ms = quarter_ms - (local.minute * 60 + local.second) * 1_000
    start_ms -= start_ms % QUARTER_MS
    while _local(timezone, start_ms).utcoffset() != local.utcoffset():
        start_ms += QUARTER_MS
    return start_ms


def _local(timezone: str, at_ms: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(timezone))
