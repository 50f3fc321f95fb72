from typing import Any

import pytest

from bedrock_meter.client.operations import GUARDED, METADATA_HEADER, RUNTIME, add_metadata, model_of, use_profile
from bedrock_meter.client.quota import named_by
from tests.doubles.bedrock import shared_session


@pytest.mark.parametrize("service", GUARDED)
def test_the_installed_botocore_knows_what_is_guarded(service: str) -> None:
    """Where botocore changes, this says what to look at."""
    model = shared_session().get_service_model(service)
    for name, operation in GUARDED[service].items():
        found = model.operation_model(name)
        members = found.input_shape.members
        assert ("requestMetadata" in members) == (operation.metadata is not None), name
        if operation.metadata == "json":
            header = members["requestMetadata"].serialization
            assert (header["location"], header["name"]) == ("header", METADATA_HEADER)
        if operation.metadata == "map":
            assert members["requestMetadata"].metadata["max"] == 16
        if operation.stream is not None:
            assert found.get_event_stream_output().name == found.output_shape.members[operation.stream].name


def test_every_operation_that_calls_a_model_is_guarded_or_known_not_to_be() -> None:
    """The log holds four operations; what else takes a model is named in docs/client.md as not guarded."""
    model = shared_session().get_service_model("bedrock-runtime")
    calling = {name for name in model.operation_names if "modelId" in model.operation_model(name).input_shape.members}
    assert calling - RUNTIME.keys() == {"CountTokens", "InvokeModelWithBidirectionalStream", "StartAsyncInvoke"}


@pytest.mark.parametrize(
    ("model_id", "named"),
    [
        ("anthropic.claude-sonnet-4-6", ("anthropic.claude-sonnet-4-6", None)),
        ("us.anthropic.claude-sonnet-4-6", ("us.anthropic.claude-sonnet-4-6", None)),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", ("amazon.nova-lite-v1:0", None)),
        ("arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.x.y", ("us.x.y", None)),
        ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1c3m5e7k9q2", (None, "a1c3m5e7k9q2")),
        ("a1c3m5e7k9q2", (None, "a1c3m5e7k9q2")),
        ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefabcdef", ("abcdefabcdef", None)),
    ],
)
def test_what_a_model_identifier_names(model_id: str, named: tuple[str | None, str | None]) -> None:
    assert named_by(model_id) == named


def test_a_knowledge_bases_model_is_found_and_replaced_where_it_is() -> None:
    nothing: dict[str, Any]
    for kind in ("knowledgeBaseConfiguration", "externalSourcesConfiguration"):
        configuration = {"type": "T", kind: {"modelArn": "old", "kept": 1}}
        params = {"retrieveAndGenerateConfiguration": configuration}
        assert model_of("RetrieveAndGenerate", params) == "old"
        assert use_profile("RetrieveAndGenerate", params, "new", None)
        assert params["retrieveAndGenerateConfiguration"][kind] == {"modelArn": "new", "kept": 1}
        assert configuration[kind] == {"modelArn": "old", "kept": 1}
    for nothing in ({}, {"retrieveAndGenerateConfiguration": {"knowledgeBaseConfiguration": {}}}):
        assert model_of("RetrieveAndGenerate", nothing) is None
        assert not use_profile("RetrieveAndGenerate", dict(nothing), "new", None)


def test_operations_without_metadata_get_none() -> None:
    params = {"inputText": "x"}
    assert add_metadata(GUARDED["bedrock-agent-runtime"]["InvokeInlineAgent"], params, {"a": "b"}, known=False) is None
    assert params == {"inputText": "x"}
