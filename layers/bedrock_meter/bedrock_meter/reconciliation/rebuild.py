"""Rebuilding roll-ups and gauges from the ledger: what is wrong, and putting it right while usage is being recorded.

Comparing writes nothing and holds nobody off (see ``comparison.py``). Putting right takes two scans, so that only
tenants that need it are held off, and only while it matters:

1. Compare everything. Where nothing differs, nothing else happens.
2. Take the lease of every tenant that differs, the one that a change of limits takes: its recorders cannot commit and
   wait, and other tenants go on. Compare these tenants again; the leases are renewed meanwhile. No success can have
   been recorded since the lease began, so this comparison is exact, and only it is written.
3. By tenant: correct each row, provided that it still holds what both readings held; then, conditioned on the lease,
   set the buckets and, in the write that ends the lease, raise the layout's version. More buckets than one update
   carries are set in parts, each of which renews the lease.

Failed calls go past the gauge, so a row may still move; such a row is left alone and said. ``unattributed`` has no
gauge and no lease: its rows are corrected under their own condition only. That is enough: an entry and its row are
written in one transaction, which refuses any other write to the row until it is through, so a row that still holds
what was read has had no part in any entry that the scan missed or saw early.

Killed at any step: each row and each bucket holds the old number or the right one, a lease that is left runs out, and
doing it all again finishes the work. Done twice, the second time finds nothing to do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Protocol

from bedrock_meter.limits.gauge import Gauge, Lease
from bedrock_meter.limits.installation import LEASE_MS, in_parts
from bedrock_meter.limits.limit import Layout
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.reconciliation.comparison import NO_IMAGE, Compared, Image, compare
from bedrock_meter.reconciliation.tally import Buckets, Tally
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.rollup import RollupKey, Sums

RENEW_MS = LEASE_MS // 3
"""How often held leases are renewed."""

POLL_S = 1

Tell = Callable[[str], None]


class ReconciliationStore(Protocol):
    """What rebuilding asks of the tables. All reads are consistent."""

    def row_name(self, key: RollupKey) -> str:
        """Name of a row inside its tenant's partition."""

    def images(self, tenants: Sequence[str] | None, from_ms: int) -> dict[str, Image]:
        """Read live rows since ``from_ms`` and gauges, of these tenants or of all."""

    def entries(self, segment: int, segments: int) -> Iterator[Sequence[LedgerEntry]]:
        """Scan one of ``segments`` parts of the ledger, page by page. Called from a thread for each part."""

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        """Hold recorders off; False if the gauge has changed since it was read."""

    def renew(self, tenant: str, lease: Lease, renewed: Lease, buckets: Mapping[str, int]) -> bool:
        """Extend the lease and set buckets, all or nothing; False if the lease is lost."""

    def finish(self, tenant: str, layout: Layout, lease: Lease, buckets: Mapping[str, int]) -> bool:
        """Set buckets and layout and let recorders go on, all at once; False if the lease is lost."""

    def release(self, tenant: str, lease: Lease) -> None:
        """Let recorders go on without a change; nothing happens if the lease is lost."""

    def correct(self, tenant: str, name: str, held: Sums, rebuilt: Sums) -> bool:
        """Make a row hold ``rebuilt``, provided that it holds ``held``; False if it does not."""


@dataclass(slots=True)
class Report:
    """What a comparison found.

    Attributes:
        at_ms: The instant at which limits were read.
        entries: Ledger entries of the tenants looked at.
        tenants: By tenant.
        rebuilt: What the ledger adds up to, by tenant and row name.
    """

    at_ms: int
    entries: int
    tenants: dict[str, Compared]
    rebuilt: dict[str, dict[str, Sums]]

    @property
    def differing(self) -> list[Compared]:
        """Tenants with differences, by name."""
        return [compared for _, compared in sorted(self.tenants.items()) if compared.differs]


@dataclass(slots=True)
class Repaired:
    """What putting right did.

    Attributes:
        found: The first comparison.
        rows: Rows that were corrected.
        limits: Limits whose buckets were corrected.
        refused: By tenant: why something of it was left as it was.
    """

    found: Report
    rows: int = 0
    limits: int = 0
    refused: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, tenant: str, reason: str) -> None:
        """Note why something was left as it was."""
        self.refused.setdefault(tenant, []).append(reason)


@dataclass(slots=True)
class _Held:
    """A lease that we hold, and the layout that ends it."""

    layout: Layout
    lease: Lease


class Rebuild:
    """Compares and puts right. Makes no use of anything that is in memory of recorders."""

    def __init__(
        self,
        store: ReconciliationStore,
        *,
        retention_ms: int,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        tell: Tell,
        segments: int = 1,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        Args:
            store: The tables.
            retention_ms: For how long the ledger has kept its entries. Older rows are not looked at: what their
                entries said is gone.
            clock: Current time in milliseconds.
            new_id: Makes ids of leases.
            tell: Told how far it is.
            segments: Parts of the ledger that are read side by side.
            check: Called before each write; what it raises ends the run, with the leases released.
        """
        self._store = store
        self._retention_ms = retention_ms
        self._clock = clock
        self._new_id = new_id
        self._tell = tell
        self._segments = segments
        self._check = check
        self._held: dict[str, _Held] = {}
        self._renewed_ms = 0

    def compare(self, tenants: Iterable[str] | None = None) -> Report:
        """Compare live sums with the ledger's, of these tenants or of all. Writes nothing."""
        only = None if tenants is None else sorted(set(tenants))
        start_ms = self._clock()
        from_ms = -(-(start_ms - self._retention_ms) // QUARTER_MS) * QUARTER_MS
        before = self._store.images(only, from_ms)
        layouts = {tenant: image.gauge.layout for tenant, image in before.items() if image.gauge is not None}
        chosen = None if only is None else frozenset(only)
        tally = self._scan(Tally(layouts, start_ms, from_ms, self._store.row_name, chosen))
        after = self._store.images(only, from_ms)
        at_ms = self._clock()
        report = Report(at_ms, tally.entries, {}, tally.rows)
        for tenant in sorted({*before, *after, *tally.rows, *(only or ())}):
            report.tenants[tenant] = compare(
                tenant,
                before.get(tenant, NO_IMAGE),
                tally.rows.get(tenant, {}),
                tally.buckets.get(tenant, Buckets()),
                after.get(tenant, NO_IMAGE),
                at_ms,
            )
        return report

    def put_right(self, tenants: Iterable[str] | None = None) -> Repaired:
        """Correct what differs, of these tenants or of all. Doing it twice changes nothing more."""
        repaired = Repaired(self.compare(tenants))
        try:
            chosen = [one.tenant for one in repaired.found.differing if self._take(one, repaired)]
            if chosen:
                self._tell(f"looking again at {len(chosen)} tenants; their recorders wait meanwhile")
                again = self.compare(chosen)
                for tenant in chosen:
                    self._correct(again.tenants[tenant], repaired)
        finally:
            for tenant, held in self._held.items():
                self._store.release(tenant, held.lease)
            self._held = {}
        return repaired

    def _scan(self, tally: Tally) -> Tally:
        scanned = [0] * self._segments
        stop = Event()

        def part(segment: int) -> Tally:
            counted = tally.empty()
            for page in self._store.entries(segment, self._segments):
                if stop.is_set():
                    break
                for entry in page:
                    counted.add(entry)
                scanned[segment] += len(page)
            return counted

        with ThreadPoolExecutor(self._segments) as threads:
            waiting = {threads.submit(part, segment) for segment in range(self._segments)}
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_EXCEPTION)
                    for one in done:
                        tally.merge(one.result())
                    self._tell(f"scanned {sum(scanned)} ledger entries")
                    self._renew()
            finally:
                stop.set()
        return tally

    def _take(self, compared: Compared, repaired: Repaired) -> bool:
        """Take the lease of a tenant that has a gauge; False if that is not possible now."""
        gauge = compared.gauge
        if gauge is None:
            return True
        now_ms = self._clock()
        if gauge.lease is not None and gauge.lease.is_held(now_ms):
            repaired.refuse(compared.tenant, "its limits are being changed: try again in a few seconds")
            return False
        self._check()
        lease = Lease(self._new_id(), now_ms + LEASE_MS)
        layout = replace(gauge.layout, version=gauge.layout.version + 1)
        if not self._store.begin(compared.tenant, layout, lease, gauge.lease):
            repaired.refuse(compared.tenant, "its limits were changed meanwhile: try again")
            return False
        if not self._held:
            self._renewed_ms = now_ms
        self._held[compared.tenant] = _Held(layout, lease)
        return True

    def _renew(self) -> None:
        """Renew the leases that we hold when it is time to; those that are lost are held no more."""
        now_ms = self._clock()
        if not self._held or now_ms < self._renewed_ms + RENEW_MS:
            return
        self._renewed_ms = now_ms
        for tenant, held in list(self._held.items()):
            renewed = replace(held.lease, expires_ms=now_ms + LEASE_MS)
            if self._store.renew(tenant, held.lease, renewed, {}):
                held.lease = renewed
            else:
                del self._held[tenant]

    def _correct(self, compared: Compared, repaired: Repaired) -> None:
        for row in compared.row_differences:
            self._renew()
            self._check()
            if not row.moving and self._store.correct(compared.tenant, row.name, row.held, row.rebuilt):
                repaired.rows += 1
            else:
                repaired.refuse(compared.tenant, f"row {row.name} is being written: try again")
        if compared.gauge is not None and compared.limit_differences:
            self._correct_gauge(compared, compared.gauge, repaired)

    def _correct_gauge(self, compared: Compared, gauge: Gauge, repaired: Repaired) -> None:
        held = self._held.get(compared.tenant)
        differences = compared.limit_differences
        buckets = {name: value for one in differences for name, value in one.corrections.items()}
        if held is None or any(one.moving for one in differences):
            repaired.refuse(compared.tenant, "its lease was lost: try again")
        else:
            changed = {one.installed.slot for one in differences}
            limits = tuple(
                replace(installed, version=held.layout.version) if installed.slot in changed else installed
                for installed in gauge.layout.limits
            )
            layout = replace(held.layout, limits=limits)
            *before, last = in_parts(buckets)
            if all(self._set(compared.tenant, held, part) for part in before) and self._finish(
                compared.tenant, layout, held, last
            ):
                repaired.limits += len(differences)
            else:
                repaired.refuse(compared.tenant, "its lease was lost: try again")

    def _set(self, tenant: str, held: _Held, buckets: Mapping[str, int]) -> bool:
        """Set a part of what is wrong under the lease; False if it is lost."""
        self._check()
        renewed = replace(held.lease, expires_ms=self._clock() + LEASE_MS)
        if not self._store.renew(tenant, held.lease, renewed, buckets):
            return False
        held.lease = renewed
        return True

    def _finish(self, tenant: str, layout: Layout, held: _Held, buckets: Mapping[str, int]) -> bool:
        """Set the last part and end the lease; False if it is lost."""
        self._check()
        if not self._store.finish(tenant, layout, held.lease, buckets):
            return False
        del self._held[tenant]
        return True
