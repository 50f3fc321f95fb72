"""From a delivery of log records to recorded usage: read, admit, quarantine, record.

One record may fail, never its batch. What cannot be read or may not be admitted goes to quarantine by itself;
everything else is recorded first, so that a quarantine that is out of order costs a redelivery and nothing more.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from bedrock_meter.errors import DeliverAgain, UnreadablePayload
from bedrock_meter.invocations.admission import inadmissible
from bedrock_meter.invocations.parser import decode_subscription, read, reject, reject_payload
from bedrock_meter.invocations.quarantine import Rejected
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.usage.recorder import Recorded, Recorder


class Quarantine(Protocol):
    """Where unreadable and inadmissible records are noted, without their content."""

    def keep(self, rejected: Rejected, now_ms: int) -> bool:
        """Note one; the same one again changes nothing. False if the store is busy."""


class Ingested(Struct):
    """What became of one delivery.

    Unless it has to be delivered again, ``read = recorded + duplicates + errors + quarantined``.
    """

    read: int = 0
    quarantined: int = 0
    control_messages: int = 0
    lag_ms: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    usage: Recorded = field(default_factory=Recorded)


class Ingestion:
    """Takes deliveries in. One instance lives as long as the function's environment."""

    def __init__(
        self, recorder: Recorder, quarantine: Quarantine, *, retention_ms: int, clock: Callable[[], int]
    ) -> None:
        self._recorder = recorder
        self._quarantine = quarantine
        self._retention_ms = retention_ms
        self._clock = clock

    def ingest(self, event: Mapping[str, Any], report: Ingested, remaining_ms: Callable[[], int]) -> None:
        """Take in one CloudWatch Logs subscription event. The same one again changes nothing.

        Args:
            event: The event as Lambda hands it over.
            report: Filled with what happened, also when this raises.
            remaining_ms: How much time the caller has left.

        Raises:
            DeliverAgain: Something is not recorded or not noted yet.
        """
        now_ms = self._clock()
        try:
            batch = decode_subscription(event)
        except UnreadablePayload as problem:
            report.read += 1
            self._reject([reject_payload(event, problem.reason)], report, now_ms)
            return
        if batch.control:
            report.control_messages += 1
            return
        invocations: list[Invocation] = []
        rejected: list[Rejected] = []
        for line in batch.lines:
            found = read(line)
            if found is None:
                continue
            report.read += 1
            if isinstance(found, Rejected):
                rejected.append(found)
                continue
            reason = inadmissible(found.event_ms, now_ms, self._retention_ms)
            if reason is not None:
                rejected.append(reject(line, reason, found.event_ms))
                continue
            report.lag_ms = max(report.lag_ms, now_ms - found.event_ms)
            invocations.append(found)
        try:
            self._recorder.record(invocations, report.usage, remaining_ms)
        finally:
            self._reject(rejected, report, now_ms)

    def _reject(self, rejected: Iterable[Rejected], report: Ingested, now_ms: int) -> None:
        missed = 0
        for one in rejected:
            if self._quarantine.keep(one, now_ms):
                report.quarantined += 1
                report.reasons[one.reason] = report.reasons.get(one.reason, 0) + 1
            else:
                missed += 1
        if missed:
            raise DeliverAgain(f"{missed} rejected records could not be noted in quarantine yet")
