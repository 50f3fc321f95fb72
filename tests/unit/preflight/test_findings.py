"""The way of a record, check by check: what is found, how bad it is, and that there is always something to do."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.preflight.configuration import BODIES
from bedrock_meter.preflight.findings import (
    Expected,
    LogGroup,
    Observed,
    Role,
    Subscription,
    Unreadable,
    Writers,
    findings,
    probe_finding,
)

RECORDER = "arn:aws:lambda:us-east-1:123456789012:function:meter-record"
EXPECTED = Expected("123456789012", "us-east-1", "aws", "/meter/log", RECORDER)
ROLE_ARN = "arn:aws:iam::123456789012:role/logging"
CONFIGURATION = {
    "cloudWatchConfig": {"logGroupName": "/meter/log", "roleArn": ROLE_ARN},
    **dict.fromkeys(BODIES, False),
}
TRUST = {
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "bedrock.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": "123456789012"},
                "ArnLike": {"aws:SourceArn": "arn:aws:bedrock:us-east-1:123456789012:*"},
            },
        }
    ]
}
ALLOWS = {"logs:CreateLogStream": True, "logs:PutLogEvents": True}
POLICY = {
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "logs.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log:*"}},
        }
    ]
}
SOUND = Observed(
    CONFIGURATION,
    LogGroup(retention_days=30),
    [Subscription("other", "arn:aws:kinesis:x", ""), Subscription("meter", RECORDER, "")],
    POLICY,
    Role(TRUST, ALLOWS),
)


def levels(seen: Observed, expected: Expected = EXPECTED) -> dict[str, str]:
    found = findings(expected, seen)
    for one in found:
        assert one.text
        assert bool(one.fix) == (one.level != "ok"), one
    worst = {"ok": 0, "warning": 1, "unknown": 2, "error": 3}
    by_check: dict[str, str] = {}
    for one in found:
        by_check[one.check] = max(by_check.get(one.check, "ok"), one.level, key=lambda level: worst[level])
    return by_check


ALL_OK = dict.fromkeys(
    (
        *("Region", "configuration", "bodies", "role", "log group", "subscription", "permission"),
        *("writers", "log policies"),
    ),
    "ok",
)
EVERYBODY = {"Effect": "Allow", "Principal": {"Service": "es.amazonaws.com"}, "Action": "logs:*", "Resource": "*"}
ONLY_BEDROCK = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::logs/*",
    "Condition": {"StringNotEquals": {"aws:PrincipalServiceName": "bedrock.amazonaws.com"}},
}


def test_a_sound_way_has_nothing_to_do() -> None:
    assert levels(SOUND) == ALL_OK


def configured(**changes: Any) -> dict[str, Any]:
    return {"configuration": {**CONFIGURATION, **changes}}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        pytest.param({"configuration": None}, "configuration", "error", id="logging is off"),
        pytest.param(
            configured(cloudWatchConfig={"logGroupName": "/other", "roleArn": ROLE_ARN}),
            "configuration",
            "error",
            id="another log group",
        ),
        pytest.param(
            {"configuration": {"s3Config": {"bucketName": "b"}, **dict.fromkeys(BODIES, False)}},
            "configuration",
            "error",
            id="a bucket that nobody reads",
        ),
        pytest.param(configured(textDataDeliveryEnabled=True), "bodies", "warning", id="prompts in the log"),
        pytest.param({"role": None}, "role", "error", id="no role"),
        pytest.param({"role": Role({}, ALLOWS)}, "role", "error", id="a role that trusts nobody"),
        pytest.param(
            {"role": Role(TRUST, {**ALLOWS, "logs:PutLogEvents": False})},
            "role",
            "error",
            id="a role that may not write",
        ),
        pytest.param({"role": Role(TRUST, {})}, "role", "error", id="a role that may nothing"),
        pytest.param(
            {"role": Role(TRUST, Unreadable("AccessDenied", "iam:SimulatePrincipalPolicy"))},
            "role",
            "unknown",
            id="nobody may simulate",
        ),
        pytest.param({"log_group": None}, "log group", "error", id="no log group"),
        pytest.param({"log_group": LogGroup("INFREQUENT_ACCESS")}, "log group", "error", id="a class without filters"),
        pytest.param({"log_group": LogGroup()}, "log group", "warning", id="kept for ever"),
        pytest.param({"log_group": LogGroup("STANDARD", "arn:key", 30)}, "log group", "warning", id="a key"),
        pytest.param({"subscriptions": []}, "subscription", "error", id="no subscription"),
        pytest.param(
            {"subscriptions": [Subscription("meter", RECORDER + "2", "")]},
            "subscription",
            "error",
            id="another function",
        ),
        pytest.param(
            {"subscriptions": [Subscription("meter", RECORDER, "{ $.x = 1 }")]}, "subscription", "error", id="a pattern"
        ),
        pytest.param({"function_policy": None}, "permission", "error", id="no permission"),
        pytest.param({"function_policy": {"Statement": []}}, "permission", "error", id="an empty policy"),
        pytest.param({"writers": Writers(["arn:a"])}, "writers", "warning", id="somebody else may write"),
        pytest.param({"writers": Writers(more=7)}, "writers", "warning", id="nobody was asked about the rest"),
        pytest.param({"log_policies": [{"Statement": EVERYBODY}]}, "log policies", "warning", id="another service"),
    ],
)
def test_each_defect_is_found_alone(changes: dict[str, Any], check: str, level: str) -> None:
    found = levels(replace(SOUND, **changes))
    assert found.pop(check) == level
    assert set(found.values()) == {"ok"}


@pytest.mark.parametrize(
    ("part", "check"),
    [
        ("configuration", "configuration"),
        ("log_group", "log group"),
        ("subscriptions", "subscription"),
        ("function_policy", "permission"),
        ("role", "role"),
        ("writers", "writers"),
        ("log_policies", "log policies"),
    ],
)
def test_what_may_not_be_read_hides_nothing_else(part: str, check: str) -> None:
    found = levels(replace(SOUND, **{part: Unreadable("AccessDeniedException", "x:Read")}))
    assert found.pop(check) == "unknown"
    assert set(found.values()) == {"ok"}


def test_a_subscription_of_a_version_of_the_recorder_is_ours() -> None:
    assert levels(replace(SOUND, subscriptions=[Subscription("m", f"{RECORDER}:live", "")]))["subscription"] == "ok"


def test_a_bucket_that_is_read_has_to_be_logged_to_and_to_tell() -> None:
    expected = replace(EXPECTED, bucket="logs")
    to_bucket = {**CONFIGURATION, "s3Config": {"bucketName": "logs"}}
    policy = {"Statement": [ONLY_BEDROCK]}
    sound = replace(SOUND, configuration=to_bucket, tells_eventbridge=True, bucket_policy=policy)
    assert levels(sound, expected) == {**ALL_OK, "bucket": "ok", "bucket policy": "ok"}
    assert levels(replace(sound, bucket_policy=None), expected)["bucket policy"] == "warning"
    assert levels(replace(sound, bucket_policy={"Statement": []}), expected)["bucket policy"] == "warning"
    unread = Unreadable("AccessDenied", "s3:GetBucketPolicy")
    assert levels(replace(sound, bucket_policy=unread), expected)["bucket policy"] == "unknown"
    assert levels(replace(sound, tells_eventbridge=False), expected)["bucket"] == "error"
    assert levels(replace(SOUND, tells_eventbridge=True), expected)["bucket"] == "warning"
    only_bucket = {"s3Config": {"bucketName": "logs"}, **dict.fromkeys(BODIES, False)}
    assert levels(replace(sound, configuration=only_bucket), expected)["configuration"] == "ok"


def test_who_may_write_is_named_and_so_is_what_was_not_seen() -> None:
    names = [f"arn:aws:iam::123456789012:role/r{number}" for number in range(7)]
    (found,) = [one for one in findings(EXPECTED, replace(SOUND, writers=Writers(names))) if one.check == "writers"]
    assert found.text.startswith("7 users and roles")
    assert names[4] in found.text
    assert names[5] not in found.text
    assert "not seen: policies of sessions" in found.text
    unsimulated = Writers(names, Unreadable("AccessDenied", "iam:SimulatePrincipalPolicy"))
    (found,) = [one for one in findings(EXPECTED, replace(SOUND, writers=unsimulated)) if one.check == "writers"]
    assert "iam:SimulatePrincipalPolicy: AccessDenied" in found.text


def test_the_test_line_says_when_it_came_out() -> None:
    assert probe_finding(1_500, 60_000).level == "ok"
    assert "1.5 s" in probe_finding(1_500, 60_000).text
    missing = probe_finding(None, 60_000)
    assert (missing.level, "60 s" in missing.text, bool(missing.fix)) == ("error", True, True)
