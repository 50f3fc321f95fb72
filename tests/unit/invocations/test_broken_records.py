"""Records that are broken, or nested without end: what still counts, and what is noted of the rest."""

from hashlib import sha256

import pytest

from bedrock_meter.invocations.parser import Location, LogLine, read, reject
from bedrock_meter.invocations.quarantine import Reason, Rejected
from tests.unit.invocations.messages import EVENT_MS, LOGGED_MS, counts, invocation, read_record, reason, record, text

DEPTH = 200_000


@pytest.mark.parametrize("key", ["inputBodyJson", "inputTokenCount"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_without_end(key: str, opening: str, closing: str) -> None:
    deep = opening * DEPTH + "1" + closing * DEPTH
    assert reason(text(record(input={key: "HERE"})).replace('"HERE"', deep)) == "too_deep"


def test_ordinary_nesting_is_read() -> None:
    deep = "[" * 100 + "]" * 100
    assert invocation(text(record(input=counts(inputBodyJson="HERE"))).replace('"HERE"', deep)) == invocation(record())


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xc0\xaf", b"\x80\x80"])
def test_invalid_utf8_in_a_body_leaves_the_counts_sound(broken: bytes) -> None:
    message = text(record(input=counts(inputBodyJson="HERE"))).encode().replace(b"HERE", broken)
    assert invocation(message) == invocation(record())


@pytest.mark.parametrize(
    "broken",
    ["\\ud83d", "\\uDE42", "\\ud83d\\ud83d\\ude42", "\\ude42\\ud83d", "\\ud83dx", "\\\\\\ud83d", "\\ud83d\\\\"],
)
def test_half_characters_in_a_body_leave_the_counts_sound(broken: str) -> None:
    message = text(record(input=counts(inputBodyJson="HERE"))).replace("HERE", broken)
    assert invocation(message) == invocation(record())
    assert invocation(message.encode()) == invocation(record())


def test_half_characters_in_text_of_python() -> None:
    message = text(record(input=counts(inputBodyJson="\ud83d")))
    assert "\ud83d" in message
    assert invocation(message) == invocation(record())


@pytest.mark.parametrize("key", ["requestId", "modelId"])
@pytest.mark.parametrize("broken", [b"\xff", b"\\ud83d", b"\\u00e9", b"\xc3\xa9", b"\x7f"])
def test_an_identifier_with_a_broken_character_is_no_identifier(key: str, broken: bytes) -> None:
    message = text(record(**{key: "abHEREcd"})).encode().replace(b"HERE", broken)
    found = read_record(message)
    assert isinstance(found, Rejected)
    assert found.reason in (Reason.REQUEST_ID, Reason.MODEL_ID)


def test_bare_control_characters_are_no_json() -> None:
    for character in ("\n", "\u0000", "\u001f"):
        assert reason(text(record(input={"inputBodyJson": "HERE"})).replace("HERE", character)) == "not_json"


def test_a_note_says_where_and_which_and_never_what() -> None:
    line = LogLine("secret prompt", Location("group", "stream"), "e1", LOGGED_MS)
    assert read(line) == Rejected(
        reason=Reason.NOT_JSON,
        sha256=sha256(b"secret prompt").hexdigest(),
        size_bytes=13,
        log_group="group",
        log_stream="stream",
        log_event_id="e1",
        event_ms=LOGGED_MS,
        logged_ms=LOGGED_MS,
    )
    assert reject(line, Reason.TOO_OLD, 5).event_ms == 5
    assert reject(line, Reason.TOO_OLD).event_ms == LOGGED_MS


def test_a_note_bears_the_records_own_time_where_it_has_one() -> None:
    found = read_record(record(accountId="?"))
    assert isinstance(found, Rejected)
    assert found.event_ms == EVENT_MS


def test_the_hash_is_that_of_the_text_as_it_is() -> None:
    message = text(record(accountId="?", input={"inputBodyJson": "é 🙂"}))
    expected = (sha256(message.encode()).hexdigest(), len(message.encode()))
    for form in (message, message.encode()):
        found = read_record(form)
        assert isinstance(found, Rejected)
        assert (found.sha256, found.size_bytes) == expected
