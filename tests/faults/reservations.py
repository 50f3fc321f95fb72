"""Callers who reserve, calls that are logged late, recorders that settle, under one seed and with faults.

The decision: callers do everything that real ones do. They ask again under the same key when an answer is lost, die
between reserving and calling, call longer than they reserved for, use more than they reserved, send one id with several
calls, have failed attempts and twins in the log, hold leases, or reserve nothing at all. What must be true meanwhile is
in ``theorem.py``; here is only what happens.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.errors import Contended
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.costs import Rater
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import read
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.limits.wiring import reservations
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import AWS_ERRORS
from bedrock_meter.storage.reservations import DynamoDBReservationStore
from tests.faults.faults import FUNCTION_ERRORS, Faults, NoFaults, RandomFaults
from tests.faults.late_log import LateLog
from tests.faults.prices import ChangingPrices
from tests.faults.scheduler import Killed, Worker
from tests.faults.schedules import EPOCH_MS, Line, Schedule
from tests.faults.simulation import Simulation
from tests.faults.workloads import Workload
from tests.faults.world import TABLES, World, message_of, simulated_sleep

LIFETIME_MS = 120_000
ASKED_AGAIN = 5
RESERVED = 1_000


@dataclass(frozen=True)
class Design:
    """How reserving and settling is built; mutants replace parts of it."""

    name: str = "this design"
    store: Callable[[Any], DynamoDBReservationStore] | None = None
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext


PRODUCT = Design()


def run_to_the_end(world: World, design: Design) -> None:
    """Run the workers of a world until all are done, then what is left to do without faults."""
    with simulated_sleep(world.scheduler.sleep), design.patched():
        world.scheduler.run()
        world.wrong = NoFaults()
        world.settle_all()


def made_process(
    world: World, design: Design, chance: random.Random, ids: Iterator[int], rater: Rater, **more: Any
) -> Reservations:
    """Return what a caller's process that has just started reserves with; ``more`` goes to ``reservations``."""
    client = world.client("dynamodb")
    made = reservations(
        client,
        TABLES,
        now=world.scheduler.clock,
        sleep_ms=world.scheduler.sleep,
        uniform=chance.random,
        new_id=lambda: f"{next(ids):032x}",
        rater=rater,
        **more,
    )
    if design.store is not None:
        made._store = design.store(client)
    return made


@dataclass
class Call:
    """What the world knows of a call: which reservation it names, and what it really uses."""

    reservation: str
    used: int


@dataclass
class Market:
    """One workload, run once.

    Attributes:
        calls: Calls by request id.
        denied: Requests for a reservation that were denied.
        reserved: Reservations that callers got.
        double: Keys under which two different reservations were returned: must stay empty.
    """

    workload: Workload
    design: Design = PRODUCT
    wrong: Faults | None = None
    calls: dict[str, Call] = field(default_factory=dict)
    denied: int = 0
    reserved: int = 0
    double: list[str] = field(default_factory=list)
    _busy: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.workload.seed + 1)
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self.schedule = Schedule(
            seed=self.workload.seed,
            start_ms=EPOCH_MS,
            zone="UTC",
            tenants={"acme": ("profile0x0",), "globex": ("profile1x0",)},
            limits={"acme": self.workload.ceilings, "globex": self.workload.ceilings},
            deliveries=(),
        )
        self._simulation = Simulation(self.schedule, wrong=NoFaults())
        if self.workload.steady:
            self._simulation.environments.prices = ChangingPrices(lambda: 0, 0)
        self.world: World = self._simulation.world
        self._log = LateLog(self.world, self._simulation.environments, self.chance, lambda: self._busy > 0)

    def run(self) -> World:
        """Run everything to its end."""
        plan, world = self.workload, self.world
        chance = random.Random(plan.seed + 2)
        world.wrong = self.wrong or RandomFaults(chance, plan.fault_rate, plan.fault_budget)
        for number in range(plan.callers):
            self._busy += 1
            world.scheduler.add(Worker(f"caller {number}", self._until_done(number), EPOCH_MS))
        for number in range(plan.recorders):
            world.scheduler.add(Worker(f"recorder {number}", self._log.record_all, EPOCH_MS))
        if plan.changes:
            world.scheduler.add(Worker("operator", self._operate, EPOCH_MS))
        run_to_the_end(world, self.design)
        return world

    def process(self) -> Reservations:
        """A caller's process that has just started."""
        prices = self._simulation.environments.prices
        return made_process(self.world, self.design, self.chance, self._ids, prices)

    def log(self, tenant: str, reservation: str, used: int, *, error: str | None = None, request: str = "") -> str:
        """Let Bedrock log a call; returns its request id."""
        request = request or f"r{next(self._numbers)}"
        profile = "profile0x0" if tenant == "acme" else "profile1x0"
        line = Line(request, request, profile, self.world.scheduler.now_ms, (used, 0, 0, 0), error)
        record = json.loads(message_of(line))
        if reservation:
            record["requestMetadata"] = {RESERVATION_KEY: reservation, "job": "nightly"}
        ready_ms = self.world.scheduler.now_ms + self.chance.choice(self.workload.lags_ms)
        self._log.add(ready_ms, json.dumps(record))
        if error is None:
            known = self.calls.setdefault(request, Call(reservation, used))
            known.used = max(known.used, used)
        return request

    def _until_done(self, number: int) -> Callable[[], None]:
        def work() -> None:
            process = self.process()
            for call in range(self.workload.calls):
                kind = self.chance.choice(self.workload.kinds)
                self.world.scheduler.sleep(self.chance.choice((1, 1, 40, 3_000)))
                try:
                    self._call(process, kind, f"caller {number} call {call}")
                except Killed:
                    process = self.process()
            self._busy -= 1

        return work

    def _call(self, process: Reservations, kind: str, key: str) -> None:
        scheduler, chance = self.world.scheduler, self.chance
        tenant = "acme" if chance.random() < 0.8 else "globex"
        used = chance.randrange(1, RESERVED + 1)
        if kind == "unreserved":
            if self._may_call(tenant):
                self.log(tenant, "", used)
            return
        is_lease = kind == "lease"
        lifetime_ms = {"overdue": 1_000, "brief": 12_000}.get(kind, LIFETIME_MS)
        held = self._reserve(process, tenant, key, lifetime_ms=lifetime_ms, is_lease=is_lease)
        if held is None:
            return
        self.reserved += 1
        if kind == "vanishes":
            return
        scheduler.sleep(400_000 if kind == "overdue" else chance.choice((1, 300, 5_000)))
        if kind == "released":
            self._change(lambda: process.release(tenant, held.id))
        elif is_lease:
            self._lease(process, tenant, held)
        elif kind == "failed":
            self.log(tenant, held.id, 0, error="ThrottlingException")
            self.log(tenant, held.id, used)
        elif kind == "twin":
            request = self.log(tenant, held.id, 0)
            self.log(tenant, held.id, used, request=request)
        elif kind == "shared":
            self.log(tenant, held.id, used)
            self.log(tenant, held.id, used)
            self.log("globex", held.id, 1)
        elif kind == "exceeds":
            self.log(tenant, held.id, RESERVED + used)
        elif kind == "forgets":  # Releases although it has called: what is logged then has nothing reserved.
            self.log(tenant, held.id, used)
            self._change(lambda: process.release(tenant, held.id))
        else:
            self.log(tenant, held.id, used)
            if kind == "shrinks":
                usage = {"input_tokens": used}
                longer_ms = chance.choice((None, 500_000))
                self._change(lambda: process.shrink(tenant, held.id, usage, lifetime_ms=longer_ms, known=held))

    def _lease(self, process: Reservations, tenant: str, held: Reservation) -> None:
        """Call out of a block, give back what was used when it is surely logged, and the rest at the end."""
        left = RESERVED
        for _ in range(3):
            used = self.chance.randrange(1, left // 2 + 2)
            left -= used
            self.log(tenant, held.id, used)
            self.world.scheduler.sleep(self.chance.choice((10, 20_000)))
        self.world.scheduler.sleep(min(LIFETIME_MS // 4, 2 * max(self.workload.lags_ms)))
        usage = {"input_tokens": left}
        self._change(lambda: process.shrink(tenant, held.id, usage, lifetime_ms=LIFETIME_MS))
        if self.chance.random() < 0.7:
            self._change(lambda: process.release(tenant, held.id))

    def _reserve(
        self, process: Reservations, tenant: str, key: str, *, lifetime_ms: int, is_lease: bool
    ) -> Reservation | None:
        """Ask until there is an answer, always under the same key; a process may die meanwhile."""
        estimate = Estimate(input_tokens=RESERVED)
        for _ in range(ASKED_AGAIN):
            try:
                answer = process.reserve(tenant, estimate, key=key, lifetime_ms=lifetime_ms, is_lease=is_lease)
            except (Contended, *AWS_ERRORS):
                self.world.scheduler.sleep(200)
                continue
            except Killed:
                if self.chance.random() < 0.5:
                    raise
                process = self.process()
                continue
            if answer.reservation is None:
                self.denied += 1
                return None
            again = None
            if self.chance.random() < 0.1:
                again = self._asked_again(tenant, key, is_lease=is_lease)
            if again is not None and again.id != answer.reservation.id:
                self.double.append(key)
            return answer.reservation
        return None

    def _asked_again(self, tenant: str, key: str, *, is_lease: bool) -> Reservation | None:
        """Another process asks under the same key: it gets the same reservation, whatever else is reserved."""
        try:
            answer = self.process().reserve(tenant, Estimate(input_tokens=RESERVED), key=key, is_lease=is_lease)
        except (Contended, *AWS_ERRORS):
            return None
        if answer.reservation is None or answer.is_new:
            self.double.append(key)
        return answer.reservation

    def _change(self, change: Callable[[], Reservation]) -> None:
        for _ in range(ASKED_AGAIN):
            try:
                change()
                return
            except (Contended, *AWS_ERRORS):
                self.world.scheduler.sleep(200)

    def _may_call(self, tenant: str) -> bool:
        """What somebody who only looks is told."""
        try:
            gauge = gauges.load_one(self.world.client("dynamodb"), TABLES.quotas, tenant)
        except AWS_ERRORS:
            return False
        assert gauge is not None
        return all(reading.allowed for reading in read(gauge, self.world.scheduler.now_ms))

    def _operate(self) -> None:
        for ceilings in self.workload.changes:
            self.world.scheduler.sleep(self.chance.choice((500, 20_000)))
            for _ in range(ASKED_AGAIN):
                try:
                    self._simulation.operator.install("acme", ceilings, install_limits)
                    break
                except Killed:
                    return
                except FUNCTION_ERRORS:  # The person repeats the command.
                    self.world.scheduler.sleep(20_000)
