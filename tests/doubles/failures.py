"""The failure store in memory, and the objects that Lambda leaves there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_meter.storage.dynamodb import is_passing
from bedrock_meter.usage.redrive import Failure

FUNCTION = "meter-RecordUsageFunction-AbC123"


def function_arn(function: str = FUNCTION, qualifier: str = ":$LATEST") -> str:
    """ARN of a function as it stands in an invocation record."""
    return f"arn:aws:lambda:us-east-1:123456789012:function:{function}{qualifier}"


def failed_delivery(event: object, arn: str | None = None) -> bytes:
    """The record that Lambda writes of an asynchronous invocation that it gave up on."""
    document = {
        "version": "1.0",
        "timestamp": "2026-11-24T01:45:00.000Z",
        "requestContext": {
            "requestId": "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2",
            "functionArn": function_arn() if arn is None else arn,
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "CANARY-error", "errorType": "OutOfTime", "stackTrace": ["CANARY-trace"]},
    }
    return json.dumps(document).encode()


def failure_key(number: int, function: str = FUNCTION) -> str:
    """The name that Lambda gives."""
    return f"aws/lambda/async/{function}/2026/11/24/2026-11-24T01.45.00-{number:08d}-dbb3-4ad4-a9e8-000000000000"


class MemoryFailureStore:
    """``FailureStore``; ``parked`` holds reasons by name."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.attempts: dict[str, int] = {}
        self.parked: dict[str, str] = {}
        self.read_keys: list[str] = []

    def waiting(self, maximum: int) -> Sequence[Failure]:
        return [Failure(key, len(content)) for key, content in sorted(self.objects.items())[:maximum]]

    def read(self, failure: Failure) -> bytes | None:
        self.read_keys.append(failure.key)
        return self.objects.get(failure.key)

    def delete(self, failure: Failure) -> None:
        self.objects.pop(failure.key, None)

    def attempt(self, failure: Failure) -> int | None:
        if failure.key not in self.objects:
            return None
        self.attempted(failure, self.attempts.get(failure.key, 0) + 1)
        return self.attempts[failure.key]

    def attempted(self, failure: Failure, attempts: int) -> None:
        self.attempts[failure.key] = attempts

    def park(self, failure: Failure, reason: str) -> None:
        if self.objects.pop(failure.key, None) is not None:
            self.parked[failure.key] = reason

    def is_passing(self, error: Exception) -> bool:
        return is_passing(error)


def outage() -> Any:
    """What a store that is out answers, as botocore raises it."""
    from botocore.exceptions import ClientError

    refusal = {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    return ClientError(refusal, "BatchGetItem")
