"""Guarded agents and knowledge bases, whose records carry no reservation."""

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.client import TenantGuard
from tests.doubles.bedrock import Bedrock, client, error, message, ok, session_with, streamed
from tests.doubles.quota import MODEL, PROFILE_ARN, QuotaService
from tests.unit.client.calls import only

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
    def newer(shapes: dict[str, Any]) -> None:
        shape = shapes["InvokeInlineAgentRequest"]["members"]["foundationModel"]["shape"]
        shapes[shape]["pattern"] = "^.*(application-inference-profile)/[a-z0-9]{12}$"

    session = session_with("bedrock-agent-runtime", newer)
    bedrock = Bedrock(streamed([]))
    guarded = guard.wrap(client(bedrock, "bedrock-agent-runtime", session=session), tenant="acme")
    guarded.invoke_inline_agent(
        foundationModel=MODEL,
        instruction="You answer in one short sentence, always.",
        sessionId="session",
        inputText="hello",
    )
    assert bedrock.body()["foundationModel"] == PROFILE_ARN
