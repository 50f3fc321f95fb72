"""Guarded calls that fail: what cannot have run holds nothing, what may have run stays held."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)

from bedrock_meter.client import RESERVATION_KEY, QuotaUnavailable, TenantGuard
from tests.doubles.bedrock import CONVERSED, Bedrock, client, error, ok
from tests.doubles.quota import MODEL, MemoryTransport, QuotaService
from tests.unit.client.calls import CALL, only
from tests.unit.client.conftest import Clock


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "ThrottlingException"),
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (400, "ServiceQuotaExceededException"),
        (429, "ModelNotReadyException"),
        (403, "ExpiredTokenException"),
    ],
)
def test_a_call_that_bedrock_rejected_holds_nothing(
    guard: TenantGuard, quota: QuotaService, status: int, code: str
) -> None:
    guarded = guard.wrap(client(Bedrock(error(status, code))), tenant="acme")
    with pytest.raises(ClientError, match=code):
        guarded.converse(**CALL)
    assert only(quota).status == "released"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
    ],
)
def test_a_call_that_may_have_run_stays_held(guard: TenantGuard, quota: QuotaService, status: int, code: str) -> None:
    guarded = guard.wrap(client(Bedrock(error(status, code))), tenant="acme")
    with pytest.raises(ClientError, match=code):
        guarded.converse(**CALL)
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_a_call_that_was_never_sent_holds_nothing(guard: TenantGuard, quota: QuotaService) -> None:
    for failure in (EndpointConnectionError(endpoint_url="x"), ConnectTimeoutError(endpoint_url="x")):
        quota.held.clear()
        with pytest.raises(type(failure)):
            guard.wrap(client(Bedrock(failure)), tenant="acme").converse(**CALL)
        assert only(quota).status == "released"


def test_a_call_without_an_answer_stays_held(guard: TenantGuard, quota: QuotaService) -> None:
    with pytest.raises(ReadTimeoutError):
        guard.wrap(client(Bedrock(ReadTimeoutError(endpoint_url="x"))), tenant="acme").converse(**CALL)
    assert only(quota).status == "open"


def test_a_call_that_botocore_refuses_is_never_asked_for(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with pytest.raises(ParamValidationError, match="messages"):
        guarded.converse(modelId=MODEL, messages="hello")
    assert not quota.asked


# --- botocore's retries: one reservation, several attempts


def test_attempts_share_one_reservation(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(error(429, "ThrottlingException"), error(429, "ThrottlingException"), ok(CONVERSED))
    guard.wrap(client(bedrock, attempts=3), tenant="acme").converse(**CALL)
    assert len(bedrock.requests) == 3
    assert {bedrock.body(number)["requestMetadata"][RESERVATION_KEY] for number in range(3)} == {only(quota).id}
    assert [name for name, _ in quota.asked] == ["reserve", "shrink"]
    assert quota.reserved("acme") == 42


@pytest.mark.parametrize("first", [ReadTimeoutError(endpoint_url="x"), error(500, "InternalServerException")])
def test_after_an_attempt_that_may_have_run_everything_stays_held(
    guard: TenantGuard, quota: QuotaService, first: Any
) -> None:
    for last in (ok(CONVERSED), error(400, "ValidationException"), EndpointConnectionError(endpoint_url="x")):
        quota.held.clear()
        quota.asked.clear()
        guarded = guard.wrap(client(Bedrock(first, last), attempts=2), tenant="acme")
        with suppress(ClientError, EndpointConnectionError):
            guarded.converse(**CALL)
        assert [name for name, _ in quota.asked] == ["reserve"]
        assert only(quota).status == "open"


# --- after the call


def test_what_comes_after_a_call_never_breaks_it(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise QuotaUnavailable("gone")

    transport.shrink = transport.release = fail  # type: ignore[method-assign, assignment]
    assert guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme").converse(**CALL)["stopReason"] == "end_turn"
    with pytest.raises(ClientError, match="ThrottlingException"):
        guard.wrap(client(Bedrock(error(429, "ThrottlingException"))), tenant="acme").converse(**CALL)
    assert "was not shrunk" in caplog.text
    assert "was not released" in caplog.text


def test_a_long_call_is_held_until_its_log_may_have_come(guard: TenantGuard, quota: QuotaService, clock: Clock) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    guarded.meta.events.register_first("before-send.bedrock-runtime", lambda **_: clock.go_on(250))
    guarded.converse(**CALL)
    assert only(quota).expires_ms == clock.ms() + 180_000
    guarded.meta.events.register_first("before-send.bedrock-runtime", lambda **_: clock.go_on(-249))
    quota.held.clear()
    guarded.converse(**CALL)
    assert quota.asked[-1][1][2] is None, "a short one needs no more time"
