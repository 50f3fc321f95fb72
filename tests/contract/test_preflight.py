"""The logging configuration and test lines, as the local stack serves them."""

import json
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.preflight.configuration import differences, wanted
from bedrock_meter.preflight.findings import Expected, LogGroup, Role, Writers, findings
from bedrock_meter.settings import Tables
from bedrock_meter.storage.logging_setup import observe, read_configuration, write_configuration
from bedrock_meter.storage.probes import DynamoDBProbes
from tests.doubles.records import NOW_MS

ROLE_ARN = "arn:aws:iam::000000000000:role/logging"


def test_the_configuration_is_replaced_as_a_whole_and_reads_as_written(endpoint: Endpoint) -> None:
    bedrock = endpoint.client("bedrock")
    bedrock.delete_model_invocation_logging_configuration()
    assert read_configuration(endpoint.client) is None
    first = {"s3Config": {"bucketName": "logs-of-security", "keyPrefix": "p"}, "textDataDeliveryEnabled": True}
    write_configuration(endpoint.client, first)
    held = read_configuration(endpoint.client)
    assert held == first
    after = wanted(held, log_group="/meter/log", own_role_arn=ROLE_ARN, metadata_only=True)
    write_configuration(endpoint.client, after)
    written = read_configuration(endpoint.client)
    assert written is not None
    assert differences(written, after) == []
    assert written["s3Config"] == first["s3Config"]


def test_what_carries_records_on_is_seen(endpoint: Endpoint) -> None:
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:*"}]}
    iam, logs = endpoint.client("iam"), endpoint.client("logs")
    iam.create_role(RoleName="logging", AssumeRolePolicyDocument=json.dumps(trust))
    logs.create_log_group(logGroupName="/meter/seen")
    logs.put_retention_policy(logGroupName="/meter/seen", retentionInDays=30)
    configuration = wanted(None, log_group="/meter/seen", role_arn=ROLE_ARN)
    write_configuration(endpoint.client, configuration)
    function = "arn:aws:lambda:us-east-1:000000000000:function:none"
    expected = Expected("000000000000", "us-east-1", "aws", "/meter/seen", function)
    seen = observe(endpoint.client, expected)
    assert (seen.log_group, seen.subscriptions, seen.function_policy) == (LogGroup(retention_days=30), [], None)
    assert isinstance(seen.role, Role)
    assert seen.role.allows == {"logs:CreateLogStream": False, "logs:PutLogEvents": False}
    allowed = {"Effect": "Allow", "Action": "logs:*", "Resource": f"{expected.log_group_arn}:*"}
    iam.put_role_policy(RoleName="logging", PolicyName="x", PolicyDocument=json.dumps({"Statement": [allowed]}))
    role = observe(endpoint.client, expected).role
    assert isinstance(role, Role)
    assert role.allows == {"logs:CreateLogStream": True, "logs:PutLogEvents": True}
    for name, action in (("agent", "logs:*"), ("reader", "logs:Get*")):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        document = json.dumps({"Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})
        iam.put_role_policy(RoleName=name, PolicyName="x", PolicyDocument=document)
    writers = observe(endpoint.client, expected).writers
    assert isinstance(writers, Writers)
    assert "arn:aws:iam::000000000000:role/agent" in writers.principals
    assert not {ROLE_ARN, "arn:aws:iam::000000000000:role/reader"} & set(writers.principals)
    errors = [one.check for one in findings(expected, observe(endpoint.client, expected)) if one.level == "error"]
    assert errors == ["subscription", "permission"]


def test_a_test_line_is_noted_once_and_found(endpoint: Endpoint, tables: Tables) -> None:
    client = endpoint.client("dynamodb")
    probes = DynamoDBProbes(client, tables)
    assert probes.read_at_ms("a" * 32) is None
    probes.acknowledge("a" * 32, NOW_MS)
    assert probes.read_at_ms("a" * 32) == NOW_MS
    assert probes.read_at_ms("b" * 32) is None
    (item,) = client.scan(TableName=tables.quotas)["Items"]
    assert int(item["expires"]["N"]) == NOW_MS // 1000 + 3600


def test_a_store_that_is_out_costs_a_test_line_and_no_delivery(tables: Tables) -> None:
    class Out:
        def put_item(self, **_: Any) -> None:
            raise ConnectTimeoutError(endpoint_url="dynamodb")

    DynamoDBProbes(Out(), tables).acknowledge("a" * 32, NOW_MS)


@pytest.fixture(autouse=True)
def _clean(endpoint: Endpoint) -> Any:
    yield
    endpoint.client("bedrock").delete_model_invocation_logging_configuration()
