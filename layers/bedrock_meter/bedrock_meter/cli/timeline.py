"""Moving records in time before they are replayed, so that a sample of last spring fills today's windows.

Three facts: the deployed parser itself says when a record happened, so that both agree on every spelling; only the
characters of the record's top-level ``timestamp`` are replaced, so that nothing else about it can change; and a record
that the parser rejects is passed on byte for byte, because its time decides nothing.
"""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from bedrock_meter.cli.records import SourceLine
from bedrock_meter.clock import iso
from bedrock_meter.invocations.parser import LogLine, read
from bedrock_meter.invocations.quarantine import Reason, Rejected
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.local.sending import Message

EARLIEST_MS = 14 * 86_400_000
LATEST_MS = 2 * 3_600_000
"""How far from now, back and ahead, a log event may be dated (CloudWatch Logs, ``PutLogEvents``)."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(r"[^\s,}\]]+")
_BETWEEN = re.compile(r"[\s,:]*")


class TimeMode(StrEnum):
    """What happens to event times."""

    NOW = "now"
    """All are moved by the same amount, so that the newest is now."""
    FLAT = "flat"
    """Every record happened now."""
    RECORDED = "recorded"
    """They stay as they are."""


def place(lines: Sequence[SourceLine], mode: TimeMode, now_ms: int) -> list[Message]:
    """Return the messages to send for ``lines``, in the same order.

    A record without a readable time of its own happens when its log event says. Where its source was a subscription
    event that time is moved like the others and kept if CloudWatch Logs takes it; otherwise it is the time of sending.
    """
    judged = [_judge(line) for line in lines]
    newest_ms = max((one.event_ms for one in judged if one.event_ms is not None), default=now_ms)
    messages: list[Message] = []
    for line, one in zip(lines, judged, strict=True):
        text, log_time_ms = line.text, None
        if one.event_ms is not None:
            moved_ms = {
                TimeMode.NOW: max(0, one.event_ms - newest_ms + now_ms),
                TimeMode.FLAT: now_ms,
                TimeMode.RECORDED: one.event_ms,
            }[mode]
            if not one.by_record:
                log_time_ms = moved_ms if now_ms - EARLIEST_MS < moved_ms < now_ms + LATEST_MS else None
            elif mode is not TimeMode.RECORDED:
                text = with_timestamp(text, moved_ms)
        messages.append(Message(text, log_time_ms, one.is_record))
    return messages


def with_timestamp(record: str, event_ms: int) -> str:
    """Return the record's text with another top-level ``timestamp``; all other characters are kept.

    Args:
        record: A JSON object that has this key. Of a repeated key the last one counts, so that is the one replaced.
        event_ms: The new time.
    """
    span: tuple[int, int] | None = None
    position = record.index("{") + 1
    while True:
        position = _end(_BETWEEN, record, position)
        if record[position] == "}":
            break
        key_end = _end(_STRING, record, position)
        key = json.loads(record[position:key_end])
        start = _end(_BETWEEN, record, key_end)
        position = _past_value(record, start)
        if key == "timestamp":
            span = start, position
    if span is None:
        raise ValueError("the record has no timestamp")
    return f'{record[: span[0]]}"{iso(event_ms)}"{record[span[1] :]}'


class _Judged(NamedTuple):
    """What the parser makes of a line."""

    is_record: bool
    """Whether it is read at all."""
    event_ms: int | None = None
    """When it happened; None where that decides nothing."""
    by_record: bool = False
    """Whether the record itself says so, rather than its log event."""


def _judge(line: SourceLine) -> _Judged:
    found = read(LogLine(message=line.text))
    if isinstance(found, Invocation):
        return _Judged(True, found.event_ms, True)
    if isinstance(found, Rejected) and found.reason is Reason.TIME and line.time_ms is not None:
        return _Judged(True, line.time_ms)
    return _Judged(found is not None)


def _past_value(text: str, start: int) -> int:
    if text[start] == '"':
        return _end(_STRING, text, start)
    if text[start] not in "[{":
        return _end(_SCALAR, text, start)
    depth = 0
    for token in _STRUCTURE.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if not depth:
            return token.end()
    raise ValueError("the record does not end")


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    if match is None:
        raise ValueError("the record is not a JSON object")
    return match.end()
