"""How many reservations a tenant has open at once, and for how long one can be held."""

import pytest

from bedrock_meter.errors import InvalidDefinition, TooManyOpen
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holds import EXPIRY_BUCKET_MS, OPEN_KEY, reserved
from bedrock_meter.limits.limit import NO_LIMITS
from bedrock_meter.limits.reservations import LONGEST_HELD_MS, LONGEST_LIFETIME_MS, Reservation
from bedrock_meter.limits.reserving import Reservations
from tests.doubles.records import NOW_MS
from tests.unit.limits.reserving_bench import Bench

MOST = 3


class Bounded(Bench):
    """A tenant that may have three open, with a limit and without one."""

    most_open = MOST

    def __init__(self, *, limited: bool = True) -> None:
        super().__init__()
        if not limited:
            self.tables.gauges["acme"] = Gauge("acme", 1, NO_LIMITS, {})

    def open(self, tenant: str = "acme") -> int:
        return reserved(self.tables.gauges[tenant].holds, OPEN_KEY, self.now_ms)

    def made(self, who: Reservations | None = None, **options: object) -> Reservation:
        found = (who or self.reservations).reserve("acme", Estimate(input_tokens=1), **options).reservation  # type: ignore[arg-type]
        assert found is not None
        return found


@pytest.mark.parametrize("limited", [True, False])
def test_one_more_than_a_tenant_may_have_open_is_denied_and_holds_nothing(limited: bool) -> None:
    bench = Bounded(limited=limited)
    for _ in range(MOST):
        bench.made()
    before = bench.tables.gauges["acme"]
    with pytest.raises(TooManyOpen, match=r"3 reservations open.*settle or release") as denied:
        bench.made()
    assert bench.tables.gauges["acme"] == before
    assert denied.value.most == MOST
    assert 0 < denied.value.retry_after_ms <= 2 * EXPIRY_BUCKET_MS
    assert len(bench.tables.reservations) == MOST


def test_processes_that_know_nothing_of_each_other_have_no_more_open_together() -> None:
    """Each decides on an image from before the others' holds: the gauge counts in the write that holds."""
    bench = Bounded()
    processes = [bench.process() for _ in range(5)]
    for one in processes:
        bench.reservations.release("acme", bench.made(one).id)
    made = 0
    for one in processes:
        try:
            bench.made(one)
        except TooManyOpen:
            continue
        made += 1
        assert bench.open() == made
    assert made == MOST


@pytest.mark.parametrize("end", ["released", "expired"])
def test_what_is_over_makes_room(end: str) -> None:
    bench = Bounded()
    held = [bench.made(lifetime_ms=60_000) for _ in range(MOST)]
    if end == "released":
        for _ in range(2):
            bench.reservations.release("acme", held[0].id)
        assert bench.open() == MOST - 1
        bench.made()
        with pytest.raises(TooManyOpen):
            bench.made()
    else:
        with pytest.raises(TooManyOpen) as denied:
            bench.made()
        bench.now_ms += denied.value.retry_after_ms
        bench.made()


def test_a_key_that_is_sent_again_is_no_more() -> None:
    bench = Bounded()
    made = [bench.made(key=f"k{number}") for number in range(MOST)]
    assert bench.made(bench.process(), key="k1") == made[1]
    assert bench.made(key="k1") == made[1]
    assert bench.open() == MOST


def test_the_number_open_costs_no_request() -> None:
    bench = Bounded()
    bench.made()
    assert bench.requests(bench.made) == ["hold", "put"]


@pytest.mark.parametrize("is_lease", [True, False])
def test_it_is_held_for_a_day_from_when_it_was_made_and_no_longer(is_lease: bool) -> None:
    bench = Bench()
    one = bench.reserve(100, is_lease=is_lease, lifetime_ms=LONGEST_LIFETIME_MS)
    assert one is not None
    held = one
    while held.expires_ms < NOW_MS + LONGEST_HELD_MS:
        bench.now_ms = min(held.expires_ms - 1, NOW_MS + LONGEST_HELD_MS - LONGEST_LIFETIME_MS)
        held = bench.reservations.shrink("acme", one.id, {}, lifetime_ms=LONGEST_LIFETIME_MS)
        assert bench.now_ms < held.expires_ms <= NOW_MS + LONGEST_HELD_MS
    bench.now_ms += 1
    with pytest.raises(InvalidDefinition, match=r"extend_seconds: .*at most 24 hours.*make a new one"):
        bench.reservations.shrink("acme", one.id, {}, lifetime_ms=LONGEST_LIFETIME_MS)
    assert bench.tables.reservations["acme", one.id] == held
    smaller = bench.reservations.shrink("acme", one.id, {"input_tokens": 5}, lifetime_ms=60_000)
    assert smaller.expires_ms == held.expires_ms
    bench.now_ms = held.expires_ms
    over = bench.reservations.shrink("acme", one.id, {}, lifetime_ms=LONGEST_LIFETIME_MS)
    assert not over.is_open(bench.now_ms), "what is over stays over"
