"""What a reservation holds, and how it is decided."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name
from bedrock_meter.limits.holds import EXPIRY_BUCKET_MS, bucket_end_ms, expiry_bucket, held_name
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import (
    Held,
    Reservation,
    admitting_charges,
    charged_for,
    decide,
    held_for,
    moved_holds,
    reservation_id,
)
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import resume, suspend
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow
from tests.doubles.records import NOW_MS

HOUR = RollingWindow(3600)


def installed(meter: Meter = Meter.TOTAL_TOKENS, slot: str = "0", maximum: int = 100) -> InstalledLimit:
    return InstalledLimit(Limit(f"limit-{slot}", meter, HOUR, maximum, hard=True), slot, 1)


def gauge(*limits: InstalledLimit, used: int = 0, held: int = 0, charged: int = 0) -> Gauge:
    holds = {held_name("t", expiry_bucket(NOW_MS)): held, "c0": charged}
    return Gauge("acme", 1, Layout(1, limits), {bucket_name("0", HOUR, NOW_MS): used}, holds=holds)


def reservation(**changes: object) -> Reservation:
    made = Reservation("acme", "1" * 32, (Held("r", Meter.REQUESTS, 1), Held("t", Meter.TOTAL_TOKENS, 50)), NOW_MS)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_it_holds_once_what_several_limits_count_and_charges_each_of_them() -> None:
    layout = Layout(
        1, (installed(), installed(slot="1"), installed(Meter.REQUESTS, "2"), installed(Meter.INPUT_TOKENS, "3"))
    )
    estimate = Estimate(output_tokens=50)
    assert held_for(layout, estimate) == (
        Held("r", Meter.REQUESTS, 1, ("limit-2",)),
        Held("t", Meter.TOTAL_TOKENS, 50, ("limit-0", "limit-1")),
    )
    assert charged_for(layout, estimate) == {"c0": 50, "c1": 50, "c2": 1}


@pytest.mark.parametrize(
    ("used", "held", "amount", "allowed", "room"),
    [
        (0, 0, 100, True, 0),
        (0, 0, 101, False, -1),
        (40, 30, 30, True, 0),
        (40, 30, 31, False, -1),
        (99, 0, 0, True, 0),
        (100, 0, 0, False, -1),
        (0, 100, 0, False, -1),
        (70, 30, 0, False, -1),
        (250, 0, 1, False, -151),
    ],
)
def test_a_call_fits_when_used_reserved_and_its_amount_do(
    used: int, held: int, amount: int, allowed: bool, room: int
) -> None:
    decision = decide(gauge(installed(), used=used, held=held), Estimate(input_tokens=amount), NOW_MS, NOW_MS)
    assert (decision.allowed, decision.room) == (allowed, {"c0": room})
    assert (decision.denied_by is None) == allowed


def test_no_limits_allow_everything() -> None:
    decision = decide(gauge(), Estimate(input_tokens=10**18 - 1), NOW_MS, NOW_MS)
    assert (decision.allowed, decision.retry_after_ms, decision.room) == (True, 0, {})


def test_the_answer_names_the_limit_that_stands_longest_in_the_way() -> None:
    limits = (installed(), installed(Meter.REQUESTS, "1", maximum=0), installed(Meter.INPUT_TOKENS, "2", maximum=5))
    decision = decide(gauge(*limits, used=100), Estimate(input_tokens=4), NOW_MS, NOW_MS)
    assert decision.denied_by is not None
    assert (decision.denied_by.limit.slot, decision.retry_after_ms, decision.by_used) == ("1", None, True)


def test_what_is_used_says_when_it_frees() -> None:
    decision = decide(gauge(installed(), used=70), Estimate(input_tokens=50), NOW_MS, NOW_MS)
    frees_ms = (NOW_MS // 300_000 + 13) * 300_000
    assert (decision.by_used, decision.retry_after_ms) == (True, frees_ms - NOW_MS)


def test_what_is_only_reserved_may_be_given_back_at_any_moment_and_passes_at_last() -> None:
    decision = decide(gauge(installed(), used=40, held=40), Estimate(input_tokens=50), NOW_MS, NOW_MS)
    passes_ms = bucket_end_ms(expiry_bucket(NOW_MS))
    assert (decision.by_used, decision.soonest_ms, decision.retry_after_ms) == (False, 0, passes_ms - NOW_MS)


def test_what_is_used_and_what_is_reserved_must_both_be_gone() -> None:
    frees_ms, passes_ms = (NOW_MS // 300_000 + 13) * 300_000, bucket_end_ms(expiry_bucket(NOW_MS))
    decision = decide(gauge(installed(), used=70, held=90), Estimate(input_tokens=50), NOW_MS, NOW_MS)
    assert passes_ms < frees_ms
    wait_ms = frees_ms - NOW_MS
    assert (decision.by_used, decision.soonest_ms, decision.retry_after_ms) == (True, wait_ms, wait_ms)


def test_an_image_from_before_a_call_without_a_price_admits_nothing_where_that_denies() -> None:
    money = InstalledLimit(Limit("usd", Meter.COST_USD, HOUR, 100, hard=True), "0", 1)
    found = Gauge("acme", 1, Layout(1, (money,)), {}, holds={"c0-": 4})
    decision = decide(found, Estimate(cost_nano_usd=1), NOW_MS, NOW_MS)
    assert admitting_charges(found, decision) == {"c0": 99, "c0-": 4}
    allowing = replace(found, layout=Layout(1, (replace(money, limit=replace(money.limit, hard=False)),)))
    assert decide(allowing, Estimate(cost_nano_usd=1), NOW_MS, NOW_MS).room == {"c0": 99}


def test_usage_without_a_price_denies_until_it_has_left_the_window() -> None:
    money = InstalledLimit(Limit("usd", Meter.COST_USD, HOUR, 100, hard=True), "0", 1)
    day = InstalledLimit(Limit("day", Meter.COST_USD, CalendarWindow("day", "UTC"), 100, when_unpriced="deny"), "1", 1)
    other = replace(day, limit=replace(day.limit, scope=Scope(("b.*",)), name="other"), slot="2")
    leaves_ms = (NOW_MS // 300_000 + 13) * 300_000
    day_ends_ms = day.window.bounds(NOW_MS)[1]  # type: ignore[union-attr]
    for limits, until_ms in (((money,), leaves_ms), ((money, day), day_ends_ms), ((day, money), day_ends_ms)):
        marks = {bucket_name(one.slot, one.window, NOW_MS) + "-": 2 for one in limits}
        found = Gauge("acme", 1, Layout(1, (*limits, other)), marks)
        decision = decide(found, Estimate(cost_nano_usd=1, model="a.model"), NOW_MS, NOW_MS)
        assert decision.denied_by is not None
        assert (decision.allowed, decision.by_used) == (False, True)
        assert decision.retry_after_ms == decision.soonest_ms == -(-(until_ms - NOW_MS) // 1000) * 1000
        assert decision.denied_by.throttled_until_ms == until_ms
        assert (decision.denied_by.allowed, decision.denied_by.used, decision.denied_by.uncounted) == (False, 0, 2)
        assert not decide(found, Estimate(cost_nano_usd=1, model="a.model"), until_ms - 1, NOW_MS).allowed
        assert decide(found, Estimate(cost_nano_usd=1, model="a.model"), until_ms, NOW_MS).allowed


@pytest.mark.parametrize("changes", [{"when_unpriced": "allow"}, {"shadow": True}, {"hard": False}])
def test_usage_without_a_price_is_let_in_where_the_limit_says_so(changes: dict[str, Any]) -> None:
    money = InstalledLimit(replace(Limit("usd", Meter.COST_USD, HOUR, 100, hard=True), **changes), "0", 1)
    found = Gauge("acme", 1, Layout(1, (money,)), {bucket_name("0", HOUR, NOW_MS) + "-": 2})
    decision = decide(found, Estimate(cost_nano_usd=1), NOW_MS, NOW_MS)
    assert decision.allowed
    assert (decision.readings[0].allowed, decision.readings[0].uncounted) == (True, 2)
    assert decision.readings[0].would_allow == ("shadow" not in changes)


def test_an_amount_above_the_maximum_never_fits() -> None:
    decision = decide(gauge(installed()), Estimate(input_tokens=101), NOW_MS, NOW_MS)
    assert (decision.by_used, decision.retry_after_ms) == (True, None)


def test_what_an_old_image_held_may_have_been_renewed_since() -> None:
    later_ms = bucket_end_ms(expiry_bucket(NOW_MS))
    held = gauge(installed(), held=80)
    estimate = Estimate(input_tokens=50)
    assert not decide(held, estimate, later_ms, NOW_MS).allowed
    assert decide(held, estimate, later_ms, later_ms).allowed


def test_charges_may_grow_by_what_still_fits() -> None:
    held = gauge(installed(), used=40, held=30, charged=900)
    assert admitting_charges(held, decide(held, Estimate(input_tokens=20), NOW_MS, NOW_MS)) == {"c0": 910}


def test_it_is_open_until_it_is_closed_or_expires() -> None:
    one = reservation()
    assert (one.is_open(NOW_MS - 1), one.is_open(NOW_MS)) == (True, False)
    for closed, status in ((one.settled("a#b#r1"), "settled"), (one.released(), "released")):
        assert (closed.status, closed.generation, closed.is_open(0)) == (status, 2, False)
    assert (one.settled("a#b#r1").settled_by, one.released().settled_by) == ("a#b#r1", "")


def test_it_only_shrinks() -> None:
    one = reservation()
    smaller = one.shrunk(Estimate(requests=9, input_tokens=20), 0)
    assert (smaller.amounts, smaller.generation) == ({Meter.REQUESTS: 1, Meter.TOTAL_TOKENS: 20}, 2)
    assert smaller.expires_ms == NOW_MS
    assert one.shrunk(Estimate(input_tokens=50), NOW_MS) is one
    assert one.shrunk(Estimate(input_tokens=50), NOW_MS + 1).expires_ms == NOW_MS + 1


def test_what_a_change_moves() -> None:
    one = reservation()
    bucket = expiry_bucket(NOW_MS)
    here, later = held_name("t", bucket), held_name("t", bucket + 1)
    assert moved_holds(one, one.shrunk(Estimate(input_tokens=20), 0)) == {here: -30}
    assert moved_holds(one, one.released()) == {here: -50, held_name("r", bucket): -1, held_name("n", bucket): -1}
    moved = moved_holds(one, one.shrunk(Estimate(input_tokens=20), NOW_MS + EXPIRY_BUCKET_MS))
    both = {held_name(key, bucket): -1 for key in "rn"} | {held_name(key, bucket + 1): 1 for key in "rn"}
    assert moved == {here: -50, later: 20, **both}


def test_ids_belong_to_a_tenant_and_its_key() -> None:
    assert reservation_id("acme", "k") == reservation_id("acme", "k")
    assert len({reservation_id("acme", "k"), reservation_id("acme", "l"), reservation_id("globex", "k")}) == 3
    assert len(reservation_id("acme", "k")) == 32


@pytest.mark.parametrize("used", [0, 100])
def test_a_suspension_in_force_denies_whatever_the_limits_say_and_waiting_does_not_help(used: int) -> None:
    stopped = suspend(None, "unpaid", "somebody", NOW_MS)
    decision = decide(replace(gauge(installed(), used=used), suspension=stopped), Estimate(), NOW_MS, NOW_MS)
    assert (decision.allowed, decision.denied_by, decision.retry_after_ms) == (False, None, None)
    assert decision.suspended == stopped
    assert len(decision.readings) == 1
    over = resume(stopped, "somebody", NOW_MS + 1)
    decision = decide(replace(gauge(installed(), used=used), suspension=over), Estimate(), NOW_MS, NOW_MS)
    assert (decision.allowed, decision.suspended) == (used == 0, None)
