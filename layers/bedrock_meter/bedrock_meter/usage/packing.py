"""From ledger changes to transactions: what one ``TransactWriteItems`` can carry.

Three limits shape a chunk: 100 items, 4 KB of one expression, 300 operators in one expression. Items are counted as
they really are: each change is one, each roll-up row, each gauge that the changes touch and each reservation that they
settle is one more. A tenant is
kept whole where it fits, because each chunk that it is split over pays for its gauge and its roll-up row again.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from bedrock_meter.limits.counting import adds as adds_of
from bedrock_meter.limits.limit import Layout
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from bedrock_meter.usage.settlement import NO_SETTLEMENTS, Settlement, Settlements

MAXIMUM_ITEMS = 100
MAXIMUM_BUCKETS = 250
"""Buckets of one gauge in one update: at most 9 bytes and one operator each, so that 4 KB and 300 operators are never
met.
"""


class Chunk(Struct, frozen=True):
    """Changes that are written together or not at all.

    Attributes:
        changes: At least one.
        attempt: How often the chunk was refused because others were writing.
        ready_ms: Not to be sent before.
    """

    changes: tuple[Change, ...]
    attempt: int = 0
    ready_ms: int = 0


class Writes(Struct, frozen=True):
    """All that one transaction writes.

    Attributes:
        changes: Ledger entries, new or raised.
        rollups: What they add to each roll-up row.
        gauges: By tenant: the layout version that the amounts are for, and the amounts by bucket
            and hold.
        settled: Reservations that are settled, as they must still be and as they are then.
    """

    changes: tuple[Change, ...]
    rollups: dict[RollupKey, Sums]
    gauges: dict[str, tuple[int, dict[str, int]]]
    settled: tuple[Settlement, ...] = ()

    @property
    def items(self) -> int:
        """Number of items, as DynamoDB counts them."""
        return len(self.changes) + len(self.rollups) + len(self.gauges) + len(self.settled)


def gauge_adds(change: Change, layout: Layout, now_ms: int) -> dict[str, int]:
    """Return what a change adds to its tenant's gauge, by bucket."""
    entry, sums = change.entry, change.sums
    adds: dict[str, int] = {}
    for installed in layout.limits:
        adds |= adds_of(installed, sums, entry.profile, entry.model, event_ms=entry.event_ms, now_ms=now_ms)
    return adds


def writes_of(
    chunk: Chunk, layouts: Mapping[str, Layout], now_ms: int, settlements: Settlements = NO_SETTLEMENTS
) -> Writes:
    """Sum a chunk up.

    A failed call touches no window, so it leaves the gauge alone; any other change goes through the gauge even where
    no limit counts it, because the gauge's version is what holds recorders off while a new limit is being seeded.
    """
    rollups: dict[RollupKey, Sums] = {}
    gauges: dict[str, tuple[int, dict[str, int]]] = {}
    for change in chunk.changes:
        key = change.entry.rollup
        rollups[key] = rollups.get(key, NOTHING) + change.sums
        tenant = change.entry.tenant
        if _meets_gauge(change):
            layout = layouts[tenant]
            _, adds = gauges.setdefault(tenant, (layout.version, {}))
            for bucket, quantity in gauge_adds(change, layout, now_ms).items():
                adds[bucket] = adds.get(bucket, 0) + quantity
    settled = settlements.of_all(chunk.changes, now_ms)
    for reservation, _ in settled:
        _, adds = gauges[reservation.tenant]
        for name, held in reservation.holds.items():
            adds[name] = adds.get(name, 0) - held
    return Writes(chunk.changes, rollups, gauges, settled)


def _meets_gauge(change: Change) -> bool:
    return change.entry.tenant != UNATTRIBUTED and change.entry.error_code is None


class _Load(Struct):
    """What an open chunk already needs."""

    layouts: Mapping[str, Layout]
    now_ms: int
    settlements: Settlements
    changes: list[Change] = field(default_factory=list)
    rollups: set[RollupKey] = field(default_factory=set)
    buckets: dict[str, set[str]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def takes(self, tenant: str, changes: Sequence[Change]) -> bool:
        """Whether all of ``changes``, which are of one tenant, still fit."""
        metered = [change for change in changes if _meets_gauge(change)]
        gauges = len(self.buckets) + (1 if metered and tenant not in self.buckets else 0)
        rollups = self.rollups.union(change.entry.rollup for change in changes)
        buckets = self.buckets.get(tenant, set()).union(*(self._buckets_of(change) for change in metered))
        settled = self.settled.union(one.before.id for one in self.settlements.of_all(changes, self.now_ms))
        return (
            len(self.changes) + len(changes) + len(rollups) + gauges + len(settled) <= MAXIMUM_ITEMS
            and len(buckets) <= MAXIMUM_BUCKETS
        )

    def add(self, change: Change) -> None:
        self.changes.append(change)
        self.rollups.add(change.entry.rollup)
        if _meets_gauge(change):
            self.buckets.setdefault(change.entry.tenant, set()).update(self._buckets_of(change))
        self.settled.update(one.before.id for one in self.settlements.of_all((change,), self.now_ms))

    def _buckets_of(self, change: Change) -> dict[str, int]:
        buckets = gauge_adds(change, self.layouts[change.entry.tenant], self.now_ms)
        settled = self.settlements.of(change, self.now_ms)
        return buckets if settled is None else {**buckets, **settled.holds}


def pack(
    changes: Iterable[Change],
    layouts: Mapping[str, Layout],
    now_ms: int,
    settlements: Settlements = NO_SETTLEMENTS,
) -> list[Chunk]:
    """Distribute changes over as few chunks as keep every tenant whole where possible.

    Args:
        changes: Each call at most once (DynamoDB refuses an item twice in a transaction).
        layouts: Layout of every tenant that occurs.
        now_ms: Ingest time.
        settlements: Reservations that they may settle.
    """
    by_tenant: dict[str, list[Change]] = {}
    for change in changes:
        by_tenant.setdefault(change.entry.tenant, []).append(change)
    chunks: list[Chunk] = []
    load = _Load(layouts, now_ms, settlements)

    def close() -> None:
        nonlocal load
        if load.changes:
            chunks.append(Chunk(tuple(load.changes)))
        load = _Load(layouts, now_ms, settlements)

    for tenant, group in by_tenant.items():
        if not load.takes(tenant, group):
            close()
        whole = load.takes(tenant, group)
        for change in group:
            if not whole and not load.takes(tenant, (change,)):
                close()
            load.add(change)
    close()
    return chunks
