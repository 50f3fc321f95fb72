"""Which model identifiers can be profiles, and under which name usage is reported."""

import pytest

from bedrock_meter.invocations.identifiers import last_segment, profile_candidate
from tests.unit.invocations.messages import ACCOUNT, PROFILE


def arn(resource: str, partition: str = "aws", region: str = "us-east-1", account: str = ACCOUNT) -> str:
    return f"arn:{partition}:bedrock:{region}:{account}:{resource}"


@pytest.mark.parametrize(
    ("model_id", "profile"),
    [
        (PROFILE, PROFILE),
        (arn(f"application-inference-profile/{PROFILE}"), PROFILE),
        (arn(f"application-inference-profile/{PROFILE}", partition="aws-us-gov", region="us-gov-west-1"), PROFILE),
        (arn(f"application-inference-profile/{PROFILE}", partition="aws-cn"), PROFILE),
        (arn(f"inference-profile/{PROFILE}"), PROFILE),
        (arn("inference-profile/us.anthropic.claude-sonnet-4-6"), "us.anthropic.claude-sonnet-4-6"),
        (arn("inference-profile/global.amazon.nova-2-lite-v1:0"), "global.amazon.nova-2-lite-v1:0"),
        (arn("inference-profile/my-team-profile"), "my-team-profile"),
        # Bare ids of models are no ARN either; the directory knows that nobody owns them.
        ("us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6"),
        ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("p" * 128, "p" * 128),
    ],
)
def test_what_can_be_a_profile(model_id: str, profile: str) -> None:
    assert profile_candidate(model_id) == profile
    assert last_segment(model_id) == profile


@pytest.mark.parametrize(
    ("model_id", "segment"),
    [
        (arn(f"provisioned-model/{PROFILE}"), PROFILE),
        (arn(f"custom-model-deployment/{PROFILE}"), PROFILE),
        (arn(f"imported-model/{PROFILE}"), PROFILE),
        (arn(f"custom-model/amazon.nova/{PROFILE}"), PROFILE),
        (arn(f"prompt/{PROFILE}"), PROFILE),
        (arn("prompt/ABCDEFGHIJ:1"), "ABCDEFGHIJ:1"),
        (arn(f"prompt-router/{PROFILE}"), PROFILE),
        (arn(f"default-prompt-router/{PROFILE}"), PROFILE),
        (arn("foundation-model/amazon.nova-lite-v1:0", account=""), "amazon.nova-lite-v1:0"),
        (f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/{PROFILE}", PROFILE),
        (f"arn:aws:iam:us-east-1:{ACCOUNT}:application-inference-profile/{PROFILE}", PROFILE),
        (arn(f"x-application-inference-profile/{PROFILE}"), PROFILE),
        (arn(f"application-inference-profile/{PROFILE}/more"), "more"),
        (arn("application-inference-profile/"), arn("application-inference-profile")),
        (arn("application-inference-profile"), arn("application-inference-profile")),
        (arn(f"application-inference-profile/{PROFILE}", account="12345x"), PROFILE),
        (arn(f"application-inference-profile/{'p' * 129}"), "p" * 129),
        (f"application-inference-profile/{PROFILE}", PROFILE),
        (f"ARN:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/{PROFILE}", PROFILE),
        ("arn:", "arn:"),
        ("", ""),
        ("/", "/"),
        ("-leading", "-leading"),
        ("with space", "with space"),
        (f"{PROFILE}\n", f"{PROFILE}\n"),
        ("é", "é"),
        ("p" * 129, "p" * 129),
    ],
)
def test_what_can_be_none(model_id: str, segment: str) -> None:
    """An equal last segment of another kind of resource is never somebody's profile."""
    assert profile_candidate(model_id) is None
    assert last_segment(model_id) == segment
