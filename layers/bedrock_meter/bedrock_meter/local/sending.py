"""Writing messages to the invocation log group, within the limits of ``PutLogEvents``.

The local stack neither repeats a failed delivery nor keeps one that meets a concurrency limit: it vanishes. So one
batch is on its way at a time, and the next one follows when the recorder has reported every record of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

STREAM = "aws/bedrock/modelinvocations"
"""The log stream that Bedrock writes to."""

MAXIMUM_EVENTS = 200
MAXIMUM_BYTES = 512 * 1024
"""Smaller than the service's 10,000 events and 1 MB: a delivery should take the recorder a second or two."""

EVENT_OVERHEAD_BYTES = 26
MAXIMUM_MESSAGE_BYTES = 1_048_576 - EVENT_OVERHEAD_BYTES
MAXIMUM_SPAN_MS = 24 * 3_600_000
"""``PutLogEvents``: bytes counted for each event beside its message, the largest request, the longest time it spans."""


@dataclass(frozen=True, slots=True)
class Message:
    """One log event to write.

    Attributes:
        text: The message.
        time_ms: The log event's time; None = when it is sent.
        is_record: Whether the recorder counts it as read (everything but the line about permissions).
    """

    text: str
    time_ms: int | None
    is_record: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one ``PutLogEvents`` takes, in chronological order."""

    events: tuple[tuple[int, str], ...]
    records: int


def batches(messages: Sequence[Message], clock: Callable[[], int]) -> Iterator[Batch]:
    """Cut messages into batches, in order; messages without a time get the time at which their batch is made."""
    events: list[tuple[int, str]] = []
    size = records = 0
    now_ms = clock()
    for message in messages:
        message_bytes = len(message.text.encode()) + EVENT_OVERHEAD_BYTES
        time_ms = now_ms if message.time_ms is None else message.time_ms
        in_order = not events or events[-1][0] <= time_ms <= events[0][0] + MAXIMUM_SPAN_MS
        if events and not (in_order and len(events) < MAXIMUM_EVENTS and size + message_bytes <= MAXIMUM_BYTES):
            yield Batch(tuple(events), records)
            events, size, records = [], 0, 0
            now_ms = clock()
            time_ms = now_ms if message.time_ms is None else message.time_ms
        events.append((time_ms, message.text))
        size += message_bytes
        records += message.is_record
    if events:
        yield Batch(tuple(events), records)


def put(logs: Any, group: str, batch: Batch) -> None:
    """Write one batch."""
    events = [{"timestamp": time_ms, "message": text} for time_ms, text in batch.events]
    logs.put_log_events(logGroupName=group, logStreamName=STREAM, logEvents=events)


def ensure_stream(logs: Any, group: str) -> None:
    """Create the log stream unless it is there."""
    try:
        logs.create_log_stream(logGroupName=group, logStreamName=STREAM)
    except logs.exceptions.ResourceAlreadyExistsException:
        return
