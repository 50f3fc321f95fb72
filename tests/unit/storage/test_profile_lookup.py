"""The control plane's answers, in the shapes of the service model."""

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.session import get_session
from botocore.stub import Stubber

from bedrock_meter.storage.profile_lookup import BedrockProfileLookup, bedrock_client
from bedrock_meter.tenants.lookup import FoundProfile, LookupFailed
from tests.doubles.records import profile_arn

ARN = profile_arn("a1c3m5e7k9q2")
SYSTEM_ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6"
PROFILE = {
    "inferenceProfileName": "acme",
    "inferenceProfileArn": ARN,
    "inferenceProfileId": "a1c3m5e7k9q2",
    "models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"}],
    "status": "ACTIVE",
    "type": "APPLICATION",
}


@pytest.fixture
def bedrock() -> Any:
    return get_session().create_client(
        "bedrock", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def test_a_profile_is_found_with_its_tags_and_model(bedrock: Any) -> None:
    with Stubber(bedrock) as answers:
        answers.add_response("get_inference_profile", PROFILE, {"inferenceProfileIdentifier": "a1c3m5e7k9q2"})
        tags = {"tags": [{"key": "tenantId", "value": "acme"}, {"key": "team", "value": "x"}]}
        answers.add_response("list_tags_for_resource", tags, {"resourceARN": ARN})
        found = BedrockProfileLookup(lambda: bedrock).look_up("a1c3m5e7k9q2")
        answers.assert_no_pending_responses()
    assert found == FoundProfile({"tenantId": "acme", "team": "x"}, "anthropic.claude-sonnet-4-6", "in-region")


def test_a_profile_of_several_regions_is_found_with_its_geography(bedrock: Any) -> None:
    reached = [
        {"modelArn": f"arn:aws:bedrock:eu-{place}-1::foundation-model/anthropic.claude-sonnet-4-6"}
        for place in ("central", "north", "west")
    ]
    with Stubber(bedrock) as answers:
        answers.add_response("get_inference_profile", {**PROFILE, "models": reached})
        answers.add_response("list_tags_for_resource", {"tags": [{"key": "tenantId", "value": "acme"}]})
        found = BedrockProfileLookup(lambda: bedrock).look_up("a1c3m5e7k9q2")
    assert found == FoundProfile({"tenantId": "acme"}, "anthropic.claude-sonnet-4-6", "geo", "eu")


def test_a_system_profile_is_nobodys_and_its_tags_are_not_asked_for(bedrock: Any) -> None:
    with Stubber(bedrock) as answers:
        answers.add_response(
            "get_inference_profile", {**PROFILE, "type": "SYSTEM_DEFINED", "inferenceProfileArn": SYSTEM_ARN}
        )
        assert BedrockProfileLookup(lambda: bedrock).look_up("us.anthropic.claude-sonnet-4-6") is None


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "ValidationException"])
def test_a_profile_that_is_not_there_is_none(bedrock: Any, code: str) -> None:
    with Stubber(bedrock) as answers:
        answers.add_client_error("get_inference_profile", code, http_status_code=404)
        assert BedrockProfileLookup(lambda: bedrock).look_up("gone") is None


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "InternalServerException"])
def test_a_refusal_says_nothing_about_the_profile(bedrock: Any, code: str) -> None:
    with Stubber(bedrock) as answers:
        answers.add_client_error("get_inference_profile", code)
        with pytest.raises(LookupFailed, match=code):
            BedrockProfileLookup(lambda: bedrock).look_up("p1")


def test_a_timeout_says_nothing_about_the_profile() -> None:
    class Slow:
        def get_inference_profile(self, **_: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="bedrock")

    with pytest.raises(LookupFailed, match="ReadTimeoutError"):
        BedrockProfileLookup(Slow).look_up("p1")


def test_the_client_is_made_by_the_first_question(bedrock: Any) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(bedrock)
        return bedrock

    lookup = BedrockProfileLookup(make)
    assert made == []
    with Stubber(bedrock) as answers:
        for _ in range(2):
            answers.add_client_error("get_inference_profile", "ResourceNotFoundException")
            assert lookup.look_up("p1") is None
    assert len(made) == 1


def test_a_delivery_is_kept_waiting_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings = bedrock_client().meta.config
    assert settings.connect_timeout + settings.read_timeout <= 3
    assert settings.retries["total_max_attempts"] == 1
