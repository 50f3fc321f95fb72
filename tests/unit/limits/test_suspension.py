"""Suspensions: their transitions, what is announced of them, and the answer while one is in force."""

from dataclasses import replace

import pytest

from bedrock_meter.limits.gauge import Gauge, bucket_name
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.limits.suspension import (
    MAXIMUM_REASON,
    Suspension,
    public_suspension_document,
    resume,
    suspend,
    suspension_document,
    unannounced,
)
from tests.doubles.records import NOW_MS, limit


def suspended(reason: str = "unpaid", before: Suspension | None = None) -> Suspension:
    found = suspend(before, reason, "somebody", NOW_MS)
    assert found is not None
    return found


def resumed(before: Suspension) -> Suspension:
    found = resume(before, "somebody else", NOW_MS + 5)
    assert found is not None
    return found


def test_a_suspension_is_in_force_until_it_is_ended_once() -> None:
    first = suspended()
    assert first.is_in_force
    assert suspend(first, "again", "x", NOW_MS + 1) is None
    over = resumed(first)
    assert not over.is_in_force
    assert (over.reason, over.resumed_ms, over.resumed_by) == ("unpaid", NOW_MS + 5, "somebody else")
    assert resume(over, "x", NOW_MS) is None
    assert resume(None, "x", NOW_MS) is None
    second = suspended("fraud", over)
    assert (second.ordinal, second.reason, second.resumed_ms) == (3, "fraud", None)


@pytest.mark.parametrize("one", [suspended('"quoted" | ü'), resumed(suspended()), suspend(None, "a", "b", 1, "c")])
def test_what_the_gauge_holds_comes_back(one: Suspension) -> None:
    assert Suspension.decode(one.encode()) == one


def test_a_reason_does_not_grow_the_gauge() -> None:
    assert len(suspended("x" * 10_000).reason) == MAXIMUM_REASON
    shown = suspend(None, "unpaid", "somebody", NOW_MS, "y" * 10_000)
    assert shown is not None
    assert len(shown.public_reason) == MAXIMUM_REASON


def test_the_tenant_reads_what_was_written_for_it_and_administrators_read_all() -> None:
    one = suspend(None, "unpaid since March", "somebody", NOW_MS, "Please call us.")
    since = "2026-11-18T11:07:00.000Z"
    assert public_suspension_document(one) == {"public_reason": "Please call us.", "since": since}
    assert suspension_document(one) == {
        "reason": "unpaid since March",
        "public_reason": "Please call us.",
        "since": since,
        "by": "somebody",
    }
    assert public_suspension_document(suspended()) == {"public_reason": None, "since": since}
    for nothing in (None, resumed(suspended())):
        assert (public_suspension_document(nothing), suspension_document(nothing)) == (None, None)


def test_each_transition_is_announced_once_in_order() -> None:
    first = suspended()
    over = resumed(first)
    assert [one.ordinal for one in unannounced(0, first)] == [1]
    assert unannounced(1, first) == ()
    assert [one.ordinal for one in unannounced(1, over)] == [2]
    both = unannounced(0, over)
    assert [(one.ordinal, one.is_start) for one in both] == [(1, True), (2, False)]
    assert unannounced(2, over) == ()
    assert [one.ordinal for one in unannounced(2, suspended("b", over))] == [3]
    assert [one.ordinal for one in unannounced(1, suspended("b", over))] == [3]
    assert unannounced(0, None) == ()


def test_a_suspended_tenant_may_not_call_whatever_its_limits_say() -> None:
    layout = plan_change(NO_LIMITS, [limit("1h", 1000)]).next
    gauge = Gauge("acme", 1, layout, {})
    assert (quota_status(gauge, NOW_MS)["allowed"], quota_status(gauge, NOW_MS)["suspended"]) == (True, None)
    stopped = replace(gauge, suspension=suspended())
    status = quota_status(stopped, NOW_MS)
    assert status["allowed"] is False
    assert status["suspended"] == {"public_reason": None, "since": "2026-11-18T11:07:00.000Z"}
    assert status["limits"][0]["allowed"] is True
    let_go = replace(gauge, suspension=resumed(suspended()))
    assert quota_status(let_go, NOW_MS) == quota_status(gauge, NOW_MS)


def test_waiting_does_not_help_a_suspended_tenant() -> None:
    layout = plan_change(NO_LIMITS, [limit("1h", 5)]).next
    (installed,) = layout.limits
    used = {bucket_name(installed.slot, installed.window, NOW_MS): 5}
    throttled = Gauge("acme", 1, layout, used)
    assert "Retry-After" in rate_limit_headers(throttled, NOW_MS)
    assert "Retry-After" not in rate_limit_headers(replace(throttled, suspension=suspended()), NOW_MS)
