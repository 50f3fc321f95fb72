"""Reading the invocation log again, for a range in which deliveries may have been lost.

Every record goes the ordinary way: as a delivery, through the recorder, whose ledger decides what is new. So a range
that was recorded already changes nothing, a backfill may run beside live deliveries of the same records, and one that
was stopped may begin again anywhere. It goes on where it stopped by *time*, slice by slice: neither a page's token,
which expires, nor the order of what a page holds matters.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bedrock_meter.limits.windows import QUARTER_MS

SLICE_MS = QUARTER_MS
"""What is read again at most after a stop. An empty slice costs one request."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event of the log.

    Attributes:
        id: As CloudWatch Logs names it: the same as in a subscription's delivery.
        stream: Its log stream.
        logged_ms: When it was logged.
        message: The record. Never shown.
    """

    id: str
    stream: str
    logged_ms: int
    message: str

    def __repr__(self) -> str:
        return f"LogEvent(id={self.id!r}, stream={self.stream!r}, logged_ms={self.logged_ms!r})"


class InvocationLog(Protocol):
    """A log group."""

    @property
    def name(self) -> str:
        """Its name."""

    def pages(self, from_ms: int, to_ms: int) -> Iterator[Sequence[LogEvent]]:
        """Yield all events logged in [from_ms, to_ms), of all streams, in any order."""


def backfill(
    log: InvocationLog,
    from_ms: int,
    to_ms: int,
    *,
    ingest: Callable[[dict[str, Any]], None],
    done: Callable[[int], None],
    owner: str = "",
) -> None:
    """Take in all records that were logged in [from_ms, to_ms). Doing it twice changes nothing.

    Args:
        log: Where they are.
        from_ms: Start of the range.
        to_ms: End of the range, exclusive.
        ingest: Takes one delivery in, as Lambda would hand it over; what it raises ends the backfill.
        done: Told, whenever a slice is recorded whole, up to which instant everything is.
        owner: Account of the log group, as a delivery's envelope names it.
    """
    while from_ms < to_ms:
        end_ms = min(to_ms, (from_ms // SLICE_MS + 1) * SLICE_MS)
        for page in log.pages(from_ms, end_ms):
            for delivery in deliveries(log.name, page, owner):
                ingest(delivery)
        done(end_ms)
        from_ms = end_ms


def deliveries(log_group: str, page: Iterable[LogEvent], owner: str = "") -> Iterator[dict[str, Any]]:
    """Yield a page as the events that a subscription would have sent: one for each log stream."""
    streams: dict[str, list[dict[str, Any]]] = {}
    for event in page:
        line = {"id": event.id, "timestamp": event.logged_ms, "message": event.message}
        streams.setdefault(event.stream, []).append(line)
    for stream, lines in streams.items():
        payload = {
            "messageType": "DATA_MESSAGE",
            "owner": owner,
            "logGroup": log_group,
            "logStream": stream,
            "subscriptionFilters": ["backfill"],
            "logEvents": lines,
        }
        packed = gzip.compress(json.dumps(payload).encode(), compresslevel=1)
        yield {"awslogs": {"data": base64.b64encode(packed).decode()}}
