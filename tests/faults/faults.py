"""What goes wrong with a call, and how it looks from below botocore.

==================  ===============================================================================================
``throttled``       refused, not done; botocore tries again
``internal``        status 500, not done; botocore tries again
``unreachable``     no connection, not done
``lost``            done, but the connection ends before the answer
``detached``        a transaction goes on without its caller: the connection ends first, the commit comes later
``killed before``   the caller's process ends before the request is sent
``killed after``    ... after the request is done
==================  ===============================================================================================
"""

import random
from collections.abc import Mapping
from typing import Any, Protocol

from bedrock_meter.errors import MeterError
from bedrock_meter.storage.dynamodb import AWS_ERRORS
from tests.faults.scheduler import Killed

THROTTLED = "throttled"
INTERNAL = "internal"
UNREACHABLE = "unreachable"
LOST = "lost"
DETACHED = "detached"
KILLED_BEFORE = "killed before"
KILLED_AFTER = "killed after"

_WEIGHTS = {
    THROTTLED: 3,
    INTERNAL: 1,
    UNREACHABLE: 2,
    LOST: 4,
    DETACHED: 2,
    KILLED_BEFORE: 3,
    KILLED_AFTER: 4,
}


FUNCTION_ERRORS: tuple[type[Exception], ...] = (MeterError, *AWS_ERRORS)
"""What a function may end with, to be called again. Anything else is a mistake and ends the schedule."""

ENDINGS: tuple[type[BaseException], ...] = (*FUNCTION_ERRORS, Killed)


class Faults(Protocol):
    """Decides about each call."""

    def decide(self, service: str, operation: str) -> str | None:
        """Return what goes wrong with the next call, or None."""


class NoFaults:
    """Everything works."""

    def decide(self, service: str, operation: str) -> str | None:
        return None


class RandomFaults:
    """Each call fails with a probability, until the budget is spent: every schedule ends."""

    def __init__(self, chance: random.Random, rate: float, budget: int) -> None:
        self._chance, self._rate, self.budget = chance, rate, budget

    def decide(self, service: str, operation: str) -> str | None:
        if self.budget <= 0 or self._chance.random() >= self._rate:
            return None
        self.budget -= 1
        (kind,) = self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        return LOST if kind == DETACHED and operation != "TransactWriteItems" else kind


class ScriptedFaults:
    """The n-th call goes wrong as said; counts all calls."""

    def __init__(self, script: Mapping[int, str]) -> None:
        self._script = script
        self.calls: list[str] = []

    def decide(self, service: str, operation: str) -> str | None:
        kind = self._script.get(len(self.calls))
        self.calls.append(f"{service}:{operation}")
        return kind


def raise_mistakes(failures: list[Any]) -> None:
    """Raise the first failure that no function may end with."""
    for failure in failures:
        if not isinstance(failure.error, FUNCTION_ERRORS):
            raise failure.error
