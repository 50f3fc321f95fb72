"""Runs one schedule: the handlers' own object graphs on the doubles, with everything that drives them in production.

The decision: what AWS does around the handlers is simulated too. A delivery that ends in an error comes again twice and
then lies in the failure store, from which the redrive takes it; a killed process loses its caches; the stream delivers
at least once and not in order, or loses hints; the sweep comes each minute (``evaluation.py``), and people change
limits and rate anew (``operator.py``). Faults have a budget, so every schedule ends and conservation can be demanded of
all of them.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bedrock_meter.limits.installation import install_limits
from bedrock_meter.usage.ingestion import Ingested, Ingestion
from bedrock_meter.usage.redrive import Redrive, Redriven
from tests.faults.designs import PRODUCT, Design
from tests.faults.environments import FUNCTION_MS, Environments
from tests.faults.evaluation import Evaluation
from tests.faults.faults import ENDINGS, FUNCTION_ERRORS, Faults, NoFaults, RandomFaults
from tests.faults.operator import Operator
from tests.faults.prices import ChangingPrices
from tests.faults.scheduler import Killed, Livelock, Worker
from tests.faults.schedules import Delivery, Schedule
from tests.faults.world import World, simulated_sleep, subscription_event

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
        within: Where it runs; a world of its own unless one is given.
        imbalances: Completed deliveries whose report does not add up.
    """

    schedule: Schedule
    design: Design = PRODUCT
    wrong: Faults | None = None
    latency_ms: int = 12
    within: World | None = None
    imbalances: list[str] = field(default_factory=list)
    _jobs: list[_Job] = field(default_factory=list)
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
        self.world = world = self.within or World(schedule, NoFaults(), latency_ms=self.latency_ms)
        prices = ChangingPrices(world.scheduler.clock, schedule.start_ms)
        self.environments = Environments(world, self.design, prices, self.chance)
        self.operator = Operator(world, schedule, self.design, self.chance)
        self.evaluation = Evaluation(
            world, schedule, self.environments, self.chance, lambda: self._writers > 0, lambda: self._busy > 0
        )
        with self.design.patched(), simulated_sleep(world.scheduler.sleep):
            self._prepare()
        world.wrong, world.outage_ms = chosen, schedule.outage_ms

    def run(self) -> World:
        """Run everything to its end; faults end first."""
        self._jobs = [_Job(one.at_ms, one) for one in self.schedule.deliveries]
        for one in self.schedule.failed:
            self.world.give_up(one.lines)
        for number in range(self.schedule.recorders):
            self._recorders.append(self._add(f"recorder {number}", self._record, self._skew()))
        for number in range(self.schedule.redrivers):
            self._add(f"redrive {number}", self._redrive, self._skew())
        if self.schedule.changes or self.schedule.mappings:
            self._add("operator", self.operator.work, 0)
        if self.schedule.rerates:
            self._add("rerate", self.operator.rate_meanwhile, 0)
        for number in range(self.schedule.evaluators):
            self._add(f"evaluator {number}", self.evaluation.evaluate, 0, is_writer=False)
        with self.design.patched(), simulated_sleep(self.world.scheduler.sleep):
            self._run_beside_the_sweep()
            if self.schedule.rerates:
                self._add("the last rerate", self.operator.rate_all, 0)
                self._add("evaluator", self.evaluation.evaluate, 0, is_writer=False)
                self._run_beside_the_sweep()
            self._end_faults()
            self.evaluation.finish()
        return self.world

    def drain(self) -> Iterator[None]:
        """Let time run on until nothing is due any more; yields whenever all that is due has been looked at."""
        with self.design.patched(), simulated_sleep(self.world.scheduler.sleep):
            yield from self.evaluation.drain()

    def redrive_all(self, name: str) -> None:
        """Work through the failure store once more, when everything else is over."""
        self._add(name, self._redrive, 0)
        with simulated_sleep(self.world.scheduler.sleep):
            self.world.scheduler.run()

    def _run_beside_the_sweep(self) -> None:
        self.world.scheduler.add(Worker("sweep", self.evaluation.sweep, self.schedule.start_ms, is_background=True))
        self.world.scheduler.run()

    def _end_faults(self) -> None:
        world = self.world
        world.wrong = NoFaults()
        world.settle_all()
        if self.schedule.outage_ms is not None:
            world.scheduler.now_ms = max(world.scheduler.now_ms, self.schedule.outage_ms[1])

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
        for tenant, profiles in self.schedule.tenants.items():
            for profile in profiles:
                self.world.map_profile(profile, tenant)
            if self.schedule.limits[tenant]:
                self.operator.install(tenant, self.schedule.limits[tenant], install_limits)

    def _record(self) -> None:
        scheduler = self.world.scheduler
        meter = self.environments.ingestion()
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
                with self.environments.invocation():
                    self._deliver(meter, job.delivery)
            except ENDINGS as ended:
                if self.design.swallows and isinstance(ended, Exception):
                    continue
                if isinstance(ended, Killed):
                    meter = self.environments.ingestion()
                if job.attempts > len(ASYNC_RETRIES_MS):
                    self.world.give_up(job.delivery.lines)
                    continue
                job.ready_ms = scheduler.now_ms + ASYNC_RETRIES_MS[job.attempts - 1]
                self._jobs.append(job)

    def _redrive(self) -> None:
        """Runs every five minutes; those that would find nothing are left out."""
        scheduler, runs = self.world.scheduler, 0
        taking_in = self.environments.redrive()
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
            with self.environments.invocation():
                taking_in.run(report, lambda: deadline_ms - self.world.scheduler.now_ms)
        except Killed:
            return self.environments.redrive()
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
