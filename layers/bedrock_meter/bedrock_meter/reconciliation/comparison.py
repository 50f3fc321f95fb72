"""Live sums against the ledger's, while both go on growing.

A scan takes minutes and shows no single instant. So the live sums are read before it and after it. Whatever is equal in
both readings was not written in between (a row's requests and tokens, and a gauge's ``rev``, only ever grow), and then
the scan must have found exactly that. Whatever grew meanwhile must lie between the two readings, and more cannot be
said without holding recorders off: it is called *moving*, and is a difference only when it lies outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bedrock_meter.invocations.admission import MAX_FUTURE_MS
from bedrock_meter.limits.gauge import LATE, Gauge, number_of, read_buckets
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.marks import moved_to
from bedrock_meter.limits.windows import QUARTER_MS, SUB_BUCKETS, RollingWindow
from bedrock_meter.reconciliation.tally import Buckets
from bedrock_meter.usage.rollup import NOTHING, Sums


@dataclass(frozen=True, slots=True)
class Image:
    """What is live of one tenant.

    Attributes:
        rows: Roll-up rows by name.
        gauge: None where the tenant has none (``unattributed`` never has).
    """

    rows: Mapping[str, Sums] = field(default_factory=dict)
    gauge: Gauge | None = None


NO_IMAGE = Image()


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A roll-up row that is not what the ledger adds up to.

    Attributes:
        name: The row.
        held: What it holds; nothing where it is missing.
        rebuilt: What the ledger says.
        moving: Whether it was written during the scan, so that neither number is final.
    """

    name: str
    held: Sums
    rebuilt: Sums
    moving: bool


@dataclass(frozen=True, slots=True)
class LimitDifference:
    """A limit that reads something else than the ledger says.

    Attributes:
        installed: The limit.
        held: What the live gauge reads.
        rebuilt: What it would read.
        corrections: What buckets must hold instead, by name; 0 for a bucket that should not be there.
        moving: Whether the gauge was written during the scan.
    """

    installed: InstalledLimit
    held: int
    rebuilt: int
    corrections: Mapping[str, int]
    moving: bool


@dataclass(slots=True)
class Compared:
    """One tenant, compared.

    Attributes:
        tenant: Its id.
        rows: How many rows were compared.
        row_differences: Rows that differ.
        limits: How many limits were compared.
        limit_differences: Limits that differ.
        moving: Rows and limits that were written meanwhile and lie where they may.
        seeded: Names of limits whose buckets are as coarse as the roll-ups that they were seeded from.
        partial: Names of limits that still count from an instant inside their window, by design.
        gauge: The live gauge, as read after the scan.
    """

    tenant: str
    rows: int = 0
    row_differences: list[RowDifference] = field(default_factory=list)
    limits: int = 0
    limit_differences: list[LimitDifference] = field(default_factory=list)
    moving: int = 0
    seeded: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    gauge: Gauge | None = None

    @property
    def differs(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.row_differences or self.limit_differences)


def compare(
    tenant: str, before: Image, rebuilt_rows: Mapping[str, Sums], buckets: Buckets, after: Image, at_ms: int
) -> Compared:
    """Compare one tenant.

    Args:
        tenant: Its id.
        before: Read before the scan began.
        rebuilt_rows: What the scan found, by row name.
        buckets: What the scan found, by bucket, for the layout of ``before``.
        after: Read after the scan ended.
        at_ms: The instant to read limits at: not before ``after`` was read, so that nothing that counts at it can
            have been pruned.
    """
    compared = Compared(tenant, gauge=after.gauge)
    for name in sorted(before.rows.keys() | rebuilt_rows.keys() | after.rows.keys()):
        compared.rows += 1
        low, high = before.rows.get(name, NOTHING), after.rows.get(name, NOTHING)
        rebuilt = rebuilt_rows.get(name, NOTHING)
        moving = low != high
        if not _lies_between(low, rebuilt, high):
            compared.row_differences.append(RowDifference(name, high, rebuilt, moving))
        elif moving:
            compared.moving += 1
    if after.gauge is not None:
        _compare_gauge(compared, before.gauge, buckets, after.gauge, at_ms)
    return compared


def _lies_between(low: Sums, found: Sums, high: Sums) -> bool:
    if low == high:
        return found == low
    # Errors are left out: a success that replaces a failure takes one away.
    parts = [(low.requests, found.requests, high.requests)]
    parts += [
        (getattr(low.tokens, name), getattr(found.tokens, name), getattr(high.tokens, name))
        for name in low.tokens.__struct_fields__
    ]
    return all(lowest <= part <= highest for lowest, part, highest in parts)


def _compare_gauge(compared: Compared, before: Gauge | None, buckets: Buckets, after: Gauge, at_ms: int) -> None:
    if before is None or before.layout != after.layout:
        compared.moving += len(after.layout.limits)
        return
    moving = before.rev != after.rev
    for installed in after.layout.limits:
        if _is_partial(installed, at_ms):
            compared.partial.append(installed.name)
            continue
        compared.limits += 1
        first, held, exact, earliest, latest = (
            _counting(installed, found, at_ms)
            for found in (before.buckets, after.buckets, buckets.exact, buckets.earliest, buckets.latest)
        )
        if not moving and held == exact:
            continue
        was, lower, upper, now = (_reading(installed, found, at_ms) for found in (first, earliest, latest, held))
        if all(
            begun <= most and least <= found for begun, least, most, found in zip(was, lower, upper, now, strict=True)
        ):
            if moving:
                compared.moving += 1
                continue
            if earliest != latest:
                compared.seeded.append(installed.name)
                continue
        corrections = {
            name: exact.get(name, 0)
            for name in sorted(held.keys() | exact.keys())
            if held.get(name, 0) != exact.get(name, 0)
        }
        rebuilt = _reading(installed, exact, at_ms)[0]
        difference = LimitDifference(installed, now[0], rebuilt, corrections, moving)
        compared.limit_differences.append(difference)


def _is_partial(installed: InstalledLimit, at_ms: int) -> bool:
    """Whether a call may count at ``at_ms`` that was recorded before the limit began to count.

    It can be dated ahead of its recording, by as much as is admitted.
    """
    if installed.since_ms is None or not isinstance(installed.window, RollingWindow):
        return False
    return at_ms < installed.since_ms + MAX_FUTURE_MS + installed.window.length_ms + 2 * installed.window.sub_ms


def _counting(installed: InstalledLimit, buckets: Mapping[str, int], at_ms: int) -> dict[str, int]:
    """Return the buckets of a limit that count at ``at_ms`` or later, without those that hold nothing.

    What is below 0 counts as long as what it may take away from (``limits/marks.py``).
    """
    window = installed.window
    if isinstance(window, RollingWindow):
        first = at_ms // window.sub_ms - SUB_BUCKETS
    else:
        first = window.bounds(at_ms)[0] // QUARTER_MS

    def last(name: str, quantity: int) -> int:
        number = number_of(name)
        return moved_to(number, window) if quantity < 0 and isinstance(window, RollingWindow) else number

    return {
        name: quantity
        for name, quantity in buckets.items()
        if name[0] == installed.slot and not name.endswith(LATE) and quantity and last(name, quantity) >= first
    }


def _reading(installed: InstalledLimit, buckets: Mapping[str, int], at_ms: int) -> tuple[int, int]:
    """Return what is used, and how many calls are in the window that nobody can count."""
    (reading,) = read_buckets(Layout(0, (installed,)), buckets, at_ms)
    return reading.used, reading.uncounted
