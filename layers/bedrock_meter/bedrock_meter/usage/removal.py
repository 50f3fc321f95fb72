"""The usage of one ledger entry taken back, because it should never have been counted.

The decision: the entry stays, marked, and adds nothing from then on; one transaction (``rewriting.py``) writes the mark
and takes exactly what the entry adds from its roll-up row and from the buckets of its tenant's gauge. So sums stay what
the entries add up to, and the entry goes on doing what it is there for: another record of the same call, delivered
again or different, finds it and counts nothing. Rating anew and moving leave it alone.

Who takes it back, and why, is noted before, as for every change of a tenant. There is no way back: a call that was
taken back by mistake would have to be told apart from the forgery that this is for.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from bedrock_meter.clock import iso
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.recorder import RecordingStore
from bedrock_meter.usage.rewriting import Outcome, Rewriter, Rewritten

WHAT = "remove usage"
"""What the audit entry says."""


class Removal:
    """Takes entries back."""

    def __init__(
        self,
        store: RecordingStore,
        audit: AuditTrail,
        by: str,
        *,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        Args:
            store: Writes the transactions, as for the recorder.
            audit: Where it is noted.
            by: Who does it.
            clock: Current time in milliseconds.
            sleep_ms: Waits.
            uniform: Chance in [0, 1).
            check: Called before each write; what it raises ends the run.
        """
        self._audit = audit
        self._by = by
        self._clock = clock
        self._check = check
        self._rewriter = Rewriter(store, clock=clock, sleep_ms=sleep_ms, uniform=uniform, check=check)

    def remove(self, held: LedgerEntry, reason: str, *, dry_run: bool = False) -> Rewritten:
        """Take an entry back. Doing it again finds that it is done.

        Args:
            held: The entry as it was read.
            reason: Why, in a person's words; empty where nobody says.
            dry_run: Write nothing.

        Returns:
            ``left`` where the entry was taken back already.
        """
        now_ms = self._clock()

        def decide(found: LedgerEntry, _: int) -> LedgerEntry | None:
            return replace(found, removed_ms=now_ms) if found.removed_ms is None else None

        planned = self._rewriter.rewrite(held, decide, dry_run=True)
        if dry_run or planned.outcome is not Outcome.WRITTEN:
            return planned
        self._check()
        after = {"entry": held.key, "removed": True, "reason": reason}
        self._audit.record(AuditEntry(held.tenant, now_ms, self._by, WHAT, document_of(held), after))
        return self._rewriter.rewrite(held, decide)


def document_of(entry: LedgerEntry) -> dict[str, Any]:
    """Return what an entry counts for, as values for JSON; costs in nano-USD, since they are sums to check against."""
    sums = entry.sums
    return {
        "entry": entry.key,
        "event_time": iso(entry.event_ms),
        "profile": entry.profile,
        "model": entry.model,
        "requests": sums.requests,
        "errors": sums.errors,
        "input_tokens": sums.tokens.input,
        "output_tokens": sums.tokens.output,
        "cache_read_tokens": sums.tokens.cache_read,
        "cache_write_tokens": sums.tokens.cache_write,
        "unpriced": sums.unpriced,
        "cost_nano_usd": sums.cost_nano_usd,
    }
