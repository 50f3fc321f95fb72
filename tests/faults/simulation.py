"""Runs one schedule: the handlers' own object graphs on the doubles, with everything that drives them in production.

The decision: what AWS does around the handlers is simulated too. A delivery that ends in an error comes again (twice,
then from the failure store), a killed process loses its caches, the stream delivers at least once and not in order, the
sweep comes each minute, and people change limits and repeat a command that failed. Faults have a budget, so every
schedule ends and conservation can be demanded of all of them.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.sweep import Worklist
from bedrock_meter.alerts.wiring import worklist
from bedrock_meter.errors import MeterError
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import Limit, default_name
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import parse_window
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.settings import DAY_MS
from bedrock_meter.storage.dynamodb import AWS_ERRORS
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.usage.ingestion import Ingested, Ingestion
from bedrock_meter.usage.ledger import Rater
from bedrock_meter.usage.wiring import ingestion
from tests.faults.faults import Faults, NoFaults, RandomFaults
from tests.faults.scheduler import Killed, Livelock, Worker
from tests.faults.schedules import Ceiling, Delivery, LimitChange, Schedule
from tests.faults.world import BUCKET, TABLES, World, simulated_sleep, subscription_event

RETENTION_MS = 400 * DAY_MS
FUNCTION_MS = 60_000
SWEEP_MS = 60_000
MOST_ATTEMPTS = 120
PRICES_CHANGE_MS = 20_000
LEARNED_AFTER_MS = 45_000


class ChangingPrices:
    """A price book that is a dearer one every 20 seconds, and learns the model of some profiles after a while.

    Its version says both: ``x3`` are prices three times the first ones, ``x3?`` those that do not know these profiles.
    """

    def __init__(self, clock: Callable[[], int], start_ms: int) -> None:
        self._clock = clock
        self._start_ms = start_ms

    def rate(self, call: Call) -> Rated:
        """Cost by counts, times the factor; none of a profile ``...x1`` that is not known yet."""
        passed_ms = max(0, self._clock() - self._start_ms)
        factor = 1 + passed_ms // PRICES_CHANGE_MS
        unlearned = "?" if passed_ms < LEARNED_AFTER_MS else ""
        cost = call.tokens.input * 3 + call.tokens.output * 15 + call.tokens.cache_read + call.tokens.cache_write * 4
        is_unknown = unlearned and call.profile.endswith("x1")
        return Rated(None if is_unknown else cost * factor, f"x{factor}{unlearned}")


FUNCTION_ERRORS: tuple[type[Exception], ...] = (MeterError, *AWS_ERRORS)
"""What a function may end with, to be called again. Anything else is a mistake and ends the schedule."""

ENDINGS: tuple[type[BaseException], ...] = (*FUNCTION_ERRORS, Killed)

_ASYNC_RETRIES_MS = (60_000, 120_000)
_REDRIVE_MS = 15 * 60_000


@dataclass(frozen=True)
class Design:
    """How the meter is built. The default is the product; mutants replace parts of it.

    Attributes:
        ingestion: Takes the product's ingestion and returns the one to use.
        worklist: The same for the evaluation.
        install: Changes a tenant's limits.
        retention_ms: How long the ledger keeps what it is told to keep.
    """

    name: str = "this design"
    ingestion: Callable[[Ingestion, World], Ingestion] = lambda made, world: made
    worklist: Callable[[Worklist, World], Worklist] = lambda made, world: made
    install: Callable[..., bool] = install_limits
    swallows: bool = False


PRODUCT = Design()


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
        for number in range(self.schedule.recorders):
            self._add(f"recorder {number}", self._record, self._skew())
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

    def _add(self, name: str, work: Callable[[], None], skew_ms: int, *, is_writer: bool = True) -> None:
        self._busy += 1
        self._writers += is_writer

        def body() -> None:
            work()
            self._busy -= 1
            self._writers -= is_writer

        self.world.scheduler.add(Worker(name, body, self.schedule.start_ms, skew_ms, is_background=not is_writer))

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
            except AssertionError:
                raise
            except (Exception, Killed) as ended:
                if self.design.swallows and isinstance(ended, Exception):
                    continue
                if isinstance(ended, Killed):
                    meter = self.new_ingestion()
                if job.attempts > MOST_ATTEMPTS:
                    raise Livelock(f"a delivery failed {job.attempts} times: {ended!r}") from ended
                again = job.attempts % 3
                wait_ms = _ASYNC_RETRIES_MS[again - 1] if again else _REDRIVE_MS
                job.ready_ms = scheduler.now_ms + wait_ms
                self._jobs.append(job)

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
            for _ in range(MOST_ATTEMPTS):
                try:
                    self._install(change.tenant, change.limits, self.design.install)
                    break
                except ENDINGS:  # The person repeats the command.
                    scheduler.sleep(5_000)
            else:
                raise Livelock("limits could not be changed")

    def _evaluate(self) -> None:
        scheduler, chance = self.world.scheduler, self.chance
        evaluation = self.new_worklist()
        while True:
            self._backlog += range(self._seen, len(self.world.stream))
            self._seen = len(self.world.stream)
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
                _raise_mistakes(failures)
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
                    _raise_mistakes(self.new_worklist().sweep(Evaluated(), lambda: FUNCTION_MS))
            except ENDINGS:
                pass  # The next minute sweeps again.
            # Sweeps that would find nothing are left out: those while everybody else sleeps and nothing is due.
            wakes = [scheduler.next_wake_ms(), self.next_due_ms()]
            idle_ms = min((one for one in wakes if one is not None), default=0) - scheduler.now_ms
            scheduler.sleep(max(SWEEP_MS, idle_ms))

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


def _raise_mistakes(failures: list[Any]) -> None:
    for failure in failures:
        if not isinstance(failure.error, FUNCTION_ERRORS):
            raise failure.error


def limit_of(ceiling: Ceiling, zone: str) -> Limit:
    """Return the product's limit of a ceiling."""
    meter, window = Meter(ceiling.meter), parse_window(ceiling.window, zone)
    return Limit(default_name(meter, window), meter, window, ceiling.maximum, ceiling.hard)
