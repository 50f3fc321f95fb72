"""The invocation log in CloudWatch Logs, read by time: ``InvocationLog``.

CloudWatch Logs gives a token with every page but the last. The local stack gives none and cuts the answer off. So a
full page without a token is not believed: its range is read again in halves, which costs requests and loses nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bedrock_meter.errors import MeterError
from bedrock_meter.reconciliation.backfill import LogEvent
from bedrock_meter.storage.patience import patiently

MAXIMUM_EVENTS = 10_000
"""What one page holds at most; on AWS also 1 MB."""


class CloudWatchInvocationLog:
    """A log group, read with the caller's own credentials (``logs:FilterLogEvents``)."""

    def __init__(self, client: Any, log_group: str, *, page_events: int = MAXIMUM_EVENTS) -> None:
        self._client = client
        self._log_group = log_group
        self._page_events = page_events

    @property
    def name(self) -> str:
        """Name of the log group."""
        return self._log_group

    def pages(self, from_ms: int, to_ms: int) -> Iterator[Sequence[LogEvent]]:
        """Yield pages; an empty one does not mean the end, and an event may come twice.

        Raises:
            MeterError: More events than a page holds bear the same millisecond, and the service gives no token.
        """
        # The service's end is inclusive.
        request: dict[str, Any] = {
            "logGroupName": self._log_group,
            "startTime": from_ms,
            "endTime": to_ms - 1,
            "limit": self._page_events,
        }
        while True:
            answer = patiently(lambda: self._client.filter_log_events(**request))
            found = answer.get("events", [])
            if not answer.get("nextToken") and "nextToken" not in request and len(found) >= self._page_events:
                yield from self._halves(from_ms, to_ms)
                return
            yield [
                LogEvent(one["eventId"], one.get("logStreamName", ""), one["timestamp"], one["message"])
                for one in found
            ]
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]

    def _halves(self, from_ms: int, to_ms: int) -> Iterator[Sequence[LogEvent]]:
        if to_ms - from_ms < 2:
            raise MeterError(f"log group {self._log_group} does not give all that was logged at {from_ms} ms")
        middle_ms = (from_ms + to_ms) // 2
        yield from self.pages(from_ms, middle_ms)
        yield from self.pages(middle_ms, to_ms)
