"""Plans: limits that tenants share, and what follows for one tenant. The only place that resolves them.

Three facts: a tenant's *own* limits stand beside those of its plan, and one of the same name stands instead of it; a
tenant that names no plan has the stack's default plan, if there is one; a plan is stored as people write it, and read
in each tenant's time zone, so that one plan's calendar month is everybody's own month.

In a stack without any plan, a tenant's plan is a word for people, as it was before there were plans. As soon as there
is one, a name that is not defined is refused: a typing error must not be a tenant without limits.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bedrock_meter.definitions import refuse_unknown_keys
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.boosts import MOST_BOOSTS
from bedrock_meter.limits.definition import parse_limit, spelled
from bedrock_meter.limits.limit import Limit, check_together
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, TenantDefinition

PLAN, TENANT = "plan", "tenant"
MOST_PLANS = 200

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_KEYS = ("name", "default", "limits")
_REMOVE_KEYS = ("name", "remove")


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits that tenants share.

    Attributes:
        name: What tenants call it by.
        limits: As people write them, in order, each with its name.
        is_default: Whether tenants without a plan have it.
        revision: Of the stored plan that this one was made from; 0 = there was none.
    """

    name: str
    limits: tuple[Mapping[str, Any], ...] = ()
    is_default: bool = False
    revision: int = field(default=0, compare=False)

    def limits_in(self, timezone: str) -> tuple[Limit, ...]:
        """Return its limits for a tenant of this time zone."""
        return tuple(parse_limit(one, timezone, f"limits[{index}]") for index, one in enumerate(self.limits))

    @property
    def version(self) -> str:
        """Names this state of it: another one after each change, also where it was removed and made anew."""
        content = json.dumps(self.document(), sort_keys=True)
        return f"{self.revision}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def document(self) -> dict[str, Any]:
        """Return it as an entry of a tenants file."""
        return {"name": self.name, "default": self.is_default, "limits": [dict(one) for one in self.limits]}


def is_plan_name(text: str) -> bool:
    """Whether a text can be the name of a plan; says nothing about whether there is one."""
    return re.fullmatch(NAME, text, re.ASCII) is not None


Plans = Mapping[str, Plan]
"""All plans of a stack, by name."""


def by_name(plans: Iterable[Plan]) -> dict[str, Plan]:
    """Return plans by their names."""
    return {plan.name: plan for plan in plans}


def parse_plan(entry: object) -> Plan:
    """Read a plan as people write it: ``{name, default?, limits}``.

    Raises:
        InvalidDefinition: Says which value is wrong and what would be right.
    """
    if not isinstance(entry, Mapping):
        raise InvalidDefinition("", "must be a mapping with a 'name' and 'limits'")
    refuse_unknown_keys("", entry, _KEYS)
    name, is_default, listed = entry.get("name"), entry.get("default", False), entry.get("limits", [])
    if not isinstance(name, str) or not is_plan_name(name):
        raise InvalidDefinition("name", f"{name!r}: write 1 to 64 letters, digits, '.', '-' or '_'")
    if not isinstance(is_default, bool):
        raise InvalidDefinition("default", f"{is_default!r}: write true or false")
    if not isinstance(listed, list):
        raise InvalidDefinition("limits", "must be a list")
    limits = [parse_limit(one, DEFAULT_TIMEZONE, f"limits[{index}]") for index, one in enumerate(listed)]
    for index, limit in enumerate(limits):
        if limit.scope.profiles:
            raise InvalidDefinition(f"limits[{index}].profiles", "a profile is one tenant's: put such a limit there")
    check_together(limits)
    return Plan(name, tuple(_spelled(limit, one) for limit, one in zip(limits, listed, strict=True)), is_default)


def _spelled(limit: Limit, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan's limit in its one spelling; a zone that its window names stays, any other is the tenant's."""
    window = entry["window"]
    zone = window.get("timezone") if isinstance(window, Mapping) else None
    found = spelled(limit, DEFAULT_TIMEZONE)
    return {**found, "window": {"calendar": str(limit.window), "timezone": zone}} if zone is not None else found


def parse_own_limits(listed: Sequence[object], timezone: str) -> tuple[tuple[Limit, ...], tuple[str, ...]]:
    """Read the ``limits`` of a tenant: its own ones, and the names of those that its plan has and it has not.

    Args:
        listed: Limits as people write them, and ``{name: x, remove: true}``.
        timezone: The tenant's.

    Raises:
        InvalidDefinition: Says which value is wrong and what would be right.
    """
    limits: list[Limit] = []
    removes: list[str] = []
    for index, one in enumerate(listed):
        where = f"limits[{index}]"
        if not isinstance(one, Mapping) or "remove" not in one:
            limits.append(parse_limit(one, timezone, where))
            continue
        name = one.get("name")
        if set(one) != set(_REMOVE_KEYS) or one["remove"] is not True or not isinstance(name, str):
            raise InvalidDefinition(where, "write {name: <limit of the plan>, remove: true} and nothing else")
        removes.append(name)
    both = {limit.name for limit in limits} & set(removes)
    if both:
        raise InvalidDefinition("limits", f"{min(both)!r} is both defined and removed: leave out one of them")
    return tuple(limits), tuple(dict.fromkeys(removes))


def own_limits(definition: TenantDefinition) -> list[dict[str, Any]]:
    """Return a tenant's own part, as people write it: what ``parse_own_limits`` reads to the same."""
    own = [spelled(one, definition.timezone) for one in definition.limits]
    return own + [{"name": name, "remove": True} for name in definition.removes]


def plan_of(definition: TenantDefinition, plans: Plans) -> Plan | None:
    """Return the plan that a tenant has; None where it has none.

    Raises:
        InvalidDefinition: It names one that is not defined, in a stack that has plans.
    """
    if definition.plan is None:
        return next((plan for plan in plans.values() if plan.is_default), None)
    if definition.plan not in plans and plans:
        known = ", ".join(sorted(plans)[:20])
        raise InvalidDefinition("plan", f"{definition.plan!r} is not defined; this stack has {known}")
    return plans.get(definition.plan)


def effective_limits(definition: TenantDefinition, plans: Plans) -> tuple[Limit, ...]:
    """Return all limits that a tenant is to have: its plan's in their order, then those that are its own alone.

    Raises:
        InvalidDefinition: Its plan is not defined, or these limits cannot stand together.
    """
    check_together(definition.limits)
    own = {limit.name: limit for limit in definition.limits}
    plan = plan_of(definition, plans)
    shared = plan.limits_in(definition.timezone) if plan is not None else ()
    limits = [own.pop(limit.name, limit) for limit in shared if limit.name not in definition.removes]
    limits += own.values()
    check_together(limits)
    return tuple(_boosted(limit, definition) for limit in limits)


def _boosted(limit: Limit, definition: TenantDefinition) -> Limit:
    """Return a limit with its boosts. Of more than a limit can have, those that end last: the others are over."""
    segments = [one.segment for one in definition.boosts if one.adds_to(limit)]
    boosts = [one for one in segments if one is not None]
    last = sorted(range(len(boosts)), key=lambda index: boosts[index].to_ms)[-MOST_BOOSTS:]
    return replace(limit, boosts=tuple(boosts[index] for index in sorted(last))) if boosts else limit


def effective_fail_policy(definition: TenantDefinition, limits: Sequence[Limit]) -> str | None:
    """Return what the API answers for a tenant while the tables are down: the strictest word of it and its limits.

    None = nobody says anything, so the stack's default.
    """
    words = {definition.fail_policy, *(limit.fail for limit in limits if not limit.shadow)}
    return next((policy for policy in ("closed", "open") if policy in words), None)


def completed(definition: TenantDefinition, installed: Sequence[Limit]) -> TenantDefinition:
    """Return a stored definition with its own limits, also where it was stored before they were kept."""
    return definition if definition.is_whole else replace(definition, limits=tuple(installed), is_whole=True)


def source_of(definition: TenantDefinition, name: str) -> str:
    """Return where a limit on a tenant's gauge comes from: ``plan`` or ``tenant``."""
    is_own = not definition.is_whole or any(limit.name == name for limit in definition.limits)
    return TENANT if is_own else PLAN
