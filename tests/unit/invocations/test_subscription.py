"""Opening deliveries: envelopes sound, broken and hostile; lines by every way they can come."""

import base64
import gzip
import json
import traceback
from hashlib import sha256
from typing import Any

import pytest

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.parser import (
    Location,
    LogLine,
    decode_subscription,
    read,
    reject_payload,
)
from bedrock_meter.invocations.quarantine import Reason, Rejected, object_key, to_document
from tests.unit.invocations.messages import (
    ABSENT,
    ACCOUNT,
    LOGGED_MS,
    counts,
    deliver,
    delivery,
    envelope,
    invocation,
    record,
    text,
    wrap,
)


def compressed(content: bytes) -> bytes:
    """Return gzip of ``content`` without the time: parameters of a test are the same in every process."""
    return gzip.compress(content, mtime=0)


def reason(event: object, **bounds: int) -> str:
    with pytest.raises(UnreadablePayload) as caught:
        decode_subscription(event, **bounds)
    return caught.value.reason


def test_a_delivery_is_opened() -> None:
    batch = deliver(text(record()), "Permissions are correctly set for Amazon Bedrock logs.")
    assert (batch.owner, batch.control) == (ACCOUNT, False)
    assert batch.location == Location("/aws/bedrock/model-invocations", "aws/bedrock/modelinvocations")
    assert (batch.log_group, batch.log_stream) == (batch.location.log_group, batch.location.log_stream)
    assert [(line.id, line.timestamp_ms, line.location) for line in batch.lines] == [
        (f"{0:056}", LOGGED_MS, batch.location),
        (f"{1:056}", LOGGED_MS + 1, batch.location),
    ]
    assert [read(line) for line in batch.lines] == [invocation(record()), None]


def test_reading_twice_gives_the_same() -> None:
    for batch in (deliver(text(record())), deliver(text(record()), "é")):
        assert read(batch.lines[0]) == read(batch.lines[0]) == invocation(record())


@pytest.mark.parametrize("messages", [[], ["CWL CONTROL MESSAGE: Checking health of destination"], [text(record())]])
def test_a_control_message_has_no_lines(messages: list[str]) -> None:
    batch = deliver(*messages, messageType="CONTROL_MESSAGE")
    assert (batch.control, batch.lines) == (True, [])
    assert decode_subscription(wrap(compressed(b'{"messageType":"CONTROL_MESSAGE"}'))).control


@pytest.mark.parametrize("message_type", ["DATA_MESSAGE", "SOMETHING_NEW", None, 3])
def test_every_other_message_type_is_data(message_type: object) -> None:
    assert len(deliver(text(record()), messageType=message_type).lines) == 1


def test_an_empty_delivery_has_no_lines() -> None:
    batch = deliver()
    assert (batch.control, batch.lines) == (False, [])


SAME = {
    "ascii": lambda message: decode_subscription(delivery(message)).lines[0],
    "beside characters beyond ASCII": lambda message: decode_subscription(delivery(message, "é世")).lines[0],
    "escaped by the sender": lambda message: decode_subscription(delivery(message, ascii_only=True)).lines[0],
    "text of its own": lambda message: LogLine(message, timestamp_ms=LOGGED_MS),
    "bytes of its own": lambda message: LogLine(message.encode("utf-8", "surrogatepass"), timestamp_ms=LOGGED_MS),
}


@pytest.mark.parametrize("way", SAME)
@pytest.mark.parametrize(
    "message",
    [
        text(record()),
        text(record(), ascii_only=True),
        text(record(input=counts(inputBodyJson='é 世 🙂 \\ " \n'), requestMetadata={"a": "é", "b": "2"})),
        text(record(input=counts(inputBodyJson='é 世 🙂 \\ " \n'), requestMetadata={"a": "é"}), ascii_only=True),
        json.dumps(record(), indent=2),
        text(record(accountId="é")),
        text(record(output={"outputTokenCount": "5"})),
        "é {",
        "",
    ],
)
def test_however_a_line_comes_it_reads_the_same(message: str, way: str) -> None:
    line = SAME[way](message)
    found, expected = read(line), read(LogLine(message, timestamp_ms=LOGGED_MS))
    if not isinstance(expected, Rejected):
        assert found == expected
        return
    assert isinstance(found, Rejected)
    key = (found.reason, found.sha256, found.size_bytes, found.event_ms)
    assert key == (expected.reason, expected.sha256, expected.size_bytes, expected.event_ms)
    assert found.sha256 == sha256(message.encode()).hexdigest()


@pytest.mark.parametrize("beside", ["plain", "é"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "field_type"),
        (17, "field_type"),
        ({"schemaType": "ModelInvocationLog"}, "field_type"),
        (ABSENT, "not_json"),
    ],
)
def test_a_message_that_is_no_text_fails_alone(value: object, expected: str, beside: str) -> None:
    events = envelope(text(record()), "x", beside)["logEvents"]
    if value is ABSENT:
        del events[1]["message"]
    else:
        events[1]["message"] = value
    first, second, _ = (read(line) for line in deliver(logEvents=events).lines)
    assert first == invocation(record())
    assert isinstance(second, Rejected)
    assert (second.reason.value, second.log_event_id) == (expected, f"{1:056}")


@pytest.mark.parametrize("broken", ["\ud83d", "\ude42 x"])
def test_half_characters_in_a_delivery(broken: str) -> None:
    """Escaped by the provider they stand twice escaped in the delivery; escaped by the sender, once."""
    value = record(input=counts(inputBodyJson="HERE"))
    escaped = text(value).replace("HERE", json.dumps(broken)[1:-1])
    assert read(deliver(escaped).lines[0]) == invocation(record())
    assert read(decode_subscription(delivery(text(value).replace("HERE", broken), ascii_only=True)).lines[0]) == (
        invocation(record())
    )


def test_invalid_utf8_in_a_delivery() -> None:
    payload = text(envelope(text(record(input=counts(inputBodyJson="HERE"))))).encode().replace(b"HERE", b"\xff\xfe")
    assert read(decode_subscription(wrap(compressed(payload))).lines[0]) == invocation(record())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"id": None, "timestamp": None}, ""),
        ({"id": 5, "timestamp": "2026"}, ""),
        ({"id": ["x"], "timestamp": -1}, ""),
        ({"id": "e", "timestamp": 1.5}, "e"),
        ({"id": "e", "timestamp": True}, "e"),
    ],
)
def test_a_log_event_without_sound_id_or_time(changes: dict[str, Any], name: str) -> None:
    events = [envelope(text(record()))["logEvents"][0] | changes]
    line = deliver(logEvents=events).lines[0]
    assert (line.id, line.timestamp_ms) == (name, None)
    assert read(line) == invocation(record())


def test_names_that_are_no_text_are_empty() -> None:
    batch = deliver(text(record()), owner=1, logGroup=None, logStream=["x"])
    assert (batch.owner, batch.log_group, batch.log_stream) == ("", "", "")
    assert read(batch.lines[0]) == invocation(record())


# --- envelopes that cannot be opened

SOUND = delivery(text(record()))["awslogs"]["data"]
GZIPPED = base64.b64decode(SOUND)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"awslogs": None},
        {"awslogs": {}},
        {"awslogs": {"data": None}},
        {"awslogs": {"data": ""}},
        None,
        [],
        "x",
        {"awslogs": {"data": GZIPPED}},
        {"awslogs": [SOUND]},
        {"Records": []},
    ],
)
def test_what_is_no_delivery(event: object) -> None:
    assert reason(event) == "not_a_subscription"
    assert reject_payload(event, "not_a_subscription").size_bytes == 0


@pytest.mark.parametrize(
    "data",
    [
        "%",
        SOUND[:-1],
        SOUND + "=",
        SOUND + "\n",
        SOUND[:8] + " " + SOUND[8:],
        SOUND.replace("A", "_"),
        "é",
        "\ud83d",
        "====",
        SOUND + "AAAA=",
    ],
)
def test_base64_is_strict(data: str) -> None:
    assert reason({"awslogs": {"data": data}}) == "not_base64"
    assert reject_payload({"awslogs": {"data": data}}, "not_base64").size_bytes == len(
        data.encode("utf-8", "surrogatepass")
    )


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\x00", "not_gzip"),
        (b"plain text", "not_gzip"),
        (text(envelope()).encode(), "not_gzip"),
        (b"\x1f\x8b", "truncated_gzip"),
        (GZIPPED[:-1], "truncated_gzip"),
        (GZIPPED[: len(GZIPPED) // 2], "truncated_gzip"),
        (GZIPPED[:-8] + bytes(8), "not_gzip"),
        (compressed(b""), "not_json"),
        (compressed(b"plain text"), "not_json"),
        (compressed(b'{"logEvents":['), "not_json"),
        (compressed(b"\xff\xfe{}"), "not_json"),
        (compressed(b"[]"), "not_a_subscription"),
        (compressed(b"null"), "not_a_subscription"),
        (compressed(b"{}"), "not_a_subscription"),
        (compressed(b'{"logEvents":null}'), "not_a_subscription"),
        (compressed(b'{"logEvents":{}}'), "not_a_subscription"),
        (compressed(b'{"logEvents":["x"]}'), "not_a_subscription"),
        (compressed(b'{"logEvents":[],"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "too_deep"),
    ],
)
def test_payloads_that_cannot_be_opened(payload: bytes, expected: str) -> None:
    event = wrap(payload)
    assert reason(event) == expected
    note = reject_payload(event, expected)
    data = event["awslogs"]["data"].encode()
    assert note == Rejected(Reason(expected), sha256(data).hexdigest(), len(data))


def test_a_bomb_is_not_inflated() -> None:
    bomb = wrap(compressed(bytes(5_000_000)))
    assert reason(bomb, max_inflated_bytes=4_999_999) == "too_large"
    assert reason(bomb, max_inflated_bytes=5_000_000) == "not_json"


def test_the_bound_itself_is_allowed() -> None:
    size = len(gzip.decompress(GZIPPED))
    assert len(decode_subscription(wrap(GZIPPED), max_inflated_bytes=size).lines) == 1
    assert reason(wrap(GZIPPED), max_inflated_bytes=size - 1) == "too_large"


def test_a_byte_order_mark_before_the_envelope() -> None:
    marked = compressed(b"\xef\xbb\xbf" + gzip.decompress(GZIPPED))
    assert read(decode_subscription(wrap(marked)).lines[0]) == invocation(record())


# --- nothing of a prompt

CANARY = "CANARY-7f3a"


def hostile_lines() -> list[str]:
    """Lines that fail in every way, each with the canary in its bodies."""
    bodies = {"inputBodyJson": {"text": CANARY}}
    sound = record(input=counts(**bodies), output={"outputTokenCount": 5, "outputBodyJson": CANARY})
    deep = "[" * 200_000 + f'"{CANARY}"' + "]" * 200_000
    return [
        text(sound),
        text(sound | {"accountId": CANARY}),
        text(sound | {"requestId": [CANARY]}),
        text(sound | {"errorCode": {CANARY: CANARY}}),
        text(sound | {"input": CANARY}),
        text(sound | {"input": counts(inputTokenCount=CANARY)}),
        text(sound | {"schemaType": CANARY}),
        text(sound)[:-1],
        text(sound).replace(CANARY, CANARY + "\ud83d"),
        text(record(input={"inputBodyJson": "HERE"})).replace('"HERE"', deep),
        f'["{CANARY}"]',
        CANARY,
    ]


@pytest.mark.parametrize("beside", ["plain", "é"])
def test_no_outcome_shows_what_was_said(beside: str) -> None:
    messages = [line.encode("utf-8", "replace").decode() for line in hostile_lines()]
    batch = deliver(*messages, beside)
    outcomes = [read(line) for line in batch.lines] + [read(LogLine(line)) for line in hostile_lines()]
    assert sum(isinstance(one, Rejected) for one in outcomes) >= 20
    shown = [repr(batch), str(batch), *map(repr, batch.lines), *map(repr, outcomes), *map(str, outcomes)]
    shown += [repr(LogLine(line)) + str(LogLine(line.encode("utf-8", "replace"))) for line in hostile_lines()]
    shown += [
        json.dumps(to_document(one, LOGGED_MS)) + object_key(one, LOGGED_MS)
        for one in outcomes
        if isinstance(one, Rejected)
    ]
    assert CANARY not in "".join(shown)


@pytest.mark.parametrize(
    "payload",
    [
        CANARY.encode(),
        compressed(CANARY.encode()),
        compressed(f'{{"logEvents":["{CANARY}"]}}'.encode()),
        compressed(f'{{"logEvents":"{CANARY}"}}'.encode()),
        compressed(f'{{"{CANARY}":'.encode()),
        compressed(f'{{"logGroup":"{CANARY}'.encode() + b"\xff"),
        compressed(f'{{"logEvents":["{CANARY}"]}}'.encode())[:-2],
    ],
)
def test_no_error_shows_what_was_said(payload: bytes) -> None:
    with pytest.raises(UnreadablePayload) as caught:
        decode_subscription(wrap(payload))
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args) + repr(vars(error))
    assert CANARY not in shown
    assert error.__cause__ is None
    assert error.__context__ is None
