"""The quick part of ``make faults``: it runs with all other tests."""

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.faults import faults, matrix
from tests.faults.__main__ import killed
from tests.faults.contention import measure, percentile
from tests.faults.mutants import MUTANTS
from tests.faults.running import findings, in_peace
from tests.faults.schedules import make
from tests.faults.simulation import Simulation

QUICK = 60


@pytest.fixture(scope="module")
def deaths() -> list[object]:
    with ProcessPoolExecutor(max_workers=2) as pool:
        return list(pool.map(killed, range(len(MUTANTS))))


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
def test_a_wrong_design_dies_and_only_by_faults(number: int, deaths: list[object]) -> None:
    assert deaths[number] is not None
    assert [found for seed in range(3) for found in findings(in_peace(seed), MUTANTS[number])] == []
