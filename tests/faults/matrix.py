"""The crash matrix: every call that taking in one batch and announcing it makes, disturbed in every way, one at a time.

The first batch has something of everything: two tenants, twins, a repeated id, a failed call, a stranger, a broken
line; the limits are crossed, so that events are published; another delivery waits in the failure store. Each cell must
end exactly like the undisturbed run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults import faults
from tests.faults.faults import ScriptedFaults
from tests.faults.oracle import check
from tests.faults.schedules import EPOCH_MS, Ceiling, Delivery, LimitChange, Line, Schedule
from tests.faults.simulation import Simulation

DISTURBANCES = (
    faults.KILLED_BEFORE,
    faults.KILLED_AFTER,
    faults.LOST,
    faults.DETACHED,
    faults.THROTTLED,
    faults.INTERNAL,
    faults.UNREACHABLE,
)


def _lines() -> tuple[Line, ...]:
    made = [
        Line(f"r{at}-0", f"r{at}", f"profile{at % 2}x0", EPOCH_MS - 1_000 * at, (10 + at, 5, 1, 2)) for at in range(8)
    ]
    twin = Line("twin-0", "twin", "profile0x0", EPOCH_MS - 500)
    return (
        *made,
        made[1],
        twin,
        Line("failed-0", "failed", "profile1x0", EPOCH_MS - 700, error="ThrottlingException"),
        Line("stranger-0", "stranger", "strangerprofile", EPOCH_MS - 900, (3, 4, 0, 0)),
        Line("broken-0", "broken", "profile0x0", EPOCH_MS - 900, broken="not json"),
    )


GROWN = Line("twin-1", "twin", "profile0x0", EPOCH_MS - 500, (500, 70, 0, 0))

SCHEDULE = Schedule(
    seed=0,
    start_ms=EPOCH_MS,
    zone="Europe/Berlin",
    tenants={"t0": ("profile0x0",), "t1": ("profile1x0",)},
    limits={
        "t0": (Ceiling("total_tokens", "1h", 100), Ceiling("requests", "day", 4)),
        "t1": (Ceiling("output_tokens", "5m", 15, True),),
    },
    deliveries=(
        Delivery(EPOCH_MS, _lines()),
        Delivery(EPOCH_MS + 2_000, (GROWN, *_lines()[:3])),
    ),
    changes=(
        LimitChange(EPOCH_MS + 1_000, "t1", (Ceiling("requests", "1h", 3), Ceiling("total_tokens", "month", 50))),
    ),
    failed=(
        Delivery(EPOCH_MS, (_lines()[0], _lines()[-1], Line("late-0", "late", "profile1x0", EPOCH_MS, (1, 2, 3, 4)))),
    ),
    recorders=1,
    evaluators=1,
    stream_in_order=True,
)


@dataclass(frozen=True)
class Cell:
    """One disturbed run.

    Attributes:
        at: Number of the call.
        call: What it was.
        findings: What was not conserved.
    """

    at: int
    call: str
    disturbance: str
    findings: tuple[str, ...]


def _run(script: dict[int, str]) -> tuple[list[str], list[str]]:
    wrong = ScriptedFaults(script)
    simulation = Simulation(SCHEDULE, wrong=wrong)
    world = simulation.run()
    return wrong.calls, check(world, simulation.imbalances)


def undisturbed() -> tuple[list[str], list[str]]:
    """Return the calls of the undisturbed run, and what is wrong with it (nothing)."""
    return _run({})


def plan(disturbances: Sequence[str] = DISTURBANCES) -> list[tuple[int, str, str]]:
    """Return all cells: number of the call, what it is, and how it is disturbed."""
    calls, _ = undisturbed()
    return [
        (at, call, disturbance)
        for at, call in enumerate(calls)
        for disturbance in disturbances
        if disturbance != faults.DETACHED or call.endswith("TransactWriteItems")
    ]


def run(planned: tuple[int, str, str]) -> Cell:
    """Run one cell."""
    at, call, disturbance = planned
    return Cell(at, call, disturbance, tuple(_run({at: disturbance})[1]))
