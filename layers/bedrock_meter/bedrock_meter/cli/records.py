"""Reading what a person wants to replay: files and folders of invocation log records, in the forms in which they occur.

Three facts: a record is passed on as the very text that was found (nothing is parsed and written again, so that big
numbers, duplicate keys and broken lines reach the deployed code as they are); a string in a JSON array is a message by
itself, which is how exports of a log group look; and what is no record is passed on too, because to judge it is the
deployed code's business. Only what holds no record at all is refused: a person who names it has the wrong file.
"""

import base64
import binascii
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedrock_meter.local.failures import BadInput, NoLog
from bedrock_meter.local.sending import MAXIMUM_MESSAGE_BYTES

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".log", ".gz")
"""What is read from a folder. A file that is named itself is read whatever its name."""

SCHEMA_FOLDER = "published"
"""Holds the schemas and examples of our own events, beside the sample records."""

TENANTS_FILE = "tenants.yaml"

MAXIMUM_RECORD_BYTES = MAXIMUM_MESSAGE_BYTES - 40
"""A moved timestamp may be that much longer than the one that was there."""

MAXIMUM_INFLATED_BYTES = 1 << 30
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
_SCHEMA = "ModelInvocationLog"
_NOTHING = re.compile(r"\s*(\[\s*\]\s*)?")
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One message for the invocation log group.

    Attributes:
        text: As it was found.
        time_ms: The log event's own time where the source had one, else None.
        source: Where it comes from, for people: ``file:line`` or ``file[index]``.
    """

    text: str
    time_ms: int | None
    source: str


def read_paths(paths: Sequence[Path]) -> list[SourceLine]:
    """Read all log lines of files and folders, in the order of the arguments; folders recursively, sorted by name.

    Control messages of subscription events are left out: they carry no records.

    Raises:
        BadInput: An argument does not exist or cannot be read; or a record is larger than a log event.
        NoLog: An argument is empty, or is no text.
    """
    lines: list[SourceLine] = []
    for path in paths:
        files = _files(path)
        if not files:
            raise BadInput(f"{path}: holds no record files ({' '.join(DATA_SUFFIXES)})")
        contents = [_read(file) for file in files]
        if all(_NOTHING.fullmatch(content) for content in contents):
            raise NoLog(f"{path}: is empty, so it is no invocation log; nothing was sent")
        for file, content in zip(files, contents, strict=True):
            lines.extend(read_text(content, str(file)))
    for line in lines:
        size = len(line.text.encode())
        if size > MAXIMUM_RECORD_BYTES:
            raise BadInput(f"{line.source}: {size:,} bytes; a log event holds at most {MAXIMUM_MESSAGE_BYTES:,}")
    return lines


def read_logs(paths: Sequence[Path]) -> list[SourceLine]:
    """Read all log lines as ``read_paths`` does, of arguments of which each holds a record.

    Raises:
        BadInput: As of ``read_paths``.
        NoLog: An argument is empty, is no text, or holds no record at all, not even a damaged one.
    """
    lines: list[SourceLine] = []
    for path in paths:
        found = read_paths([path])
        if found and not any(_is_of_a_log(line.text) for line in found):
            raise NoLog(
                f"{path}: is no invocation log: none of its lines ({len(found):,}) is a record of Bedrock; nothing was"
                " sent"
            )
        lines += found
    return lines


def _is_of_a_log(text: str) -> bool:
    """Whether a line is one that Bedrock writes, as it is or damaged."""
    from bedrock_meter.invocations.parser import LogLine, read
    from bedrock_meter.invocations.quarantine import Reason, Rejected

    found = read(LogLine(message=text))
    if not isinstance(found, Rejected) or found.reason not in (
        Reason.NOT_JSON,
        Reason.TOO_DEEP,
        Reason.NOT_AN_INVOCATION_RECORD,
    ):
        return True
    return found.reason is not Reason.NOT_AN_INVOCATION_RECORD and text.lstrip().startswith("{") and _SCHEMA in text


def tenants_file_in(paths: Sequence[Path]) -> Path | None:
    """Return the tenants file that one of the given folders holds, or None.

    Raises:
        BadInput: Several of the folders hold one, so that somebody has to choose.
    """
    found = [path / TENANTS_FILE for path in dict.fromkeys(paths) if (path / TENANTS_FILE).is_file()]
    if len(found) > 1:
        raise BadInput(f"both {found[0]} and {found[1]} exist: choose with --tenants")
    return found[0] if found else None


def read_text(content: str, name: str) -> list[SourceLine]:
    """Read the log lines of one file's content: one JSON value, or else one record (or subscription event) a line."""
    start = _past_space(content, 0)
    try:
        if content.startswith("[", start):
            elements = _array_elements(content, start)
            return [line for index, one in enumerate(elements) for line in _messages(one, f"{name}[{index}]", True)]
        end = _value_end(content, start)
        if _past_space(content, end) == len(content):
            return _messages(content[start:end], name)
    except ValueError:
        pass  # not one JSON value, so it is lines
    lines: list[SourceLine] = []
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            lines.extend(_messages(line.rstrip("\r"), f"{name}:{number}"))
    return lines


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        files: list[Path] = []
        for entry in sorted(path.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.name != SCHEMA_FOLDER and not entry.is_symlink():
                    files += _files(entry)
            elif entry.name.endswith(DATA_SUFFIXES):
                files.append(entry)
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror or problem}") from problem
    return files


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror or problem}") from problem
    if content.startswith(_GZIP_MAGIC):
        try:
            content = _inflate(content)
        except (OSError, EOFError, zlib.error) as problem:
            raise BadInput(f"{path}: is not a complete gzip file") from problem
    if b"\0" in content:
        raise NoLog(f"{path}: is not text, so it is no invocation log; nothing was sent")
    # A log holds Unicode only: what is no UTF-8 cannot be passed on as it is, and a broken line stays a broken line.
    return content.decode("utf-8-sig", errors="replace")


def _inflate(content: bytes) -> bytes:
    inflated = bytearray()
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        while piece := stream.read(_CHUNK_BYTES):
            inflated += piece
            if len(inflated) > MAXIMUM_INFLATED_BYTES:
                raise OSError("inflates beyond every bound")
    return bytes(inflated)


def _value_end(text: str, start: int) -> int:
    """Return where the JSON value that begins at ``start`` ends.

    Raises:
        ValueError: There is none, or it is nested too deep to be taken apart.
    """
    try:
        return json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text, start)[1]
    except RecursionError as problem:
        raise ValueError("nested too deep") from problem


def _array_elements(text: str, start: int) -> list[str]:
    elements: list[str] = []
    position = _past_space(text, start + 1)
    closed = text.startswith("]", position)
    while not closed:
        end = _value_end(text, position)
        elements.append(text[position:end])
        position = _past_space(text, end)
        closed = text.startswith("]", position)
        if not closed:
            if not text.startswith(",", position):
                raise ValueError("not an array")
            position = _past_space(text, position + 1)
    if _past_space(text, position + 1) != len(text):
        raise ValueError("more than an array")
    return elements


def _past_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _messages(text: str, source: str, in_array: bool = False) -> list[SourceLine]:
    """Return the lines of one value: those inside a subscription event, or the value itself."""
    if in_array and text.startswith('"'):
        return [SourceLine(_unicode(json.loads(text)), None, source)]
    data = _subscription_data(text)
    return [SourceLine(text, None, source)] if data is None else _subscription_lines(data, source)


def _subscription_data(text: str) -> str | None:
    if '"awslogs"' not in text:
        return None
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    awslogs = event.get("awslogs") if isinstance(event, dict) else None
    data = awslogs.get("data") if isinstance(awslogs, dict) else None
    return data if isinstance(data, str) else None


def _subscription_lines(data: str, source: str) -> list[SourceLine]:
    try:
        payload: Any = json.loads(_inflate(base64.b64decode(data, validate=True)))
        if payload.get("messageType") == "CONTROL_MESSAGE":
            return []
        return [
            SourceLine(_unicode(event["message"]), int(event["timestamp"]), f"{source}[{index}]")
            for index, event in enumerate(payload["logEvents"])
        ]
    except (OSError, EOFError, zlib.error, binascii.Error, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadInput(f"{source}: its awslogs.data is not what CloudWatch Logs sends") from problem


def _unicode(message: str) -> str:
    """Return the message without halves of surrogate pairs, which no log can hold."""
    return message.encode("utf-8", errors="replace").decode()
