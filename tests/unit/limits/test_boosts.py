"""Boosts: what is in force at an instant, and everything that looks ahead over their boundaries."""

from dataclasses import replace

import pytest

from bedrock_meter.alerts.contracts import transition_event
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.boosts import Boost, least_maximum, maximum_at, next_boundary_ms, segment_start_ms
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.levels import States, Verdict, judge
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit, decode_layout, encode_layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import decide
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window

MINUTE_MS = 60_000
BASE_MS = 29_000_000 * MINUTE_MS
TWELVE = RollingWindow(720)
DAY = CalendarWindow("day", "UTC")


def at(minutes: int) -> int:
    return BASE_MS + minutes * MINUTE_MS


def boosted(*boosts: Boost, window: Window = TWELVE, maximum: int = 100) -> InstalledLimit:
    limit = Limit("limit", Meter.TOTAL_TOKENS, window, maximum, hard=True, thresholds=(100,), boosts=boosts)
    return InstalledLimit(limit, "0", 1)


def gauge(limit: InstalledLimit, used: int, at_ms: int = BASE_MS) -> Gauge:
    return Gauge("acme", 1, Layout(1, (limit,)), {bucket_name("0", limit.window, at_ms): used})


def test_boosts_add_up_while_they_overlap_and_are_half_open() -> None:
    boosts = (Boost(10, 30, amount=5), Boost(20, 40, permille=500))
    assert [maximum_at(101, boosts, at_ms) for at_ms in (9, 10, 19, 20, 29, 30, 39, 40)] == [
        101, 106, 106, 156, 156, 151, 151, 101
    ]  # fmt: skip
    assert maximum_at(10**18 - 1, boosts, 20) == 10**18 - 1
    assert [segment_start_ms(boosts, at_ms) for at_ms in (9, 10, 25, 99)] == [0, 10, 20, 40]
    assert [next_boundary_ms(boosts, at_ms) for at_ms in (9, 10, 39, 40)] == [10, 20, 40, None]
    assert least_maximum(101, boosts, 10, 19) == 106
    assert least_maximum(101, boosts, 25, 40) == 101
    assert least_maximum(101, boosts, 5, 25) == 101


@pytest.mark.parametrize(
    "values", [(5, 5, 1, 0), (6, 5, 1, 0), (-1, 5, 1, 0), (1, 5, 0, 0), (1, 5, -1, 0), (1, 5, 10**18, 0), (1, 5, 0, -5)]
)
def test_a_boost_that_cannot_be_is_refused(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidDefinition):
        Boost(*values)
    with pytest.raises(InvalidDefinition, match="5 boosts"):
        boosted(*[Boost(1, 2, amount=1)] * 5)


def test_a_layout_holds_boosts() -> None:
    layout = Layout(1, (boosted(Boost(10, 30, amount=5), Boost(20, 40, permille=500)),))
    assert decode_layout(encode_layout(layout), 1) == layout


def test_a_reading_and_its_document_are_of_the_instant() -> None:
    limit = boosted(Boost(at(1), at(2), amount=50))
    held = gauge(limit, 120)
    readings = [read(held, at_ms)[0] for at_ms in (at(1) - 1, at(1), at(2) - 1, at(2))]
    assert [(one.allowed, one.maximum, one.remaining, one.overage) for one in readings] == [
        (False, 100, 0, 20),
        (True, 150, 30, 0),
        (True, 150, 30, 0),
        (False, 100, 0, 20),
    ]
    (document,) = quota_status(held, at(1))["limits"]
    assert (document["max"], document["base_max"]) == (150, 100)
    assert document["boosts"] == [{"adds": 50, "from": "2025-02-19T21:21:00.000Z", "to": "2025-02-19T21:22:00.000Z"}]
    (document,) = quota_status(held, at(2))["limits"]
    assert document["max"] == 100
    assert "boosts" not in document
    assert "q=150;" in rate_limit_headers(held, at(1))["RateLimit-Policy"]
    assert rate_limit_headers(held, at(0))["Retry-After"] == "60"


def test_a_throttle_ends_with_the_first_boost_that_is_large_enough() -> None:
    limit = boosted(Boost(at(2), at(4), amount=10), Boost(at(6), at(8), amount=30))
    (reading,) = read(gauge(limit, 120), at(1))
    assert reading.throttled_until_ms == at(6)
    (reading,) = read(gauge(limit, 200), at(1))
    assert reading.throttled_until_ms == at(13)  # when it leaves the window
    (reading,) = read(gauge(boosted(Boost(at(2), at(4), amount=10), maximum=0), 5), at(1))
    assert reading.throttled_until_ms == at(2)
    (reading,) = read(gauge(boosted(Boost(at(2), at(4), amount=10), maximum=0), 5), at(4))
    assert reading.throttled_until_ms is None


def test_a_reservation_fits_the_least_maximum_of_its_time() -> None:
    limit = boosted(Boost(at(10), at(20), amount=100))
    held = gauge(limit, 90, at(10))
    amounts = Estimate(input_tokens=50)
    assert decide(held, amounts, at(10), at(10), 5 * MINUTE_MS).allowed
    late = decide(held, amounts, at(16), at(16), 5 * MINUTE_MS)
    assert (late.allowed, late.by_used) == (False, True)
    # It would stand above the limit when the boost ends, so it waits until usage has left the window.
    assert late.retry_after_ms == at(23) - at(16)
    early = decide(gauge(limit, 90, at(5)), amounts, at(5), at(5), 5 * MINUTE_MS)
    assert (early.allowed, early.retry_after_ms) == (False, 5 * MINUTE_MS)


def story(limit: InstalledLimit, used: int, minutes: tuple[int, ...]) -> list[list[tuple[str, int]]]:
    states: States = {}
    told: list[list[tuple[str, int]]] = []
    for minute in minutes:
        verdict = judge(Layout(1, (limit,)), gauge(limit, used).buckets, states, at(minute))
        states = verdict.states
        told.append([(one.kind, one.ordinal) for one in verdict.transitions if one.kind != "forecast"])
    return told


@pytest.mark.parametrize("window", [TWELVE, DAY])
def test_a_throttle_lifts_and_rises_at_the_boundaries_as_for_a_changed_limit(window: Window) -> None:
    limit = boosted(Boost(at(2), at(4), amount=1), Boost(at(6), at(8), amount=60), window=window)
    told = story(limit, 100, (0, 1, 2, 3, 4, 5, 6, 8))
    kinds = [[kind for kind, _ in one] for one in told]
    # Lifted without the 5 points, although 100 of 101 is more than 95 %.
    assert kinds == [["throttled"], [], ["lifted"], [], ["throttled"], [], ["lifted"], ["throttled"]]
    ordinals = [ordinal for one in told for kind, ordinal in one if kind == "throttled"]
    assert len(set(ordinals)) == 3
    lifts = [ordinal for one in told for kind, ordinal in one if kind == "lifted"]
    assert lifts == ordinals[:2]


def test_the_next_look_is_at_the_boundary() -> None:
    limit = boosted(Boost(at(2), at(4), amount=60))

    def look(minute: int, states: States) -> Verdict:
        return judge(Layout(1, (limit,)), gauge(limit, 120).buckets, states, at(minute))

    first = look(0, {})
    assert first.next_due_ms == at(2)
    second = look(2, first.states)
    assert second.next_due_ms == at(4)
    third = look(4, second.states)
    assert third.next_due_ms == at(13)


def test_events_show_the_ceiling_that_holds() -> None:
    limit = boosted(Boost(at(0), at(4), amount=60))
    verdict = judge(Layout(1, (limit,)), gauge(limit, 200).buckets, {}, at(0))
    (throttled,) = verdict.transitions
    detail = transition_event("acme", [], throttled, now_ms=at(0)).detail
    assert (detail["limit"]["max"], detail["limit"]["base_max"], detail["overage"]) == (160, 100, 40)


def test_a_limit_that_is_given_a_boost_keeps_its_buckets() -> None:
    from bedrock_meter.limits.limit import plan_change

    limit = boosted(Boost(at(0), at(4), amount=60))
    plain = replace(limit, limit=replace(limit.limit, boosts=()))
    change = plan_change(Layout(1, (plain,)), [limit.limit])
    assert (change.kept, change.seeded) == (("0",), ())
    assert change.next.limits == (replace(limit, version=2),)
