"""What commands that rewrite ledger entries are tried on: one tenant's usage in tables of its own, and wrong designs.

The designs have to come out wrong where they are killed or looked at; otherwise the checks would find nothing.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import Limit
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import gauges, rollups
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import Item, text
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore, entry_of
from bedrock_meter.tenants.attribution import UNATTRIBUTED, MappingPeriod
from bedrock_meter.tenants.directory import CachedDirectory
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Recorded, Recorder, Refused
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from tests.contract.disturbed import create_tables
from tests.doubles.announcing import Silent
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS

TENANT = "acme"
LATE_MS = NOW_MS - 40 * DAY_MS
"""In a month that is closed."""

Store = type[DynamoDBRecordingStore]
_numbers = itertools.count()

FRESH_PROCESS: dict[str, Callable[..., Any]] = {
    "clock": lambda: NOW_MS,
    "sleep_ms": lambda _: None,
    "uniform": lambda: 0.5,
}
"""What a process is given to wait by: nothing takes time."""


class Metered:
    """Tables of their own, the limits of one tenant in them, and a look past every command at what they hold.

    Args:
        client: Of one backend.
        calls: All calls that are ever recorded here.
        store: How entries, roll-ups and gauges are written.
    """

    def __init__(self, client: Any, calls: Sequence[Invocation], store: Store) -> None:
        self.client, self.calls, self.store = client, calls, store
        number = next(_numbers)
        self.tables = Tables(*(f"{name}-repair-{number}" for name in ("ledger", "usage", "quotas", "tenants")))
        create_tables(client, self.tables)

    def install(self, wanted: Sequence[Limit], change: str = "x") -> None:
        """Give the tenant these limits; ``change`` names the change."""
        store = DynamoDBInstallationStore(self.client, self.tables)
        install_limits(store, TENANT, wanted, clock=lambda: NOW_MS, new_id=lambda: change)

    def adopt(self, profile: str, model: str) -> None:
        """Make a profile the tenant's, for all event times."""
        DynamoDBDirectoryStore(self.client, self.tables).adopt(profile, MappingPeriod(TENANT, 0, None, model))

    def record(self, *records: Invocation, rater: TestPrices | None = None) -> Recorded:
        """Record in a fresh environment."""
        recorder = Recorder(
            self.store(self.client, self.tables),
            CachedDirectory(DynamoDBDirectoryStore(self.client, self.tables)),
            Silent(),
            rater or TestPrices(),
            retention_ms=400 * DAY_MS,
            keeps_sessions=True,
            **FRESH_PROCESS,
        )
        report = Recorded()
        recorder.record(records, report, lambda: 60_000)
        return report

    def ledger_items(self) -> list[Item]:
        """All items of the ledger."""
        keys = [{"pk": text(call.call_id)} for call in self.calls]
        return gauges.read_batch(self.client, self.tables.ledger, keys)

    def usage_items(self) -> list[Item]:
        """All items of the roll-ups: of the tenant, and of nobody."""
        found: list[Item] = []
        for tenant in (TENANT, UNATTRIBUTED):
            request = {"TableName": self.tables.usage, "ConsistentRead": True, "KeyConditionExpression": "pk = :t"}
            found += self.client.query(**request, ExpressionAttributeValues={":t": text(tenant)})["Items"]
        return found

    def entries(self) -> dict[str, LedgerEntry]:
        """All entries, by request id."""
        return {entry.key.rpartition("#")[2]: entry for entry in map(entry_of, self.ledger_items())}

    def rows(self) -> dict[RollupKey, Sums]:
        """All roll-ups as they stand."""
        return dict(map(rollups.rollup_of, self.usage_items()))

    def rows_by_the_ledger(self) -> dict[RollupKey, Sums]:
        """All roll-ups as the entries add up."""
        added: dict[RollupKey, Sums] = {}
        for entry in self.entries().values():
            added[entry.rollup] = added.get(entry.rollup, NOTHING) + entry.sums
        return added

    def gauge(self) -> Gauge:
        """The tenant's gauge."""
        gauge = gauges.load_one(self.client, self.tables.quotas, TENANT)
        assert gauge is not None
        return gauge


def is_rewrite(writes: Writes) -> bool:
    """Whether entries that are there are changed."""
    return any(one.held is not None for one in writes.changes)


class EntryFirst(DynamoDBRecordingStore):
    """A wrong design: the entry first, the sums after it."""

    def commit(self, writes: Writes) -> Refused | None:
        if not is_rewrite(writes):
            return super().commit(writes)
        refused = super().commit(Writes(writes.changes, {}, {}))
        if refused is None and writes.rollups:
            refused = super().commit(Writes((), writes.rollups, writes.gauges))
        return refused


class SumsFirst(DynamoDBRecordingStore):
    """A wrong design: the sums first, the entry after them."""

    def commit(self, writes: Writes) -> Refused | None:
        if not is_rewrite(writes):
            return super().commit(writes)
        refused = super().commit(Writes((), writes.rollups, writes.gauges))
        return refused if refused is not None else super().commit(Writes(writes.changes, {}, {}))


class WithoutGauge(DynamoDBRecordingStore):
    """A wrong design: the gauge is forgotten."""

    def commit(self, writes: Writes) -> Refused | None:
        return super().commit(Writes(writes.changes, writes.rollups, {}) if is_rewrite(writes) else writes)
