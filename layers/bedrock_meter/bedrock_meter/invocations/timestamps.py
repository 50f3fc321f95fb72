"""When a record says that the call happened, in the spellings seen in the wild.

AWS documents ISO 8601 without saying which; records were seen with ``Z``, with offsets, with and without fractions.
A time that cannot be read is no reason to lose usage: the caller falls back to the log event's own time.
"""

from datetime import UTC, datetime, timedelta

_FIRST_MS = 100_000_000_000
"""Epoch numbers from here on are milliseconds (March 1973), below it seconds (until the year 5138)."""

_LAST_MS = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_LENGTH = len("2026-11-24")


def parse_timestamp(value: object) -> int | None:
    """Return the instant in ms since 1970 UTC, rounded down, or None if ``value`` names none between 1970 and 9999.

    Args:
        value: ISO 8601 text (``Z``, ``+00:00``, ``+0000``, ``+00`` or no zone, which means UTC; a fraction of any
            length; a day alone is no instant), or a number of seconds or milliseconds since 1970.
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
    if len(text) <= _DAY_LENGTH:
        return None
    try:
        at = datetime.fromisoformat(text.upper())
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        at_ms = (at - _EPOCH) // _MILLISECOND
    except ValueError:
        return None
    return at_ms if 0 <= at_ms <= _LAST_MS else None
