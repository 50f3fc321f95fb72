"""Removing and erasing tenants for people who come over an API: what ``offboarding.py`` does, in pieces that fit.

Removing is short. Erasing reads the whole ledger, which no request may last for: it goes in *steps*, each of which says
where the next one begins. The first step checks, notes and forgets what the Tenants table holds; all of them forget
callers in the ledger. Any step can be sent again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.offboarding import (
    Actor,
    ForgettingTrail,
    PrincipalStore,
    Removed,
    SuspensionStore,
    check_erasable,
    erase_definition,
    remove_tenant,
)
from bedrock_meter.tenants.onboarding import TenantStore

STEP_MS = 10_000
"""For how long a step begins to read another page of the ledger. A page is bounded by its store."""


class NotErasable(Exception):
    """The tenant is not removed, or calls could still be recorded for it; says which. Nothing was changed."""


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
        suspensions: Whose reasons are forgotten.
        trail: Where each change is noted first.
        ledger: Callers in the ledger, by bounded pages.
        clock: Current time in milliseconds.
    """

    def __init__(
        self,
        tenants: TenantStore,
        suspensions: SuspensionStore,
        trail: ForgettingTrail,
        ledger: PrincipalStore,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._tenants = tenants
        self._suspensions = suspensions
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
        return remove_tenant(self._tenants, tenant, self._actor(by), announced=announced)

    def erase(self, tenant: str, by: str, position: str | None) -> Step | None:
        """Do a step of an erasure; None if there is no such tenant.

        Args:
            tenant: Whom.
            by: Who does it.
            position: What the step before returned; None = the first one.

        Raises:
            NotErasable: See there.
            LeaseLost: Others kept changing it; sending it again goes on.
        """
        began_ms = self._clock()
        known = self._tenants.tenant(tenant)
        if known is None:
            return None
        words = 0
        if position is None:
            try:
                check_erasable(self._tenants, tenant, began_ms)
            except InvalidDefinition as problem:
                raise NotErasable(problem.problem) from problem
            words = erase_definition(self._tenants, self._suspensions, self._trail, tenant, self._actor(by))
        elif known.removed_ms is None:
            raise NotErasable(f"{tenant} was added again meanwhile")
        read = forgotten = 0
        for keys, number, following in self._ledger.pages(tenant, position):
            forgotten += sum(self._ledger.forget(tenant, key) for key in keys)
            read += number
            position = following
            if self._clock() - began_ms >= STEP_MS:
                break
        return Step(words, read, forgotten, position)

    def _actor(self, by: str) -> Actor:
        return Actor(by, self._clock(), self._trail)
