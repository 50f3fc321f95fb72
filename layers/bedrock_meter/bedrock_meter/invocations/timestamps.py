"""When a record says that the call happened, in the spellings seen in the wild.

AWS documents ISO 8601 without saying which; records were seen with ``Z``, with offsets, with and without fractions. A
time that cannot be read is no reason to lose usage: the caller falls back to the log event's own time.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{0,9}))?)?"
    r" ?(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
_FIRST_MS = 100_000_000_000
"""Epoch numbers from here on are milliseconds (March 1973), below it seconds (until the year 5138)."""

_LAST_MS = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp(value: object) -> int | None:
    """Return the instant in ms since 1970 UTC, rounded down, or None if ``value`` names none between 1970 and 9999.

    Args:
        value: ISO 8601 text (``Z``, ``+00:00``, ``+0000``, ``+00`` or no zone, which means UTC; 0 to 9 digits of a
        fraction), or a
            number of seconds or milliseconds since 1970.
    """
    if isinstance(value, str):
        return _iso(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is converted: neither NaN nor infinity passes.
    if not 0 <= value <= _LAST_MS:
        return None
    return int(value) if value >= _FIRST_MS else int(value * 1000)


def _iso(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        zone = UTC
        if sign:
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes or 0))
            zone = timezone(offset if sign == "+" else -offset)
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), tzinfo=zone)
    except ValueError:
        return None
    since = at - _EPOCH
    at_ms = (since.days * 86_400 + since.seconds) * 1000 + int(((fraction or "") + "000")[:3])
    return at_ms if 0 <= at_ms <= _LAST_MS else None
