"""What the guard remembers for seconds: denials, an outage, each tenant's policy, and which profile stands for what.

Times are of a clock that never goes back (seconds). The number of remembered answers is bounded: which models are asked
for is chosen by callers.
"""

import math
import threading
from collections.abc import Callable
from typing import Any, Final

from bedrock_meter.client.quota import Denial, Policy, Profile, Subject

CAPACITY: Final = 10_000

FAILURES: Final = 5
"""So many failures of one kind in a row, without an answer to any tenant between them, are an outage."""


class Outage:
    """Whether the quota API answers at all. Safe to use from many threads.

    A row of failures opens the memory: nothing is asked until ``seconds`` have passed. Then one question is let through
    as a probe, in every ``seconds`` one at most; its failure keeps the memory open, any answer closes it. Failures of
    one tenant alone keep only that tenant from asking, since its storage may be slow and that of others not.

    Args:
        seconds: For how long nothing is asked after a failure.
        clock: Seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._row = 0
        self._kind = ""
        self._tenants: set[str] = set()
        self._next_probe = math.inf
        self.forget_parent()

    def forget_parent(self) -> None:
        """Make a lock of its own in a forked child. What is remembered is as true there."""
        self._lock = threading.Lock()

    def lets(self, tenant: str) -> bool:
        """Return whether a tenant may ask now. The one that may ask during an outage is the probe."""
        if self._row < FAILURES:
            return True
        with self._lock:
            if self._row < FAILURES or (len(self._tenants) == 1 and tenant not in self._tenants):
                return True
            now = self._clock()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._seconds
            return True

    def failed(self, tenant: str, kind: str) -> None:
        """Note that a tenant's question was not answered."""
        with self._lock:
            is_open = self._row >= FAILURES
            if not is_open and kind != self._kind:
                self._row, self._kind = 0, kind
                self._tenants.clear()
            self._row += 1
            if kind == self._kind and len(self._tenants) < 2:
                self._tenants.add(tenant)
            self._next_probe = self._clock() + self._seconds

    def answered(self) -> None:
        """Note that a question was answered, whatever the answer."""
        if self._row:
            with self._lock:
                self._row = 0
                self._tenants.clear()


class Memory:
    """Answers by subject, each with an end. Safe to use from many threads.

    Args:
        denial_seconds: A denial is remembered for ``retry_after``, and no longer than this: a limit may be raised.
        outage_seconds: How long nothing is asked after a row of failures.
        clock: Seconds.
    """

    def __init__(self, *, denial_seconds: float, outage_seconds: float, clock: Callable[[], float]) -> None:
        self.outage = Outage(outage_seconds, clock)
        self._denial_seconds = denial_seconds
        self._clock = clock
        self._denials: dict[Subject, tuple[float, float | None, Denial]] = {}
        self._profiles: dict[Subject, Profile | None] = {}
        self._policies: dict[str, Policy] = {}
        self.forget_parent()

    def forget_parent(self) -> None:
        """Make locks of its own in a forked child. What is remembered is as true there."""
        self._lock = threading.Lock()
        self.outage.forget_parent()

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

    def learned_policy(self, tenant: str, policy: Policy | None) -> None:
        """Remember the effective policy that an answer carried; one that carries none changes nothing."""
        if policy is not None and self._policies.get(tenant) != policy:
            with self._lock:
                self._keep(self._policies, tenant, policy)

    def policy(self, tenant: str) -> Policy | None:
        """Return the effective policy of a tenant that was named last; None for one that was not seen."""
        return self._policies.get(tenant)

    def learned(self, subject: Subject, profile: Profile | None) -> None:
        """Remember which profile the meter named."""
        with self._lock:
            self._keep(self._profiles, subject, profile)

    def profile(self, subject: Subject) -> Profile | None:
        """Return the profile that was named last for exactly this subject: for calls that no answer was had about."""
        return self._profiles.get(subject)

    @staticmethod
    def _keep(answers: dict[Any, Any], subject: object, answer: object) -> None:
        if len(answers) >= CAPACITY and subject not in answers:
            answers.clear()
        answers[subject] = answer
