import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.cli.records import MAXIMUM_RECORD_BYTES, read_paths, tenants_file_in
from bedrock_meter.local.failures import BadInput, NoLog


def compressed(content: bytes) -> bytes:
    """Return gzip of ``content`` without the time: parameters of a test are the same in every process."""
    return gzip.compress(content, mtime=0)


RECORD = {"schemaType": "ModelInvocationLog", "requestId": "r-1", "input": {"inputBodyJson": {"a": [1, 2]}}}
OTHER = {"schemaType": "ModelInvocationLog", "requestId": "r-2"}


def subscription(messages: list[str], kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    payload = {
        "messageType": kind,
        "logEvents": [{"id": "i", "timestamp": 1_000 + n, "message": m} for n, m in enumerate(messages)],
    }
    return {"awslogs": {"data": base64.b64encode(compressed(json.dumps(payload).encode())).decode()}}


def texts(folder: Path, content: str | bytes, name: str = "x.json") -> list[str]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return [line.text for line in read_paths([file])]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (json.dumps(RECORD), [json.dumps(RECORD)]),
        (json.dumps(RECORD, indent=4) + "\n", [json.dumps(RECORD, indent=4)]),
        (json.dumps(RECORD) + "\n" + json.dumps(OTHER) + "\r\n\n", [json.dumps(RECORD), json.dumps(OTHER)]),
        (json.dumps([RECORD, OTHER]), [json.dumps(RECORD), json.dumps(OTHER)]),
        (json.dumps([RECORD, OTHER], indent=1), [json.dumps(RECORD, indent=1).replace("\n", "\n "), None]),
        (
            "Permissions are correctly set for Amazon Bedrock logs.\n{}\n",
            ["Permissions are correctly set for Amazon Bedrock logs.", "{}"],
        ),
        ('{"a": 1}\n{"broken\n', ['{"a": 1}', '{"broken']),
        (
            '{"n": 123456789012345678901234567890, "f": 1.10, "f": NaN}',
            ['{"n": 123456789012345678901234567890, "f": 1.10, "f": NaN}'],
        ),
        ('[{"a": 1}, 17, "a message", null]', ['{"a": 1}', "17", "a message", "null"]),
        ('[{"a": 1}] trailing', ['[{"a": 1}] trailing']),
        ("[1,,2]", ["[1,,2]"]),
        ("\ufeff{}", ["{}"]),
        ('{"s": "line\u2028separator"}\n{}', ['{"s": "line\u2028separator"}', "{}"]),
    ],
)
def test_content_is_taken_apart_and_nothing_is_written_anew(
    tmp_path: Path, content: str, wanted: list[str | None]
) -> None:
    found = texts(tmp_path, content)
    assert len(found) == len(wanted)
    for text, expected in zip(found, wanted, strict=True):
        assert expected is None or text == expected


def test_a_line_nested_deeper_than_python_can_parse_is_passed_on(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    record = f'{{"body": {deep}}}'
    assert texts(tmp_path, record + "\n" + record) == [record, record]
    assert texts(tmp_path, record) == [record]


@pytest.mark.parametrize("name", ["x.json.gz", "x.gz", "records"])
def test_gzip_is_recognised_by_content(tmp_path: Path, name: str) -> None:
    assert texts(tmp_path, compressed(b'{"a": 1}\n{"b": 2}'), name) == ['{"a": 1}', '{"b": 2}']


def test_bytes_that_are_no_utf8_stay_a_broken_line(tmp_path: Path) -> None:
    assert texts(tmp_path, b'{"a": 1}\n{"b": \xff}\n') == ['{"a": 1}', '{"b": \ufffd}']


def test_subscription_events_are_opened_and_keep_their_times(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(subscription(["one", '{"two": 2}'])))
    assert [(line.text, line.time_ms) for line in read_paths([file])] == [("one", 1_000), ('{"two": 2}', 1_001)]


def test_subscription_events_may_stand_in_lines_and_arrays(tmp_path: Path) -> None:
    events = [subscription(["one"]), subscription(["two", "three"])]
    assert texts(tmp_path, "\n".join(json.dumps(event) for event in events)) == ["one", "two", "three"]
    assert texts(tmp_path, json.dumps([*events, RECORD])) == ["one", "two", "three", json.dumps(RECORD)]


def test_control_messages_hold_no_records(tmp_path: Path) -> None:
    assert texts(tmp_path, json.dumps(subscription(["CWL CONTROL MESSAGE"], "CONTROL_MESSAGE"))) == []


def test_a_record_whose_body_mentions_a_subscription_stays_a_record(tmp_path: Path) -> None:
    record = json.dumps({"input": {"inputBodyJson": subscription(["one"])}})
    assert texts(tmp_path, record) == [record]


def test_folders_are_read_recursively_in_order_without_schemas_and_other_files(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/1.json", "a.json", "published/schema.json", "b/published/x.json", ".hidden/x.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"file": name}))
    for name in ("README.md", "tenants.yaml", ".x.json", "b/notes.txt"):
        (tmp_path / name).write_text("not for us")
    assert [json.loads(line.text)["file"] for line in read_paths([tmp_path])] == ["a.json", "b/1.json", "b/2.jsonl"]


def test_arguments_keep_their_order_and_may_repeat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'"{name}"')
    found = read_paths([tmp_path / "b", tmp_path / "a", tmp_path / "b"])
    assert [line.text for line in found] == ['"b"', '"a"', '"b"']


def test_lines_say_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n\n{}")
    assert [line.source for line in read_paths([tmp_path])] == [f"{tmp_path}/x.jsonl:1", f"{tmp_path}/x.jsonl:3"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"[ ]\n", "is empty"),
        (compressed(b"{}" * 100)[:-9], "is not a complete gzip file"),
        (b"\x1f\x8bnonsense", "is not a complete gzip file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not text"),
        (b'{"awslogs": {"data": "%%%"}}', "is not what CloudWatch Logs sends"),
        (
            json.dumps({"awslogs": {"data": base64.b64encode(compressed(b"[]")).decode()}}).encode(),
            "CloudWatch Logs",
        ),
        (b'"' + b"x" * MAXIMUM_RECORD_BYTES + b'"', "a log event holds at most"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises((BadInput, NoLog), match=complaint) as refusal:
        read_paths([file])
    assert isinstance(refusal.value, NoLog) == (complaint in ("is empty", "is not text"))
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_paths([tmp_path / "missing"])
    (tmp_path / "README.md").write_text("no data")
    with pytest.raises(BadInput, match="holds no record files"):
        read_paths([tmp_path])


def test_an_empty_file_among_others_in_a_folder_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("")
    (tmp_path / "b.json").write_text("{}")
    assert [line.text for line in read_paths([tmp_path])] == ["{}"]


def test_a_folder_brings_its_own_tenants_but_never_two_of_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "tenants.yaml").write_text("tenants: []")
    assert tenants_file_in([tmp_path / "b", tmp_path / "a", tmp_path / "a"]) == tmp_path / "a" / "tenants.yaml"
    assert tenants_file_in([tmp_path / "b"]) is None
    (tmp_path / "b" / "tenants.yaml").write_text("tenants: []")
    with pytest.raises(BadInput, match="--tenants"):
        tenants_file_in([tmp_path / "a", tmp_path / "b"])
