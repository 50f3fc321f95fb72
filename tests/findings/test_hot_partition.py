"""What a tenant is answered whose own range of keys DynamoDB throttles."""

import pytest

from tests.faults.values import ServiceError
from tests.findings.world import Findings

LIMIT = {"name": "hourly", "meter": "requests", "window": "1h", "max": 10, "hard": True}
TENANT = {"timezone": "UTC", "fail": "open", "profiles": [], "limits": [LIMIT]}
QUOTAS = "arn:aws:dynamodb:us-east-1:123456789012:table/quotas"


def throttle(reason: str) -> ServiceError:
    return ServiceError("ThrottlingException", throttlingReasons=[{"reason": reason, "resource": QUOTAS}])


@pytest.mark.parametrize("resource", ["quota", "usage", "explanation"])
def test_who_reads_too_fast_is_told_to_wait(stack: Findings, resource: str) -> None:
    stack.tenant("acme", TENANT)
    assert stack.quota("acme", "hourly")["allowed"] is True
    stack.refusal = throttle("TableReadKeyRangeThroughputExceeded")
    status, said = stack.ask("GET", f"/v1/tenants/acme/{resource}")
    assert (status, said.get("type")) == (429, "urn:bedrock-meter:tenant-busy")
    assert 1 <= said["retry_after_seconds"] <= 5
    assert "allowed" not in said


def test_who_reserves_too_fast_does_not_get_past_its_limits(stack: Findings) -> None:
    stack.tenant("acme", TENANT)
    assert stack.quota("acme", "hourly")["allowed"] is True
    stack.refusal = throttle("TableWriteKeyRangeThroughputExceeded")
    body = {"key": "k1", "estimate": {"input_tokens": 10, "output_tokens": 10}}
    status, said = stack.ask("POST", "/v1/tenants/acme/reservations", body)
    assert (status, said.get("type")) == (429, "urn:bedrock-meter:tenant-busy")
    assert 1 <= said["retry_after_seconds"] <= 5
