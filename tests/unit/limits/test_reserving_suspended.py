"""Reserving for a tenant that a person has stopped, and let go again."""

import pytest

from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.reserving import REMEMBER_MS
from bedrock_meter.limits.suspension import resume, suspend
from tests.doubles.records import NOW_MS
from tests.unit.limits.reserving_bench import TOKENS, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_suspension_is_not_overtaken_by_a_remembered_image(bench: Bench) -> None:
    bench.reserve(100)
    stopped = suspend(None, "unpaid", "somebody", NOW_MS)
    bench.tables.change_gauge("acme", suspension=stopped)
    assert bench.requests(lambda: bench.reserve(100)) == ["hold"]
    assert bench.reserved == 100
    denied = bench.reservations.reserve("acme", Estimate(input_tokens=100))
    assert denied.decision is not None
    assert (denied.reservation, denied.denied_by, denied.decision.suspended) == (None, None, stopped)


def test_who_is_suspended_is_told_from_memory_for_a_while_and_then_let_go(bench: Bench) -> None:
    stopped = suspend(None, "unpaid", "somebody", NOW_MS)
    bench.tables.change_gauge("acme", suspension=stopped)
    assert bench.requests(lambda: bench.reserve(100)) == ["look"]
    bench.tables.change_gauge("acme", suspension=resume(stopped, "somebody", NOW_MS + 1))
    bench.now_ms += REMEMBER_MS
    assert bench.requests(lambda: bench.reserve(100)) == []
    bench.now_ms += 1
    assert bench.requests(lambda: bench.reserve(100)) == ["look", "hold", "put"]
    assert bench.requests(lambda: bench.reserve(100)) == ["hold", "put"]
    assert bench.reserved == 200


def test_what_was_reserved_before_a_suspension_can_be_given_back(bench: Bench) -> None:
    held = bench.reserve(100, key="a")
    assert held is not None
    bench.tables.change_gauge("acme", suspension=suspend(None, "unpaid", "somebody", NOW_MS))
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 10}).amounts == {TOKENS: 10}
    assert bench.reserve(100, key="a") == bench.store.tables.reservations["acme", held.id]
    bench.reservations.release("acme", held.id)
    assert bench.reserved == 0
