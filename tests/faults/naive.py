"""Windows the slow and plain way: what the documents say about buckets, with the standard library and none of ours.

Rolling: twelve sub-buckets; the one that has half left its window counts by the part still inside (soft, rounded up)
or whole (hard). Calendar: one bucket per local day, week (from Monday) or month (from its anchor day). Boosts: segments
of time, walked through in order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

QUARTER_MS = 900_000
SUB_BUCKETS = 12
GRACE_MS = 3_600_000
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Window:
    """A window as the gauge's layout spells it: ``1h``, ``day``, ``week``, ``month@15``; with the zone."""

    text: str
    zone: str

    @property
    def sub_ms(self) -> int:
        """Length of a sub-bucket; 0 for a calendar window."""
        number, unit = self.text[:-1], self.text[-1]
        return int(number) * _UNITS_MS[unit] // SUB_BUCKETS if number.isdigit() else 0

    def start_ms(self, at_ms: int) -> int:
        """Start of the calendar window that holds an instant."""
        return self._starts(at_ms)[0]

    def end_ms(self, at_ms: int) -> int:
        """End of that window."""
        return self._starts(at_ms)[1]

    def _starts(self, at_ms: int) -> tuple[int, int]:
        today = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(self.zone)).date()
        unit, _, anchor = self.text.partition("@")
        if unit == "day":
            return self._midnight(today), self._midnight(today + timedelta(days=1))
        if unit == "week":
            monday = today - timedelta(days=today.weekday())
            return self._midnight(monday), self._midnight(monday + timedelta(days=7))
        day = int(anchor or 1)
        first = today.replace(day=day)
        if today.day < day:
            first = (today.replace(day=1) - timedelta(days=1)).replace(day=day)
        following = (first.replace(day=1) + timedelta(days=32)).replace(day=day)
        return self._midnight(first), self._midnight(following)

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.zone)).timestamp()) * 1000

    def bucket(self, at_ms: int) -> int:
        """Number of the bucket that holds an instant."""
        return at_ms // self.sub_ms if self.sub_ms else self.start_ms(at_ms) // QUARTER_MS

    def first_seeded_ms(self, at_ms: int) -> int | None:
        """Start of the first quarter-hour whose usage a window installed at ``at_ms`` takes over; None = of none."""
        if not self.sub_ms:
            return self.start_ms(at_ms)
        if self.sub_ms * SUB_BUCKETS < QUARTER_MS:
            return None
        return (at_ms // self.sub_ms - SUB_BUCKETS) * self.sub_ms // QUARTER_MS * QUARTER_MS

    def paid(self, buckets: Mapping[int, int]) -> dict[int, int]:
        """What buckets hold where rating anew took cost away at another instant than it was seeded at.

        Seeding puts a call at the end of its quarter-hour at the latest. So what is below nothing is owed by the
        buckets behind it, up to the one that holds that end, the first of them first; what is left counts as nothing.
        """
        held = dict(buckets)
        for owing in sorted(held):
            if not self.sub_ms or self.sub_ms * SUB_BUCKETS < QUARTER_MS:
                break
            ends_ms = -(-(owing + 1) * self.sub_ms // QUARTER_MS) * QUARTER_MS
            for later in range(owing + 1, (ends_ms - 1) // self.sub_ms + 1):
                paid = min(max(0, -held[owing]), max(0, held.get(later, 0)))
                if paid:
                    held[later] -= paid
                    held[owing] += paid
        return {number: max(0, amount) for number, amount in held.items()}

    def is_live(self, bucket: int, now_ms: int) -> bool:
        """Whether a bucket may still count at ``now_ms``."""
        if self.sub_ms:
            return bucket >= now_ms // self.sub_ms - SUB_BUCKETS
        return now_ms < self.end_ms(bucket * QUARTER_MS + QUARTER_MS - 1)

    def used(self, buckets: Mapping[int, int], now_ms: int, *, hard: bool) -> int:
        """What counts at ``now_ms``."""
        if not self.sub_ms:
            return buckets.get(self.bucket(now_ms), 0)
        current = now_ms // self.sub_ms
        oldest = buckets.get(current - SUB_BUCKETS, 0)
        if not hard:
            left_ms = self.sub_ms - now_ms % self.sub_ms
            oldest = (oldest * left_ms + self.sub_ms - 1) // self.sub_ms
        return oldest + sum(amount for number, amount in buckets.items() if number > current - SUB_BUCKETS)


Segment = tuple[int, int, int]
"""A boost: its beginning, its end (exclusive), and what it adds."""


def maximum_at(base: int, boosts: Collection[Segment], at_ms: int) -> int:
    """What a limit allows at an instant: from beginning to end, adding what begins and taking away what ends."""
    steps = [(begins_ms, more) for begins_ms, _, more in boosts] + [(ends_ms, -more) for _, ends_ms, more in boosts]
    maximum = base
    for step_ms, more in sorted(steps):
        if step_ms > at_ms:
            break
        maximum += more
    return maximum


def least(base: int, boosts: Collection[Segment], from_ms: int, to_ms: int) -> int:
    """The least that it allows in [from_ms, to_ms]: looked at wherever it may have changed, and just before."""
    instants = {at_ms for begins_ms, ends_ms, _ in boosts for at_ms in (begins_ms - 1, begins_ms, ends_ms - 1, ends_ms)}
    looked_at = [from_ms, to_ms, *(at_ms for at_ms in instants if from_ms <= at_ms <= to_ms)]
    return min(maximum_at(base, boosts, at_ms) for at_ms in looked_at)


def attribute(slot: str, bucket: int) -> str:
    """Name of a bucket on the gauge."""
    digits = ""
    while bucket:
        bucket, digit = divmod(bucket, 36)
        digits = _DIGITS[digit] + digits
    return slot + (digits or "0")
