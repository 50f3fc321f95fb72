"""The spellings of a time."""

import time
from collections.abc import Iterator

import pytest

from bedrock_meter.invocations.timestamps import parse_timestamp
from tests.unit.invocations.messages import EVENT_MS


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-24T01:02:03Z",
        "2026-11-24T01:02:03z",
        "2026-11-24t01:02:03Z",
        "2026-11-24 01:02:03Z",
        "2026-11-24T01:02:03",
        "2026-11-24T01:02:03+00:00",
        "2026-11-24T01:02:03-00:00",
        "2026-11-24T01:02:03+0000",
        "2026-11-24T01:02:03+00",
        "2026-11-24T02:02:03+01:00",
        "2026-11-24T06:32:03+05:30",
        "2026-11-23T20:02:03-0500",
        "2026-11-24T01:02:03.0Z",
        "2026-11-24T01:02:03.000000000Z",
        "2026-11-24T01:02:03.000999999Z",
        "2026-11-24T01:02:03,000Z",
        "20261124T010203Z",
        EVENT_MS,
        EVENT_MS // 1000,
        float(EVENT_MS),
        EVENT_MS / 1000,
    ],
)
def test_one_instant_in_many_spellings(value: object) -> None:
    assert parse_timestamp(value) == EVENT_MS


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in Japan."""
    with monkeypatch.context() as context:
        context.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_no_zone_means_utc_wherever_the_machine_stands() -> None:
    assert parse_timestamp("2026-11-24T01:02:03") == EVENT_MS


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("2026-11-24T01:02:03.1Z", 100),
        ("2026-11-24T01:02:03.12Z", 120),
        ("2026-11-24T01:02:03.123Z", 123),
        ("2026-11-24T01:02:03.1239Z", 123),
        ("2026-11-24T01:02:03.123456789Z", 123),
        ("2026-11-24T01:02:03.999999Z", 999),
        ((EVENT_MS + 250) / 1000, 250),
    ],
)
def test_fractions_are_cut_off_to_milliseconds(value: object, milliseconds: int) -> None:
    assert parse_timestamp(value) == EVENT_MS + milliseconds


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0, 0),
        (1, 1000),
        ("1970-01-01T01", 3_600_000),
        ("1970-W01-4T01:00Z", 3_600_000),
        ("1970-01-01T00:00:00Z", 0),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        (253_402_300_799_999, 253_402_300_799_999),
    ],
)
def test_the_ends_of_time(value: object, milliseconds: int) -> None:
    assert parse_timestamp(value) == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "",
        "now",
        "2026-11-24",
        "20261124",
        "2026-11-24T",
        "01:02:03Z",
        "2026-13-24T01:02:03Z",
        "2026-02-29T01:02:03Z",
        "2026-11-24T25:02:03Z",
        "2026-11-24T01:60:03Z",
        "2026-11-24T01:02:60Z",
        "2026-11-24T01:02:03+24:00",
        "2026-11-24T01:02:03Z trailing",
        " 2026-11-24T01:02:03Z",
        "２０２６-11-24T01:02:03Z",
        "Tue Nov 24 01:02:03 UTC 2026",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1795482123000",
        -1,
        -0.5,
        253_402_300_800_000,
        10**30,
        float("nan"),
        float("inf"),
        float("-inf"),
        [],
        {},
        b"2026-11-24T01:02:03Z",
    ],
)
def test_what_is_no_instant(value: object) -> None:
    assert parse_timestamp(value) is None
