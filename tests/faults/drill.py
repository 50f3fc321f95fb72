"""Outage drill: DynamoDB refuses everything for three hours, and records keep arriving; then the redrive, three times.

What happens in between is the handlers' own: the recorder fails inside its time, Lambda tries twice more and gives up,
the redrive runs every five minutes, in vain until DynamoDB is back. Evaluator and sweep live through it too. The failed
deliveries are then put back as they were, and redriven a second and a third time: nothing may count again.
"""

import random
from dataclasses import dataclass

from tests.faults.designs import PRODUCT, Design
from tests.faults.environments import FUNCTION_MS
from tests.faults.oracle import check
from tests.faults.schedules import EPOCH_MS, MINUTE_MS, Ceiling, Delivery, Line, Schedule
from tests.faults.simulation import Simulation

OUTAGE_MS = 3 * 3_600_000
BEFORE_MS = 10 * MINUTE_MS
AFTER_MS = 10 * MINUTE_MS
TENANTS = 5
RECORDS = 5
"""In each delivery."""

REDRIVES = 3


@dataclass(frozen=True)
class Drilled:
    """What became of the records.

    Attributes:
        records: Distinct calls that were logged.
        given_up: Deliveries that Lambda gave up on.
        lost: Calls that are not in the ledger when the failure store is empty for the first time.
        doubled: Requests in the roll-ups beyond that, and later redrives that changed any sum.
        drained_ms: From the end of the outage to the last failed delivery taken in.
        findings: All that is not conserved.
    """

    records: int
    given_up: int
    lost: int
    doubled: int
    drained_ms: int
    findings: tuple[str, ...]


def schedule(every_ms: int) -> Schedule:
    """A delivery each ``every_ms``, before, in and after the outage."""
    chance = random.Random(3)
    length_ms = BEFORE_MS + OUTAGE_MS + AFTER_MS
    deliveries = []
    for number, at_ms in enumerate(range(0, length_ms, every_ms)):
        lines = [
            Line(
                f"r{number}-{no}",
                f"r{number}-{no}",
                f"profile{chance.randrange(TENANTS)}",
                EPOCH_MS + at_ms - chance.randrange(30_000),
                (chance.randrange(900), chance.randrange(900), 0, chance.randrange(9)),
            )
            for no in range(RECORDS)
        ]
        deliveries.append(Delivery(EPOCH_MS + at_ms, tuple(lines)))
    usual = RECORDS * 900 * length_ms // every_ms // TENANTS
    return Schedule(
        seed=0,
        start_ms=EPOCH_MS,
        zone="Europe/Berlin",
        tenants={f"t{number}": (f"profile{number}",) for number in range(TENANTS)},
        limits={
            f"t{number}": (Ceiling("total_tokens", "1d", usual // 2), Ceiling("requests", "month", 10**6))
            for number in range(TENANTS)
        },
        deliveries=tuple(deliveries),
        recorders=3 + 3 * FUNCTION_MS // every_ms,
        outage_ms=(EPOCH_MS + BEFORE_MS, EPOCH_MS + BEFORE_MS + OUTAGE_MS),
    )


def drill(every_ms: int, design: Design = PRODUCT) -> Drilled:
    """Run it with a delivery each ``every_ms``."""
    planned = schedule(every_ms)
    assert planned.outage_ms is not None
    simulation = Simulation(planned, design)
    world = simulation.run()
    drained_ms = world.taken_ms - planned.outage_ms[1]
    findings = check(world, simulation.imbalances)
    counted, kept = counts(simulation), dict(world.failed)
    records = len(planned.lines)
    lost = records - len(world.rows("ledger"))
    again = 0
    for number in range(1, REDRIVES):
        world.objects |= kept
        simulation.redrive_all(f"round {number}")
        again += counts(simulation) != counted
        findings += check(world, simulation.imbalances)
    requests = sum(int(row["requests"]["N"]) for row in world.rows("usage").values())
    return Drilled(
        records=records,
        given_up=len(kept),
        lost=lost,
        doubled=max(0, requests - records) + again,
        drained_ms=drained_ms,
        findings=tuple(findings),
    )


def counts(simulation: Simulation) -> dict[tuple[str, str, str], dict[str, object]]:
    """Everything that is counted anywhere."""
    return {
        (table, *key): dict(item)
        for table in ("ledger", "usage", "quotas")
        for key, item in simulation.world.rows(table).items()
        if key[1] != "STATE"
    }
