"""Guarded streams: botocore's own, and the last event says what was used."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError

from bedrock_meter.client import TenantGuard
from tests.doubles.bedrock import Bedrock, client, converse_stream, error, message, model_stream, streamed
from tests.doubles.quota import MODEL, QuotaService
from tests.unit.client.calls import CALL, TOKENS


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


START = message("messageStart", {"role": "assistant"})
DELTA = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "one"}})
TOOL = message("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t-1", "name": "add"}}})


def refusal(code: str) -> bytes:
    return message(code, {"message": "slow"}, is_error=True)


def read_to_its_error(stream: Any) -> None:
    with pytest.raises(EventStreamError, match="slow"):
        list(stream)


@pytest.mark.parametrize(
    "events",
    [
        [refusal("throttlingException")],
        [START, refusal("throttlingException")],
        [START, refusal("validationException")],
    ],
)
def test_a_call_that_bedrock_refuses_inside_its_stream_holds_nothing(
    guard: TenantGuard, quota: QuotaService, events: list[bytes]
) -> None:
    """As an HTTP 429 or 400 does: the 200 came before the refusal."""
    guarded = guard.wrap(client(Bedrock(streamed(events))), tenant="acme")
    read_to_its_error(guarded.converse_stream(**CALL)["stream"])
    assert [name for name, _ in quota.asked] == ["reserve", "release"]
    assert quota.reserved("acme") == 0


@pytest.mark.parametrize("code", ["throttlingException", "validationException"])
def test_a_model_stream_that_is_refused_holds_nothing(guard: TenantGuard, quota: QuotaService, code: str) -> None:
    guarded = guard.wrap(client(Bedrock(streamed([refusal(code)]))), tenant="acme")
    read_to_its_error(guarded.invoke_model_with_response_stream(modelId=MODEL, body=b"{}")["body"])
    assert [name for name, _ in quota.asked] == ["reserve", "release"]


@pytest.mark.parametrize(
    "events",
    [
        [*converse_stream(usage=None), refusal("throttlingException")],
        [START, DELTA, refusal("throttlingException")],
        [START, TOOL, refusal("throttlingException")],
        [DELTA, refusal("validationException")],
        [refusal("internalServerException")],
        [refusal("serviceUnavailableException")],
        [START, refusal("modelStreamErrorException")],
        [refusal("errorOfTomorrow")],
    ],
)
def test_another_error_in_a_stream_reaches_the_reader_and_releases_nothing(
    guard: TenantGuard, quota: QuotaService, events: list[bytes]
) -> None:
    guarded = guard.wrap(client(Bedrock(streamed(events))), tenant="acme")
    with pytest.raises(EventStreamError):
        list(guarded.converse_stream(**CALL)["stream"])
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_a_chunk_before_a_refusal_is_content(guard: TenantGuard, quota: QuotaService) -> None:
    events = [*model_stream([{"type": "message_start"}]), refusal("throttlingException")]
    guarded = guard.wrap(client(Bedrock(streamed(events))), tenant="acme")
    read_to_its_error(guarded.invoke_model_with_response_stream(modelId=MODEL, body=b"{}")["body"])
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_content_that_an_earlier_loop_read_counts(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(streamed([START, DELTA, refusal("throttlingException")]))), tenant="acme")
    stream = guarded.converse_stream(**CALL)["stream"]
    for event in stream:
        if "contentBlockDelta" in event:
            break
    read_to_its_error(stream)
    assert [name for name, _ in quota.asked] == ["reserve"]


def test_a_refusal_in_a_stream_after_an_attempt_that_may_have_run_releases_nothing(
    guard: TenantGuard, quota: QuotaService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    bedrock = Bedrock(error(500, "InternalServerException"), streamed([refusal("throttlingException")]))
    guarded = guard.wrap(client(bedrock, attempts=2), tenant="acme")
    read_to_its_error(guarded.converse_stream(**CALL)["stream"])
    assert [name for name, _ in quota.asked] == ["reserve"]
    bedrock = Bedrock(error(429, "ThrottlingException"), streamed([refusal("throttlingException")]))
    guarded = guard.wrap(client(bedrock, attempts=2), tenant="acme")
    read_to_its_error(guarded.converse_stream(**CALL)["stream"])
    assert [name for name, _ in quota.asked][1:] == ["reserve", "release"]


def test_a_leased_call_that_is_refused_in_its_stream_puts_everything_back(guard: TenantGuard) -> None:
    guarded = guard.wrap(client(Bedrock(streamed([refusal("throttlingException")]))), tenant="acme")
    with guard.lease("acme", model=MODEL, requests=9, input_tokens=2_000, output_tokens=1_000) as lease:
        read_to_its_error(guarded.converse_stream(**CALL)["stream"])
        assert lease.left == lease.size


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
