"""Sending records through a local stack, and saying what became of every single one.

One batch is on its way at a time (see ``sending.py``). When all are recorded, it waits until everything that follows
has happened too: limits judged, events published, events received. Then all sources are compared.
"""

import base64
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bedrock_meter.clock import now_ms
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.local.conservation import PUBLISHED, READ, Counts, Delivered, contradictions
from bedrock_meter.local.consumer import Consumer, ReceivedEvent
from bedrock_meter.local.failures import Unaccounted
from bedrock_meter.local.measured import Measurements
from bedrock_meter.local.sending import STREAM, Batch, Message, batches, put
from bedrock_meter.local.settled import outstanding, read_quotas
from bedrock_meter.local.stack import LocalStack, Tell
from bedrock_meter.local.stored import Stored, read_stored
from bedrock_meter.storage.gauges import gauge_of
from bedrock_meter.storage.keys import GAUGE

RECORD_S = 130
"""How long one batch may take: the recorder's own time-out, and some for the machine."""

SETTLE_S = 90
"""How long judging and publishing may take after everything is recorded: longer than a sweep's minute."""

QUIET_S = 8
"""As often the functions are called for nothing while we wait: a log line that the local stack held back comes with the
next call."""

_POLL_S = 0.05
_SETTLE_POLL_S = 0.2
_FUNCTIONS = ("EvaluateQuotasFunction", "SweepFunction")


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the records of one replay.

    Attributes:
        counts: As the recorder measured them.
        added: What was added to the stores.
        events: What the consumer received meanwhile.
        gauges: Every tenant's gauge afterwards.
        at_ms: When the gauges were read.
    """

    counts: Counts
    added: Stored
    events: Sequence[ReceivedEvent]
    gauges: dict[str, Gauge]
    at_ms: int


class Replay:
    """One replay on one stack. Notes on creation what is there already, so that it can be left out."""

    def __init__(self, stack: LocalStack, *, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._outputs = stack.outputs
        endpoint = stack.endpoint
        self._logs = endpoint.client("logs")
        self._dynamodb = endpoint.client("dynamodb")
        self._s3 = endpoint.client("s3")
        self._functions = endpoint.client("lambda")
        self._recorder = Measurements(self._logs, self._log_group("RecordUsageFunction"))
        self._publishers = [Measurements(self._logs, self._log_group(name)) for name in _FUNCTIONS]
        self._consumer = Consumer(endpoint.client("sqs"), stack.outputs["ConsumerQueueUrl"])
        self._before = Stored()
        if stack.is_served:
            for measurements in (self._recorder, *self._publishers):
                measurements.skip()
            self._consumer.forget()
            self._before = self._stored()

    def run(self, messages: Sequence[Message], tell: Tell) -> Replayed:
        """Send messages and wait until all of their effects are there.

        Raises:
            Unaccounted: Something was lost, does not happen in time, or two sources contradict each other.
        """
        total = sum(message.is_record for message in messages)
        sent = 0
        for batch in batches(messages, self._clock):
            tell(f"sent {sent} of {total} records")
            put(self._logs, self._outputs["InvocationLogGroup"], batch)
            sent += batch.records
            self._await_recorded(batch, sent)
        tell(f"{recorder_words(Counts.measured(self._recorder.sums))}; waiting for verdicts and events")
        return self._settle(sent)

    def _await_recorded(self, batch: Batch, expected: int) -> None:
        """Wait until the recorder has reported all records sent so far."""
        patience = _Patience(RECORD_S)
        while True:
            self._recorder.poll()
            read = self._recorder.sums[READ]
            if read >= expected:
                return
            lost = f"{expected - read} of {expected} records sent were not recorded"
            if patience.is_exhausted():
                raise Unaccounted([f"{lost} within {RECORD_S} s; {self._ask(batch)}"])
            if patience.wants_nudge() and (complaints := self._nudge()):
                raise Unaccounted([lost, *complaints])
            time.sleep(_POLL_S)

    def _settle(self, sent: int) -> Replayed:
        patience = _Patience(SETTLE_S)
        while True:
            self._recorder.poll()
            for measurements in self._publishers:
                measurements.poll()
            self._consumer.poll()
            quotas = read_quotas(self._dynamodb, self._outputs["QuotasTable"])
            at_ms = self._clock()
            problems = outstanding(quotas, at_ms)
            if not problems:
                now = self._stored()
                added = now.since(self._before)
                counts = Counts.measured(self._recorder.sums)
                published = sum(measurements.sums[PUBLISHED] for measurements in self._publishers)
                events = Delivered(published, self._consumer.deliveries)
                problems = contradictions(sent, counts, added, now, events)
                if not problems:
                    gauges = {tenant: gauge_of(items[GAUGE]) for tenant, items in quotas.items() if GAUGE in items}
                    return Replayed(counts, added, tuple(self._consumer.events), gauges, at_ms)
            if patience.is_exhausted():
                raise Unaccounted(problems)
            if patience.wants_nudge() and (complaints := self._nudge()):
                raise Unaccounted([*problems, *complaints])
            time.sleep(_SETTLE_POLL_S)

    def _stored(self) -> Stored:
        return read_stored(self._dynamodb, self._s3, self._outputs)

    def _log_group(self, function: str) -> str:
        name = self._outputs[function]
        configuration = self._functions.get_function_configuration(FunctionName=name)
        group: str = configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        return group

    def _nudge(self) -> list[str]:
        """Call each function with nothing to do; returns the complaints of those that cannot even do that."""
        calls = {
            "RecordUsageFunction": _delivery("CONTROL_MESSAGE", []),
            "EvaluateQuotasFunction": {"Records": []},
            "SweepFunction": {},
        }
        answers = [self._invoke(function, event) for function, event in calls.items()]
        return [answer for answer in answers if answer]

    def _ask(self, batch: Batch) -> str:
        """Deliver a batch once more and directly: the answer says what the lost delivery would have."""
        return (
            self._invoke("RecordUsageFunction", _delivery("DATA_MESSAGE", batch.events)) or "delivered again it passes"
        )

    def _invoke(self, function: str, event: Any) -> str:
        """Call a function and wait; returns its error, empty if it ended well."""
        answer = self._functions.invoke(FunctionName=self._outputs[function], Payload=json.dumps(event).encode())
        payload = json.loads(answer["Payload"].read() or b"null")
        if not answer.get("FunctionError"):
            return ""
        document = payload if isinstance(payload, dict) else {}
        return f"{function} says: {document.get('errorType', 'error')}: {document.get('errorMessage', 'no reason')}"


def recorder_words(counts: Counts) -> str:
    """Say what became of all records, as the recorder measured it: "all recorded" only if all of them were."""
    if counts.read and counts.recorded == counts.read:
        return f"all {counts.read:,} records are recorded"
    others = {
        "known already": counts.duplicates,
        "of failed calls": counts.errors,
        "in quarantine": counts.quarantined,
    }
    said = ", ".join(
        [f"{counts.recorded:,} recorded", *(f"{count:,} {what}" for what, count in others.items() if count)]
    )
    return f"{counts.read:,} records read: {said}"


class _Patience:
    """How long to wait, and when to do something about it meanwhile."""

    def __init__(self, limit_s: float) -> None:
        now_s = time.monotonic()
        self._end_s = now_s + limit_s
        self._nudge_s = now_s + QUIET_S

    def is_exhausted(self) -> bool:
        return time.monotonic() >= self._end_s

    def wants_nudge(self) -> bool:
        if time.monotonic() < self._nudge_s:
            return False
        self._nudge_s = time.monotonic() + QUIET_S
        return True


def _delivery(message_type: str, events: Sequence[tuple[int, str]]) -> dict[str, Any]:
    payload = {
        "messageType": message_type,
        "owner": "000000000000",
        "logGroup": "",
        "logStream": STREAM,
        "subscriptionFilters": [],
        "logEvents": [
            {"id": str(number), "timestamp": time_ms, "message": text} for number, (time_ms, text) in enumerate(events)
        ],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(payload).encode())).decode()}}
