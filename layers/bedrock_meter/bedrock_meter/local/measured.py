"""What the deployed functions measured: their embedded metrics, read from the log groups that they write to.

Emulators do not turn embedded metrics into CloudWatch metrics, and on AWS those are late and summed up; the log line is
the measurement itself. Each line is taken once: an invocation writes one, in the local stack into a stream of its own.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

NAMESPACE = "BedrockMeter"
_MARK = f'"{NAMESPACE}"'


class Measurements:
    """Adds up the metrics of one function, from a point in its log on.

    Attributes:
        group: Its log group.
        sums: Totals by metric name.
        lines: How many metric lines they come from.
    """

    def __init__(self, logs: Any, group: str) -> None:
        self._logs = logs
        self.group = group
        self._from_ms = 0
        self._seen: set[tuple[str, int, str]] = set()
        self.sums: Counter[str] = Counter()
        self.lines = 0

    def skip(self) -> None:
        """Leave out everything measured so far."""
        self.poll()
        self.sums.clear()
        self.lines = 0

    def poll(self) -> None:
        """Take in what is new. Counters add up; so does everything else, which only makes sense for counters."""
        newest_ms = self._from_ms
        for event in self._events():
            newest_ms = max(newest_ms, event["timestamp"])
            identity = (event["logStreamName"], event["timestamp"], event["message"])
            if identity not in self._seen:
                self._seen.add(identity)
                values = metrics_in(event["message"])
                self.sums.update(values)
                self.lines += bool(values)
        self._from_ms = newest_ms

    def complaints(self) -> list[str]:
        """Return what the function itself reported as an error, newest last."""
        found = self._logs.filter_log_events(logGroupName=self.group)["events"]
        return [event["message"].rstrip() for event in found if '"level":"ERROR"' in event["message"]]

    def _events(self) -> list[Any]:
        try:
            answer = self._logs.filter_log_events(logGroupName=self.group, startTime=self._from_ms, filterPattern=_MARK)
        except self._logs.exceptions.ResourceNotFoundException:
            return []
        found: list[Any] = answer["events"]
        return found


def metrics_in(line: str) -> dict[str, int]:
    """Return the metrics of one log line by name; empty if it holds none of ours."""
    if _MARK not in line:
        return {}
    try:
        document = json.loads(line)
    except ValueError:
        return {}
    declared = document.get("_aws", {}).get("CloudWatchMetrics", []) if isinstance(document, Mapping) else []
    names = [
        metric["Name"]
        for declaration in declared
        if declaration["Namespace"] == NAMESPACE
        for metric in declaration["Metrics"]
    ]
    return {name: _total(document[name]) for name in names}


def _total(value: Any) -> int:
    return round(sum(value)) if isinstance(value, list) else round(value)
