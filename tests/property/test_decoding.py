"""Decoding against everything: no input raises anything but our errors, and no body ever moves a count."""

import base64
import gzip
import json
import random
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.identifiers import last_segment, profile_candidate
from bedrock_meter.invocations.inflate import inflate
from bedrock_meter.invocations.parser import (
    MAXIMUM_COUNT,
    LogLine,
    SubscriptionBatch,
    decode_subscription,
    read,
    reject_payload,
)
from bedrock_meter.invocations.quarantine import Reason, Rejected, object_key, to_document
from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.invocations.timestamps import parse_timestamp
from tests.unit.invocations.messages import (
    EVENT_MS,
    LOGGED_MS,
    PROFILE_ARN,
    counts,
    delivery,
    envelope,
    invocation,
    record,
    text,
    wrap,
)

OUR_KEYS = [
    *("schemaType", "schemaVersion", "timestamp", "accountId", "region", "requestId", "operation", "modelId"),
    *("errorCode", "identity", "arn", "requestMetadata", "input", "output", "inputTokenCount", "outputTokenCount"),
    *("cacheReadInputTokenCount", "cacheWriteInputTokenCount", "inputBodyJson", "outputBodyJson", "logEvents"),
]
CHARACTERS = st.characters(codec="utf-8")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(CHARACTERS, max_size=12),
    st.sampled_from(["[DONE]", '"}', "\\", '{"inputTokenCount":1}', PROFILE_ARN]),
)
KEYS = st.one_of(st.sampled_from(OUR_KEYS), st.text(CHARACTERS, max_size=6))
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
COUNTS = st.integers(0, MAXIMUM_COUNT)


def every_way(message: str) -> list[LogLine]:
    """The same line as it comes alone, in ASCII deliveries, and in others."""
    return [
        LogLine(message, timestamp_ms=LOGGED_MS),
        LogLine(message.encode(), timestamp_ms=LOGGED_MS),
        decode_subscription(delivery(message)).lines[0],
        decode_subscription(delivery(message, "é🙂")).lines[0],
        decode_subscription(delivery(message, ascii_only=True)).lines[0],
    ]


def assert_sound(found: Invocation | Rejected | None) -> None:
    """Whatever came in, what comes out can be recorded or noted."""
    if isinstance(found, Rejected):
        assert isinstance(found.reason, Reason)
        json.dumps(to_document(found, LOGGED_MS))
        assert object_key(found, LOGGED_MS).isascii()
    elif found is not None:
        tokens = found.tokens
        for count in (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write):
            assert type(count) is int
            assert 0 <= count <= MAXIMUM_COUNT
        texts = [found.call_id, found.model_id, found.operation, found.principal, found.error_code or ""]
        texts += [part for pair in found.metadata for part in pair]
        assert all(value.isascii() and len(value) <= 2048 for value in texts)
        assert found.call_id.count("#") == 2


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbf" * 3000)
@example(b"\\ud800" * 100)
@example(b'{"schemaType":"\\ud800')
def test_no_line_raises(data: bytes) -> None:
    assert_sound(read(LogLine(data)))
    assert_sound(read(LogLine(data.decode("latin-1"))))
    assert_sound(read(LogLine(data.decode("utf-8", "surrogateescape"))))


@given(BODIES)
def test_no_json_raises(value: object) -> None:
    for line in every_way(text(value)):
        assert_sound(read(line))


@given(st.dictionaries(st.sampled_from(OUR_KEYS), BODIES, max_size=10))
def test_no_record_raises(changes: dict[str, Any]) -> None:
    for line in every_way(text(record(**changes))):
        assert_sound(read(line))


def opened(event: object) -> SubscriptionBatch | None:
    """Open a delivery, or note that it cannot be."""
    try:
        return decode_subscription(event, max_inflated_bytes=1 << 20)
    except UnreadablePayload as problem:
        note = reject_payload(event, problem.reason)
        assert_sound(note)
        return None


@given(st.one_of(BODIES, st.fixed_dictionaries({"awslogs": st.fixed_dictionaries({"data": SCALARS})})))
def test_no_event_raises(event: object) -> None:
    opened(event)


@given(st.binary(max_size=200))
def test_no_payload_raises(payload: bytes) -> None:
    for data in (payload, gzip.compress(payload), gzip.compress(payload)[:-1], gzip.compress(payload) + payload):
        batch = opened(wrap(data))
        for line in batch.lines if batch else ():
            assert_sound(read(line))


@given(st.dictionaries(st.sampled_from(["messageType", "owner", "logGroup", "logStream", "logEvents"]), BODIES))
def test_no_envelope_raises(changes: dict[str, Any]) -> None:
    batch = opened(delivery(text(record()), **changes))
    for line in batch.lines if batch else ():
        assert_sound(read(line))


@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    """Single bytes of a sound delivery are changed, on every layer."""
    content = bytearray(text(envelope(text(record(input=counts(inputBodyJson="é \\ 🙂"))), "x")).encode())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] = data.draw(st.integers(0, 255))
    zipped = bytearray(gzip.compress(content))
    for layer in ("content", "gzip", "base64"):
        event = wrap(bytes(zipped))
        if layer == "gzip":
            damaged = bytearray(zipped)
            damaged[data.draw(st.integers(0, len(zipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            event = wrap(bytes(damaged))
        elif layer == "base64":
            letters = list(event["awslogs"]["data"])
            letters[data.draw(st.integers(0, len(letters) - 1))] = data.draw(CHARACTERS)
            event = {"awslogs": {"data": "".join(letters)}}
        batch = opened(event)
        for line in batch.lines if batch else ():
            assert_sound(read(line))


@given(BODIES, BODIES, st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), st.randoms(use_true_random=False))
def test_no_body_moves_a_count(prompt: object, answer: object, amounts: tuple[int, ...], chance: random.Random) -> None:
    tokens = TokenCounts(*amounts)
    given_to_model = {
        "inputContentType": "application/json",
        "inputBodyJson": prompt,
        "inputTokenCount": tokens.input,
        "cacheReadInputTokenCount": tokens.cache_read,
        "cacheWriteInputTokenCount": tokens.cache_write,
    }
    made_by_model = {"outputBodyJson": answer, "outputTokenCount": tokens.output}
    sound = record(input=shuffled(given_to_model, chance), output=shuffled(made_by_model, chance), futureField=prompt)
    expected = invocation(record())
    for line in every_way(text(shuffled(sound, chance))):
        found = read(line)
        assert isinstance(found, Invocation)
        assert found.tokens == tokens
        assert (found.call_id, found.model_id, found.error_code) == (expected.call_id, expected.model_id, None)
        assert found.event_ms == EVENT_MS


def shuffled(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The same object with its keys in another order."""
    return dict(chance.sample(list(value.items()), len(value)))


@given(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.sampled_from([2**53, 2**53 + 1, -1, 0, 1.0, "1", True])),
    st.sampled_from(["inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount", "outputTokenCount"]),
)
def test_only_whole_numbers_in_range_count(value: object, key: str) -> None:
    part = "output" if key.startswith("output") else "input"
    is_count = value is None or (type(value) is int and 0 <= value <= 2**53)
    for line in every_way(text(record(**{part: {key: value}}))):
        assert isinstance(read(line), Invocation) == is_count


@given(st.binary(min_size=1, max_size=20))
def test_no_bytes_in_a_body_make_a_record_unreadable(noise: bytes) -> None:
    """Quotes, backslashes and control characters apart: those are JSON's own."""
    noise = bytes(byte for byte in noise if byte >= 0x20 and byte not in b'"\\')
    message = text(record(input=counts(inputBodyJson="HERE"))).encode().replace(b"HERE", noise)
    assert read(LogLine(message)) == invocation(record())


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude42", "\\\\", '\\"', "\\n", "u", "x", "é", "\\u0041", "\\/"])))
def test_no_half_characters_in_a_body_make_a_record_unreadable(parts: list[str]) -> None:
    message = text(record(input=counts(inputBodyJson="HERE"))).replace("HERE", "".join(parts))
    for line in every_way(message):
        assert read(line) == invocation(record())


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_gzip_may_be_cut_into_members(content: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    members = [gzip.compress(content[start:end]) for start, end in pairwise(bounds)]
    assert inflate(b"".join(members), len(content)) == content


@given(st.binary(max_size=100))
def test_base64_is_read_as_the_standard_library_reads_it(payload: bytes) -> None:
    zipped = gzip.compress(text(envelope()).encode()) + payload
    assert opened({"awslogs": {"data": base64.b64encode(zipped).decode()}}) is not None or payload[:2] == b"\x1f\x8b"


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
@settings(max_examples=300)
def test_instants_survive_every_zone_and_precision(local: datetime, offset_minutes: int, precision: str) -> None:
    at = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if precision == "seconds":
        expected -= expected % 1000
    written = at.isoformat(timespec=precision)
    assert parse_timestamp(written) == expected
    assert parse_timestamp(written.replace("T", " ")) == expected
    if not offset_minutes:
        assert parse_timestamp(written.removesuffix("+00:00") + "Z") == expected
        assert parse_timestamp(written.removesuffix("+00:00")) == expected


@given(st.one_of(SCALARS, st.floats(), st.binary(max_size=20)))
def test_no_timestamp_raises(value: object) -> None:
    at_ms = parse_timestamp(value)
    assert at_ms is None or 0 <= at_ms <= 253_402_300_799_999


@given(st.one_of(st.text(max_size=40), st.from_regex(r"\Aarn:aws:bedrock:[a-z0-9-]*:[0-9]*:[a-z-]*/?.*\Z")))
def test_no_identifier_raises(model_id: str) -> None:
    candidate = profile_candidate(model_id)
    assert candidate is None or (candidate == last_segment(model_id) and model_id.endswith(candidate))
    assert (last_segment(model_id) == "") == (model_id == "")
