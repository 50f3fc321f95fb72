"""Recording usage exactly once.

The decision: one transaction holds the ledger entries of some calls, what they add to their roll-ups and what they
add to their tenants' gauges. The entry's own condition ("nobody recorded this call") is the whole of de-duplication,
so redelivery, other batches, lost replies and crashes are all the same case: send it again and let the ledger decide.

* A refused *ledger* position is a duplicate or a twin: only that change is dropped or turned into a raise; the rest
  is sent again.
* A refused *gauge* position means that the tenant's limits changed, or are being changed: the held image says which.
* A refused *reservation* position means that it was shrunk, released or settled meanwhile: the held image says which,
  and the usage stays.
* A conflict or throttling parks the tenants concerned, with full jitter; everybody else goes on at once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from bedrock_meter.errors import DeliverAgain, OutOfTime
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.limits.limit import NO_LIMITS, Layout
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import Change, LedgerEntry, Rater, entry_for
from bedrock_meter.usage.packing import Chunk, Writes, pack, writes_of
from bedrock_meter.usage.settlement import (
    NO_SETTLEMENTS,
    ReservationKey,
    Settlement,
    Settlements,
    Uncovered,
    named_by,
)

BACKOFF_BASE_MS = 10
BACKOFF_CAP_MS = 1_000
"""Measured (tests/faults/contention.py): at 100 transactions a second of one tenant, the slowest hundredth takes half
as long as with 25 ms and 2 s, for as many conflicts. Shorter ones cost conflicts, and a store that throttles its rest.
"""

LAST_CALL_MS = 1_500
"""Time kept back to report and return; an invocation that is killed reports nothing."""

LAYOUT_KNOWN_FOR_MS = 60_000
"""For how long it is believed, without a write that proves it, that a tenant reserves every call."""

MAXIMUM_CONTRADICTIONS = 20


def backoff_ms(attempt: int, uniform: Callable[[], float]) -> int:
    """Return how long to wait for other writers: full jitter, so that those that collided once do not do it again.

    Args:
        attempt: How often it was tried before, from 0.
        uniform: Chance in [0, 1).
    """
    ceiling = min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** min(attempt, 10))
    return 1 + int(uniform() * ceiling)


class GaugeHead(Struct, frozen=True):
    """What the recorder must know of a gauge: the limits it counts for, and whether they are being changed."""

    layout: Layout
    lease: Lease | None = None


class Refused(Struct, frozen=True):
    """Why a transaction did not happen. Nothing of it was written.

    Attributes:
        held: For each refused ledger position, by call id: the entry that is there, or None.
        gauges: For each refused gauge position, by tenant: its head, or None where the tenant has no gauge.
        busy: Tenants whose items met another writer or a throttle.
        reservations: For each refused reservation position: the reservation that is there, or None.
    """

    held: dict[str, LedgerEntry | None] = field(default_factory=dict)
    gauges: dict[str, GaugeHead | None] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    reservations: dict[ReservationKey, Reservation | None] = field(default_factory=dict)


class RecordingStore(Protocol):
    """Where usage is recorded."""

    def heads(self, tenants: Iterable[str]) -> dict[str, GaugeHead]:
        """Read the gauge heads of ``tenants``; those without a gauge are missing in the answer."""

    def reservations(self, keys: Iterable[ReservationKey]) -> dict[ReservationKey, Reservation]:
        """Read reservations consistently; those that are not there are missing in the answer."""

    def commit(self, writes: Writes) -> Refused | None:
        """Write all or nothing. None = done. Sending the same again is refused with the entries as held.

        Raises:
            UnacceptableWrites: The store will never take this transaction as it is.
        """

    def create_gauge(self, tenant: str) -> None:
        """Give a tenant an empty gauge; one that is there stays as it is."""

    def cancel_lease(self, tenant: str, lease: Lease) -> None:
        """End a change of limits whose lease ran out; nothing happens if the gauge no longer holds that lease."""


class Directory(Protocol):
    """Attribution of invocations to tenants."""

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        """Return one attribution for each invocation, in their order."""


class Announcer(Protocol):
    """Says that usage without a tenant, a price or a reservation was seen.

    Called before the usage is recorded. Makes sure that the event is or will be published, at least once, under one id
    per day. False means that the store is busy and nothing is sure yet.
    """

    def announce(self, entry: LedgerEntry, now_ms: int) -> bool:
        """Say that a profile is used and belongs to no tenant."""

    def announce_unpriced(self, entry: LedgerEntry, now_ms: int) -> bool:
        """Say that a model is used, through a profile, and has no price."""

    def announce_unreserved(self, entry: LedgerEntry, uncovered: Uncovered, now_ms: int) -> bool:
        """Say that a tenant which reserves every call has used something that nothing was reserved for."""


class UnacceptableWrites(Exception):
    """The store refuses a transaction for what it is, not for what is there."""


class Recorded(Struct):
    """What became of the invocations of one call. Sums of these add up over any number of deliveries.

    Attributes:
        recorded: Successful calls newly counted.
        errors: Failed calls newly counted. A success that replaces a failure counts -1 here and +1 in ``recorded``.
        duplicates: Records of calls that were counted already, twins included.
        unattributed: How many of ``recorded`` have no tenant yet.
        unpriced: How many of ``recorded`` have no cost. A twin that gives an unpriced call a cost counts -1.
        transactions: Transactions sent, refused ones included.
        conflicts: Times that a tenant had to wait for another writer.
        settled: Reservations that were settled.
        contradictions: Records of which two sources named different tenants, by what they said; the higher one was
            believed. A record that is delivered again is counted again.
    """

    recorded: int = 0
    errors: int = 0
    duplicates: int = 0
    unattributed: int = 0
    unpriced: int = 0
    transactions: int = 0
    conflicts: int = 0
    settled: int = 0
    contradictions: dict[str, int] = field(default_factory=dict)

    def contradicted(self, what: str) -> None:
        """Count a contradiction; of many different ones only the first are told apart."""
        if what not in self.contradictions and len(self.contradictions) >= MAXIMUM_CONTRADICTIONS:
            what = "others"
        self.contradictions[what] = self.contradictions.get(what, 0) + 1

    def committed(self, change: Change) -> None:
        """Count a change that was written."""
        sums = change.sums
        self.recorded += sums.requests
        self.errors += sums.errors
        self.duplicates += change.records - (1 if change.held is None else 0)
        self.unpriced += sums.unpriced
        if change.entry.tenant == UNATTRIBUTED:
            self.unattributed += sums.requests


class Recorder:
    """Records invocations through a store. One instance lives as long as the function's environment."""

    def __init__(
        self,
        store: RecordingStore,
        directory: Directory,
        announcer: Announcer,
        rater: Rater,
        *,
        retention_ms: int,
        keeps_sessions: bool = True,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
    ) -> None:
        self._store = store
        self._directory = directory
        self._announcer = announcer
        self._rater = rater
        self._retention_ms = retention_ms
        self._keeps_sessions = keeps_sessions
        self._clock = clock
        self._sleep_ms = sleep_ms
        self._uniform = uniform
        self._layouts: dict[str, Layout] = {}
        self._seen_ms: dict[str, int] = {}
        self._settlements = NO_SETTLEMENTS

    def record(self, invocations: Sequence[Invocation], report: Recorded, remaining_ms: Callable[[], int]) -> None:
        """Record invocations; those recorded before change nothing.

        Args:
            invocations: Admitted records of one delivery, in any order, with repetitions.
            report: Counts what happened, also when this raises.
            remaining_ms: How much time the caller has left.

        Raises:
            OutOfTime: Some invocations are not recorded yet; deliver again.
            DeliverAgain: The same, for another reason.
        """
        now_ms = self._clock()
        changes = self._changes(invocations, report, now_ms)
        self._load_layouts({change.entry.tenant for change in changes})
        named = {key for change in changes if (key := named_by(change)) is not None}
        self._settlements = Settlements(self._store.reservations(sorted(named))) if named else NO_SETTLEMENTS
        queue = deque(pack(changes, self._layouts, now_ms, self._settlements))
        stuck: list[UnacceptableWrites] = []
        while queue:
            chunk = self._next(queue, remaining_ms)
            try:
                refused = self._send(chunk, report)
            except UnacceptableWrites as refusal:
                if len(chunk.changes) == 1:
                    stuck.append(refusal)
                else:
                    middle = len(chunk.changes) // 2
                    queue.extend(Chunk(half) for half in (chunk.changes[:middle], chunk.changes[middle:]))
                continue
            if refused is not None:
                queue.extend(self._after_refusal(chunk, refused, report))
        if stuck:
            raise DeliverAgain(f"{len(stuck)} invocations cannot be stored: {stuck[0]}")

    def _changes(self, invocations: Sequence[Invocation], report: Recorded, now_ms: int) -> list[Change]:
        """One change per call: DynamoDB refuses an item twice in a transaction, and twins can share a batch.

        They are joined first and rated then.
        """
        changes: dict[str, Change] = {}
        attributions = self._directory.attribute(invocations, now_ms)
        for invocation, attribution in zip(invocations, attributions, strict=True):
            if attribution.contradiction is not None:
                report.contradicted(attribution.contradiction)
            entry = entry_for(
                invocation,
                attribution,
                now_ms=now_ms,
                retention_ms=self._retention_ms,
                keeps_sessions=self._keeps_sessions,
            )
            known = changes.get(entry.key)
            changes[entry.key] = (
                Change(entry, reservation=entry.reservation)
                if known is None
                else Change(known.entry.joined(entry), None, known.records + 1, known.reservation or entry.reservation)
            )
        return [change.rated(self._rater) for change in changes.values()]

    def _load_layouts(self, tenants: set[str]) -> None:
        """Read the layouts that are not known, and those that may announce what is no longer true.

        Any other needs no age: nothing is written by it unless it is still the tenant's. What is announced is announced
        before that is known.
        """
        now_ms = self._clock()
        asked = {tenant for tenant in tenants - {UNATTRIBUTED} if not self._is_known(tenant, now_ms)}
        if not asked:
            return
        heads = self._store.heads(sorted(asked))
        for tenant in asked:
            head = heads.get(tenant)
            self._see(tenant, head.layout if head is not None else NO_LIMITS, now_ms)

    def _is_known(self, tenant: str, now_ms: int) -> bool:
        layout = self._layouts.get(tenant)
        if layout is None:
            return False
        return not layout.reserves or 0 <= now_ms - self._seen_ms[tenant] < LAYOUT_KNOWN_FOR_MS

    def _see(self, tenant: str, layout: Layout, now_ms: int) -> None:
        self._layouts[tenant], self._seen_ms[tenant] = layout, now_ms

    def _next(self, queue: deque[Chunk], remaining_ms: Callable[[], int]) -> Chunk:
        """Take the first chunk that may be sent, waiting for the earliest if none may."""
        now_ms = self._clock()
        index = min(range(len(queue)), key=lambda position: (max(queue[position].ready_ms, now_ms), position))
        wait_ms = max(0, queue[index].ready_ms - now_ms)
        if remaining_ms() - wait_ms < LAST_CALL_MS:
            left = sum(len(chunk.changes) for chunk in queue)
            raise OutOfTime(f"{left} invocations are not recorded yet")
        if wait_ms:
            self._sleep_ms(wait_ms)
        chunk = queue[index]
        del queue[index]
        return chunk

    def _send(self, chunk: Chunk, report: Recorded) -> Refused | None:
        now_ms = self._clock()
        settled = self._settlements.of_all(chunk.changes, now_ms)
        for change in chunk.changes:
            if not self._is_announced(change, settled, now_ms):
                return Refused(busy=frozenset({change.entry.tenant}))
        report.transactions += 1
        writes = writes_of(chunk, self._layouts, now_ms, self._settlements)
        refused = self._store.commit(writes)
        if refused is None:
            self._seen_ms |= dict.fromkeys(writes.gauges, now_ms)
            report.settled += len(writes.settled)
            for one in writes.settled:
                self._settlements.learn((one.before.tenant, one.before.id), one.after)
            for change in chunk.changes:
                report.committed(change)
        return refused

    def _is_announced(self, change: Change, settled: Sequence[Settlement], now_ms: int) -> bool:
        """Say what the change brings without tenant, price or reservation; False if the announcer is busy."""
        entry, sums = change.entry, change.sums
        if entry.tenant == UNATTRIBUTED and sums.requests and not self._announcer.announce(entry, now_ms):
            return False
        if sums.unpriced > 0 and not self._announcer.announce_unpriced(entry, now_ms):
            return False
        layout = self._layouts.get(entry.tenant, NO_LIMITS)
        uncovered = self._settlements.uncovered(change, layout, settled, now_ms) if layout.reserves else None
        return uncovered is None or self._announcer.announce_unreserved(entry, uncovered, now_ms)

    def _after_refusal(self, chunk: Chunk, refused: Refused, report: Recorded) -> list[Chunk]:
        """Turn what the refusal showed into the chunks that are still to be sent."""
        waiting = set(refused.busy)
        for tenant, head in refused.gauges.items():
            if not self._learn(tenant, head):
                waiting.add(tenant)
        for key, reservation in refused.reservations.items():
            self._settlements.learn(key, reservation)
        remaining: list[Change] = []
        for change in chunk.changes:
            if change.entry.key in refused.held:
                held = refused.held[change.entry.key]
                raised = replace(change, held=None) if held is None else change.against(held, self._rater)
                if raised is None:
                    report.duplicates += change.records
                else:
                    remaining.append(raised)
            else:
                remaining.append(change)
        if not (refused.held or refused.gauges or refused.busy or refused.reservations):
            waiting = {change.entry.tenant for change in chunk.changes}
        report.conflicts += len(waiting)
        self._load_layouts({change.entry.tenant for change in remaining})
        now_ms = self._clock()
        at_once = pack(
            (change for change in remaining if change.entry.tenant not in waiting),
            self._layouts,
            now_ms,
            self._settlements,
        )
        later = []
        for tenant in sorted(waiting):
            parked = pack(
                (change for change in remaining if change.entry.tenant == tenant),
                self._layouts,
                now_ms,
                self._settlements,
            )
            ready_ms = now_ms + backoff_ms(chunk.attempt, self._uniform)
            later += [replace(one, attempt=chunk.attempt + 1, ready_ms=ready_ms) for one in parked]
        return at_once + later

    def _learn(self, tenant: str, head: GaugeHead | None) -> bool:
        """Take in a gauge's head; False if the tenant has to wait."""
        if head is None:
            self._store.create_gauge(tenant)
            self._see(tenant, NO_LIMITS, self._clock())
            return True
        known = self._layouts.get(tenant)
        self._see(tenant, head.layout, self._clock())
        if head.lease is not None:
            if head.lease.is_held(self._clock()):
                return False
            self._store.cancel_lease(tenant, head.lease)
            return True
        return known is None or known.version != head.layout.version
