"""Bedrock's logging configuration and what carries its records on, read and written by the operator's command.

Whatever may not be read comes back as ``Unreadable``: an operator rarely owns all of it, and one refusal must not hide
the other findings.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from bedrock_meter.preflight.configuration import Configuration, role_of
from bedrock_meter.preflight.findings import (
    PUT_EVENTS,
    WRITES,
    Expected,
    LogGroup,
    Observed,
    Role,
    Subscription,
    Unreadable,
    Writers,
)
from bedrock_meter.preflight.policies import allows
from bedrock_meter.storage.dynamodb import error_code

T = TypeVar("T")
Clients = Callable[[str], Any]
_GONE = frozenset({"NoSuchEntity", "ResourceNotFoundException", "NoSuchEntityException", "NoSuchBucketPolicy"})
MAXIMUM_SIMULATED = 30
"""Users and roles that IAM is asked about one by one; of more only their number is told."""

_SERVICE_LINKED = "/aws-service-role/"


def read_configuration(clients: Clients) -> Configuration | None:
    """Return Bedrock's logging configuration in the clients' Region; None where logging is off."""
    answer = clients("bedrock").get_model_invocation_logging_configuration()
    found: Configuration | None = answer.get("loggingConfig") or None
    return found


def write_configuration(clients: Clients, configuration: Configuration) -> None:
    """Replace the configuration as a whole; the same one again changes nothing."""
    clients("bedrock").put_model_invocation_logging_configuration(loggingConfig=dict(configuration))


def observe(clients: Clients, expected: Expected) -> Observed:
    """Read everything that a record passes on its way to the recorder. Writes nothing."""
    configuration = _try("bedrock:GetModelInvocationLoggingConfiguration", lambda: read_configuration(clients))
    role_arn = "" if configuration is None or isinstance(configuration, Unreadable) else role_of(configuration)
    group = _try("logs:DescribeLogGroups", lambda: _log_group(clients, expected.log_group))
    subscriptions = _try("logs:DescribeSubscriptionFilters", lambda: _subscriptions(clients, expected.log_group))
    return Observed(
        configuration,
        group,
        [] if subscriptions is None else subscriptions,
        _try("lambda:GetPolicy", lambda: _function_policy(clients, expected.recorder_arn)),
        _try("iam:GetRole", lambda: _role(clients, role_arn, expected)) if role_arn else None,
        _try("s3:GetBucketNotification", lambda: _tells_eventbridge(clients, expected.bucket))
        if expected.bucket
        else None,
        _try("iam:GetAccountAuthorizationDetails", lambda: _writers(clients, role_arn, expected)) or Writers(),
        _try("logs:DescribeResourcePolicies", lambda: _log_policies(clients, expected)) or (),
        _try("s3:GetBucketPolicy", lambda: _bucket_policy(clients, expected.bucket)) if expected.bucket else None,
    )


def write_line(logs: Any, log_group: str, stream: str, line: str, now_ms: int) -> None:
    """Write one line into a stream of a log group, which is made where it is not there."""
    try:
        logs.create_log_stream(logGroupName=log_group, logStreamName=stream)
    except ClientError as error:
        if error_code(error) != "ResourceAlreadyExistsException":
            raise
    logs.put_log_events(
        logGroupName=log_group, logStreamName=stream, logEvents=[{"timestamp": now_ms, "message": line}]
    )


def _try(action: str, read: Callable[[], T | None]) -> T | Unreadable | None:
    """Return what was read, None where it is not there, or why it cannot be read."""
    try:
        return read()
    except ClientError as error:
        code = error_code(error)
        return None if code in _GONE else Unreadable(code, action)


def _log_group(clients: Clients, name: str) -> LogGroup | None:
    pages = clients("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    for page in pages:
        for group in page["logGroups"]:
            if group["logGroupName"] == name:
                return LogGroup(
                    group.get("logGroupClass", "STANDARD"), group.get("kmsKeyId", ""), group.get("retentionInDays")
                )
    return None


def _subscriptions(clients: Clients, name: str) -> list[Subscription]:
    found = clients("logs").describe_subscription_filters(logGroupName=name)["subscriptionFilters"]
    return [Subscription(one["filterName"], one["destinationArn"], one.get("filterPattern", "")) for one in found]


def _function_policy(clients: Clients, function: str) -> Mapping[str, Any]:
    policy: Mapping[str, Any] = json.loads(clients("lambda").get_policy(FunctionName=function)["Policy"])
    return policy


def _role(clients: Clients, arn: str, expected: Expected) -> Role:
    iam = clients("iam")
    trust = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
    allows = _try("iam:SimulatePrincipalPolicy", lambda: _simulated(iam, arn, expected))
    return Role(trust, allows if allows is not None else {})


def _simulated(iam: Any, arn: str, expected: Expected) -> dict[str, bool]:
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=list(WRITES), ResourceArns=[expected.log_stream_arn]
    )
    return {one["EvalActionName"]: one["EvalDecision"] == "allowed" for one in answer["EvaluationResults"]}


def _tells_eventbridge(clients: Clients, bucket: str) -> bool:
    answer = clients("s3").get_bucket_notification_configuration(Bucket=bucket)
    return "EventBridgeConfiguration" in answer


def _bucket_policy(clients: Clients, bucket: str) -> Mapping[str, Any]:
    policy: Mapping[str, Any] = json.loads(clients("s3").get_bucket_policy(Bucket=bucket)["Policy"])
    return policy


def _log_policies(clients: Clients, expected: Expected) -> list[Mapping[str, Any]]:
    """Return the account's resource policies of CloudWatch Logs, and the group's own."""
    logs = clients("logs")
    found: list[Mapping[str, Any]] = []
    for scope in ({}, {"resourceArn": expected.log_group_arn, "policyScope": "RESOURCE"}):
        request: dict[str, Any] = dict(scope)
        while True:
            page = logs.describe_resource_policies(**request)
            found += [json.loads(one["policyDocument"]) for one in page.get("resourcePolicies", [])]
            if not page.get("nextToken"):
                break
            request["nextToken"] = page["nextToken"]
    return found


def _writers(clients: Clients, role_arn: str, expected: Expected) -> Writers:
    """Return who may write Bedrock's stream: whose policies allow it, less those whom IAM's simulation denies it."""
    iam = clients("iam")
    stream = expected.log_stream_arn
    candidates = [arn for arn in _allowed(iam, PUT_EVENTS, stream) if arn not in (role_arn, expected.logging_role)]
    asked = candidates[:MAXIMUM_SIMULATED]
    try:
        found = [arn for arn in asked if _may(iam, arn, PUT_EVENTS, stream)]
    except ClientError as error:
        return Writers(candidates, Unreadable(error_code(error), "iam:SimulatePrincipalPolicy"))
    return Writers(found, more=len(candidates) - len(asked))


def _may(iam: Any, arn: str, action: str, resource: str) -> bool:
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn,
        ActionNames=[action],
        ResourceArns=[resource],
        ContextEntries=[{"ContextKeyName": "aws:PrincipalArn", "ContextKeyType": "string", "ContextKeyValues": [arn]}],
    )
    return any(one["EvalDecision"] == "allowed" for one in answer["EvaluationResults"])


def _allowed(iam: Any, action: str, resource: str) -> list[str]:
    """Return the users and roles that a policy of theirs, or of their groups, allows it."""
    users: list[Any] = []
    groups: list[Any] = []
    roles: list[Any] = []
    managed: dict[str, Any] = {}
    for page in iam.get_paginator("get_account_authorization_details").paginate():
        users += page.get("UserDetailList", [])
        groups += page.get("GroupDetailList", [])
        roles += [one for one in page.get("RoleDetailList", []) if not one["Path"].startswith(_SERVICE_LINKED)]
        for policy in page.get("Policies", []):
            versions = [one["Document"] for one in policy.get("PolicyVersionList", []) if one.get("IsDefaultVersion")]
            managed[policy["Arn"]] = versions[0] if versions else {}

    def is_allowed(holder: Any, inline: str) -> bool:
        documents = [one["PolicyDocument"] for one in holder.get(inline, [])]
        documents += [managed.get(one["PolicyArn"], {}) for one in holder.get("AttachedManagedPolicies", [])]
        return any(allows(document, action, resource) for document in documents)

    allowing = {group["GroupName"] for group in groups if is_allowed(group, "GroupPolicyList")}
    found = [one["Arn"] for one in roles if is_allowed(one, "RolePolicyList")]
    found += [
        one["Arn"]
        for one in users
        if is_allowed(one, "UserPolicyList") or not allowing.isdisjoint(one.get("GroupList", []))
    ]
    return sorted(found)
