"""The machine's time: what it is, letting it pass, and the one spelling of an instant in our documents.

Everything else takes ``now_ms`` as a parameter: windows, admission and levels are then plain arithmetic.
"""

import time
from datetime import UTC, datetime
from typing import overload


def now_ms() -> int:
    """Return the current time in milliseconds since the Unix epoch (UTC)."""
    return time.time_ns() // 1_000_000


def sleep_ms(duration_ms: int) -> None:
    """Let time pass: what whoever waits for other writers is given."""
    time.sleep(duration_ms / 1000)


@overload
def iso(instant_ms: int) -> str: ...
@overload
def iso(instant_ms: int | None) -> str | None: ...
def iso(instant_ms: int | None) -> str | None:
    """Return an instant as ``2026-11-24T01:45:00.000Z``, None as None."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
