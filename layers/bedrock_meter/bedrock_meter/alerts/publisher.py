"""Putting events on the bus: ten in a request, and an answer for each.

``PutEvents`` answers 200 with failed entries: only those are kept, under their ids. A failure of the whole request is
nobody's refusal, so the events stay due and nothing is counted against them.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from bedrock_meter.alerts.contracts import SOURCE
from bedrock_meter.alerts.outbox import Pending, PublishOutcome
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, is_passing

MAXIMUM_ENTRIES = 10
PASSING_ENTRY_CODES = frozenset({"InternalException", "InternalFailure", "ThrottlingException", "ServiceUnavailable"})


class EventBridgeBus:
    """``Bus`` over one event bus. Connects when the first event is published: most evaluations publish nothing."""

    def __init__(self, connect: Callable[[], Any], bus_name: str) -> None:
        self._connect = cache(connect)
        self._bus_name = bus_name

    def publish(self, events: Sequence[Pending], now_ms: int) -> PublishOutcome:
        """Put events in order; see ``Bus.publish``."""
        accepted: set[str] = set()
        refused: dict[str, str] = {}
        failed: dict[str, str] = {}
        for start in range(0, len(events), MAXIMUM_ENTRIES):
            chunk = events[start : start + MAXIMUM_ENTRIES]
            try:
                answer = self._connect().put_events(Entries=[self._entry(one, now_ms) for one in chunk])
            except AWS_ERRORS as error:
                code = error_code(error)
                target = failed if is_passing(error) else refused
                target.update({one.event.id: code or type(error).__name__ for one in chunk})
                continue
            for one, result in zip(chunk, answer["Entries"], strict=True):
                code = result.get("ErrorCode")
                if not code:
                    accepted.add(one.event.id)
                elif code in PASSING_ENTRY_CODES:
                    failed[one.event.id] = code
                else:
                    refused[one.event.id] = code
        return PublishOutcome(frozenset(accepted), refused, failed)

    def _entry(self, pending: Pending, now_ms: int) -> dict[str, Any]:
        event = pending.event
        return {
            "Time": datetime.fromtimestamp(now_ms / 1000, UTC),
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": json.dumps(event.detail, separators=(",", ":")),
            "Resources": event.resources,
            "EventBusName": self._bus_name,
        }
