"""Which usage of a tenant that reserves every call is announced, and why."""

import dataclasses
from collections.abc import Iterable

import pytest

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.limit import plan_change
from bedrock_meter.limits.overuse import SPARE_TOKENS
from bedrock_meter.limits.reservations import KEPT_MS
from bedrock_meter.usage.recorder import LAYOUT_KNOWN_FOR_MS, GaugeHead
from tests.doubles.records import NOW_MS, invocation
from tests.unit.usage.test_settlement import Reserving, call


def reserving_all() -> Reserving:
    """``acme`` reserves every call, ``globex`` does not."""
    bench = Reserving()
    layout = bench.tables.gauges["acme"].layout
    bench.tables.change_gauge("acme", layout=dataclasses.replace(layout, reserves=True))
    return bench


def test_usage_that_reserved_nothing_is_announced_with_its_reason() -> None:
    bench = reserving_all()
    released, expired = bench.reserve(), bench.reserve()
    bench.reservations.release("acme", released.id)
    bench.tables.reservations["acme", expired.id] = dataclasses.replace(expired, expires_ms=bench.now_ms)
    bench.record(invocation("r1"))
    bench.record(call("r2", "9" * 32))
    bench.record(call("r3", released))
    bench.record(call("r4", expired))
    reasons = ["none", "unknown", "released", "expired"]
    assert bench.announced.unreserved == [("acme", reason) for reason in reasons]


def test_what_was_reserved_or_may_have_been_is_not_announced() -> None:
    bench = reserving_all()
    one, two, lease = bench.reserve(), bench.reserve(), bench.reserve(is_lease=True)
    bench.record(call("r1", one), call("r2", lease))
    bench.recorder = bench.fresh()
    bench.record(call("r1", one))
    bench.record(call("r3", two, tokens=NO_TOKENS))
    bench.record(call("r3", two))
    bench.record(invocation("r4", error_code="ThrottlingException"))
    bench.record(call("r5", "9" * 32, event_ms=NOW_MS - KEPT_MS))
    bench.record(invocation("r6", profile="globexprofile1"))
    assert bench.announced.unreserved == []
    assert bench.status(two) == "settled"


def test_it_is_announced_before_it_is_recorded() -> None:
    bench = reserving_all()
    bench.announced.busy = 2
    report = bench.record(invocation("r1"))
    assert (report.recorded, report.conflicts, len(bench.announced.unreserved)) == (1, 2, 1)


def test_a_recorder_learns_of_the_mark_from_a_refusal() -> None:
    bench = Reserving()
    bench.record(invocation("r1"))
    layout = plan_change(bench.tables.gauges["acme"].layout, [], reserves=True).next
    bench.tables.change_gauge("acme", layout=layout)
    bench.record(invocation("r2"))
    assert bench.announced.unreserved == [("acme", "none")]


def test_a_tenant_that_reserves_no_longer_is_not_announced_by_what_was_believed_an_hour_ago() -> None:
    bench = reserving_all()
    bench.record(call("r1", bench.reserve()))
    layout = plan_change(bench.tables.gauges["acme"].layout, [], reserves=False).next
    bench.tables.change_gauge("acme", layout=layout)
    bench.now_ms += 3_600_000
    bench.record(invocation("r2"))
    assert bench.announced.unreserved == []


def test_a_layout_that_each_commit_proves_is_not_read_again() -> None:
    bench = reserving_all()
    reads: list[list[str]] = []
    heads = bench.store.heads

    def counted(tenants: Iterable[str]) -> dict[str, GaugeHead]:
        reads.append(list(tenants))
        return heads(reads[-1])

    bench.store.heads = counted  # type: ignore[method-assign]
    for number in range(5):
        bench.record(call(f"r{number}", bench.reserve()), invocation(f"g{number}", profile="globexprofile1"))
        bench.now_ms += LAYOUT_KNOWN_FOR_MS - 1
    assert reads == [["acme", "globex"]]
    bench.now_ms += 1
    bench.record(call("r5", bench.reserve()), invocation("g5", profile="globexprofile1"))
    assert reads[1:] == [["acme"]], "what only counts is proven by the write itself"


def test_a_second_call_under_one_id_is_reused_and_the_first_ones_records_are_not() -> None:
    bench = reserving_all()
    one = bench.reserve()
    bench.record(call("r1", one, tokens=NO_TOKENS))
    bench.record(call("r1", one))
    bench.record(call("r1", one))
    bench.record(call("r1", one, tokens=TokenCounts(50, 50)))
    bench.recorder = bench.fresh()
    bench.record(call("r1", one))
    assert bench.announced.unreserved == []
    bench.record(call("r2", one, tokens=NO_TOKENS), call("r3", one, error_code="ThrottlingException"))
    assert bench.announced.unreserved == [], "neither has any usage yet"
    bench.record(call("r2", one))
    bench.record(call("r3", one))
    assert uncovered(bench) == {"r2": "reused", "r3": "reused"}
    assert bench.tables.reservations["acme", one.id].settled_by == call("r1", one).call_id


def uncovered(bench: Reserving) -> dict[str, str]:
    """Why, by request."""
    return {key.rpartition("#")[2]: one.reason for key, one in bench.announced.uncovered}


@pytest.mark.parametrize("batches", [[1, 1, 1], [2, 1], [1, 2], [3]])
def test_all_but_one_call_of_an_id_are_reused_however_they_arrive(batches: list[int]) -> None:
    bench = reserving_all()
    one = bench.reserve()
    waiting = [call(f"r{number}", one) for number in range(sum(batches))]
    for size in batches:
        batch, waiting = waiting[:size], waiting[size:]
        bench.record(*batch)
        bench.record(*batch)
    assert uncovered(bench) == {"r1": "reused", "r2": "reused"}
    assert bench.reserved() == [0, 0]


def used_far_above(bench: Reserving, tokens: int) -> list[tuple[str, int, int]]:
    bench.record(call("r1", bench.reserve(1_000), tokens=TokenCounts(tokens)))
    found = [one.overuse for _, one in bench.announced.uncovered if one.reason == "above" and one.overuse is not None]
    return [(one.limit.name, one.held, one.used) for one in found]


@pytest.mark.parametrize("tokens", [1, 1_000, 2_000, 1_000 + SPARE_TOKENS])
def test_what_was_held_and_some_more_is_not_announced(tokens: int) -> None:
    assert used_far_above(reserving_all(), tokens) == []


@pytest.mark.parametrize("tokens", [1_001 + SPARE_TOKENS, 1_000_000])
def test_usage_far_above_what_was_held_is_announced_with_how_far(tokens: int) -> None:
    assert used_far_above(reserving_all(), tokens) == [("total_tokens-1h", 1_000, tokens)]


def test_what_was_shrunk_to_less_than_was_used_is_announced() -> None:
    bench = reserving_all()
    one = bench.reserve(900)
    bench.reservations.shrink("acme", one.id, {"input_tokens": 1, "output_tokens": 0})
    bench.record(call("r1", one, tokens=TokenCounts(5_000)))
    (found,) = bench.announced.uncovered
    assert (found[1].reason, found[1].overuse and found[1].overuse.held) == ("above", 1)


def test_a_twin_that_raises_a_call_far_above_is_announced() -> None:
    bench = reserving_all()
    one = bench.reserve(900)
    bench.record(call("r1", one, tokens=TokenCounts(5)))
    assert bench.announced.unreserved == []
    bench.record(call("r1", one, tokens=TokenCounts(5_000)))
    assert uncovered(bench) == {"r1": "above"}
