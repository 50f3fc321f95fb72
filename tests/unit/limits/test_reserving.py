"""The order of steps, and what it costs in requests."""

import pytest

from bedrock_meter.errors import Contended, InvalidDefinition, KeyUsed, UnknownReservation, UnknownTenant
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits import wiring
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holding import Hold
from bedrock_meter.limits.holds import EXPIRY_BUCKET_MS
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import (
    DEFAULT_LIFETIME_MS,
    LONGEST_LIFETIME_MS,
    Reservation,
    named_in,
)
from bedrock_meter.limits.reserving import ATTEMPTS, REMEMBER_MS
from bedrock_meter.settings import Tables
from tests.doubles.records import NOW_MS, limit
from tests.unit.limits.reserving_bench import TOKENS, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_reservation_reads_and_the_next_ones_need_two_requests(bench: Bench) -> None:
    assert bench.requests(lambda: bench.reserve(100)) == ["look", "hold", "put"]
    bench.now_ms += 3_600_000
    assert bench.requests(lambda: bench.reserve(100)) == ["hold", "put"]
    assert bench.requests(lambda: bench.reserve(100, key="a")) == ["hold", "put"]


def test_what_others_did_meanwhile_disturbs_only_near_the_limit(bench: Bench) -> None:
    bench.reserve(100)
    bench.use(200)
    bench.process().reserve("acme", Estimate(input_tokens=300))
    assert bench.requests(lambda: bench.reserve(100)) == ["hold", "put"]
    bench.process().reserve("acme", Estimate(input_tokens=100))
    assert bench.requests(lambda: bench.reserve(200)) == ["hold", "put"]
    assert bench.reserved == 800
    assert bench.reserve(1) is None


def test_a_refused_hold_is_decided_anew_on_the_current_image(bench: Bench) -> None:
    mine = bench.reserve(500)
    assert mine is not None
    other = bench.process().reserve("acme", Estimate(input_tokens=400)).reservation
    assert other is not None
    bench.process().release("acme", other.id)
    assert bench.requests(lambda: bench.reserve(500)) == ["hold", "hold", "put"]
    assert bench.reserved == 1000


def test_it_denies_from_the_read_and_writes_nothing(bench: Bench) -> None:
    bench.use(950)
    before = bench.tables.gauges["acme"]
    answer = bench.reservations.reserve("acme", Estimate(input_tokens=51))
    assert (answer.reservation, bench.store.requests) == (None, ["look"])
    assert answer.denied_by is not None
    assert answer.denied_by.limit.name == "total_tokens-1h"
    assert answer.decision is not None
    assert answer.decision.retry_after_ms == 3_780_000
    assert bench.tables.gauges["acme"] == before
    assert bench.tables.reservations == {}


def test_a_denial_by_what_is_used_is_remembered_for_seconds(bench: Bench) -> None:
    bench.use(1000)
    bench.reserve(1)
    bench.now_ms += REMEMBER_MS
    assert bench.requests(lambda: bench.reserve(1)) == []
    bench.now_ms += 1
    assert bench.requests(lambda: bench.reserve(1)) == ["look"]


def test_a_denial_by_what_is_reserved_is_not_remembered(bench: Bench) -> None:
    held = bench.reserve(1000)
    assert held is not None
    assert bench.requests(lambda: bench.reserve(1)) == ["look"]
    bench.process().release("acme", held.id)
    assert bench.reserve(1) is not None


def test_the_same_key_returns_the_same_reservation(bench: Bench) -> None:
    first = bench.reserve(100, key="call-1")
    for process in (bench.reservations, bench.process()):
        again = process.reserve("acme", Estimate(input_tokens=100), key="call-1")
        assert (again.reservation, again.is_new) == (first, False)
    assert bench.reserved == 100
    assert first is not None
    assert (first.key, first.created_ms, first.estimate) == ("call-1", NOW_MS, Estimate(input_tokens=100))
    assert bench.reservations.load("acme", first.id) == first


def test_a_key_that_is_used_for_something_else_is_refused_and_nothing_more_is_held(bench: Bench) -> None:
    bench.reserve(100, key="call-1")
    for process in (bench.reservations, bench.process()):
        with pytest.raises(KeyUsed, match="asked for differently"):
            process.reserve("acme", Estimate(input_tokens=101), key="call-1")
        with pytest.raises(KeyUsed):
            process.reserve("acme", Estimate(input_tokens=100), key="call-1", is_lease=True)
        with pytest.raises(KeyUsed):
            process.reserve("acme", Estimate(input_tokens=100, model="a.model"), key="call-1")
    assert bench.reserved == 100


def test_the_same_key_returns_it_also_where_nothing_more_fits(bench: Bench) -> None:
    first = bench.reserve(1000, key="call-1")
    assert bench.reserve(1000, key="call-1") == first
    bench.use(1000)
    assert bench.reserve(1000, key="call-1") == first
    assert bench.process().reserve("acme", Estimate(input_tokens=1000), key="call-1").reservation == first
    assert bench.reserved == 1000


def test_who_has_not_sent_the_key_before_need_not_look_for_it(bench: Bench) -> None:
    bench.use(1000)
    bench.reserve(1)
    assert bench.requests(lambda: bench.reserve(1, key="call-1", is_first=True)) == []
    assert bench.requests(lambda: bench.reserve(1, key="call-1")) == ["look"]


def test_a_crash_between_the_two_writes_holds_too_much_until_it_expires(bench: Bench) -> None:
    class Crash(BaseException):
        pass

    def crash(_: Reservation) -> None:
        raise Crash

    put, bench.store.put = bench.store.put, crash  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        bench.reserve(300, key="call-1")
    bench.store.put = put  # type: ignore[method-assign]
    again = bench.process().reserve("acme", Estimate(input_tokens=300), key="call-1")
    assert again.is_new
    assert bench.reserved == 600
    bench.now_ms += DEFAULT_LIFETIME_MS + 2 * EXPIRY_BUCKET_MS
    assert bench.reserved == 0


def test_ones_own_put_is_known_by_its_nonce(bench: Bench) -> None:
    put = bench.store.put

    def repeated(reservation: Reservation) -> Reservation | None:
        put(reservation)
        return bench.tables.reservations[reservation.tenant, reservation.id]

    bench.store.put = repeated  # type: ignore[method-assign]
    answer = bench.reservations.reserve("acme", Estimate(input_tokens=300), key="call-1")
    assert answer.is_new
    assert bench.reserved == 300


def test_shrinking_gives_back_what_was_not_used_and_twice_changes_nothing(bench: Bench) -> None:
    held = bench.reserve(300)
    assert held is not None
    for _ in range(2):
        smaller = bench.reservations.shrink("acme", held.id, {"input_tokens": 120})
        assert (smaller.amounts, bench.reserved) == ({TOKENS: 120}, 120)
    assert bench.requests(lambda: bench.reservations.shrink("acme", held.id, {"input_tokens": 80}, known=smaller)) == [
        "change"
    ]
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 999}).amounts == {TOKENS: 80}
    assert bench.reserved == 80


def test_an_old_idea_of_a_reservation_is_corrected_by_the_store(bench: Bench) -> None:
    held = bench.reserve(300)
    assert held is not None
    bench.process().shrink("acme", held.id, {"input_tokens": 100})
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 50}, known=held).generation == 3
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 70}, known=held).amounts == {TOKENS: 50}
    assert bench.reserved == 50


def test_it_can_be_renewed_while_it_is_open_and_not_afterwards(bench: Bench) -> None:
    held = bench.reserve(300, lifetime_ms=60_000, is_lease=True)
    assert held is not None
    bench.now_ms = held.expires_ms - 1
    renewed = bench.reservations.shrink("acme", held.id, {}, lifetime_ms=DEFAULT_LIFETIME_MS)
    assert (renewed.expires_ms, renewed.is_lease) == (bench.now_ms + DEFAULT_LIFETIME_MS, True)
    bench.now_ms = renewed.expires_ms - 1
    assert bench.reserved == 300
    bench.now_ms += 1
    assert bench.reservations.shrink("acme", held.id, {}, lifetime_ms=DEFAULT_LIFETIME_MS) == renewed


def test_releasing_gives_all_back_once(bench: Bench) -> None:
    held = bench.reserve(300)
    bench.reserve(50)
    assert held is not None
    for _ in range(2):
        assert bench.reservations.release("acme", held.id).status == "released"
        assert bench.reserved == 50
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 1}).status == "released"


def test_an_expired_one_gives_nothing_back(bench: Bench) -> None:
    held = bench.reserve(300)
    assert held is not None
    bench.now_ms = held.expires_ms
    assert bench.reserved == 300
    bench.reservations.release("acme", held.id)
    assert bench.reserved == 300
    bench.now_ms += 2 * EXPIRY_BUCKET_MS
    assert bench.reserved == 0


def test_holds_that_have_passed_are_removed_by_the_way(bench: Bench) -> None:
    bench.reserve(300)
    bench.now_ms += LONGEST_LIFETIME_MS
    bench.reserve(10)
    bench.reserve(10)
    names = bench.tables.gauges["acme"].holds
    assert sum(name.startswith("xt.") for name in names) == sum(name.startswith("xn.") for name in names) == 1


def test_the_gauge_does_not_grow_with_open_reservations(bench: Bench) -> None:
    for _ in range(100):
        bench.reserve(1)
    assert {name[:2] for name in bench.tables.gauges["acme"].holds} == {"xt", "xn", "c0", "cn"}
    assert len(bench.tables.gauges["acme"].holds) == 4


def test_whoever_wires_nothing_gets_ids_that_a_record_can_name() -> None:
    first, second = (wiring.reservations(None, Tables("", "", "", ""))._new_id() for _ in range(2))
    assert first != second
    assert named_in(((RESERVATION_KEY, first),)) == first


def test_open_reservations_can_be_limited() -> None:
    bench = Bench()
    installed = InstalledLimit(limit("1m", 2, meter=Meter.OPEN_RESERVATIONS), "0", 1)
    bench.tables.gauges["acme"] = Gauge("acme", 1, Layout(1, (installed,)), {})

    def reserve() -> Reservation | None:
        return bench.reservations.reserve("acme", Estimate(input_tokens=10)).reservation

    first = reserve()
    assert first is not None
    assert reserve() is not None
    assert reserve() is None
    bench.reservations.release("acme", first.id)
    assert reserve() is not None


def test_a_changed_layout_is_taken_from_the_refusal(bench: Bench) -> None:
    bench.reserve(1)
    installed = InstalledLimit(limit("1h", 5, hard=True), "0", 2)
    bench.tables.change_gauge("acme", layout=Layout(2, (installed,)))
    answer = bench.reservations.reserve("acme", Estimate(input_tokens=5))
    assert answer.reservation is None
    assert answer.denied_by is not None
    assert answer.denied_by.limit.maximum == 5


def test_busy_is_waited_for_and_never_for_ever(bench: Bench) -> None:
    bench.store.busy = 3
    assert bench.reserve(1) is not None
    assert len(bench.slept_ms) == 3
    bench.store.busy = 10 * ATTEMPTS
    with pytest.raises(Contended):
        bench.reserve(1)
    with pytest.raises(Contended):
        bench.reservations.release("acme", "0" * 32)
    bench.store.busy = 0
    assert bench.reserve(1) is not None


def test_losing_against_others_each_time_ends(bench: Bench) -> None:
    def refuse(hold: Hold) -> tuple[bool, Gauge | None]:
        return False, bench.tables.gauges["acme"]

    bench.store.hold = refuse  # type: ignore[method-assign]
    with pytest.raises(Contended):
        bench.reserve(1)


def test_unknown_names(bench: Bench) -> None:
    with pytest.raises(UnknownTenant):
        bench.reservations.reserve("nobody", Estimate(input_tokens=1))
    with pytest.raises(UnknownReservation):
        bench.reservations.release("acme", "0" * 32)
    with pytest.raises(UnknownReservation):
        bench.reservations.load("acme", "0" * 32)
    bench.reserve(1)
    del bench.tables.gauges["acme"]
    with pytest.raises(UnknownTenant):
        bench.reserve(1)


@pytest.mark.parametrize(
    "options",
    [{"key": ""}, {"key": "x" * 201}, {"key": "a\nb"}, {"lifetime_ms": 999}, {"lifetime_ms": LONGEST_LIFETIME_MS + 1}],
)
def test_what_is_out_of_bounds_is_refused(bench: Bench, options: dict[str, object]) -> None:
    with pytest.raises(InvalidDefinition):
        bench.reserve(1, **options)
    assert bench.store.requests == []


@pytest.mark.parametrize("amount", [-1, 10**18])
def test_amounts_have_bounds(bench: Bench, amount: int) -> None:
    with pytest.raises(InvalidDefinition, match="input_tokens"):
        bench.reserve(amount)


def test_only_so_many_tenants_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_meter.limits.reserving.REMEMBERED_TENANTS", 2)
    for tenant in ("a", "b", "c"):
        bench.tables.gauges[tenant] = Gauge(tenant, 1, Layout(0, ()), {})
        bench.reservations.reserve(tenant, Estimate(input_tokens=1))
    assert len(bench.reservations._images) == 2
    assert bench.requests(lambda: bench.reservations.reserve("c", Estimate(input_tokens=1))) == ["hold", "put"]


def test_the_wait_grows_while_the_same_reservations_are_in_the_way() -> None:
    bench = Bench()
    assert bench.reserve(900) is not None
    waits = []
    for after_ms in (0, 1_000, 1_000, 10_000):
        bench.now_ms += after_ms
        answer = bench.reservations.reserve("acme", Estimate(input_tokens=200))
        assert answer.decision is not None
        waits.append(answer.decision.retry_after_ms)
    assert waits == [1_000, 1_000, 2_000, 12_000]
    assert bench.reserve(100) is not None
    answer = bench.reservations.reserve("acme", Estimate(input_tokens=200))
    assert answer.decision is not None
    assert answer.decision.retry_after_ms == 1_000
