"""What is noted of a record that is not counted, and under which name."""

import json

import pytest

from bedrock_meter.invocations.quarantine import Overflow, Reason, Rejected, object_key, to_document
from tests.unit.invocations.messages import EVENT_MS

HASH = "0123456789abcdef" * 4
NOW_MS = EVENT_MS + 40 * 86_400_000
NOTE = Rejected(Reason.COUNT, HASH, 1234, "group", "stream", "38" * 28, EVENT_MS)


def note(**changes: object) -> Rejected:
    values = {name: getattr(NOTE, name) for name in NOTE.__slots__}
    return Rejected(**(values | changes))


def test_the_document() -> None:
    document = to_document(NOTE, NOW_MS)
    assert json.loads(json.dumps(document)) == {
        "version": 1,
        "reason": "count",
        "sha256": HASH,
        "size_bytes": 1234,
        "log_group": "group",
        "log_stream": "stream",
        "log_event_id": "38" * 28,
        "event_ms": EVENT_MS,
        "logged_ms": None,
        "records": 1,
        "logged_until_ms": None,
        "noted_ms": NOW_MS,
    }


def test_names_from_outside_are_bounded() -> None:
    document = to_document(note(log_group="g" * 9000, log_stream="s" * 9000, log_event_id="e" * 9000), NOW_MS)
    assert [len(str(document[key])) for key in ("log_group", "log_stream", "log_event_id")] == [1024, 1024, 1024]


def test_the_key_is_that_of_the_events_day() -> None:
    assert object_key(NOTE, NOW_MS) == f"quarantine/2026/11/24/count/{HASH[:32]}-{'38' * 28}.json"
    assert object_key(NOTE, NOW_MS) == object_key(NOTE, NOW_MS + 10**10)


@pytest.mark.parametrize(
    ("event_ms", "day"),
    [
        (EVENT_MS - EVENT_MS % 86_400_000, "2026/11/24"),
        (EVENT_MS - EVENT_MS % 86_400_000 - 1, "2026/11/23"),
        (0, "1970/01/01"),
        (253_402_300_799_999, "9999/12/31"),
        (None, "2027/01/03"),
        (-1, "2027/01/03"),
        (253_402_300_800_000, "2027/01/03"),
    ],
)
def test_days(event_ms: int | None, day: str) -> None:
    assert object_key(note(event_ms=event_ms), NOW_MS).split("/", 1)[1].startswith(day + "/")


def test_without_a_time_the_day_is_that_in_an_objects_name() -> None:
    place = "p/AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/20/07/x.json.gz"
    keys = {object_key(note(event_ms=None, log_stream=place), NOW_MS + later) for later in (0, 10**10)}
    assert {key.split("/", 1)[1][:11] for key in keys} == {"2026/11/20/"}
    assert len(keys) == 1


def line(number: int, **changes: object) -> Rejected:
    return note(sha256=f"{number:064}", log_event_id=f"e{number}", **changes)


def test_one_note_stands_for_the_further_lines_of_a_delivery() -> None:
    further = Overflow()
    assert further.note is None
    for number in (3, 1, 2):
        further.add(line(number, logged_ms=NOW_MS + number, reason=Reason.NOT_JSON))
    found = further.note
    assert found is not None
    assert (found.reason, found.records, found.size_bytes) == (Reason.MORE, 3, 3 * 1234)
    assert (found.log_group, found.log_stream, found.log_event_id) == ("group", "stream", "e3")
    assert (found.logged_ms, found.logged_until_ms, found.event_ms) == (NOW_MS + 1, NOW_MS + 3, NOW_MS + 1)
    again = Overflow()
    for number in (3, 1, 2):
        again.add(line(number, logged_ms=NOW_MS + number, reason=Reason.NOT_JSON))
    assert again.note == found
    again.add(line(4, logged_ms=NOW_MS + 4))
    assert again.note is not None
    assert object_key(again.note, NOW_MS) != object_key(found, NOW_MS)


def test_a_whole_payload() -> None:
    whole = Rejected(Reason.TRUNCATED_GZIP, HASH, 5)
    assert object_key(whole, EVENT_MS) == f"quarantine/2026/11/24/truncated_gzip/{HASH[:32]}-payload.json"
    assert to_document(whole, EVENT_MS)["log_event_id"] == ""


@pytest.mark.parametrize("event_id", ["../../up", "a/b", "a b", "é", "\ud83d", "x" * 65, "a\n", "a.json"])
def test_an_id_that_is_no_name_is_hashed(event_id: str) -> None:
    key = object_key(note(log_event_id=event_id), NOW_MS)
    name = key.rpartition("/")[2]
    assert key.count("/") == 5
    assert name.removeprefix(HASH[:32] + "-").removesuffix(".json").isalnum()
    assert len(name) == 32 + 1 + 32 + 5
    assert key != object_key(note(log_event_id=event_id + "2"), NOW_MS)


def test_the_set_of_reasons_is_closed() -> None:
    """They are dimensions of metrics, alarms and folders: a new one is a decision."""
    assert {reason.value for reason in Reason} == {
        *("not_a_subscription", "not_base64", "not_gzip", "truncated_gzip", "too_large"),
        *("not_json", "too_deep", "not_an_invocation_record", "field_type"),
        *("account_id", "region", "request_id", "model_id", "count", "error_code", "time"),
        *("too_old", "in_the_future"),
        *("foreign_account", "foreign_region", "foreign_stream", "implausible_count", "more"),
    }
