"""Publishing: ten at a time, an answer for each."""

from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.outbox import Pending, settle
from bedrock_meter.alerts.publisher import EventBridgeBus
from tests.doubles.records import NOW_MS


def pending(count: int) -> list[Pending]:
    return [Pending(Event(f"e{number}", "Tenant Throttled", {"number": number})) for number in range(count)]


class Events:
    """``PutEvents`` with programmed entry errors."""

    def __init__(self, errors: dict[int, str] | None = None, raises: Exception | None = None) -> None:
        self.errors = errors or {}
        self.raises = raises
        self.calls: list[list[dict[str, Any]]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        if self.raises:
            raise self.raises
        start = sum(map(len, self.calls))
        self.calls.append(Entries)
        codes = [self.errors.get(start + index) for index in range(len(Entries))]
        return {"Entries": [{"ErrorCode": code} if code else {"EventId": "x"} for code in codes]}


def test_events_go_ten_in_a_request_and_in_order() -> None:
    events = Events()
    outcome = EventBridgeBus(lambda: events, "bus").publish(pending(23), NOW_MS)
    assert [len(call) for call in events.calls] == [10, 10, 3]
    assert outcome.accepted == {f"e{number}" for number in range(23)}
    first = events.calls[0][0]
    assert (first["Source"], first["EventBusName"], first["Detail"]) == ("bedrock-meter", "bus", '{"number":0}')


def test_only_failed_entries_are_kept_and_only_refusals_count_against_them() -> None:
    events = Events({1: "ThrottlingException", 2: "NotAuthorizedForSourceException"})
    waiting = pending(4)
    outcome = EventBridgeBus(lambda: events, "bus").publish(waiting, NOW_MS)
    assert outcome.accepted == {"e0", "e3"}
    assert dict(outcome.failed) == {"e1": "ThrottlingException"}
    assert dict(outcome.refused) == {"e2": "NotAuthorizedForSourceException"}
    assert [(one.event.id, one.refusals) for one in settle(waiting, outcome)] == [("e1", 0), ("e2", 1)]


def test_an_unreachable_bus_refuses_nothing() -> None:
    outcome = EventBridgeBus(lambda: Events(raises=EndpointConnectionError(endpoint_url="x")), "bus").publish(
        pending(2), NOW_MS
    )
    assert set(outcome.failed) == {"e0", "e1"}
    assert not outcome.refused


def test_a_denied_request_is_a_refusal_of_each_of_its_events() -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutEvents")
    outcome = EventBridgeBus(lambda: Events(raises=denied), "bus").publish(pending(2), NOW_MS)
    assert set(outcome.refused) == {"e0", "e1"}
