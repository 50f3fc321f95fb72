"""How old the overrides are that rate a call."""

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.cached import FRESH_FOR_DATED_AHEAD_MS, FRESH_FOR_MS, CachedRater
from bedrock_meter.pricing.overrides import EFFECTIVE_AFTER_MS, Override, OverrideSet
from bedrock_meter.pricing.rating import Call
from tests.doubles.records import NOW_MS

DEARER = OverrideSet(1, (Override(NOW_MS + EFFECTIVE_AFTER_MS, percent_e6=100_000_000),))
"""As somebody decides at ``NOW_MS``, 70 s ahead: twice the price."""

CALL = Call("acme", "p", "amazon.nova-lite-v1:0", "us-east-1", None, NOW_MS, TokenCounts(1_000_000))


class Store:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.held = OverrideSet()
        self.reads = 0

    def read(self) -> OverrideSet:
        self.reads += 1
        return self.held


class Scene:
    """A rater that has rated once before."""

    def __init__(self, read_ms: int) -> None:
        self.store, self.now_ms = Store(), read_ms
        self.rater = CachedRater(self.store, load_book(), clock=lambda: self.now_ms)
        self.before = self.cost(read_ms)

    def cost(self, event_ms: int) -> int:
        cost = self.rater.rate(replace(CALL, event_ms=event_ms)).cost_nano_usd
        assert cost is not None
        return cost


@pytest.mark.parametrize("read_ms", [NOW_MS - FRESH_FOR_DATED_AHEAD_MS, NOW_MS - FRESH_FOR_MS + 1])
@pytest.mark.parametrize("ahead_ms", [-1, 0, 1, 230_000])
def test_what_was_read_before_a_change_rates_nothing_after_it(read_ms: int, ahead_ms: int) -> None:
    scene = Scene(read_ms)
    scene.store.held, scene.now_ms = DEARER, NOW_MS + 1
    cost = scene.cost(NOW_MS + EFFECTIVE_AFTER_MS + ahead_ms)
    assert cost == scene.before * (1 if ahead_ms < 0 else 2)


@pytest.mark.parametrize("age_ms", [0, FRESH_FOR_MS - 1, FRESH_FOR_MS, 3_600_000, -3_600_000])
def test_a_set_is_read_once_a_minute_at_most_and_before_it_decides(age_ms: int) -> None:
    scene = Scene(NOW_MS)
    scene.store.held, scene.now_ms = OverrideSet(1, (Override(0, percent_e6=100_000_000),)), NOW_MS + age_ms
    is_known = 0 <= age_ms < FRESH_FOR_MS
    assert scene.cost(min(NOW_MS, scene.now_ms)) == scene.before * (1 if is_known else 2)
    assert scene.store.reads == (1 if is_known else 2)


def test_a_log_whose_clock_is_ahead_costs_a_read_a_second() -> None:
    scene = Scene(NOW_MS)
    for _ in range(3_000):
        scene.now_ms += 1
        scene.cost(scene.now_ms + 200_000)
    assert scene.store.reads <= 4
