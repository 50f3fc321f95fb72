"""Late usage is reported whatever becomes of its limit: once, all of it, under the window that it was of.

The oracle is a list of calls: what arrived after its window had closed for good is reported by somebody, to the token.
"""

from collections import Counter
from itertools import count

import pytest

from bedrock_meter.alerts.contracts import USAGE_ADJUSTED
from bedrock_meter.clock import iso
from bedrock_meter.errors import LeaseLost
from bedrock_meter.limits.gauge import stale_buckets
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import MAX_LIMITS, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import CalendarWindow
from tests.doubles.memory import MemoryInstallationStore
from tests.doubles.records import NOW_MS, limit
from tests.unit.alerts.test_evaluator import Scene

DAY_MS = 86_400_000


def daily(zone: str = "UTC", maximum: int = 1_000, **other: object) -> Limit:
    return Limit("spend", Meter.TOTAL_TOKENS, CalendarWindow("day", zone), maximum, **other)  # type: ignore[arg-type]


def monthly(day: int) -> Limit:
    return Limit("spend", Meter.TOTAL_TOKENS, CalendarWindow("month", "UTC", day), 1_000)


CHANGES: dict[str, tuple[Limit, tuple[Limit, ...]]] = {
    "another zone": (daily(), (daily("Asia/Tokyo"),)),
    "another anchor": (monthly(1), (monthly(15),)),
    "another window": (daily(), (monthly(1),)),
    "a rolling one": (daily(), (limit("1d", name="spend"),)),
    "another scope": (daily(), (daily(scope=Scope(models=("a.*",))),)),
    "another maximum": (daily(), (daily(maximum=5),)),
    "another name": (daily(), (limit("day", 5, name="renamed"),)),
    "removed": (daily(), ()),
    "one of two": (daily(), (limit("1h"),)),
    "as it is": (daily(), (daily(),)),
}


class Changing(Scene):
    """A tenant whose limits change while usage arrives late."""

    def __init__(self, *limits: Limit) -> None:
        super().__init__()
        self.ids = count()
        self.late: Counter[str] = Counter()
        self.install(*limits)

    def install(self, *limits: Limit) -> bool:
        store = MemoryInstallationStore(self.tables)
        return install_limits(store, "acme", limits, clock=lambda: self.now_ms, new_id=lambda: f"i{next(self.ids)}")

    def use_late(self, amount: int, days: int = 3) -> None:
        """Record usage of some days ago; it is late under each calendar limit of today."""
        at_ms = self.now_ms - days * DAY_MS
        for one in self.tables.gauges["acme"].layout.limits:
            window = one.window
            if isinstance(window, CalendarWindow) and window.bounds(at_ms)[1] + DAY_MS < self.now_ms:
                self.late[iso(window.bounds(at_ms)[0])] += amount
        self.use(amount, event_ms=at_ms)

    @property
    def reported(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for event in {event.id: event for event in self.bus.received}.values():
            if event.detail_type == USAGE_ADJUSTED:
                found[event.detail["window_start"]] += event.detail["adjusted_by"]
        return found


@pytest.mark.parametrize("looks", ["before", "between", "after", "never between"])
@pytest.mark.parametrize("change", CHANGES)
def test_late_usage_is_reported_whatever_becomes_of_its_limit(change: str, looks: str) -> None:
    before, after = CHANGES[change]
    scene = Changing(before, limit("1h"))
    scene.use_late(700, days=70)
    if looks == "before":
        scene.evaluate()
    scene.install(*after)
    if looks == "between":
        scene.evaluate()
    scene.use_late(30, days=70)
    scene.install(before)
    scene.use_late(5, days=71)
    scene.install()
    scene.evaluate()
    scene.evaluate()
    assert scene.reported == scene.late
    gauge = scene.tables.gauges["acme"]
    assert not [name for name in gauge.buckets if name.endswith("+")]
    scene.install(before)
    assert not scene.tables.gauges["acme"].layout.closing, "what was reported closes nothing any more"


def test_what_is_closing_counts_nowhere_and_only_its_late_buckets_stay() -> None:
    scene = Changing(daily())
    scene.use(50)
    scene.use_late(700)
    scene.install(daily("Asia/Tokyo"))
    gauge = scene.tables.gauges["acme"]
    (closing,) = gauge.layout.closing
    stale = stale_buckets(gauge.layout, gauge.buckets, scene.now_ms)
    assert {name[-1] == "+" for name in gauge.buckets if name[0] == closing.slot} == {True, False}
    assert not [name for name in stale if name.endswith("+")]
    assert [name for name in stale if name[0] == closing.slot]


def test_a_limit_without_late_usage_leaves_nothing_behind() -> None:
    scene = Changing(daily())
    scene.use(50)
    scene.install(monthly(1))
    assert scene.tables.gauges["acme"].layout.closing == ()


def test_where_no_slot_is_left_the_change_waits_and_nothing_is_lost() -> None:
    """All limits are replaced twice before anybody looks."""
    anchors = [[monthly(day + 1) for day in range(1 + half * 9, 10 + half * 9)] for half in range(3)]
    months = [[Limit(f"m{at}", one.meter, one.window, 1) for at, one in enumerate(some * 2)] for some in anchors]
    named = [
        [
            Limit(one.name, Meter.REQUESTS if at >= len(some) // 2 else one.meter, one.window, 1)
            for at, one in enumerate(some)
        ]
        for some in months
    ]
    assert {len(some) for some in named} == {MAX_LIMITS}
    scene = Changing(*named[0])
    scene.use_late(7, days=70)
    scene.install(*named[1])
    with pytest.raises(LeaseLost, match="late usage"):
        scene.install(*named[2])
    scene.evaluate()
    assert scene.install(*named[2])
    assert scene.reported == scene.late


def test_a_zone_that_changes_each_minute_loses_nothing() -> None:
    scene = Changing(daily())
    for number, zone in enumerate(("Asia/Tokyo", "America/New_York", "UTC", "Asia/Kolkata") * 3):
        scene.use_late(number + 1)
        scene.install(daily(zone))
        scene.now_ms = NOW_MS + number * 60_000
        if number % 5 == 0:
            scene.evaluate()
    scene.evaluate()
    assert scene.reported == scene.late
