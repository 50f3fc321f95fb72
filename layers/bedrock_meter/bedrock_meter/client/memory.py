"""What the guard remembers for seconds: denials, that nobody answers, and which profile stands for which model.

Times are of a clock that never goes back (seconds). The number of remembered answers is bounded: which models are asked
for is chosen by callers.
"""

import math
import threading
from collections.abc import Callable
from typing import Any, Final

from bedrock_meter.client.quota import Denial, Profile

CAPACITY: Final = 10_000

Subject = tuple[str, str]
"""A tenant and the last segment of a model identifier: limits may be for one model only."""


class Memory:
    """Answers by subject, each with an end. Safe to use from many threads.

    Args:
        denial_seconds: A denial is remembered for ``retry_after``, and no longer than this: a limit may be raised.
        outage_seconds: How long nobody is asked after nobody could answer.
        clock: Seconds.
    """

    def __init__(self, *, denial_seconds: float, outage_seconds: float, clock: Callable[[], float]) -> None:
        self._denial_seconds = denial_seconds
        self._outage_seconds = outage_seconds
        self._clock = clock
        self.forget_parent()
        self._denials: dict[Subject, tuple[float, float | None, Denial]] = {}
        self._profiles: dict[Subject, Profile | None] = {}
        self._outage_ends = float("-inf")

    def forget_parent(self) -> None:
        """Make a lock of its own in a forked child. What is remembered is as true there."""
        self._lock = threading.Lock()

    def denied(self, subject: Subject, denial: Denial) -> None:
        """Remember a denial if it holds for every call, not only for this one."""
        if not denial.holds_for_everyone:
            return
        now = self._clock()
        ends = None if denial.retry_after is None else now + denial.retry_after
        until = now + self._denial_seconds
        with self._lock:
            self._keep(self._denials, subject, (until if ends is None else min(until, ends), ends, denial))

    def denial(self, subject: Subject) -> tuple[Denial, int | None] | None:
        """Return a denial that still holds and the whole seconds until it ends (None: waiting does not help)."""
        found = self._denials.get(subject)
        if found is None:
            return None
        until, ends, denial = found
        now = self._clock()
        if now >= until:
            with self._lock:
                if self._denials.get(subject) is found:
                    del self._denials[subject]
            return None
        return denial, None if ends is None else max(1, math.ceil(ends - now))

    def out_of_order(self) -> None:
        """Remember that nobody could answer."""
        self._outage_ends = self._clock() + self._outage_seconds

    def answered(self) -> None:
        """Somebody answers again."""
        self._outage_ends = float("-inf")

    @property
    def is_out_of_order(self) -> bool:
        """Whether nobody could answer a moment ago."""
        return self._clock() < self._outage_ends

    def learned(self, subject: Subject, profile: Profile | None) -> None:
        """Remember which profile the meter named."""
        with self._lock:
            self._keep(self._profiles, subject, profile)

    def profile(self, subject: Subject) -> Profile | None:
        """Return the profile that was named last: for calls that nobody could be asked about."""
        return self._profiles.get(subject)

    @staticmethod
    def _keep(answers: dict[Subject, Any], subject: Subject, answer: object) -> None:
        if len(answers) >= CAPACITY and subject not in answers:
            answers.clear()
        answers[subject] = answer
