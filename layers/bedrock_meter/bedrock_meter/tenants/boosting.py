"""Boosts: more of one limit for a while, given and ended early. Noted, written down, then installed.

Three facts: what was given stays as it was given, and an early end stands beside it, so that a segment that has passed
is never edited and its id never changes; the same one again is one, so that a request whose answer got lost can be sent
again; an early end takes nothing back, what is used or held by then may stand above the limit and is waited for.

What is over is forgotten with the next boost of the tenant, not before: forgetting it changes the limit's version, and
is nothing that anybody waits for. One that was ended early is known for a day, so that ending it again is no error.
Boosts have no say in what a tenants file or the admin API says of limits, and stay when those change; one whose limit
is gone, or counts something else now, adds nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bedrock_meter.errors import InvalidDefinition, UnknownBoost, UnknownTenant
from bedrock_meter.limits.boosts import MOST_BOOSTS, MOST_PERMILLE, Boost
from bedrock_meter.limits.definition import parse_maximum
from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.onboarding import TenantStore, installed_limits, settle_limits, update_definition
from bedrock_meter.tenants.plans import by_name, completed, effective_limits
from bedrock_meter.tenants.tenant import BoostGrant, TenantDefinition

MAXIMUM_REASON = 200
MAXIMUM_NUMBER = 64
"""Characters of an amount or a factor."""

REMEMBER_MS = 86_400_000
MOST_REMEMBERED = 20
"""Boosts that were ended early, of one tenant: they stand in its definition."""

ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_FACTOR = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class WantedBoost:
    """A boost as somebody asks for it.

    Attributes:
        limit: Name of the limit, of the tenant's plan or its own.
        to_ms: First instant at which it is over.
        reason: Why, in a person's words; 1 to 200 printable characters.
        by: Who gives it.
        from_ms: First instant; None = now.
        amount: What is added, as people write it (``300k``, ``$5``); None where a factor is given.
        factor: What the maximum is multiplied by, as people write it (``1.5``); None where an amount is given.
    """

    limit: str
    to_ms: int
    reason: str
    by: str
    from_ms: int | None = None
    amount: object = None
    factor: object = None


def boost_limit(
    tenants: TenantStore,
    installation: InstallationStore,
    audit: AuditTrail,
    tenant: str,
    wanted: WantedBoost,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
) -> tuple[BoostGrant, bool]:
    """Give a tenant a boost. The same one twice is one: the same limit, beginning, end and addition.

    Where no beginning is asked for, the same one is that of the same end and addition that is in force already.

    Args:
        tenants: Definitions and plans.
        installation: Gauges and limits.
        audit: Where it is noted first.
        tenant: Whose limit.
        wanted: Which limit, what, why and by whom.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.

    Returns:
        The boost, and whether the tenant did not have it yet. It is installed in either case.

    Raises:
        UnknownTenant: There is no such tenant, or it was removed.
        InvalidDefinition: It has no such limit, the boost is over already or was ended early, has no reason, adds
            nothing, or is one too many; ``where`` names the attribute as people write it.
        LeaseLost: Somebody else keeps changing the tenant; doing it again finishes it.
    """
    now_ms = clock()
    _check(wanted, now_ms)
    definition = _definition(tenants, tenant)
    present = installed_limits(installation, tenant)
    definition = completed(definition, present)
    grant = _granted(wanted, tenant, effective_limits(definition, by_name(tenants.plans())), now_ms)
    found = _same(definition, wanted, grant, now_ms)
    is_new = found is None
    if is_new:
        after = _with(definition, grant, now_ms)
        audit.record(AuditEntry(tenant, now_ms, grant.by, "boost", _words(definition, now_ms), _words(after, now_ms)))

        def changed(held: TenantDefinition | None) -> TenantDefinition | None:
            nonlocal found
            found = None if held is None else _same(held, wanted, grant, now_ms)
            return None if held is None or found is not None else _with(completed(held, present), grant, now_ms)

        update_definition(tenants, tenant, now_ms, changed)
    settle_limits(tenants, installation, tenant, clock=clock, new_id=new_id)
    return found or grant, is_new


def end_boost(
    tenants: TenantStore,
    installation: InstallationStore,
    audit: AuditTrail,
    tenant: str,
    identity: str,
    by: str,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
) -> bool:
    """End a boost now: one that has begun counts no longer, one that has not is taken away. Twice is once.

    Nothing is taken back that it made possible: usage stays, reservations and leases keep what they hold, and new ones
    have to fit the maximum without it from the installation on.

    Args:
        tenants: Definitions and plans.
        installation: Gauges and limits.
        audit: Where it is noted first.
        tenant: Whose boost.
        identity: Its id.
        by: Who ends it.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.

    Returns:
        Whether it was not over yet. That it is ended is installed in either case.

    Raises:
        UnknownTenant: There is no such tenant, or it was removed.
        UnknownBoost: The tenant has no such boost, or it is forgotten.
        LeaseLost: Somebody else keeps changing the tenant; doing it again finishes it.
    """
    now_ms = clock()
    definition = _definition(tenants, tenant)
    grant = next((one for one in definition.boosts if one.id_of(tenant) == identity), None)
    if grant is None:
        raise UnknownBoost(f"{tenant} has no boost {identity}")
    is_new = grant.ended_ms is None and now_ms < grant.boost.to_ms
    if is_new:
        ended = _without(definition, identity, now_ms)
        audit.record(AuditEntry(tenant, now_ms, by, "end boost", _words(definition, now_ms), _words(ended, now_ms)))

        def changed(held: TenantDefinition | None) -> TenantDefinition | None:
            return None if held is None else _without(held, identity, now_ms)

        update_definition(tenants, tenant, now_ms, changed)
    settle_limits(tenants, installation, tenant, clock=clock, new_id=new_id)
    return is_new


def boosts_not_over(definition: TenantDefinition, limits: Sequence[Limit], now_ms: int) -> list[dict[str, Any]]:
    """Return a tenant's boosts that are in force or still to begin, as documents say them, in the order of giving.

    Args:
        definition: The tenant's.
        limits: Its limits: they say what the amount of a boost is of that was stored before this was kept.
        now_ms: Now.
    """
    meters = {one.name: one.meter for one in limits}
    present = [one for one in definition.boosts if now_ms < one.over_ms]
    return [one.document(definition.id, meters.get(one.limit)) for one in present]


def permille_of(factor: object) -> int:
    """Return what a factor adds, in thousandths.

    Args:
        factor: As people write it: a number, or text.

    Raises:
        InvalidDefinition: It is no decimal number above 1 and up to 1001 with at most 3 places.
    """
    is_written = isinstance(factor, str | int | float) and not isinstance(factor, bool)
    number = _FACTOR.fullmatch(str(factor)) if is_written else None
    permille = int(number[1]) * 1000 + int((number[2] or "").ljust(3, "0")) - 1000 if number else 0
    if not 1 <= permille <= MOST_PERMILLE:
        raise InvalidDefinition("factor", "write a number above 1 with at most 3 decimal places, such as 1.5")
    return permille


def _check(wanted: WantedBoost, now_ms: int) -> None:
    if not 1 <= len(wanted.reason) <= MAXIMUM_REASON or not wanted.reason.isprintable():
        raise InvalidDefinition("reason", f"must be 1 to {MAXIMUM_REASON} printable characters")
    if wanted.from_ms is not None and wanted.from_ms < 0:
        raise InvalidDefinition("from", "is before 1970")
    if wanted.to_ms <= now_ms:
        raise InvalidDefinition("to", "is over already")
    if (wanted.amount is None) == (wanted.factor is None):
        raise InvalidDefinition("amount", "give either an amount or a factor")
    for name, value in (("amount", wanted.amount), ("factor", wanted.factor)):
        if isinstance(value, str) and len(value) > MAXIMUM_NUMBER:
            raise InvalidDefinition(name, f"has more than {MAXIMUM_NUMBER} characters")


def _definition(tenants: TenantStore, tenant: str) -> TenantDefinition:
    definition = tenants.tenant(tenant)
    if definition is None or definition.removed_ms is not None:
        raise UnknownTenant(f"there is no tenant {tenant}")
    return definition


def _granted(wanted: WantedBoost, tenant: str, limits: Sequence[Limit], now_ms: int) -> BoostGrant:
    limit = next((one for one in limits if one.name == wanted.limit), None)
    if limit is None:
        known = ", ".join(one.name for one in limits) or "none"
        raise InvalidDefinition("limit", f"{tenant} has no such limit; it has {known}")
    from_ms = now_ms if wanted.from_ms is None else wanted.from_ms
    if wanted.factor is not None:
        added = Boost(from_ms, wanted.to_ms, permille=permille_of(wanted.factor))
        return BoostGrant(limit.name, added, wanted.reason, wanted.by)
    try:
        amount = parse_maximum(limit.meter, wanted.amount)
    except InvalidDefinition:
        example = "$5 or 12.50" if limit.meter is Meter.COST_USD else "300000, 300k or 2M"
        raise InvalidDefinition("amount", f"write an amount of {limit.meter.unit}, such as {example}") from None
    return BoostGrant(limit.name, Boost(from_ms, wanted.to_ms, amount), wanted.reason, wanted.by, limit.meter)


def _same(definition: TenantDefinition, wanted: WantedBoost, grant: BoostGrant, now_ms: int) -> BoostGrant | None:
    """Return the boost that is meant, where the tenant has it already.

    Raises:
        InvalidDefinition: It was ended early: a request that comes late must not give it again.
    """
    for one in definition.boosts:
        if one.limit != grant.limit or (one.meter is not grant.meter and one.meter is not None):
            continue
        if one.boost == grant.boost:
            if one.ended_ms is not None:
                raise InvalidDefinition("from", "this very boost was ended early: let it begin at another instant")
            return one
        is_in_force = one.boost.from_ms <= now_ms < one.over_ms and one.ended_ms is None
        if wanted.from_ms is None and is_in_force and replace(one.boost, from_ms=grant.boost.from_ms) == grant.boost:
            return one
    return None


def _with(definition: TenantDefinition, grant: BoostGrant, now_ms: int) -> TenantDefinition:
    ended = [one for one in definition.boosts if one.ended_ms is not None and now_ms < one.ended_ms + REMEMBER_MS]
    remembered = sorted(ended, key=lambda one: one.ended_ms or 0)[-MOST_REMEMBERED:]
    kept = [one for one in definition.boosts if now_ms < one.over_ms or one in remembered]
    if sum(one.limit == grant.limit and now_ms < one.over_ms for one in kept) >= MOST_BOOSTS:
        raise InvalidDefinition("limit", f"{grant.limit} has {MOST_BOOSTS} boosts that are not over: that is the most")
    return replace(definition, boosts=(*kept, grant))


def _without(definition: TenantDefinition, identity: str, now_ms: int) -> TenantDefinition:
    return replace(
        definition,
        boosts=tuple(
            replace(one, ended_ms=now_ms) if one.id_of(definition.id) == identity and one.ended_ms is None else one
            for one in definition.boosts
        ),
    )


def _words(definition: TenantDefinition, now_ms: int) -> dict[str, Any]:
    return {"boosts": boosts_not_over(definition, (), now_ms)}
