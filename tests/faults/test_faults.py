"""The quick part of ``make faults``: it runs with all other tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bedrock_meter.usage.ingestion import _Notes
from tests.faults import canary, drill, faults, matrix, storm
from tests.faults.belief import levels
from tests.faults.contention import measure, percentile
from tests.faults.mutants import MUTANTS
from tests.faults.running import GENERIC_SEEDS, death, findings, in_peace, verdict
from tests.faults.schedules import EPOCH_MS, Boosted, Ceiling, Delivery, Line, Schedule
from tests.faults.seeds import make
from tests.faults.simulation import REDRIVE_MS, Simulation
from tests.faults.world import World

QUICK = 60


LONG_LIVED = {
    "failed delivery deleted when it is read": 19,
    "of overlapping boosts the larger one counts": 67,
    "rating anew: an old reading overwrites": 9,
    "rating anew: the difference, then the entry": 25,
    "rating anew: the position before the work": 68,
    "seed then install": 12,
}
"""Seeds that killed these in ``make faults``: tried first, so that the search is short. Others are found at once."""


@pytest.mark.parametrize("first", range(0, QUICK, 10))
def test_schedules_are_exact(first: int) -> None:
    verdicts = {seed: verdict(make(seed)) for seed in range(first, first + 10)}
    assert {seed: one.findings for seed, one in verdicts.items() if one.findings} == {}
    assert sum(one.rows for one in verdicts.values()) > 0


def test_a_note_for_the_rest_of_a_delivery_stands_for_each_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a delivery is recorded when there is no time left for a note each."""
    assert verdict(make(7415)).findings == ()
    monkeypatch.setattr(_Notes, "settled", lambda notes: None)
    assert [one for one in verdict(make(7415)).findings if one.startswith("quarantine: 3 of")]


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
    boosted = [one for one in made if any(ceiling.boosts for held in one.limits.values() for ceiling in held)]
    assert sum(one.drains for one in boosted) >= 5, "boosts whose ends are looked at"
    rated = [Simulation(one).run() for one in made if len(one.rerates) > 2]
    assert sum(_rewritten(world) for world in rated) >= 20, "calls rated anew while others are recorded"
    ended = [Simulation(one).run() for one in made if one.failed][:3]
    assert all(world.failed and not world.waiting for world in ended)


def _rewritten(world: World) -> int:
    """How many costs changed while a run beside recorders was at work."""
    spans = [(one.began, one.ended) for one in world.rated[:-1]]
    rewritten = [write for began, ended in spans for write in world.double.trace[began:ended] if write.before]
    return sum(write.table == "ledger" for write in rewritten)


def test_a_throttle_goes_with_a_boost_and_comes_back_when_the_last_one_ends() -> None:
    hour_ms = 3_600_000
    boosts = (
        Boosted(EPOCH_MS + hour_ms, EPOCH_MS + 3 * hour_ms, amount=30),
        Boosted(EPOCH_MS + 2 * hour_ms, EPOCH_MS + 4 * hour_ms, permille=500),
    )
    schedule = Schedule(
        seed=0,
        start_ms=EPOCH_MS,
        zone="UTC",
        tenants={"t0": ("profile0",)},
        limits={"t0": (Ceiling("total_tokens", "month", 80, boosts=boosts),)},
        deliveries=(Delivery(EPOCH_MS, (Line("r", "r", "profile0", EPOCH_MS, (100, 0, 0, 0)),)),),
    )
    simulation = Simulation(schedule)
    world = simulation.run()
    for _ in simulation.drain():
        assert levels(world) == []
    heard = [(kind, detail["evaluated_at"]) for kind, detail in world.accepted if "Throttle" in kind]
    began = datetime.fromtimestamp(EPOCH_MS / 1000, UTC)
    assert [
        (kind.split()[-1], (datetime.fromisoformat(at) - began) // timedelta(hours=1)) for kind, at in heard[:3]
    ] == [
        ("Throttled", 0),
        ("Lifted", 1),
        ("Throttled", 4),
    ]
    assert [kind for kind, _ in heard[3:]] == ["Tenant Throttle Lifted"], "with the month"


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
