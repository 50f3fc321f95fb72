import json
from typing import Any

from bedrock_meter.local.consumer import Consumer


def body(event_id: str | None, **detail: Any) -> str:
    inside = detail if event_id is None else {"event_id": event_id, **detail}
    return json.dumps(
        {"id": f"copy-of-{event_id}", "detail-type": "T", "time": "2026-11-24T01:00:00Z", "detail": inside}
    )


class Queue:
    """SQS with one queue."""

    def __init__(self, bodies: list[str]) -> None:
        self.bodies = dict(enumerate(bodies))

    def receive_message(self, *, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:  # noqa: N803
        some = list(self.bodies.items())[:MaxNumberOfMessages]
        return {"Messages": [{"ReceiptHandle": str(n), "Body": text} for n, text in some]} if some else {}

    def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: Any) -> None:  # noqa: N803
        assert len({entry["Id"] for entry in Entries}) == len(Entries)
        for entry in Entries:
            del self.bodies[int(entry["ReceiptHandle"])]


def test_everything_is_received_once_and_taken_off_the_queue() -> None:
    queue = Queue(
        [body(str(n), tenant="acme") for n in range(25)] + [body("3", tenant="acme"), body(None, profile="p")]
    )
    consumer = Consumer(queue, "u")
    consumer.poll()
    consumer.poll()
    assert not queue.bodies
    assert consumer.deliveries == 27
    assert [event.id for event in consumer.events] == [str(n) for n in range(25)] + ["copy-of-None"]
    assert consumer.events[0].document() == {
        "detail-type": "T",
        "id": "0",
        "tenant": "acme",
        "detail": {"event_id": "0", "tenant": "acme"},
    }
    assert consumer.events[-1].tenant is None


def test_what_came_before_can_be_forgotten() -> None:
    queue = Queue([body("old")])
    consumer = Consumer(queue, "u")
    consumer.forget()
    queue.bodies[9] = body("new")
    consumer.poll()
    assert ([event.id for event in consumer.events], consumer.deliveries) == (["new"], 1)
