"""Bedrock's control plane by the real shapes of botocore's service model: pages, tags, refusals, throttles."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.session import get_session
from botocore.stub import Stubber

from bedrock_meter.errors import ProfileQuotaFull, ProfileRefused
from bedrock_meter.storage.inference_profiles import (
    ATTEMPTS,
    PAGE,
    QUOTA_CODE,
    BedrockControlPlane,
    Pace,
    ServiceQuota,
)
from tests.doubles.tenants import HAIKU, HERE

ARN = f"{HERE}application-inference-profile/053a3ulue40l"
SYSTEM_ARN = f"{HERE}inference-profile/us.anthropic.claude-sonnet-4-6"
CREATED = datetime(2026, 11, 24, tzinfo=UTC)


def summary(arn: str = ARN, name: str = "acme-haiku", kind: str = "APPLICATION") -> dict[str, Any]:
    return {
        "inferenceProfileName": name,
        "inferenceProfileArn": arn,
        "inferenceProfileId": arn.rpartition("/")[2],
        "models": [{"modelArn": HAIKU}],
        "status": "ACTIVE",
        "type": kind,
        "createdAt": CREATED,
        "updatedAt": CREATED,
    }


class Scene:
    """A stubbed client: each request must be the one that is expected, in the form that the API takes."""

    def __init__(self, service: str) -> None:
        self.client = get_session().create_client(
            service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.slept: list[float] = []
        self.may_wait = True
        self.pace = Pace(self.slept.append, lambda seconds: self.may_wait)

    def throttle(self, operation: str, times: int = 1, code: str = "ThrottlingException") -> None:
        for _ in range(times):
            self.stub.add_client_error(operation, code, "Too many requests", 429)


@pytest.fixture
def bedrock() -> Iterator[Scene]:
    scene = Scene("bedrock")
    yield scene
    scene.stub.assert_no_pending_responses()


@pytest.fixture
def quotas() -> Iterator[Scene]:
    scene = Scene("service-quotas")
    yield scene
    scene.stub.assert_no_pending_responses()


def control(scene: Scene) -> BedrockControlPlane:
    return BedrockControlPlane(scene.client, scene.pace)


def test_application_profiles_are_asked_for_page_by_page_and_system_ones_dropped(bedrock: Scene) -> None:
    expected: dict[str, Any] = {"typeEquals": "APPLICATION", "maxResults": PAGE}
    first = {"inferenceProfileSummaries": [summary(), summary(SYSTEM_ARN, "US", "SYSTEM_DEFINED")], "nextToken": "n"}
    bedrock.stub.add_response("list_inference_profiles", first, expected)
    other = ARN.replace("053a3ulue40l", "44suuwn3n98t")
    second = {"inferenceProfileSummaries": [summary(other)]}
    bedrock.stub.add_response("list_inference_profiles", second, {**expected, "nextToken": "n"})
    found = list(control(bedrock).application_profiles())
    assert [one.id for one in found] == ["053a3ulue40l", "44suuwn3n98t"]
    assert found[0].models == (HAIKU,)


def test_tags_come_as_a_map_and_none_where_the_profile_is_gone(bedrock: Scene) -> None:
    answer = {"tags": [{"key": "tenantId", "value": "acme"}, {"key": "stage", "value": ""}]}
    bedrock.stub.add_response("list_tags_for_resource", answer, {"resourceARN": ARN})
    bedrock.stub.add_client_error("list_tags_for_resource", "ResourceNotFoundException", "gone", 404)
    assert control(bedrock).tags(ARN) == {"tenantId": "acme", "stage": ""}
    assert control(bedrock).tags(ARN) is None


def test_one_profile_is_asked_for_by_its_id(bedrock: Scene) -> None:
    bedrock.stub.add_response("get_inference_profile", summary(), {"inferenceProfileIdentifier": "053a3ulue40l"})
    bedrock.stub.add_client_error("get_inference_profile", "ResourceNotFoundException", "gone", 404)
    found = control(bedrock).profile("053a3ulue40l")
    assert found is not None
    assert found.arn == ARN
    assert control(bedrock).profile("053a3ulue40l") is None


CREATE = {
    "inferenceProfileName": "acme-haiku",
    "modelSource": {"copyFrom": HAIKU},
    "clientRequestToken": "t0ken",
    "tags": [{"key": "tenantId", "value": "acme"}],
}


def create(scene: Scene) -> str:
    return control(scene).create("acme-haiku", HAIKU, {"tenantId": "acme"}, "t0ken").arn


def test_a_creation_carries_token_tags_and_source(bedrock: Scene) -> None:
    answer = {"inferenceProfileArn": ARN, "status": "ACTIVE"}
    bedrock.stub.add_response("create_inference_profile", answer, CREATE)
    assert create(bedrock) == ARN


def test_a_throttled_creation_is_sent_again_under_the_same_token(bedrock: Scene) -> None:
    bedrock.throttle("create_inference_profile", 3)
    answer = {"inferenceProfileArn": ARN, "status": "ACTIVE"}
    bedrock.stub.add_response("create_inference_profile", answer, CREATE)
    assert create(bedrock) == ARN
    assert bedrock.pace.throttles == 3
    assert len(bedrock.slept) >= 3


def test_a_creation_that_failed_and_was_done_is_found_by_its_name_and_not_sent_again(bedrock: Scene) -> None:
    bedrock.stub.add_client_error("create_inference_profile", "InternalServerException", "sorry", 500)
    answer = {"inferenceProfileSummaries": [summary(name="another"), summary()]}
    bedrock.stub.add_response("list_inference_profiles", answer)
    assert create(bedrock) == ARN


def test_a_creation_that_failed_and_was_not_done_is_sent_again(bedrock: Scene) -> None:
    bedrock.stub.add_client_error("create_inference_profile", "InternalServerException", "sorry", 500)
    bedrock.stub.add_response("list_inference_profiles", {"inferenceProfileSummaries": [summary(name="another")]})
    answer = {"inferenceProfileArn": ARN, "status": "ACTIVE"}
    bedrock.stub.add_response("create_inference_profile", answer, CREATE)
    assert create(bedrock) == ARN


def test_a_lost_reply_is_asked_after_before_the_request_is_sent_again() -> None:
    sent: list[int] = []

    def send() -> str:
        sent.append(1)
        raise ReadTimeoutError(endpoint_url="https://bedrock.us-east-1.amazonaws.com")

    assert Pace(lambda seconds: None).send(send, lost=lambda: "found") == "found"
    assert len(sent) == 1


def test_a_full_quota_says_what_to_do(bedrock: Scene) -> None:
    bedrock.stub.add_client_error("create_inference_profile", "ServiceQuotaExceededException", "1000 of 1000", 400)
    with pytest.raises(ProfileQuotaFull, match=QUOTA_CODE):
        create(bedrock)


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ConflictException"])
def test_a_refusal_says_of_what_and_why_and_is_not_repeated(bedrock: Scene, code: str) -> None:
    bedrock.stub.add_client_error("create_inference_profile", code, "the reason", 400)
    with pytest.raises(ProfileRefused, match=f"{code}: the reason"):
        create(bedrock)
    assert bedrock.slept == []


def test_deleting_twice_is_no_error(bedrock: Scene) -> None:
    bedrock.stub.add_response("delete_inference_profile", {}, {"inferenceProfileIdentifier": "053a3ulue40l"})
    bedrock.stub.add_client_error("delete_inference_profile", "ResourceNotFoundException", "gone", 404)
    assert control(bedrock).delete("053a3ulue40l")
    assert not control(bedrock).delete("053a3ulue40l")


def test_a_throttle_slows_what_follows_and_success_makes_it_faster_again(bedrock: Scene) -> None:
    bedrock.throttle("list_tags_for_resource", 4)
    for _ in range(60):
        bedrock.stub.add_response("list_tags_for_resource", {"tags": []}, {"resourceARN": ARN})
    plane = control(bedrock)
    plane.tags(ARN)
    slowed = bedrock.pace.gap_s
    assert slowed > 0
    for _ in range(59):
        plane.tags(ARN)
    assert bedrock.pace.gap_s < slowed / 10
    assert all(0 < pause <= 8 for pause in bedrock.slept)


def test_it_gives_up_after_nine_attempts_or_when_time_is_short(bedrock: Scene) -> None:
    bedrock.throttle("list_tags_for_resource", ATTEMPTS)
    with pytest.raises(ClientError):
        control(bedrock).tags(ARN)
    bedrock.throttle("list_tags_for_resource")
    bedrock.may_wait = False
    with pytest.raises(ClientError):
        control(bedrock).tags(ARN)


QUOTA = {"ServiceCode": "bedrock", "QuotaCode": QUOTA_CODE}


def test_the_applied_quota_counts_and_the_default_where_none_is_kept(quotas: Scene) -> None:
    answer = {"Quota": {**QUOTA, "QuotaName": "Inference profiles per account", "Value": 2500.0, "Adjustable": True}}
    quotas.stub.add_response("get_service_quota", answer, QUOTA)
    assert ServiceQuota(quotas.client, quotas.pace).maximum() == (2500, "")
    quotas.stub.add_client_error("get_service_quota", "NoSuchResourceException", "none", 400)
    quotas.stub.add_response("get_aws_default_service_quota", {"Quota": {**QUOTA, "Value": 1000.0}}, QUOTA)
    assert ServiceQuota(quotas.client, quotas.pace).maximum() == (1000, "")


def test_a_quota_that_cannot_be_read_is_unknown_and_says_why(quotas: Scene) -> None:
    quotas.stub.add_client_error("get_service_quota", "AccessDeniedException", "no", 400)
    assert ServiceQuota(quotas.client, quotas.pace).maximum() == (None, "AccessDeniedException")
    quotas.throttle("get_service_quota", ATTEMPTS, "TooManyRequestsException")
    assert ServiceQuota(quotas.client, quotas.pace).maximum() == (None, "TooManyRequestsException")
    quotas.stub.add_response("get_service_quota", {"Quota": QUOTA}, QUOTA)
    assert ServiceQuota(quotas.client, quotas.pace).maximum() == (None, "no value in the answer")
