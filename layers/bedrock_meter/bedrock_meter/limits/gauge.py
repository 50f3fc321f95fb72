"""The gauge: a tenant's live window sums in one item, and what they say at an instant.

Three facts: a bucket is one number under the name *slot + base-36 number of its start*, so recording is a plain ``ADD``
and two recorders never disagree about a name; nothing resets a bucket, time alone moves it out of its window; what a
window holds is computed when it is read, and so is the instant at which it will hold less.

Rolling, at instant ``now`` in sub-bucket ``c``: sub-buckets ``c - 11`` and later count whole (later than ``c`` too: a
clock ahead of ours). Sub-bucket ``c - 12`` is the oldest, partly inside. A hard limit counts it whole: it never allows
by mistake. A soft limit counts the part still inside, rounded up, as if its usage were spread evenly. Calendar: one
bucket, the current window's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bedrock_meter.limits.boosts import least_maximum, next_boundary_ms
from bedrock_meter.limits.holds import NO_HOLDS, hold_key, reserved
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.marks import UNCOUNTED, left_of, marked_in_window, moved_to, unmarked_from_ms
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.limits.windows import QUARTER_MS, SUB_BUCKETS, CalendarWindow, RollingWindow, Window, base36

CLOSING_GRACE_MS = 3_600_000
"""A calendar window is final this long after its end: what is recorded later goes to a late bucket and is reported."""

LATE = "+"
"""Ends the name of a late bucket."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A change of limits in progress. Recorders of the tenant back off until it is released or has expired.

    Attributes:
        holder: Random id of the process that changes the limits.
        expires_ms: From this instant on the lease holds nobody back.
    """

    holder: str
    expires_ms: int

    def is_held(self, now_ms: int) -> bool:
        """Return whether recorders must back off at ``now_ms``."""
        return now_ms < self.expires_ms


@dataclass(frozen=True, slots=True)
class Gauge:
    """One consistent image of a tenant's gauge.

    Attributes:
        tenant: Tenant id.
        rev: Grows with every write that changes a bucket or the layout.
        layout: The limits, and how to read the buckets.
        buckets: Sum by bucket name; only bucket attributes of the item.
        lease: A change of limits in progress, or None.
        suspension: The last suspension of the tenant, in force or over; None if there never was one.
        holds: What open reservations hold, and the running totals of all charges: see ``limits/holds.py``.
        fail_policy: What the API answers for this tenant when the gauge cannot be read: ``open`` or ``closed``; None =
            the stack's default.
    """

    tenant: str
    rev: int
    layout: Layout
    buckets: Mapping[str, int]
    lease: Lease | None = None
    suspension: Suspension | None = None
    holds: Mapping[str, int] = field(default_factory=dict)
    fail_policy: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one limit says at an instant.

    Attributes:
        limit: The limit.
        used: What counts at that instant; a soft rolling limit's oldest sub-bucket in part.
        maximum: The ceiling at that instant, boosts included.
        remaining: ``max(0, maximum - used - reserved)``.
        overage: ``max(0, used - maximum)``.
        window_start_ms: Start of the calendar window, or the instant minus the rolling length.
        window_end_ms: End (exclusive) of the calendar window, or the instant itself.
        throttled_until_ms: First instant at which what is used allows again if nothing more is used: usage left the
            window, or a boost began. None when it allows now, whatever is reserved, and when it never will (maximum 0).
        allowed: Whether this limit lets a call through: ``would_allow``, and always of a shadow limit.
        frees_at_ms: First instant at which ``used`` is smaller than now if nothing more is used. None when nothing is
            used.
        reserved: What open reservations hold at that instant; those that have expired hold nothing.
        uncounted: Calls that may lie in the window and are not in ``used``, because nobody can say what they add: they
            have no price, or their model is not known. The oldest sub-bucket counts whole.
    """

    limit: InstalledLimit
    used: int
    maximum: int
    remaining: int
    overage: int
    window_start_ms: int
    window_end_ms: int
    throttled_until_ms: int | None
    allowed: bool
    frees_at_ms: int | None
    reserved: int = 0
    uncounted: int = 0

    @property
    def is_denied_by_unpriced(self) -> bool:
        """Whether calls without a price that may lie in the window deny, or would if it were no shadow limit."""
        return self.limit.denies_unpriced and self.uncounted > 0

    @property
    def would_allow(self) -> bool:
        """Whether ``used + reserved < maximum``, and no call without a price denies; a shadow limit only says so."""
        return self.used + self.reserved < self.maximum and not self.is_denied_by_unpriced

    @property
    def is_complete(self) -> bool:
        """Whether ``used`` is all there is."""
        return not self.uncounted


class SlotSums(NamedTuple):
    """What the buckets of one limit hold, by the number of the bucket.

    Attributes:
        amounts: In the limit's meter. Below 0 where a call was rated anew that seeding had put into a later bucket.
        marks: Calls of which the amount is not known. Below 0 where a call was rated whose mark seeding had put into a
            later bucket.
    """

    amounts: dict[int, int]
    marks: dict[int, int]


NO_SUMS = SlotSums({}, {})


class LateBucket(NamedTuple):
    """Usage that arrived after its calendar window had closed for good: in no reading, to be reported once and removed.

    Attributes:
        installed: The calendar limit.
        name: Name of the bucket, ending in ``+``.
        window_start_ms: Start of the closed window.
        amount: What arrived since the last report; below 0 where rating anew took more cost away than arrived.
    """

    installed: InstalledLimit
    name: str
    window_start_ms: int
    amount: int


def bucket_name(slot: str, window: Window, event_ms: int) -> str:
    """Return the name of the bucket that holds ``event_ms``: ``slot`` and a number in base 36.

    The number is the sub-bucket's for a rolling window, and the window's start in quarter-hours for a calendar window.

    Raises:
        ValueError: The instant is before 1970.
    """
    if isinstance(window, RollingWindow):
        return slot + base36(event_ms // window.sub_ms)
    return slot + base36(window.bounds(event_ms)[0] // QUARTER_MS)


def number_of(name: str) -> int:
    """Return the number in the name of a bucket or of the mark beside it."""
    return int(name[1:].removesuffix(UNCOUNTED), 36)


def bucket_for(installed: InstalledLimit, event_ms: int, now_ms: int) -> str | None:
    """Return the bucket to which a record of ``event_ms`` that is recorded at ``now_ms`` is added.

    Returns:
        None when a rolling window left the record behind by more than one sub-bucket: there is nothing to count. A late
        bucket (name ending in ``+``) when the record's calendar window closed more than the grace ago.
    """
    window = installed.window
    if isinstance(window, RollingWindow):
        if _is_stale(event_ms // window.sub_ms, window, now_ms):
            return None
        return bucket_name(installed.slot, window, event_ms)
    start_ms, end_ms = window.bounds(event_ms)
    name = installed.slot + base36(start_ms // QUARTER_MS)
    return name + LATE if now_ms >= end_ms + CLOSING_GRACE_MS else name


def unmarked_at(installed: InstalledLimit, event_ms: int, now_ms: int) -> str | None:
    """Return the bucket at which the mark of a call of ``event_ms`` is taken away at ``now_ms``.

    That of ``bucket_for``, or one that has left the window while a mark that seeding moved may still be in it.
    """
    window = installed.window
    if isinstance(window, RollingWindow):
        is_stale = _is_stale(moved_to(event_ms // window.sub_ms, window), window, now_ms)
        return None if is_stale else bucket_name(installed.slot, window, event_ms)
    return bucket_for(installed, event_ms, now_ms)


def read(gauge: Gauge, now_ms: int) -> tuple[Reading, ...]:
    """Return the reading of each limit at ``now_ms``, in the layout's order. Late buckets do not count."""
    return read_buckets(gauge.layout, gauge.buckets, now_ms, gauge.holds)


def read_buckets(
    layout: Layout, buckets: Mapping[str, int], now_ms: int, holds: Mapping[str, int] = NO_HOLDS
) -> tuple[Reading, ...]:
    """Return what ``read`` returns, for a layout and buckets that are not in a gauge."""
    sums = sums_by_slot(buckets)
    return tuple(
        _read_limit(installed, sums.get(installed.slot, NO_SUMS), now_ms, reserved(holds, hold_key(installed), now_ms))
        for installed in layout.limits
    )


def falls_below_ms(installed: InstalledLimit, buckets: Mapping[str, int], amount: int, now_ms: int) -> int | None:
    """Return the first instant, not before ``now_ms``, at which ``used < amount`` if nothing more is used.

    Exact to the millisecond, also for the fading bucket of a soft limit. None when it never happens (amount below 1).
    """
    sums = sums_by_slot(buckets).get(installed.slot, NO_SUMS)
    return _falls_below(installed, left_of(installed.window, sums.amounts), amount, now_ms)


def allows_from_ms(installed: InstalledLimit, sums: SlotSums, need: int, now_ms: int, ahead_ms: int = 0) -> int | None:
    """Return the first instant, not before ``now_ms``, at which what is used allows ``need`` if nothing more is used.

    ``used + need`` fits the maximum then (with ``ahead_ms``, the least maximum of that time from then on), and where
    usage without a price denies, it has left the window. Exact to the millisecond, also across the boundaries of
    boosts. None when there is no such instant. It ends: each round is past one more mark.
    """
    amounts = left_of(installed.window, sums.amounts)
    while True:
        fits_ms = _has_room_from(installed, amounts, need, now_ms, ahead_ms)
        if fits_ms is None:
            return None
        now_ms = unmarked_from_ms(installed.window, sums.marks, fits_ms) if installed.denies_unpriced else fits_ms
        if now_ms == fits_ms:
            return fits_ms


def sums_by_slot(buckets: Mapping[str, int]) -> dict[str, SlotSums]:
    """Return what buckets hold, by slot; without late buckets."""
    sums: dict[str, SlotSums] = {}
    for name, amount in buckets.items():
        if name[-1] == LATE or not amount:
            continue
        found = sums.setdefault(name[0], SlotSums({}, {}))
        if name[-1] == UNCOUNTED:
            found.marks[int(name[1:-1], 36)] = amount
        else:
            found.amounts[int(name[1:], 36)] = amount
    return sums


def stale_buckets(layout: Layout, buckets: Mapping[str, int], now_ms: int) -> tuple[str, ...]:
    """Return the names of the buckets that can be removed without changing any reading from ``now_ms`` on.

    These are rolling buckets out of their window by more than one sub-bucket (``bucket_for`` names no such bucket
    either), calendar buckets whose window closed more than the grace ago, and all buckets of slots that the layout does
    not use. A mark, and what is below 0, goes up to a quarter-hour later than its bucket: it may take away from what
    was seeded. A late bucket of an installed or closing limit stays: what reports it removes it.
    """
    windows = {installed.slot: installed.window for installed in layout.limits}
    reported = {installed.slot for installed in (*layout.limits, *layout.closing)}
    stale = []
    for name, amount in buckets.items():
        window = windows.get(name[0])
        if name.endswith(LATE):
            if name[0] not in reported:
                stale.append(name)
        elif window is None:
            stale.append(name)
        else:
            number = number_of(name)
            if isinstance(window, RollingWindow):
                last = moved_to(number, window) if name.endswith(UNCOUNTED) or amount < 0 else number
                if _is_stale(last, window, now_ms):
                    stale.append(name)
            elif now_ms > _calendar_bounds(window, number)[1] + CLOSING_GRACE_MS:
                stale.append(name)
    return tuple(stale)


def late_buckets(layout: Layout, buckets: Mapping[str, int]) -> list[LateBucket]:
    """Return the late buckets of the installed limits and of those that are closing, by limit, then by window start."""
    late: list[LateBucket] = []
    for installed in (*layout.limits, *layout.closing):
        if isinstance(installed.window, CalendarWindow):
            names = [name for name in buckets if name[0] == installed.slot and name.endswith(LATE)]
            for number, name in sorted((int(name[1:-1], 36), name) for name in names):
                late.append(LateBucket(installed, name, _calendar_bounds(installed.window, number)[0], buckets[name]))
    return late


def without_reported(layout: Layout, buckets: Mapping[str, int]) -> Layout:
    """Return the layout without those closing limits of which no late bucket is left. Nothing else can fill one."""
    late = {name[0] for name in buckets if name.endswith(LATE)}
    return replace(layout, closing=tuple(one for one in layout.closing if one.slot in late))


def _read_limit(installed: InstalledLimit, sums: SlotSums, now_ms: int, held: int) -> Reading:
    window, maximum = installed.window, installed.maximum_at(now_ms)
    if isinstance(window, RollingWindow):
        start_ms, end_ms = now_ms - window.length_ms, now_ms
    else:
        start_ms, end_ms = window.bounds(now_ms)
    amounts = left_of(window, sums.amounts)
    used = _used(installed, amounts, now_ms)
    uncounted = marked_in_window(window, sums.marks, now_ms)
    is_denied = used >= maximum or (installed.denies_unpriced and uncounted > 0)
    return Reading(
        limit=installed,
        used=used,
        maximum=maximum,
        remaining=max(0, maximum - used - held),
        overage=max(0, used - maximum),
        window_start_ms=start_ms,
        window_end_ms=end_ms,
        throttled_until_ms=allows_from_ms(installed, sums, 1, now_ms) if is_denied else None,
        allowed=installed.shadow or not (is_denied or used + held >= maximum),
        frees_at_ms=_falls_below(installed, amounts, used, now_ms),
        reserved=held,
        uncounted=uncounted,
    )


def _used(installed: InstalledLimit, sums: Mapping[int, int], now_ms: int) -> int:
    window = installed.window
    if isinstance(window, CalendarWindow):
        return sums.get(window.bounds(now_ms)[0] // QUARTER_MS, 0)
    current, elapsed_ms = divmod(now_ms, window.sub_ms)
    oldest = current - SUB_BUCKETS
    whole = sum(amount for number, amount in sums.items() if number > oldest)
    fading = sums.get(oldest, 0)
    if not installed.hard:
        fading = -(-fading * (window.sub_ms - elapsed_ms) // window.sub_ms)
    return whole + fading


def _falls_below(installed: InstalledLimit, sums: Mapping[int, int], amount: int, now_ms: int) -> int | None:
    if amount < 1:
        return None
    if _used(installed, sums, now_ms) < amount:
        return now_ms
    window = installed.window
    if isinstance(window, CalendarWindow):
        end_ms = window.bounds(now_ms)[1]
        while sums.get(end_ms // QUARTER_MS, 0) >= amount:  # Recorded ahead of time, by a clock ahead of ours.
            end_ms = window.bounds(end_ms)[1]
        return end_ms
    sub_ms = window.sub_ms
    counted = sorted(number for number in sums if number >= now_ms // sub_ms - SUB_BUCKETS)
    later = sum(sums[number] for number in counted)
    for number in counted:
        later -= sums[number]
        if later < amount:
            break
    # The leaving of bucket ``number`` makes room: it counts whole until ``fades_ms`` and is gone a sub-bucket later.
    fades_ms = (number + SUB_BUCKETS) * sub_ms
    if installed.hard:
        return fades_ms + sub_ms
    # With ``left`` ms of it inside: ceil(bucket * left / sub) <= tolerated  <=>  left <= tolerated * sub // bucket.
    tolerated = amount - 1 - later
    return fades_ms + sub_ms - tolerated * sub_ms // sums[number]


def _has_room_from(
    installed: InstalledLimit, sums: Mapping[int, int], need: int, now_ms: int, ahead_ms: int = 0
) -> int | None:
    base, boosts = installed.maximum, installed.boosts
    while True:
        fits = least_maximum(base, boosts, now_ms, now_ms + ahead_ms) - need + 1
        found_ms = _falls_below(installed, sums, fits, now_ms)
        changes_ms = next_boundary_ms(boosts, now_ms, ahead_ms)
        if changes_ms is None or (found_ms is not None and found_ms < changes_ms):
            return found_ms
        now_ms = changes_ms


def _is_stale(number: int, window: RollingWindow, now_ms: int) -> bool:
    return number < now_ms // window.sub_ms - SUB_BUCKETS - 1


def _calendar_bounds(window: CalendarWindow, number: int) -> tuple[int, int]:
    return window.bounds((number + 1) * QUARTER_MS - 1)
