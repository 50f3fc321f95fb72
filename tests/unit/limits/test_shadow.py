"""Shadow limits: evaluated, reported, and without any say."""

from dataclasses import replace

import pytest

from bedrock_meter.alerts.contracts import transition_event
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.definition import parse_limit, spelled
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.explanation import decisive
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.levels import Verdict, from_item, judge, to_item
from bedrock_meter.limits.limit import InstalledLimit, Layout, decode_layout, encode_layout
from bedrock_meter.limits.reservations import admitting_charges, decide
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from tests.doubles.records import NOW_MS, limit

SHADOW = InstalledLimit(limit("1h", 10, shadow=True, name="shadow"), "0", 1)
REAL = InstalledLimit(limit("1h", 100, name="real"), "1", 1)


def gauge(used: int, *limits: InstalledLimit) -> Gauge:
    buckets = {bucket_name(one.slot, one.window, NOW_MS): used for one in limits}
    return Gauge("acme", 1, Layout(2, limits), buckets)


def kinds(verdict: Verdict) -> list[tuple[str, int, bool]]:
    return [(one.kind, one.version, one.shadow) for one in verdict.transitions if one.threshold == 100]


def test_a_shadow_limit_says_what_it_would_do_and_denies_nobody() -> None:
    status = quota_status(gauge(50, SHADOW, REAL), NOW_MS)
    assert (status["allowed"], status["denied_by"]) == (True, [])
    shadow, real = status["limits"]
    assert (shadow["shadow"], shadow["allowed"], shadow["would_allow"], shadow["overage"]) == (True, True, False, 40)
    assert shadow["throttled_until"] is not None
    assert "shadow" not in real
    assert "would_allow" not in real


def test_the_limits_that_deny_are_named_the_longest_first() -> None:
    day = InstalledLimit(limit("day", 5, name="day"), "2", 1)
    status = quota_status(gauge(200, SHADOW, REAL, day), NOW_MS)
    assert (status["allowed"], status["denied_by"]) == (False, ["day", "real"])


def test_a_shadow_limit_is_in_no_header() -> None:
    headers = rate_limit_headers(gauge(50, SHADOW, REAL), NOW_MS)
    assert headers["RateLimit-Policy"] == '"real";q=100;w=3600'
    assert "Retry-After" not in headers
    assert rate_limit_headers(gauge(50, SHADOW), NOW_MS) == {}


def test_a_shadow_limit_decides_nothing_even_with_a_maximum_of_zero() -> None:
    nothing = replace(SHADOW, limit=replace(SHADOW.limit, maximum=0))
    assert decisive(read(gauge(50, nothing), NOW_MS)) is None
    found = decisive(read(gauge(50, nothing, REAL), NOW_MS))
    assert found is not None
    assert found.limit is REAL


def test_a_reservation_does_not_ask_a_shadow_limit() -> None:
    image = gauge(50, SHADOW, REAL)
    decision = decide(image, Estimate(input_tokens=50), NOW_MS, NOW_MS)
    assert (decision.allowed, decision.denied_by) == (True, None)
    assert admitting_charges(image, decision) == {"c1": 0}
    assert not decide(image, Estimate(input_tokens=51), NOW_MS, NOW_MS).allowed


def test_its_events_say_that_nobody_is_to_act() -> None:
    verdict = judge(Layout(1, (SHADOW,)), gauge(50, SHADOW).buckets, {}, NOW_MS)
    details = [transition_event("acme", [], one, now_ms=NOW_MS).detail for one in verdict.transitions]
    assert [one["shadow"] for one in details] == [True, True, True]
    assert [one["limit"]["shadow"] for one in details] == [True, True, True]
    assert from_item(to_item(verdict.states)) == verdict.states


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # Whoever acted on the real throttle is told that it is over; the shadow's own is for information.
        (False, True, [("lifted", 1, False), ("throttled", 2, True)]),
        (True, False, [("throttled", 2, False)]),
    ],
)
def test_a_throttle_changes_sides_with_its_limit(
    before: bool, after: bool, expected: list[tuple[str, int, bool]]
) -> None:
    first = InstalledLimit(replace(SHADOW.limit, shadow=before), "0", 1)
    then = InstalledLimit(replace(SHADOW.limit, shadow=after), "0", 2)
    buckets = gauge(50, first).buckets
    states = judge(Layout(1, (first,)), buckets, {}, NOW_MS).states
    assert kinds(judge(Layout(2, (then,)), buckets, states, NOW_MS)) == expected


def test_a_shadow_that_is_removed_while_it_throttles_lifts_as_one() -> None:
    states = judge(Layout(1, (SHADOW,)), gauge(50, SHADOW).buckets, {}, NOW_MS).states
    verdict = judge(Layout(2, ()), {}, states, NOW_MS)
    assert kinds(verdict) == [("lifted", 1, True)]
    (lifted,) = verdict.transitions
    assert transition_event("acme", [], lifted, now_ms=NOW_MS).detail["shadow"] is True


def test_layouts_and_files_hold_shadow_and_policy() -> None:
    strict = InstalledLimit(limit("1h", 5, name="strict", fail="closed"), "2", 1)
    layout = Layout(3, (SHADOW, REAL, strict))
    assert decode_layout(encode_layout(layout), 3) == layout
    for one in layout.limits:
        assert parse_limit(spelled(one.limit, "UTC"), "UTC", "") == one.limit
    for key in ("shadow", "fail"):
        with pytest.raises(InvalidDefinition, match=key):
            parse_limit({"meter": "requests", "window": "1h", "max": 1, key: "maybe"}, "UTC", "")
