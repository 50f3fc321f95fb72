"""Changing a tenant's limits while usage is being recorded, without losing or doubling a single token.

A new window must start with what was used before it existed. Querying first loses what is recorded between query and
installation; installing first counts that twice. So the change takes a lease on the gauge: recorders of that tenant
cannot commit and wait, the roll-ups stand still and are read consistently, and the last write installs the layout,
conditioned on the lease. If the owner of the lease dies, the lease runs out and the next recorder or change removes it:
the old limits stay in force.

Usage that came after its calendar window had closed is reported before its slot is given away: a limit that goes stays
in the layout as one that is closing as long as such a bucket of it is there. Under the lease none can be added.

Seeded buckets go into slots that no reader looks at before the layout names them. So what does not fit the last write
(one update carries a bounded number of buckets) is written before it, in parts that renew the lease. What a dead owner
left in a slot is removed by the next change that gives that slot away, before anything is written to it; and nothing is
pruned while there is a lease.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bedrock_meter.errors import LeaseLost
from bedrock_meter.limits.gauge import Gauge, Lease, without_reported
from bedrock_meter.limits.limit import Layout, LayoutChange, Limit, plan_change
from bedrock_meter.limits.seeding import first_quarter_ms, mark_unseeded, seed_rows
from bedrock_meter.usage.packing import MAXIMUM_BUCKETS
from bedrock_meter.usage.rollup import RollupKey, Sums

LEASE_MS = 15_000
"""How long recorders wait at most for a change whose owner died. Renewed with each page of roll-ups that is read."""

ATTEMPTS = 5


class InstallationStore(Protocol):
    """What the protocol asks of the tables."""

    def gauge(self, tenant: str) -> Gauge | None:
        """Read the gauge consistently."""

    def create_gauge(self, tenant: str) -> None:
        """Create an empty gauge unless there is one."""

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        """Hold recorders off; False if the gauge has changed since it was read."""

    def renew(self, tenant: str, lease: Lease, renewed: Lease, seeded: Mapping[str, int]) -> bool:
        """Extend the lease and set a part of the seeded buckets, all or nothing; False if the lease is lost."""

    def clear(self, tenant: str, lease: Lease, buckets: Sequence[str]) -> bool:
        """Remove buckets that an earlier limit left in a slot; False if the lease is lost."""

    def finish(self, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]) -> bool:
        """Install and let recorders go on; False if the lease is lost."""

    def set_fail_policy(self, tenant: str, policy: str | None) -> None:
        """Write what the API answers for this tenant when the gauge cannot be read; None = the stack's default."""

    def rollups(self, tenant: str, from_ms: int) -> Iterable[Sequence[tuple[RollupKey, Sums]]]:
        """Roll-up rows since ``from_ms``, consistently, in pages."""


def install_limits(
    store: InstallationStore,
    tenant: str,
    wanted: Sequence[Limit],
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
    reserves: bool | None = None,
) -> bool:
    """Make ``wanted`` the limits of a tenant, whole windows included. Doing it twice changes nothing.

    Args:
        store: The tables.
        tenant: Whose limits.
        wanted: All limits that the tenant is to have, in order.
        clock: Current time in milliseconds.
        new_id: Makes the lease's id; unique per call.
        reserves: Whether the tenant reserves every call; None = as it is.

    Returns:
        Whether anything changed.

    Raises:
        LeaseLost: Others kept changing the same tenant; nothing of this change is in force.
    """
    was_sent = False
    for _ in range(ATTEMPTS):
        gauge = store.gauge(tenant)
        if gauge is None:
            store.create_gauge(tenant)
            continue
        change = plan_change(without_reported(gauge.layout, gauge.buckets), wanted, reserves=reserves)
        if (change.next.limits, change.next.reserves) == (gauge.layout.limits, gauge.layout.reserves):
            # If we had sent it, then it was our reply that got lost and not our lease.
            return was_sent
        now_ms = clock()
        if gauge.lease is not None and gauge.lease.is_held(now_ms):
            raise LeaseLost(f"the limits of {tenant} are being changed by somebody else; try again in a few seconds")
        lease = Lease(holder=new_id(), expires_ms=now_ms + LEASE_MS)
        if not store.begin(tenant, change.next, lease, gauge.lease):
            continue
        was_sent = True
        if _finish(store, tenant, change, lease, clock):
            return True
    raise LeaseLost(
        f"the limits of {tenant} were changed by others {ATTEMPTS} times meanwhile; nothing was changed here"
    )


def install_fail_policy(store: InstallationStore, tenant: str, policy: str | None) -> bool:
    """Make ``policy`` what the API answers for a tenant when its gauge cannot be read.

    The gauge must be there. Doing it twice changes nothing. Holds from each function's next read of the gauge on.

    Returns:
        Whether anything changed.
    """
    gauge = store.gauge(tenant)
    if gauge is None or gauge.fail_policy == policy:
        return False
    store.set_fail_policy(tenant, policy)
    return True


def _finish(
    store: InstallationStore, tenant: str, change: LayoutChange, lease: Lease, clock: Callable[[], int]
) -> bool:
    """Seed the fresh limits under the lease and install; False if the lease was lost on the way."""
    gauge = store.gauge(tenant) if change.seeded or change.next.closing else None
    buckets = gauge.buckets if gauge is not None else {}
    change = replace(change, next=without_reported(change.next, buckets))
    if not change.seeded:
        return store.finish(tenant, change.next, lease, {})
    slots = {installed.slot for installed in change.seeded}
    leftover = [name for name in buckets if name[0] in slots]
    if leftover and not store.clear(tenant, lease, leftover):
        return False
    starts = [first_quarter_ms(installed.window, clock()) for installed in change.seeded]
    rows: list[tuple[RollupKey, Sums]] = []
    from_ms = min((start for start in starts if start is not None), default=None)
    for page in store.rollups(tenant, from_ms) if from_ms is not None else ():
        rows += page
        renewed = replace(lease, expires_ms=clock() + LEASE_MS)
        if not store.renew(tenant, lease, renewed, {}):
            return False
        lease = renewed
    now_ms = clock()
    change = mark_unseeded(change, now_ms)
    seeded: dict[str, int] = {}
    for installed in change.seeded:
        seeded |= seed_rows(installed, rows, now_ms)
    *before, last = in_parts(seeded)
    for part in before:
        renewed = replace(lease, expires_ms=clock() + LEASE_MS)
        if not store.renew(tenant, lease, renewed, part):
            return False
        lease = renewed
    return store.finish(tenant, change.next, lease, last)


def in_parts(buckets: Mapping[str, int]) -> list[dict[str, int]]:
    """Return buckets in parts of as many as one update carries, at least one part."""
    names = list(buckets)
    starts = range(0, max(1, len(names)), MAXIMUM_BUCKETS)
    return [{name: buckets[name] for name in names[start : start + MAXIMUM_BUCKETS]} for start in starts]
