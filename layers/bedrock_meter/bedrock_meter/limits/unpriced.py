"""Which calls stand in the way of limits that deny usage without a price: their models, from the roll-ups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bedrock_meter.limits.counting import counted
from bedrock_meter.limits.explanation import range_of
from bedrock_meter.limits.gauge import Reading
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.usage.rollup import RollupKey, Sums

MOST_NAMED = 5


class Unpriced(NamedTuple):
    """What has no price.

    Attributes:
        model: The model as it was recorded; ``-`` where it is not known.
        profile: The profile whose model is not known; empty where the model is.
    """

    model: str
    profile: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in the windows of the limits that deny.

    Attributes:
        unpriced: Latest first, each once, at most 5.
        is_complete: Whether there is no other.
        from_ms: Where the first of the windows begins, on a quarter-hour.
    """

    unpriced: tuple[Unpriced, ...]
    is_complete: bool
    from_ms: int


def range_of_all(readings: Sequence[Reading], now_ms: int) -> tuple[int, int]:
    """Return [from, to) in whole quarter-hours: what rows to read for all of these windows, at least one."""
    ranges = [range_of(reading, now_ms) for reading in readings]
    return min(from_ms for from_ms, _ in ranges), max(to_ms for _, to_ms in ranges)


def find_unpriced(
    readings: Sequence[Reading], pages: Iterable[Iterable[tuple[RollupKey, Sums]]], now_ms: int, *, max_pages: int
) -> Found:
    """Find what has no price in the windows of ``readings``.

    Args:
        readings: Limits that deny because of it.
        pages: Rows of the tenant in ``range_of_all``, the latest first.
        now_ms: The instant of the readings.
        max_pages: Pages that are read at most.
    """
    limits = [(reading.limit.limit, range_of(reading, now_ms)) for reading in readings]
    found: dict[Unpriced, None] = {}
    is_complete = True
    for read_pages, page in enumerate(pages, 1):
        for key, sums in page:
            if not any(
                from_ms <= key.quarter_ms < to_ms and counted(limit, sums, key.profile, key.model).uncounted > 0
                for limit, (from_ms, to_ms) in limits
            ):
                continue
            one = Unpriced(key.model, key.profile if key.model == NO_MODEL else "")
            if one not in found and len(found) == MOST_NAMED:
                return Found(tuple(found), False, range_of_all(readings, now_ms)[0])
            found[one] = None
        if read_pages == max_pages:
            is_complete = False
            break
    return Found(tuple(found), is_complete, range_of_all(readings, now_ms)[0])
