"""A consumer of the published events: reads the queue that the template's rule fills, as any service would."""

import json
from dataclasses import dataclass
from typing import Any

_BATCH = 10


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An EventBridge event as it arrived.

    Attributes:
        detail_type: What happened.
        id: The event's deterministic id: the same in every copy.
        tenant: Whom it is about; None for usage that belongs to nobody yet.
        time: When it was put on the bus, ISO 8601.
        detail: Its content.
        body: The whole event.
    """

    detail_type: str
    id: str
    tenant: str | None
    time: str
    detail: dict[str, Any]
    body: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """Return the event as the command's output shows it."""
        return {"detail-type": self.detail_type, "id": self.id, "tenant": self.tenant, "detail": self.detail}


class Consumer:
    """Receives events and keeps them; what was received is deleted from the queue.

    Attributes:
        events: In the order of arrival, each event id once.
        deliveries: Number of messages received, copies included.
    """

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._seen: set[str] = set()
        self.events: list[ReceivedEvent] = []
        self.deliveries = 0

    def poll(self) -> None:
        """Receive all that is in the queue now; does not wait for more."""
        while messages := self._receive():
            entries = []
            for number, message in enumerate(messages):
                entries.append({"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]})
                self.deliveries += 1
                event = received_event(json.loads(message["Body"]))
                if event.id not in self._seen:
                    self._seen.add(event.id)
                    self.events.append(event)
            self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)

    def forget(self) -> None:
        """Leave out everything received so far."""
        self.poll()
        self._seen.clear()
        self.events.clear()
        self.deliveries = 0

    def _receive(self) -> list[Any]:
        answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=0)
        found: list[Any] = answer.get("Messages", [])
        return found


def received_event(body: dict[str, Any]) -> ReceivedEvent:
    """Read an event as EventBridge delivers it."""
    detail = body["detail"]
    return ReceivedEvent(
        detail_type=body["detail-type"],
        id=detail.get("event_id", body["id"]),
        tenant=detail.get("tenant"),
        time=body["time"],
        detail=detail,
        body=body,
    )
