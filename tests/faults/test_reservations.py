"""The quick part of ``make theorem``: it runs with all other tests."""

import random
from dataclasses import replace

import pytest

from tests.faults import faults, honest_mutants, promise
from tests.faults.crowd import DOLLARS, LIMIT, NANO_USD_PER_TOKEN, fairness, spend, spend_dollars
from tests.faults.faults import ScriptedFaults
from tests.faults.reservation_mutants import MUTANTS, death, in_peace
from tests.faults.reservations import Market
from tests.faults.theorem import Theorem, watch
from tests.faults.workloads import CEILINGS, IN_DOLLARS, KINDS, SHORT, with_boosts, without_boosts, workload

QUICK = 40


@pytest.mark.parametrize("first", range(0, QUICK, 20))
def test_the_theorem_holds(first: int) -> None:
    seen = {seed: watch(workload(seed)) for seed in range(first, first + 20)}
    assert {seed: one.findings for seed, one in seen.items() if one.findings} == {}
    assert sum(one.admitted for one in seen.values()) > 40
    assert sum(one.denied for one in seen.values()) > 40


def test_the_bound_is_met_by_something() -> None:
    """The terms are no empty words: with callers who lie, forget and overstay, limits are exceeded."""
    for term, kind in ((0, "exceeds"), (1, "unreserved"), (2, "overdue")):
        plan = replace(
            workload(4), kinds=("plain", kind), callers=12, calls=6, lags_ms=(15_000, 90_000), fault_rate=0.0
        )
        seen = [watch(replace(plan, seed=seed)) for seed in range(4)]
        assert [one.findings for one in seen if one.findings] == []
        assert max(one.excess.terms[term] for one in seen) > 0, kind


def test_whoever_reserves_and_tells_the_truth_exceeds_nothing() -> None:
    for seed in range(6):
        honest = ("plain", "shrinks", "failed", "twin", "vanishes", "released")
        plan = replace(
            workload(seed), kinds=honest, callers=12, calls=6, fault_rate=0.08, lags_ms=(2_000, 15_000), changes=()
        )
        plan = replace(plan, steady=True, ceilings=(CEILINGS, SHORT, IN_DOLLARS)[seed % 3])
        seen = watch(plan)
        assert (seen.findings, seen.excess.most) == ([], 0)
        assert seen.closest > 90


def test_boosts_admit_more_and_leave_over_no_more_than_they_added() -> None:
    """Callers who keep to what they reserve: above a maximum is only what a boost that has ended had added."""
    most_over = most_admitted = 0
    for seed in range(8):
        plan = replace(workload(seed), kinds=("brief",), callers=12, calls=6, lags_ms=(200,), fault_rate=0.0)
        plan = replace(plan, steady=True, ceilings=CEILINGS, changes=())
        calm, boosted = watch(without_boosts(plan)), watch(with_boosts(random.Random(seed), plan))
        assert (calm.findings, boosted.findings) == ([], [])
        assert boosted.largest[:3] == [0, 0, 0]
        most_over = max(most_over, boosted.excess.most)
        most_admitted = max(most_admitted, boosted.admitted - calm.admitted)
    assert most_over > 0
    assert most_admitted > 0


def _trace(seed: int) -> list[object]:
    return list(Market(workload(seed)).run().double.trace)


def test_a_seed_is_one_workload_and_one_course_of_events() -> None:
    assert _trace(3) == _trace(3)


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_every_request_of_a_call_can_go_wrong_in_every_way(kind: str) -> None:
    plan = replace(
        workload(1), kinds=(kind,), callers=1, calls=1, recorders=1, lags_ms=(2_000,), changes=(), fault_rate=0.0
    )

    def run(script: dict[int, str]) -> tuple[list[str], list[str]]:
        wrong = ScriptedFaults(script)
        market = Market(plan, wrong=wrong)
        theorem = Theorem(market)
        market.run()
        theorem.finish()
        return wrong.calls, theorem.findings

    calls, undisturbed = run({})
    assert undisturbed == []
    for at, call in enumerate(calls):
        for how in (faults.KILLED_BEFORE, faults.KILLED_AFTER, faults.LOST, faults.DETACHED, faults.THROTTLED):
            if how != faults.DETACHED or call.endswith("TransactWriteItems"):
                assert (call, how, run({at: how})[1]) == (call, how, [])


def test_a_crowd_spends_what_there_is_and_no_more() -> None:
    crowd, theorem = spend(300)
    assert theorem.findings == []
    assert crowd.spent <= LIMIT
    assert crowd.admitted > 200
    assert theorem.closest > 95


def test_a_crowd_spends_five_dollars_and_not_a_nano_dollar_more() -> None:
    crowd, theorem = spend_dollars(300)
    assert theorem.findings == []
    assert crowd.cost_nano_usd == crowd.spent * NANO_USD_PER_TOKEN
    assert crowd.cost_nano_usd <= DOLLARS
    assert crowd.admitted > 200
    assert theorem.closest > 95


def test_callers_who_fit_are_not_starved_by_those_who_do_not() -> None:
    alone, beside = fairness(0, callers=10, calls=4), fairness(20, callers=10, calls=4)
    assert (alone.admitted, beside.admitted) == (40, 40)
    assert (alone.contended, beside.contended) == (0, 0)
    assert max(beside.requests) <= max(alone.requests) + 4


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[mutant.name for mutant in MUTANTS])
def test_a_wrong_design_dies_and_not_in_peace(number: int) -> None:
    assert death(MUTANTS[number]) is not None
    assert [found for seed in range(3) for found in watch(in_peace(seed), MUTANTS[number]).findings] == []


@pytest.mark.parametrize("first", range(0, QUICK, 10))
def test_what_is_promised_to_honest_callers_is_kept(first: int) -> None:
    seen = {seed: promise.watch(seed) for seed in range(first, first + 10)}
    assert {seed: one.findings for seed, one in seen.items() if one.findings} == {}
    assert sum(one.admitted for one in seen.values()) > 20
    assert sum(one.denied for one in seen.values()) > 20


@pytest.mark.parametrize("number", range(len(honest_mutants.MUTANTS)), ids=[one.name for one in honest_mutants.MUTANTS])
def test_what_breaks_a_promise_is_noticed(number: int) -> None:
    mutant = honest_mutants.MUTANTS[number]
    seeds = (honest_mutants.SHOWN_BY.get(mutant.name, 0), *range(honest_mutants.SEEDS))
    assert honest_mutants.death(mutant, seeds) is not None


def test_an_honest_market_is_one_course_of_events() -> None:
    assert promise.watch(7) == promise.watch(7)
