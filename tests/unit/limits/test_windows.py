"""Windows: how people write them, and where calendar windows begin and end."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window, parse_window

BERLIN = "Europe/Berlin"


def rolling(length_s: int) -> RollingWindow:
    return RollingWindow(length_s)


def day(timezone: str = BERLIN) -> CalendarWindow:
    return CalendarWindow("day", timezone)


def week(anchor: int = 1) -> CalendarWindow:
    return CalendarWindow("week", BERLIN, anchor)


def month(anchor: int = 1) -> CalendarWindow:
    return CalendarWindow("month", BERLIN, anchor)


SPELLINGS: list[tuple[object, Window, str]] = [
    ("1m", rolling(60), "1m"),
    ("60s", rolling(60), "1m"),
    ("60", rolling(60), "1m"),
    (60, rolling(60), "1m"),
    ("1min", rolling(60), "1m"),
    ("1 minute", rolling(60), "1m"),
    ("minute", rolling(60), "1m"),
    (" 5 Minutes ", rolling(300), "5m"),
    ("90m", rolling(5_400), "90m"),
    ("60m", rolling(3_600), "1h"),
    ("1h", rolling(3_600), "1h"),
    ("hour", rolling(3_600), "1h"),
    ("hourly", rolling(3_600), "1h"),
    ("PT1H", rolling(3_600), "1h"),
    ("pt1h30m", rolling(5_400), "90m"),
    ("rolling:1h", rolling(3_600), "1h"),
    ("rolling 1 hour", rolling(3_600), "1h"),
    ("rolling_60m", rolling(3_600), "1h"),
    ({"rolling": "1h"}, rolling(3_600), "1h"),
    ({"rolling": 3600}, rolling(3_600), "1h"),
    ({"rolling": "rolling:1h"}, rolling(3_600), "1h"),
    ("24h", rolling(86_400), "1d"),
    ("1d", rolling(86_400), "1d"),
    ("1 day", rolling(86_400), "1d"),
    ("rolling:day", rolling(86_400), "1d"),
    ({"rolling": "day"}, rolling(86_400), "1d"),
    ("36h", rolling(129_600), "36h"),
    ("P7D", rolling(604_800), "7d"),
    ("P1W", rolling(604_800), "7d"),
    ("1w", rolling(604_800), "7d"),
    ("31d", rolling(2_678_400), "31d"),
    ("day", day(), "day"),
    ("daily", day(), "day"),
    ("Day@1", day(), "day"),
    ("calendar:day", day(), "day"),
    ("calendar-day", day(), "day"),
    ({"calendar": "day"}, day(), "day"),
    ({"calendar": "day", "timezone": "Asia/Tokyo"}, day("Asia/Tokyo"), "day"),
    ("week", week(), "week"),
    ("weekly", week(), "week"),
    ("week@mon", week(), "week"),
    ("week@3", week(3), "week@3"),
    ("week@Wed", week(3), "week@3"),
    ("weekly @ sunday", week(7), "week@7"),
    ({"calendar": "week", "anchor": "wednesday"}, week(3), "week@3"),
    ({"calendar": "week@3"}, week(3), "week@3"),
    ("month", month(), "month"),
    ("monthly", month(), "month"),
    ("calendar_month", month(), "month"),
    ("calendar month", month(), "month"),
    ("month@15", month(15), "month@15"),
    ("calendar:month@31", month(31), "month@31"),
    ({"calendar": "month", "anchor": 15}, month(15), "month@15"),
    ({"calendar": "monthly", "anchor": "15"}, month(15), "month@15"),
]


@pytest.mark.parametrize(("spelling", "window", "canonical"), SPELLINGS)
def test_spellings(spelling: object, window: Window, canonical: str) -> None:
    parsed = parse_window(spelling, BERLIN)
    assert parsed == window
    assert str(parsed) == parsed.label == canonical


@pytest.mark.parametrize("canonical", sorted({canonical for _, _, canonical in SPELLINGS}))
def test_the_canonical_spelling_is_read_back(canonical: str) -> None:
    assert str(parse_window(canonical, BERLIN)) == canonical


REFUSED: list[tuple[object, str, str]] = [
    ("", "", "'' is not a window: for example '5m', '1h', '7d' (rolling) or 'day', 'week@mon', 'month@15' (calendar)"),
    ("fortnight", "", "'fortnight' is not a window"),
    ("m", "", "'m' is not a window"),
    ("1x", "", "'1x' is not a window"),
    ("-1h", "", "'-1h' is not a window"),
    ("1.5h", "", "'1.5h' is not a window"),
    ("p", "", "'p' is not a window"),
    ("1 month", "", "months and years have no fixed length, for example"),
    ("P1M", "", "months and years have no fixed length"),
    ("2y", "", "months and years have no fixed length"),
    ("calendar:1h", "", "the calendar has days, weeks and months, for example"),
    ("calendar:quarter", "", "the calendar has days, weeks and months"),
    ({"calendar": 3600}, "", "the calendar has days, weeks and months"),
    ({"calendar": "rolling:1h"}, "", "the calendar has days, weeks and months"),
    ({"rolling": "month"}, "", "'month' is not a window"),
    ({"rolling": "calendar:day"}, "", "'calendar:day' is not a window"),
    (None, "", "None is not a window"),
    (1.5, "", "1.5 is not a window"),
    (True, "", "True is not a window"),
    (["1h"], "", "['1h'] is not a window"),
    ("59s", "", "a rolling window of 59 seconds: it must be whole minutes, from 1 minute to 31 days"),
    ("90s", "", "a rolling window of 90 seconds"),
    ("32d", "", "a rolling window of 2764800 seconds"),
    (0, "", "a rolling window of 0 seconds"),
    ("day@2", "anchor", "2: a day has no anchor"),
    ("week@0", "anchor", "0: a week begins on day 1 (Monday) to 7 (Sunday), for example 'week@3' or 'week@wed'"),
    ("week@8", "anchor", "8: a week begins on day 1 (Monday) to 7"),
    ("week@mo", "anchor", "'mo': a week begins on day 1 (Monday) to 7"),
    ("month@32", "anchor", "32: a month begins on day 1 to 31, for example 'month@15'"),
    ("month@", "anchor", "'': a month begins on day 1 to 31"),
    ("month@first", "anchor", "'first': a month begins on day 1 to 31"),
    ({"calendar": "month", "anchor": -1}, "anchor", "-1: a month begins on day 1 to 31"),
    ({"calendar": "month", "anchor": True}, "anchor", "True: a month begins on day 1 to 31"),
    ({"calendar": "month@15", "anchor": 3}, "anchor", "the window has one already"),
    ({"calendar": "day", "timezone": 1}, "timezone", "1 is not text"),
    ({"rolling": "1h", "anchor": 3}, "", "a rolling window has neither anchor nor time zone"),
    ({"rolling": "1h", "calendar": "day"}, "", "a window is either {'rolling': '1h'} or"),
    ({}, "", "a window is either {'rolling': '1h'} or"),
    ({"every": "1h"}, "", "unknown key 'every': a window has rolling, calendar, anchor, timezone"),
]


@pytest.mark.parametrize(("spelling", "where", "problem"), REFUSED)
def test_refused_spellings_say_what_would_be_right(spelling: object, where: str, problem: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        parse_window(spelling, BERLIN)
    assert refused.value.where == where
    assert problem in refused.value.problem


UNKNOWN_ZONES = [
    ("europe/berlin", "did you mean 'Europe/Berlin'?"),
    ("Europe/Berlim", "did you mean 'Europe/Berlin'?"),
    ("Europe", "'Europe' is not an IANA time zone"),
    ("", "write one such as"),
    ("localtime", "write one such as"),
    ("right/Europe/Berlin", "did you mean 'Europe/Berlin'?"),
    ("../../etc/passwd", "write one such as"),
    ("/etc/localtime", "is not an IANA time zone"),
    ("\0", "write one such as"),
]


@pytest.mark.parametrize(("timezone", "hint"), UNKNOWN_ZONES)
def test_unknown_zones_are_refused(timezone: str, hint: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        parse_window("day", timezone)
    assert refused.value.where == "timezone"
    assert repr(timezone) in refused.value.problem
    assert hint in refused.value.problem


def test_a_rolling_window_needs_no_zone() -> None:
    assert parse_window("1h", "nowhere") == rolling(3_600)


def test_a_unit_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="'year' is not a calendar unit: use day, week or month"):
        CalendarWindow("year", "UTC")  # type: ignore[arg-type]


def test_twelve_sub_buckets_make_a_rolling_window() -> None:
    for minutes in range(1, 31 * 24 * 60 + 1):
        window = RollingWindow(minutes * 60)
        assert window.sub_ms * 12 == window.length_ms == minutes * 60_000


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# zone, window, an instant, start and end of the window that holds it; all in UTC
BOUNDS = [
    ("UTC", "day", "2026-07-24T13:00", "2026-07-24T00:00", "2026-07-25T00:00"),
    ("UTC", "day", "2026-07-24T00:00", "2026-07-24T00:00", "2026-07-25T00:00"),
    ("UTC", "day", "2026-07-23T23:59:59.999", "2026-07-23T00:00", "2026-07-24T00:00"),
    ("UTC", "week", "2026-07-24T13:00", "2026-07-20T00:00", "2026-07-27T00:00"),
    ("UTC", "week@5", "2026-07-24T13:00", "2026-07-24T00:00", "2026-07-31T00:00"),
    ("UTC", "week@6", "2026-07-24T13:00", "2026-07-18T00:00", "2026-07-25T00:00"),
    ("UTC", "week@7", "2027-01-01T00:00", "2026-12-27T00:00", "2027-01-03T00:00"),
    ("UTC", "month", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
    ("UTC", "month", "2026-01-01T00:00", "2026-01-01T00:00", "2026-02-01T00:00"),
    # The anchor day is clamped to the month's last day; windows stay gapless.
    ("UTC", "month@31", "2026-02-27T12:00", "2026-01-31T00:00", "2026-02-28T00:00"),
    ("UTC", "month@31", "2026-02-28T12:00", "2026-02-28T00:00", "2026-03-31T00:00"),
    ("UTC", "month@30", "2028-02-29T00:00", "2028-02-29T00:00", "2028-03-30T00:00"),
    ("UTC", "month@29", "2028-02-29T00:00", "2028-02-29T00:00", "2028-03-29T00:00"),
    ("UTC", "month@29", "2027-02-28T00:00", "2027-02-28T00:00", "2027-03-29T00:00"),
    ("UTC", "month@31", "2026-01-30T23:59", "2025-12-31T00:00", "2026-01-31T00:00"),
    # Days of 23 and 25 hours.
    (BERLIN, "day", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
    (BERLIN, "day", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
    (BERLIN, "month", "2026-03-01T00:00", "2026-02-28T23:00", "2026-03-31T22:00"),
    # Offsets at :30 and :45; a clock change of half an hour.
    ("Asia/Kathmandu", "day", "2026-07-24T12:00", "2026-07-23T18:15", "2026-07-24T18:15"),
    ("Australia/Lord_Howe", "day", "2026-04-05T00:00", "2026-04-04T13:00", "2026-04-05T13:30"),
    # Midnight does not exist: the day begins at 01:00, at the change.
    ("Africa/Cairo", "day", "2024-04-26T12:00", "2024-04-25T22:00", "2024-04-26T21:00"),
    ("Africa/Cairo", "day", "2024-04-25T21:59:59.999", "2024-04-24T22:00", "2024-04-25T22:00"),
    ("America/Sao_Paulo", "month@4", "2018-11-04T03:00", "2018-11-04T03:00", "2018-12-04T02:00"),
    # A gap that begins before midnight and ends after it: 23:30 became 00:30.
    ("America/Toronto", "day", "1919-03-31T04:29:59.999", "1919-03-30T05:00", "1919-03-31T04:30"),
    ("America/Toronto", "day", "1919-03-31T04:30", "1919-03-31T04:30", "1919-04-01T04:00"),
    # Midnight happens twice: the first one counts, the repeated minutes of the evening belong to the new day.
    ("America/Havana", "day", "2026-11-01T04:30", "2026-11-01T04:00", "2026-11-02T05:00"),
    ("America/St_Johns", "day", "2010-11-07T02:29:59.999", "2010-11-06T02:30", "2010-11-07T02:30"),
    ("America/St_Johns", "day", "2010-11-07T03:00", "2010-11-07T02:30", "2010-11-08T03:30"),
    # The clock went back from midnight to 23:00: that day has 25 hours.
    ("America/Asuncion", "day", "2024-03-24T03:30", "2024-03-23T03:00", "2024-03-24T04:00"),
    # Samoa skipped 30 December 2011; the day does not exist, its month window begins on the 31st.
    ("Pacific/Apia", "day", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
    ("Pacific/Apia", "day", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
    ("Pacific/Apia", "month@30", "2011-12-30T10:00", "2011-12-30T10:00", "2012-01-29T10:00"),
]


@pytest.mark.parametrize(("timezone", "spelling", "at", "start", "end"), BOUNDS)
def test_calendar_bounds(timezone: str, spelling: str, at: str, start: str, end: str) -> None:
    window = parse_window(spelling, timezone)
    assert isinstance(window, CalendarWindow)
    assert window.bounds(utc_ms(at)) == (utc_ms(start), utc_ms(end))


def test_bounds_are_local_midnights() -> None:
    start_ms, end_ms = month(15).bounds(utc_ms("2026-04-01T00:00"))
    shown = [str(datetime.fromtimestamp(at_ms / 1000, ZoneInfo(BERLIN))) for at_ms in (start_ms, end_ms)]
    assert shown == ["2026-03-15 00:00:00+01:00", "2026-04-15 00:00:00+02:00"]
