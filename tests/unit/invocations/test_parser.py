"""Reading one record: which fields, how strictly, and what is tolerated."""

import json
from typing import Any

import pytest

from bedrock_meter.invocations.parser import MAXIMUM_COUNT, LogLine, read
from bedrock_meter.invocations.quarantine import Reason, Rejected
from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from tests.unit.invocations.messages import (
    ABSENT,
    ACCOUNT,
    EVENT_MS,
    LOGGED_MS,
    PRINCIPAL,
    PROFILE,
    PROFILE_ARN,
    counts,
    invocation,
    read_record,
    reason,
    record,
    text,
)


def test_a_sound_record_is_read_whole() -> None:
    assert invocation(record(requestMetadata={"team": "blue"})) == Invocation(
        account_id=ACCOUNT,
        region="us-east-1",
        request_id="9a0c3f3e-5d2b-4f6e-a1b2-c3d4e5f60718",
        event_ms=EVENT_MS,
        operation="Converse",
        model_id=PROFILE_ARN,
        principal=PRINCIPAL,
        tokens=TokenCounts(input=10, output=5, cache_read=3, cache_write=2),
        error_code=None,
        metadata=(("team", "blue"),),
        schema_drift=False,
    )


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"output": {"outputContentType": "application/json"}}, TokenCounts(10, 0, 3, 2)),
        ({"output": {}}, TokenCounts(10, 0, 3, 2)),
        ({"output": None}, TokenCounts(10, 0, 3, 2)),
        ({"output": ABSENT}, TokenCounts(10, 0, 3, 2)),
        ({"output": {"outputTokenCount": None}}, TokenCounts(10, 0, 3, 2)),
        ({"input": {}}, TokenCounts(0, 5, 0, 0)),
        ({"input": None}, TokenCounts(0, 5, 0, 0)),
        ({"input": {"inputTokenCount": 7}}, TokenCounts(7, 5, 0, 0)),
        ({"input": counts(cacheReadInputTokenCount=None)}, TokenCounts(10, 5, 0, 2)),
        ({"input": counts(inputTokenCount=0), "output": {"outputTokenCount": 0}}, TokenCounts(0, 0, 3, 2)),
        ({"input": None, "output": None}, NO_TOKENS),
        ({"input": counts(inputTokenCount=2**53)}, TokenCounts(2**53, 5, 3, 2)),
        # Cache counts belong to ``input``; elsewhere the names mean nothing.
        ({"cacheReadInputTokenCount": 9, "inputTokenCount": 9, "outputTokenCount": 9}, TokenCounts(10, 5, 3, 2)),
        (
            {"output": {"outputTokenCount": 5, "cacheReadInputTokenCount": 9, "inputTokenCount": 9}},
            TokenCounts(10, 5, 3, 2),
        ),
    ],
)
def test_missing_counts_are_zero(changes: dict[str, Any], tokens: TokenCounts) -> None:
    assert invocation(record(**changes)).tokens == tokens


NO_COUNTS = [
    "-1",
    "1.5",
    "12.0",
    "1e2",
    "1E400",
    '"12"',
    '""',
    "true",
    "false",
    "[]",
    "[1]",
    "{}",
    str(2**53 + 1),
    "9" * 5000,
]


@pytest.mark.parametrize("value", NO_COUNTS)
@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("input", "inputTokenCount"),
        ("input", "cacheReadInputTokenCount"),
        ("input", "cacheWriteInputTokenCount"),
        ("output", "outputTokenCount"),
    ],
)
def test_what_is_no_count_is_not_guessed(part: str, key: str, value: str) -> None:
    message = text(record(**{part: {key: "HERE"}})).replace('"HERE"', value)
    # No reader holds a number beyond every range: that is a matter of the field, not of its meaning.
    expected = "field_type" if value in ("1E400", "9" * 5000) else "count"
    assert reason(message) == expected


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "01", "+1", "0x10", "1.", ".5", "1_000"])
@pytest.mark.parametrize("place", ["count", "body"])
def test_numbers_that_json_does_not_know(value: str, place: str) -> None:
    key = "inputTokenCount" if place == "count" else "inputBodyJson"
    assert reason(text(record(input={key: "HERE"})).replace('"HERE"', value)) == "not_json"


def test_the_largest_count_is_exact() -> None:
    assert invocation(record(output={"outputTokenCount": MAXIMUM_COUNT - 1})).tokens.output == 2**53 - 1


@pytest.mark.parametrize("value", [[1], "x", 3, True, 1.5])
@pytest.mark.parametrize("part", ["input", "output"])
def test_counts_are_not_looked_for_in_what_is_no_object(part: str, value: object) -> None:
    assert reason(record(**{part: value})) == "field_type"


HOSTILE_BODY = {
    "inputTokenCount": 999,
    "outputTokenCount": 999,
    "cacheReadInputTokenCount": 999,
    "modelId": "anthropic.other",
    "accountId": "999999999999",
    "requestId": "other",
    "identity": {"arn": "arn:other"},
    "errorCode": "AccessDeniedException",
    "schemaType": "Other",
    "input": {"inputTokenCount": 999},
    "output": {"outputTokenCount": 999},
    "timestamp": "1999-01-01T00:00:00Z",
}
BODIES = [
    HOSTILE_BODY,
    [HOSTILE_BODY, HOSTILE_BODY],
    [{"chunk": 1}, "[DONE]", None, 3, [HOSTILE_BODY]],
    json.dumps(HOSTILE_BODY),
    'quotes " and \\ backslashes \\" and braces }}]],"inputTokenCount":999',
    "",
    "\u0000\u001f\u007f \u2028 é 世 🙂",
    None,
    [],
    {},
    12.5,
    True,
]


@pytest.mark.parametrize("body", BODIES)
def test_bodies_decide_nothing(body: object) -> None:
    plain = invocation(record())
    for before, after in ((True, False), (False, True)):
        reading = {"inputBodyJson": body} | counts() if before else counts() | {"inputBodyJson": body}
        writing = {"outputTokenCount": 5, "outputBodyJson": body}
        writing = dict(reversed(writing.items())) if after else writing
        assert invocation(record(input=reading, output=writing)) == plain
        assert invocation(text(record(input=reading, output=writing), ascii_only=True)) == plain


def test_bodies_moved_to_s3() -> None:
    reading = counts(inputBodyS3Path="s3://bucket/data/input.json.gz")
    assert invocation(record(input=reading)) == invocation(record())


def test_of_a_repeated_key_the_last_one_counts() -> None:
    message = text(record())
    twice = message[:-1] + ',"requestId":"second","output":{"outputTokenCount":6},"modelId":"amazon.nova"}'
    found = invocation(twice)
    assert (found.request_id, found.tokens.output, found.model_id) == ("second", 6, "amazon.nova")
    inside = message.replace('"outputTokenCount":5', '"outputTokenCount":"five","outputTokenCount":5')
    assert invocation(inside).tokens.output == 5


def test_keys_may_be_spelled_with_escapes() -> None:
    assert invocation(text(record()).replace('"requestId"', '"\\u0072equestId"')) == invocation(record())


def test_order_of_keys_and_white_space_decide_nothing() -> None:
    backwards = dict(reversed(record().items()))
    assert invocation(json.dumps(backwards, indent=3)) == invocation(record())


@pytest.mark.parametrize("around", ["", " ", "\n", "\r\n\t "])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_white_space_and_a_byte_order_mark(mark: str, around: str) -> None:
    message = mark + around + text(record()) + around
    assert invocation(message) == invocation(record())
    assert invocation(message.encode()) == invocation(record())


# --- identifiers


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        (
            "accountId",
            [
                "",
                "12345678901",
                "1234567890123",
                "12345678901a",
                "１２３４５６７８９０１２",
                111122223333,
                None,
                ABSENT,
                "111122223333\n",
                ["111122223333"],
            ],
            "account_id",
        ),
        (
            "region",
            ["", "US-EAST-1", "us east", "us-east-1\n", "r" * 33, None, ABSENT, 1, "us#east"],
            "region",
        ),
        (
            "requestId",
            ["", "a b", "a#b", "a\nb", "a\u0000", "é", "x" * 129, "a/b", None, ABSENT, 17, {"id": 1}, "\x7f"],
            "request_id",
        ),
        (
            "modelId",
            ["", " ", "a b", "a\tb", "a\nb", "a\u0000b", "modèle", "x" * 2049, "\x7f", None, ABSENT, 5, ["m"]],
            "model_id",
        ),
        ("errorCode", [500, True, ["ThrottlingException"], {}, 1.5], "error_code"),
        (
            "schemaType",
            ["", "ModelInvocation", "modelinvocationlog", None, ABSENT, 1],
            "not_an_invocation_record",
        ),
    ],
)
def test_what_must_be_sound(key: str, values: list[object], expected: str) -> None:
    for value in values:
        assert reason(record(**{key: value})) == expected, value


@pytest.mark.parametrize("request_id", ["a", "A.b_c:d-9", "x" * 128])
def test_request_ids(request_id: str) -> None:
    assert invocation(record(requestId=request_id)).request_id == request_id


@pytest.mark.parametrize(
    "model_id",
    [
        PROFILE,
        PROFILE_ARN,
        "anthropic.claude-sonnet-4-6",
        "amazon.nova-lite-v1:0",
        "us.anthropic.claude-sonnet-4-6",
        f"arn:aws:bedrock:us-east-1:{ACCOUNT}:provisioned-model/abcdefghij12",
        f"arn:aws:bedrock:us-east-1:{ACCOUNT}:prompt/ABCDEFGHIJ:1",
        f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/mine",
        "m" * 2048,
    ],
)
def test_model_ids_stay_as_they_are(model_id: str) -> None:
    assert invocation(record(modelId=model_id)).model_id == model_id


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"operation": "CreateResponse"}, "operation", "CreateResponse"),
        ({"operation": ABSENT}, "operation", ""),
        ({"operation": None}, "operation", ""),
        ({"operation": {"name": "x"}}, "operation", ""),
        ({"operation": "a\nb"}, "operation", ""),
        ({"operation": "x" * 2049}, "operation", ""),
        ({"operation": "Générer"}, "operation", ""),
        ({"identity": ABSENT}, "principal", ""),
        ({"identity": None}, "principal", ""),
        ({"identity": []}, "principal", ""),
        ({"identity": "arn:aws:iam::1:user/x"}, "principal", ""),
        ({"identity": {"arn": None}}, "principal", ""),
        ({"identity": {"arn": "arn:aws:iam::1:user/x\u0000"}}, "principal", ""),
        ({"identity": {"arn": "arn:aws:iam::1:user/x", "more": 1}}, "principal", "arn:aws:iam::1:user/x"),
        ({"errorCode": ABSENT}, "error_code", None),
        ({"errorCode": None}, "error_code", None),
        ({"errorCode": ""}, "error_code", None),
        ({"errorCode": "ThrottlingException"}, "error_code", "ThrottlingException"),
        ({"errorCode": "a\nb"}, "error_code", "unreadable"),
        ({"requestMetadata": ABSENT}, "metadata", ()),
        ({"requestMetadata": None}, "metadata", ()),
        ({"requestMetadata": "x"}, "metadata", ()),
        ({"requestMetadata": [1]}, "metadata", ()),
        ({"requestMetadata": {}}, "metadata", ()),
        ({"requestMetadata": {"b": "2", "a": "1"}}, "metadata", (("b", "2"), ("a", "1"))),
        ({"requestMetadata": {"a": "1", "n": 1, "o": {}, "z": None, "l": ["x"]}}, "metadata", (("a", "1"),)),
        (
            {"requestMetadata": {"a": "1", "long": "x" * 257, "k" * 257: "x", "": "x", "é": "x", "x": "é"}},
            "metadata",
            (("a", "1"),),
        ),
        ({"requestMetadata": {f"k{n}": "v" for n in range(20)}}, "metadata", tuple((f"k{n}", "v") for n in range(16))),
        ({"schemaVersion": "1.7"}, "schema_drift", False),
        ({"schemaVersion": "2.0"}, "schema_drift", True),
        ({"schemaVersion": "10.0"}, "schema_drift", True),
        ({"schemaVersion": 1.0}, "schema_drift", True),
        ({"schemaVersion": ABSENT}, "schema_drift", True),
        ({"inferenceRegion": "us-west-2", "status": "x", "futureField": [{}]}, "region", "us-east-1"),
    ],
)
def test_what_is_tolerated(changes: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(invocation(record(**changes)), field) == expected


@pytest.mark.parametrize(
    "characters",
    ["é", "世", "🙂", "\u2028", "\u00a0"],
)
def test_characters_beyond_ascii_make_no_difference_to_how_they_are_spelled(characters: str) -> None:
    """As they are or escaped: the record is the same, and a value that holds them is left out."""
    value = record(requestMetadata={"a": characters, "b": "kept"}, identity={"arn": characters}, operation=characters)
    found = invocation(text(value))
    assert found == invocation(text(value, ascii_only=True)) == invocation(text(value).encode())
    assert (found.metadata, found.principal, found.operation) == ((("b", "kept"),), "", "")


# --- time


def test_the_log_events_time_stands_in() -> None:
    for unreadable in (ABSENT, None, "yesterday", "2026-13-01T00:00:00Z", [], {}, True, -5, "2026-11-24"):
        assert invocation(record(timestamp=unreadable)).event_ms == LOGGED_MS


def test_without_any_time_a_record_is_rejected() -> None:
    found = read(LogLine(text(record(timestamp="?"))))
    assert isinstance(found, Rejected)
    assert (found.reason, found.event_ms) == (Reason.TIME, None)


# --- what is no record


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "not_json"),
        (" \n", "not_json"),
        ("plain text", "not_json"),
        ("{", "not_json"),
        ('{"schemaType":"ModelInvocationLog"', "not_json"),
        ('{"schemaType":"ModelInvocationLog"} {}', "not_json"),
        ('{"schemaType":"ModelInvocationLog",}', "not_json"),
        ("{'schemaType':'ModelInvocationLog'}", "not_json"),
        ("[]", "not_an_invocation_record"),
        ("null", "not_an_invocation_record"),
        ('"text"', "not_an_invocation_record"),
        ("17", "not_an_invocation_record"),
        ("{}", "not_an_invocation_record"),
        ('{"level":"INFO"}', "not_an_invocation_record"),
        ("\ufeff[]", "not_an_invocation_record"),
        ('\ufeff{"input":3}', "field_type"),
    ],
)
def test_lines_that_are_no_record(message: str, expected: str) -> None:
    assert reason(message) == expected
    assert reason(message.encode()) == expected


@pytest.mark.parametrize("around", ["", "\n", " "])
def test_the_permission_line_is_no_record_and_no_fault(around: str) -> None:
    line = f"{around}Permissions are correctly set for Amazon Bedrock logs.{around}"
    assert read_record(line) is None
    assert read_record(line.encode()) is None
    assert reason(line + "x") == "not_json"
    assert reason(json.dumps(line)) == "not_an_invocation_record"
