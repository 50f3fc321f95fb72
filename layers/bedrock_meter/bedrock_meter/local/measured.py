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
        sums: Totals by metric name.
    """

    def __init__(self, logs: Any, group: str) -> None:
        self._logs = logs
        self._group = group
        self._from_ms = 0
        self._seen: set[tuple[str, int, str]] = set()
        self.sums: Counter[str] = Counter()

    def skip(self) -> None:
        """Leave out everything measured so far."""
        self.poll()
        self.sums.clear()

    def poll(self) -> None:
        """Take in what is new. Counters add up; so does everything else, which only makes sense for counters."""
        while self._take_page():
            pass

    def _take_page(self) -> bool:
        """Take in what one request shows; returns whether there was anything new, so that there may be more."""
        found = False
        for event in self._events():
            self._from_ms = max(self._from_ms, event["timestamp"])
            identity = (event["logStreamName"], event["timestamp"], event["message"])
            if identity not in self._seen:
                self._seen.add(identity)
                self.sums.update(metrics_in(event["message"]))
                found = True
        return found

    def _events(self) -> list[Any]:
        try:
            answer = self._logs.filter_log_events(
                logGroupName=self._group, startTime=self._from_ms, filterPattern=_MARK
            )
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
