"""One ledger entry rewritten together with its sums: what moving usage and rating it anew have in common.

The decision: one transaction an entry, on condition that the whole entry is as it was read. It writes the entry and
exactly the difference of its sums: on the roll-up rows, and on the buckets of its tenant's gauge under the layout that
is known, as in recording. The recorder's raise of an entry has the same condition. So there is no instant at which a
call counts twice or not at all, whatever dies or runs beside it, and whoever is refused decides anew about the entry as
it is then. Of two runs at once, the second finds what the first has written.

What is written counts at the event time: in the quarter-hour and in the buckets of that time, in a late bucket where
its calendar window has closed. Entries whose retention has ended stay: DynamoDB may forget them at any moment.
"""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from bedrock_meter.limits.limit import NO_LIMITS, Layout
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change, LedgerEntry
from bedrock_meter.usage.packing import Chunk, Writes, writes_of
from bedrock_meter.usage.recorder import RecordingStore, Refused, UnacceptableWrites, backoff_ms
from bedrock_meter.usage.rollup import NOTHING

ATTEMPTS = 30
"""Of one entry, against other writers: with full backoff that is twice as long as a change of limits holds on."""


class Outcome(StrEnum):
    """What became of an entry."""

    WRITTEN = "written"
    LEFT = "left"
    EXPIRED = "expired"
    REFUSED = "refused"


class Rewritten(Struct, frozen=True):
    """What became of an entry.

    Attributes:
        outcome: ``written`` (or would be, in a dry run); ``left``, because there was nothing to write; ``expired``: its
            retention has ended, or it is gone; ``refused``: other writers kept us from it, or the store does not take
            it.
        held: The entry as it was last read.
        wanted: What it was last to be; None where there was nothing to write.
    """

    outcome: Outcome
    held: LedgerEntry
    wanted: LedgerEntry | None = None


Decide = Callable[[LedgerEntry, int], LedgerEntry | None]
"""Returns what an entry is to be, as it is held and now; None = it is right. Called again after each refusal."""


def writes_between(held: LedgerEntry, wanted: LedgerEntry, layout: Layout, now_ms: int) -> Writes:
    """Return all that rewriting one entry writes: from the sums of ``held`` to those of ``wanted``.

    Args:
        held: The entry as the ledger holds it. Where its row changes, it is ``unattributed``: nothing is taken out of a
            tenant's gauge.
        wanted: What it is to be.
        layout: Of the gauge of ``wanted``'s tenant.
        now_ms: Now.
    """
    change = Change(wanted, held)
    layouts = {wanted.tenant: layout}
    if held.rollup != wanted.rollup:
        arriving = writes_of(Chunk((Change(wanted),)), layouts, now_ms)
        return Writes((change,), {**arriving.rollups, held.rollup: NOTHING - held.sums}, arriving.gauges)
    return writes_of(Chunk((change,)), layouts, now_ms) if change.sums != NOTHING else Writes((change,), {}, {})


class Rewriter:
    """Rewrites entries."""

    def __init__(
        self,
        store: RecordingStore,
        *,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        Args:
            store: Writes the transactions, as for the recorder.
            clock: Current time in milliseconds.
            sleep_ms: Waits.
            uniform: Chance in [0, 1).
            check: Called before each write; what it raises ends the run.
        """
        self._store = store
        self._clock = clock
        self._sleep_ms = sleep_ms
        self._uniform = uniform
        self._check = check
        self._layouts: dict[str, Layout] = {}

    def rewrite(self, held: LedgerEntry, decide: Decide, *, dry_run: bool = False) -> Rewritten:
        """Make an entry what ``decide`` says, with its sums. Doing it again finds it so.

        Args:
            held: The entry as it was read.
            decide: Says what it is to be.
            dry_run: Write nothing, and say what would be written.
        """
        wanted = None
        for attempt in range(ATTEMPTS):
            now_ms = self._clock()
            if held.expires_s * 1000 <= now_ms:
                return Rewritten(Outcome.EXPIRED, held)
            wanted = decide(held, now_ms)
            if wanted is None:
                return Rewritten(Outcome.LEFT, held)
            try:
                refused = None if dry_run else self._commit(held, wanted, now_ms)
            except UnacceptableWrites:
                break
            found = held if refused is None else refused.held.get(held.key, held)
            if refused is None or found == wanted:  # refused by what we wrote ourselves: only the reply was lost
                return Rewritten(Outcome.WRITTEN, held, wanted)
            if found is None:
                return Rewritten(Outcome.EXPIRED, held)
            held = found
            if not self._learn(refused, wanted.tenant):
                self._sleep_ms(backoff_ms(attempt, self._uniform))
        return Rewritten(Outcome.REFUSED, held, wanted)

    def _commit(self, held: LedgerEntry, wanted: LedgerEntry, now_ms: int) -> Refused | None:
        self._check()
        layout = self._layouts.get(wanted.tenant)
        if layout is None:
            head = self._store.heads([wanted.tenant]).get(wanted.tenant) if wanted.tenant != UNATTRIBUTED else None
            layout = self._layouts[wanted.tenant] = head.layout if head is not None else NO_LIMITS
        return self._store.commit(writes_between(held, wanted, layout, now_ms))

    def _learn(self, refused: Refused, tenant: str) -> bool:
        """Take in what a refusal shows; False if it has to be waited for."""
        if tenant not in refused.gauges:
            return bool(refused.held)
        head = refused.gauges[tenant]
        if head is None:
            self._store.create_gauge(tenant)
            return True
        is_news = self._layouts.get(tenant) != head.layout
        self._layouts[tenant] = head.layout
        if head.lease is None:
            return is_news
        if head.lease.is_held(self._clock()):
            return False
        self._store.cancel_lease(tenant, head.lease)
        return True
