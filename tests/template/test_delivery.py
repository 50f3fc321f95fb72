"""How records, changes and events travel: what is retried, how often, and where it goes when that does not help."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.alerts import contracts
from bedrock_meter.alerts.contracts import transition_event
from bedrock_meter.limits.gauge import Reading
from bedrock_meter.limits.levels import Transition
from bedrock_meter.limits.limit import InstalledLimit, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import RollingWindow
from bedrock_meter.storage.failures import PARKED_PREFIX, WAITING_PREFIX
from bedrock_meter.storage.keys import GAUGE, OUTBOX_PREFIX, STATE, outbox_sort_key
from bedrock_meter.tenants.profiles import DEFAULT_TAG_KEY
from bedrock_meter.tenants.synchronisation import EVENT_SOURCE, LAST_CALL_MS
from bedrock_meter.usage.ingestion import ROOM_MS
from bedrock_meter.usage.redrive import OBJECT_MS
from tests.template.expanding import expanded_resources
from tests.template.reading import FUNCTIONS, load_template, properties, resources, statements, words

ROOT = Path(__file__).resolve().parents[2]
RULES = ("ThrottledAlertRule", "ThresholdAlertRule", "ForecastAlertRule", "ConsumerRule")


def test_subscription_takes_every_record_and_waits_for_its_permission() -> None:
    (name,) = resources("AWS::Logs::SubscriptionFilter")
    assert load_template()["Resources"][name]["DependsOn"] == "InvocationLogPermission"
    subscription = properties(name)
    assert subscription["FilterPattern"] == ""
    assert words(subscription["DestinationArn"]) == "RecordUsageFunction.Arn"
    assert (
        words(subscription["LogGroupName"])
        == "InvocationLogGroup if MakesInvocationLogGroup else InvocationLogGroupName"
    )


def test_meter_does_not_read_its_own_logs() -> None:
    """A subscription on a log group that a function writes to would feed itself."""
    own = {words(properties(function)["LoggingConfig"]["LogGroup"]) for function in FUNCTIONS}
    assert len(own) == len(FUNCTIONS)
    subscribed = {
        words(one["Properties"]["LogGroupName"]) for one in resources("AWS::Logs::SubscriptionFilter").values()
    }
    assert not [name for name in subscribed for group in own if group in name]


def test_failed_delivery_is_retried_and_then_kept() -> None:
    asynchronous = properties("RecordUsageFunction")["EventInvokeConfig"]
    assert asynchronous["MaximumRetryAttempts"] == 2
    assert asynchronous["MaximumEventAgeInSeconds"] == 6 * 3600
    on_failure = asynchronous["DestinationConfig"]["OnFailure"]
    assert on_failure["Type"] == "S3Bucket"
    assert words(on_failure["Destination"]) == "FailureBucket.Arn"
    expanded = expanded_resources()["RecordUsageFunctionEventInvokeConfig"]["Properties"]
    assert words(expanded["DestinationConfig"]["OnFailure"]["Destination"]) == "FailureBucket.Arn"


def mappings() -> dict[str, Any]:
    """The event-source mappings, as CloudFormation gets them."""
    every = expanded_resources().items()
    return {name: one["Properties"] for name, one in every if one["Type"] == "AWS::Lambda::EventSourceMapping"}


def stream_mapping() -> Any:
    """The one mapping of a stream."""
    return mappings()["EvaluateQuotasFunctionQuotaChanges"]


def test_bad_change_cannot_hold_up_the_stream() -> None:
    mapping = stream_mapping()
    assert words(mapping["EventSourceArn"]) == "QuotasTable.StreamArn"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert 0 < mapping["MaximumRetryAttempts"] <= 10
    assert 60 <= mapping["MaximumRecordAgeInSeconds"] <= 6 * 3600
    assert words(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == "EvaluationFailuresQueue.Arn"


def test_every_mapping_is_one_of_these() -> None:
    assert set(mappings()) == {"EvaluateQuotasFunctionQuotaChanges", "RecordObjectsFunctionLogObjects"}


@pytest.mark.parametrize(
    ("mapping", "folder"),
    [("EvaluateQuotasFunctionQuotaChanges", "evaluate_quotas"), ("RecordObjectsFunctionLogObjects", "record_objects")],
)
def test_template_and_handler_agree_that_single_failures_are_reported(mapping: str, folder: str) -> None:
    assert mappings()[mapping]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    tree = ast.parse((ROOT / "functions" / folder / "handler.py").read_text(encoding="utf-8"))
    (handler,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "handler")
    returned = [ast.unparse(node) for node in ast.walk(handler) if isinstance(node, ast.Return)]
    assert returned
    assert all("batchItemFailures" in one and "itemIdentifier" in one for one in returned)


def is_matched(pattern: Any, record: Any) -> bool:
    """Lambda's filter rules, as far as these patterns use them: exact values and prefixes."""
    if isinstance(pattern, Mapping):
        return isinstance(record, Mapping) and all(
            name in record and is_matched(rule, record[name]) for name, rule in pattern.items()
        )
    return any(record.startswith(rule["prefix"]) if isinstance(rule, Mapping) else record == rule for rule in pattern)


@pytest.mark.parametrize(
    ("event_name", "sort_key", "is_wanted"),
    [
        ("INSERT", GAUGE, True),
        ("MODIFY", GAUGE, True),
        ("REMOVE", GAUGE, False),
        ("INSERT", outbox_sort_key("abcdefabcdef", "2026-11-24"), True),
        ("REMOVE", outbox_sort_key("abcdefabcdef", "2026-11-24"), False),
        ("MODIFY", STATE, False),
        ("INSERT", "RESERVATION#1", False),
    ],
)
def test_evaluator_sees_gauges_and_announcements_and_never_its_own_verdicts(
    event_name: str, sort_key: str, is_wanted: bool
) -> None:
    assert outbox_sort_key("a", "b").startswith(OUTBOX_PREFIX)
    record = {"eventName": event_name, "dynamodb": {"Keys": {"pk": {"S": "acme"}, "sk": {"S": sort_key}}}}
    patterns = [json.loads(one["Pattern"]) for one in stream_mapping()["FilterCriteria"]["Filters"]]
    assert any(is_matched(pattern, record) for pattern in patterns) is is_wanted


def test_the_recorder_can_have_concurrency_of_its_own_and_shares_by_default() -> None:
    parameter = load_template()["Parameters"]["RecordUsageConcurrency"]
    assert (parameter["Type"], parameter["Default"], parameter["MinValue"]) == ("Number", 0, 0)
    reserved = properties("RecordUsageFunction")["ReservedConcurrentExecutions"]
    assert words(reserved) == "RecordUsageConcurrency if HasReservedConcurrency else AWS::NoValue"
    condition = load_template()["Conditions"]["HasReservedConcurrency"]
    # 0 is "none of its own": reserving none would send every delivery straight to the failure store.
    assert condition == {"Fn::Not": [{"Fn::Equals": [{"Ref": "RecordUsageConcurrency"}, 0]}]}
    reserving = {name for name in FUNCTIONS if "ReservedConcurrentExecutions" in properties(name)}
    assert reserving == {"RecordUsageFunction", "ReportApiFunction"}, "the API and the others cannot take it away"


def test_sweep_runs_each_minute_and_never_beside_itself() -> None:
    schedule = expanded_resources()["SweepFunctionEveryMinute"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule.get("State", "ENABLED") == "ENABLED"
    # Names of schedules are shared by all stacks of an account.
    assert words(schedule["Name"]) == "${AWS::StackName}-sweep"
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert properties("SweepFunction")["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    assert properties("SweepFunction")["Timeout"] < 60


def test_profiles_are_followed_each_hour_and_when_cloudtrail_tells_of_one() -> None:
    schedule = expanded_resources()["SyncProfilesFunctionEveryHour"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 hour)"
    assert schedule.get("State", "ENABLED") == "ENABLED"
    assert words(schedule["Name"]) == "${AWS::StackName}-sync-profiles"
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    function = properties("SyncProfilesFunction")
    assert LAST_CALL_MS * 10 < function["Timeout"] * 1000 < 3_600_000
    rule = properties("ProfileChangeRule")
    assert "EventBusName" not in rule  # CloudTrail speaks to the account's default bus
    assert words(rule["Targets"][0]["Arn"]) == "SyncProfilesFunction.Arn"
    detail = rule["EventPattern"]["detail"]
    assert detail["eventSource"] == [EVENT_SOURCE]
    # What failed changed nothing.
    assert detail["errorCode"] == [{"exists": False}]
    assert load_template()["Parameters"]["TenantTagKey"]["Default"] == DEFAULT_TAG_KEY


def test_failures_are_redriven_every_five_minutes_in_runs_that_end_before_the_next() -> None:
    schedule = expanded_resources()["RedriveFailuresFunctionEveryFiveMinutes"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert schedule.get("State", "ENABLED") == "ENABLED"
    assert words(schedule["Name"]) == "${AWS::StackName}-redrive-failures"
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    redrive = properties("RedriveFailuresFunction")
    assert redrive["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    assert OBJECT_MS < redrive["Timeout"] * 1000 < 300_000
    # The one whose failures it looks for is the one whose failures are kept.
    assert words(redrive["Environment"]["Variables"]["RECORD_USAGE_FUNCTION"]) == "RecordUsageFunction"
    assert words(redrive["Environment"]["Variables"]["FAILURE_BUCKET"]) == "FailureBucket"


def test_redrive_may_touch_exactly_where_failures_wait_and_are_parked() -> None:
    bucket = "${FailureBucket.Arn}"
    objects = {words(one["Resource"]) for one in statements("RedriveFailuresRole") if one["Sid"].endswith("Deliveries")}
    assert objects == {f"{bucket}/{prefix}${{RecordUsageFunction}}/*" for prefix in (WAITING_PREFIX, PARKED_PREFIX)}
    rules = properties("FailureBucket")["LifecycleConfiguration"]["Rules"]
    (expiry,) = (one for one in rules if one["Id"] == "deliveries")
    assert WAITING_PREFIX.startswith(expiry["Prefix"])
    assert PARKED_PREFIX.startswith(expiry["Prefix"])


def test_every_rule_listens_to_our_events_and_keeps_what_it_cannot_deliver() -> None:
    rules = resources("AWS::Events::Rule")
    assert set(rules) == {*RULES, "LogObjectRule", "ProfileChangeRule"}
    (policy,) = properties("UndeliveredEventsQueuePolicy")["PolicyDocument"]["Statement"]
    allowed = " ".join(words(one) for one in policy["Condition"]["ArnEquals"]["aws:SourceArn"])
    for name in RULES:
        rule = properties(name)
        assert words(rule["EventBusName"]) == "EventBus"
        assert rule["EventPattern"]["source"] == [contracts.SOURCE]
    for name, found in rules.items():
        (target,) = found["Properties"]["Targets"]
        assert words(target["DeadLetterConfig"]["Arn"]) == "UndeliveredEventsQueue.Arn"
        assert f"{name}.Arn" in allowed


def test_objects_of_the_log_are_delivered_until_they_are_done() -> None:
    pattern = properties("LogObjectRule")["EventPattern"]
    assert "EventBusName" not in properties("LogObjectRule")  # S3 speaks to the account's default bus
    assert (pattern["source"], pattern["detail-type"]) == (["aws.s3"], ["Object Created"])
    assert [words(name) for name in pattern["detail"]["bucket"]["name"]] == ["InvocationLogBucketName"]
    assert words(properties("LogObjectRule")["Targets"][0]["Arn"]) == "LogObjectsQueue.Arn"
    mapping = mappings()["RecordObjectsFunctionLogObjects"]
    assert words(mapping["EventSourceArn"]) == "LogObjectsQueue.Arn"
    assert mapping["BatchSize"] == 1
    function, queue = properties("RecordObjectsFunction"), properties("LogObjectsQueue")
    assert words(function["Environment"]["Variables"]["OBJECT_QUEUE"]) == "LogObjectsQueue"
    assert function["Timeout"] * 1000 > 3 * ROOM_MS
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    redrive = queue["RedrivePolicy"]
    assert words(redrive["deadLetterTargetArn"]) == "LogObjectsDeadLetterQueue.Arn"
    assert redrive["maxReceiveCount"] * queue["VisibilityTimeout"] > 3 * 3600
    assert queue["MessageRetentionPeriod"] >= redrive["maxReceiveCount"] * queue["VisibilityTimeout"]


def test_without_a_bucket_there_is_nothing_of_s3_as_a_source() -> None:
    parts = {name: one for name, one in expanded_resources().items() if re.match("RecordObjects|LogObject", name)}
    parts |= {name: load_template()["Resources"][name] for name in ("LogBucketDeliveryAlarm", "LargeDataDeliveryAlarm")}
    assert len(parts) == 12
    assert {one["Condition"] for one in parts.values()} == {"ReadsLogBucket"}
    assert load_template()["Parameters"]["InvocationLogBucketName"]["Default"] == ""


def test_consumer_queue_gets_every_event_and_sets_aside_what_fails() -> None:
    assert properties("ConsumerRule")["EventPattern"] == {"source": [contracts.SOURCE]}
    redrive = properties("ConsumerQueue")["RedrivePolicy"]
    assert words(redrive["deadLetterTargetArn"]) == "ConsumerDeadLetterQueue.Arn"
    assert redrive["maxReceiveCount"] == 5


def event(kind: Any, threshold: int) -> dict[str, Any]:
    """An event as the bus carries it, made by the code that publishes."""
    limit = Limit(name="hourly", meter=Meter.TOTAL_TOKENS, window=RollingWindow(3600), maximum=1000)
    installed = InstalledLimit(limit=limit, slot="0", version=3, since_ms=None)
    reading = Reading(
        limit=installed,
        used=1200,
        maximum=1000,
        remaining=0,
        overage=200,
        window_start_ms=1_800_000_000_000,
        window_end_ms=1_800_003_600_000,
        throttled_until_ms=1_800_007_200_000,
        allowed=False,
        frees_at_ms=1_800_003_900_000,
    )
    transition = Transition(kind, "hourly", 3, threshold, 1, installed, reading)
    published = transition_event("acme", ["abcdefabcdef"], transition, now_ms=1_800_003_600_000)
    return {"source": contracts.SOURCE, "detail-type": published.detail_type, "detail": dict(published.detail)}


def sentence(rule: str, published: dict[str, Any]) -> str:
    """What the rule's input transformer makes of an event."""
    transformer = properties(rule)["Targets"][0]["InputTransformer"]
    text = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value: Any = published
        for step in path.removeprefix("$.").split("."):
            value = value[step]  # KeyError: the rule names something that events do not hold
        text = text.replace(f"<{name}>", str(value))
    assert "<" not in text, text
    return str(json.loads(text))


def test_throttle_is_a_readable_sentence() -> None:
    published = event("throttled", 100)
    assert properties("ThrottledAlertRule")["EventPattern"]["detail-type"] == [published["detail-type"]]
    said = sentence("ThrottledAlertRule", published)
    detail = published["detail"]
    assert said == (
        "Tenant acme has overspent its limit hourly by 200 tokens: 1200 of 1000 tokens (total_tokens) used in its "
        f"window 1h since {detail['window']['start']}; since {detail['evaluated_at']} the quota API denies its calls, "
        f"until {detail['throttled_until']} if nothing more is used (all usage counted: True). "
        f"Event {detail['event_id']}."
    )


def test_threshold_is_a_readable_sentence() -> None:
    published = event("threshold", 80)
    assert properties("ThresholdAlertRule")["EventPattern"]["detail-type"] == [published["detail-type"]]
    said = sentence("ThresholdAlertRule", published)
    detail = published["detail"]
    assert said == (
        f"Tenant acme has crossed 80 % of its limit hourly at {detail['evaluated_at']}: 1200 of 1000 tokens "
        f"(total_tokens) used in its window 1h since {detail['window']['start']}; nothing was denied for that (all "
        f"usage counted: True). Event {detail['event_id']}."
    )


def test_forecast_is_a_readable_sentence() -> None:
    example = json.loads((ROOT / "events" / "published" / "tenant-overspend-forecast.example.json").read_text())
    assert properties("ForecastAlertRule")["EventPattern"]["detail-type"] == [example["detail-type"]]
    assert sentence("ForecastAlertRule", example) == (
        "Tenant acme is going to overspend its limit cost_usd-month: 327.50 of 500.00 USD (cost_usd) used since "
        "2026-11-01T00:00:00.000Z, and 562.611842366 USD by 2026-12-01T00:00:00.000Z if it goes on like that; nothing "
        "was denied (all usage counted: True). Event 5d0a1f0c6b3f4f7b9f5f4a8d2c1e0b97."
    )


def test_api_is_signed_throttled_and_logged() -> None:
    api = expanded_resources()["QuotaApi"]["Properties"]
    assert api["FailOnWarnings"] is True
    body = api["Body"]
    routes = {(path, method) for path, methods in body["paths"].items() for method in methods}
    assert ("/v1/tenants/{tenant}/quota", "get") in routes
    for path, method in routes:
        assert body["paths"][path][method]["security"] == [{"AWS_IAM": []}]
    assert body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    stage = expanded_resources()["QuotaApiApiGatewayDefaultStage"]["Properties"]
    assert words(stage["DefaultRouteSettings"]["ThrottlingRateLimit"]) == "ApiRequestsPerSecond"
    assert words(stage["DefaultRouteSettings"]["ThrottlingBurstLimit"]) == "ApiBurst"
    parameters = load_template()["Parameters"]
    assert (parameters["ApiRequestsPerSecond"]["Default"], parameters["ApiBurst"]["Default"]) == (2000, 4000)
    for name in ("ApiRequestsPerSecond", "ApiBurst"):
        assert "all tenants together" in parameters[name]["Description"], "what it bounds, and with whom it is shared"
        assert "all its APIs" in parameters[name]["Description"]
    assert words(stage["AccessLogSettings"]["DestinationArn"]) == "QuotaApiAccessLogGroup.Arn"
    line = words(stage["AccessLogSettings"]["Format"])
    assert json.loads(line)["caller"] == "$context.identity.userArn"
    assert "\n" not in line
