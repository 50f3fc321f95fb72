"""What the preflight reads, in the shapes of the service models; refusals one by one."""

import json
from typing import Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber

from bedrock_meter.preflight.findings import Expected, LogGroup, Role, Subscription, Unreadable
from bedrock_meter.storage.logging_setup import observe, write_line

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

    def refusing(self, code: str) -> None:
        for service, operation in (
            ("bedrock", "get_model_invocation_logging_configuration"),
            ("logs", "describe_log_groups"),
            ("logs", "describe_subscription_filters"),
            ("lambda", "get_policy"),
            ("s3", "get_bucket_notification_configuration"),
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
    for one in services.answers.values():
        one.assert_no_pending_responses()


def test_every_refusal_names_the_right_that_is_missing(services: Services) -> None:
    services.refusing("AccessDeniedException")
    seen = observe(services, EXPECTED)
    refused = (seen.configuration, seen.log_group, seen.subscriptions, seen.function_policy, seen.tells_eventbridge)
    assert [one.action for one in refused if isinstance(one, Unreadable)] == [
        "bedrock:GetModelInvocationLoggingConfiguration",
        "logs:DescribeLogGroups",
        "logs:DescribeSubscriptionFilters",
        "lambda:GetPolicy",
        "s3:GetBucketNotification",
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
    seen = observe(services, EXPECTED)
    assert isinstance(seen.role, Role)
    assert seen.role.allows == Unreadable("AccessDenied", "iam:SimulatePrincipalPolicy")


def test_logging_that_is_off_is_none(services: Services) -> None:
    services.answers["bedrock"].add_response("get_model_invocation_logging_configuration", {})
    services.answers["logs"].add_response("describe_log_groups", {"logGroups": []})
    services.answers["logs"].add_response("describe_subscription_filters", {"subscriptionFilters": []})
    services.answers["lambda"].add_client_error("get_policy", "ResourceNotFoundException")
    services.answers["s3"].add_response("get_bucket_notification_configuration", {})
    seen = observe(services, EXPECTED)
    assert (seen.configuration, seen.log_group, seen.role, seen.tells_eventbridge) == (None, None, None, False)


def test_a_line_is_written_into_a_stream_that_may_be_there(services: Services) -> None:
    logs = services.answers["logs"]
    logs.add_client_error("create_log_stream", "ResourceAlreadyExistsException")
    event = {"timestamp": 7, "message": "a line"}
    logs.add_response("put_log_events", {}, {"logGroupName": "g", "logStreamName": "s", "logEvents": [event]})
    write_line(services("logs"), "g", "s", "a line", 7)
    logs.assert_no_pending_responses()
