"""Policies of resources, as far as a document can tell."""

from typing import Any

import pytest

from bedrock_meter.preflight.policies import allows, keeps_to_service, lets_service, services_allowed

SOURCE = "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log:*"
ALLOWED: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": {"Service": "logs.amazonaws.com"},
    "Action": "lambda:InvokeFunction",
    "Condition": {
        "StringEquals": {"AWS:SourceAccount": "123456789012"},
        "ArnLike": {"AWS:SourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log:*"},
    },
}


def lets(*statements: Any) -> bool:
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    return lets_service(
        policy, "logs.amazonaws.com", "lambda:InvokeFunction", source_arn=SOURCE, account="123456789012"
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Principal": {"Service": "logs.us-east-1.amazonaws.com"}},
        {"Principal": {"Service": ["s3.amazonaws.com", "logs.amazonaws.com"]}},
        {"Action": ["lambda:*"]},
        {"Action": "lambda:invokefunction"},
        {"Condition": {}},
        {"Condition": {"ArnLike": {"aws:SourceArn": ["arn:other", "arn:aws:logs:*:123456789012:log-group:*"]}}},
    ],
)
def test_what_lets_it(change: dict[str, Any]) -> None:
    assert lets({**ALLOWED, **change})
    assert lets_service({"Statement": {**ALLOWED, **change}}, "logs.amazonaws.com", "lambda:InvokeFunction")


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Deny"},
        {"Principal": {"Service": "s3.amazonaws.com"}},
        {"Principal": {"AWS": "logs.amazonaws.com"}},
        {"Principal": "*"},
        {"Action": "lambda:GetFunction"},
        {"Action": None},
        {"Condition": {"StringEquals": {"AWS:SourceAccount": "999999999999"}}},
        {"Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:/other:*"}}},
    ],
)
def test_what_does_not(change: dict[str, Any]) -> None:
    assert not lets({**ALLOWED, **change})


def test_a_document_without_sense_lets_nothing() -> None:
    assert not lets()
    assert not lets("Allow")
    assert not lets_service({}, "logs.amazonaws.com", "lambda:InvokeFunction")


STREAM = "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log:log-stream:aws/bedrock/modelinvocations"


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "*", "Resource": "*"},
        {"Action": "logs:*", "Resource": "arn:aws:logs:*:*:*"},
        {"Action": ["s3:GetObject", "logs:putLogEvents"], "Resource": ["x", STREAM]},
        {"Action": "logs:Put*", "Resource": "arn:aws:logs:us-east-1:123456789012:log-group:/meter/*"},
        {"Action": "logs:PutLogEvents", "Resource": STREAM.replace("123456789012", "${aws:PrincipalAccount}")},
        {"Action": "logs:PutLogEvent?", "Resource": "*", "Condition": {"Bool": {"x": "true"}}},
        {"NotAction": "iam:*", "Resource": "*"},
        {"Action": "logs:PutLogEvents", "NotResource": "arn:aws:logs:*:*:log-group:/other:*"},
    ],
)
def test_what_allows_writing(statement: dict[str, Any]) -> None:
    assert allows({"Statement": {"Effect": "Allow", **statement}}, "logs:PutLogEvents", STREAM)
    assert not allows({"Statement": {"Effect": "Deny", **statement}}, "logs:PutLogEvents", STREAM)


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"Action": "logs:GetLogEvents", "Resource": "*"},
        {"Action": "logs:PutLogEvents", "Resource": "arn:aws:logs:us-east-1:123456789012:log-group:/other:*"},
        {"Action": "logs:PutLogEvents", "Resource": "arn:aws:logs:us-east-1:123456789012:log-group:/meter/log"},
        {"Action": "logs:PutLogEvents", "Resource": STREAM.replace("log-group", "log.group")},
        {"NotAction": "logs:*", "Resource": "*"},
        {"Action": "logs:*", "NotResource": "*"},
    ],
)
def test_what_does_not_allow_writing(statement: dict[str, Any]) -> None:
    assert not allows({"Statement": [{"Effect": "Allow", **statement}]}, "logs:PutLogEvents", STREAM)


def test_services_that_a_policy_lets_write() -> None:
    statement = {"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}
    policy = {"Statement": [{**statement, "Principal": {"Service": ["es.amazonaws.com", "route53.amazonaws.com"]}}]}
    assert services_allowed(policy, "logs:PutLogEvents", STREAM) == ["es.amazonaws.com", "route53.amazonaws.com"]
    assert services_allowed({"Statement": {**statement, "Principal": "*"}}, "logs:PutLogEvents", STREAM) == ["*"]
    assert services_allowed(policy, "s3:PutObject", STREAM) == []


ONLY_BEDROCK = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::logs/*",
    "Condition": {"StringNotEquals": {"aws:PrincipalServiceName": "bedrock.amazonaws.com"}},
}
OBJECT = "arn:aws:s3:::logs/AWSLogs/123456789012/BedrockModelInvocationLogs/x"


def keeps(**changes: Any) -> bool:
    policy = {"Statement": [{**ONLY_BEDROCK, **changes}]}
    return keeps_to_service(policy, "bedrock.amazonaws.com", "s3:PutObject", OBJECT)


def test_a_bucket_that_only_bedrock_writes_to() -> None:
    assert keeps()
    assert keeps(Principal={"AWS": "*"}, Action=["s3:Put*"])
    assert keeps(Condition={"StringNotEqualsIfExists": {"aws:principalservicename": ["bedrock.amazonaws.com"]}})


@pytest.mark.parametrize(
    "changes",
    [
        {"Effect": "Allow"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Action": "s3:GetObject"},
        {"Resource": "arn:aws:s3:::logs/other/*"},
        {"Condition": {}},
        {"Condition": {"StringEquals": {"aws:PrincipalServiceName": "bedrock.amazonaws.com"}}},
        {"Condition": {"StringNotEquals": {"aws:PrincipalServiceName": ["bedrock.amazonaws.com", "x.amazonaws.com"]}}},
        {"Condition": {"StringNotEquals": {"aws:PrincipalArn": "bedrock.amazonaws.com"}}},
        {"Condition": {**ONLY_BEDROCK["Condition"], "Bool": {"aws:SecureTransport": "false"}}},  # type: ignore[dict-item]
    ],
)
def test_a_bucket_that_others_may_write_to_as_well(changes: dict[str, Any]) -> None:
    assert not keeps(**changes)
