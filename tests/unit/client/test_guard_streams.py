"""Guarded streams: botocore's own, and the last event says what was used."""

import json
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError

from bedrock_meter.client import TenantGuard
from tests.doubles.bedrock import Bedrock, client, converse_stream, message, model_stream, streamed
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
