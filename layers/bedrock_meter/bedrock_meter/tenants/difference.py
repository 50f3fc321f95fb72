"""What loading a file of tenants would change, as one document that is made before the first change. Pure.

Three facts: a file is declarative, so what an entry leaves out falls to its default, and is a change like any other;
the limits of a tenant are compared as they are in force, its plan's among them, because that is what protects it; what
a definition leaves open and is known stays (``onboarding.wanted_definition``), and so do boosts, which no file holds.

The document depends on the file and on what is stored alone, never on the clock or on an order of reading. So two that
are made from the same state have the same *digest*, by which a person agrees to one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.definition import spelled
from bedrock_meter.limits.limit import Limit
from bedrock_meter.tenants.onboarding import wanted_definition
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.planning import plan_changes
from bedrock_meter.tenants.plans import Plan, Plans, effective_limits, source_of
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from bedrock_meter.tenants.trust import GatewayDefinition

ADDED, CHANGED, REMOVED, ORDERED = "added", "changed", "removed", "ordered"
GIVEN_AGAIN = "given again"
FIELD, LIMIT, REMOVED_LIMIT, PROFILE, PRINCIPAL = "field", "limit", "removed limit", "profile", "principal"

HANDOVER_SECONDS = HANDOVER_MS // 1000
"""From when on a profile or principal has left its tenant, counted from the change."""

NO_GATEWAYS = GatewayDefinition(())
_DIGITS = 16

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desired:
    """What a file says.

    Attributes:
        definitions: Tenants. Those that it does not name stay as they are.
        plans: Plans. Those that it does not name stay, too.
        gateways: The stack's gateways; None = it does not say, so they stay.
    """

    definitions: Sequence[TenantDefinition] = ()
    plans: Sequence[Plan] = ()
    gateways: GatewayDefinition | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What a stack holds of it.

    Attributes:
        tenants: Stored definitions of the file's tenants, whole, with ``reserves``; those that are new are missing.
        plans: All plans.
        owners: Who owns a profile or principal without an end in sight, by its id or ARN.
        having: How many tenants that are not removed name a plan; under None, how many name none.
        gateways: The stack's gateways.
    """

    tenants: Mapping[str, TenantDefinition] = field(default_factory=dict)
    plans: Plans = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    having: Mapping[str | None, int] = field(default_factory=dict)
    gateways: GatewayDefinition = NO_GATEWAYS


def difference_document(desired: Desired, held: Held) -> Document:
    """Return what loading a file would change.

    Returns:
        ``tenants``, ``plans`` and ``gateways``, each with its ``changes``, those alone that change, sorted; and the
        ``digest`` of the three. A new tenant stands there even where all of it is as by default.

    Raises:
        InvalidDefinition: A tenant's plan is not defined, or limits of plan and tenant cannot stand together.
    """
    changed = plan_changes(desired.plans, held.plans)
    after = {**held.plans, **changed}
    entries = {one.id: tenant_difference(one, held, after) for one in desired.definitions}
    document: Document = {
        "plans": [_plan_difference(changed[name], held) for name in sorted(changed)],
        "tenants": [one for _, one in sorted(entries.items()) if one is not None],
        "gateways": _gateway_changes(desired.gateways, held.gateways),
    }
    return {"digest": _digest(document), **document}


def is_empty(document: Document) -> bool:
    """Whether nothing would change."""
    return not (document["plans"] or document["tenants"] or document["gateways"])


def tenant_difference(definition: TenantDefinition, held: Held, plans: Plans) -> Document | None:
    """Return what applying a definition would change of its tenant; None = nothing.

    Args:
        definition: As a file says it.
        held: What is stored.
        plans: All plans as they will be.

    Raises:
        InvalidDefinition: The tenant's plan is not defined, or limits of plan and tenant cannot stand together.
    """
    known = held.tenants.get(definition.id)
    before = known if known is not None else TenantDefinition(definition.id)
    wanted = wanted_definition(definition, known)
    try:
        limits = effective_limits(wanted, plans)
    except InvalidDefinition as problem:
        raise problem.under(f"tenant {definition.id}") from problem
    changes = _compared(FIELD, _fields(before), _fields(wanted))
    changes += _compared(
        LIMIT, {} if known is None else _limits(before, _in_force(before, held.plans)), _limits(wanted, limits)
    )
    changes += _ordered("own limits", [one.name for one in before.limits], [one.name for one in wanted.limits])
    changes += _compared(REMOVED_LIMIT, dict.fromkeys(before.removes, True), dict.fromkeys(wanted.removes, True))
    by_person = {one.id for one in definition.profiles if not one.tagged}
    changes += _owned(PROFILE, definition.id, _profiles(before), _profiles(wanted), by_person, held.owners)
    had, has = (dict.fromkeys(one.principals, True) for one in (before, wanted))
    changes += _owned(PRINCIPAL, definition.id, had, has, set(has), held.owners)
    if known is not None and not changes:
        return None
    return {
        "tenant": definition.id,
        "is_new": known is None,
        "can_deny": any(not one.shadow for one in limits),
        "is_attributed": bool(wanted.profiles or wanted.principals),
        "changes": sorted(changes, key=lambda one: (one["kind"], one["name"])),
    }


def _fields(definition: TenantDefinition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "timezone": definition.timezone,
        "plan": definition.plan,
        "fail": definition.fail_policy,
        "reserves": definition.reserves,
        "removed": definition.removed_ms is not None,
    }


def _in_force(definition: TenantDefinition, plans: Plans) -> Sequence[Limit]:
    """Return a stored tenant's limits; its own alone where its plan is one that was never defined."""
    try:
        return effective_limits(definition, plans)
    except InvalidDefinition:
        return definition.limits


def _limits(definition: TenantDefinition, limits: Sequence[Limit]) -> dict[str, Any]:
    return {
        one.name: {**spelled(one, definition.timezone), "source": source_of(definition, one.name)} for one in limits
    }


def _profiles(definition: TenantDefinition) -> dict[str, Any]:
    return {one.id: _profile_words(one) for one in definition.profiles}


def _profile_words(profile: ProfileReference) -> dict[str, Any]:
    return {name: value for name, value in asdict(profile).items() if name != "id"}


def _compared(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Document]:
    changes = []
    for name in {**before, **after}:
        one, other = before.get(name), after.get(name)
        if one != other:
            change = CHANGED if name in before and name in after else ADDED if name in after else REMOVED
            changes.append({"kind": kind, "name": name, "change": change, "before": one, "after": other})
    return changes


def _ordered(what: str, before: Sequence[str], after: Sequence[str]) -> list[Document]:
    """Say where those that stay change places."""
    stay = set(before) & set(after)
    one, other = ([name for name in names if name in stay] for names in (before, after))
    if one == other:
        return []
    return [{"kind": FIELD, "name": f"order of {what}", "change": ORDERED, "before": one, "after": other}]


def _owned(
    kind: str,
    tenant: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    given: set[str],
    owners: Mapping[str, str],
) -> list[Document]:
    """Compare what can change hands; ``given`` = what the file gives to the tenant, which another one may have now.

    That a definition lists no longer what is not the tenant's anyway, since another tenant got it, is no change.
    """
    changes = {one["name"]: one for one in _compared(kind, before, after)}
    for name in given:
        owner = owners.get(name)
        is_known = name in before
        if owner is not None and owner != tenant:
            default = {"kind": kind, "name": name, "change": CHANGED, "before": before.get(name), "after": after[name]}
            changes[name] = {**changes.get(name, default), "taken_from": owner, "in_seconds": HANDOVER_SECONDS}
        elif owner is None and is_known:
            again = {"kind": kind, "name": name, "before": before[name], "after": after[name]}
            changes[name] = {**again, "change": GIVEN_AGAIN, "in_seconds": HANDOVER_SECONDS}
    for name, one in list(changes.items()):
        if one["change"] == REMOVED and owners.get(name) == tenant:
            changes[name] = {**one, "in_seconds": HANDOVER_SECONDS}
        elif one["change"] == REMOVED:
            del changes[name]
    return list(changes.values())


def _plan_difference(plan: Plan, held: Held) -> Document:
    before = held.plans.get(plan.name)
    shared = before.limits if before is not None else ()
    changes = _compared(
        FIELD, {"default": before is not None and before.is_default}, {"default": plan.is_default}
    ) + _compared(LIMIT, {one["name"]: dict(one) for one in shared}, {one["name"]: dict(one) for one in plan.limits})
    changes += _ordered("limits", [one["name"] for one in shared], [one["name"] for one in plan.limits])
    is_default = plan.is_default or (before is not None and before.is_default)
    return {
        "plan": plan.name,
        "is_new": before is None,
        "tenants": held.having.get(plan.name, 0) + (held.having.get(None, 0) if is_default else 0),
        "changes": sorted(changes, key=lambda one: (one["kind"], one["name"])),
    }


def _gateway_changes(wanted: GatewayDefinition | None, held: GatewayDefinition) -> list[Document]:
    if wanted is None:
        return []
    keys = _compared(FIELD, {"metadata_key": held.metadata_key}, {"metadata_key": wanted.metadata_key})
    had, has = (dict.fromkeys(one.principals, True) for one in (held, wanted))
    changes = keys + _compared(PRINCIPAL, had, has) + _ordered("principals", held.principals, wanted.principals)
    return sorted(changes, key=lambda one: (one["kind"], one["name"]))


def _digest(document: Document) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]
