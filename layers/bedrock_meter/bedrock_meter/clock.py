"""The only place that asks the machine what time it is.

Everything else takes ``now_ms`` as a parameter: windows, admission and levels are then plain arithmetic.
"""

import time


def now_ms() -> int:
    """Return the current time in milliseconds since the Unix epoch (UTC)."""
    return time.time_ns() // 1_000_000
