"""``tenants boost``: more of one limit for a while, noted, written down, then installed.

What has ended is forgotten with the next boost of the tenant, not before: forgetting it changes the limit's version,
and is nothing that anybody waits for. Boosts have no say in what a tenants file or the admin API says of limits, and
stay when those change; one whose limit is gone adds nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from bedrock_meter.errors import InvalidDefinition, UnknownTenant
from bedrock_meter.limits.boosts import MOST_BOOSTS
from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.onboarding import TenantStore, installed_limits, settle_limits, update_definition
from bedrock_meter.tenants.plans import by_name, completed, effective_limits
from bedrock_meter.tenants.tenant import BoostGrant, TenantDefinition

MAXIMUM_REASON = 200


def boost_limit(
    tenants: TenantStore,
    installation: InstallationStore,
    audit: AuditTrail,
    tenant: str,
    grant: BoostGrant,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
) -> bool:
    """Give a tenant a boost. The same one twice is one.

    Args:
        tenants: Definitions and plans.
        installation: Gauges and limits.
        audit: Where it is noted first.
        tenant: Whose limit.
        grant: Which limit, what, why and by whom.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.

    Returns:
        Whether the tenant did not have it yet. It is installed in either case.

    Raises:
        UnknownTenant: There is no such tenant, or it was removed.
        InvalidDefinition: It has no such limit, the boost is over already, has no reason, or is one too many.
        LeaseLost: Somebody else keeps changing the tenant.
    """
    now_ms = clock()
    if not 1 <= len(grant.reason) <= MAXIMUM_REASON or not grant.reason.isprintable():
        raise InvalidDefinition("reason", f"must be 1 to {MAXIMUM_REASON} printable characters")
    if grant.boost.to_ms <= now_ms:
        raise InvalidDefinition("to", "is over already")
    definition = tenants.tenant(tenant)
    if definition is None or definition.removed_ms is not None:
        raise UnknownTenant(f"there is no tenant {tenant}")
    present = installed_limits(installation, tenant)
    definition = completed(definition, present)
    names = [limit.name for limit in effective_limits(definition, by_name(tenants.plans()))]
    if grant.limit not in names:
        raise InvalidDefinition("limit", f"{tenant} has no limit {grant.limit!r}; it has {', '.join(names) or 'none'}")
    is_new = not _has(definition, grant)
    if is_new:
        wanted = _with(definition, grant, now_ms)
        before, after = ([one.document() for one in each.boosts] for each in (definition, wanted))
        audit.record(AuditEntry(tenant, now_ms, grant.by, "boost", {"boosts": before}, {"boosts": after}))

        def changed(held: TenantDefinition | None) -> TenantDefinition | None:
            return None if held is None or _has(held, grant) else _with(completed(held, present), grant, now_ms)

        update_definition(tenants, tenant, now_ms, changed)
    settle_limits(tenants, installation, tenant, clock=clock, new_id=new_id)
    return is_new


def _has(definition: TenantDefinition, grant: BoostGrant) -> bool:
    return any((one.limit, one.boost) == (grant.limit, grant.boost) for one in definition.boosts)


def _with(definition: TenantDefinition, grant: BoostGrant, now_ms: int) -> TenantDefinition:
    running = [one for one in definition.boosts if now_ms < one.boost.to_ms]
    if sum(one.limit == grant.limit for one in running) >= MOST_BOOSTS:
        raise InvalidDefinition("limit", f"{grant.limit} has {MOST_BOOSTS} boosts that are not over: that is the most")
    return replace(definition, boosts=(*running, grant))
