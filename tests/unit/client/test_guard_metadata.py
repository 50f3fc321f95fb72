"""Where a guarded call carries its reservation: Converse's map, InvokeModel's header, and how much fits in."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from bedrock_meter.client import RESERVATION_KEY, InvalidMetadata, Reservation, TenantGuard
from tests.doubles.bedrock import CONVERSED, COUNT_HEADERS, Bedrock, client, ok, session_with
from tests.doubles.quota import MODEL, MemoryTransport, QuotaService
from tests.unit.client.calls import CALL, only


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
    def older(shapes: dict[str, Any]) -> None:
        del shapes["InvokeModelRequest"]["members"]["requestMetadata"]

    session = session_with("bedrock-runtime", older)
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
