"""Functions that have just started: the handlers' own object graphs on the doubles, built as a design says."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.sweep import Failure, Worklist
from bedrock_meter.alerts.wiring import review, worklist
from bedrock_meter.settings import DAY_MS
from bedrock_meter.usage.ingestion import Ingestion
from bedrock_meter.usage.ledger import Rater
from bedrock_meter.usage.redrive import Redrive
from bedrock_meter.usage.wiring import ingestion, redrive
from tests.doubles.failures import FUNCTION
from tests.faults.designs import Design
from tests.faults.world import BUCKET, TABLES, World

RETENTION_MS = 400 * DAY_MS
FUNCTION_MS = 60_000


@dataclass
class Environments:
    """Makes environments of functions.

    Attributes:
        prices: What recorders rate by.
        chance: Of all that functions leave to chance.
    """

    world: World
    design: Design
    prices: Rater
    chance: random.Random

    def ingestion(self) -> Ingestion:
        """A recorder."""
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

    def worklist(self) -> Worklist:
        """What evaluates."""
        world = self.world
        clock = world.scheduler.clock
        made = worklist(world.client("dynamodb"), lambda: world.client("events"), TABLES, "bus", now=clock)
        return self.design.worklist(made, world)

    def redrive(self) -> Redrive:
        """What takes failed deliveries in again."""
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

    def review(self, judging: Worklist, report: Evaluated) -> list[Failure]:
        """Let the second half of the sweep look at its part of the gauges."""
        if not self.design.reviews:
            return []
        world = self.world
        looking = review(world.client("dynamodb"), judging, TABLES, now=world.scheduler.clock)
        return looking.run(report, lambda: FUNCTION_MS)

    @contextmanager
    def invocation(self) -> Iterator[None]:
        """The time that a function has; its process is killed when it has used it up."""
        worker = self.world.scheduler.current
        assert worker is not None
        worker.deadline_ms = self.world.scheduler.now_ms + FUNCTION_MS
        try:
            yield
        finally:
            worker.deadline_ms = None
