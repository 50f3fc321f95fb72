"""Seeding: what the buckets of a new limit hold on its first day, from the quarter-hour roll-ups.

Three facts: a roll-up row does not say when within its quarter-hour something happened, so it goes to the bucket of
its *last* instant, or of the last one that a call may be dated at by now (records from clocks ahead of ours are
admitted): counted for up to a quarter-hour too long, never too short; calendar windows begin on
quarter-hours, so they are seeded exactly; a window shorter than a quarter-hour is not seeded, it counts from now, and
says so (``since_ms``).
"""

from collections.abc import Iterable
from dataclasses import replace

from bedrock_meter.invocations.admission import MAX_FUTURE_MS
from bedrock_meter.limits.counting import counted
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.limit import InstalledLimit, LayoutChange
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.windows import QUARTER_MS, RollingWindow, Window
from bedrock_meter.usage.rollup import RollupKey, Sums


def first_quarter_ms(window: Window, now_ms: int) -> int | None:
    """Return the start of the first quarter-hour whose rows matter to ``window`` at ``now_ms``; None when none do."""
    if _counts_from_now(window):
        return None
    start_ms = window.counted_from_ms(now_ms) if isinstance(window, RollingWindow) else window.bounds(now_ms)[0]
    return start_ms // QUARTER_MS * QUARTER_MS


def seed(window: Window, installed: InstalledLimit, rollups: Iterable[tuple[int, int]], now_ms: int) -> dict[str, int]:
    """Return the buckets of ``installed`` at ``now_ms``.

    Args:
        window: The window of ``installed``.
        installed: The new limit.
        rollups: ``(quarter_start_ms, amount)`` rows in any order, several per quarter-hour too. Rows outside the
            window are ignored.
        now_ms: The instant; no call is dated later than ``MAX_FUTURE_MS`` after it.

    Returns:
        Sum by bucket name; empty for a window shorter than a quarter-hour.
    """
    first_ms = first_quarter_ms(window, now_ms)
    buckets: dict[str, int] = {}
    for quarter_ms, amount in rollups:
        if first_ms is not None and quarter_ms >= first_ms and amount:
            # A quarter-hour that begins later than that was recorded by a clock ahead of ours, which admits no more.
            at_ms = min(quarter_ms + QUARTER_MS - 1, max(now_ms, quarter_ms) + MAX_FUTURE_MS)
            name = bucket_name(installed.slot, window, at_ms)
            buckets[name] = buckets.get(name, 0) + amount
    return buckets


def seed_rows(installed: InstalledLimit, rows: Iterable[tuple[RollupKey, Sums]], now_ms: int) -> dict[str, int]:
    """Return the buckets of ``installed`` at ``now_ms`` from roll-up rows, with the marks of what nobody can count.

    A row is of one profile and one model, so that a limit on some of them is seeded with theirs alone.
    """
    amounts: list[tuple[int, int]] = []
    marks: list[tuple[int, int]] = []
    for key, sums in rows:
        found = counted(installed.limit, sums, key.profile, key.model)
        amounts.append((key.quarter_ms, found.amount))
        marks.append((key.quarter_ms, found.uncounted))
    marked = seed(installed.window, installed, marks, now_ms)
    return seed(installed.window, installed, amounts, now_ms) | {
        name + UNCOUNTED: count for name, count in marked.items()
    }


def mark_unseeded(change: LayoutChange, now_ms: int) -> LayoutChange:
    """Return ``change`` in which each new limit that cannot be seeded says that it counts from ``now_ms``."""
    marked = {
        installed.slot: replace(installed, since_ms=now_ms) if _counts_from_now(installed.window) else installed
        for installed in change.seeded
    }
    limits = tuple(marked.get(installed.slot, installed) for installed in change.next.limits)
    return replace(change, next=replace(change.next, limits=limits), seeded=tuple(marked.values()))


def _counts_from_now(window: Window) -> bool:
    return isinstance(window, RollingWindow) and window.length_ms < QUARTER_MS
