"""Wrong ways to count boosts: each is right as long as nobody has one."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from bedrock_meter.limits.boosts import Boost, Boosts, maximum_at
from tests.faults.designs import Design


@contextmanager
def counts_after_its_end() -> Iterator[None]:
    """It lasts until somebody takes it back."""

    def is_in_force(self: Boost, at_ms: int) -> bool:
        return self.from_ms <= at_ms

    with patch.object(Boost, "is_in_force", is_in_force):
        yield


@contextmanager
def larger_instead_of_sum() -> Iterator[None]:
    """Of boosts that overlap only the largest counts."""

    def largest(base: int, boosts: Boosts, at_ms: int) -> int:
        return max((maximum_at(base, [one], at_ms) for one in boosts), default=base)

    with (
        patch("bedrock_meter.limits.limit.maximum_at", largest),
        patch("bedrock_meter.limits.boosts.maximum_at", largest),
    ):
        yield


@contextmanager
def ends_unseen() -> Iterator[None]:
    """Nobody looks again because of a boost."""
    with patch("bedrock_meter.limits.levels.next_boundary_ms", lambda *_: None):
        yield


MUTANTS = (
    Design("a boost counts after its end", patched=counts_after_its_end),
    Design("of overlapping boosts the larger one counts", patched=larger_instead_of_sum),
    Design("nobody looks when a boost ends", patched=ends_unseen),
)
