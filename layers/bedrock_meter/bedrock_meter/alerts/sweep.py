"""What time alone brings: throttles that end, thresholds that re-arm, events that still wait.

Nothing depends on the stream for liveness. Whatever may need another look carries ``next_due_ms`` in a sparse index,
written with the verdict itself; the sweep asks that index each minute.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.alerts.evaluator import REPUBLISH_AFTER_MS, Bus, Evaluated, Evaluator
from bedrock_meter.alerts.outbox import Pending, PublishOutcome, settle

LAST_CALL_MS = 3_000


class OutboxStore(Protocol):
    """Outboxes that belong to no tenant, and everything that is due."""

    def due(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """Yield (partition, sort key) of items whose time has come."""

    def pending(self, partition: str, sort_key: str) -> Sequence[Pending]:
        """Read one outbox consistently."""

    def cleared(
        self,
        partition: str,
        sort_key: str,
        outcome: PublishOutcome,
        pending: Sequence[Pending],
        next_due_ms: int | None,
    ) -> None:
        """Take accepted events out of it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be handled, and why."""

    item: tuple[str, str]
    error: Exception


class Worklist:
    """Works through changed or due items one by one; one that fails does not hold up the others."""

    def __init__(
        self,
        evaluator: Evaluator,
        outboxes: OutboxStore,
        bus: Bus,
        *,
        is_outbox: Callable[[str], bool],
        clock: Callable[[], int],
    ) -> None:
        self._evaluator = evaluator
        self._outboxes = outboxes
        self._bus = bus
        self._is_outbox = is_outbox
        self._clock = clock

    def handle(self, partition: str, sort_key: str, report: Evaluated) -> None:
        """Evaluate a tenant, or publish an announcement. Doing it twice publishes nothing new."""
        if not self._is_outbox(sort_key):
            self._evaluator.evaluate(partition, report)
            return
        events = self._outboxes.pending(partition, sort_key)
        if not events:
            return
        now_ms = self._clock()
        outcome = self._bus.publish(events, now_ms)
        left = settle(events, outcome)
        waiting = report.note(outcome, left)
        due_ms = now_ms + REPUBLISH_AFTER_MS if waiting else None
        self._outboxes.cleared(partition, sort_key, outcome, left, due_ms)

    def handle_all(self, items: Iterable[tuple[str, str]], report: Evaluated) -> list[Failure]:
        """Handle each distinct item once. One that fails does not hold up the others; the caller answers for it."""
        done: set[tuple[str, str]] = set()
        failures: list[Failure] = []
        for item in items:
            subject = (item[0], item[1] if self._is_outbox(item[1]) else "")
            if subject in done:
                continue
            done.add(subject)
            try:
                self.handle(*item, report)
            except Exception as error:  # noqa: BLE001 - returned, so that it is reported and tried again
                failures.append(Failure(item, error))
        return failures

    def sweep(self, report: Evaluated, remaining_ms: Callable[[], int]) -> list[Failure]:
        """Handle what is due; stops in time, the rest is due in the next minute as well."""

        def in_time() -> Iterator[tuple[str, str]]:
            for item in self._outboxes.due(self._clock()):
                if remaining_ms() < LAST_CALL_MS:
                    return
                yield item

        return self.handle_all(in_time(), report)
