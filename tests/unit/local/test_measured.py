import json
from typing import Any

import pytest

from bedrock_meter.local.measured import Measurements, metrics_in


def line(timestamp: int = 1, namespace: str = "BedrockMeter", **values: Any) -> str:
    declared = {"Namespace": namespace, "Dimensions": [["service"]], "Metrics": [{"Name": name} for name in values]}
    return json.dumps({"_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [declared]}, "service": "s", **values})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (line(RecordsRead=[3.0], RecordsFailed=[0.0]), {"RecordsRead": 3, "RecordsFailed": 0}),
        (line(RecordsRead=4), {"RecordsRead": 4}),
        (line(RecordsRead=[1.0, 2.0]), {"RecordsRead": 3}),
        (line(namespace="Other", RecordsRead=4), {}),
        ('{"message": "about \\"BedrockMeter\\""}', {}),
        ('["BedrockMeter"]', {}),
        ('START RequestId "BedrockMeter"', {}),
    ],
)
def test_a_log_line_is_a_measurement_only_if_it_declares_ours(text: str, wanted: dict[str, int]) -> None:
    assert metrics_in(text) == wanted


class Logs:
    """A log group: events with a time, a stream and a message."""

    class exceptions:  # noqa: N801 - botocore's name
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, page: int = 10_000) -> None:
        self.events: list[tuple[int, str, str]] | None = None
        self.page = page

    def filter_log_events(self, *, startTime: int = 0, **_: str) -> dict[str, Any]:  # noqa: N803
        if self.events is None:
            raise self.exceptions.ResourceNotFoundException
        return {
            "events": [
                {"timestamp": time_ms, "logStreamName": stream, "message": message}
                for time_ms, stream, message in self.events
                if time_ms >= startTime
            ][: self.page]
        }


def test_each_line_counts_once_however_often_one_looks() -> None:
    logs = Logs()
    measurements = Measurements(logs, "g")
    measurements.poll()
    logs.events = [(10, "a", line(RecordsRead=[3.0])), (10, "b", line(RecordsRead=[3.0])), (10, "b", "END")]
    measurements.poll()
    measurements.poll()
    assert measurements.sums["RecordsRead"] == 6
    logs.events.append((10, "c", line(RecordsRead=[1.0])))
    logs.events.append((11, "c", line(2, RecordsRead=[1.0])))
    measurements.poll()
    assert measurements.sums["RecordsRead"] == 8


def test_what_was_there_before_can_be_left_out() -> None:
    logs = Logs()
    logs.events = [(10, "a", line(RecordsRead=[3.0]))]
    measurements = Measurements(logs, "g")
    measurements.skip()
    logs.events.append((10, "b", line(RecordsRead=[2.0])))
    measurements.poll()
    assert measurements.sums["RecordsRead"] == 2


def test_more_than_one_answer_holds_is_taken_in_too() -> None:
    logs = Logs(page=3)
    logs.events = [(n, str(n), line(n, RecordsRead=[1.0])) for n in range(10)]
    measurements = Measurements(logs, "g")
    measurements.skip()
    logs.events += [(n, str(n), line(n, RecordsRead=[1.0])) for n in range(10, 17)]
    measurements.poll()
    assert measurements.sums["RecordsRead"] == 7
