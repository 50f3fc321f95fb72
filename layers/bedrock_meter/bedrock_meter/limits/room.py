"""When a call may be made that cannot be made now: the first instant at which all limits have room at once.

The first instants of the single limits do not say it. While one limit waits for its window, the boost of another may
end, or the next calendar window of a third may be full already. So each limit is asked for its first instant from the
latest one so far, and all are asked again until none moves it.

That ends. A limit moves the instant only to the end of a stretch of time in which it has no room, and it has finitely
many of them: what it says changes at the ends of its buckets, marks, holds and boosts and at the beginnings of its
calendar windows, and after the last of these it stays as it is. Between two of them what is used only falls, so that a
stretch can end there once.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bedrock_meter.limits.gauge import NO_SUMS, Gauge, SlotSums, allows_from_ms, sums_by_slot
from bedrock_meter.limits.holds import NO_HOLDS, hold_key, next_end_ms, reserved
from bedrock_meter.limits.limit import InstalledLimit

SECOND_MS = 1_000


class Need(NamedTuple):
    """Room that a limit must have.

    Attributes:
        limit: The limit; no shadow limit, which stands in no way.
        amount: In its meter, at least 1.
    """

    limit: InstalledLimit
    amount: int


def have_room_from_ms(
    gauge: Gauge, needs: Sequence[Need], now_ms: int, ahead_ms: int = 0, holds: Mapping[str, int] = NO_HOLDS
) -> int | None:
    """Return the first instant, a whole number of seconds after ``now_ms``, at which all limits have the room needed.

    It is the first one if nothing more is used and nothing is given back. None when there is no such instant.

    Args:
        gauge: Says what is used.
        needs: What is needed of which limit.
        now_ms: Where to begin; the answer may be this instant.
        ahead_ms: The room must fit the least maximum of so long from the answer on.
        holds: What open reservations hold until they expire; without them, what is used is looked at alone.
    """
    sums = sums_by_slot(gauge.buckets)
    at_ms = now_ms
    while True:
        latest_ms = at_ms
        for need in needs:
            found_ms = _has_room_from(need, sums.get(need.limit.slot, NO_SUMS), holds, latest_ms, ahead_ms)
            if found_ms is None:
                return None
            latest_ms = found_ms
        latest_ms = now_ms - (now_ms - latest_ms) // SECOND_MS * SECOND_MS
        if latest_ms == at_ms:
            return at_ms
        at_ms = latest_ms


def _has_room_from(need: Need, sums: SlotSums, holds: Mapping[str, int], now_ms: int, ahead_ms: int) -> int | None:
    """Return the first instant, not before ``now_ms``, at which one limit has room; None if there is none."""
    key = hold_key(need.limit)
    while True:
        amount = need.amount + reserved(holds, key, now_ms)
        found_ms = allows_from_ms(need.limit, sums, amount, now_ms, ahead_ms)
        ends_ms = next_end_ms(holds, key, now_ms)
        if ends_ms is None or (found_ms is not None and found_ms < ends_ms):
            return found_ms
        now_ms = ends_ms
