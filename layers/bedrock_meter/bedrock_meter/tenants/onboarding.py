"""Making what is defined true: tenants, their gauges and limits, and the profiles that they own.

The order makes every step safe to be the last one: a tenant's gauge and limits are there before any of its profiles
points to it. All of it can be repeated; what is as wanted already is left alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.installation import InstallationStore, install_fail_policy, install_limits
from bedrock_meter.limits.limit import NO_LIMITS, Layout, Limit
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail, definition_document, difference
from bedrock_meter.tenants.mapping import (
    ATTEMPTS,
    MappingStore,
    map_principal,
    map_profile,
    unmap_principal,
    unmap_profile,
)
from bedrock_meter.tenants.ownership import PrincipalMapping, ProfileMapping
from bedrock_meter.tenants.plans import Plan, Plans, by_name, completed, effective_fail_policy, effective_limits
from bedrock_meter.tenants.seen import in_stored_order, is_as_seen
from bedrock_meter.tenants.tenant import TenantDefinition


class TenantStore(MappingStore, Protocol):
    """The Tenants table."""

    def tenant(self, tenant: str) -> TenantDefinition | None:
        """Read a tenant's definition with its own limits.

        All that are in force, and whether it reserves, live on its gauge.
        """

    def plans(self) -> Sequence[Plan]:
        """Read all plans, consistently."""

    def put_plan(self, plan: Plan, now_ms: int) -> bool:
        """Write a plan over that of ``plan.revision``; False if it changed meanwhile."""

    def remove_plan(self, plan: Plan) -> bool:
        """Take away the plan of ``plan.revision``; False if it changed meanwhile."""

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> bool:
        """Write a tenant's definition over that of ``definition.revision``; False if it changed meanwhile."""

    def owned(self) -> Iterator[ProfileMapping | PrincipalMapping]:
        """Yield all mappings of profiles, principals and patterns, consistently, in no order."""

    def forget_principal(self, key: str, tenant: str | None, now_ms: int) -> bool:
        """Take periods that ended out of a ``PrincipalMapping``, and the mapping away if none is left.

        Until when they lasted is kept under a hash, for whoever gives the principal anew.

        Args:
            key: The mapping's.
            tenant: Whose periods; None = everybody's.
            now_ms: Periods that have not ended by then stay.

        Returns:
            Whether there was one.

        Raises:
            LeaseLost: Others kept changing it.
        """

    def all_tenants(self) -> Iterator[TenantDefinition]:
        """Yield all definitions, in no order."""

    def everything(self) -> Iterator[TenantDefinition | ProfileMapping]:
        """Yield all definitions and all mappings, in no order."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying one definition changed.

    Attributes:
        tenant: The tenant.
        changed: What changed, in words; empty if all was as wanted.
        effective_ms: From when on all of it holds.
    """

    tenant: str
    changed: tuple[str, ...]
    effective_ms: int


def apply(
    definitions: Sequence[TenantDefinition],
    tenants: TenantStore,
    installation: InstallationStore,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
    audit: AuditTrail | None = None,
    by: str = "",
    revisions: Mapping[str, int] | None = None,
) -> Iterator[Applied]:
    """Apply definitions one by one, yielding what each changed. Applying them again changes nothing.

    Tenants that are not among ``definitions`` are left alone. A profile that a definition no longer names leaves its
    tenant, ``HANDOVER_MS`` from now, unless it is the tenant's by a tag in Bedrock only. What a definition does not say
    of a profile (its model or routing) and is known stays, and so do boosts. A tenant's limits are those of its
    plan and its own (``plans.py``); all definitions are checked against the stack's plans before the first change.

    Args:
        definitions: What is to be true.
        tenants: Definitions and mappings.
        installation: Gauges and limits.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.
        audit: Where each change is noted first; None = nowhere.
        by: Who applies.
        revisions: Of the stored definitions that the caller looked at, by tenant; 0 = there was none. A tenant that
            has another one by now is refused before anything of it changes. None = apply over whatever there is.

    Raises:
        InvalidDefinition: A plan is not defined, or limits of plan and tenant cannot stand together.
        LeaseLost: Another writer keeps changing the same tenant, or changed its definition since it was looked at.
    """
    plans = by_name(tenants.plans())
    for definition in definitions:
        try:
            effective_limits(definition, plans)
        except InvalidDefinition as problem:
            raise problem.under(f"tenant {definition.id}") from problem
    for definition in definitions:
        now_ms = clock()
        changed: list[str] = []
        effective_ms = now_ms
        known = tenants.tenant(definition.id)
        if revisions is not None and revisions.get(definition.id, 0) != (known.revision if known is not None else 0):
            raise LeaseLost(f"{definition.id} was changed by another writer meanwhile; nothing of it was changed here")
        wanted = _completed(definition, known)
        limits = effective_limits(wanted, plans)
        if audit is not None:
            gauge = installation.gauge(definition.id)
            before, after = planned(definition, known, plans, NO_LIMITS if gauge is None else gauge.layout)
            if after is not None:
                audit.record(AuditEntry(definition.id, now_ms, by, "apply", before, after))
        keep_own_limits(tenants, installation, known, now_ms)
        if install_limits(
            installation, definition.id, limits, clock=clock, new_id=new_id, reserves=definition.reserves
        ):
            changed.append("limits")
        if install_fail_policy(installation, definition.id, effective_fail_policy(wanted, limits)):
            changed.append("fail policy")
        for kind, name, from_ms in _given(tenants, definition, wanted, now_ms):
            changed.append(f"{kind} {name}")
            effective_ms = max(effective_ms, from_ms)
        for kind, name, to_ms in _taken(tenants, known, wanted, now_ms):
            changed.append(f"{kind} {name} removed")
            effective_ms = max(effective_ms, to_ms)
        if known != wanted:
            update_definition(tenants, definition.id, now_ms, partial(_over, definition, known))
            changed.append("tenant")
        if changed:
            settle_limits(tenants, installation, definition.id, clock=clock, new_id=new_id)
        yield Applied(definition.id, tuple(changed), effective_ms)


def planned(
    definition: TenantDefinition, known: TenantDefinition | None, plans: Plans, layout: Layout
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Return what applying a definition changes, before and after, as audit entries say it; (None, None): nothing.

    Args:
        definition: What is to be true.
        known: The tenant's stored definition; None = there is none.
        plans: All plans.
        layout: What is installed on the tenant's gauge.

    Raises:
        InvalidDefinition: The tenant's plan is not defined, or limits of plan and tenant cannot stand together.
    """
    present = [one.limit for one in layout.limits]
    wanted = _completed(definition, known)
    return difference(
        None if known is None else definition_document(completed(known, present), present, layout.reserves),
        definition_document(wanted, effective_limits(wanted, plans), definition.reserves),
    )


def _given(
    tenants: TenantStore, definition: TenantDefinition, wanted: TenantDefinition, now_ms: int
) -> Iterator[tuple[str, str, int]]:
    """Give the tenant what its definition names; yields kind, name and from when on of each change."""
    named = {profile.id for profile in definition.profiles if not profile.tagged}
    for profile in wanted.profiles:
        from_ms = map_profile(tenants, profile, definition.id, now_ms) if profile.id in named else None
        if from_ms is not None:
            yield "profile", profile.id, from_ms
    for principal in wanted.principals:
        from_ms = map_principal(tenants, principal, definition.id, now_ms)
        if from_ms is not None:
            yield "principal", principal, from_ms


def _taken(
    tenants: TenantStore, known: TenantDefinition | None, wanted: TenantDefinition, now_ms: int
) -> Iterator[tuple[str, str, int]]:
    """Take from the tenant what it had and its definition does not name any more."""
    if known is None:
        return
    kept = {profile.id for profile in wanted.profiles}
    for profile in known.profiles:
        to_ms = None if profile.id in kept else unmap_profile(tenants, profile.id, wanted.id, now_ms)
        if to_ms is not None:
            yield "profile", profile.id, to_ms
    for principal in known.principals:
        to_ms = None if principal in wanted.principals else unmap_principal(tenants, principal, wanted.id, now_ms)
        if to_ms is not None:
            yield "principal", principal, to_ms


def wanted_definition(definition: TenantDefinition, known: TenantDefinition | None) -> TenantDefinition:
    """Return what a tenant is to be: its definition, with what that leaves open and is known already."""
    return replace(_completed(definition, known), reserves=definition.reserves)


def _over(
    definition: TenantDefinition, seen: TenantDefinition | None, held: TenantDefinition | None
) -> TenantDefinition:
    """Return what is to be stored over ``held``. Tags and boosts that came since it was ``seen`` are kept.

    Raises:
        LeaseLost: A person changed it since.
    """
    if held is not None and (seen is None or not is_as_seen(held, seen)):
        raise LeaseLost(f"the definition of {definition.id} was changed by another writer meanwhile: run it again")
    return _completed(definition, held)


def _completed(definition: TenantDefinition, known: TenantDefinition | None) -> TenantDefinition:
    """Return what is to be stored: the definition, with what it leaves open and tags have brought.

    Profiles and principals that are the same ones keep their stored order, which means nothing.
    """
    held = {one.id: one for one in known.profiles} if known is not None else {}
    profiles = []
    for profile in definition.profiles:
        before = held.get(profile.id)
        if profile.tagged:
            # Listed to say whose it is: a tag gives it and takes it, and no definition does.
            profiles += [before] if before is not None else []
            continue
        if before is not None:
            model = before.model if profile.model == UNKNOWN_MODEL else profile.model
            arn = before.arn if profile.arn == profile.id else profile.arn
            routing = profile.routing or before.routing
            geography = profile.geography or (before.geography if routing == before.routing else None)
            profile = replace(profile, arn=arn, model=model, routing=routing, geography=geography)
        profiles.append(profile)
    named = {one.id for one in profiles}
    profiles += [one for one in held.values() if one.tagged and one.id not in named]
    name = definition.name or (known.name if known is not None else None)
    if known is None:
        return replace(definition, profiles=tuple(profiles), name=name, reserves=False)
    same = {one.id: one for one in profiles} == held
    return replace(
        definition,
        profiles=known.profiles if same else tuple(profiles),
        principals=in_stored_order(definition.principals, known.principals),
        removes=in_stored_order(definition.removes, known.removes),
        name=name,
        boosts=known.boosts,
        reserves=False,
    )


def installed_limits(installation: InstallationStore, tenant: str) -> tuple[Limit, ...]:
    """Return the limits on a tenant's gauge, in order; none where there is no gauge."""
    gauge = installation.gauge(tenant)
    return tuple(one.limit for one in gauge.layout.limits) if gauge is not None else ()


def keep_own_limits(
    tenants: TenantStore, installation: InstallationStore, known: TenantDefinition | None, now_ms: int
) -> None:
    """Write down which limits are a tenant's own, where its definition is from before that was kept.

    Before its gauge changes: from then on the gauge may hold more than that, and a change that died halfway would make
    its plan's limits its own. Doing it twice changes nothing.
    """
    if known is not None and not known.is_whole:
        present = installed_limits(installation, known.id)
        update_definition(tenants, known.id, now_ms, partial(_whole, present))


def _whole(installed: Sequence[Limit], definition: TenantDefinition | None) -> TenantDefinition | None:
    return completed(definition, installed) if definition is not None else None


def settle_limits(
    tenants: TenantStore,
    installation: InstallationStore,
    tenant: str,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
    before: Callable[[Sequence[Limit], Sequence[Limit]], None] | None = None,
) -> bool:
    """Install what a tenant's stored definition and the stored plans say, until both still say so afterwards.

    Whoever changes a definition or a plan writes it down first and settles then. So of a change of a plan and one of a
    tenant at the same time, whichever comes last sees both.

    Args:
        tenants: Definitions and plans.
        installation: Gauges and limits.
        tenant: Whose limits.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.
        before: Called with the limits that are installed and those that will be, before they change.

    Returns:
        Whether anything was installed. False, too, for a tenant that is unknown or removed.

    Raises:
        InvalidDefinition: The tenant's plan is gone, or limits cannot stand together.
        LeaseLost: Others changed the tenant or its plan each time.
    """
    is_changed = False
    for _ in range(ATTEMPTS):
        definition, plans = tenants.tenant(tenant), by_name(tenants.plans())
        if definition is None or definition.removed_ms is not None:
            return is_changed
        present = installed_limits(installation, tenant)
        limits = effective_limits(completed(definition, present), plans)
        if limits == present:
            policy = effective_fail_policy(definition, limits)
            return install_fail_policy(installation, tenant, policy) or is_changed
        if before is not None:
            before(present, limits)
        keep_own_limits(tenants, installation, definition, clock())
        is_changed = install_limits(installation, tenant, limits, clock=clock, new_id=new_id) or is_changed
    raise LeaseLost(f"the limits of {tenant} were changed by others {ATTEMPTS} times meanwhile")


def update_definition(
    tenants: TenantStore, tenant: str, now_ms: int, change: Callable[[TenantDefinition | None], TenantDefinition | None]
) -> bool:
    """Change a definition where it stands: read, change, write; again if somebody else wrote in between.

    Args:
        tenants: Definitions.
        tenant: Whose.
        now_ms: When.
        change: Makes the new definition from the one that is there; None = leave it.

    Returns:
        Whether anything was written.

    Raises:
        LeaseLost: Others changed it each time.
    """
    for _ in range(ATTEMPTS):
        held = tenants.tenant(tenant)
        wanted = change(held)
        if wanted is None or wanted == held:
            return False
        if tenants.put_tenant(replace(wanted, revision=held.revision if held else 0), now_ms):
            return True
    raise LeaseLost(f"the definition of {tenant} was changed by others {ATTEMPTS} times meanwhile")
