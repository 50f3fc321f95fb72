import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from bedrock_meter.api.outage import BUSY_AT_MOST_S, FailPolicies, tenant_busy
from bedrock_meter.api.problems import TENANT_BUSY
from bedrock_meter.storage.connection import THROTTLED_CODES

DOWN = ConnectTimeoutError(endpoint_url="x")
HOT = "TableWriteKeyRangeThroughputExceeded"
WIDE = "TableWriteAccountLimitExceeded"


def throttle(code: str, *reasons: str) -> ClientError:
    """A refusal with reasons as both clients raise it; test_connection.py holds that."""
    name = "throttlingReasons" if code == "ThrottlingException" else "ThrottlingReasons"
    given = {name: [{"reason": reason, "resource": "arn"} for reason in reasons]} if reasons else {}
    refusal = {**given, "Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(refusal, "UpdateItem")


@pytest.mark.parametrize("code", sorted(THROTTLED_CODES))
def test_a_tenant_that_heats_its_own_keys_is_not_let_through(code: str) -> None:
    told: list[str] = []
    policies = FailPolicies("open", unexplained=lambda: told.append("unexplained"))
    assert not policies.allows("acme", throttle(code, HOT))
    assert not policies.allows("acme", throttle(code, WIDE, HOT))
    assert policies.allows("acme", throttle(code, WIDE))
    assert told == []


def test_a_throttle_without_reasons_is_an_outage_and_is_counted() -> None:
    told: list[str] = []
    policies = FailPolicies("open", unexplained=lambda: told.append("unexplained"))
    assert policies.allows("acme", throttle("ThrottlingException"))
    assert told == ["unexplained"]
    policies.remember("acme", "closed")
    assert not policies.allows("acme", throttle("RequestLimitExceeded"))
    assert told == ["unexplained"] * 2
    assert policies.allows("globex", DOWN)
    assert len(told) == 2


def test_a_busy_tenant_is_told_so_and_when_to_come_again() -> None:
    waits = set()
    for _ in range(200):
        problem = tenant_busy(throttle("ThrottlingException", HOT))
        assert problem is not None
        assert (problem.status, problem.title, problem.type) == (429, "Tenant busy", TENANT_BUSY)
        assert problem.headers == {"Retry-After": str(problem.members["retry_after_seconds"])}
        waits.add(problem.members["retry_after_seconds"])
    assert waits == set(range(1, BUSY_AT_MOST_S + 1)), "callers come back at different times"


@pytest.mark.parametrize("error", [DOWN, throttle("ThrottlingException"), throttle("ThrottlingException", WIDE)])
def test_others_are_not_busy_but_down(error: Exception) -> None:
    assert tenant_busy(error) is None


def test_a_conflict_is_no_outage() -> None:
    policies = FailPolicies("open")
    assert policies.allows("acme", DOWN)
    assert not policies.allows("acme", ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem"))


def test_memory_is_bounded_and_the_one_seen_longest_ago_makes_room() -> None:
    policies = FailPolicies("open", capacity=2)
    for tenant in ("first", "second", "first", "third"):
        policies.remember(tenant, "closed")
    assert [policies.allows(tenant, DOWN) for tenant in ("first", "second", "third")] == [False, True, False]


def test_a_tenant_that_is_gone_has_no_policy() -> None:
    policies = FailPolicies("closed")
    policies.remember("acme", "open")
    policies.forget("acme")
    policies.forget("acme")
    assert not policies.allows("acme", DOWN)
