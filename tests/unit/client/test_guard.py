"""Guarded clients of botocore, from the caller's side."""

import copy
import json
import threading
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.eventstream import EventStream
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    EventStreamError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.session import Session

from bedrock_meter.client import (
    RESERVATION_KEY,
    Amounts,
    HttpTransport,
    InvalidMetadata,
    NoProfile,
    QuotaRefused,
    QuotaUnavailable,
    Reservation,
    TenantGuard,
    TenantThrottled,
    estimate,
)
from bedrock_meter.errors import ConfigurationError
from tests.doubles.bedrock import (
    CONVERSED,
    COUNT_HEADERS,
    Bedrock,
    client,
    converse_stream,
    error,
    message,
    model_stream,
    ok,
    streamed,
)
from tests.doubles.quota import MODEL, PROFILE_ARN, MemoryTransport, QuotaService, service, serving
from tests.unit.client.conftest import Clock

MESSAGES = [{"role": "user", "content": [{"text": "hello"}]}]
CALL: dict[str, Any] = {"modelId": MODEL, "messages": MESSAGES, "inferenceConfig": {"maxTokens": 100}}
ESTIMATE = {"requests": 1, **estimate("Converse", CALL).estimate()}
TOKENS = ESTIMATE["input_tokens"] + 100


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))


def only(quota: QuotaService) -> Any:
    (held,) = quota.held.values()
    return held


# --- an admitted call


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
    bedrock = Bedrock(ok(CONVERSED))
    guard.wrap(client(bedrock), tenant="acme").converse(**{**CALL, "modelId": other})
    assert (only(quota).wanted.model, only(quota).wanted.profile) == (None, "b1c3m5e7k9q2")
    assert "b1c3m5e7k9q2" in bedrock.requests[0].url


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


# --- InvokeModel


def test_invoke_model_carries_the_reservation_in_its_header(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(ok({"content": []}, COUNT_HEADERS))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    answer = guarded.invoke_model(
        modelId=MODEL, body=b'{"max_tokens": 50, "messages": []}', requestMetadata='{"team": "search"}'
    )
    assert json.loads(answer["body"].read()) == {"content": []}
    header = bedrock.requests[0].headers["X-Amzn-Bedrock-Request-Metadata"]
    assert json.loads(header) == {"team": "search", RESERVATION_KEY: only(quota).id}
    assert "x-amzn-bedrock-request-metadata" in str(bedrock.requests[0].headers["Authorization"])
    assert only(quota).wanted.estimate["output_tokens"] == 50
    assert quota.reserved("acme") == 30 + 12, "the estimate held nothing for caches, and nothing grows"


def test_invoke_model_without_counts_stays_held_in_full(guard: TenantGuard, quota: QuotaService) -> None:
    guard.wrap(client(Bedrock(ok({}))), tenant="acme").invoke_model(modelId=MODEL, body=b'{"max_tokens": 50}')
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_an_older_service_model_gets_the_header_all_the_same(guard: TenantGuard, quota: QuotaService) -> None:
    session = Session()
    load = session.get_component("data_loader").load_service_model

    def older(service: str, kind: str, *more: Any, **named: Any) -> Any:
        found = load(service, kind, *more, **named)
        if kind == "service-2" and service == "bedrock-runtime":
            found = copy.deepcopy(found)
            del found["shapes"]["InvokeModelRequest"]["members"]["requestMetadata"]
        return found

    session.get_component("data_loader").load_service_model = older
    bedrock = Bedrock(ok({}, COUNT_HEADERS))
    guarded = guard.wrap(client(bedrock, session=session), tenant="acme")
    with pytest.raises(ParamValidationError):
        guarded.invoke_model(modelId=MODEL, body=b"{}", requestMetadata="{}")
    guarded.invoke_model(modelId=MODEL, body=b"{}")
    header = bedrock.requests[0].headers["X-Amzn-Bedrock-Request-Metadata"]
    assert json.loads(header) == {RESERVATION_KEY: only(quota).id}
    assert "x-amzn-bedrock-request-metadata" in str(bedrock.requests[0].headers["Authorization"])


@pytest.mark.parametrize("given", ["no JSON", "[1]", '{"a": 1}'])
def test_metadata_that_cannot_be_joined_are_refused_before_anything_is_held(
    guard: TenantGuard, quota: QuotaService, given: str
) -> None:
    with pytest.raises(InvalidMetadata):
        guard.wrap(client(Bedrock(ok({}))), tenant="acme").invoke_model(
            modelId=MODEL, body=b"{}", requestMetadata=given
        )
    assert not quota.asked


def test_sixteen_entries_are_all_there_is_room_for(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    with pytest.raises(InvalidMetadata, match=r"at most 15 of your own \(there are 16\)"):
        guarded.converse(**CALL, requestMetadata={f"k{number}": "v" for number in range(16)})
    assert not quota.asked
    guarded.converse(**CALL, requestMetadata={f"k{number}": "v" for number in range(15)})
    assert len(bedrock.body()["requestMetadata"]) == 16


# --- streams


def test_a_stream_is_botocores_and_its_last_event_shrinks(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(streamed(converse_stream()))), tenant="acme")
    stream = guarded.converse_stream(**CALL)["stream"]
    assert isinstance(stream, EventStream)
    assert quota.reserved("acme") == TOKENS
    kinds = [next(iter(event)) for event in stream]
    assert kinds == ["messageStart", "contentBlockDelta", "contentBlockDelta", "messageStop", "metadata"]
    assert quota.reserved("acme") == 42


def test_a_reader_that_stops_at_the_last_event_has_shrunk_it(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(streamed(converse_stream()))), tenant="acme")
    for event in guarded.converse_stream(**CALL)["stream"]:
        if "metadata" in event:
            break
    assert quota.reserved("acme") == 42


def test_a_client_that_vanishes_leaves_it_to_the_log(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(streamed(converse_stream()))
    stream = guard.wrap(client(bedrock), tenant="acme").converse_stream(**CALL)["stream"]
    next(iter(stream))
    stream.close()
    assert bedrock.raws[0].is_closed
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_an_error_in_a_stream_reaches_the_reader_and_releases_nothing(guard: TenantGuard, quota: QuotaService) -> None:
    broken = [*converse_stream(usage=None), message("throttlingException", {"message": "slow"}, is_error=True)]
    stream = guard.wrap(client(Bedrock(streamed(broken))), tenant="acme").converse_stream(**CALL)["stream"]
    with pytest.raises(EventStreamError, match="slow"):
        list(stream)
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_invoke_model_with_response_stream(guard: TenantGuard, quota: QuotaService) -> None:
    chunks: list[dict[str, Any]] = [
        {"delta": {"text": '"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9}'}},
        {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 30,
                "outputTokenCount": 12,
                "invocationLatency": 9,
                "firstByteLatency": 3,
            },
        },
    ]
    guarded = guard.wrap(client(Bedrock(streamed(model_stream(chunks)))), tenant="acme")
    answer = guarded.invoke_model_with_response_stream(modelId=MODEL, body=b'{"max_tokens": 100}')
    found = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    assert found == chunks
    assert quota.reserved("acme") == 42
    assert [name for name, _ in quota.asked] == ["reserve", "shrink"], "the model's own text is no count"


# --- refused, unknown


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


# --- denied


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


# --- agents and knowledge bases


RAG = {
    "input": {"text": "why?"},
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {
            "knowledgeBaseId": "KB12345678",
            "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}",
            "generationConfiguration": {"inferenceConfig": {"textInferenceConfig": {"maxTokens": 333}}},
        },
    },
}


def test_retrieve_and_generate_uses_the_tenants_profile(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(ok({"output": {"text": "so"}, "sessionId": "session"}))
    before = copy.deepcopy(RAG)
    guarded = guard.wrap(client(bedrock, "bedrock-agent-runtime"), tenant="acme")
    answer = guarded.retrieve_and_generate(**RAG)
    assert before == RAG
    sent = bedrock.body()["retrieveAndGenerateConfiguration"]["knowledgeBaseConfiguration"]
    assert sent["modelArn"] == PROFILE_ARN
    assert sent["knowledgeBaseId"] == "KB12345678"
    assert only(quota).wanted.estimate["output_tokens"] == 333
    assert only(quota).wanted.estimate["input_tokens"] > 8_000
    assert answer["ResponseMetadata"]["bedrock-meter"]["reservation"] == only(quota).id
    assert [name for name, _ in quota.asked] == ["reserve"], "its records carry no id: time ends it"


def test_retrieve_and_generate_that_is_rejected_holds_nothing(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(error(400, "ValidationException")), "bedrock-agent-runtime"), tenant="acme")
    with pytest.raises(ClientError):
        guarded.retrieve_and_generate(**RAG)
    assert only(quota).status == "released"


def test_an_inline_agent_keeps_its_model_and_is_held_for(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(streamed([message("chunk", {"bytes": "aGVsbG8="})]))
    guarded = guard.wrap(client(bedrock, "bedrock-agent-runtime"), tenant="acme")
    answer = guarded.invoke_inline_agent(
        foundationModel=MODEL,
        instruction="You answer in one short sentence, always.",
        sessionId="session",
        inputText="hello",
    )
    assert [event["chunk"]["bytes"] for event in answer["completion"]] == [b"hello"]
    assert bedrock.body()["foundationModel"] == MODEL, "the service model refuses an application profile"
    assert only(quota).wanted.model == MODEL
    assert only(quota).status == "open"


def test_an_inline_agent_gets_the_profile_once_the_service_model_allows_it(guard: TenantGuard) -> None:
    session = Session()
    load = session.get_component("data_loader").load_service_model

    def newer(service: str, kind: str, *more: Any, **named: Any) -> Any:
        found = load(service, kind, *more, **named)
        if kind == "service-2" and service == "bedrock-agent-runtime":
            found = copy.deepcopy(found)
            shape = found["shapes"]["InvokeInlineAgentRequest"]["members"]["foundationModel"]["shape"]
            found["shapes"][shape]["pattern"] = "^.*(application-inference-profile)/[a-z0-9]{12}$"
        return found

    session.get_component("data_loader").load_service_model = newer
    bedrock = Bedrock(streamed([]))
    guarded = guard.wrap(client(bedrock, "bedrock-agent-runtime", session=session), tenant="acme")
    guarded.invoke_inline_agent(
        foundationModel=MODEL,
        instruction="You answer in one short sentence, always.",
        sessionId="session",
        inputText="hello",
    )
    assert bedrock.body()["foundationModel"] == PROFILE_ARN


# --- wrapping


def test_a_client_is_guarded_once(guard: TenantGuard, transport: MemoryTransport) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for other in (guard, TenantGuard(transport)):
        with pytest.raises(ConfigurationError, match="already"):
            other.wrap(guarded, tenant="acme")


def test_other_services_have_nothing_to_guard(guard: TenantGuard) -> None:
    with pytest.raises(ConfigurationError, match="bedrock-runtime"):
        guard.wrap(client(Bedrock(), "sts"), tenant="acme")


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


# --- without a client


def test_a_call_by_other_means(guard: TenantGuard, quota: QuotaService) -> None:
    with guard.admit("acme", model=MODEL, estimate=Amounts(1, 50, 50)) as admitted:
        assert admitted.profile is not None
        assert admitted.profile.arn == PROFILE_ARN
        assert admitted.metadata == {RESERVATION_KEY: admitted.reservation}
        admitted.used(Amounts(1, 10, 5))
        admitted.used(Amounts(1, 1, 1))
        admitted.refused()
    assert quota.reserved("acme") == 15, "the first end counts"


def test_a_call_by_other_means_that_fails_stays_held(guard: TenantGuard, quota: QuotaService) -> None:
    with pytest.raises(ZeroDivisionError), guard.admit("acme", model=MODEL, estimate=Amounts(1, 50, 50)) as admitted:
        raise ZeroDivisionError
    admitted.used(Amounts(1))
    assert quota.reserved("acme") == 100


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


def test_metadata_that_turn_out_too_many_give_the_reservation_back(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    reserve = transport.reserve

    def with_more(*question: Any) -> Any:
        answer = reserve(*question)
        assert isinstance(answer, Reservation)
        return replace(answer, metadata={**answer.metadata, "one-more": "v"})

    transport.reserve = with_more  # type: ignore[method-assign, assignment]
    bedrock = Bedrock(ok(CONVERSED))
    with pytest.raises(InvalidMetadata, match="2 of them are"):
        guard.wrap(client(bedrock), tenant="acme").converse(
            **CALL, requestMetadata={f"k{number}": "v" for number in range(15)}
        )
    assert not bedrock.requests
    assert only(quota).status == "released"


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
