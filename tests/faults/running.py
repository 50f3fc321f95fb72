"""One schedule, one verdict; and how long a wrong design lives."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bedrock_meter.reconciliation.rebuild import Rebuild, Report
from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore
from tests.faults.belief import levels
from tests.faults.designs import PRODUCT, Design
from tests.faults.dynamodb import PAGE
from tests.faults.environments import RETENTION_MS
from tests.faults.oracle import check
from tests.faults.scheduler import Livelock
from tests.faults.schedules import Delivery, Schedule
from tests.faults.seeds import make
from tests.faults.simulation import Simulation
from tests.faults.world import TABLES, World

GENERIC_SEEDS = 200


@dataclass(frozen=True)
class Death:
    """The first schedule under which a wrong design is noticed, and what is noticed."""

    seed: int
    finding: str


@dataclass(frozen=True)
class Verdict:
    """What a schedule ended with.

    Attributes:
        findings: What is not conserved.
        rows: Roll-up rows that the product's own ``rebuild`` compared with the ledger.
        limits: Limits, the same.
        differing: How many of both it found to differ.
    """

    findings: tuple[str, ...]
    rows: int = 0
    limits: int = 0
    differing: int = 0


def verdict(schedule: Schedule) -> Verdict:
    """Run a schedule, check what is conserved, and have the product rebuild everything from the ledger beside it."""
    simulation = Simulation(schedule)
    try:
        found = _run(simulation)
    except Livelock as endless:
        return Verdict((f"it does not end: {endless}",))
    compared = rebuilt(simulation.world).tenants.values()
    differing = sum(len(one.row_differences) + len(one.limit_differences) for one in compared)
    if differing:
        found.append(f"rebuild: {differing} sums differ from the ledger's")
    return Verdict(tuple(found), sum(one.rows for one in compared), sum(one.limits for one in compared), differing)


def findings(schedule: Schedule, design: Design = PRODUCT) -> list[str]:
    """Run a schedule; returns what is not conserved."""
    try:
        return _run(Simulation(schedule, design))
    except Livelock as endless:
        return [f"it does not end: {endless}"]


def _run(simulation: Simulation) -> list[str]:
    world = simulation.run()
    found = check(world, simulation.imbalances)
    if simulation.schedule.drains and not found:
        for _ in simulation.drain():
            found = found or levels(world)
    return found


def rebuilt(world: World) -> Report:
    """Compare live sums with those that the ledger adds up to, as ``bedrock-meter rebuild`` does."""
    world.double.page = PAGE  # Pages of a few items have been had; here they would only take time.
    store = DynamoDBReconciliationStore(world.client("dynamodb"), TABLES)

    def no_ids() -> str:
        raise AssertionError("comparing takes no lease")

    made = Rebuild(
        store,
        retention_ms=RETENTION_MS,
        clock=world.scheduler.clock,
        new_id=no_ids,
        tell=lambda _: None,
    )
    return made.compare()


def death(design: Design, *, seeds: Iterable[int] = range(GENERIC_SEEDS)) -> Death | None:
    """Return the first of ``seeds`` that kills a design."""
    for seed in seeds:
        found = findings(make(seed), design)
        if found:
            return Death(seed, found[0])
    return None


def in_peace(seed: int) -> Schedule:
    """A schedule without faults, repetitions, twins, boosts or changes: every design counts it exactly."""
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
        limits={
            tenant: tuple(replace(one, boosts=()) for one in ceilings) for tenant, ceilings in schedule.limits.items()
        },
        changes=(),
        mappings=(),
        rerates=schedule.rerates[-1:],
        recorders=1,
        redrivers=1,
        evaluators=1,
        fault_rate=0.0,
        skews_ms=(0,),
        drains=False,
        stream_in_order=True,
        stream_loses=0.0,
    )
