"""Calendar windows partition time: in every zone, over clock changes, month ends and leap days.

The oracle is the local clock itself: a window begins at the first instant at which the clock shows its first day or
later.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.windows import (
    LONGEST_S,
    QUARTER_MS,
    CalendarWindow,
    RollingWindow,
    Window,
    parse_window,
)

ZONES = sorted(available_timezones() - {"localtime"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def utc_ms(year: int, month: int = 1, day: int = 1) -> int:
    return (datetime(year, month, day, tzinfo=UTC) - EPOCH) // MILLISECOND


def clock(window: CalendarWindow, at_ms: int) -> datetime:
    """What the clock on the wall shows."""
    return (EPOCH + at_ms * MILLISECOND).astimezone(ZoneInfo(window.timezone)).replace(tzinfo=None)


def is_first_day(window: CalendarWindow, day: date) -> bool:
    if window.unit == "day":
        return True
    if window.unit == "week":
        return day.isoweekday() == window.anchor
    is_last_of_month = (day + timedelta(days=1)).month != day.month
    return day.day == window.anchor or (is_last_of_month and day.day < window.anchor)


def first_day(window: CalendarWindow, day: date) -> date:
    """The last first day that is not after ``day``."""
    while not is_first_day(window, day):
        day -= timedelta(days=1)
    return day


instants = st.integers(utc_ms(1980), utc_ms(2099))
windows = st.one_of(
    st.builds(CalendarWindow, st.just("day"), st.sampled_from(ZONES)),
    st.builds(CalendarWindow, st.just("week"), st.sampled_from(ZONES), st.integers(1, 7)),
    st.builds(CalendarWindow, st.just("month"), st.sampled_from(ZONES), st.integers(1, 31)),
    st.builds(CalendarWindow, st.just("month"), st.sampled_from(ZONES), st.integers(28, 31)),
)


@settings(max_examples=400)
@given(windows, instants, st.integers(0, 2**40))
@example(CalendarWindow("day", "Pacific/Apia"), utc_ms(2011, 12, 30), 0)
@example(CalendarWindow("month", "Pacific/Apia", 30), utc_ms(2011, 12, 30), 86_400_000)
@example(CalendarWindow("day", "America/St_Johns"), utc_ms(2010, 11, 7), 12_600_000)
@example(CalendarWindow("month", "UTC", 29), utc_ms(2100, 2, 28), 0)
@example(CalendarWindow("month", "UTC", 31), utc_ms(2096, 2, 29), 0)
def test_windows_partition_time_at_local_midnights(window: CalendarWindow, at_ms: int, later_ms: int) -> None:
    start_ms, end_ms = window.bounds(at_ms)
    assert start_ms <= at_ms < end_ms
    inside_ms = start_ms + later_ms % (end_ms - start_ms)
    for same_ms in (start_ms, inside_ms, end_ms - 1):
        assert window.bounds(same_ms) == (start_ms, end_ms)
    assert window.bounds(end_ms)[0] == end_ms
    assert window.bounds(start_ms - 1)[1] == start_ms
    # The clock reaches the window's first day at the start, not before, and the next window's not before the end.
    first = first_day(window, clock(window, start_ms).date())
    midnight = datetime(first.year, first.month, first.day)  # noqa: DTZ001 - what a wall clock shows has no zone
    assert clock(window, start_ms - 1) < midnight <= clock(window, start_ms)
    for shown_ms in (inside_ms, end_ms - 1):
        assert first_day(window, clock(window, shown_ms).date()) <= first


@given(windows, instants)
def test_a_bucket_is_named_by_its_window(window: CalendarWindow, at_ms: int) -> None:
    start_ms, end_ms = window.bounds(at_ms)
    assert start_ms % QUARTER_MS == 0
    name = bucket_name("0", window, at_ms)
    assert name == bucket_name("0", window, start_ms) == bucket_name("0", window, end_ms - 1)
    assert int(name[1:], 36) * QUARTER_MS == start_ms
    assert bucket_name("0", window, end_ms) != name


SKIPPED_A_DATE = {2011: ["Pacific/Apia", "Pacific/Fakaofo"], 2027: []}


@pytest.mark.parametrize("year", [2011, 2027])
def test_the_days_of_a_year_follow_each_other_in_every_zone(year: int) -> None:
    # 2011: Samoa skips a date, Newfoundland changes at one past midnight, Egypt and Russia stop changing.
    skipped = []
    for zone in ZONES:
        window = CalendarWindow("day", zone)
        day_ms = window.bounds(utc_ms(year))[1]
        while day_ms < utc_ms(year + 1):
            start_ms, end_ms = window.bounds(day_ms)
            assert start_ms == day_ms, zone
            hours = 3 if zone.startswith("Antarctica/") else 1  # Stations change by as much as three hours.
            assert abs(end_ms - start_ms - 86_400_000) <= hours * 3_600_000, zone
            assert start_ms % QUARTER_MS == 0, zone
            days = clock(window, start_ms).date() - clock(window, start_ms - 1).date()
            if days != timedelta(days=1):
                skipped.append(zone)
            day_ms = end_ms
    assert skipped == SKIPPED_A_DATE[year]


lengths = st.integers(1, LONGEST_S // 60).map(lambda minutes: minutes * 60)


@given(st.one_of(windows, st.builds(RollingWindow, lengths)))
def test_the_canonical_spelling_is_read_back(window: Window) -> None:
    zone = window.timezone if isinstance(window, CalendarWindow) else "UTC"
    assert parse_window(str(window), zone) == window


@given(lengths)
def test_lengths_in_seconds_minutes_and_iso_agree(length_s: int) -> None:
    window = RollingWindow(length_s)
    spellings = (f"{length_s}s", f"{length_s // 60} min", f"PT{length_s}S", f"rolling:{length_s // 60}m", length_s)
    assert {parse_window(spelling, "UTC") for spelling in spellings} == {window}
