"""What the preflight reads, in the shapes of the service models; refusals one by one."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber

from bedrock_meter.preflight.findings import Expected, LogGroup, Role, Subscription, Unreadable, Writers
from bedrock_meter.storage.logging_setup import _writers, observe, write_line

RECORDER = "arn:aws:lambda:us-east-1:123456789012:function:meter-record"
ROLE_ARN = "arn:aws:iam::123456789012:role/path/logging"
EXPECTED = Expected("123456789012", "us-east-1", "aws", "/meter/log", RECORDER, "bucket")
CONFIGURATION = {"cloudWatchConfig": {"logGroupName": "/meter/log", "roleArn": ROLE_ARN}}
STREAM = "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log:log-stream:aws/bedrock/modelinvocations"
ROLE = {
    "Path": "/path/",
    "RoleName": "logging",
    "RoleId": "AROAEXAMPLEEXAMPLE",
    "Arn": ROLE_ARN,
    "CreateDate": 0,
    "AssumeRolePolicyDocument": "{}",
}


class Services:
    """Clients that answer what was told."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.answers: dict[str, Stubber] = {}
        for name in ("bedrock", "logs", "lambda", "iam", "s3"):
            self.clients[name] = get_session().create_client(
                name, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
            )
            self.answers[name] = Stubber(self.clients[name])
            self.answers[name].activate()

    def __call__(self, service: str) -> Any:
        return self.clients[service]

    def sound(self) -> None:
        told = self.answers
        told["bedrock"].add_response("get_model_invocation_logging_configuration", {"loggingConfig": CONFIGURATION})
        groups = [{"logGroupName": "/meter/log-2"}, {"logGroupName": "/meter/log", "retentionInDays": 30}]
        told["logs"].add_response("describe_log_groups", {"logGroups": groups}, {"logGroupNamePrefix": "/meter/log"})
        filters = {"subscriptionFilters": [{"filterName": "meter", "destinationArn": RECORDER, "filterPattern": ""}]}
        told["logs"].add_response("describe_subscription_filters", filters, {"logGroupName": "/meter/log"})
        told["lambda"].add_response("get_policy", {"Policy": json.dumps({"Statement": []})}, {"FunctionName": RECORDER})
        told["iam"].add_response("get_role", {"Role": dict(ROLE)}, {"RoleName": "logging"})
        asked = {
            "PolicySourceArn": ROLE_ARN,
            "ActionNames": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "ResourceArns": [STREAM],
        }
        decided = [
            {"EvalActionName": "logs:CreateLogStream", "EvalDecision": "allowed"},
            {"EvalActionName": "logs:PutLogEvents", "EvalDecision": "explicitDeny"},
        ]
        told["iam"].add_response("simulate_principal_policy", {"EvaluationResults": decided}, asked)
        told["s3"].add_response(
            "get_bucket_notification_configuration", {"EventBridgeConfiguration": {}}, {"Bucket": "bucket"}
        )
        self.written_by({"RoleDetailList": []})
        policy = {"policyName": "p", "policyDocument": json.dumps({"Statement": []})}
        told["logs"].add_response("describe_resource_policies", {"resourcePolicies": [policy]}, {})
        group = "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log"
        own = {"resourceArn": group, "policyScope": "RESOURCE"}
        told["logs"].add_response("describe_resource_policies", {"resourcePolicies": [policy]}, own)
        told["s3"].add_response("get_bucket_policy", {"Policy": json.dumps({"Statement": []})}, {"Bucket": "bucket"})

    def written_by(self, *pages: dict[str, Any]) -> None:
        last = len(pages) - 1
        for number, page in enumerate(pages):
            answer = {**page, **({"IsTruncated": True, "Marker": "m"} if number < last else {"IsTruncated": False})}
            self.answers["iam"].add_response("get_account_authorization_details", answer)

    def simulated(self, decision: str, arn: str) -> None:
        asked = {
            "PolicySourceArn": arn,
            "ActionNames": ["logs:PutLogEvents"],
            "ResourceArns": [STREAM],
            "ContextEntries": [
                {"ContextKeyName": "aws:PrincipalArn", "ContextKeyType": "string", "ContextKeyValues": [arn]}
            ],
        }
        decided = [{"EvalActionName": "logs:PutLogEvents", "EvalDecision": decision}]
        self.answers["iam"].add_response("simulate_principal_policy", {"EvaluationResults": decided}, asked)

    def refusing(self, code: str) -> None:
        for service, operation in (
            ("bedrock", "get_model_invocation_logging_configuration"),
            ("logs", "describe_log_groups"),
            ("logs", "describe_subscription_filters"),
            ("lambda", "get_policy"),
            ("s3", "get_bucket_notification_configuration"),
            ("iam", "get_account_authorization_details"),
            ("logs", "describe_resource_policies"),
            ("s3", "get_bucket_policy"),
        ):
            self.answers[service].add_client_error(operation, code)


@pytest.fixture
def services() -> Services:
    return Services()


def test_everything_is_read_once(services: Services) -> None:
    services.sound()
    seen = observe(services, EXPECTED)
    assert seen.configuration == CONFIGURATION
    assert seen.log_group == LogGroup("STANDARD", "", 30)
    assert seen.subscriptions == [Subscription("meter", RECORDER, "")]
    assert seen.function_policy == {"Statement": []}
    assert isinstance(seen.role, Role)
    assert seen.role.allows == {"logs:CreateLogStream": True, "logs:PutLogEvents": False}
    assert seen.tells_eventbridge is True
    assert seen.writers == Writers([])
    assert seen.log_policies == 2 * [{"Statement": []}]
    assert seen.bucket_policy == {"Statement": []}
    for one in services.answers.values():
        one.assert_no_pending_responses()


def test_every_refusal_names_the_right_that_is_missing(services: Services) -> None:
    services.refusing("AccessDeniedException")
    seen = observe(services, EXPECTED)
    refused = (seen.configuration, seen.log_group, seen.subscriptions, seen.function_policy, seen.tells_eventbridge)
    refused += (seen.writers, seen.log_policies, seen.bucket_policy)  # type: ignore[assignment]
    assert [one.action for one in refused if isinstance(one, Unreadable)] == [
        "bedrock:GetModelInvocationLoggingConfiguration",
        "logs:DescribeLogGroups",
        "logs:DescribeSubscriptionFilters",
        "lambda:GetPolicy",
        "s3:GetBucketNotification",
        "iam:GetAccountAuthorizationDetails",
        "logs:DescribeResourcePolicies",
        "s3:GetBucketPolicy",
    ]
    assert seen.role is None


def test_what_is_not_there_is_none(services: Services) -> None:
    services.refusing("ResourceNotFoundException")
    seen = observe(services, EXPECTED)
    assert (seen.configuration, seen.log_group, seen.subscriptions, seen.function_policy) == (None, None, [], None)


def test_a_role_that_may_not_be_simulated_is_still_read(services: Services) -> None:
    iam = services.answers["iam"]
    services.sound()
    iam._queue.clear()
    iam.add_response("get_role", {"Role": dict(ROLE)})
    iam.add_client_error("simulate_principal_policy", "AccessDenied")
    services.written_by({"RoleDetailList": []})
    seen = observe(services, EXPECTED)
    assert isinstance(seen.role, Role)
    assert seen.role.allows == Unreadable("AccessDenied", "iam:SimulatePrincipalPolicy")


def test_logging_that_is_off_is_none(services: Services) -> None:
    services.answers["bedrock"].add_response("get_model_invocation_logging_configuration", {})
    services.answers["logs"].add_response("describe_log_groups", {"logGroups": []})
    services.answers["logs"].add_response("describe_subscription_filters", {"subscriptionFilters": []})
    services.answers["lambda"].add_client_error("get_policy", "ResourceNotFoundException")
    services.answers["s3"].add_response("get_bucket_notification_configuration", {})
    services.written_by({})
    for _ in range(2):
        services.answers["logs"].add_response("describe_resource_policies", {})
    services.answers["s3"].add_client_error("get_bucket_policy", "NoSuchBucketPolicy")
    seen = observe(services, EXPECTED)
    assert (seen.configuration, seen.log_group, seen.role, seen.tells_eventbridge) == (None, None, None, False)


ALLOWS = json.dumps({"Statement": {"Effect": "Allow", "Action": "logs:Put*", "Resource": "*"}})
NOTHING = json.dumps({"Statement": []})
MANAGED = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"


def holder(kind: str, name: str, *, inline: str = NOTHING, managed: bool = False, **more: Any) -> dict[str, Any]:
    path = more.pop("path", "/")
    return {
        "Path": path,
        f"{kind}Name": name,
        f"{kind}Id": f"{name:A<16}",
        "Arn": f"arn:aws:iam::123456789012:{kind.lower()}{path}{name}",
        f"{kind}PolicyList": [{"PolicyName": "p", "PolicyDocument": inline}],
        "AttachedManagedPolicies": [{"PolicyName": "m", "PolicyArn": MANAGED}] if managed else [],
        **more,
    }


def account() -> list[dict[str, Any]]:
    """Two pages; the policy that is attached comes last."""
    versions = [
        {"Document": NOTHING, "VersionId": "v1", "IsDefaultVersion": False},
        {"Document": ALLOWS, "VersionId": "v2", "IsDefaultVersion": True},
    ]
    first = {
        "UserDetailList": [
            holder("User", "direct", inline=ALLOWS),
            holder("User", "grouped", GroupList=["writers"]),
            holder("User", "nobody", GroupList=["readers"]),
        ],
        "GroupDetailList": [holder("Group", "writers", inline=ALLOWS), holder("Group", "readers")],
    }
    second = {
        "RoleDetailList": [
            holder("Role", "logging", inline=ALLOWS, path="/path/"),
            holder("Role", "agent", managed=True),
            holder("Role", "reader"),
            holder("Role", "AWSServiceRoleForX", inline=ALLOWS, path="/aws-service-role/x.amazonaws.com/"),
        ],
        "Policies": [{"PolicyName": "m", "Arn": MANAGED, "PolicyVersionList": versions}],
    }
    return [first, second]


WRITING = [f"arn:aws:iam::123456789012:{name}" for name in ("role/agent", "user/direct", "user/grouped")]


def test_who_may_write_beside_bedrock_is_found_by_policies_and_asked_of_iam(services: Services) -> None:
    services.written_by(*account())
    for arn, decision in zip(WRITING, ("allowed", "explicitDeny", "allowed"), strict=True):
        services.simulated(decision, arn)
    ours = replace(EXPECTED, logging_role=ROLE_ARN)
    assert _writers(services, "", ours) == Writers([WRITING[0], WRITING[2]])
    services.answers["iam"].assert_no_pending_responses()


def test_where_iam_may_not_be_asked_policies_alone_are_told(services: Services) -> None:
    services.written_by(*account())
    services.answers["iam"].add_client_error("simulate_principal_policy", "AccessDenied")
    found = _writers(services, ROLE_ARN, EXPECTED)
    assert found == Writers(WRITING, Unreadable("AccessDenied", "iam:SimulatePrincipalPolicy"))


def test_iam_is_asked_about_some_and_the_rest_is_counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_meter.storage.logging_setup.MAXIMUM_SIMULATED", 1)
    services.written_by(*account())
    services.simulated("allowed", WRITING[0])
    assert _writers(services, ROLE_ARN, EXPECTED) == Writers([WRITING[0]], more=2)


def test_a_line_is_written_into_a_stream_that_may_be_there(services: Services) -> None:
    logs = services.answers["logs"]
    logs.add_client_error("create_log_stream", "ResourceAlreadyExistsException")
    event = {"timestamp": 7, "message": "a line"}
    logs.add_response("put_log_events", {}, {"logGroupName": "g", "logStreamName": "s", "logEvents": [event]})
    write_line(services("logs"), "g", "s", "a line", 7)
    logs.assert_no_pending_responses()
