"""``ReconciliationStore`` in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bedrock_meter.limits.gauge import Lease
from bedrock_meter.limits.limit import Layout
from bedrock_meter.reconciliation.comparison import Image
from bedrock_meter.storage.keys import usage_sort_key
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from tests.doubles.memory import MemoryInstallationStore, MemoryTables


class MemoryReconciliationStore:
    """Over the tables of the other doubles; ``meanwhile`` happens once for each page of the ledger that is read."""

    def __init__(self, tables: MemoryTables, *, page: int = 3, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.tables = tables
        self.page = page
        self.meanwhile = meanwhile
        self._changes = MemoryInstallationStore(tables)

    def row_name(self, key: RollupKey) -> str:
        return usage_sort_key(key.quarter_ms, key.profile, key.model)

    def images(self, tenants: Sequence[str] | None, from_ms: int) -> dict[str, Image]:
        known = {key.tenant for key in self.tables.usage} | self.tables.gauges.keys()
        return {
            tenant: Image(
                {
                    self.row_name(key): sums
                    for key, sums in self.tables.usage.items()
                    if key.tenant == tenant and key.quarter_ms >= from_ms
                },
                self.tables.gauges.get(tenant),
            )
            for tenant in known
            if tenants is None or tenant in tenants
        }

    def entries(self, segment: int, segments: int) -> Iterator[Sequence[LedgerEntry]]:
        keys = sorted(self.tables.ledger)[segment::segments]
        for start in range(0, len(keys), self.page):
            yield [self.tables.ledger[key] for key in keys[start : start + self.page]]
            self.meanwhile()

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        return self._changes.begin(tenant, layout, lease, seen)

    def renew(self, tenant: str, lease: Lease, renewed: Lease, buckets: Mapping[str, int]) -> bool:
        return self._changes.renew(tenant, lease, renewed, buckets)

    def finish(self, tenant: str, layout: Layout, lease: Lease, buckets: Mapping[str, int]) -> bool:
        return self._changes.finish(tenant, layout, lease, buckets)

    def release(self, tenant: str, lease: Lease) -> None:
        if self.tables.gauges[tenant].lease == lease:
            self.tables.change_gauge(tenant, lease=None)

    def correct(self, tenant: str, name: str, held: Sums, rebuilt: Sums) -> bool:
        found = [key for key in self.tables.usage if key.tenant == tenant and self.row_name(key) == name]
        key = found[0] if found else self._key(tenant, name)
        if self.tables.usage.get(key, NOTHING) != held:
            return False
        self.tables.usage[key] = rebuilt
        return True

    def _key(self, tenant: str, name: str) -> RollupKey:
        keys = {entry.rollup for entry in self.tables.ledger.values() if entry.tenant == tenant}
        return next(key for key in keys if self.row_name(key) == name)
