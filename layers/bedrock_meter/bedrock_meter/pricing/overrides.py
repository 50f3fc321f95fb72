"""What an operator pays or charges instead of the list: prices, markups and discounts, each with its time.

Three facts: an override holds for event times in [from, to); of the prices that fit a call the most specific one wins,
and so of the percentages, each for itself; nothing is ever changed in place - a new set closes what it no longer holds,
so that a call is rated as it was at its time.

Most specific means, in this order: it names the tenant; it names the profile; it names the model itself and no
wildcard; its wildcard holds more letters; it begins later; it was written later.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

EFFECTIVE_AFTER_MS = 70_000
"""A change without a day holds so much later, so that no cached set (``wiring.py``: 60 s) can be wrong about it."""

WHOLE = 100_000_000
"""100 percent, in millionths of a percent: the unit of ``percent_e6``."""

ANY = "*"
UNKNOWN_MODEL = "-"


class Override(Struct, frozen=True, omit_defaults=True):
    """One row of the operator's set.

    Attributes:
        from_ms: First instant.
        to_ms: First instant after it; None = open.
        model: Base model, or a pattern with ``*``.
        tenant: Only this one; None = all.
        profile: Only calls of this profile; None = all.
        prices: Tier -> kind -> nano-USD per million units. Replaces the card's price of each kind that it names.
        percent_e6: Markup (positive) or discount (negative) in millionths of a percent; None = it is a row of prices.
    """

    from_ms: int
    to_ms: int | None = None
    model: str = ANY
    tenant: str | None = None
    profile: str | None = None
    prices: dict[str, dict[str, int]] = {}
    percent_e6: int | None = None

    def holds(self, event_ms: int) -> bool:
        """Whether it holds at this instant."""
        return self.from_ms <= event_ms and (self.to_ms is None or event_ms < self.to_ms)

    def fits(self, tenant: str, profile: str, model: str) -> bool:
        """Whether it is about such a call. An unknown model has no price, whatever a wildcard says."""
        return (
            self.tenant in (None, tenant)
            and self.profile in (None, profile)
            and (model != UNKNOWN_MODEL or not self.prices)
            and (self.model in (ANY, model) or fnmatchcase(model, self.model))
        )

    @property
    def rank(self) -> tuple[bool, bool, bool, int, int]:
        """Larger is more specific."""
        letters = len(self.model.replace(ANY, ""))
        return self.tenant is not None, self.profile is not None, ANY not in self.model, letters, self.from_ms

    @property
    def subject(self) -> tuple[object, ...]:
        """What it is about: two rows about the same never hold at once in a file."""
        return self.tenant, self.profile, self.model, self.percent_e6 is None


class OverrideSet(Struct, frozen=True):
    """All rows, past and present.

    Attributes:
        version: Counts the changes; 0 = there never was one.
        rows: In the order in which they were written.
    """

    version: int = 0
    rows: tuple[Override, ...] = ()

    def fitting(self, tenant: str, profile: str, model: str) -> tuple[Override, ...]:
        """Return the rows about such calls, at any time, the most specific first."""
        fits = [(row.rank, place, row) for place, row in enumerate(self.rows) if row.fits(tenant, profile, model)]
        return tuple(row for _, _, row in sorted(fits, key=lambda one: one[:2], reverse=True))


NONE = OverrideSet()


def chosen(rows: Iterable[Override], event_ms: int) -> tuple[Override | None, Override | None]:
    """Return (row of prices, row with a percentage) that count at this instant, out of ``fitting`` rows."""
    prices: Override | None = None
    percent: Override | None = None
    for row in rows:
        if row.holds(event_ms):
            if row.percent_e6 is None:
                prices = prices or row
            else:
                percent = percent or row
    return prices, percent


def merged(held: OverrideSet, wanted: Iterable[tuple[Override, bool]], now_ms: int) -> OverrideSet:
    """Return the set after a file was applied.

    A row that the file repeats stays as it began. One that the file no longer holds ends, and a new one without a day
    begins, ``EFFECTIVE_AFTER_MS`` from now; one that ends before that is left out. Rows that ended stay: late records
    are rated as of their time. Applying the same file twice changes nothing.

    Args:
        held: The set as stored.
        wanted: Rows of the file, each with whether the file says when it begins; where not, ``from_ms`` is ignored.
        now_ms: The present.
    """
    change_ms = now_ms + EFFECTIVE_AFTER_MS
    left = list(held.rows)
    kept: set[int] = set()
    added: list[Override] = []
    for row, is_dated in wanted:
        place = next(
            (index for index, old in enumerate(left) if index not in kept and _repeats(old, row, is_dated, change_ms)),
            None,
        )
        if place is not None:
            kept.add(place)
        elif is_dated:
            added.append(row)
        elif row.to_ms is None or row.to_ms > change_ms:
            added.append(replace(row, from_ms=change_ms))
    rows: list[Override] = []
    for index, old in enumerate(left):
        if index in kept or (old.to_ms is not None and old.to_ms <= change_ms):
            rows.append(old)
        elif old.from_ms < change_ms:
            rows.append(replace(old, to_ms=change_ms))
    changed = (*rows, *added)
    return held if changed == held.rows else OverrideSet(held.version + 1, changed)


def _repeats(old: Override, row: Override, is_dated: bool, change_ms: int) -> bool:
    """Whether a row of the file is an old one; without a day, one that has begun by now."""
    if is_dated:
        return old == row
    return old.from_ms <= change_ms and old == replace(row, from_ms=old.from_ms)


def overlapping(rows: Sequence[Override]) -> tuple[int, int] | None:
    """Return the places of two rows about the same that hold at once, or None."""
    for second, row in enumerate(rows):
        for first, other in enumerate(rows[:second]):
            starts_before = other.to_ms is None or row.from_ms < other.to_ms
            if row.subject == other.subject and starts_before and (row.to_ms is None or other.from_ms < row.to_ms):
                return first, second
    return None
