"""Boosts: more than a limit's maximum, from one instant to another. What is in force follows from the instant alone.

Three facts: a boost is a segment of time, [from, to), so that its end needs no event and nobody to run; boosts that
overlap add up; between two *boundaries* (a beginning or an end) the maximum does not change, so that whatever looks
ahead goes from boundary to boundary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.meters import MAX_AMOUNT

MOST_BOOSTS = 4
"""Of one limit: they stand in the gauge, which is to stay small."""

MOST_PERMILLE = 1_000_000


@dataclass(frozen=True, slots=True)
class Boost:
    """An addition to a limit's maximum in [from_ms, to_ms).

    Attributes:
        from_ms: First instant.
        to_ms: First instant at which it is over.
        amount: What is added, in the limit's meter.
        permille: What is added in thousandths of the maximum: 500 makes one and a half of it, rounded down.

    Raises:
        InvalidDefinition: It ends before it begins, adds nothing, or more than can be counted.
    """

    from_ms: int
    to_ms: int
    amount: int = 0
    permille: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.from_ms < self.to_ms:
            raise InvalidDefinition("to", "a boost ends after it begins")
        if not (0 <= self.amount <= MAX_AMOUNT and 0 <= self.permille <= MOST_PERMILLE) or not (
            self.amount or self.permille
        ):
            raise InvalidDefinition("amount", "a boost adds an amount from 1 to 18 digits, or a factor above 1 to 1001")

    def is_in_force(self, at_ms: int) -> bool:
        """Whether it counts at an instant."""
        return self.from_ms <= at_ms < self.to_ms


Boosts = Sequence[Boost]


def maximum_at(base: int, boosts: Boosts, at_ms: int) -> int:
    """Return the maximum in force at an instant; never more than 18 digits."""
    if not boosts:
        return base
    added = sum(one.amount + base * one.permille // 1000 for one in boosts if one.is_in_force(at_ms))
    return min(MAX_AMOUNT, base + added)


def least_maximum(base: int, boosts: Boosts, from_ms: int, to_ms: int) -> int:
    """Return the smallest maximum in force in [from_ms, to_ms], both included."""
    instants = [from_ms, *(at_ms for at_ms in _boundaries(boosts) if from_ms < at_ms <= to_ms)]
    return min(maximum_at(base, boosts, at_ms) for at_ms in instants)


def segment_start_ms(boosts: Boosts, at_ms: int) -> int:
    """Return the last boundary at or before an instant; 0 before the first."""
    return max((one for one in _boundaries(boosts) if one <= at_ms), default=0)


def next_boundary_ms(boosts: Boosts, at_ms: int, ahead_ms: int = 0) -> int | None:
    """Return the first instant after ``at_ms`` from which on the maximum may be another; None when it stays.

    With ``ahead_ms``, the least maximum of that time from each instant on is meant.
    """
    instants = {moved for one in _boundaries(boosts) for moved in (one, one - ahead_ms)}
    return min((one for one in instants if one > at_ms), default=None)


def _boundaries(boosts: Boosts) -> set[int]:
    return {instant for one in boosts for instant in (one.from_ms, one.to_ms)}
