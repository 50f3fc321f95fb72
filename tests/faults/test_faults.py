"""The quick part of ``make faults``: it runs with all other tests."""

import pytest

from tests.faults import faults, matrix
from tests.faults.contention import measure, percentile
from tests.faults.mutants import MUTANTS
from tests.faults.running import GENERIC_SEEDS, death, findings, in_peace
from tests.faults.schedules import make
from tests.faults.simulation import Simulation

QUICK = 60


LONG_LIVED = {
    "seed then install": 109,
    "install then seed": 40,
    "publish without outbox": 23,
    "lock around ADD": 14,
    "swallowed record error": 13,
}
"""Seeds that killed these in ``make faults``: tried first, so that the search is short. Others are found at once."""


@pytest.mark.parametrize("first", range(0, QUICK, 10))
def test_schedules_are_exact(first: int) -> None:
    assert {seed: found for seed in range(first, first + 10) if (found := findings(make(seed)))} == {}


def test_a_seed_is_one_schedule_and_one_course_of_events() -> None:
    for seed in (7, 33):
        assert make(seed) == make(seed)
        courses = [Simulation(make(seed)).run().double.trace for _ in range(2)]
        assert courses[0] == courses[1]


def test_crash_matrix() -> None:
    calls, wrong = matrix.undisturbed()
    assert wrong == []
    assert {call.split(":")[1] for call in calls} >= {
        "BatchGetItem",
        "GetItem",
        "PutEvents",
        "PutItem",
        "PutObject",
        "Query",
        "TransactWriteItems",
        "UpdateItem",
    }
    cells = [matrix.run(planned) for planned in matrix.plan((faults.KILLED_BEFORE, faults.KILLED_AFTER))]
    assert len(cells) == 2 * len(calls)
    assert [cell for cell in cells if cell.findings] == []


def test_a_hot_tenant_gives_nothing_up_and_disturbs_nobody() -> None:
    calm, hot = measure(20, length_ms=1_000), measure(111, length_ms=1_000)
    assert calm.conflicts < hot.conflicts
    assert (calm.given_up, hot.given_up, len(hot.tries)) == (0, 0, 111)
    assert percentile(hot.quiet_ms, 99) < 2 * percentile(calm.quiet_ms, 99)


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[mutant.name for mutant in MUTANTS])
def test_a_wrong_design_dies_and_only_by_faults(number: int) -> None:
    mutant = MUTANTS[number]
    assert death(mutant, seeds=(LONG_LIVED.get(mutant.name, 0), *range(GENERIC_SEEDS))) is not None
    assert [found for seed in range(3) for found in findings(in_peace(seed), mutant)] == []
