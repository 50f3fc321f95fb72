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
    WRITES,
    Expected,
    LogGroup,
    Observed,
    Role,
    Subscription,
    Unreadable,
)
from bedrock_meter.storage.dynamodb import error_code

T = TypeVar("T")
Clients = Callable[[str], Any]
_GONE = frozenset({"NoSuchEntity", "ResourceNotFoundException", "NoSuchEntityException"})


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
