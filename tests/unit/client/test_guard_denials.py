"""Guarded calls that are denied, and those about which nobody can say."""

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.client import QuotaRefused, QuotaUnavailable, Reservation, TenantGuard, TenantThrottled
from tests.doubles.bedrock import CONVERSED, Bedrock, client, ok
from tests.doubles.quota import MemoryTransport, QuotaService
from tests.unit.client.calls import CALL, TOKENS
from tests.unit.client.conftest import Clock


def test_a_throttled_tenant_never_reaches_bedrock(guard: TenantGuard, quota: QuotaService) -> None:
    quota.used["acme"] = 20_000
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock, attempts=5), tenant="acme")
    with pytest.raises(
        TenantThrottled, match=r"acme: limit hourly-tokens \(total_tokens\) has 0 of 20,000 left"
    ) as denied:
        guarded.converse(**CALL)
    assert not isinstance(denied.value, ClientError)
    found = denied.value
    assert (found.limit, found.meter, found.maximum, found.remaining) == ("hourly-tokens", "total_tokens", 20_000, 0)
    assert (found.requested, found.retry_after, found.suspended, found.remembered) == (TOKENS, 90, False, False)
    assert found.problem()["status"] == 429
    assert found.problem()["retry_after_seconds"] == 90
    assert not bedrock.requests
    assert len(quota.asked) == 1, "botocore does not retry it"


def test_a_remembered_denial_asks_nobody(guard: TenantGuard, quota: QuotaService, clock: Clock) -> None:
    quota.used["acme"] = 20_000
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for seconds, remembered in ((0, False), (4, True), (5.9, True), (0.2, False)):
        clock.go_on(seconds)
        with pytest.raises(TenantThrottled) as denied:
            guarded.converse(**CALL)
        assert denied.value.remembered is remembered
    assert len(quota.asked) == 2
    quota.used["acme"] = 0
    clock.go_on(10)
    guarded.converse(**CALL)


def test_nobody_is_no_tenant(guard: TenantGuard) -> None:
    with pytest.raises(QuotaRefused, match="not found"):
        guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="nobody").converse(**CALL)


# --- nobody can say


def test_open_lets_the_call_go_on_and_says_so(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService, caplog: pytest.LogCaptureFixture
) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    guarded.converse(**CALL)
    quota.held.clear()
    transport.failure = QuotaUnavailable("no answer")
    answer = guarded.converse(**CALL)
    assert answer["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
    assert answer["ResponseMetadata"]["bedrock-meter"]["reservation"] is None
    assert "requestMetadata" not in bedrock.body()
    assert "a1c3m5e7k9q2" in bedrock.requests[-1].url, "the profile that was named before still attributes it"
    assert "no decision about tenant acme" in caplog.text
    assert not quota.held


def test_closed_does_not(transport: MemoryTransport) -> None:
    transport.failure = QuotaUnavailable("no answer")
    bedrock = Bedrock(ok(CONVERSED))
    guarded = TenantGuard(transport, fail="closed").wrap(client(bedrock), tenant="acme")
    with pytest.raises(QuotaUnavailable, match="no answer"):
        guarded.converse(**CALL)
    assert not bedrock.requests


def test_a_tenant_that_is_closed_is_not_opened_by_the_guard(guard: TenantGuard, transport: MemoryTransport) -> None:
    transport.failure = QuotaUnavailable("closed", closed=True)
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for attempt in (1, 2):
        with pytest.raises(QuotaUnavailable):
            guarded.converse(**CALL)
        assert transport.attempts == attempt, "that is an answer, no outage"


def test_an_outage_is_remembered_for_seconds(guard: TenantGuard, transport: MemoryTransport, clock: Clock) -> None:
    transport.failure = QuotaUnavailable("no answer")
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for _ in range(3):
        guarded.converse(**CALL)
    assert transport.attempts == 1
    clock.go_on(5)
    transport.failure = None
    assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is False


def test_a_degraded_answer_keeps_the_profile_that_was_named_before(
    guard: TenantGuard, transport: MemoryTransport
) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    guarded.converse(**CALL)
    transport.reserve = lambda *_: Reservation(None, degraded=True)  # type: ignore[method-assign]
    answer = guarded.converse(**CALL)
    assert answer["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
    assert "a1c3m5e7k9q2" in bedrock.requests[-1].url
