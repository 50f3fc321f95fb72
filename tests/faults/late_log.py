"""A log that delivers late, in batches of any size, sometimes twice, to recorders that can die."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.usage.ingestion import Ingested
from tests.faults.environments import FUNCTION_MS, Environments
from tests.faults.faults import FUNCTION_ERRORS
from tests.faults.scheduler import Killed
from tests.faults.schedules import Line
from tests.faults.world import World, subscription_event


@dataclass
class LateLog:
    """Records that are logged and not delivered yet, each with the instant from which on it may be.

    Attributes:
        is_written: Whether callers may still add records.
    """

    world: World
    environments: Environments
    chance: random.Random
    is_written: Callable[[], bool]
    _waiting: list[tuple[int, str]] = field(default_factory=list)

    def add(self, ready_ms: int, record: str) -> None:
        """Log a record."""
        self._waiting.append((ready_ms, record))

    def record_all(self) -> None:
        """Deliver until nothing is left and nothing more comes; the body of a worker."""
        scheduler, chance = self.world.scheduler, self.chance
        meter = self.environments.ingestion()
        while self.is_written() or self._waiting:
            ready = [one for one in self._waiting if one[0] <= scheduler.now_ms]
            if not ready:
                scheduler.sleep(max(50, min((one[0] for one in self._waiting), default=0) - scheduler.now_ms))
                continue
            batch = chance.sample(ready, min(len(ready), chance.choice((1, 3, 20))))
            for one in batch:
                self._waiting.remove(one)
            again_ms = None
            try:
                if not self._deliver(meter, [text for _, text in batch]):
                    again_ms = 1_000
                elif chance.random() < 0.15:
                    again_ms = 500
            except Killed:
                meter, again_ms = self.environments.ingestion(), 1_000
            if again_ms is not None:
                self._waiting += [(scheduler.now_ms + again_ms, text) for _, text in batch]

    def _deliver(self, meter: Any, texts: list[str]) -> bool:
        """Deliver records; whether all are recorded."""
        worker = self.world.scheduler.current
        assert worker is not None
        worker.deadline_ms = self.world.scheduler.now_ms + FUNCTION_MS
        lines = tuple(Line(str(at), str(at), "", 0, broken=text) for at, text in enumerate(texts))
        try:
            meter.ingest(subscription_event(lines), Ingested(), lambda: FUNCTION_MS)
        except FUNCTION_ERRORS:
            return False
        finally:
            worker.deadline_ms = None
        return True
