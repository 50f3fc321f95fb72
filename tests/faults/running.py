"""One schedule, one verdict; and how long a wrong design lives."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.faults.oracle import check, levels
from tests.faults.scheduler import Livelock
from tests.faults.schedules import Delivery, Schedule, make
from tests.faults.simulation import PRODUCT, Design, Simulation

GENERIC_SEEDS = 200


@dataclass(frozen=True)
class Death:
    """The first schedule under which a wrong design is noticed, and what is noticed."""

    seed: int
    finding: str


def findings(schedule: Schedule, design: Design = PRODUCT) -> list[str]:
    """Run a schedule; returns what is not conserved."""
    simulation = Simulation(schedule, design)
    try:
        world = simulation.run()
        found = check(world, simulation.imbalances)
        if schedule.drains and not found:
            simulation.drain()
            found = levels(world)
    except Livelock as endless:
        return [f"it does not end: {endless}"]
    return found


def death(design: Design, *, seeds: Iterable[int] = range(GENERIC_SEEDS)) -> Death | None:
    """Return the first of ``seeds`` that kills a design."""
    for seed in seeds:
        found = findings(make(seed), design)
        if found:
            return Death(seed, found[0])
    return None


def in_peace(seed: int) -> Schedule:
    """A schedule without faults, repetitions, twins or changes: every design counts it exactly."""
    schedule = make(seed)
    calls: set[str] = set()
    deliveries: list[Delivery] = []
    for delivery in schedule.deliveries:
        fresh = []
        for line in delivery.lines:
            if line.call not in calls:
                calls.add(line.call)
                fresh.append(line)
        if fresh:
            deliveries.append(replace(delivery, at_ms=schedule.start_ms + 60_000 * len(deliveries), lines=tuple(fresh)))
    return replace(
        schedule,
        deliveries=tuple(deliveries),
        failed=(),
        changes=(),
        mappings=(),
        recorders=1,
        redrivers=1,
        evaluators=1,
        fault_rate=0.0,
        skews_ms=(0,),
        drains=False,
        stream_in_order=True,
        stream_loses=0.0,
    )
