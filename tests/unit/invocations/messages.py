"""Makers of what the log holds: records as dictionaries, as text, and as deliveries."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from bedrock_meter.invocations.parser import LogLine, SubscriptionBatch, decode_subscription, read
from bedrock_meter.invocations.quarantine import Rejected
from bedrock_meter.invocations.record import Invocation

ACCOUNT = "111122223333"
PROFILE = "053a3ulue40l"
PROFILE_ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/{PROFILE}"
PRINCIPAL = f"arn:aws:sts::{ACCOUNT}:assumed-role/service/session"
TIMESTAMP = "2026-11-24T01:02:03Z"
EVENT_MS = 1_795_482_123_000
LOGGED_MS = EVENT_MS + 2_000
ABSENT = object()
"""As a value: leave the key out."""


def record(**changes: Any) -> dict[str, Any]:
    """A sound record with 10 tokens in, 5 out, 3 cached read and 2 written; ``changes`` replace top-level keys."""
    sound: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": TIMESTAMP,
        "accountId": ACCOUNT,
        "identity": {"arn": PRINCIPAL},
        "region": "us-east-1",
        "requestId": "9a0c3f3e-5d2b-4f6e-a1b2-c3d4e5f60718",
        "operation": "Converse",
        "modelId": PROFILE_ARN,
        "input": counts(),
        "output": {"outputTokenCount": 5},
    }
    return {key: value for key, value in (sound | changes).items() if value is not ABSENT}


def counts(**changes: Any) -> dict[str, Any]:
    """``input`` of a sound record; ``changes`` replace its keys."""
    sound = {"inputTokenCount": 10, "cacheReadInputTokenCount": 3, "cacheWriteInputTokenCount": 2}
    return {key: value for key, value in (sound | changes).items() if value is not ABSENT}


def text(value: object, *, ascii_only: bool = False) -> str:
    """JSON as the provider writes it: compact, with characters as they are."""
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


def wrap(payload: bytes) -> dict[str, Any]:
    """What the function is called with, for these bytes."""
    return {"awslogs": {"data": base64.b64encode(payload).decode()}}


def envelope(*messages: object, **changes: Any) -> dict[str, Any]:
    """Content of a delivery."""
    events = [
        {"id": f"{number:056}", "timestamp": LOGGED_MS + number, "message": message}
        for number, message in enumerate(messages)
    ]
    return {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": "/aws/bedrock/model-invocations",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["record-usage"],
        "logEvents": events,
    } | changes


def delivery(*messages: object, ascii_only: bool = False, **changes: Any) -> dict[str, Any]:
    """What the function is called with, for these messages."""
    return wrap(gzip.compress(text(envelope(*messages, **changes), ascii_only=ascii_only).encode(), mtime=0))


def deliver(*messages: object, **changes: Any) -> SubscriptionBatch:
    """The same, opened."""
    return decode_subscription(delivery(*messages, **changes))


def read_record(value: Mapping[str, Any] | str | bytes) -> Invocation | Rejected | None:
    """Read one record as a line of its own, logged two seconds after it happened."""
    return read(LogLine(text(value) if isinstance(value, Mapping) else value, timestamp_ms=LOGGED_MS))


def invocation(value: Mapping[str, Any] | str | bytes) -> Invocation:
    """The same, for one that must be readable."""
    found = read_record(value)
    assert isinstance(found, Invocation), found
    return found


def reason(value: Mapping[str, Any] | str | bytes) -> str:
    """Why the record is rejected, which it must be."""
    found = read_record(value)
    assert isinstance(found, Rejected), found
    return found.reason.value
