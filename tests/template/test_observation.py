"""What the stack says about its own health: logs that end, and an alarm for each way in which something gets lost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.template.expanding import expanded_resources
from tests.template.reading import FUNCTIONS, environment, properties, resources, words

ROOT = Path(__file__).resolve().parents[2]

ALARMS = {
    # records on their way to us
    "InvocationLogDeliveryAlarm": ("AWS/Bedrock", "ModelInvocationLogsCloudWatchDeliveryFailure", ""),
    "LogBucketDeliveryAlarm": ("AWS/Bedrock", "ModelInvocationLogsS3DeliveryFailure", ""),
    "LargeDataDeliveryAlarm": ("AWS/Bedrock", "ModelInvocationLargeDataS3DeliveryFailure", ""),
    "SubscriptionDeliveryAlarm": ("AWS/Logs", "DeliveryErrors", "InvocationLogSubscription"),
    "SubscriptionThrottledAlarm": ("AWS/Logs", "DeliveryThrottling", "InvocationLogSubscription"),
    # recording
    "RecordUsageErrorsAlarm": ("AWS/Lambda", "Errors", "RecordUsageFunction"),
    "RecordUsageThrottledAlarm": ("AWS/Lambda", "Throttles", "RecordUsageFunction"),
    "RecordUsageAgeAlarm": ("AWS/Lambda", "AsyncEventAge", "RecordUsageFunction"),
    "RecordUsageGivenUpAlarm": ("AWS/Lambda", "AsyncEventsDropped", "RecordUsageFunction"),
    "RecordUsageDestinationAlarm": ("AWS/Lambda", "DestinationDeliveryFailures", "RecordUsageFunction"),
    "LogObjectsAgeAlarm": ("AWS/SQS", "ApproximateAgeOfOldestMessage", "LogObjectsQueue.QueueName"),
    "LogObjectsDeadLettersAlarm": (
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        "LogObjectsDeadLetterQueue.QueueName",
    ),
    "RedriveFailuresErrorsAlarm": ("AWS/Lambda", "Errors", "RedriveFailuresFunction"),
    "FailuresWaitingAlarm": ("BedrockMeter", "FailuresWaiting", "AWS::StackName"),
    "FailuresParkedAlarm": ("BedrockMeter", "FailuresParked", "AWS::StackName"),
    "RecordsQuarantinedAlarm": ("BedrockMeter", "RecordsQuarantined", "AWS::StackName"),
    "RecordsDoubtedAlarm": ("BedrockMeter", "RecordsDoubted", "AWS::StackName"),
    "RecordsUnattributedAlarm": ("BedrockMeter", "RecordsUnattributed", "AWS::StackName"),
    "RecordsUnpricedAlarm": ("BedrockMeter", "RecordsUnpriced", "AWS::StackName"),
    "AttributionConflictsAlarm": ("BedrockMeter", "AttributionConflicts", "AWS::StackName"),
    # verdicts
    "EvaluateQuotasErrorsAlarm": ("AWS/Lambda", "Errors", "EvaluateQuotasFunction"),
    "EvaluateQuotasAgeAlarm": ("AWS/Lambda", "IteratorAge", "EvaluateQuotasFunction"),
    "EvaluationFailuresAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "EvaluationFailuresQueue.QueueName"),
    "SweepErrorsAlarm": ("AWS/Lambda", "Errors", "SweepFunction"),
    "SweepStoppedAlarm": ("AWS/Lambda", "Invocations", "SweepFunction"),
    # profiles
    "SyncProfilesErrorsAlarm": ("AWS/Lambda", "Errors", "SyncProfilesFunction"),
    "ProfileFindingsAlarm": ("BedrockMeter", "ProfileFindings", "AWS::StackName"),
    "ProfileQuotaAlarm": ("BedrockMeter", "ProfileQuotaUsedPercent", "AWS::StackName"),
    "ProfileQuotaUnknownAlarm": ("BedrockMeter", "ProfileQuotaUnknown", "AWS::StackName"),
    # events and answers
    "EventsParkedAlarm": ("BedrockMeter", "EventsParked", "AWS::StackName"),
    "UndeliveredEventsAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "UndeliveredEventsQueue.QueueName"),
    "ConsumerDeadLettersAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "ConsumerDeadLetterQueue.QueueName"),
    "QuotaApiErrorsAlarm": ("AWS/ApiGateway", "5xx", "QuotaApi"),
    "QuotaReadsFailedAlarm": ("BedrockMeter", "QuotaReadsFailed", "AWS::StackName"),
    "ReportApiThrottledAlarm": ("AWS/Lambda", "Throttles", "ReportApiFunction"),
    "TokenApiErrorsAlarm": ("AWS/ApiGateway", "5xx", "TokenApi"),
    "AdminApiErrorsAlarm": ("AWS/ApiGateway", "5xx", "AdminApi"),
    "RequestsRefusedAlarm": ("BedrockMeter", "RequestsRefused", "AWS::StackName"),
    "AnswersDegradedAlarm": ("BedrockMeter", "AnswersDegraded", "AWS::StackName"),
}


HEARTBEAT = "NothingRecordedAlarm"
"""Watches two metrics at once."""


def subject(alarm: dict[str, Any]) -> str:
    """What an alarm watches: the dimension that names a resource of ours, or nothing."""
    dimensions = {one["Name"]: words(one["Value"]) for one in alarm.get("Dimensions", [])}
    names = ("FunctionName", "QueueName", "ApiId", "FilterName", "service")
    return next((dimensions[name] for name in names if name in dimensions), "")


def test_each_way_to_lose_something_has_its_alarm() -> None:
    found = {name: one["Properties"] for name, one in resources("AWS::CloudWatch::Alarm").items()}
    found.pop(HEARTBEAT)
    assert {name: (one["Namespace"], one["MetricName"], subject(one)) for name, one in found.items()} == ALARMS


def test_the_heartbeat_compares_what_bedrock_counts_with_what_we_read() -> None:
    by_id = {one["Id"]: one for one in properties(HEARTBEAT)["Metrics"]}
    assert by_id["silent"]["Expression"] == "IF(FILL(invocations, 0) > 0 AND FILL(records, 0) == 0, 1, 0)"
    assert [name for name, one in by_id.items() if one["ReturnData"]] == ["silent"]
    watched = {name: one["MetricStat"] for name, one in by_id.items() if "MetricStat" in one}
    metrics = {name: (stat["Metric"]["Namespace"], stat["Metric"]["MetricName"]) for name, stat in watched.items()}
    assert metrics == {"invocations": ("AWS/Bedrock", "Invocations"), "records": ("BedrockMeter", "RecordsRead")}
    assert {(stat["Period"], stat["Stat"]) for stat in watched.values()} == {(900, "Sum")}
    assert subject(watched["records"]["Metric"]) == "AWS::StackName"


@pytest.mark.parametrize("alarm", sorted([*ALARMS, HEARTBEAT]))
def test_alarm_tells_somebody_what_it_means(alarm: str) -> None:
    found = properties(alarm)
    assert [words(action) for action in found["AlarmActions"]] == ["AlertTopic"]
    assert len(found["AlarmDescription"]) > 40
    silence = "breaching" if alarm in {"SweepStoppedAlarm", "FailuresWaitingAlarm"} else "notBreaching"
    assert found["TreatMissingData"] == silence


def test_subscription_alarms_name_the_whole_metric() -> None:
    """CloudWatch finds a metric by all of its dimensions or not at all."""
    for name in ("SubscriptionDeliveryAlarm", "SubscriptionThrottledAlarm"):
        dimensions = {one["Name"]: words(one["Value"]) for one in properties(name)["Dimensions"]}
        assert dimensions == {
            "LogGroupName": words(properties("InvocationLogSubscription")["LogGroupName"]),
            "DestinationType": "Lambda",
            "FilterName": "InvocationLogSubscription",
        }


def test_our_own_metrics_are_really_written() -> None:
    """An alarm on a metric that nobody writes would be silent for ever."""
    sources = [
        *(ROOT / "functions").rglob("handler.py"),
        *(ROOT / "layers" / "bedrock_meter" / "bedrock_meter").rglob("*.py"),
    ]
    written = {
        name
        for path in sources
        for name in re.findall(r'\bcount(?:_once)?\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    namespace = environment("RecordUsageFunction")["POWERTOOLS_METRICS_NAMESPACE"]
    watched = {metric for space, metric, _ in ALARMS.values() if space == namespace}
    filtered = {one["MetricName"] for one in refusals()["MetricTransformations"]}
    assert len(watched) == 14
    assert watched | {"RecordsRead"} <= written | filtered
    assert not written & filtered


def refusals() -> Any:
    """How requests that never reach the function become a metric."""
    return properties("QuotaApiRefusalFilter")


def access_log_lines() -> dict[str, dict[str, str]]:
    """The line that each address of the quota API writes into its access log, member by member."""
    stages = ("QuotaApiApiGatewayDefaultStage", "TokenApiStage")
    settings = {name: expanded_resources()[name]["Properties"]["AccessLogSettings"] for name in stages}
    assert {words(one["DestinationArn"]) for one in settings.values()} == {f"{words(refusals()['LogGroupName'])}.Arn"}
    return {name: json.loads(words(one["Format"])) for name, one in settings.items()}


def is_counted(status: str, by_function: str, route: str = "GET /v1/tenants/{tenant}/quota") -> bool:
    """Whether the filter counts a line: CloudWatch's pattern, for the few signs that are in ours."""
    line = {"status": status, "functionStatus": by_function, "route": route}
    pattern = refusals()["FilterPattern"]
    assert (pattern[:2], pattern[-2:]) == ("{ ", " }")
    terms = re.sub(
        r'\$\.(\w+) (=|!=) "([^"]*)"',
        lambda found: str((line[found[1]] == found[3]) is (found[2] == "=")),
        pattern[2:-2],
    )
    said = terms.replace("&&", "and").replace("||", "or")
    assert set(re.findall(r"\w+", said)) <= {"True", "False", "and", "or"}
    return bool(eval(" ".join(said.split())))  # noqa: S307 - nothing but these words and parentheses


@pytest.mark.parametrize(
    ("status", "by_function", "is_refused"),
    [
        ("429", "-", True),  # the stage's rate, or the account's
        ("503", "-", True),  # no concurrency
        ("503", "429", True),  # the same, where the gateway repeats what Lambda said
        ("429", "429", False),  # a denial
        ("503", "503", False),  # the tables are down: QuotaReadsFailed
        ("200", "200", False),
        ("403", "-", False),  # a wrong signature
        ("500", "-", False),  # the function failed: QuotaApiErrorsAlarm
    ],
)
def test_what_the_gateway_refuses_itself_is_counted_and_a_denial_is_not(
    status: str, by_function: str, is_refused: bool
) -> None:
    assert is_counted(status, by_function) is is_refused


def test_refused_reports_are_not_counted_as_decisions() -> None:
    for route in ("usage", "explanation"):
        assert not is_counted("429", "-", f"ANY /v1/tenants/{{tenant}}/{route}")
    assert not is_counted("503", "-", "ANY /v1/openapi.json")
    assert is_counted("429", "-", "$default")
    assert {line["route"] for line in access_log_lines().values()} == {"$context.routeKey"}


def test_refusals_are_read_from_members_that_every_line_has() -> None:
    (metric,) = refusals()["MetricTransformations"]
    assert (metric["MetricNamespace"], metric["MetricValue"]) == ("BedrockMeter", "1")
    assert metric["Dimensions"] == [{"Key": "service", "Value": "$.stack"}], "one stack's apart from another's"
    for name, line in access_log_lines().items():
        assert line["status"] == "$context.status", name
        assert line["functionStatus"] == "$context.integration.status", name
        assert line["stack"] == "${AWS::StackName}", name
        named = re.findall(r"\$\.(\w+)", refusals()["FilterPattern"] + metric["Dimensions"][0]["Value"])
        assert set(named) <= set(line), name


def test_every_log_group_ends() -> None:
    groups = resources("AWS::Logs::LogGroup")
    assert len(groups) == len(FUNCTIONS) + 3
    retention = {name: words(one["Properties"]["RetentionInDays"]) for name, one in groups.items()}
    assert retention.pop("InvocationLogGroup") == "InvocationLogRetentionDays"
    assert set(retention.values()) == {"LogRetentionDays"}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_function_logs_into_the_group_that_it_may_write(function: str) -> None:
    group = words(expanded_resources()[function]["Properties"]["LoggingConfig"]["LogGroup"])
    role = properties(words(properties(function)["Role"]).removesuffix(".Arn"))
    log = role["Policies"][0]["PolicyDocument"]["Statement"][0]
    assert log["Sid"] == "Log"
    assert words(log["Resource"]) == f"{group}.Arn"
