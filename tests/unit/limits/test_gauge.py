"""The gauge: names of buckets, and what buckets say at an instant.

Rolling cases use a window of 12 minutes, whose sub-buckets last one minute, and write instants in minutes.
"""

from datetime import UTC, datetime

import pytest

from bedrock_meter.limits.gauge import (
    CLOSING_GRACE_MS,
    Gauge,
    Lease,
    bucket_for,
    bucket_name,
    falls_below_ms,
    late_buckets,
    read,
    read_buckets,
    stale_buckets,
)
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit, encode_layout
from bedrock_meter.limits.marks import UNCOUNTED, left_of
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window

MINUTE_MS = 60_000
TWELVE = RollingWindow(720)
DAY = CalendarWindow("day", "Europe/Berlin")
MONTH = CalendarWindow("month", "Europe/Berlin")


def at(minutes: float) -> int:
    return round((29_000_000 + minutes) * MINUTE_MS)


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def limit(window: Window = TWELVE, maximum: int = 100, *, hard: bool = False, slot: str = "0") -> InstalledLimit:
    return InstalledLimit(Limit(f"limit-{slot}", Meter.REQUESTS, window, maximum, hard), slot, 1)


def used_at(installed: InstalledLimit, minutes: dict[float, int]) -> dict[str, int]:
    """Buckets after using so much in these minutes."""
    return {bucket_name(installed.slot, installed.window, at(minute)): amount for minute, amount in minutes.items()}


def gauge(installed: InstalledLimit, buckets: dict[str, int]) -> Gauge:
    return Gauge("acme", 1, Layout(1, (installed,)), buckets)


NAMES = [
    ("0", RollingWindow(60), 0, "00"),
    ("A", RollingWindow(60), 4_999, "A0"),
    ("A", RollingWindow(60), 5_000, "A1"),
    ("A", RollingWindow(60), 35 * 5_000, "AZ"),
    ("A", RollingWindow(60), 36 * 5_000, "A10"),
    ("Z", RollingWindow(3_600), 300_000 * 36**4 - 1, "ZZZZZ"),
    ("1", CalendarWindow("day", "UTC"), 86_400_000, "12O"),  # 96 quarter-hours
    ("1", CalendarWindow("day", "UTC"), 86_399_999, "10"),
    ("1", CalendarWindow("month", "UTC"), utc_ms("1970-02-11T00:00"), "12AO"),  # 2976 quarter-hours
]


@pytest.mark.parametrize(("slot", "window", "event_ms", "name"), NAMES)
def test_bucket_names(slot: str, window: Window, event_ms: int, name: str) -> None:
    assert bucket_name(slot, window, event_ms) == name


def test_there_are_no_buckets_before_1970() -> None:
    with pytest.raises(ValueError, match="1970"):
        bucket_name("0", TWELVE, -1)


# used in these minutes, read at this minute: used by a soft limit, by a hard limit
USED: list[tuple[dict[float, int], float, int, int]] = [
    ({}, 0, 0, 0),
    ({0: 10}, 0, 10, 10),
    ({0: 10}, 11.99, 10, 10),
    ({0: 10}, 12, 10, 10),
    ({0: 10}, 12.1, 9, 10),
    ({0: 10}, 12.11, 9, 10),  # 8.9, rounded up
    ({0: 10}, 12.5, 5, 10),
    ({0: 10}, 12.95, 1, 10),
    ({0: 10}, 12 + 59_999 / 60_000, 1, 10),
    ({0: 10}, 13, 0, 0),
    ({0: 10, 1: 7}, 12.5, 12, 17),
    ({0: 10, 1: 7}, 13, 7, 7),
    ({0: 10, 1: 7}, 13.5, 4, 7),
    ({0: 10, 12: 7}, 12.5, 12, 17),
    ({-5: 99, 3: 1}, 12, 1, 1),
    ({17: 4}, 12, 4, 4),  # recorded by a clock five minutes ahead
    ({0: MAX_AMOUNT}, 12.5, (MAX_AMOUNT + 1) // 2, MAX_AMOUNT),
]


@pytest.mark.parametrize(("minutes", "now", "soft", "hard"), USED)
def test_used_in_a_rolling_window(minutes: dict[float, int], now: float, soft: int, hard: int) -> None:
    for installed, expected in ((limit(), soft), (limit(hard=True), hard)):
        (reading,) = read(gauge(installed, used_at(installed, minutes)), at(now))
        assert reading.used == expected
        assert (reading.window_start_ms, reading.window_end_ms) == (at(now) - 720_000, at(now))


# used in these minutes, read at minute 11, below which amount: the minute for a soft limit, for a hard limit
FALLS: list[tuple[dict[float, int], int, float | None, float | None]] = [
    ({}, 1, 11, 11),
    ({0: 10}, 11, 11, 11),
    ({0: 10}, 10, 12 + 6_000 / 60_000, 13),  # 9 are left when a tenth of the minute has passed
    ({0: 10}, 5, 12.6, 13),
    ({0: 10}, 1, 13, 13),
    ({0: 10}, 0, None, None),
    ({0: 3}, 3, 12 + 20_000 / 60_000, 13),
    ({0: 7}, 7, 12 + 8_572 / 60_000, 13),  # 7 * left / 60,000 <= 6 first when left is 51,428
    ({0: 10, 5: 5}, 15, 12.1, 13),
    ({0: 10, 5: 5}, 6, 13, 13),
    ({0: 10, 5: 5}, 5, 17.2, 18),
    ({0: 10, 5: 5}, 1, 18, 18),
    ({-2: 9, 0: 10}, 15, 11, 11),
    ({11: 10, 14: 10}, 10, 26.1, 27),
    ({0: MAX_AMOUNT}, MAX_AMOUNT, 12 + 1 / 60_000, 13),
]


@pytest.mark.parametrize(("minutes", "amount", "soft", "hard"), FALLS)
def test_when_a_rolling_window_falls_below(
    minutes: dict[float, int], amount: int, soft: float | None, hard: float | None
) -> None:
    for installed, expected in ((limit(), soft), (limit(hard=True), hard)):
        falls_ms = falls_below_ms(installed, used_at(installed, minutes), amount, at(11))
        assert falls_ms == (None if expected is None else at(expected))


def test_a_reading_below_the_maximum() -> None:
    installed = limit(maximum=100)
    (reading,) = read(gauge(installed, used_at(installed, {0: 60, 3: 39})), at(5))
    assert reading.limit is installed
    assert (reading.used, reading.remaining, reading.overage, reading.allowed) == (99, 1, 0, True)
    assert reading.throttled_until_ms is None
    assert reading.frees_at_ms == at(12) + 1_000  # 60 fade over a minute: one a second


def test_a_reading_at_the_maximum() -> None:
    installed = limit(maximum=100)
    (reading,) = read(gauge(installed, used_at(installed, {0: 60, 3: 40})), at(5))
    assert (reading.used, reading.remaining, reading.overage, reading.allowed) == (100, 0, 0, False)
    assert reading.throttled_until_ms == reading.frees_at_ms == at(12) + 1_000


def test_a_reading_above_the_maximum() -> None:
    installed = limit(maximum=100, hard=True)
    (reading,) = read(gauge(installed, used_at(installed, {0: 60, 3: 140})), at(5))
    assert (reading.used, reading.remaining, reading.overage, reading.allowed) == (200, 0, 100, False)
    assert reading.throttled_until_ms == at(16)
    assert reading.frees_at_ms == at(13)


def test_an_unused_limit_has_nothing_to_free() -> None:
    (reading,) = read(gauge(limit(), {}), at(5))
    assert (reading.used, reading.remaining, reading.allowed, reading.frees_at_ms) == (0, 100, True, None)


@pytest.mark.parametrize("window", [TWELVE, DAY])
def test_a_maximum_of_nothing_never_allows(window: Window) -> None:
    installed = limit(window, maximum=0)
    for buckets in ({}, used_at(installed, {0: 5})):
        (reading,) = read(gauge(installed, buckets), at(5))
        assert (reading.remaining, reading.allowed, reading.throttled_until_ms) == (0, False, None)
        assert reading.overage == reading.used == sum(buckets.values())


def test_a_calendar_reading() -> None:
    installed = limit(DAY, maximum=100)
    start_ms, end_ms = utc_ms("2026-10-24T22:00"), utc_ms("2026-10-25T23:00")
    buckets = {bucket_name("0", DAY, start_ms): 150, bucket_name("0", DAY, start_ms - 1): 7}
    for now_ms in (start_ms, end_ms - 1):
        (reading,) = read(gauge(installed, buckets), now_ms)
        assert (reading.used, reading.overage, reading.allowed) == (150, 50, False)
        assert (reading.window_start_ms, reading.window_end_ms) == (start_ms, end_ms)
        assert reading.throttled_until_ms == reading.frees_at_ms == end_ms
    (reading,) = read(gauge(installed, buckets), end_ms)
    assert (reading.used, reading.allowed, reading.throttled_until_ms) == (0, True, None)


def test_a_calendar_limit_whose_next_window_is_full_already() -> None:
    installed = limit(DAY, maximum=100)
    first, second = utc_ms("2026-07-23T22:00"), utc_ms("2026-07-24T22:00")
    buckets = {bucket_name("0", DAY, first): 100, bucket_name("0", DAY, second): 100}
    (reading,) = read(gauge(installed, buckets), first)
    assert reading.throttled_until_ms == utc_ms("2026-07-25T22:00")


def test_limits_do_not_see_each_others_buckets() -> None:
    layout = Layout(1, (limit(slot="0"), limit(slot="1"), limit(DAY, slot="Z")))
    buckets = {}
    for amount, installed in enumerate(layout.limits, 1):
        buckets[bucket_name(installed.slot, installed.window, at(0))] = amount
    buckets[bucket_name("7", TWELVE, at(0))] = 1_000
    assert [reading.used for reading in read(Gauge("acme", 1, layout, buckets), at(0))] == [1, 2, 3]


@pytest.mark.parametrize("window", [TWELVE, DAY])
def test_a_bucket_that_an_adjustment_left_below_nothing_frees_nothing(window: Window) -> None:
    installed = limit(window)
    (reading,) = read(gauge(installed, used_at(installed, {0: -5})), at(1))
    assert (reading.used, reading.remaining, reading.frees_at_ms) == (0, 100, None)


# an event of minute 0, recorded at this minute
RECORDED = [(-5, True), (0, True), (12.99, True), (13, True), (13.99, True), (14, False), (99, False)]


@pytest.mark.parametrize(("now", "counts"), RECORDED)
def test_a_rolling_bucket_is_named_until_a_sub_bucket_after_it_left(now: float, counts: bool) -> None:
    name = bucket_name("0", TWELVE, at(0.5))
    assert bucket_for(limit(), at(0.5), at(now)) == (name if counts else None)
    assert stale_buckets(Layout(1, (limit(),)), {name: 1}, at(now)) == (() if counts else (name,))


DAY_END_MS = utc_ms("2026-07-24T22:00")


@pytest.mark.parametrize(
    ("now_ms", "late"),
    [
        (DAY_END_MS - 1, False),
        (DAY_END_MS, False),
        (DAY_END_MS + CLOSING_GRACE_MS - 1, False),
        (DAY_END_MS + CLOSING_GRACE_MS, True),
        (DAY_END_MS + 399 * 86_400_000, True),
    ],
)
def test_an_hour_after_its_window_a_record_is_late(now_ms: int, late: bool) -> None:
    name = bucket_name("0", DAY, DAY_END_MS - 1)
    assert bucket_for(limit(DAY), DAY_END_MS - 1, now_ms) == (name + "+" if late else name)


def test_a_calendar_bucket_is_stale_after_the_grace_and_a_late_one_never() -> None:
    layout = Layout(1, (limit(DAY),))
    name = bucket_name("0", DAY, DAY_END_MS - 1)
    grace_ends_ms = DAY_END_MS + CLOSING_GRACE_MS
    assert stale_buckets(layout, {name: 1, name + "+": 1}, grace_ends_ms) == ()
    assert stale_buckets(layout, {name: 1, name + "+": 1}, grace_ends_ms + 1) == (name,)
    assert stale_buckets(layout, {name: 1, name + "+": 1}, grace_ends_ms + 400 * 86_400_000) == (name,)


def test_buckets_of_slots_that_no_limit_has_are_stale() -> None:
    assert stale_buckets(Layout(1, (limit(),)), dict.fromkeys(("1ABC", "1ABC+", "ZABC"), 1), at(0)) == (
        "1ABC",
        "1ABC+",
        "ZABC",
    )


def test_late_buckets_are_listed_and_count_nowhere() -> None:
    days, months = limit(DAY, slot="0"), limit(MONTH, slot="1")
    layout = Layout(1, (days, months, limit(slot="2")))
    long_ago, yesterday, now_ms = utc_ms("2026-03-29T12:00"), utc_ms("2026-07-23T12:00"), utc_ms("2026-07-24T12:00")
    late_day, late_month = bucket_for(days, long_ago, now_ms), bucket_for(months, long_ago, now_ms)
    later_day = bucket_for(days, yesterday, now_ms)
    assert late_day is not None
    assert later_day is not None
    assert late_month is not None
    buckets = {later_day: 2, late_day: 3, late_month: 4, bucket_name("1", MONTH, now_ms): 5, "7ABC+": 6}
    assert late_buckets(layout, buckets) == [
        (days, late_day, utc_ms("2026-03-28T23:00"), 3),
        (days, later_day, utc_ms("2026-07-22T22:00"), 2),
        (months, late_month, utc_ms("2026-02-28T23:00"), 4),
    ]
    assert [reading.used for reading in read(Gauge("acme", 1, layout, buckets), now_ms)] == [0, 5, 0]
    (first, *_) = late_buckets(layout, buckets)
    assert (first.installed, first.name, first.amount) == (days, late_day, 3)


def test_a_late_bucket_of_the_running_window_does_not_count() -> None:
    # Another machine's clock was an hour ahead; nothing can be both running and closed.
    installed = limit(DAY)
    name = bucket_name("0", DAY, DAY_END_MS - 1)
    (reading,) = read(gauge(installed, {name: 3, name + "+": 4}), DAY_END_MS - 1)
    assert reading.used == 3


def test_a_lease_is_held_until_it_expires() -> None:
    lease = Lease("a1b2", expires_ms=1_000)
    assert [lease.is_held(now_ms) for now_ms in (0, 999, 1_000, 1_001)] == [True, True, False, False]


def test_a_full_gauge_of_three_limits_stays_under_a_kilobyte() -> None:
    # DynamoDB counts the bytes of each name, and for a number one byte per two digits and one more.
    limits = tuple(
        InstalledLimit(Limit(slot * 32, Meter.TOTAL_TOKENS, RollingWindow(60), MAX_AMOUNT, hard=True), slot, 9_999)
        for slot in "ABC"
    )
    layout = Layout(9_999, limits)
    buckets = [bucket_name(one.slot, one.window, at(0) - number * 5_000) for one in limits for number in range(13)]
    assert stale_buckets(layout, dict.fromkeys(buckets, 1), at(0)) == ()
    assert len(encode_layout(layout)) + sum(len(name) + 10 for name in buckets) <= 920


@pytest.mark.parametrize("hard", [True, False])
def test_a_mark_counts_as_long_as_its_bucket_may_lie_in_the_window(hard: bool) -> None:
    installed = InstalledLimit(Limit("cost", Meter.COST_USD, RollingWindow(720), 100, hard), "0", 1)
    marked = Layout(1, (installed,))
    bucket = bucket_name("0", installed.window, at(0))
    buckets = {bucket: 40, bucket + UNCOUNTED: 2}

    def reading(minutes: float) -> tuple[int, int]:
        (one,) = read_buckets(marked, buckets, at(minutes))
        return one.used, one.uncounted

    assert reading(0) == (40, 2)
    assert reading(12.5) == (40 if hard else 20, 2), "the oldest sub-bucket is partly inside"
    assert reading(13) == (0, 0)
    assert stale_buckets(marked, buckets, at(13.5)) == ()
    assert stale_buckets(marked, buckets, at(14)) == (bucket, bucket + UNCOUNTED)


def test_a_calendar_window_shows_its_own_marks_alone() -> None:
    installed = InstalledLimit(Limit("cost", Meter.COST_USD, DAY, 100), "0", 1)
    bucket = bucket_name("0", DAY, DAY_END_MS - 1)
    layout = Layout(1, (installed,))
    buckets = {bucket + UNCOUNTED: 3}
    assert [one.uncounted for one in read_buckets(layout, buckets, DAY_END_MS - 1)] == [3]
    assert [one.uncounted for one in read_buckets(layout, buckets, DAY_END_MS)] == [0]
    assert late_buckets(layout, buckets) == []


def test_a_mark_that_was_taken_back_says_nothing() -> None:
    installed = InstalledLimit(Limit("cost", Meter.COST_USD, DAY, 100), "0", 1)
    bucket = bucket_name("0", DAY, DAY_END_MS - 1)
    (one,) = read_buckets(Layout(1, (installed,)), {bucket: 5, bucket + UNCOUNTED: 0}, DAY_END_MS - 1)
    assert (one.used, one.is_complete) == (5, True)


@pytest.mark.parametrize("hard", [True, False])
def test_what_is_rated_anew_is_taken_from_where_seeding_had_put_it(hard: bool) -> None:
    """A call that was seeded with 10 at the end of its quarter-hour is rated anew to 3: at its own instant."""
    installed = InstalledLimit(Limit("cost", Meter.COST_USD, RollingWindow(3_600), 100, hard), "0", 1)
    layout = Layout(1, (installed,))
    call_ms, seeded_ms = at(-4), at(9)
    buckets = {bucket_name("0", installed.window, call_ms): -7, bucket_name("0", installed.window, seeded_ms): 10}
    for minutes in (11, 58, 62):
        (reading,) = read_buckets(layout, buckets, at(minutes))
        stale = stale_buckets(layout, buckets, at(minutes))
        kept = {name: amount for name, amount in buckets.items() if name not in stale}
        assert read_buckets(layout, kept, at(minutes)) == (reading,)
        assert reading.used == 3, "also when the call's own bucket has left the window, and the seed's has not"
    (gone,) = read_buckets(layout, buckets, at(75))
    assert gone.used == 0


def test_in_which_order_buckets_are_read_decides_nothing() -> None:
    """What a quarter-hour owes is paid within it, the first buckets first."""
    window = RollingWindow(3_600)
    first = at(-5) // window.sub_ms
    counts = {first: -5, first + 1: 5, first + 2: 5, first - 1: -5, first - 2: 5}
    orders = [dict(counts.items()), dict(reversed(counts.items())), dict(sorted(counts.items()))]
    assert [left_of(window, one) for one in orders] == [{first - 2: 5, first + 2: 5}] * 3
