"""The stores of the services, in memory. Same promises as over DynamoDB: the contract suite holds both to them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.evaluator import TenantState
from bedrock_meter.alerts.outbox import Pending, PublishOutcome
from bedrock_meter.limits.gauge import Gauge, Lease
from bedrock_meter.limits.holds import charges, is_hold
from bedrock_meter.limits.limit import NO_LIMITS, Layout
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.packing import MAXIMUM_ITEMS, Writes
from bedrock_meter.usage.recorder import GaugeHead, Refused, UnacceptableWrites
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from bedrock_meter.usage.settlement import ReservationKey


@dataclass
class MemoryTables:
    """What four tables hold."""

    ledger: dict[str, LedgerEntry] = field(default_factory=dict)
    usage: dict[RollupKey, Sums] = field(default_factory=dict)
    gauges: dict[str, Gauge] = field(default_factory=dict)
    states: dict[str, TenantState] = field(default_factory=dict)
    parked: list[Pending] = field(default_factory=list)
    profiles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reservations: dict[tuple[str, str], Reservation] = field(default_factory=dict)

    def change_gauge(self, tenant: str, *, adds: Mapping[str, int] | None = None, **changes: object) -> None:
        """Replace parts of a gauge and add to its buckets and holds; what buckets get is charged."""
        gauge = self.gauges[tenant]
        buckets, holds = dict(gauge.buckets), dict(gauge.holds)
        for name, quantity in {**(adds or {}), **charges(adds or {})}.items():
            part = holds if is_hold(name) else buckets
            part[name] = part.get(name, 0) + quantity
        self.gauges[tenant] = replace(gauge, **{"buckets": buckets, "holds": holds, **changes})  # type: ignore[arg-type]


class MemorySuspensionStore:
    """``SuspensionStore``."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables

    def suspension(self, tenant: str) -> tuple[bool, Suspension | None]:
        gauge = self.tables.gauges.get(tenant)
        return gauge is not None, None if gauge is None else gauge.suspension

    def put_suspension(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        if self.suspension(tenant) != (True, seen):
            return False
        self.tables.change_gauge(tenant, suspension=suspension)
        return True

    def forget_words(self, tenant: str, until_ms: int, still: Callable[[], None]) -> int:
        still()
        return 0


def _raisable(entry: LedgerEntry) -> tuple[object, ...]:
    """What a twin can change of an entry."""
    known = entry.tokens, entry.error_code, entry.cache_write_1h, entry.tier, entry.images
    return *known, entry.cost_nano_usd, entry.price_version, entry.assumptions


class MemoryRecordingStore:
    """``RecordingStore``; ``busy`` names tenants whose next commits meet another writer, as often as said."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.busy: dict[str, int] = {}
        self.commits = 0
        self.reservation_reads = 0

    def heads(self, tenants: Iterable[str]) -> dict[str, GaugeHead]:
        known = [self.tables.gauges[tenant] for tenant in tenants if tenant in self.tables.gauges]
        return {gauge.tenant: GaugeHead(gauge.layout, gauge.lease) for gauge in known}

    def reservations(self, keys: Iterable[ReservationKey]) -> dict[ReservationKey, Reservation]:
        self.reservation_reads += 1
        return {key: self.tables.reservations[key] for key in keys if key in self.tables.reservations}

    def commit(self, writes: Writes) -> Refused | None:
        self.commits += 1
        keys = [change.entry.key for change in writes.changes]
        if writes.items > MAXIMUM_ITEMS or len(set(keys)) < len(keys):
            raise UnacceptableWrites("too many items, or one of them twice")
        busy = set()
        for tenant in {change.entry.tenant for change in writes.changes}:
            if self.busy.get(tenant, 0) > 0:
                self.busy[tenant] -= 1
                busy.add(tenant)
        held = {
            change.entry.key: self.tables.ledger.get(change.entry.key)
            for change in writes.changes
            if change.held != self.tables.ledger.get(change.entry.key)
        }
        heads: dict[str, GaugeHead | None] = {}
        for tenant, (version, _) in writes.gauges.items():
            gauge = self.tables.gauges.get(tenant)
            if gauge is None:
                heads[tenant] = None
            elif gauge.layout.version != version or gauge.lease is not None:
                heads[tenant] = GaugeHead(gauge.layout, gauge.lease)
        changed = {
            (one.tenant, one.id): self.tables.reservations.get((one.tenant, one.id))
            for one, _ in writes.settled
            if self.tables.reservations.get((one.tenant, one.id)) != one
        }
        if busy or held or heads or changed:
            return Refused(held, heads, frozenset(busy), changed)
        for _, one in writes.settled:
            self.tables.reservations[one.tenant, one.id] = one
        for change in writes.changes:
            self.tables.ledger[change.entry.key] = change.entry
        for key, sums in writes.rollups.items():
            self.tables.usage[key] = self.tables.usage.get(key, NOTHING) + sums
        for tenant, (_, adds) in writes.gauges.items():
            self.tables.change_gauge(tenant, adds=adds, rev=self.tables.gauges[tenant].rev + 1)
        return None

    def create_gauge(self, tenant: str) -> None:
        self.tables.gauges.setdefault(tenant, Gauge(tenant, 0, NO_LIMITS, {}))

    def cancel_lease(self, tenant: str, lease: Lease) -> None:
        if self.tables.gauges[tenant].lease == lease:
            self.tables.change_gauge(tenant, lease=None)


class MemoryInstallationStore:
    """``InstallationStore``."""

    def __init__(self, tables: MemoryTables, *, page: int = 100) -> None:
        self.tables = tables
        self.page = page

    def gauge(self, tenant: str) -> Gauge | None:
        return self.tables.gauges.get(tenant)

    def create_gauge(self, tenant: str) -> None:
        self.tables.gauges.setdefault(tenant, Gauge(tenant, 0, NO_LIMITS, {}))

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        gauge = self.tables.gauges[tenant]
        if gauge.layout.version != layout.version - 1 or gauge.lease != seen:
            return False
        self.tables.change_gauge(tenant, lease=lease)
        return True

    def renew(self, tenant: str, lease: Lease, renewed: Lease, seeded: Mapping[str, int]) -> bool:
        return self._under(tenant, lease, lease=renewed, buckets={**self.tables.gauges[tenant].buckets, **seeded})

    def clear(self, tenant: str, lease: Lease, buckets: Sequence[str]) -> bool:
        kept = {name: value for name, value in self.tables.gauges[tenant].buckets.items() if name not in buckets}
        return self._under(tenant, lease, buckets=kept)

    def finish(self, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]) -> bool:
        gauge = self.tables.gauges[tenant]
        buckets = {**gauge.buckets, **seeded}
        return self._under(tenant, lease, layout=layout, lease=None, buckets=buckets, rev=gauge.rev + 1)

    def set_fail_policy(self, tenant: str, policy: str | None) -> None:
        self.tables.change_gauge(tenant, fail_policy=policy)

    def rollups(self, tenant: str, from_ms: int) -> Iterator[Sequence[tuple[RollupKey, Sums]]]:
        rows = [
            (key, sums)
            for key, sums in sorted(self.tables.usage.items())
            if key.tenant == tenant and key.quarter_ms >= from_ms - from_ms % 900_000
        ]
        for start in range(0, len(rows) or 1, self.page):
            yield rows[start : start + self.page]

    def _under(self, tenant: str, held: Lease, **changes: object) -> bool:
        if self.tables.gauges[tenant].lease != held:
            return False
        self.tables.change_gauge(tenant, adds=None, **changes)
        return True


class MemoryEvaluationStore:
    """``EvaluationStore`` and ``Gauges``."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.saves = 0
        self.pruned: list[str] = []

    def load(self, tenant: str) -> tuple[Gauge, TenantState] | None:
        gauge = self.tables.gauges.get(tenant)
        return None if gauge is None else (gauge, self.tables.states.get(tenant, TenantState()))

    def profiles(self, tenant: str) -> Sequence[str]:
        return self.tables.profiles.get(tenant, ())

    def save(
        self,
        tenant: str,
        state: TenantState,
        *,
        before: TenantState,
        events: Sequence[Event],
        late: Mapping[str, int],
    ) -> bool:
        gauge = self.tables.gauges[tenant]
        held = self.tables.states.get(tenant, TenantState())
        if held.version != before.version or any(gauge.buckets.get(name) != seen for name, seen in late.items()):
            return False
        self.saves += 1
        self.tables.states[tenant] = replace(state, pending=held.pending + tuple(Pending(event) for event in events))
        kept = {name: value for name, value in gauge.buckets.items() if name not in late}
        self.tables.change_gauge(tenant, buckets=kept)
        return True

    def cleared(
        self,
        tenant: str,
        state: TenantState,
        outcome: PublishOutcome,
        pending: Sequence[Pending],
        next_due_ms: int | None,
    ) -> None:
        held = self.tables.states[tenant]
        refused = {one.event.id: one for one in pending if one.event.id in outcome.refused}
        kept = [refused.get(one.event.id, one) for one in held.pending if one.event.id not in outcome.accepted]
        self.tables.parked += [one for one in kept if one.is_parked]
        due_ms = next_due_ms if held.version == state.version else held.next_due_ms
        waiting = tuple(one for one in kept if not one.is_parked)
        self.tables.states[tenant] = replace(held, pending=waiting, next_due_ms=due_ms)

    def part(self, number: int, of: int) -> Iterator[tuple[Gauge, TenantState]]:
        for tenant, gauge in list(self.tables.gauges.items()):
            if crc32(tenant.encode()) % of == number:
                yield gauge, self.tables.states.get(tenant, TenantState())

    def prune(self, tenant: str, layout_version: int, buckets: Sequence[str]) -> None:
        gauge = self.tables.gauges[tenant]
        if gauge.layout.version == layout_version and gauge.lease is None:
            self.pruned += buckets
            kept = {name: value for name, value in gauge.buckets.items() if name not in buckets}
            self.tables.change_gauge(tenant, buckets=kept)


class MemoryBus:
    """``Bus``; refuses or loses events for the reasons that a test sets."""

    def __init__(self) -> None:
        self.received: list[Event] = []
        self.refuse: str | None = None
        self.fail: str | None = None

    def publish(self, events: Sequence[Pending], now_ms: int) -> PublishOutcome:
        ids = [one.event.id for one in events]
        if self.refuse:
            return PublishOutcome(refused=dict.fromkeys(ids, self.refuse))
        if self.fail:
            return PublishOutcome(failed=dict.fromkeys(ids, self.fail))
        self.received += [one.event for one in events]
        return PublishOutcome(accepted=frozenset(ids))
