"""Guarded calls that are denied, and those without a decision: out of order, or asked too fast."""

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.client import (
    Amounts,
    QuotaBusy,
    QuotaRefused,
    QuotaUnavailable,
    Reservation,
    ReservationRequest,
    TenantGuard,
    TenantThrottled,
)
from bedrock_meter.client.memory import FAILURES
from bedrock_meter.errors import MeterError
from tests.doubles.bedrock import CONVERSED, Bedrock, client, ok
from tests.doubles.quota import MODEL, MemoryTransport, QuotaService
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


# --- out of order


def test_open_lets_the_call_go_on_and_says_so(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService, caplog: pytest.LogCaptureFixture
) -> None:
    quota.fail["acme"] = "open"
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
    assert "no decision about tenant acme, nor about its profile" in caplog.text
    assert not quota.held


def test_a_remembered_profile_is_of_the_very_same_call(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    """``eu.`` is not answered by what was remembered of the bare id, nor one Region by another."""
    quota.fail["acme"] = "open"
    guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme").converse(**CALL)
    transport.failure = QuotaUnavailable("no answer")
    for other in (f"eu.{MODEL}", f"global.{MODEL}", f"arn:aws:bedrock:eu-west-1::foundation-model/{MODEL}"):
        bedrock = Bedrock(ok(CONVERSED))
        guard.wrap(client(bedrock), tenant="acme").converse(**{**CALL, "modelId": other})
        assert quote(other, safe="") in bedrock.requests[-1].url
    assert guard.admit("acme", model=MODEL, estimate=Amounts(1), region="us-east-1").profile is not None
    assert guard.admit("acme", model=MODEL, estimate=Amounts(1), region="eu-west-1").profile is None


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
    for attempt in range(1, 9):
        with pytest.raises(QuotaUnavailable):
            guarded.converse(**CALL)
        assert transport.attempts == attempt, "that is an answer, no outage"


def test_a_tenant_that_is_known_to_be_closed_stays_so_while_nothing_answers(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    quota.maximum["globex"] = 20_000
    bedrock = Bedrock(ok(CONVERSED))
    acme, globex = (guard.wrap(client(bedrock), tenant=name) for name in ("acme", "globex"))
    quota.fail["acme"] = "closed"
    acme.converse(**CALL)
    transport.failure = QuotaUnavailable("no answer")
    with pytest.raises(QuotaUnavailable, match="no answer"):
        acme.converse(**CALL)
    assert globex.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is True, "it was not seen yet"


def test_an_outage_is_remembered_for_seconds_and_ends_by_one_probe(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService, clock: Clock
) -> None:
    quota.fail["acme"] = "open"
    transport.failure = QuotaUnavailable("no answer")
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for _ in range(9):
        guarded.converse(**CALL)
    assert transport.attempts == FAILURES
    clock.go_on(5)
    for _ in range(3):
        guarded.converse(**CALL)
    assert transport.attempts == FAILURES + 1, "one probe, and it failed"
    transport.failure = None
    assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
    clock.go_on(5)
    for _ in range(3):
        assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is False


def test_one_tenants_lost_answers_cost_no_other_tenant_its_limits(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    quota.maximum["quick"] = quota.maximum["slow"] = 10**6
    quota.profiles["quick", MODEL] = ("q1q2q3q4q5q6", "arn:quick")
    reserve = transport.reserve

    def lose_slow(tenant: str, request: ReservationRequest) -> object:
        if tenant == "slow":
            raise QuotaUnavailable("ReadTimeoutError", kind="ReadTimeoutError")
        return reserve(tenant, request)

    transport.reserve = lose_slow  # type: ignore[method-assign, assignment]
    slow, quick = (guard.wrap(client(Bedrock(ok(CONVERSED))), tenant=name) for name in ("slow", "quick"))
    for lost in (1, FAILURES, 3 * FAILURES):
        for _ in range(lost):
            assert slow.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
        assert quick.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is False


@pytest.mark.parametrize("answer", [QuotaRefused(403, "Forbidden", ""), QuotaUnavailable("closed", closed=True)])
def test_a_refusal_is_an_answer_and_ends_a_row_of_failures(
    guard: TenantGuard, transport: MemoryTransport, answer: Exception
) -> None:
    for _ in range(3):
        for failure, times in ((QuotaUnavailable("no answer"), FAILURES - 1), (answer, 1)):
            transport.failure = failure
            for _ in range(times):
                with suppress(MeterError):
                    guard.admit("acme", estimate=Amounts(1))
    assert transport.attempts == 3 * FAILURES


def test_what_ends_a_call_is_not_sent_during_an_outage(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    admitted = [guard.admit("acme", estimate=Amounts(1)) for _ in range(9)]
    transport.failure = QuotaUnavailable("no answer")
    before = transport.attempts
    for one in admitted:
        one.refused()
    assert transport.attempts - before == FAILURES


def test_a_degraded_answer_keeps_the_profile_that_was_named_before_and_decides_nothing(
    guard: TenantGuard, transport: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    guarded.converse(**CALL)
    transport.reserve = lambda *_: Reservation(None, degraded=True)  # type: ignore[method-assign]
    answer = guarded.converse(**CALL)
    assert answer["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
    assert "a1c3m5e7k9q2" in bedrock.requests[-1].url
    guarded.converse(**{**CALL, "modelId": "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefabcdef"})
    assert "goes on without a decision, about its profile too" in caplog.text


# --- asked too fast


def test_asked_too_fast_is_no_outage(transport: MemoryTransport, guard: TenantGuard, quota: QuotaService) -> None:
    """It stops no question of another tenant's, and of its own none either."""
    quota.maximum["globex"] = 20_000
    quota.profiles["globex", MODEL] = ("g1l3o5b7e9x2", "arn:globex")
    bedrock = Bedrock(ok(CONVERSED))
    transport.failure = QuotaBusy("asked too fast", 2)
    acme, globex = (guard.wrap(client(bedrock), tenant=name) for name in ("acme", "globex"))
    for _ in range(2 * FAILURES):
        with pytest.raises(QuotaBusy) as busy:
            acme.converse(**CALL)
        assert busy.value.retry_after == 2
    assert transport.attempts == 2 * FAILURES
    assert not bedrock.requests
    transport.failure = None
    assert globex.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is False


@pytest.mark.parametrize(
    ("seen", "fail", "goes_on"),
    [
        ("open", "open", True),
        ("open", "closed", False),
        ("closed", "open", False),
        (None, "open", False),
        (None, "closed", False),
    ],
)
def test_asked_too_fast_follows_the_tenants_effective_policy(
    transport: MemoryTransport, quota: QuotaService, seen: str | None, fail: Any, goes_on: bool
) -> None:
    """Closed where a strict limit can deny, where the tenant was never seen, and where the guard is."""
    guard = TenantGuard(transport, fail=fail)
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    if seen is not None:
        quota.fail["acme"] = seen
        guarded.converse(**CALL)
    transport.failure = QuotaBusy("asked too fast")
    if goes_on:
        assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["degraded"] is True
    else:
        with pytest.raises(QuotaBusy):
            guarded.converse(**CALL)


def test_the_policy_of_a_denial_is_remembered_too(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    quota.fail["acme"] = "open"
    with pytest.raises(TenantThrottled):
        guard.admit("acme", estimate=Amounts(1, 20_001))
    transport.failure = QuotaBusy("asked too fast")
    assert guard.admit("acme", estimate=Amounts(1)).degraded


def test_asked_too_fast_a_remembered_denial_denies_and_a_lease_admits(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    quota.fail["acme"] = "open"
    with guard.lease("acme", model=MODEL, requests=9, input_tokens=9_000, output_tokens=9_000):
        quota.used["acme"] = 20_000
        with pytest.raises(TenantThrottled):
            guard.admit("acme", estimate=Amounts(1))
        transport.failure = QuotaBusy("asked too fast")
        with pytest.raises(TenantThrottled) as denied:
            guard.admit("acme", estimate=Amounts(1))
        assert denied.value.remembered
        assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["leased"] is True
