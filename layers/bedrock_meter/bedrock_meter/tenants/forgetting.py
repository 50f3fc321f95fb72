"""Forgetting one person by name, whoever the tenant: a caller in ledger and mappings, and what the history calls him.

It goes in steps as an erasure of a tenant does (``leaving.py``). What the person did stays, without the name; that it
was forgotten is noted in the history of usage without a tenant, without the name as well.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.erasing import ERASED, Caller, NotErasable, PrincipalStore
from bedrock_meter.tenants.leaving import STEP_MS, Step
from bedrock_meter.tenants.mapping import ATTEMPTS
from bedrock_meter.tenants.offboarding import SuspensionStore
from bedrock_meter.tenants.onboarding import TenantStore, update_definition
from bedrock_meter.tenants.ownership import PrincipalMapping, is_past
from bedrock_meter.tenants.principals import MAXIMUM_PRINCIPAL_LENGTH, names_of
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import Trust


class NamedStore(TenantStore, Protocol):
    """Tenants, mappings and trust."""

    def trust(self) -> Trust:
        """Read what the stack trusts."""

    def mapping_key(self, principal: str) -> str:
        """Return the ``PrincipalMapping.key`` of a principal or a pattern."""


class HistoryStore(Protocol):
    """The histories of tenants, plans and prices together."""

    def forget_name(self, caller: Caller, *, dry_run: bool) -> int:
        """Put ``erased`` where an entry names the caller; returns how many entries did."""


def caller_of(name: str) -> Caller:
    """Return whom a person means by a principal's ARN, or by another name that stands in the history.

    Raises:
        InvalidDefinition: It is no text of 1 to 700 printable characters, or what stands for everybody forgotten.
    """
    if not 1 <= len(name) <= MAXIMUM_PRINCIPAL_LENGTH or not name.isprintable() or name == ERASED:
        raise InvalidDefinition(
            "principal", f"must be an ARN or another name of 1 to {MAXIMUM_PRINCIPAL_LENGTH} printable characters"
        )
    return Caller((names_of(name) or (name,))[0])


class Forgetting:
    """Forgets persons by name.

    Args:
        tenants: Definitions, mappings and trust.
        suspensions: Who suspended whom.
        trail: Where it is noted.
        history: Who changed what.
        ledger: Callers in the ledger, by bounded pages.
        clock: Current time in milliseconds.
    """

    def __init__(
        self,
        tenants: NamedStore,
        suspensions: SuspensionStore,
        trail: AuditTrail,
        history: HistoryStore,
        ledger: PrincipalStore,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._tenants = tenants
        self._suspensions = suspensions
        self._trail = trail
        self._history = history
        self._ledger = ledger
        self._clock = clock

    def erase(self, name: str, by: str, position: str | None, *, dry_run: bool = False) -> Step:
        """Do a step. The first one forgets all but the ledger's callers. Safe to repeat.

        Args:
            name: A principal's ARN, a role's for all its sessions; or another name that stands in the history.
            by: Who does it.
            position: What the step before returned; None = the first one.
            dry_run: Count, change nothing, and note nothing.

        Raises:
            InvalidDefinition: It can be nobody's name.
            NotErasable: The principal is mapped to a tenant, or is a gateway.
            LeaseLost: Others kept changing the same; sending it again goes on.
        """
        began_ms = self._clock()
        caller = caller_of(name)
        words = self._forget_words(caller, by, began_ms, dry_run=dry_run) if position is None else 0
        read = forgotten = 0
        for keys, number, following in self._ledger.pages(caller, position):
            forgotten += sum(dry_run or self._ledger.forget(caller, key) for key in keys)
            read += number
            position = following
            if self._clock() - began_ms >= STEP_MS:
                break
        return Step(words, read, forgotten, position)

    def _forget_words(self, caller: Caller, by: str, now_ms: int, *, dry_run: bool) -> int:
        mapped = self._check(caller, now_ms)
        if not dry_run:
            self._trail.record(AuditEntry(UNATTRIBUTED, now_ms, by, "erase principal", None, {"erased": True}))
        changed = sum(dry_run or self._tenants.forget_principal(key, None, now_ms) for key in mapped)
        for definition in list(self._tenants.all_tenants()):
            changed += self._forget_in_definition(definition, caller, now_ms, dry_run=dry_run)
            changed += self._forget_in_suspension(definition.id, caller, dry_run=dry_run)
        return changed + self._history.forget_name(caller, dry_run=dry_run)

    def _check(self, caller: Caller, now_ms: int) -> list[str]:
        """Return the keys of the caller's mappings, all of which have ended."""
        if any(caller.is_named(one) for one in self._tenants.trust().gateways):
            raise NotErasable("it is a gateway: take it out of `gateways` first, and run this again")
        key, mapped = self._tenants.mapping_key(caller.name), []
        for found in self._tenants.owned():
            if not isinstance(found, PrincipalMapping) or not (found.key == key or caller.is_named(found.name)):
                continue
            for one in found.periods:
                if not is_past(one, now_ms):
                    raise NotErasable(f"it is mapped to {one.tenant}: take it out there, wait 70 s, run this again")
            mapped.append(found.key)
        return mapped

    def _forget_in_definition(
        self, definition: TenantDefinition, caller: Caller, now_ms: int, *, dry_run: bool
    ) -> bool:
        def nameless(held: TenantDefinition | None) -> TenantDefinition | None:
            if held is None:
                return None
            principals = tuple(one for one in held.principals if not caller.is_named(one))
            boosts = tuple(replace(one, by=ERASED) if caller.is_named(one.by) else one for one in held.boosts)
            return replace(held, principals=principals, boosts=boosts)

        if nameless(definition) == definition:
            return False
        return dry_run or update_definition(self._tenants, definition.id, now_ms, nameless)

    def _forget_in_suspension(self, tenant: str, caller: Caller, *, dry_run: bool) -> bool:
        for _ in range(ATTEMPTS):
            _, held = self._suspensions.suspension(tenant)
            wanted = _nameless(held, caller)
            if held is None or wanted is None or wanted == held:
                return False
            if dry_run or self._suspensions.put_suspension(tenant, wanted, held):
                return True
        raise LeaseLost(f"the gauge of {tenant} was changed by others {ATTEMPTS} times meanwhile")


def _nameless(held: Suspension | None, caller: Caller) -> Suspension | None:
    if held is None:
        return None
    by, resumed_by = (ERASED if one and caller.is_named(one) else one for one in (held.by, held.resumed_by))
    return replace(held, by=by, resumed_by=resumed_by)
