from botocore.exceptions import ClientError, ConnectTimeoutError

from bedrock_meter.api.outage import FailPolicies

DOWN = ConnectTimeoutError(endpoint_url="x")


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
