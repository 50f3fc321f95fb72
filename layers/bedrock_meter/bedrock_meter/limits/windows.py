"""Windows of time: rolling ones of a fixed length, and calendar ones in a tenant's time zone.

Three facts: every instant is an integer of milliseconds since the Unix epoch (UTC) and every interval is half-open; a
rolling window is twelve sub-buckets long; a calendar day begins at *the first instant at which the local clock shows
that date's midnight or later*, so days of 23, 24 or 25 hours, clock changes at midnight and skipped dates still
partition time.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal

from bedrock_meter.errors import InvalidDefinition

QUARTER_MS = 900_000
"""A quarter-hour. Local days begin on one in every zone: since 1980 all offsets from UTC are multiples of it."""

SUB_BUCKETS = 12
SHORTEST_S = 60
LONGEST_S = 31 * 86_400

Unit = Literal["day", "week", "month"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EXAMPLES = "for example '5m', '1h', '7d' (rolling) or 'day', 'week@mon', 'month@15' (calendar)"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_UNIT_WORDS = {
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours hourly",
    "d": "d day days",
    "w": "w wk wks week weeks",
}
_LENGTH_UNITS = {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
_CALENDAR_WORDS: dict[str, Unit] = {
    "day": "day", "daily": "day", "week": "week", "weekly": "week", "month": "month", "monthly": "month",
}  # fmt: skip
_ANCHORS: dict[Unit, tuple[int, str]] = {
    "day": (1, "a day has no anchor"),
    "week": (7, "a week begins on day 1 (Monday) to 7 (Sunday), for example 'week@3' or 'week@wed'"),
    "month": (31, "a month begins on day 1 to 31, for example 'month@15'"),
}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LENGTH = re.compile(r"([0-9]{1,9})\s*([a-z]*)")
_ISO_LENGTH = re.compile(
    r"p(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:t(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?)?"
)
_NO_LENGTH = re.compile(r"[0-9]+\s*(mo|mon|months?|y|years?)|p[0-9]+[my].*")
_ANCHOR = re.compile(r"[0-9]{1,9}")
_PREFIX = re.compile(r"(rolling|calendar)[\s:_-]+(.*)", re.DOTALL)
_MAPPING_KEYS = ("rolling", "calendar", "anchor", "timezone")


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last ``length_s`` seconds, moving with the clock.

    Attributes:
        length_s: 60 seconds to 31 days, a whole number of minutes, so that a twelfth is a whole number of milliseconds.

    Raises:
        InvalidDefinition: The length is outside these bounds.
    """

    length_s: int

    def __post_init__(self) -> None:
        if not SHORTEST_S <= self.length_s <= LONGEST_S or self.length_s % 60:
            raise InvalidDefinition(
                "", f"a rolling window of {self.length_s} seconds: it must be whole minutes, from 1 minute to 31 days"
            )

    @property
    def length_ms(self) -> int:
        """Length in milliseconds."""
        return self.length_s * 1_000

    @property
    def sub_ms(self) -> int:
        """Length of one sub-bucket in milliseconds: a twelfth of the window."""
        return self.length_s * 1_000 // SUB_BUCKETS

    def counted_from_ms(self, at_ms: int) -> int:
        """Return where the oldest sub-bucket begins that counts at ``at_ms``, whole or in part."""
        return (at_ms // self.sub_ms - SUB_BUCKETS) * self.sub_ms

    @property
    def label(self) -> str:
        """Canonical spelling in the largest unit that divides the length: ``5m``, ``1h``, ``7d``."""
        for unit in ("d", "h"):
            if self.length_s % _SECONDS[unit] == 0:
                return f"{self.length_s // _SECONDS[unit]}{unit}"
        return f"{self.length_s // 60}m"

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """The local day, week or month of a time zone.

    Attributes:
        unit: ``day``, ``week`` or ``month``.
        timezone: IANA name, for example ``Europe/Berlin``.
        anchor: First day: of a week 1 (Monday) to 7; of a month 1 to 31, clamped to the month's last day; of a day
            always 1.

    Raises:
        InvalidDefinition: The unit or the zone is not known, or the anchor does not fit the unit.
    """

    unit: Unit
    timezone: str
    anchor: int = 1

    def __post_init__(self) -> None:
        if self.unit not in ("day", "week", "month"):
            raise InvalidDefinition("", f"{self.unit!r} is not a calendar unit: use day, week or month")
        last, rule = _ANCHORS[self.unit]
        if not 1 <= self.anchor <= last:
            raise InvalidDefinition("anchor", f"{self.anchor}: {rule}")
        _zone(self.timezone)

    @property
    def label(self) -> str:
        """Canonical spelling without the time zone: ``day``, ``week@3``, ``month``."""
        return self.unit if self.anchor == 1 else f"{self.unit}@{self.anchor}"

    def __str__(self) -> str:
        return self.label

    def bounds(self, at_ms: int) -> tuple[int, int]:
        """Return ``(start_ms, end_ms)`` of the window that holds ``at_ms``: ``start_ms <= at_ms < end_ms``.

        The next window begins exactly at ``end_ms``. No window is empty: a date that the zone skipped has none.
        """
        day = (_EPOCH + at_ms * _MILLISECOND).astimezone(_zone(self.timezone)).toordinal()
        while True:
            start_ms, end_ms, next_day = _period(self.unit, self.timezone, self.anchor, day)
            if at_ms < end_ms:
                return start_ms, end_ms
            day = next_day  # The clock was set back over midnight: that date has begun already.


Window = RollingWindow | CalendarWindow


def base36(number: int) -> str:
    """Return a number as it stands in names of buckets and holds.

    Raises:
        ValueError: It is negative: instants before 1970 have no bucket.
    """
    if number < 0:
        raise ValueError("buckets begin in 1970")
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def parse_window(spelling: object, timezone: str) -> Window:
    """Read a window as people write it.

    Rolling: ``'5m'``, ``'60s'``, ``'1 minute'``, ``'rolling:1h'``, ``'PT1H'``, a number of seconds,
    ``{'rolling': '1h'}``. Calendar: ``'day'``, ``'daily'``, ``'calendar:month'``, ``'month@15'``, ``'week@mon'``,
    ``{'calendar': 'month', 'anchor': 15}``, this mapping optionally with a ``timezone`` of its own. A word alone is the
    calendar's (``day``), with a number it is a length (``1 day``); the calendar has no hours or minutes, so these words
    alone are lengths too.

    Args:
        spelling: Text, a whole number or a mapping.
        timezone: IANA name for calendar windows; rolling ones ignore it.

    Raises:
        InvalidDefinition: Says what is wrong and shows what would be right; its ``where`` is relative to the window.
    """
    if not isinstance(spelling, Mapping):
        return _parse_plain("", spelling, timezone)
    for key in spelling:
        if key not in _MAPPING_KEYS:
            raise InvalidDefinition("", f"unknown key {key!r}: a window has {', '.join(_MAPPING_KEYS)}")
    kinds = [kind for kind in ("rolling", "calendar") if kind in spelling]
    if len(kinds) != 1:
        raise InvalidDefinition("", "a window is either {'rolling': '1h'} or {'calendar': 'month', 'anchor': 15}")
    zone = spelling.get("timezone", timezone)
    if not isinstance(zone, str):
        raise InvalidDefinition("timezone", f"{zone!r} is not text: write an IANA name such as 'Europe/Berlin'")
    window = _parse_plain(kinds[0], spelling[kinds[0]], zone)
    if isinstance(window, RollingWindow):
        if len(spelling) > 1:
            raise InvalidDefinition("", "a rolling window has neither anchor nor time zone: {'rolling': '1h'}")
        return window
    if "anchor" not in spelling:
        return window
    if window.anchor != 1:
        raise InvalidDefinition("anchor", "the window has one already: {'calendar': 'month', 'anchor': 15}")
    return CalendarWindow(window.unit, zone, _parse_anchor(window.unit, spelling["anchor"]))


def _parse_plain(kind: str, spelling: object, timezone: str) -> Window:
    """Read text or a number of seconds, as a window of ``kind`` or, where that is empty, of either kind."""
    if type(spelling) is int and kind != "calendar":
        return RollingWindow(spelling)
    text = spelling.strip().lower() if isinstance(spelling, str) else ""
    prefix = _PREFIX.fullmatch(text)
    if prefix and kind in ("", prefix[1]):
        kind, text = prefix[1], prefix[2]
    word, at, anchor = (part.strip() for part in text.partition("@"))
    if kind != "rolling" and word in _CALENDAR_WORDS:
        unit = _CALENDAR_WORDS[word]
        return CalendarWindow(unit, timezone, _parse_anchor(unit, anchor) if at else 1)
    if len(text) > 1 and _LENGTH_UNITS.get(text) in (("m", "h", "d", "w") if kind == "rolling" else ("m", "h")):
        text = f"1 {text}"
    length_s = _parse_length(text)
    if kind != "calendar" and length_s is not None:
        return RollingWindow(length_s)
    hint = ""
    if kind == "calendar":
        hint = "the calendar has days, weeks and months, "
    elif _NO_LENGTH.fullmatch(text):
        hint = "months and years have no fixed length, "
    raise InvalidDefinition("", f"{spelling!r} is not a window: {hint}{_EXAMPLES}")


def _parse_anchor(unit: Unit, spelling: object) -> int:
    text = str(spelling).strip().lower()
    if unit == "week" and len(text) >= 3:
        for number, weekday in enumerate(_WEEKDAYS, 1):
            if weekday.startswith(text):
                return number
    if not _ANCHOR.fullmatch(text):
        raise InvalidDefinition("anchor", f"{spelling!r}: {_ANCHORS[unit][1]}")
    return int(text)


def _parse_length(text: str) -> int | None:
    """Return the seconds of ``60``, ``60s``, ``1 minute`` or ``PT1H``; None when it is none of these."""
    length = _LENGTH.fullmatch(text)
    if length and (length[2] in _LENGTH_UNITS or not length[2]):
        return int(length[1]) * _SECONDS[_LENGTH_UNITS.get(length[2], "s")]
    iso = _ISO_LENGTH.fullmatch(text)
    if iso and any(iso.groups()):
        return sum(int(count or 0) * _SECONDS[unit] for count, unit in zip(iso.groups(), "wdhms", strict=True))
    return None


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo, available_timezones  # A few ms, and only calendar windows need it.

    # Refused where a system has them: the machine's own zone, zones with leap seconds, copies.
    if not name.startswith(("localtime", "right/", "posix")):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    from difflib import get_close_matches

    known = {zone.lower(): zone for zone in available_timezones() - {"localtime"}}
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    hint = f"did you mean {known[near[0]]!r}?" if near else "write one such as 'Europe/Berlin' or 'UTC'"
    raise InvalidDefinition("timezone", f"{name!r} is not an IANA time zone, {hint}")


@lru_cache(maxsize=4096)
def _period(unit: Unit, timezone: str, anchor: int, day: int) -> tuple[int, int, int]:
    """Return start, end (ms) and the next period's first day, for the period that holds the local date ``day``."""
    first, following = _FIRST_DAYS[unit](date.fromordinal(day), anchor)
    return _midnight_ms(timezone, first), _midnight_ms(timezone, following), following.toordinal()


def _day(day: date, anchor: int) -> tuple[date, date]:
    return day, day + timedelta(days=1)


def _week(day: date, anchor: int) -> tuple[date, date]:
    first = day - timedelta(days=(day.isoweekday() - anchor) % 7)
    return first, first + timedelta(days=7)


def _month(day: date, anchor: int) -> tuple[date, date]:
    this = _anchored(day.year, day.month, anchor)
    if day < this:
        return _anchored(*_month_after(day, -1), anchor), this
    return this, _anchored(*_month_after(day, 1), anchor)


def _month_after(day: date, months: int) -> tuple[int, int]:
    number = day.year * 12 + day.month - 1 + months
    return number // 12, number % 12 + 1


def _anchored(year: int, month: int, anchor: int) -> date:
    last = (date(year, month, 28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return last.replace(day=min(anchor, last.day))


_FIRST_DAYS: dict[Unit, Callable[[date, int], tuple[date, date]]] = {"day": _day, "week": _week, "month": _month}


def _midnight_ms(timezone: str, day: date) -> int:
    """Return the first instant at which the clock of ``timezone`` shows midnight of ``day`` or later.

    Of a midnight that happens twice this is the first; of one inside a gap, the end of the gap.
    """
    zone = _zone(timezone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    first_ms = _instant_ms(midnight)
    second_ms = _instant_ms(midnight.replace(fold=1))
    if first_ms <= second_ms:
        return first_ms
    low_ms, high_ms = second_ms, first_ms  # A gap: its end lies in (low, high], on a whole second.
    while high_ms - low_ms > 1_000:
        middle_ms = (low_ms + high_ms) // 2_000 * 1_000
        shown = (_EPOCH + middle_ms * _MILLISECOND).astimezone(zone).replace(tzinfo=None)
        if shown >= midnight.replace(tzinfo=None):
            high_ms = middle_ms
        else:
            low_ms = middle_ms
    return high_ms


def _instant_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
