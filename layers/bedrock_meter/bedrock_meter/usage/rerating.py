"""Entries rated anew: with the prices of their event time, as these prices are known now.

The decision: an entry is rewritten where its cost, the name of its prices or what was assumed differs, each in one
transaction with the difference of its sums (``rewriting.py``). So the sums of cost stay the sums over the entries, to
the nano-dollar, beside recorders, twins, moves and other runs.

* What is rated is what the entry holds: its tenant, model, routing and counts. Nothing is asked of the directory.
* An unpriced entry that gets a price loses its mark in the roll-up and beside the buckets; one from before there were
  prices is rated like any other. A failed call costs nothing and is passed over.
* An entry that is right already is not written. So a second run writes nothing, and a run that was stopped can go on
  anywhere before the place where it ended.
* A cost can fall, as nothing does otherwise but what is taken back (``removal.py``): a bucket shrinks, and a late
  bucket can hold less than nothing.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from bedrock_meter.usage.ledger import LedgerEntry, Rater
from bedrock_meter.usage.recorder import RecordingStore
from bedrock_meter.usage.rewriting import Outcome, Rewriter


class Page(Struct, frozen=True):
    """A part of the ledger.

    Attributes:
        entries: Those of the range that was asked for, as they are now.
        scanned: How many were read to find them.
        after: Where the next page begins; None = this was the last.
    """

    entries: Sequence[LedgerEntry]
    scanned: int
    after: str | None


class Difference(Struct):
    """What rating anew changed for one tenant and model.

    Attributes:
        entries: How many were rewritten, also those whose cost stayed.
        old_nano_usd: What they cost before; an unpriced one adds nothing.
        new_nano_usd: What they cost now.
        newly_priced: How many had no cost and have one.
        newly_unpriced: How many had a cost and have none.
        same_cost: How many cost what they cost: only the name of their prices, or what was assumed, is another.
    """

    entries: int = 0
    old_nano_usd: int = 0
    new_nano_usd: int = 0
    newly_priced: int = 0
    newly_unpriced: int = 0
    same_cost: int = 0

    def add(self, held: LedgerEntry, rated: LedgerEntry) -> None:
        """Count one entry that was rewritten."""
        before, after = held.cost_nano_usd, rated.cost_nano_usd
        self.entries += 1
        self.old_nano_usd += before or 0
        self.new_nano_usd += after or 0
        self.newly_priced += before is None and after is not None
        self.newly_unpriced += before is not None and after is None
        self.same_cost += before == after


class Rerated(Struct):
    """What became of the entries that were looked at.

    Attributes:
        changed: By tenant and model. In a dry run: what would be changed. An entry that two runs rate at one instant
            can be told by both; in the sums it is once.
        scanned: Entries of the ledger that were read.
        same: Entries that are right.
        failed: Failed calls.
        expired: Entries whose retention has ended.
        refused: Entries that other writers kept us from, or that the store does not take; they keep their cost.
    """

    changed: dict[str, dict[str, Difference]] = field(default_factory=dict)
    scanned: int = 0
    same: int = 0
    failed: int = 0
    expired: int = 0
    refused: int = 0

    @property
    def rewritten(self) -> int:
        """Entries that were changed."""
        return sum(one.entries for models in self.changed.values() for one in models.values())

    @property
    def looked_at(self) -> int:
        """All entries of the range."""
        return self.rewritten + self.same + self.failed + self.expired + self.refused


class Rerating:
    """Rates entries anew."""

    def __init__(
        self,
        store: RecordingStore,
        rater: Rater,
        *,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        Args:
            store: Writes the transactions, as for the recorder.
            rater: One book and one set of overrides for the whole run.
            clock: Current time in milliseconds.
            sleep_ms: Waits.
            uniform: Chance in [0, 1).
            check: Called before each write; what it raises ends the run.
        """
        self._rater = rater
        self._rewriter = Rewriter(store, clock=clock, sleep_ms=sleep_ms, uniform=uniform, check=check)

    def run(
        self,
        pages: Iterable[Page],
        report: Rerated,
        *,
        dry_run: bool = False,
        done: Callable[[Page], None] = lambda _: None,
    ) -> None:
        """Rate what the pages hold. Doing it again changes nothing.

        Args:
            pages: Of the ledger.
            report: Filled with what happened, also when this raises.
            dry_run: Write nothing, and report what would be written.
            done: Told of each page when all of it is right, but for the entries that ``report`` counts as refused:
                whoever goes on behind it keeps that count.
        """
        for page in pages:
            for entry in page.entries:
                self._look_at(entry, report, dry_run=dry_run)
            report.scanned += page.scanned
            done(page)

    def _look_at(self, held: LedgerEntry, report: Rerated, *, dry_run: bool) -> None:
        done = self._rewriter.rewrite(held, self._decide, dry_run=dry_run)
        if done.outcome is Outcome.EXPIRED:
            report.expired += 1
        elif done.outcome is Outcome.REFUSED:
            report.refused += 1
        elif done.wanted is not None:
            models = report.changed.setdefault(done.wanted.tenant, {})
            models.setdefault(done.wanted.model, Difference()).add(done.held, done.wanted)
        elif done.held.error_code is not None:
            report.failed += 1
        else:
            report.same += 1

    def _decide(self, held: LedgerEntry, now_ms: int) -> LedgerEntry | None:
        rated = held.rated(self._rater)
        return rated if rated != held else None
