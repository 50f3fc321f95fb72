"""Storm: the limits of very many tenants are crossed at once, and the bus takes less than comes.

Real recorders record one call for each tenant, real evaluators judge from the stream, and the bus refuses requests
beyond ``BUS_RATE`` a second: botocore tries again, the rest waits in the outboxes, and the sweep brings it. In the end
every event must have reached the bus, each under one id.
"""

from collections import Counter
from dataclasses import dataclass

from tests.faults import faults
from tests.faults.contention import Overlapping
from tests.faults.faults import NoFaults
from tests.faults.schedules import EPOCH_MS, Ceiling, Delivery, Line, Schedule
from tests.faults.simulation import Simulation

BUS_RATE = 20
"""Requests a second; EventBridge's smallest documented limits are hundreds."""

EVALUATORS = 8
IN_A_DELIVERY = 100
EVENTS = 3
"""The one call crosses 50, 80 and 100 %. Lifts are left out: they come a day later, if the simulation lasts so long."""


class SlowBus:
    """Refuses what exceeds the rate; everything else works."""

    def __init__(self, simulation: Simulation) -> None:
        self.taken: Counter[int] = Counter()
        self.refused = self.last_ms = 0
        self._scheduler = simulation.world.scheduler

    def decide(self, service: str, operation: str) -> str | None:
        if service != "events":
            return None
        second = self._scheduler.now_ms // 1000
        if self.taken[second] >= BUS_RATE:
            self.refused += 1
            return faults.THROTTLED
        self.taken[second] += 1
        self.last_ms = self._scheduler.now_ms
        return None


@dataclass(frozen=True)
class Weathered:
    """What became of the events.

    Attributes:
        expected: Events that had to come.
        ids: Ids that came.
        copies: Events that came.
        missing: Tenants of which not every event came.
        mixed: Ids under which two different events came.
        waiting: Events that are still in an outbox.
        requests: Requests that the bus took; ``refused``: those that it did not.
        lasted_ms: From the calls to the last event that they caused.
    """

    expected: int
    ids: int
    copies: int
    missing: int
    mixed: int
    waiting: int
    requests: int
    refused: int
    lasted_ms: int

    @property
    def is_exact(self) -> bool:
        """Whether every event came, under one id each."""
        return (self.ids, self.missing, self.mixed, self.waiting) == (self.expected, 0, 0, 0)


def _schedule(tenants: int) -> Schedule:
    lines = [Line(f"r{at}", f"r{at}", f"profile{at}", EPOCH_MS, (90, 20, 0, 0)) for at in range(tenants)]
    parts = [tuple(lines[start : start + IN_A_DELIVERY]) for start in range(0, tenants, IN_A_DELIVERY)]
    return Schedule(
        seed=0,
        start_ms=EPOCH_MS,
        zone="UTC",
        tenants={f"t{at}": (f"profile{at}",) for at in range(tenants)},
        limits={"t0": (Ceiling("total_tokens", "1d", 100),)} | {f"t{at}": () for at in range(1, tenants)},
        deliveries=tuple(Delivery(EPOCH_MS, part) for part in parts),
        recorders=4,
        evaluators=EVALUATORS,
    )


def weather(tenants: int) -> Weathered:
    """Let all of ``tenants`` cross their limit at once."""
    schedule = _schedule(tenants)
    world = Overlapping(schedule, NoFaults())
    simulation = Simulation(schedule, within=world)
    world.double.page = 1_000
    world.scheduler.stickiness = 0.0
    world.scheduler.steps = -100 * tenants  # a storm is long, not endless
    (pattern,) = [item for key, item in world.rows("quotas").items() if key == ("t0", "GAUGE")]
    for at in range(1, tenants):
        world.rows("quotas")[f"t{at}", "GAUGE"] = {**pattern, "pk": {"S": f"t{at}"}}
    bus = SlowBus(simulation)
    world.wrong = bus
    simulation.run()
    rises = [(kind, detail) for kind, detail in world.accepted if kind != "Tenant Throttle Lifted"]
    copies: dict[str, set[str]] = {}
    ids: Counter[str] = Counter()
    for kind, detail in rises:
        content = kind, detail["tenant"], detail["threshold_percent"], detail["evaluated_at"]
        copies.setdefault(detail["event_id"], set()).add(repr(content))
    for tenant in {detail["event_id"]: detail["tenant"] for _, detail in rises}.values():
        ids[tenant] += 1
    outboxes = [name for item in world.rows("quotas").values() for name in item if name.startswith(("out:", "parked:"))]
    return Weathered(
        expected=EVENTS * tenants,
        ids=len(copies),
        copies=len(rises),
        missing=sum(ids[f"t{at}"] != EVENTS for at in range(tenants)),
        mixed=sum(len(found) > 1 for found in copies.values()),
        waiting=len(outboxes),
        requests=bus.taken.total(),
        refused=bus.refused,
        lasted_ms=bus.last_ms - EPOCH_MS,
    )
