"""Usage that nobody owned when it was recorded, moved to its tenant: entry by entry, each once.

The decision: one transaction an entry (``rewriting.py``). It takes the entry from ``unattributed``, provided that the
entry is as it was read, and moves exactly its sums: minus on the roll-up row of ``unattributed``, plus on the tenant's
row, plus on the buckets of the tenant's gauge.

* The index of unattributed entries is the list of what is left to do. A moved entry leaves it in the same transaction,
  so that a run that was stopped goes on by starting again, and a second run finds nothing.
* A record of the same call that raises the entry meanwhile is refused there, or makes the move be refused; whoever was
  refused reads the entry again. The raise then goes to the tenant, because an entry's sums go where the entry belongs.
* The entry is rated anew: what its model costs, and what its tenant pays, is known only now. What leaves is the cost
  that was held, what arrives is the new one, so that sums stay equal to the nano-dollar.
* Two runs at once move each entry once: the condition of the second fails.

What is moved counts at its event time, so that ``Usage Adjusted`` tells of a calendar window that has closed. Only
*into* a tenant is moved: that can raise a level and never lift one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from bedrock_meter.tenants.attribution import RULE_PROFILE, UNATTRIBUTED, Claim, Evidence, claims_at
from bedrock_meter.usage.ledger import LedgerEntry, Rater
from bedrock_meter.usage.recorder import RecordingStore
from bedrock_meter.usage.rewriting import Outcome, Rewriter
from bedrock_meter.usage.rollup import NOTHING, Sums

TOLD_EVERY = 200


class Worklist(Protocol):
    """Entries that wait for a tenant."""

    def profiles(self) -> Iterable[str]:
        """Return every profile or model of which an entry waits, in order of names."""

    def waiting(self, profile: str) -> Iterator[Sequence[LedgerEntry]]:
        """Read the entries of a profile that wait, oldest first, page by page; each as it is in the ledger now."""


class Sources(Protocol):
    """What is known today about whose usage something is."""

    def evidence(self, model_id: str, principal: str, now_ms: int, event_ms: int) -> Evidence:
        """Return the periods of a profile and of a principal, as they are known for an event time."""


class Moved(Struct):
    """What was moved from one profile to one tenant.

    Attributes:
        entries: How many.
        sums: What they add up to.
    """

    entries: int = 0
    sums: Sums = NOTHING


class Reattributed(Struct):
    """What became of the entries that were looked at.

    Attributes:
        moved: By profile, tenant and rule. In a dry run: what would be moved.
        left: By profile: entries that belong to nobody today either.
        elsewhere: Entries that somebody else moved, or took back, meanwhile.
        expired: Entries whose retention has ended.
        refused: Entries that other writers kept us from, or that the store does not take; they still wait.
    """

    moved: dict[tuple[str, str, str], Moved] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    elsewhere: int = 0
    expired: int = 0
    refused: int = 0

    @property
    def looked_at(self) -> int:
        """All entries."""
        moved = sum(one.entries for one in self.moved.values())
        return moved + sum(self.left.values()) + self.elsewhere + self.expired + self.refused


class Reattribution:
    """Moves entries."""

    def __init__(
        self,
        worklist: Worklist,
        store: RecordingStore,
        sources: Sources,
        rater: Rater,
        *,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
        tell: Callable[[str], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        Args:
            worklist: Entries that wait.
            store: Writes the transactions, as for the recorder.
            sources: Whose usage is what.
            rater: Rates a moved entry: its model, its routing and its tenant's prices are known only now.
            clock: Current time in milliseconds.
            sleep_ms: Waits.
            uniform: Chance in [0, 1).
            tell: Told how far it is.
            check: Called before each write; what it raises ends the run.
        """
        self._worklist = worklist
        self._sources = sources
        self._rater = rater
        self._clock = clock
        self._tell = tell
        self._rewriter = Rewriter(store, clock=clock, sleep_ms=sleep_ms, uniform=uniform, check=check)

    def run(self, profiles: Iterable[str], report: Reattributed, *, dry_run: bool = False) -> None:
        """Move what waits under these names and belongs to somebody today. Doing it again changes nothing.

        Args:
            profiles: Last segments of what records named: profiles or models.
            report: Filled with what happened, also when this raises.
            dry_run: Write nothing, and report what would be moved.
        """
        for profile in profiles:
            for page in self._worklist.waiting(profile):
                for entry in page:
                    self._look_at(entry, report, dry_run=dry_run)
                    if report.looked_at % TOLD_EVERY == 0:
                        self._tell(f"{report.looked_at} entries looked at")

    def _look_at(self, held: LedgerEntry, report: Reattributed, *, dry_run: bool) -> None:
        moved_ms = self._clock()

        def decide(found: LedgerEntry, now_ms: int) -> LedgerEntry | None:
            claim = self._owner(found, now_ms) if _waits(found) else None
            return self._moved(found, claim, moved_ms) if claim is not None else None

        done = self._rewriter.rewrite(held, decide, dry_run=dry_run)
        if done.outcome is Outcome.EXPIRED:
            report.expired += 1
        elif done.outcome is Outcome.REFUSED:
            report.refused += 1
        elif done.wanted is not None:
            self._report(done.wanted, report)
        elif not _waits(done.held):
            report.elsewhere += 1
        else:
            report.left[held.profile] = report.left.get(held.profile, 0) + 1

    def _owner(self, entry: LedgerEntry, now_ms: int) -> Claim | None:
        evidence = self._sources.evidence(_named(entry), entry.principal, now_ms, entry.event_ms)
        claims = claims_at(entry.event_ms, evidence)
        return claims[0] if claims else None

    def _moved(self, held: LedgerEntry, claim: Claim, moved_ms: int) -> LedgerEntry:
        model = claim.model if claim.rule == RULE_PROFILE else held.model
        routing = claim.routing if claim.rule == RULE_PROFILE else held.routing
        moved = replace(held, tenant=claim.tenant, rule=claim.rule, model=model, routing=routing)
        return replace(moved, was=held.tenant, moved_ms=moved_ms).rated(self._rater)

    @staticmethod
    def _report(moved: LedgerEntry, report: Reattributed) -> None:
        sums = report.moved.setdefault((moved.profile, moved.tenant, moved.rule), Moved())
        sums.entries += 1
        sums.sums += moved.sums


def _waits(entry: LedgerEntry) -> bool:
    return entry.tenant == UNATTRIBUTED and entry.removed_ms is None


def _named(entry: LedgerEntry) -> str:
    """Return what may be asked for as a profile: nothing where the entry names another kind of resource.

    The entry keeps the last segment of its record's identifier. Where that is neither a profile's id (then the model
    is unknown) nor the name of a model, it is a deployment or the like, and may end like somebody's profile.
    """
    return "" if entry.model == entry.profile and "." not in entry.profile else entry.profile
