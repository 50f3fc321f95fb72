import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.cli.records import SourceLine
from bedrock_meter.cli.timeline import TimeMode, place, with_timestamp
from bedrock_meter.clock import iso
from bedrock_meter.invocations.parser import LogLine, read
from bedrock_meter.invocations.record import Invocation

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def record(timestamp: object = "2026-03-01T10:00:00Z", **changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": timestamp,
        "accountId": "123456789012",
        "region": "eu-central-1",
        "requestId": "4d1f6bd5-4df5-4d7c-9c5f-0b6a1d1c2f3a",
        "operation": "Converse",
        "modelId": "053a3ulue40l",
        "input": {"inputTokenCount": 3, "inputBodyJson": {"timestamp": "2020-01-01T00:00:00Z"}},
        "output": {"outputTokenCount": 5},
    }
    return {key: value for key, value in (whole | changes).items() if value is not None}


def line(value: dict[str, Any] | str, time_ms: int | None = None) -> SourceLine:
    return SourceLine(value if isinstance(value, str) else json.dumps(value), time_ms, "x")


def event_times(lines: list[SourceLine], mode: TimeMode) -> list[int | None]:
    """What the deployed parser will make of the placed messages."""
    times: list[int | None] = []
    for message in place(lines, mode, NOW_MS):
        found = read(LogLine(message=message.text, timestamp_ms=message.time_ms))
        times.append(found.event_ms if isinstance(found, Invocation) else None)
    return times


def test_now_moves_all_by_the_same_amount_so_that_the_newest_is_now() -> None:
    lines = [
        line(record("2026-03-01T10:00:00Z")),
        line(record("2026-03-01T12:30:00.250+01:00")),
        line(record("2026-03-01T09:00:00")),
    ]
    newest_ms = 90 * 60_000 + 250
    assert event_times(lines, TimeMode.NOW) == [NOW_MS - newest_ms, NOW_MS, NOW_MS - newest_ms - HOUR_MS]


def test_flat_sets_every_record_to_now() -> None:
    lines = [line(record("2026-03-01T10:00:00Z")), line(record(1_700_000_000)), line(record(None), 5_000)]
    assert event_times(lines, TimeMode.FLAT) == [NOW_MS, NOW_MS, NOW_MS]


def test_recorded_leaves_every_character() -> None:
    lines = [line(json.dumps(record(), indent=2)), line("no json"), line(record(None), NOW_MS - 5)]
    placed = place(lines, TimeMode.RECORDED, NOW_MS)
    assert [message.text for message in placed] == [one.text for one in lines]
    assert [message.time_ms for message in placed] == [None, None, NOW_MS - 5]


def test_a_record_without_a_readable_time_follows_its_log_event() -> None:
    lines = [line(record("2026-03-01T10:00:00Z")), line(record("no time"), 1_772_359_200_000 - HOUR_MS)]
    assert event_times(lines, TimeMode.NOW) == [NOW_MS, NOW_MS - HOUR_MS]


def test_a_log_event_time_that_the_service_refuses_becomes_the_time_of_sending() -> None:
    fortnight_ms = 14 * 24 * HOUR_MS
    times = [NOW_MS - fortnight_ms, NOW_MS - fortnight_ms + 1, NOW_MS + 2 * HOUR_MS - 1, NOW_MS + 2 * HOUR_MS]
    placed = place([line(record(None), time_ms) for time_ms in times], TimeMode.RECORDED, NOW_MS)
    assert [message.time_ms for message in placed] == [None, times[1], times[2], None]


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "17",
        "[]",
        json.dumps(record(requestId="no good!")),
        json.dumps(record(input={"inputTokenCount": -1})),
    ],
)
def test_what_the_parser_rejects_is_sent_as_it_is_and_moves_nothing(text: str) -> None:
    lines = [line(text.replace("2026-03", "2027-03")), line(record())]
    placed = place(lines, TimeMode.NOW, NOW_MS)
    assert placed[0].text == lines[0].text
    assert event_times(lines, TimeMode.NOW)[1] == NOW_MS


def test_only_the_line_about_permissions_is_not_counted_as_read() -> None:
    lines = [line("Permissions are correctly set for Amazon Bedrock logs."), line("no json"), line(record())]
    assert [message.is_record for message in place(lines, TimeMode.NOW, NOW_MS)] == [False, True, True]


def test_a_time_that_cannot_be_so_early_stops_at_1970() -> None:
    assert event_times([line(record(0)), line(record("9999-12-31T23:59:59Z"))], TimeMode.NOW) == [0, NOW_MS]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"timestamp":"old"}', '{"timestamp":"%s"}'),
        (
            '{ "timestamp" : 17 , "n": 12345678901234567890.10 }',
            '{ "timestamp" : "%s" , "n": 12345678901234567890.10 }',
        ),
        ('{"a":{"timestamp":"keep"},"timestamp":null}', '{"a":{"timestamp":"keep"},"timestamp":"%s"}'),
        ('{"timestamp":1,"b":["}"],"timestamp":2}', '{"timestamp":1,"b":["}"],"timestamp":"%s"}'),
        (r'{"\u0074imestamp":{"x":"\"]}"},"z":"\\"}', r'{"\u0074imestamp":"%s","z":"\\"}'),
    ],
)
def test_only_the_top_level_timestamp_that_counts_is_replaced(text: str, wanted: str) -> None:
    assert with_timestamp(text, NOW_MS) == wanted % iso(NOW_MS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    before=st.dictionaries(st.text(), json_values, max_size=4),
    after=st.dictionaries(st.text(), json_values, max_size=4),
    old=json_values,
    indent=st.sampled_from([None, 2]),
    escaped=st.booleans(),
)
def test_any_record_keeps_everything_but_its_timestamp(
    before: dict[str, Any], after: dict[str, Any], old: Any, indent: int | None, escaped: bool
) -> None:
    whole = {**before, "timestamp": old, **{key: value for key, value in after.items() if key != "timestamp"}}
    text = with_timestamp(json.dumps(whole, indent=indent, ensure_ascii=escaped), NOW_MS)
    assert json.loads(text) == {**whole, "timestamp": iso(NOW_MS)}
