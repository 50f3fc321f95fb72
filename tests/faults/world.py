"""The doubles of AWS that a schedule runs on, with their faults, and what they remember for the oracle."""

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import botocore.endpoint
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.limit import Limit, default_name
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import parse_window
from bedrock_meter.settings import Tables
from bedrock_meter.storage import connection, patience
from tests.doubles.failures import failed_delivery, failure_key
from tests.faults import faults
from tests.faults.dynamodb import DynamoDB, Transaction
from tests.faults.faults import Faults
from tests.faults.scheduler import Killed, Scheduler
from tests.faults.schedules import KINDS, Ceiling, Line, Rerate, Schedule
from tests.faults.table import Table, Write
from tests.faults.values import Item, ServiceError, Unsupported
from tests.faults.wire import attached

TABLES = Tables("ledger", "usage", "quotas", "tenants")
BUCKET = "failures"
FAILURES_PREFIX = "aws/lambda/"
DAY_MS = 86_400_000
CALL_MS = 12
"""A call takes up to this long, and its answer as long again."""

_ENDPOINT = "https://simulated.invalid"
_KEYS = {"ledger": ("pk", None), "usage": ("pk", "sk"), "quotas": ("pk", "sk"), "tenants": ("pk", "sk")}
_INDEXES: dict[str, dict[str, tuple[str, str | None]]] = {
    "ledger": {"unattributed": ("unattributed_profile", "event_ms")},
    "quotas": {"due": ("due_shard", "next_due_ms")},
}
_TYPES = {"pk": "S", "sk": "S", "unattributed_profile": "S", "event_ms": "N", "due_shard": "S", "next_due_ms": "N"}
_ENTRY_FAULTS = ("InternalFailure", "ThrottlingException")


@dataclass(frozen=True)
class RatedAnew:
    """A run of ``rerate`` that came to its end.

    Attributes:
        began: How many changes had been written when it began.
        ended: How many, when it ended.
        at_ms: When it ended.
        planned: What was rated.
    """

    began: int
    ended: int
    at_ms: int
    planned: Rerate


class World:
    """Four tables, a bus and a bucket; every call to them takes time, can fail and lets others run.

    Attributes:
        accepted: What the bus took, in order: (detail type, detail).
        objects: What the bucket holds, by key: notes of the quarantine, and deliveries that were given up.
        failed: All deliveries that ever were given up, as Lambda wrote them.
        taken_ms: When the last of them was taken out of the bucket.
        stream: Keys of changed Quotas items with the image after the change, in order.
        outage_ms: From when to when DynamoDB answers nothing but status 500; set when the set-up is done.
        rated: Each run of ``rerate`` that came to its end.
        installed: Each change of a tenant's layout: (sequence, clock of who changed it, tenant, limits as stored).
    """

    def __init__(self, schedule: Schedule, wrong: Faults, *, latency_ms: int = CALL_MS) -> None:
        self.schedule = schedule
        self.chance = random.Random(schedule.seed + 1)
        self.scheduler = Scheduler(random.Random(schedule.seed + 2), schedule.start_ms)
        self.double = DynamoDB(lambda: self.scheduler.now_ms, self._pause)
        self.double.page = self.chance.choice((3, 100))
        if not schedule.reports_all:
            self.double.reported = lambda positions: self.chance.sample(
                positions, self.chance.randrange(1, len(positions) + 1)
            )
        for name, schema in _KEYS.items():
            self.double.tables[name] = Table(name, schema, _TYPES, _INDEXES.get(name, {}))
        self.double.observers.append(self._observe)
        self.wrong = wrong
        self.outage_ms: tuple[int, int] | None = None
        self.accepted: list[tuple[str, dict[str, Any]]] = []
        self.objects: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.failed: dict[str, bytes] = {}
        self.taken_ms = 0
        self.stream: list[tuple[str, str, Item | None]] = []
        self.installed: list[tuple[int, int, str, str]] = []
        self.rated: list[RatedAnew] = []
        self.installer_ms = schedule.start_ms
        self._latency_ms = latency_ms
        self._detached: list[Transaction] = []
        self._expired_ms = schedule.start_ms
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the handlers' own client of a service, answered by this world."""
        if service not in self._clients:
            self._clients[service] = attached(service, self)
        return self._clients[service]

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request, or fail as the schedule says."""
        self._pause()
        self._settle()
        outage_ms = self.outage_ms
        if service == "dynamodb" and outage_ms and outage_ms[0] <= self.scheduler.now_ms < outage_ms[1]:
            raise ServiceError("InternalServerError", status=500)
        kind = self.wrong.decide(service, operation)
        if kind == faults.KILLED_BEFORE:
            raise Killed
        if kind == faults.THROTTLED:
            raise ServiceError("ThrottlingException", "Rate exceeded")
        if kind == faults.INTERNAL:
            raise ServiceError("InternalServerError" if service == "dynamodb" else "InternalError", status=500)
        if kind == faults.UNREACHABLE:
            raise EndpointConnectionError(endpoint_url=_ENDPOINT)
        if kind == faults.DETACHED:
            transaction = self.double.begin(request)
            if transaction is not None:
                self._detached.append(transaction)
            raise ReadTimeoutError(endpoint_url=_ENDPOINT)
        answer = self._answer(service, operation, request, partial=kind == faults.LOST)
        self._pause()
        if kind == faults.KILLED_AFTER:
            raise Killed
        if kind == faults.LOST and service != "events":
            raise ReadTimeoutError(endpoint_url=_ENDPOINT)
        return answer

    def settle_all(self) -> None:
        """Commit the transactions that go on without their callers."""
        while self._detached:
            self.double.commit(self._detached.pop(0))

    def rows(self, table: str) -> dict[tuple[str, str], Item]:
        """What a table holds."""
        return self.double.tables[table].items

    def give_up(self, lines: tuple[Line, ...]) -> None:
        """Keep a delivery as Lambda does when its attempts have failed."""
        key = failure_key(len(self.failed))
        self.failed[key] = self.objects[key] = failed_delivery(subscription_event(lines))

    @property
    def waiting(self) -> int:
        """How many deliveries are in the failure store."""
        return sum(name.startswith(FAILURES_PREFIX) for name in self.objects)

    def map_profile(self, profile: str, tenant: str) -> None:
        """Give a profile to a tenant, from the beginning of time."""
        period = {"tenant": {"S": tenant}, "from_ms": {"N": "0"}, "model": {"S": "-"}}
        key = {"pk": {"S": f"PROFILE#{profile}"}, "sk": {"S": "MAPPING"}}
        self.rows("tenants")[f"PROFILE#{profile}", "MAPPING"] = {**key, "periods": {"L": [{"M": period}]}}

    def _pause(self) -> None:
        self.scheduler.pause(self._latency_ms)

    def _settle(self) -> None:
        if self._detached and self.chance.random() < 0.3:
            self.double.commit(self._detached.pop(0))
        if self.scheduler.now_ms > self._expired_ms + DAY_MS:
            self._expired_ms = self.scheduler.now_ms
            self.double.expire()

    def _answer(self, service: str, operation: str, request: dict[str, Any], *, partial: bool) -> dict[str, Any]:
        if service == "dynamodb":
            return self.double.call(operation, request)
        if service == "s3":
            return self._object_answer(operation, request)
        if operation != "PutEvents":
            raise Unsupported(operation)
        entries = request["Entries"]
        if len(entries) > 10:
            raise ServiceError("ValidationException", "more than 10 entries")
        results: list[dict[str, str]] = []
        for entry in entries:
            if partial and self.chance.random() < 0.5:
                results.append({"ErrorCode": self.chance.choice(_ENTRY_FAULTS)})
            else:
                self.accepted.append((entry["DetailType"], json.loads(entry["Detail"])))
                results.append({"EventId": str(len(self.accepted))})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}

    def _object_answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "ListObjectsV2":
            names = sorted(name for name in self.objects if name.startswith(request["Prefix"]))
            return {"Found": [(name, len(self.objects[name])) for name in names[: request["MaxKeys"]]]}
        key: str = request["Key"]
        if operation == "PutObject":
            self.objects[key] = request["Body"]
        elif operation == "DeleteObject":
            self.taken_ms = self.scheduler.now_ms
            self.objects.pop(key, None)
            self.tags.pop(key, None)
        elif key not in self.objects:
            raise ServiceError("NoSuchKey", status=404)
        elif operation == "PutObjectTagging":
            self.tags[key] = request["Body"]
        elif operation == "GetObjectTagging":
            return {"Body": self.tags.get(key, b"")}
        else:
            return {"Body": self.objects[key]}
        return {}

    def _observe(self, write: Write) -> None:
        if write.table != "quotas":
            return
        tenant, sort_key = write.key
        if sort_key == "GAUGE" or sort_key.startswith("OUTBOX#"):
            self.stream.append((tenant, sort_key, write.after))
        if sort_key == "GAUGE" and write.after is not None:
            before = write.before or {}
            if write.after.get("v") != before.get("v", {"N": "0"}):
                limits: str = write.after["limits"]["S"]
                self.installed.append((write.sequence, self.installer_ms, tenant, limits))


@contextmanager
def simulated_sleep(sleep_ms: Callable[[int], None]) -> Iterator[None]:
    """Let clients and commands sleep between their attempts in simulated time, and by no chance of their own."""
    simulated = SimpleNamespace(sleep=lambda _seconds: sleep_ms(40))
    with ExitStack() as patched:
        for module in (botocore.endpoint, connection, patience):
            patched.enter_context(patch.object(module, "time", simulated))
        yield


def subscription_event(lines: tuple[Line, ...]) -> dict[str, Any]:
    """Return the event of one delivery, as CloudWatch Logs sends it."""
    events = [{"id": line.id, "timestamp": line.event_ms, "message": message_of(line)} for line in lines]
    payload = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/bedrock/invocations",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["meter"],
        "logEvents": events,
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(payload).encode(), 1)).decode()}}


def message_of(line: Line) -> str:
    """Return a line's text in the log."""
    if line.broken is not None:
        return line.broken
    record: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": line.event_ms,
        "accountId": "123456789012",
        "region": "us-east-1",
        "requestId": line.call,
        "operation": "Converse",
        "modelId": f"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/{line.profile}",
        "identity": {"arn": "arn:aws:sts::123456789012:assumed-role/service/session"},
    }
    if line.error is not None:
        return json.dumps({**record, "errorCode": line.error})
    counts = dict(zip(KINDS, line.counts, strict=True))
    record["input"] = {
        "inputTokenCount": counts["input"],
        "cacheReadInputTokenCount": counts["cache_read"],
        "cacheWriteInputTokenCount": counts["cache_write"],
    }
    record["output"] = {"outputTokenCount": counts["output"]}
    return json.dumps(record)


def limit_of(ceiling: Ceiling, zone: str) -> Limit:
    """Return the product's limit of a ceiling."""
    meter, window = Meter(ceiling.meter), parse_window(ceiling.window, zone)
    boosts = tuple(Boost(*one) for one in ceiling.boosts)
    return Limit(
        ceiling.name or default_name(meter, window),
        meter,
        window,
        ceiling.maximum,
        ceiling.hard,
        scope=Scope(ceiling.models, ceiling.profiles),
        shadow=ceiling.shadow,
        boosts=boosts,
    )
