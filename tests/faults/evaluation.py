"""What drives the evaluation: a stream that repeats, shuffles and loses its hints, and the sweep of each minute.

The decision: at the end nothing but the sweep runs, without faults, because liveness must not need a stream. Sweeps
that would find nothing are left out, so that a quiet month costs no time.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.review import PARTS
from bedrock_meter.alerts.sweep import Failure
from tests.faults.environments import FUNCTION_MS, Environments
from tests.faults.faults import ENDINGS, raise_mistakes
from tests.faults.scheduler import Killed, Livelock
from tests.faults.schedules import Schedule
from tests.faults.world import World

SWEEP_MS = 60_000
MOST_SWEEPS = 120


@dataclass
class Evaluation:
    """Stream, evaluators and sweep.

    Attributes:
        is_written: Whether anybody still writes what is to be judged.
        is_busy: Whether anybody is not done yet.
    """

    world: World
    schedule: Schedule
    environments: Environments
    chance: random.Random
    is_written: Callable[[], bool]
    is_busy: Callable[[], bool]
    _backlog: list[int] = field(default_factory=list)
    _seen: int = 0

    def evaluate(self) -> None:
        """Work on hints until nobody writes any more; the body of a worker."""
        scheduler, chance = self.world.scheduler, self.chance
        evaluation = self.environments.worklist()
        while True:
            hints = range(self._seen, len(self.world.stream))
            self._seen = len(self.world.stream)
            self._backlog += [at for at in hints if chance.random() >= self.schedule.stream_loses]
            if not self._backlog:
                if not self.is_written():
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
                with self.environments.invocation():
                    failures = evaluation.handle_all(changes, Evaluated())
                raise_mistakes(failures)
                self._backlog += [changes[failure.item] for failure in failures]
            except Killed:
                self._backlog += batch
                evaluation = self.environments.worklist()
                failures = []
            if failures or chance.random() < 0.5:
                scheduler.sleep(chance.choice((20, 300)) + 5_000 * bool(failures))

    def sweep(self) -> None:
        """Sweep each minute until everybody is done; the body of a worker."""
        scheduler = self.world.scheduler
        while self.is_busy():
            try:
                with self.environments.invocation():
                    raise_mistakes(self._sweep_once())
            except ENDINGS:
                pass  # The next minute sweeps again.
            # Sweeps that would find nothing are left out: those while everybody else sleeps and nothing is due.
            wakes = [scheduler.next_wake_ms(), self._next_due_ms()]
            idle_ms = min((one for one in wakes if one is not None), default=0) - scheduler.now_ms
            scheduler.sleep(max(SWEEP_MS, idle_ms))

    def finish(self) -> None:
        """Let the sweep finish what is due, without faults and without a stream."""
        if self.schedule.stream_loses or self.schedule.rerates:
            for _ in range(PARTS):  # An hour of sweeps, as far as they could find something.
                self.world.scheduler.now_ms += SWEEP_MS
                if failures := self.environments.review(self.environments.worklist(), Evaluated()):
                    raise failures[0].error
        for _ in self._through_what_is_due(2 * SWEEP_MS):
            pass

    def drain(self) -> Iterator[None]:
        """Let time run on until nothing is due any more; yields whenever all that is due has been looked at."""
        return self._through_what_is_due(None)

    def _through_what_is_due(self, ahead_ms: int | None) -> Iterator[None]:
        evaluation = self.environments.worklist()
        for _ in range(MOST_SWEEPS):
            due_ms = self._next_due_ms()
            if due_ms is None or (ahead_ms is not None and due_ms > self.world.scheduler.now_ms + ahead_ms):
                return
            self.world.scheduler.now_ms = max(self.world.scheduler.now_ms, due_ms)
            failures = evaluation.sweep(Evaluated(), lambda: FUNCTION_MS)
            if failures:
                raise failures[0].error
            # A sweep takes time: what became due meanwhile is the next one's, and what a consumer believes is behind.
            due_ms = self._next_due_ms()
            if due_ms is None or due_ms > self.world.scheduler.now_ms:
                yield
        raise Livelock("the sweep finds something due for ever")

    def _sweep_once(self) -> list[Failure]:
        judging, report = self.environments.worklist(), Evaluated()
        return judging.sweep(report, lambda: FUNCTION_MS) + self.environments.review(judging, report)

    def _next_due_ms(self) -> int | None:
        """When the sweep has something to do next."""
        items = self.world.rows("quotas")
        due = (item for (_, sort_key), item in items.items() if sort_key != "GAUGE" and "next_due_ms" in item)
        return min((int(item["next_due_ms"]["N"]) for item in due), default=None)
