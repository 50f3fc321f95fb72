"""Seeding: what the buckets of a new limit hold on its first day, from the quarter-hour roll-ups.

Three facts: a roll-up row does not say when within its quarter-hour something happened, so it goes to the bucket of its *last* instant:
counted for up to a quarter-hour too long, never too short; calendar windows begin on quarter-hours, so they are seeded exactly; a window
shorter than a quarter-hour is not seeded, it counts from now, and says so (``since_ms``).
"""

from collections.abc import Iterable

from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.limit import InstalledLimit
from bedrock_meter.limits.windows import QUARTER_MS, SUB_BUCKETS, RollingWindow, Window


def counts_from_now(window: Window) -> bool:
    """Return whether roll-ups are too coarse for ``window``: it is not seeded and counts only what is recorded from now on."""
    return isinstance(window, RollingWindow) and window.length_ms < QUARTER_MS


def seed_start_ms(installed: InstalledLimit, now_ms: int) -> int:
    """Return the start of the first quarter-hour whose rows matter to ``installed`` at ``now_ms``; ``now_ms`` when none do."""
    window = installed.window
    if counts_from_now(window):
        return now_ms
    if isinstance(window, RollingWindow):
        start_ms = (now_ms // window.sub_ms - SUB_BUCKETS) * window.sub_ms
    else:
        start_ms = window.bounds(now_ms)[0]
    return start_ms // QUARTER_MS * QUARTER_MS


def seed(installed: InstalledLimit, rollups: Iterable[tuple[int, int]], now_ms: int) -> dict[str, int]:
    """Return the buckets of ``installed`` at ``now_ms``.

    Args:
        installed: The new limit.
        rollups: ``(quarter_start_ms, amount)`` rows, in any order, several per quarter-hour too; rows outside the window are ignored.
        now_ms: The instant; the amount of the running quarter-hour goes to the bucket of this instant.

    Returns:
        Sum by bucket name; empty for a window shorter than a quarter-hour.
    """
    window = installed.window
    if counts_from_now(window):
        return {}
    start_ms = seed_start_ms(installed, now_ms)
    buckets: dict[str, int] = {}
    for quarter_ms, amount in rollups:
        # A quarter-hour ahead of now was recorded by a clock ahead of ours: it stays where it begins.
        at_ms = min(quarter_ms + QUARTER_MS - 1, max(now_ms, quarter_ms))
        if quarter_ms >= start_ms and amount:
            name = bucket_name(installed.slot, window, at_ms)
            buckets[name] = buckets.get(name, 0) + amount
    return buckets
