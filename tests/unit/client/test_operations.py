from typing import Any

import pytest

from bedrock_meter.client.operations import GUARDED, METADATA_HEADER, RUNTIME, add_metadata, model_of, use_profile
from bedrock_meter.client.quota import Subject, subject_of
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


OURS = "arn:aws:bedrock:us-east-1:111122223333:"


@pytest.mark.parametrize(
    ("model_id", "model", "profile"),
    [
        ("anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", None),
        ("us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6", None),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", None),
        (f"{OURS}inference-profile/us.x.y", "us.x.y", None),
        (
            f"{OURS}application-inference-profile/a1c3m5e7k9q2",
            None,
            f"{OURS}application-inference-profile/a1c3m5e7k9q2",
        ),
        ("a1c3m5e7k9q2", None, "a1c3m5e7k9q2"),
        ("ip-99cf41a47f70", None, "ip-99cf41a47f70"),
        (f"{OURS}provisioned-model/abcdefabcdef", f"{OURS}provisioned-model/abcdefabcdef", None),
        (f"{OURS}imported-model/abcdefabcdef", f"{OURS}imported-model/abcdefabcdef", None),
        (f"{OURS}prompt/PROMPT1234:1", f"{OURS}prompt/PROMPT1234:1", None),
        (f"{OURS}default-prompt-router/x.y:1", f"{OURS}default-prompt-router/x.y:1", None),
        ("arn:aws:sagemaker:us-east-1:1:endpoint/a.b", "arn:aws:sagemaker:us-east-1:1:endpoint/a.b", None),
    ],
)
def test_what_a_model_identifier_names(model_id: str, model: str | None, profile: str | None) -> None:
    """An application profile's ARN stays whole, and so does what is no model's: they are compared as a whole."""
    assert subject_of("acme", model_id, "us-east-1") == Subject("acme", model, profile, "us-east-1")


def test_what_an_answer_is_remembered_for_merges_no_two_calls() -> None:
    """The same letters at the end are no same call: geography, kind, account and Region make others of it."""
    different = [
        (None, None),
        ("x.y", "us-east-1"),
        ("x.y", "eu-west-1"),
        ("x.y", None),
        ("eu.x.y", "eu-west-1"),
        ("global.x.y", "eu-west-1"),
        ("arn:aws:bedrock:us-west-2::foundation-model/x.y", "us-east-1"),
        (f"{OURS}application-inference-profile/a1c3m5e7k9q2", "us-east-1"),
        (f"{OURS}application-inference-profile/a1c3m5e7k9q2".replace("1111", "4444"), "us-east-1"),
        (f"{OURS}application-inference-profile/a1c3m5e7k9q2".replace("us-east-1", "eu-west-1"), "us-east-1"),
        ("a1c3m5e7k9q2", "us-east-1"),
        (f"{OURS}provisioned-model/a1c3m5e7k9q2", "us-east-1"),
        (f"{OURS}imported-model/a1c3m5e7k9q2", "us-east-1"),
    ]
    assert len({subject_of("acme", *one) for one in different}) == len(different)
    same = {subject_of("acme", one, "us-east-1") for one in ("x.y", "arn:aws:bedrock:us-east-1::foundation-model/x.y")}
    assert len(same) == 1


def test_an_arn_says_its_region_where_the_caller_does_not() -> None:
    assert subject_of("acme", "arn:aws:bedrock:eu-west-3::foundation-model/x.y").region == "eu-west-3"
    assert subject_of("acme", "arn:").model == "arn:"


def test_a_knowledge_bases_model_is_found_and_replaced_where_it_is() -> None:
    nothing: dict[str, Any]
    for kind in ("knowledgeBaseConfiguration", "externalSourcesConfiguration"):
        configuration = {"type": "T", kind: {"modelArn": "old", "kept": 1}}
        params = {"retrieveAndGenerateConfiguration": configuration}
        assert model_of("RetrieveAndGenerate", params) == "old"
        assert use_profile("RetrieveAndGenerate", params, "new", None)
        assert params["retrieveAndGenerateConfiguration"][kind] == {"modelArn": "new", "kept": 1}
        assert configuration[kind] == {"modelArn": "old", "kept": 1}
    both = {
        "type": "EXTERNAL_SOURCES",
        "knowledgeBaseConfiguration": {"modelArn": "not used"},
        "externalSourcesConfiguration": {"modelArn": "used"},
    }
    assert model_of("RetrieveAndGenerate", {"retrieveAndGenerateConfiguration": both}) == "used"
    for nothing in ({}, {"retrieveAndGenerateConfiguration": {"knowledgeBaseConfiguration": {}}}):
        assert model_of("RetrieveAndGenerate", nothing) is None
        assert not use_profile("RetrieveAndGenerate", dict(nothing), "new", None)


def test_operations_without_metadata_get_none() -> None:
    params = {"inputText": "x"}
    assert add_metadata(GUARDED["bedrock-agent-runtime"]["InvokeInlineAgent"], params, {"a": "b"}, known=False) is None
    assert params == {"inputText": "x"}
