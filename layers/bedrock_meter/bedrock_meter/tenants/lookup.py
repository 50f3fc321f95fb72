"""A profile that nobody mapped yet, asked for at Bedrock itself, at most now and then.

Most profiles are mapped before they are used. One that is not may carry the tenant's id as a tag, and asking for it
once saves its usage from waiting as ``unattributed``. Three facts keep the question from costing more than it saves:

* Only a successful call through an application inference profile of the record's own account and Region leads to a
  question: its success proves that the profile exists, so that no caller can make us ask for invented ones.
* A delivery asks for ``MAXIMUM_QUESTIONS`` profiles and for ``MAXIMUM_MS`` at most; an answer of no use is remembered
  for ``USELESS_FOR_MS``; a failure ends all questions for ``PAUSE_MS``. What is not asked stays ``unattributed``.
* A tag decides only if a tenant of that id is registered. What it decides is written to the Tenants table, conditioned
  on absence, so that no other recorder has to ask, and so that the table alone says why usage is whose it is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bedrock_meter.invocations.identifiers import application_profile
from bedrock_meter.tenants.attribution import BY_TAG, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.tenant import is_tenant_id

if TYPE_CHECKING:
    from bedrock_meter.invocations.record import Invocation

MAXIMUM_QUESTIONS = 3
MAXIMUM_MS = 3_000
USELESS_FOR_MS = 300_000
PAUSE_MS = 60_000
CAPACITY = 1_000


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """What Bedrock says about an application inference profile.

    Attributes:
        tags: All of its tags.
        model: Base model, or ``-`` where it cannot be told.
        routing: ``in-region``, ``geo`` or ``global``, or None where it cannot be told.
        geography: Of geo routing, or None where it cannot be told.
    """

    tags: Mapping[str, str]
    model: str = UNKNOWN_MODEL
    routing: str | None = None
    geography: str | None = None


class LookupFailed(Exception):
    """Bedrock did not answer: throttled, forbidden, too slow. Says nothing about the profile."""


class ProfileLookup(Protocol):
    """Bedrock's control plane."""

    def look_up(self, profile: str) -> FoundProfile | None:
        """Return an application inference profile by id, with its tags; None if there is none.

        Raises:
            LookupFailed: It cannot be told now.
        """


class LookupStore(Protocol):
    """The Tenants table, as far as a look-up needs it."""

    def registered(self, tenants: Iterable[str]) -> Collection[str]:
        """Return those tenants that are registered."""

    def adopt(self, profile: str, period: MappingPeriod) -> Sequence[MappingPeriod]:
        """Map a profile that has no mapping yet; returns the mapping that holds, whoever wrote it.

        Nothing is returned where the table is busy.
        """


class LiveLookup:
    """Asks within its bounds. One instance lives as long as the function's environment."""

    def __init__(self, lookup: ProfileLookup, store: LookupStore, *, tag_key: str, clock: Callable[[], int]) -> None:
        self._lookup = lookup
        self._store = store
        self._tag_key = tag_key
        self._clock = clock
        self._useless: dict[str, int] = {}
        self._paused_ms: int | None = None

    def find(self, invocations: Sequence["Invocation"], unknown: Collection[str]) -> dict[str, Sequence[MappingPeriod]]:
        """Return mappings of profiles that had none before.

        Args:
            invocations: Records of one delivery.
            unknown: Profiles among them without any mapping.
        """
        start_ms = self._clock()
        if not unknown or _is_young(self._paused_ms, start_ms, PAUSE_MS):
            return {}
        named = dict.fromkeys(one for one in map(application_profile, invocations) if one and one in unknown)
        asked = [one for one in named if not _is_young(self._useless.get(one), start_ms, USELESS_FOR_MS)]
        found: dict[str, MappingPeriod] = {}
        for profile in asked[:MAXIMUM_QUESTIONS]:
            if self._clock() - start_ms > MAXIMUM_MS:
                break
            try:
                answer = self._lookup.look_up(profile)
            except LookupFailed:
                self._paused_ms = self._clock()
                break
            tenant = "" if answer is None else answer.tags.get(self._tag_key, "")
            if answer is not None and is_tenant_id(tenant):
                # From the beginning of time: nobody owned it before.
                found[profile] = MappingPeriod(tenant, 0, None, answer.model, answer.routing, BY_TAG, answer.geography)
            else:
                self._remember_useless(profile)
        return self._adopt(found)

    def _adopt(self, found: Mapping[str, MappingPeriod]) -> dict[str, Sequence[MappingPeriod]]:
        if not found:
            return {}
        registered = self._store.registered(sorted({period.tenant for period in found.values()}))
        adopted: dict[str, Sequence[MappingPeriod]] = {}
        for profile, period in found.items():
            if period.tenant not in registered:
                self._remember_useless(profile)
            elif periods := self._store.adopt(profile, period):
                adopted[profile] = periods
        return adopted

    def _remember_useless(self, profile: str) -> None:
        if len(self._useless) >= CAPACITY:
            self._useless.clear()
        self._useless[profile] = self._clock()


def _is_young(at_ms: int | None, now_ms: int, for_ms: int) -> bool:
    """Whether something that happened then still holds; a clock that went backwards says no."""
    return at_ms is not None and 0 <= now_ms - at_ms < for_ms
