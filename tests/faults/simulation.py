"""Runs one schedule: the handlers' own object graphs on the doubles, with everything that drives them in production.

The decision: what AWS does around the handlers is simulated too. A delivery that ends in an error comes again twice and
then lies in the failure store, from which the redrive takes it; a killed process loses its caches; the stream delivers
at least once and not in order, or loses hints; the sweep comes each minute, and people change limits and repeat a
command that failed. Faults have a budget, so every schedule ends and conservation can be demanded of all of them.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.review import PARTS
from bedrock_meter.alerts.sweep import Failure, Worklist
from bedrock_meter.alerts.wiring import review, worklist
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.settings import DAY_MS
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.usage.ingestion import Ingested, Ingestion
from bedrock_meter.usage.ledger import Rater
from bedrock_meter.usage.redrive import Redrive, Redriven
from bedrock_meter.usage.wiring import ingestion, redrive
from tests.doubles.failures import FUNCTION
from tests.faults.designs import PRODUCT, Design
from tests.faults.faults import ENDINGS, FUNCTION_ERRORS, Faults, NoFaults, RandomFaults, raise_mistakes
from tests.faults.prices import ChangingPrices
from tests.faults.scheduler import Killed, Livelock, Worker
from tests.faults.schedules import Ceiling, Delivery, LimitChange, Schedule
from tests.faults.world import BUCKET, TABLES, World, limit_of, simulated_sleep, subscription_event

RETENTION_MS = 400 * DAY_MS
FUNCTION_MS = 60_000
SWEEP_MS = 60_000
MOST_ATTEMPTS = 120
REDRIVE_MS = 5 * 60_000
ASYNC_RETRIES_MS = (60_000, 120_000)


@dataclass
class _Job:
    ready_ms: int
    delivery: Delivery
    attempts: int = 0


@dataclass
class Simulation:
    """One schedule, run once.

    Attributes:
        imbalances: Completed deliveries whose report does not add up.
    """

    schedule: Schedule
    design: Design = PRODUCT
    wrong: Faults | None = None
    latency_ms: int = 12
    imbalances: list[str] = field(default_factory=list)
    _jobs: list[_Job] = field(default_factory=list)
    _backlog: list[int] = field(default_factory=list)
    _seen: int = 0
    _busy: int = 0
    """Recorders, evaluators and people who are not done yet."""

    _writers: int = 0
    _recorders: list[Worker] = field(default_factory=list)
    """Those that are not done yet."""

    def __post_init__(self) -> None:
        schedule = self.schedule
        self.chance = random.Random(schedule.seed + 3)
        chosen = self.wrong or RandomFaults(
            random.Random(schedule.seed + 4), schedule.fault_rate, schedule.fault_budget
        )
        self.world = World(schedule, NoFaults(), latency_ms=self.latency_ms)
        self.prices: Rater = ChangingPrices(self.world.scheduler.clock, schedule.start_ms)
        with simulated_sleep(self.world.scheduler.sleep):
            self._prepare()
        self.world.wrong, self.world.outage_ms = chosen, schedule.outage_ms

    def run(self) -> World:
        """Run everything to its end; faults end first."""
        scheduler = self.world.scheduler
        self._jobs = [_Job(one.at_ms, one) for one in self.schedule.deliveries]
        for one in self.schedule.failed:
            self.world.give_up(one.lines)
        for number in range(self.schedule.recorders):
            self._recorders.append(self._add(f"recorder {number}", self._record, self._skew()))
        for number in range(self.schedule.redrivers):
            self._add(f"redrive {number}", self._redrive, self._skew())
        if self.schedule.changes or self.schedule.mappings:
            self._add("operator", self._operate, 0)
        for number in range(self.schedule.evaluators):
            self._add(f"evaluator {number}", self._evaluate, 0, is_writer=False)
        sweeper = Worker("sweep", self._sweep, self.schedule.start_ms, is_background=True)
        scheduler.add(sweeper)
        with simulated_sleep(scheduler.sleep):
            scheduler.run()
            self._finish()
        return self.world

    def _add(self, name: str, work: Callable[[], None], skew_ms: int, *, is_writer: bool = True) -> Worker:
        self._busy += 1
        self._writers += is_writer

        def body() -> None:
            work()
            self._busy -= 1
            self._writers -= is_writer
            self._recorders = [one for one in self._recorders if one is not worker]

        worker = Worker(name, body, self.schedule.start_ms, skew_ms, is_background=not is_writer)
        return self.world.scheduler.add(worker)

    def _skew(self) -> int:
        return self.chance.choice(self.schedule.skews_ms)

    def _prepare(self) -> None:
        world = self.world
        for tenant, profiles in self.schedule.tenants.items():
            for profile in profiles:
                world.map_profile(profile, tenant)
            if self.schedule.limits[tenant]:
                self._install(tenant, self.schedule.limits[tenant], install_limits)

    def _install(self, tenant: str, ceilings: tuple[Ceiling, ...], install: Callable[..., bool]) -> None:
        def clock() -> int:
            self.world.installer_ms = self.world.scheduler.clock()
            return self.world.installer_ms

        install(
            DynamoDBInstallationStore(self.world.client("dynamodb"), TABLES),
            tenant,
            [limit_of(one, self.schedule.zone) for one in ceilings],
            clock=clock,
            new_id=lambda: f"change{self.chance.randrange(10**9)}",
        )

    def new_ingestion(self) -> Ingestion:
        """A function's environment that has just started."""
        world = self.world
        made = ingestion(
            world.client("dynamodb"),
            lambda: world.client("s3"),
            TABLES,
            BUCKET,
            retention_ms=RETENTION_MS,
            now=world.scheduler.clock,
            sleep_ms=world.scheduler.sleep,
            uniform=self.chance.random,
            rater=self.prices,
        )
        return self.design.ingestion(made, world)

    def new_worklist(self) -> Worklist:
        """The same for evaluation."""
        world = self.world
        clock = world.scheduler.clock
        made = worklist(world.client("dynamodb"), lambda: world.client("events"), TABLES, "bus", now=clock)
        return self.design.worklist(made, world)

    def new_redrive(self) -> Redrive:
        """The same for what takes failed deliveries in again."""
        world = self.world
        made = redrive(
            world.client("dynamodb"),
            lambda: world.client("s3"),
            TABLES,
            BUCKET,
            FUNCTION,
            retention_ms=RETENTION_MS,
            now=world.scheduler.clock,
            sleep_ms=world.scheduler.sleep,
            uniform=self.chance.random,
            rater=self.prices,
        )
        made._ingestion = self.design.ingestion(made._ingestion, world)
        made._shuffle = self.chance.shuffle
        return self.design.redrive(made, world)

    @contextmanager
    def _invocation(self) -> Iterator[None]:
        """The time that a function has; its process is killed when it has used it up."""
        worker = self.world.scheduler.current
        assert worker is not None
        worker.deadline_ms = self.world.scheduler.now_ms + FUNCTION_MS
        try:
            yield
        finally:
            worker.deadline_ms = None

    def _record(self) -> None:
        scheduler = self.world.scheduler
        meter = self.new_ingestion()
        while True:
            waiting = [job for job in self._jobs if job.ready_ms <= scheduler.now_ms]
            if not waiting:
                if not self._jobs:
                    return
                scheduler.sleep(max(1, min(job.ready_ms for job in self._jobs) - scheduler.now_ms))
                continue
            job = self.chance.choice(waiting)
            self._jobs.remove(job)
            job.attempts += 1
            try:
                with self._invocation():
                    self._deliver(meter, job.delivery)
            except ENDINGS as ended:
                if self.design.swallows and isinstance(ended, Exception):
                    continue
                if isinstance(ended, Killed):
                    meter = self.new_ingestion()
                if job.attempts > len(ASYNC_RETRIES_MS):
                    self.world.give_up(job.delivery.lines)
                    continue
                job.ready_ms = scheduler.now_ms + ASYNC_RETRIES_MS[job.attempts - 1]
                self._jobs.append(job)

    def redrive_all(self, name: str) -> None:
        """Work through the failure store once more, when everything else is over."""
        self._add(name, self._redrive, 0)
        with simulated_sleep(self.world.scheduler.sleep):
            self.world.scheduler.run()

    def _redrive(self) -> None:
        """Runs every five minutes; those that would find nothing are left out."""
        scheduler, runs = self.world.scheduler, 0
        taking_in = self.new_redrive()
        while True:
            idle_ms = REDRIVE_MS
            if self.world.waiting:
                runs += 1
                if runs > MOST_ATTEMPTS:
                    raise Livelock(f"{self.world.waiting} failed deliveries are left after {runs} runs")
                taking_in = self.redrive_once(taking_in)
            elif not self._recorders:
                return
            else:
                idle_ms = max(idle_ms, min(one.wake_ms for one in self._recorders) - scheduler.now_ms)
            scheduler.sleep(idle_ms)

    def redrive_once(self, taking_in: Redrive) -> Redrive:
        """Run the redrive once; returns the environment for the next run."""
        report = Redriven()
        deadline_ms = self.world.scheduler.now_ms + FUNCTION_MS
        try:
            with self._invocation():
                taking_in.run(report, lambda: deadline_ms - self.world.scheduler.now_ms)
        except Killed:
            return self.new_redrive()
        except FUNCTION_ERRORS:  # Lambda runs it again in five minutes.
            return taking_in
        mistakes = report.failures.keys() & {"AssertionError", "Unsupported"}
        if mistakes:
            raise AssertionError(f"the redrive met {report.failures}")
        if not report.failures:
            self._account(report.ingested, "a redrive")
        if report.parked:
            self.imbalances.append(f"{report.parked} deliveries were parked")
        return taking_in

    def _account(self, report: Ingested, what: str) -> None:
        usage = report.usage
        accounted = usage.recorded + usage.duplicates + usage.errors + report.quarantined
        if report.read != accounted:
            self.imbalances.append(f"{what}: {report.read} read, {accounted} accounted for")

    def _deliver(self, meter: Ingestion, delivery: Delivery) -> None:
        worker = self.world.scheduler.current
        deadline_ms = worker.deadline_ms if worker is not None else None

        def remaining_ms() -> int:
            return FUNCTION_MS if deadline_ms is None else deadline_ms - self.world.scheduler.now_ms

        report = Ingested()
        meter.ingest(subscription_event(delivery.lines), report, remaining_ms)
        usage = report.usage
        outcome = (report.read, usage.recorded + usage.duplicates + usage.errors + report.quarantined)
        if outcome != (len(delivery.lines),) * 2:
            self.imbalances.append(f"{len(delivery.lines)} lines, read and accounted for: {outcome}")

    def _operate(self) -> None:
        scheduler = self.world.scheduler
        planned: list[LimitChange | tuple[int, str, str]] = [*self.schedule.changes, *self.schedule.mappings]
        for change in sorted(planned, key=_at):
            scheduler.sleep(max(1, _at(change) - scheduler.now_ms))
            if not isinstance(change, LimitChange):
                self.world.map_profile(change[1], change[2])
                continue
            for attempt in range(MOST_ATTEMPTS):
                try:
                    self._install(change.tenant, change.limits, self.design.install)
                    break
                except ENDINGS:  # The person repeats the command.
                    scheduler.sleep(min(5_000 * (attempt + 1), 60_000))
            else:
                raise Livelock("limits could not be changed")

    def _evaluate(self) -> None:
        scheduler, chance = self.world.scheduler, self.chance
        evaluation = self.new_worklist()
        while True:
            hints = range(self._seen, len(self.world.stream))
            self._seen = len(self.world.stream)
            self._backlog += [at for at in hints if chance.random() >= self.schedule.stream_loses]
            if not self._backlog:
                if not self._writers:
                    return
                idle_ms = (scheduler.next_wake_ms() or 0) - scheduler.now_ms
                scheduler.sleep(max(chance.choice((50, 400, 5_000)), idle_ms))
                continue
            disturbed = not self.schedule.stream_in_order
            if disturbed and chance.random() < 0.15:
                self._backlog.append(chance.randrange(self._seen))
            if disturbed and chance.random() < 0.3:
                chance.shuffle(self._backlog)
            size = chance.choice((1, 3, 20, 100))
            batch, self._backlog = self._backlog[:size], self._backlog[size:]
            changes = {self.world.stream[at][:2]: at for at in batch}
            try:
                with self._invocation():
                    failures = evaluation.handle_all(changes, Evaluated())
                raise_mistakes(failures)
                self._backlog += [changes[failure.item] for failure in failures]
            except Killed:
                self._backlog += batch
                evaluation = self.new_worklist()
                failures = []
            if failures or chance.random() < 0.5:
                scheduler.sleep(chance.choice((20, 300)) + 5_000 * bool(failures))

    def _sweep(self) -> None:
        scheduler = self.world.scheduler
        while self._busy:
            try:
                with self._invocation():
                    raise_mistakes(self.sweep())
            except ENDINGS:
                pass  # The next minute sweeps again.
            # Sweeps that would find nothing are left out: those while everybody else sleeps and nothing is due.
            wakes = [scheduler.next_wake_ms(), self.next_due_ms()]
            idle_ms = min((one for one in wakes if one is not None), default=0) - scheduler.now_ms
            scheduler.sleep(max(SWEEP_MS, idle_ms))

    def sweep(self) -> list[Failure]:
        """What the function does in a minute."""
        judging, report = self.new_worklist(), Evaluated()
        return judging.sweep(report, lambda: FUNCTION_MS) + self.review(judging, report)

    def review(self, judging: Worklist, report: Evaluated) -> list[Failure]:
        """Its second half."""
        if not self.design.reviews:
            return []
        world = self.world
        return review(world.client("dynamodb"), judging, TABLES, now=world.scheduler.clock).run(
            report, lambda: FUNCTION_MS
        )

    def next_due_ms(self) -> int | None:
        """When the sweep has something to do next."""
        items = self.world.rows("quotas").values()
        return min((int(item["next_due_ms"]["N"]) for item in items if "next_due_ms" in item), default=None)

    def _finish(self) -> None:
        """Let the sweep finish what is due, without faults. Nothing but the sweep: liveness must not need a stream."""
        self.world.wrong = NoFaults()
        self.world.settle_all()
        if self.schedule.outage_ms is not None:
            self.world.scheduler.now_ms = max(self.world.scheduler.now_ms, self.schedule.outage_ms[1])
        if self.schedule.stream_loses:
            for _ in range(PARTS):  # An hour of sweeps, as far as they could find something.
                self.world.scheduler.now_ms += SWEEP_MS
                if failures := self.review(self.new_worklist(), Evaluated()):
                    raise failures[0].error
        evaluation = self.new_worklist()
        for _ in range(MOST_ATTEMPTS):
            due_ms = self.next_due_ms()
            if due_ms is None or due_ms > self.world.scheduler.now_ms + 2 * SWEEP_MS:
                return
            self.world.scheduler.now_ms = max(self.world.scheduler.now_ms, due_ms)
            failures = evaluation.sweep(Evaluated(), lambda: FUNCTION_MS)
            if failures:
                raise failures[0].error
        raise Livelock("the sweep finds something due for ever")

    def drain(self) -> None:
        """Let time run on until nothing is due any more."""
        evaluation = self.new_worklist()
        with simulated_sleep(self.world.scheduler.sleep):
            for _ in range(MOST_ATTEMPTS):
                due_ms = self.next_due_ms()
                if due_ms is None:
                    return
                self.world.scheduler.now_ms = max(self.world.scheduler.now_ms, due_ms)
                evaluation.sweep(Evaluated(), lambda: FUNCTION_MS)
        raise Livelock("something is due for ever")


def _at(change: LimitChange | tuple[int, str, str]) -> int:
    return change.at_ms if isinstance(change, LimitChange) else change[0]
