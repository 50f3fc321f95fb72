"""Guarded clients of botocore, from the caller's side: what an admitted call is, and what can be guarded."""

import copy
import json
import threading
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ReadTimeoutError

from bedrock_meter.client import (
    METADATA_HEADER,
    RESERVATION_KEY,
    Amounts,
    ForeignProfile,
    HttpTransport,
    NoProfile,
    TenantGuard,
    TenantThrottled,
)
from bedrock_meter.errors import ConfigurationError
from tests.doubles.bedrock import CONVERSED, Bedrock, client, ok
from tests.doubles.quota import MODEL, PROFILE_ARN, PROFILE_ID, MemoryTransport, QuotaService, service, serving
from tests.unit.client.calls import CALL, ESTIMATE, MESSAGES, TOKENS, only


def test_converse_goes_through_the_tenants_profile_with_the_reservation(
    guard: TenantGuard, quota: QuotaService
) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    answer = guard.wrap(client(bedrock), tenant="acme").converse(**CALL)
    held = only(quota)
    assert answer["usage"]["totalTokens"] == 42
    assert answer["ResponseMetadata"]["bedrock-meter"] == {
        "tenant": "acme",
        "reservation": held.id,
        "degraded": False,
        "leased": False,
    }
    assert PROFILE_ARN.replace(":", "%3A").replace("/", "%2F") in bedrock.requests[0].url
    assert bedrock.body()["requestMetadata"] == {RESERVATION_KEY: held.id}
    assert held.wanted.estimate == ESTIMATE
    assert held.wanted.model == MODEL


def test_what_was_used_stays_held_for_the_log_to_settle(guard: TenantGuard, quota: QuotaService) -> None:
    guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme").converse(**CALL)
    assert quota.reserved("acme") == 42
    assert only(quota).status == "open"


def test_what_the_caller_passed_stays_as_it_was(guard: TenantGuard) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    mine = {**copy.deepcopy(CALL), "requestMetadata": {"team": "search"}}
    before = copy.deepcopy(mine)
    guarded.converse(**mine)
    assert mine == before
    assert bedrock.body()["requestMetadata"].keys() == {"team", RESERVATION_KEY}


def test_only_the_wrapped_client_is_guarded(guard: TenantGuard, quota: QuotaService) -> None:
    guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    client(Bedrock(ok(CONVERSED))).converse(**CALL)
    assert not quota.asked


def test_operations_that_cost_nothing_are_left_alone(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(ok({"inputTokens": 3}))), tenant="acme")
    assert guarded.count_tokens(modelId=MODEL, input={"converse": {"messages": MESSAGES}})["inputTokens"] == 3
    assert not quota.asked


def test_the_tenant_may_be_said_at_each_call(guard: TenantGuard, quota: QuotaService) -> None:
    quota.maximum["globex"] = 20_000
    quota.profiles["globex", MODEL] = ("g1l3o5b7e9x2", "arn:globex")
    names = iter(["acme", "globex"])
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant=lambda: next(names))
    guarded.converse(**CALL)
    guarded.converse(**CALL)
    assert [identity.split(":")[0] for identity in quota.held] == ["acme", "globex"]


def test_a_profile_that_the_caller_chose_stays(guard: TenantGuard, quota: QuotaService) -> None:
    other = PROFILE_ARN.replace("a1c3", "b1c3")
    quota.profiles["acme", "amazon.nova-lite-v1:0"] = ("b1c3m5e7k9q2", other)
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    for named in (other, "b1c3m5e7k9q2"):
        quota.held.clear()
        guarded.converse(**{**CALL, "modelId": named})
        assert (only(quota).wanted.model, only(quota).wanted.profile) == (None, named), (
            "account and Region are compared"
        )
        assert bedrock.requests[-1].url.split("/")[-2] == quote(named, safe="")


def test_region_and_tier_travel_with_the_question(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    asked = []
    for tier in ({}, {"serviceTier": {"type": "priority"}}, {"serviceTier": {"type": "of-tomorrow"}}):
        quota.held.clear()
        guarded.converse(**CALL, **tier)
        asked.append((only(quota).wanted.region, only(quota).wanted.tier))
    assert asked == [("us-east-1", None), ("us-east-1", "priority"), ("us-east-1", None)]
    quota.held.clear()
    guard.admit("acme", model=MODEL, estimate=Amounts(1), region="eu-west-1", tier="flex")
    assert (only(quota).wanted.region, only(quota).wanted.tier) == ("eu-west-1", "flex")


@pytest.mark.parametrize("missing_profile", ["refuse", "pass"])
def test_another_tenants_profile_is_always_refused(
    transport: MemoryTransport, quota: QuotaService, missing_profile: Any
) -> None:
    foreign = PROFILE_ARN.replace("a1c3", "f1f3")
    quota.profiles["fram", MODEL] = ("f1f3m5e7k9q2", foreign)
    bedrock = Bedrock(ok(CONVERSED))
    guarded = TenantGuard(transport, missing_profile=missing_profile).wrap(client(bedrock), tenant="acme")
    for named in (foreign, "f1f3m5e7k9q2"):
        with pytest.raises(ForeignProfile, match="another tenant than acme") as refused:
            guarded.converse(**{**CALL, "modelId": named})
        assert (refused.value.tenant, refused.value.profile) == ("acme", named)
    assert not bedrock.requests
    assert not quota.held


@pytest.mark.parametrize(
    "named",
    [
        PROFILE_ARN.replace("a1c3", "n1n3"),
        "n1n3m5e7k9q2",
        "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefabcdef",
        "arn:aws:bedrock:us-east-1:111122223333:imported-model/abcdefabcdef",
        "arn:aws:bedrock:us-east-1:111122223333:default-prompt-router/anthropic.claude:1",
    ],
)
def test_what_is_no_profile_of_the_tenants_is_refused_or_passed(
    transport: MemoryTransport, quota: QuotaService, named: str
) -> None:
    call = {**CALL, "modelId": named}
    bedrock = Bedrock(ok(CONVERSED))
    with pytest.raises(NoProfile, match=f"it has {PROFILE_ID}: {MODEL} in-region us-east-1") as refused:
        TenantGuard(transport).wrap(client(bedrock), tenant="acme").converse(**call)
    assert [one["id"] for one in refused.value.available_profiles] == [PROFILE_ID]
    assert not bedrock.requests
    assert quota.reserved("acme") == 0
    TenantGuard(transport, missing_profile="pass").wrap(client(bedrock), tenant="acme").converse(**call)
    assert quote(named, safe="") in bedrock.requests[0].url


def test_a_model_without_a_profile_is_refused_or_passed(transport: MemoryTransport, quota: QuotaService) -> None:
    call = {**CALL, "modelId": "meta.llama4-scout"}
    bedrock = Bedrock(ok(CONVERSED))
    with pytest.raises(NoProfile, match="missing_profile"):
        TenantGuard(transport).wrap(client(bedrock), tenant="acme").converse(**call)
    assert not bedrock.requests
    assert quota.reserved("acme") == 0
    TenantGuard(transport, missing_profile="pass").wrap(client(bedrock), tenant="acme").converse(**call)
    assert "meta.llama4-scout" in bedrock.requests[0].url
    assert quota.reserved("acme") == 42


# --- wrapping


def test_a_client_is_guarded_once(guard: TenantGuard, transport: MemoryTransport) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for other in (guard, TenantGuard(transport)):
        with pytest.raises(ConfigurationError, match="already"):
            other.wrap(guarded, tenant="acme")


def test_other_services_have_nothing_to_guard(guard: TenantGuard) -> None:
    with pytest.raises(ConfigurationError, match="bedrock-runtime"):
        guard.wrap(client(Bedrock(), "sts"), tenant="acme")


def test_what_awaits_or_is_no_client_of_boto3_is_told_what_works_instead(guard: TenantGuard) -> None:
    class Asynchronous:
        meta = client(Bedrock(), "bedrock-runtime").meta

        async def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> None: ...

    for awaited in (Asynchronous(), SimpleNamespace(_make_api_call=Asynchronous()._make_api_call)):
        with pytest.raises(ConfigurationError, match=r"asynchronous client .* guard\.admit in a thread") as refused:
            guard.wrap(awaited, tenant="acme")
        assert METADATA_HEADER in str(refused.value)
    for other in (object(), SimpleNamespace(meta=None), SimpleNamespace(messages=print)):
        with pytest.raises(ConfigurationError, match=r"is no client of boto3 .* guard\.admit .*litellm") as refused:
            guard.wrap(other, tenant="acme")
        assert METADATA_HEADER in str(refused.value)


def test_a_call_of_no_tenant_is_told_what_to_do(guard: TenantGuard, quota: QuotaService) -> None:
    variable: ContextVar[str] = ContextVar("tenant")
    bedrock = Bedrock(ok(CONVERSED))
    for give in (variable.get, lambda: None, lambda: "", lambda: 7):
        guarded = guard.wrap(client(bedrock), tenant=give)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"whose call it is|give the id of a tenant"):
            guarded.converse(**CALL)
    for wrong in (None, ""):
        with pytest.raises(ConfigurationError, match="give the id of a tenant"):
            guard.wrap(client(bedrock), tenant=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="give the id of a tenant"):
            guard.admit(wrong, estimate=Amounts(1))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="give the id of a tenant"):
            guard.lease(wrong, model=MODEL, requests=1)  # type: ignore[arg-type]
    assert not bedrock.requests
    assert not quota.asked


def test_a_guarded_client_does_not_presign(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with pytest.raises(ConfigurationError, match="presign"):
        guarded.generate_presigned_url("converse", CALL)
    assert not quota.asked


def test_without_validation_of_parameters(guard: TenantGuard, quota: QuotaService) -> None:
    guard.wrap(client(Bedrock(ok(CONVERSED)), parameter_validation=False), tenant="acme").converse(**CALL)
    assert quota.reserved("acme") == 42


@pytest.mark.parametrize(
    "wrong",
    [
        {"fail": "shut"},
        {"missing_profile": "ignore"},
        {"ttl_seconds": 9},
        {"ttl_seconds": 3_601},
        {"log_lag_seconds": 5},
    ],
)
def test_settings_are_checked(transport: MemoryTransport, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TenantGuard(transport, **wrong)


# --- many threads


def test_threads_on_one_client_are_admitted_no_more_than_there_is() -> None:
    """Over HTTP: calls that never answer stay held, so that what was admitted is what fits."""
    with serving(service(maximum=TOKENS * 10 + 5)) as api:
        transport = HttpTransport(api.url, region="us-east-1", credentials=Credentials("key", "secret"))
        bedrock = Bedrock(ReadTimeoutError(endpoint_url="x"))
        guarded = TenantGuard(transport, fail="closed").wrap(client(bedrock), tenant="acme")
        ends: list[type[BaseException]] = []

        def work() -> None:
            for _ in range(4):
                try:
                    guarded.converse(**CALL)
                except (ReadTimeoutError, TenantThrottled) as end:
                    ends.append(type(end))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transport.close()
        assert (ends.count(ReadTimeoutError), ends.count(TenantThrottled)) == (10, 22)
        assert len(bedrock.requests) == 10
        assert len({json.loads(one.body)["requestMetadata"][RESERVATION_KEY] for one in bedrock.requests}) == 10
