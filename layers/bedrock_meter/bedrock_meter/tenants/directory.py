"""Which tenant owns a profile: a cached view of the Tenants table.

An answer is used for a bounded time only: a known profile for a minute, an unknown one for five seconds. A profile
that changes hands is therefore re-mapped from a minute ahead (``tenants/onboarding.py``), so that no cached answer
can be wrong about it. The number of remembered answers is bounded too: model identifiers are chosen by callers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.tenants.attribution import Attribution, MappingPeriod, attribute

KNOWN_FOR_MS = 60_000
UNKNOWN_FOR_MS = 5_000
CAPACITY = 10_000


class DirectoryStore(Protocol):
    """Where mappings are kept."""

    def mappings(self, profiles: Iterable[str]) -> Mapping[str, Sequence[MappingPeriod]]:
        """Read the periods of each profile; unknown ones are missing in the answer."""


class CachedDirectory:
    """Attributes invocations, asking the store at most once a batch."""

    def __init__(
        self,
        store: DirectoryStore,
        *,
        known_for_ms: int = KNOWN_FOR_MS,
        unknown_for_ms: int = UNKNOWN_FOR_MS,
        capacity: int = CAPACITY,
    ) -> None:
        self._store = store
        self._known_for_ms = known_for_ms
        self._unknown_for_ms = unknown_for_ms
        self._capacity = capacity
        self._answers: dict[str, tuple[int, Sequence[MappingPeriod]]] = {}

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        """Return the attribution of each invocation at its event time, in their order."""
        mappings = self.mappings((profile_candidate(one.model_id) for one in invocations), now_ms)
        return [attribute(one, mappings) for one in invocations]

    def mappings(self, profiles: Iterable[str | None], now_ms: int) -> dict[str, Sequence[MappingPeriod]]:
        """Return the periods of the profiles; unknown ones are empty."""
        wanted = {profile for profile in profiles if profile}
        fresh = {
            profile: answer[1] for profile in wanted if (answer := self._answers.get(profile)) and now_ms < answer[0]
        }
        missing = sorted(wanted - fresh.keys())
        if missing:
            found = self._store.mappings(missing)
            if len(self._answers) + len(missing) > self._capacity:
                self._answers.clear()
            for profile in missing:
                periods = found.get(profile, ())
                until_ms = now_ms + (self._known_for_ms if periods else self._unknown_for_ms)
                self._answers[profile] = (until_ms, periods)
                fresh[profile] = periods
        return fresh
