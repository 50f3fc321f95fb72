"""Paging through the log: with tokens as on AWS, and without as on the local stack."""

from typing import Any

import pytest

from bedrock_meter.errors import MeterError
from bedrock_meter.storage.invocation_log import CloudWatchInvocationLog

Event = tuple[int, str]


class Log:
    """``FilterLogEvents`` over events; ``tokens`` = whether it says that there is more."""

    def __init__(self, *events: Event, tokens: bool) -> None:
        self.events, self.tokens = sorted(events), tokens
        self.requests: list[dict[str, Any]] = []

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.requests.append({"nextToken": "0", **request})
        start_ms, end_ms, limit, begin = (request.get(n, 0) for n in ("startTime", "endTime", "limit", "nextToken"))
        found = [event for event in self.events if start_ms <= event[0] <= end_ms]
        begin = int(begin)
        page = [
            {"eventId": name, "logStreamName": "stream", "timestamp": at_ms, "message": "{}"}
            for at_ms, name in found[begin : begin + limit]
        ]
        more = self.tokens and begin + limit < len(found)
        return {"events": page, **({"nextToken": str(begin + limit)} if more else {})}


def read(log: Log, from_ms: int, to_ms: int) -> list[str]:
    pages = CloudWatchInvocationLog(log, "/group", page_events=3).pages(from_ms, to_ms)
    return [event.id for page in pages for event in page]


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 10])
def test_all_events_of_the_range_are_read(tokens: bool, count: int) -> None:
    inside = [(100 + number * 10, f"e{number}") for number in range(count)]
    log = Log((99, "before"), (200, "after"), *inside, tokens=tokens)
    assert sorted(read(log, 100, 200)) == [name for _, name in inside]


def test_tokens_are_followed_in_one_range() -> None:
    log = Log(*[(100 + number, f"e{number}") for number in range(8)], tokens=True)
    read(log, 100, 200)
    assert [(one["startTime"], one["endTime"], one["nextToken"]) for one in log.requests] == [
        (100, 199, "0"),
        (100, 199, "3"),
        (100, 199, "6"),
    ]


def test_what_cannot_be_read_whole_is_said() -> None:
    log = Log(*[(100, f"e{number}") for number in range(5)], tokens=False)
    with pytest.raises(MeterError, match="at 100 ms"):
        read(log, 0, 1_000)


def test_nothing_of_a_message_is_shown() -> None:
    (page,) = CloudWatchInvocationLog(Log((1, "e"), tokens=True), "/group").pages(0, 10)
    assert "message" not in repr(page)
