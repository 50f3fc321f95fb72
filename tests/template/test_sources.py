"""Whom services of AWS act for: whatever lets one in says which account and which source, all through the template."""

import re
from typing import Any

from tests.template.expanding import expanded_resources
from tests.template.reading import as_list, properties, words
from tests.template.test_permissions import TRUSTED

ACCOUNT = "AWS::AccountId"


def service_statements(value: Any) -> list[dict[str, Any]]:
    """All statements, anywhere in a value, that allow something to a service of AWS."""
    if isinstance(value, list):
        return [found for one in value for found in service_statements(one)]
    if not isinstance(value, dict):
        return []
    own = [value] if "Service" in (value.get("Principal") or ()) and value.get("Effect") == "Allow" else []
    return own + [found for one in value.values() for found in service_statements(one)]


def says_whose(value: Any) -> bool:
    """Whether a text names the stack's account: by its number, or as the ARN of a resource of the stack."""
    texts = [words(one) for one in as_list(value)]
    named = [text for text in texts if text not in {"", "AWS::NoValue"}]
    return bool(named) and all(
        ACCOUNT in text or re.fullmatch(r"\w+\.Arn( if \w+ else AWS::NoValue)?", text) for text in named
    )


def test_every_service_that_may_use_a_resource_says_for_whom() -> None:
    """All of the template is gone through, so that nobody can forget a new one; alone Lambda says nothing of itself."""
    by_resource = {name: service_statements(one) for name, one in expanded_resources().items()}
    found = [(name, one) for name, every in by_resource.items() for one in every]
    assert len(found) > 15
    for name, statement in found:
        assert set(statement["Principal"]) == {"Service"}, name
        if statement["Principal"]["Service"] == "lambda.amazonaws.com":
            continue
        keys = {key: value for block in statement["Condition"].values() for key, value in block.items()}
        assert "aws:SourceArn" in keys, name
        assert says_whose(keys["aws:SourceArn"]), name
        if statement["Action"] == "sts:AssumeRole" or "aws:SourceAccount" in keys:
            assert words(keys["aws:SourceAccount"]) == ACCOUNT, name


def test_what_says_whose_a_source_is_can_say_no() -> None:
    assert says_whose({"Fn::GetAtt": ["Rule", "Arn"]})
    assert says_whose({"Fn::Sub": "arn:aws:x:${AWS::AccountId}:*"})
    assert not says_whose("arn:aws:scheduler:*:*:schedule-group/default")
    assert not says_whose([{"Fn::GetAtt": ["Rule", "Arn"]}, "*"])
    assert service_statements({"a": [{"Effect": "Allow", "Principal": {"Service": "x"}}]})


def test_a_schedule_is_trusted_by_its_group() -> None:
    """The scheduler names the group, not the schedule; stacks here have none of their own."""
    for role in (name for name, service in TRUSTED.items() if service == "scheduler.amazonaws.com"):
        (statement,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
        assert words(statement["Condition"]["ArnEquals"]["aws:SourceArn"]).endswith(":schedule-group/default")
    schedules = [one for one in expanded_resources().values() if one["Type"] == "AWS::Scheduler::Schedule"]
    assert len(schedules) == 3
    assert all("GroupName" not in one["Properties"] for one in schedules)


def test_functions_are_invoked_by_named_sources_only() -> None:
    permissions = {
        name: one["Properties"]
        for name, one in expanded_resources().items()
        if one["Type"] == "AWS::Lambda::Permission"
    }
    assert set(permissions) == {
        "InvocationLogPermission",
        "ProfileChangePermission",
        "QuotaApiFunctionAnythingElsePermission",
        "AdminApiFunctionAnythingElsePermission",
        "ReportApiFunctionReadUsagePermission",
        "ReportApiFunctionReadExplanationPermission",
        "ReportApiFunctionReadDocumentPermission",
        "TokenApiPermission",
        "TokenApiReportPermission",
        "TokenApiAdminPermission",
    }
    for name, one in permissions.items():
        assert says_whose(one["SourceArn"]), name
        made_by_sam = re.fullmatch(r"(Quota|Report|Admin)ApiFunction\w+Permission", name)
        # SAM's own have no SourceAccount, and cannot get one; the account stands in their SourceArn.
        assert made_by_sam or words(one["SourceAccount"]) == ACCOUNT, name
    changes = properties("ProfileChangePermission")
    assert words(changes["SourceAccount"]) == "AWS::AccountId"
    assert words(changes["SourceArn"]) == "ProfileChangeRule.Arn"
    logs = properties("InvocationLogPermission")
    assert words(logs["SourceAccount"]) == "AWS::AccountId"
    assert words(logs["SourceArn"]).endswith(":log-group:${Name}:*")
