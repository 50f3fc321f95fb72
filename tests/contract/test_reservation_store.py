"""What every reservation store promises."""

from dataclasses import replace

import msgspec

from bedrock_meter.limits.destination import Called
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, read
from bedrock_meter.limits.holding import Hold
from bedrock_meter.limits.holds import EXPIRY_BUCKET_MS, OPEN_CHARGE, held_name, passed
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation, admitting_charges, charged_for, decide, held_for
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.limits.windows import RollingWindow
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, entry_for
from bedrock_meter.usage.packing import Chunk, Writes, writes_of
from bedrock_meter.usage.settlement import Settlements
from tests.contract.conftest import Stores
from tests.doubles.records import NOW_MS, invocation, limit

LATER_MS = NOW_MS + 3_650 * 86_400_000
"""Years away: the local stack forgets what has expired by its own clock."""

ESTIMATE = Estimate(input_tokens=300)


def installed(stores: Stores) -> Gauge:
    wanted = [limit("1h", 1000, hard=True), limit("1d", 10, meter=Meter.REQUESTS)]
    install_limits(stores.installation, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "x")
    return stores.gauge("acme")


def hold_of(gauge: Gauge, number: int = 1, *, ceilings: dict[str, int] | None = None, **changes: object) -> Hold:
    reservation = Reservation("acme", f"{number:032x}", held_for(gauge.layout, ESTIMATE), LATER_MS, nonce=f"n{number}")
    reservation = replace(reservation, **changes)  # type: ignore[arg-type]
    open_ended = {"c0": 10**6, "c1": 10**6}
    charges = charged_for(gauge.layout, ESTIMATE)
    return Hold(reservation, gauge.layout.version, ceilings or open_ended, charges, passed(gauge.holds, NOW_MS))


def reserved(stores: Stores, now_ms: int = NOW_MS) -> list[int]:
    return [reading.reserved for reading in read(stores.gauge("acme"), now_ms)]


def test_a_hold_is_reserved_and_charged_and_shows_the_gauge(stores: Stores) -> None:
    gauge = installed(stores)
    hold = hold_of(gauge)
    assert stores.reservations.hold(hold) == (True, stores.gauge("acme"))
    assert reserved(stores) == [300, 1]
    held = stores.gauge("acme")
    assert (held.holds["c0"], held.holds["c1"], held.rev) == (300, 1, gauge.rev)
    assert len(held.holds) == 5


def test_a_hold_is_refused_above_any_ceiling_and_shows_the_gauge(stores: Stores) -> None:
    gauge = installed(stores)
    stores.reservations.hold(hold_of(gauge))
    for ceilings in ({"c0": 299, "c1": 1}, {"c0": 300, "c1": 0}):
        assert stores.reservations.hold(hold_of(gauge, 2, ceilings=ceilings)) == (False, stores.gauge("acme"))
    assert reserved(stores) == [300, 1]
    assert stores.reservations.hold(hold_of(gauge, 2, ceilings={"c0": 300, "c1": 1}))[0]
    assert reserved(stores) == [600, 2]


def test_a_hold_is_refused_under_another_layout(stores: Stores) -> None:
    gauge = installed(stores)
    hold = replace(hold_of(gauge), version=gauge.layout.version - 1)
    assert stores.reservations.hold(hold) == (False, gauge)


def test_a_hold_is_refused_under_another_suspension(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    suspended = Suspension(1, "unpaid: \u20ac 5", NOW_MS, "somebody")
    over = replace(suspended, ordinal=2, resumed_ms=NOW_MS + 1, resumed_by="another")
    for seen, now in ((None, suspended), (suspended, over), (over, replace(suspended, ordinal=3))):
        assert stores.suspend("acme", now, seen)
        assert stores.reservations.hold(replace(hold, suspension=seen)) == (False, stores.gauge("acme"))
        assert stores.gauge("acme").suspension == now
    assert reserved(stores) == [0, 0]
    assert stores.reservations.hold(replace(hold, suspension=now))[0]
    assert reserved(stores) == [300, 1]


def test_a_tenant_without_limits_holds_the_number_of_its_reservations(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    one = Reservation("acme", "1" * 32, (), NOW_MS + 1)
    hold = Hold(one, 0, {OPEN_CHARGE: 1}, {OPEN_CHARGE: 1}, ())
    for number in (1, 2):
        assert stores.reservations.hold(hold) == (True, stores.gauge("acme"))
        assert stores.gauge("acme").holds == {**dict.fromkeys(one.holds, number), OPEN_CHARGE: number}
    assert not stores.reservations.hold(hold)[0]


def test_a_tenant_that_is_not_there_has_no_gauge(stores: Stores) -> None:
    assert stores.reservations.hold(Hold(Reservation("acme", "1" * 32, (), NOW_MS), 0, {}, {}, ())) == (False, None)
    assert stores.reservations.look("acme", "1" * 32) == (None, None)


def test_what_has_passed_is_removed_with_the_next_hold(stores: Stores) -> None:
    gauge = installed(stores)
    stores.reservations.hold(hold_of(gauge, expires_ms=NOW_MS - 3 * EXPIRY_BUCKET_MS))
    gauge = stores.gauge("acme")
    hold = hold_of(gauge, 2)
    assert len(hold.passed) == 3
    stores.reservations.hold(hold)
    assert sorted(stores.gauge("acme").holds) == sorted({**hold.reservation.holds, "c0": 0, "c1": 0})


def test_the_largest_hold_there_can_be_is_one_update(stores: Stores) -> None:
    strict = [
        replace(
            limit("1h", 10**15, meter=Meter.COST_USD, hard=True, name="n" * 30 + f"{number:02}"),
            scope=Scope(("a.*", *(f"m{other}.*" for other in range(number)))) if number < 10 else Scope(("a*", "m.*")),
            window=RollingWindow(3_600 + 60 * number),
        )
        for number in range(18)
    ]
    assert install_limits(stores.installation, "acme", strict, clock=lambda: NOW_MS, new_id=lambda: "x")
    gauge = stores.gauge("acme")
    estimate = Estimate(cost_nano_usd=7, model="a.model")
    old = [held_name(f"{one.slot}1", number) for one in gauge.layout.limits for number in range(10)]
    decision = decide(gauge, estimate, NOW_MS, NOW_MS)
    held = Reservation("acme", "1" * 32, held_for(gauge.layout, estimate), LATER_MS)
    hold = Hold(
        held,
        gauge.layout.version,
        {**admitting_charges(gauge, decision), OPEN_CHARGE: 5},
        {**charged_for(gauge.layout, estimate), OPEN_CHARGE: 1},
        passed(old, NOW_MS),
        Suspension(2, "x" * 200, 0, "y", 1, "z"),
    )
    assert (len(hold.ceilings), len(hold.charges), len(held.holds), len(hold.passed)) == (37, 19, 19, 100)
    suspended = Suspension(1, "x" * 200, 0, "y")
    assert stores.suspend("acme", suspended, None)
    assert stores.suspend("acme", hold.suspension or suspended, suspended)
    assert stores.reservations.hold(hold)[0]
    assert {one.reserved for one in read(stores.gauge("acme"), NOW_MS)} == {7}


def test_a_hold_is_refused_by_a_mark_that_its_image_did_not_show(stores: Stores) -> None:
    strict = [limit("1h", 10**9, meter=Meter.COST_USD, hard=True)]
    install_limits(stores.installation, "acme", strict, clock=lambda: NOW_MS, new_id=lambda: "x")
    before, estimate = stores.gauge("acme"), Estimate(cost_nano_usd=7)
    call = entry_for(invocation("r1"), Attribution("acme", "profile", "p", "-"), now_ms=NOW_MS, retention_ms=10**10)
    assert stores.recording.commit(writes_of(Chunk((Change(call),)), {"acme": before.layout}, NOW_MS)) is None
    decision = decide(before, estimate, NOW_MS, NOW_MS)
    assert decision.allowed
    held = Reservation("acme", "1" * 32, held_for(before.layout, estimate), LATER_MS)
    charges = charged_for(before.layout, estimate)
    hold = Hold(held, before.layout.version, admitting_charges(before, decision), charges, ())
    is_held, gauge = stores.reservations.hold(hold)
    assert not is_held
    assert gauge is not None
    assert not decide(gauge, estimate, NOW_MS, NOW_MS).allowed


def test_it_is_written_down_once(stores: Stores) -> None:
    gauge = installed(stores)
    one = hold_of(gauge).reservation
    assert stores.reservations.put(one) is None
    assert stores.reservations.put(replace(one, nonce="other")) == one
    assert stores.reservations.find("acme", one.id) == one
    assert stores.reservations.find("globex", one.id) is None
    assert stores.reservations.look("acme", one.id) == (gauge, one)
    assert stores.reservations.look("acme", None) == (gauge, None)


def test_a_lease_and_what_it_was_asked_for_with_stay(stores: Stores) -> None:
    gauge = installed(stores)
    estimate = Estimate(9, 1, 2, 3, 4, 5, 6, "a.model", "a1c3m5e7k9q2", "geo", "eu-west-1", "flex", True)
    called = Called("eu.a.model", "a1c3m5e7k9q2", "eu-west-1")
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1c3m5e7k9q2"
    one = hold_of(
        gauge, is_lease=True, estimate=estimate, called=called, through=arn, key="job-7", created_ms=NOW_MS
    ).reservation
    assert [held.limits for held in one.held] == [("requests-1d",), ("total_tokens-1h",)]
    stores.reservations.put(one)
    assert stores.reservations.find("acme", one.id) == one


def test_a_hold_that_was_not_written_down_is_given_back(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    stores.reservations.hold(hold)
    stores.reservations.give_back(hold.reservation)
    assert reserved(stores) == [0, 0]
    assert stores.gauge("acme").holds["c0"] == 300


def test_a_change_moves_what_is_held(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    one = hold.reservation
    stores.reservations.hold(hold)
    stores.reservations.put(one)
    smaller = one.shrunk(Estimate(input_tokens=120), one.expires_ms + EXPIRY_BUCKET_MS)
    assert stores.reservations.change(one, smaller, NOW_MS) == smaller
    assert stores.reservations.find("acme", one.id) == smaller
    assert reserved(stores) == [120, 1]
    assert stores.gauge("acme").holds[next(iter(one.holds))] == 0


def test_a_change_of_what_is_not_there_any_more_shows_what_is(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    one = hold.reservation
    stores.reservations.hold(hold)
    stores.reservations.put(one)
    released = one.released()
    assert stores.reservations.change(one, released, NOW_MS) == released
    assert stores.reservations.change(one, one.shrunk(Estimate(input_tokens=1), 0), NOW_MS) == released
    assert stores.reservations.change(replace(one, id="9" * 32), released, NOW_MS) is None
    assert reserved(stores) == [0, 0]


def test_an_expired_one_moves_nothing(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    one = hold.reservation
    stores.reservations.hold(hold)
    stores.reservations.put(one)
    assert stores.reservations.change(one, one.released(), one.expires_ms) == one.released()
    assert reserved(stores) == [300, 1]


def test_holds_and_charges_outlive_a_change_of_limits(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    stores.reservations.hold(hold)
    wanted = [limit("5m", 700, hard=True)]
    install_limits(stores.installation, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "y")
    assert reserved(stores) == [300]
    assert (
        stores.gauge("acme").holds[held_name("t", int(next(iter(hold.reservation.holds)).partition(".")[2], 36))] == 300
    )


def recorded(stores: Stores, number: int, reservation: Reservation) -> Writes:
    record = invocation(f"r{number}")
    entry = entry_for(record, Attribution("acme", "profile", "p", "m"), now_ms=NOW_MS, retention_ms=34_560_000_000)
    chunk = Chunk((Change(msgspec.structs.replace(entry, reservation=reservation.id), reservation=reservation.id),))
    settlements = Settlements({("acme", reservation.id): reservation})
    return writes_of(chunk, {"acme": stores.gauge("acme").layout}, NOW_MS, settlements)


def test_a_record_settles_in_the_transaction_that_counts_it(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    one = hold.reservation
    stores.reservations.hold(hold)
    stores.reservations.put(one)
    assert stores.recording.reservations([("acme", one.id), ("globex", one.id)]) == {("acme", one.id): one}
    writes = recorded(stores, 1, one)
    assert (writes.items, len(writes.settled)) == (4, 1)
    assert stores.recording.commit(writes) is None
    assert stores.reservations.find("acme", one.id) == one.settled(writes.changes[0].entry.key)
    gauge = stores.gauge("acme")
    assert [(reading.used, reading.reserved) for reading in read(gauge, NOW_MS)] == [(15, 0), (1, 0)]
    assert (gauge.holds["c0"], gauge.holds["c1"]) == (315, 2)
    entry = stores.entry(writes.changes[0].entry.key)
    assert entry is not None
    assert entry.reservation == one.id


def test_a_reservation_that_changed_meanwhile_is_shown_and_nothing_is_written(stores: Stores) -> None:
    hold = hold_of(installed(stores))
    one = hold.reservation
    stores.reservations.hold(hold)
    stores.reservations.put(one)
    writes = recorded(stores, 1, one)
    smaller = one.shrunk(Estimate(input_tokens=20), 0)
    stores.reservations.change(one, smaller, NOW_MS)
    refused = stores.recording.commit(writes)
    assert refused is not None
    assert refused.reservations == {("acme", one.id): smaller}
    assert (refused.held, refused.gauges, refused.busy) == ({}, {}, frozenset())
    assert stores.entry(writes.changes[0].entry.key) is None
    assert reserved(stores) == [20, 1]


def test_a_reservation_that_is_gone_is_shown_as_nothing(stores: Stores) -> None:
    one = hold_of(installed(stores)).reservation
    refused = stores.recording.commit(recorded(stores, 1, one))
    assert refused is not None
    assert refused.reservations == {("acme", one.id): None}
