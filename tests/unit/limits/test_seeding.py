"""Seeding: where quarter-hour rows go."""

from datetime import UTC, datetime

import pytest

from bedrock_meter.limits.gauge import Gauge, bucket_name, read, read_buckets
from bedrock_meter.limits.limit import NO_LIMITS, InstalledLimit, Layout, Limit, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.seeding import first_quarter_ms, mark_unseeded, seed
from bedrock_meter.limits.windows import QUARTER_MS, CalendarWindow, RollingWindow, Window

MINUTE_MS = 60_000
HOUR, THREE_HOURS = RollingWindow(3_600), RollingWindow(10_800)
DAY = CalendarWindow("day", "Asia/Kathmandu")


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = utc_ms("2026-07-24T12:00")


def installed(window: Window) -> InstalledLimit:
    return InstalledLimit(Limit("limit", Meter.REQUESTS, window, 100, hard=True), "0", 1)


def minutes(count: float) -> int:
    return NOON + round(count * MINUTE_MS)


# window, now, first quarter-hour that matters
FIRST: list[tuple[Window, int, int | None]] = [
    (RollingWindow(840), minutes(0), None),
    (RollingWindow(900), minutes(0), minutes(-15)),
    (RollingWindow(900), minutes(1.2), minutes(-15)),
    (HOUR, minutes(0), minutes(-60)),
    (HOUR, minutes(14), minutes(-60)),
    (HOUR, minutes(15), minutes(-45)),
    (HOUR, minutes(4), minutes(-60)),
    (HOUR, minutes(-1), minutes(-75)),
    (THREE_HOURS, minutes(14), minutes(-180)),
    (DAY, minutes(0), utc_ms("2026-07-23T18:15")),
]


@pytest.mark.parametrize(("window", "now_ms", "first_ms"), FIRST)
def test_the_first_quarter_hour_that_matters(window: Window, now_ms: int, first_ms: int | None) -> None:
    assert first_quarter_ms(window, now_ms) == first_ms


# rows by minute of their start, and the minute of the bucket that each goes to; now is minute 20
HOUR_ROWS: list[tuple[int, float | None]] = [
    (-60, None),
    (-45, -31),
    (-30, -16),
    (0, 14),
    (15, 25),  # the running quarter-hour: a call may be dated five minutes ahead
    (30, 35),  # recorded by a clock ahead of ours
]


@pytest.mark.parametrize(("row", "bucket"), HOUR_ROWS)
def test_a_row_goes_to_the_bucket_of_its_last_instant(row: int, bucket: float | None) -> None:
    expected = {} if bucket is None else {bucket_name("0", HOUR, minutes(bucket)): 7}
    assert seed(HOUR, installed(HOUR), [(minutes(row), 7)], minutes(20)) == expected


def test_rows_of_one_bucket_add_up() -> None:
    rows = [(minutes(0), 7), (minutes(-15), 1), (minutes(0), 5), (minutes(-30), 0)]
    assert seed(HOUR, installed(HOUR), rows, minutes(20)) == {
        bucket_name("0", HOUR, minutes(14)): 12,
        bucket_name("0", HOUR, minutes(-1)): 1,
    }


@pytest.mark.parametrize(("minute", "ahead_s"), [(1, 290), (13, 290), (0, 300), (14, 0)])
def test_a_call_that_is_dated_ahead_stays_as_long_as_in_the_exact_window(minute: int, ahead_s: int) -> None:
    window = RollingWindow(900)
    one = InstalledLimit(Limit("a", Meter.REQUESTS, window, 1, hard=True), "0", 1)
    event_ms = minutes(minute) + ahead_s * 1_000
    buckets = seed(window, one, [(event_ms // QUARTER_MS * QUARTER_MS, 1)], minutes(minute))
    (reading,) = read_buckets(Layout(1, (one,)), buckets, minutes(minute))
    assert reading.throttled_until_ms is not None
    assert 0 <= reading.throttled_until_ms - (event_ms + window.length_ms) <= QUARTER_MS + window.sub_ms


def test_a_calendar_window_is_seeded_exactly() -> None:
    start_ms, end_ms = DAY.bounds(NOON)
    rows = [
        (start_ms - QUARTER_MS, 1_000),
        (start_ms, 1),
        (NOON, 2),
        (end_ms - QUARTER_MS, 4),
    ]
    assert seed(DAY, installed(DAY), rows, NOON) == {bucket_name("0", DAY, start_ms): 7}


def test_what_was_recorded_ahead_of_a_calendar_window_waits_for_it() -> None:
    end_ms = DAY.bounds(NOON)[1]
    rows = [(end_ms - QUARTER_MS, 4), (end_ms, 8)]
    assert seed(DAY, installed(DAY), rows, end_ms - 1) == {
        bucket_name("0", DAY, end_ms - 1): 4,
        bucket_name("0", DAY, end_ms): 8,
    }


def test_a_window_shorter_than_a_quarter_hour_is_not_seeded() -> None:
    short = RollingWindow(840)
    assert seed(short, installed(short), [(minutes(0), 7)], minutes(1)) == {}


def test_a_new_limit_says_whether_it_counts_from_now() -> None:
    kept = Limit("kept", Meter.REQUESTS, RollingWindow(120), 5)
    current = plan_change(NO_LIMITS, [kept]).next
    wanted = [Limit("short", Meter.REQUESTS, RollingWindow(840), 5), kept, Limit("long", Meter.REQUESTS, HOUR, 5)]
    change = plan_change(current, wanted)
    marked = mark_unseeded(change, NOON)
    assert [(one.name, one.since_ms) for one in marked.next.limits] == [("short", NOON), ("kept", None), ("long", None)]
    assert [(one.name, one.since_ms) for one in marked.seeded] == [("short", NOON), ("long", None)]
    assert (marked.kept, marked.dropped_slots, marked.next.version) == (change.kept, change.dropped_slots, 2)
    assert mark_unseeded(marked, NOON) == marked


def test_a_seeded_limit_reads_like_one_that_was_there() -> None:
    limit = installed(THREE_HOURS)
    rows = [(minutes(quarter * 15), quarter + 100) for quarter in range(-20, 1)]
    buckets = seed(THREE_HOURS, limit, rows, minutes(7))
    (reading,) = read(Gauge("acme", 1, Layout(1, (limit,)), buckets), minutes(7))
    assert reading.used == sum(amount for start_ms, amount in rows if start_ms >= minutes(-180))
