"""Deliveries of the invocation log, as CloudWatch Logs makes them."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

from bedrock_meter.clock import iso
from bedrock_meter.invocations.record import Invocation

LOG_GROUP = "/bedrock/invocations"


def record_of(invocation: Invocation) -> dict[str, Any]:
    """The record that Bedrock would write of this invocation, with a prompt that nobody must ever see again."""
    record: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": iso(invocation.event_ms),
        "accountId": invocation.account_id,
        "region": invocation.region,
        "requestId": invocation.request_id,
        "operation": invocation.operation,
        "modelId": invocation.model_id,
        "identity": {"arn": invocation.principal},
        "input": {"inputContentType": "application/json"},
        "output": {"outputContentType": "application/json"},
    }
    if invocation.error_code is not None:
        return {**record, "errorCode": invocation.error_code}
    tokens = invocation.tokens
    record["input"] |= {
        "inputBodyJson": {"messages": [{"role": "user", "content": [{"text": "CANARY-prompt"}]}]},
        "inputTokenCount": tokens.input,
        "cacheReadInputTokenCount": tokens.cache_read,
        "cacheWriteInputTokenCount": tokens.cache_write,
    }
    record["output"] |= {
        "outputBodyJson": {"output": {"message": {"role": "assistant", "content": [{"text": "CANARY-completion"}]}}},
        "outputTokenCount": tokens.output,
    }
    return record


def subscription_event(lines: Sequence[Invocation | str], *, logged_ms: int, control: bool = False) -> dict[str, Any]:
    """One delivery; a line that is text is delivered as it is."""
    messages = [line if isinstance(line, str) else json.dumps(record_of(line)) for line in lines]
    payload = {
        "messageType": "CONTROL_MESSAGE" if control else "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": LOG_GROUP,
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["meter"],
        "logEvents": [
            {"id": f"{36_000_000 + index}", "timestamp": logged_ms, "message": message}
            for index, message in enumerate(messages)
        ],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(payload).encode(), mtime=0)).decode()}}
