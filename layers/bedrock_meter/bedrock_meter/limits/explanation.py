"""Why a limit stands where it stands: which models and profiles used its window, from the quarter-hour roll-ups.

Four facts: a calendar window is a whole number of quarter-hours, so what the rows say of it is exact; of a rolling
window the rows begin where ``used`` begins, with the whole oldest sub-bucket and the whole quarter-hour in which that
starts, and end after the last call that may be dated ahead, so that they never say less than ``used`` but up to a
twelfth of the window and fifteen minutes more; the limit's own ``used`` decides, this only explains it; rows outside
the limit's scope are left out, and calls of which it is not known what they add are counted beside the amounts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bedrock_meter.invocations.admission import MAX_FUTURE_MS
from bedrock_meter.limits.counting import Counted, counted
from bedrock_meter.limits.gauge import Reading
from bedrock_meter.limits.status import severity
from bedrock_meter.limits.windows import QUARTER_MS, CalendarWindow
from bedrock_meter.usage.rollup import RollupKey, Sums

TOP = 20
"""So many models and profiles are named; the others are one sum."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one model or profile used.

    Attributes:
        name: The model or profile; empty for the sum of those that are not named.
        amount: In the limit's meter.
        requests: Successful calls that the limit looks at, the uncounted ones included.
        uncounted: Calls of which nobody can say what they add, so that ``amount`` is the least that it can be.
    """

    name: str
    amount: int
    requests: int
    uncounted: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who used what of a limit's window.

    Attributes:
        from_ms: First instant that the rows cover.
        to_ms: First instant that they no longer cover whole.
        is_exact: Whether that is the limit's window itself.
        is_complete: Whether all rows of it were read.
        total: Sum of the rows in the limit's meter.
        uncounted: Calls that may be missing in it.
        models: Largest first.
        profiles: Largest first.
    """

    from_ms: int
    to_ms: int
    is_exact: bool
    is_complete: bool
    total: int
    uncounted: int
    models: tuple[Share, ...]
    profiles: tuple[Share, ...]


@dataclass
class _Tally:
    by_model: dict[str, Share] = field(default_factory=dict)
    by_profile: dict[str, Share] = field(default_factory=dict)
    amount: int = 0
    uncounted: int = 0

    def add(self, key: RollupKey, found: Counted, requests: int) -> None:
        self.amount += found.amount
        self.uncounted += found.uncounted
        for names, name in ((self.by_model, key.model), (self.by_profile, key.profile)):
            before = names.get(name, Share(name, 0, 0))
            names[name] = Share(
                name,
                before.amount + found.amount,
                before.requests + requests,
                before.uncounted + found.uncounted,
            )


def range_of(reading: Reading, now_ms: int) -> tuple[int, int]:
    """Return [from, to) in whole quarter-hours: what rows to read for the window of ``reading``."""
    if isinstance(reading.limit.window, CalendarWindow):
        return reading.window_start_ms, reading.window_end_ms
    start_ms, last_ms = reading.limit.window.counted_from_ms(now_ms), now_ms + MAX_FUTURE_MS
    return start_ms - start_ms % QUARTER_MS, last_ms - last_ms % QUARTER_MS + QUARTER_MS


def explain(
    reading: Reading, pages: Iterable[Iterable[tuple[RollupKey, Sums]]], now_ms: int, *, max_pages: int
) -> Explanation:
    """Add up the rows of a limit's window.

    Args:
        reading: What the limit says at ``now_ms``.
        pages: Rows of the tenant in ``range_of(reading, now_ms)``, in the order of time.
        now_ms: The instant of the reading.
        max_pages: Pages that are read at most. The answer is then not complete, and ``to_ms`` says how far it went.
    """
    from_ms, to_ms = range_of(reading, now_ms)
    limit = reading.limit.limit
    tally = _Tally()
    last_ms, is_complete = from_ms, True
    for read, page in enumerate(pages, 1):
        for key, sums in page:
            last_ms = key.quarter_ms
            if limit.scope.covers(key.profile, key.model) is not False:
                tally.add(key, counted(limit, sums, key.profile, key.model), sums.requests)
        if read == max_pages:
            is_complete = False
            break
    is_exact = isinstance(reading.limit.window, CalendarWindow) and is_complete
    end_ms = to_ms if is_complete else last_ms
    shares = _shares(tally.by_model), _shares(tally.by_profile)
    return Explanation(from_ms, end_ms, is_exact, is_complete, tally.amount, tally.uncounted, *shares)


def decisive(readings: Iterable[Reading]) -> Reading | None:
    """Return the limit that decides: of those that deny the one that denies longest, else the one nearest to its end.

    None when there are no limits. A shadow limit decides nothing.
    """
    return max((reading for reading in readings if not reading.limit.shadow), key=severity, default=None)


def _shares(names: dict[str, Share]) -> tuple[Share, ...]:
    ranked = sorted(names.values(), key=lambda share: (-share.amount, -share.requests, share.name))
    rest = ranked[TOP:]
    if not rest:
        return tuple(ranked)
    others = Share(
        "",
        sum(share.amount for share in rest),
        sum(share.requests for share in rest),
        sum(share.uncounted for share in rest),
    )
    return (*ranked[:TOP], others)
