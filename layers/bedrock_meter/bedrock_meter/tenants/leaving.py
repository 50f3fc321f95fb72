"""Removing and erasing, in pieces that fit a request: ``offboarding.py`` and ``erasing.py`` for command and admin API.

Removing is short. Erasing reads the whole ledger, which no request may last for: it goes in *steps*, each of which says
where the next one begins. The first step checks, notes and forgets all but the callers in the ledger; all of them
forget those. Any step can be sent again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.tenants.erasing import (
    ForgettingTrail,
    Persons,
    PrincipalStore,
    WordStore,
    check_erasable,
    check_still_removed,
    forget_persons,
    forget_words,
)
from bedrock_meter.tenants.offboarding import Actor, Removed, remove_tenant
from bedrock_meter.tenants.onboarding import TenantStore

STEP_MS = 10_000
"""For how long a step begins to read another page of the ledger. A page is bounded by its store."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of an erasure did.

    Attributes:
        words: Entries of the history that lost people's words; 0 in all steps but the first.
        read: Ledger entries read.
        principals: Entries that named a principal and do not any more.
        position: Where the next step begins; None = the erasure is complete.
    """

    words: int
    read: int
    principals: int
    position: str | None


class Leaving:
    """Ends tenants.

    Args:
        tenants: Definitions and mappings.
        words: What people wrote in Quotas, suspensions first of all.
        trail: Where each change is noted first.
        ledger: Callers in the ledger, by bounded pages.
        clock: Current time in milliseconds.
        installation: Gauges, from which an erased tenant's boosts go; None = they stay there, as numbers.
    """

    def __init__(
        self,
        tenants: TenantStore,
        words: WordStore,
        trail: ForgettingTrail,
        ledger: PrincipalStore,
        *,
        clock: Callable[[], int],
        installation: InstallationStore | None = None,
    ) -> None:
        self._persons = Persons(tenants, words, trail, clock, installation)
        self._tenants = tenants
        self._trail = trail
        self._ledger = ledger
        self._clock = clock

    def remove(self, tenant: str, by: str, announced: Sequence[str] = ()) -> Removed | None:
        """Remove a tenant; None if there is no such tenant. Twice is once. See ``offboarding.remove_tenant``.

        Args:
            tenant: Whom.
            by: Who does it.
            announced: ARNs or ids of profiles that the caller will delete in Bedrock; noted, and nothing more.

        Raises:
            LeaseLost: Others kept changing it; sending it again goes on.
        """
        if self._tenants.tenant(tenant) is None:
            return None
        return remove_tenant(self._tenants, tenant, Actor(by, self._clock(), self._trail), announced=announced)

    def erase(self, tenant: str, by: str, position: str | None) -> Step | None:
        """Do a step of an erasure; None if there is no such tenant.

        Args:
            tenant: Whom.
            by: Who does it.
            position: What the step before returned; None = the first one.

        Raises:
            NotErasable: The tenant is not removed, calls could still be recorded for it, or it was added again.
            LeaseLost: Others kept changing it; sending it again goes on.
        """
        began_ms = self._clock()
        known = self._tenants.tenant(tenant)
        if known is None:
            return None
        # One that is not removed is refused by the check, or below.
        removed_ms = -1 if known.removed_ms is None else known.removed_ms
        words = 0
        if position is None:
            words = forget_persons(self._persons, check_erasable(self._tenants, tenant, began_ms), by)
        read = forgotten = 0
        for keys, number, following in self._ledger.pages(tenant, position):
            # What was read before this is of the time before the tenant could come back.
            check_still_removed(self._tenants, tenant, removed_ms)
            forgotten += sum(self._ledger.forget(tenant, key) for key in keys)
            read += number
            position = following
            if position is None:
                # An evaluation that was under way in the first step may have written its words again.
                forget_words(self._persons, tenant, removed_ms)
            if self._clock() - began_ms >= STEP_MS:
                break
        return Step(words, read, forgotten, position)
