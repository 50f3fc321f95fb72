"""Events between commit and acceptance.

An event enters the outbox in the same write as the verdict that caused it, and leaves it when the bus has accepted
it. A crash in between publishes it again under the same id. What the bus refuses for good is tried a few times more
(a policy may be repaired), then
parked: kept, counted and alarmed, never silently dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bedrock_meter.alerts.contracts import Event

MAXIMUM_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that waits for the bus.

    Attributes:
        event: What is to be published.
        refusals: How often the bus refused it for what it is (throttling and outages do not count).
    """

    event: Event
    refusals: int = 0

    @property
    def is_parked(self) -> bool:
        """Whether it is given up until somebody looks."""
        return self.refusals >= MAXIMUM_REFUSALS


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """The bus's answer.

    Attributes:
        accepted: Ids that are on the bus.
        refused: Id -> error code of those that the bus refused for what they are.
        failed: Id -> error code of those that may pass later.
    """

    accepted: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def settle(pending: Sequence[Pending], outcome: PublishOutcome) -> tuple[Pending, ...]:
    """Return what still waits (or is parked) after ``outcome``."""
    return tuple(
        replace(one, refusals=one.refusals + 1) if one.event.id in outcome.refused else one
        for one in pending
        if one.event.id not in outcome.accepted
    )
