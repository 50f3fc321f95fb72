"""The quick part of ``make faults``: it runs with all other tests."""

from dataclasses import replace

import pytest

from tests.faults import canary, drill, faults, matrix, storm
from tests.faults.contention import measure, percentile
from tests.faults.mutants import MUTANTS
from tests.faults.running import GENERIC_SEEDS, death, findings, in_peace, verdict
from tests.faults.seeds import make
from tests.faults.simulation import REDRIVE_MS, Simulation

QUICK = 60


LONG_LIVED = {
    "failed delivery deleted when it is read": 17,
    "install then seed": 11,
    "ledger purged before its records stop coming": 60,
    "publish without outbox": 11,
    "seed then install": 78,
    "swallowed record error": 17,
}
"""Seeds that killed these in ``make faults``: tried first, so that the search is short. Others are found at once."""


@pytest.mark.parametrize("first", range(0, QUICK, 10))
def test_schedules_are_exact(first: int) -> None:
    verdicts = {seed: verdict(make(seed)) for seed in range(first, first + 10)}
    assert {seed: one.findings for seed, one in verdicts.items() if one.findings} == {}
    assert sum(one.rows for one in verdicts.values()) > 0


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


def test_schedules_hold_what_they_promise() -> None:
    """What the quick part is made of: nothing of it may silently go out of use."""
    made = [make(seed) for seed in range(QUICK)]
    assert sum(bool(one.failed) for one in made) >= 3, "deliveries in the failure store"
    assert sum(one.stream_loses == 1.0 for one in made) >= 2, "a stream that is off"
    assert sum(one.outage_ms is not None for one in made) >= 5
    ahead = [
        line.event_ms - one.first_ms[line.id] for one in made for line in one.lines.values() if line.id[-2:] == "-a"
    ]
    assert {200_000 < by < 300_000 for by in ahead} == {True, False}, (
        "clocks ahead, inside of what is admitted and beyond"
    )
    ended = [Simulation(one).run() for one in made if one.failed][:3]
    assert all(world.failed and not world.waiting for world in ended)


def test_nothing_is_lost_or_doubled_in_an_outage_of_three_hours() -> None:
    drilled = drill.drill(every_ms=900_000)
    assert (drilled.lost, drilled.doubled, drilled.findings) == (0, 0, ())
    assert drilled.given_up == drill.OUTAGE_MS // 900_000
    assert 0 < drilled.drained_ms < REDRIVE_MS + 60_000


@pytest.mark.parametrize(
    ("name", "lost", "doubled"), [("ADD only", False, True), ("failed delivery deleted when it is read", True, False)]
)
def test_the_outage_drill_notices_what_is_wrong(name: str, lost: bool, doubled: bool) -> None:
    (mutant,) = [one for one in MUTANTS if one.name == name]
    drilled = drill.drill(900_000, mutant)
    assert drilled.lost > 0 or not lost
    assert drilled.doubled > 0 or not doubled
    assert drilled.findings


def test_limits_crossed_at_once_reach_the_bus_each_under_one_id() -> None:
    weathered = storm.weather(200)
    assert weathered.is_exact
    assert weathered.refused > 0
    assert weathered.requests < weathered.copies, "events of a tenant go together"


def test_no_prompt_is_found_but_in_the_failure_store() -> None:
    found = canary.search()
    assert found.problems == []
    assert len(list(canary.poison())) * 9 <= found.good, "one in ten is poison"


def test_a_leak_would_be_noticed() -> None:
    assert canary.found(["sound", f"a {canary.CANARY} b"]) == (2, 1)
    assert canary.found([canary.payload([canary.CANARY])]) == (1, 1)
    sound = canary.Searched({"log lines": (5, 0)}, (1, 1), 3, 3, 4, 4)
    assert sound.problems == []
    for changes in (
        {"places": {"log lines": (5, 1)}},
        {"places": {"log lines": (0, 0)}},
        {"kept": (0, 0)},
        {"kept": (2, 1)},
        {"counted": 2},
        {"accounted": 3},
    ):
        assert len(replace(sound, **changes).problems) == 1


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
