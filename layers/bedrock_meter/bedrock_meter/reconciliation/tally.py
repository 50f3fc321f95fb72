"""What the ledger adds up to: the roll-up rows and gauge buckets that should be there.

The ledger knows the instant of every call, so both are plain sums of it, made by the functions that the recorder uses.
One case is not a plain sum. A rolling window that was seeded on a tenant's roll-ups holds what came before at the
*last* instant of its quarter-hour, or at the instant of seeding within it, because a roll-up row does not say more.
Nobody stores when that was. Therefore a rolling window of a quarter-hour or more is tallied three times: at the
instants of the calls (``exact``), and where seeding would have put all of it at the ``earliest`` and at the ``latest``.
The truth of a live gauge lies in between, and is ``exact`` once its window has passed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bedrock_meter.invocations.admission import MAX_FUTURE_MS
from bedrock_meter.limits.counting import adds
from bedrock_meter.limits.gauge import LATE
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.windows import QUARTER_MS, RollingWindow
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums, quarter_start

RowName = Callable[[RollupKey], str]
"""Names a row inside its tenant's partition: two long profile names that are cut to one row have one name."""


@dataclass
class Buckets:
    """What a tenant's gauge should hold, by bucket name.

    Attributes:
        exact: Every call in the bucket of its instant.
        earliest: Every call where seeding would have put it at the earliest: at its instant, or as much earlier as its
            clock may have been ahead of the one that seeded.
        latest: Every call where seeding would have put it at the latest.
    """

    exact: dict[str, int] = field(default_factory=dict)
    earliest: dict[str, int] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)


@dataclass
class Tally:
    """Sums of ledger entries. Adding an entry twice counts it twice: one scan gives each entry once.

    Attributes:
        layouts: By tenant, the limits to sum buckets for.
        start_ms: When the scan began. Buckets that were out of every reading by then are not summed.
        from_ms: Start of a quarter-hour; earlier ones get no rows.
        row_name: Names rows.
        only: Tenants to look at; None = all.
        rows: By tenant and row name.
        buckets: By tenant.
        entries: How many entries were added, those of other tenants not counted.
    """

    layouts: Mapping[str, Layout]
    start_ms: int
    from_ms: int
    row_name: RowName
    only: frozenset[str] | None = None
    rows: dict[str, dict[str, Sums]] = field(default_factory=dict)
    buckets: dict[str, Buckets] = field(default_factory=dict)
    entries: int = 0

    def empty(self) -> "Tally":
        """Return a tally of nothing, for another part of the same scan."""
        return Tally(self.layouts, self.start_ms, self.from_ms, self.row_name, self.only)

    def add(self, entry: LedgerEntry) -> None:
        """Count one entry."""
        if self.only is not None and entry.tenant not in self.only:
            return
        self.entries += 1
        sums = entry.sums
        if quarter_start(entry.event_ms) >= self.from_ms:
            rows = self.rows.setdefault(entry.tenant, {})
            name = self.row_name(entry.rollup)
            rows[name] = rows.get(name, NOTHING) + sums
        layout = self.layouts.get(entry.tenant)
        if layout is None or entry.error_code is not None:
            return
        buckets = self.buckets.setdefault(entry.tenant, Buckets())
        for installed in layout.limits:
            earliest_ms, latest_ms = _seeded_between(installed, entry.event_ms)
            for event_ms, into in (
                (earliest_ms, buckets.earliest),
                (entry.event_ms, buckets.exact),
                (latest_ms, buckets.latest),
            ):
                found = adds(installed, sums, entry.profile, entry.model, event_ms=event_ms, now_ms=self.start_ms)
                for name, quantity in found.items():
                    if not name.endswith(LATE):
                        into[name] = into.get(name, 0) + quantity

    def merge(self, other: "Tally") -> None:
        """Count all that another tally of the same scan counted."""
        self.entries += other.entries
        for tenant, rows in other.rows.items():
            held_rows = self.rows.setdefault(tenant, {})
            for name, sums in rows.items():
                held_rows[name] = held_rows.get(name, NOTHING) + sums
        for tenant, buckets in other.buckets.items():
            held = self.buckets.setdefault(tenant, Buckets())
            for which in ("exact", "earliest", "latest"):
                ours: dict[str, int] = getattr(held, which)
                for name, quantity in getattr(buckets, which).items():
                    ours[name] = ours.get(name, 0) + quantity


def _seeded_between(installed: InstalledLimit, event_ms: int) -> tuple[int, int]:
    """Return the first and last instant whose bucket a seeded call may be in.

    Seeding puts a call at its own instant or later (``limits/seeding.py``). The first one is earlier by as much as a
    call may be dated ahead, because the clock of the machine that changes limits may be behind that of a recorder.
    """
    if isinstance(installed.window, RollingWindow) and installed.window.length_ms >= QUARTER_MS:
        return event_ms - MAX_FUTURE_MS, quarter_start(event_ms) + QUARTER_MS - 1
    return event_ms, event_ms
