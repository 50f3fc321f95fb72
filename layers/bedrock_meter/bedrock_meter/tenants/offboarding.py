"""Stopping a tenant, letting it go, and removing it. Forgetting the persons behind it: ``erasing.py``.

Usage is never touched: what was used was used. ``suspend`` and ``resume`` are a conditional update of the gauge, which
the evaluator turns into an event. ``remove`` ends the tenant's mappings ahead of the recorders' caches, like every
other change of hands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.suspension import MAXIMUM_REASON, Suspension, resume, suspend
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.directory import DirectoryStore, Question
from bedrock_meter.tenants.mapping import ATTEMPTS, unmap_principal, unmap_profile
from bedrock_meter.tenants.onboarding import TenantStore, update_definition
from bedrock_meter.tenants.ownership import owner_of
from bedrock_meter.tenants.profiles import ControlPlane, InferenceProfile
from bedrock_meter.tenants.tenant import TenantDefinition


class SuspensionStore(Protocol):
    """The part of gauges that suspensions need."""

    def suspension(self, tenant: str) -> tuple[bool, Suspension | None]:
        """Read (whether there is a gauge, its last suspension) consistently."""

    def put_suspension(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        """Write it over ``seen``; False if it changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, when, and where that is noted."""

    by: str
    now_ms: int
    audit: AuditTrail


def suspend_tenant(
    store: SuspensionStore, tenant: str, reason: str, actor: Actor, public_reason: str | None = None
) -> bool:
    """Suspend a tenant; False if it is suspended already.

    Args:
        store: Gauges.
        tenant: Whom.
        reason: Why, for administrators.
        actor: Who does it.
        public_reason: What the tenant may read and events carry; None = nothing.

    Raises:
        InvalidDefinition: There is no such tenant, or a reason is no text of 1 to 200 printable characters.
    """
    for where, text in (("reason", reason), ("public_reason", public_reason)):
        if text is not None and (not 1 <= len(text) <= MAXIMUM_REASON or not text.isprintable()):
            raise InvalidDefinition(where, f"must be 1 to {MAXIMUM_REASON} printable characters")
    shown = public_reason or ""
    return _change(store, tenant, "suspend", actor, lambda held: suspend(held, reason, actor.by, actor.now_ms, shown))


def resume_tenant(store: SuspensionStore, tenant: str, actor: Actor) -> bool:
    """Let a tenant go; False if it is not suspended.

    Raises:
        InvalidDefinition: There is no such tenant.
    """
    return _change(store, tenant, "resume", actor, lambda held: resume(held, actor.by, actor.now_ms))


def _change(
    store: SuspensionStore,
    tenant: str,
    what: str,
    actor: Actor,
    change: Callable[[Suspension | None], Suspension | None],
) -> bool:
    noted = False
    for _ in range(ATTEMPTS):
        exists, held = store.suspension(tenant)
        if not exists:
            raise InvalidDefinition("", f"there is no tenant {tenant}")
        wanted = change(held)
        if wanted is None:
            # If we had sent it, then it was our reply that got lost.
            return noted
        if not noted:
            actor.audit.record(
                AuditEntry(tenant, actor.now_ms, actor.by, what, _suspension_words(held), _suspension_words(wanted))
            )
            noted = True
        if store.put_suspension(tenant, wanted, held):
            return True
    raise LeaseLost(f"the gauge of {tenant} was changed by others {ATTEMPTS} times meanwhile")


def _suspension_words(suspension: Suspension | None) -> dict[str, object]:
    if suspension is None or not suspension.is_in_force:
        return {"suspended": False}
    shown = {"public_reason": suspension.public_reason} if suspension.public_reason else {}
    return {"suspended": True, "reason": suspension.reason, **shown}


@dataclass(frozen=True, slots=True)
class Removed:
    """What removing a tenant changed.

    Attributes:
        ended: Profiles and principals whose mapping ends.
        deleted: ARNs of profiles that are gone from Bedrock.
        kept: ARNs of profiles that were to be deleted and carry no tag of the tenant.
        effective_ms: From when on nothing is attributed to the tenant.
        changed: Whether anything did.
    """

    ended: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    effective_ms: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Deletion:
    """Profiles to delete in Bedrock, provided that their tag still names the tenant.

    Attributes:
        profiles: Which.
        control: Bedrock's control plane.
        tag_key: Key of the tag.
    """

    profiles: Sequence[InferenceProfile]
    control: ControlPlane
    tag_key: str


def deletable(control: ControlPlane, directory: DirectoryStore, tenant: str) -> list[InferenceProfile]:
    """Return the Region's profiles whose last owner is the tenant, removed already or not."""
    listed = {one.id: one for one in control.application_profiles()}
    mappings = directory.ask(Question(profiles=list(listed))).profiles
    return [listed[one] for one, periods in mappings.items() if periods and periods[-1].tenant == tenant]


def remove_tenant(
    tenants: TenantStore,
    tenant: str,
    actor: Actor,
    deletion: Deletion | None = None,
    announced: Sequence[str] = (),
) -> Removed:
    """Remove a tenant: its mappings end, its definition says so, its usage and its gauge stay. Safe to repeat.

    Args:
        tenants: Definitions and mappings.
        tenant: Whom.
        actor: Who does it.
        deletion: What is to be deleted in Bedrock as well; None = nothing.
        announced: Without a deletion: profiles that the caller will delete there itself, as it calls them. They are
            noted, and nothing more.

    Raises:
        InvalidDefinition: There is no such tenant.
    """
    known = tenants.tenant(tenant)
    if known is None:
        raise InvalidDefinition("", f"there is no tenant {tenant}")
    delete = list(announced) if deletion is None else [one.arn for one in deletion.profiles]
    open_ids = [one.id for one in known.profiles if owner_of(tenants.periods(one.id)[1]) == tenant]
    open_ids += [one for one in known.principals if owner_of(tenants.principal_periods(one)[1]) == tenant]
    changed = known.removed_ms is None or bool(open_ids) or bool(delete)
    if changed:
        before = {"removed": known.removed_ms is not None, "profiles": [one.id for one in known.profiles]}
        after = {"removed": True, "profiles": [], "delete_profiles": delete}
        actor.audit.record(AuditEntry(tenant, actor.now_ms, actor.by, "remove", before, after))
    effective_ms = actor.now_ms
    ended = []
    for profile in known.profiles:
        to_ms = unmap_profile(tenants, profile.id, tenant, actor.now_ms)
        if to_ms is not None:
            ended.append(profile.id)
            effective_ms = max(effective_ms, to_ms)
    for principal in known.principals:
        to_ms = unmap_principal(tenants, principal, tenant, actor.now_ms)
        if to_ms is not None:
            ended.append(principal)
            effective_ms = max(effective_ms, to_ms)

    def as_removed(held: TenantDefinition | None) -> TenantDefinition | None:
        if held is None or (held.removed_ms is not None and not held.profiles):
            return held
        return replace(held, profiles=(), removed_ms=held.removed_ms or actor.now_ms)

    update_definition(tenants, tenant, actor.now_ms, as_removed)
    deleted, kept = delete_profiles(tenant, deletion) if deletion is not None else ([], [])
    return Removed(tuple(ended), tuple(deleted), tuple(kept), effective_ms, changed)


def delete_profiles(tenant: str, deletion: Deletion) -> tuple[list[str], list[str]]:
    """Delete what is the tenant's by its tag; returns the ARNs of what is gone and of what is not the tenant's."""
    deleted, kept = [], []
    for one in deletion.profiles:
        tags = deletion.control.tags(one.arn)
        if tags is not None and tags.get(deletion.tag_key) != tenant:
            kept.append(one.arn)
        else:
            deletion.control.delete(one.id)
            deleted.append(one.arn)
    return deleted, kept
