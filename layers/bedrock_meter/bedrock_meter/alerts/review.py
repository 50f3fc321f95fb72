"""What nobody judged: rises whose hint the stream gave up, or lost with a day of outage.

The evaluator works on hints, and the index ``due`` knows only what a verdict has written. A rise that was never judged
is in neither. So each minute looks at one sixtieth of all gauges beside their states, and has the evaluator judge those
about which it would say something new. Nothing is remembered in between: the minute says which part it is, so a run
that is left out costs its part an hour more. The look is not consistent and need not be: the verdict is made from a
read of its own.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from bedrock_meter.alerts.evaluator import Evaluated, TenantState, is_unjudged
from bedrock_meter.alerts.sweep import LAST_CALL_MS, Failure, Worklist
from bedrock_meter.limits.gauge import Gauge

PARTS = 60
"""One a minute: whatever nobody judged is found within an hour. As many as the index has (``storage/keys.py``)."""

_MINUTE_MS = 60_000


class Gauges(Protocol):
    """All gauges with their states."""

    def part(self, number: int, of: int) -> Iterator[tuple[Gauge, TenantState]]:
        """Yield those of part ``number`` (from 0) of ``of``; a tenant is in the same part each time."""


class Review:
    """Finds tenants whose latest change nobody judged. One instance lives as long as the function's environment."""

    def __init__(self, gauges: Gauges, worklist: Worklist, *, gauge_key: str, clock: Callable[[], int]) -> None:
        self._gauges = gauges
        self._worklist = worklist
        self._gauge_key = gauge_key
        self._clock = clock

    def run(self, report: Evaluated, remaining_ms: Callable[[], int]) -> list[Failure]:
        """Judge what this minute's part holds unjudged; stops in time, the rest is found an hour later.

        Doing it twice, or beside the evaluator, publishes nothing new.
        """
        now_ms = self._clock()
        number = now_ms // _MINUTE_MS % PARTS

        def in_time() -> Iterator[tuple[str, str]]:
            for gauge, state in self._gauges.part(number, PARTS):
                if remaining_ms() < LAST_CALL_MS:
                    return
                if is_unjudged(gauge, state, now_ms):
                    yield gauge.tenant, self._gauge_key

        return self._worklist.handle_all(in_time(), report)
