"""Objects of the log in S3: which ones hold records, and how those come out, in bounded memory, whatever is inside."""

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from hashlib import sha256

import pytest

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations import objects
from bedrock_meter.invocations.objects import MAXIMUM_RECORD_BYTES, LogObject, is_log_object, split
from bedrock_meter.invocations.parser import Location, LogLine, read
from bedrock_meter.invocations.quarantine import Reason, Rejected
from bedrock_meter.invocations.record import Invocation
from tests.unit.invocations.messages import record

FOLDER = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/11/24/01"
PLACE = Location("bucket", f"{FOLDER}/20261124T014500000Z_0123456789abcdef.json.gz")


@pytest.mark.parametrize(
    ("key", "is_wanted"),
    [
        (f"{FOLDER}/20261124T014500000Z_0123456789abcdef.json.gz", True),
        (f"prefix/deeper/{FOLDER}/x.json.gz", True),
        (f"data/{FOLDER}/x.json.gz", True),  # a prefix may have any name
        (f"{FOLDER}/x.json", True),
        (f"{FOLDER}/data/0b4c_input.json.gz", False),
        (f"{FOLDER}/data/0b4c_input_media_00.pdf", False),
        (f"{FOLDER}/data/deeper/x.json.gz", False),
        (f"{FOLDER}/", False),
        (f"{FOLDER}/amazon-bedrock-logs-permission-check", False),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check", False),
        ("amazon-bedrock-logs-permission-check", False),
        ("AWSLogs/111122223333/BedrockModelInvocationLogs/", False),
        ("AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/24/x.json.gz", False),
        ("AWSLogs/1111/BedrockModelInvocationLogs/us-east-1/x.json.gz", False),
        (f"other{FOLDER}/x.json.gz", False),
        ("x.json.gz", False),
        ("", False),
    ],
)
def test_only_objects_that_hold_records_are_read(key: str, is_wanted: bool) -> None:
    assert is_log_object(key) is is_wanted


def chunks(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def lines_of(content: bytes, size: int = 1000, after: int = 0) -> list[LogLine | Rejected]:
    return list(LogObject(PLACE, chunks(content, size)).lines(after))


def messages(content: bytes, size: int = 1000) -> list[object]:
    found = lines_of(content, size)
    return [json.loads(bytes(one.message)) if isinstance(one, LogLine) else one for one in found]  # type: ignore[arg-type]


AWKWARD = [
    record(requestId="r-1"),
    record(requestId="r-2", input={"inputTokenCount": 3, "inputBodyJson": {"a": '[{"\\"]},', "b": "\\", "c": "[\\\\"}}),
    record(
        requestId="r-3", input={"inputTokenCount": 1, "inputBodyJson": {"emoji": "🙂é", "nested": [[], [{}], [1, 2]]}}
    ),
    {},
    record(requestId="r-5"),
]
TEXT = [json.dumps(one, ensure_ascii=False) for one in AWKWARD]
FORMS = {
    "lines": "\n".join(TEXT),
    "lines with an end": "\n".join(TEXT) + "\n",
    "lines from Windows": "\r\n".join(TEXT) + "\r\n",
    "blank lines": "\n\n  \n" + "\n \n".join(TEXT) + "\n\n",
    "byte order mark": "\ufeff" + "\n".join(TEXT),
    "array": f"[{','.join(TEXT)}]",
    "array over many lines": json.dumps(AWKWARD, indent=2),
    "array without an end": f"[{','.join(TEXT)}",
    "array behind a mark": f"\ufeff \n[{','.join(TEXT)}]\n",
    "array, then lines": f"[{','.join(TEXT[:2])}]\n" + "\n".join(TEXT[2:]),
}


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 1_000_000])
@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("is_compressed", [True, False])
def test_every_form_holds_the_same_records(form: str, size: int, is_compressed: bool) -> None:
    content = FORMS[form].encode()
    assert messages(gzip.compress(content) if is_compressed else content, size) == AWKWARD


def test_records_are_numbered_and_located_and_have_no_time_of_their_own() -> None:
    found = lines_of(FORMS["lines"].encode())
    assert [one.id for one in found if isinstance(one, LogLine)] == ["1", "2", "3", "4", "5"]
    assert {(one.location, one.timestamp_ms) for one in found if isinstance(one, LogLine)} == {(PLACE, None)}
    assert isinstance(read(found[0]), Invocation)  # type: ignore[arg-type]


def test_what_is_done_is_skipped_and_keeps_its_number() -> None:
    for form in ("lines", "array"):
        rest = lines_of(gzip.compress(FORMS[form].encode()), after=3)
        assert [one.id for one in rest if isinstance(one, LogLine)] == ["4", "5"]


def test_members_padding_and_nothing() -> None:
    one, two = (gzip.compress(text.encode() + b"\n") for text in TEXT[:2])
    empty = gzip.compress(b"")
    for size in (1, 3, 1000):
        assert messages(one + empty + two, size) == AWKWARD[:2]
        assert messages(one + two + b"\0" * 2000, size) == AWKWARD[:2]
        assert messages(empty, size) == []
        assert messages(b"", size) == []
        assert messages(b" \n\n", size) == []
        assert messages(b"[]", size) == []


def failing(content: bytes, size: int = 1000) -> tuple[int, Rejected]:
    """How many records come out before the rest cannot be read, and the note about it."""
    source = LogObject(PLACE, chunks(content, size))
    found: list[object] = []
    with pytest.raises(UnreadablePayload) as problem:
        found.extend(source.lines())
    return len(found), source.reject(problem.value.reason)


LONG = gzip.compress("\n".join(json.dumps(record(requestId=f"r-{n}")) for n in range(3000)).encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LONG[: len(LONG) // 2], Reason.TRUNCATED_GZIP),
        (LONG[:-1], Reason.TRUNCATED_GZIP),
        (LONG + b"\x1f", Reason.TRUNCATED_GZIP),
        (LONG + LONG[:9], Reason.TRUNCATED_GZIP),
        (LONG[:-8] + b"\0" * 8, Reason.NOT_GZIP),
        (LONG[: len(LONG) // 2] + b"\xff" * 5000 + LONG[len(LONG) // 2 :], Reason.NOT_GZIP),
    ],
)
def test_what_stands_before_damage_counts_and_the_rest_is_noted_as_one(content: bytes, reason: Reason) -> None:
    for size in (100, 4096):
        before, note = failing(content, size)
        assert before > 100
        assert note == Rejected(reason, sha256(content).hexdigest(), len(content), PLACE.log_group, PLACE.log_stream)


def test_a_bomb_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAXIMUM_OBJECT_BYTES", 20_000_000)
    for inside in (b"\0", b"\n"):
        assert failing(gzip.compress(inside * 30_000_000))[1].reason is Reason.TOO_LARGE


def test_a_record_beyond_the_bound_costs_itself_only() -> None:
    long = b'{"x": "' + b"y" * (MAXIMUM_RECORD_BYTES + 5) + b'"}'
    good = TEXT[0].encode()
    note = Rejected(Reason.TOO_LARGE, sha256(long).hexdigest(), len(long), PLACE.log_group, PLACE.log_stream, "2")
    for size in (1000, 70_000):
        assert messages(good + b"\n" + long + b"\n" + good, size) == [AWKWARD[0], note, AWKWARD[0]]
        assert messages(b"[" + good + b"," + long + b"," + good + b"]", size) == [AWKWARD[0], note, AWKWARD[0]]


HOSTILE = [
    b"\x1f",
    b"[",
    b"]",
    b"[[",
    b"[}",
    b"[]]",
    b"[,,,]",
    b'["\\',
    b'{"a": "\\u',
    b"\xef\xbb",
    b"\xff\xfe[\x00]\x00",
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b'["' + b"\\" * 10_001,
    b"nul\x00l\n\x00\n",
    b'[{"a": "' + b"x" * 100_000,
    b"Permissions are correctly set for Amazon Bedrock logs.\n",
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_comes_each_record_is_sound_noted_or_none(content: bytes) -> None:
    good = TEXT[0].encode()
    for text in (content, good + b"\n" + content, gzip.compress(content + b"\n" + good)):
        for size in (1, 1000) if len(text) < 2000 else (1000,):
            try:
                found = lines_of(text, size)
            except UnreadablePayload:
                continue
            outcomes = [read(one) if isinstance(one, LogLine) else one for one in found]
            assert all(one is None or isinstance(one, Invocation | Rejected) for one in outcomes)
            if text.startswith(good):
                assert isinstance(outcomes[0], Invocation)


def test_broken_lines_among_good_ones_cost_nothing_else() -> None:
    broken = [b'{"a": "', b"[", b'"', b"\xff\xfe", b"{}}", b"\\", b"null"]
    good = TEXT[0].encode()
    content = b"\n".join([part for one in broken for part in (good, one)])
    outcomes = [read(one) for one in lines_of(gzip.compress(content)) if isinstance(one, LogLine)]
    assert [isinstance(one, Invocation) for one in outcomes] == [True, False] * len(broken)


def test_random_bytes_end_in_records_or_one_error() -> None:
    chance = random.Random(7)
    reasons = set()
    for _ in range(300):
        content = bytearray(
            gzip.compress(FORMS["array"].encode()) if chance.random() < 0.5 else FORMS["array"].encode()
        )
        for _ in range(chance.randrange(1, 5)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            for one in lines_of(bytes(content), chance.choice([1, 13, 1000])):
                assert not isinstance(one, LogLine) or isinstance(read(one), Invocation | Rejected)
        except UnreadablePayload as problem:
            reasons.add(problem.reason)
    assert reasons == {Reason.NOT_GZIP, Reason.TRUNCATED_GZIP}


def peak_of(records: int, form: str) -> int:
    """Most that is held while an object of so many incompressible records of 20 KB is read, in bytes."""
    chance = random.Random(1)

    def content() -> Iterator[bytes]:
        member = zlib.compressobj(wbits=31)
        for number in range(records):
            body = {"inputTokenCount": 1, "inputBodyJson": chance.randbytes(10_000).hex()}
            text = json.dumps(record(requestId=f"r-{number}", input=body))
            yield member.compress((("[" if number == 0 else ",") + text if form == "array" else text + "\n").encode())
        yield member.compress(b"]" if form == "array" else b"") + member.flush()

    found = 0
    tracemalloc.start()
    for one in LogObject(PLACE, content()).lines():
        found += isinstance(one, LogLine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == records
    return peak


@pytest.mark.parametrize("form", ["lines", "array"])
def test_memory_does_not_grow_with_the_object(form: str) -> None:
    few, many = peak_of(50, form), peak_of(500, form)
    assert many < 1.3 * few


def test_a_long_text_is_taken_apart_in_linear_time() -> None:
    """Each piece is looked at once: the number of searches grows with the text and not with its square."""
    pieces = [b'["' + b"x" * 50, *[b"y" * 50] * 20_000, b'"]']
    (only,) = split(pieces)
    assert isinstance(only, bytes)
    assert len(only) == 2 + 50 + 20_000 * 50
