"""Policies of resources, as far as a document can tell."""

from typing import Any

import pytest

from bedrock_meter.preflight.policies import lets_service

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
