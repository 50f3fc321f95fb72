"""`up` and `run` as a user sees them, the quota API, and tenants for a stack that is served."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bedrock_meter.local.routes import ApiAccess, ask_quota
from tests.e2e.conftest import Command, Up


@pytest.fixture
def api(up: Up) -> ApiAccess:
    return ApiAccess(**up.state["api"])


def test_run_shows_usage_limits_events_and_an_answer_and_ends(fresh: Command) -> None:
    done = fresh("run")
    assert done.returncode == 0, done.stderr
    for words in ("Tenant Throttled", "Quota Threshold Crossed", "Usage Unattributed", "throttled until"):
        assert words in done.stdout
    assert "signed, answers 200" in done.stdout
    answer = json.loads(done.stdout[done.stdout.index("answers 200:") + len("answers 200:") :])
    assert answer["allowed"] is False
    for step in ("layers", "starting", "deploying", "recorded", "waiting"):
        assert step in done.stderr
    assert not list(Path(fresh.environment["BEDROCK_METER_LOCAL_STATE"]).glob("scratch-*"))


def test_one_served_stack_is_enough(up: Up, served: Command) -> None:
    done = served("up")
    assert (done.returncode, done.stdout) == (1, "")
    assert "already" in done.stderr.splitlines()[-1]


def test_the_printed_curl_line_works(up: Up) -> None:
    done = subprocess.run(up.curl, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - as users do
    answer = json.loads(done.stdout)
    assert answer["allowed"] is False
    assert {"tenant", "as_of", "limits", "version"} <= answer.keys()


def test_the_quota_api_answers_its_callers_and_nobody_else(up: Up, api: ApiAccess) -> None:
    tenant = up.curl.split("/v1/tenants/")[1].split("/")[0]
    status, answer = ask_quota(api, tenant)
    assert (status, answer["tenant"]) == (200, tenant)
    assert ask_quota(api, "nobody")[0] == 404
    assert ask_quota(api, "unattributed")[0] == 404
    assert ask_quota(api, tenant, signed=False)[0] == 403
    assert ask_quota(replace(api, secret_key="x" * 40), tenant)[0] == 403
    assert ask_quota(replace(api, access_key="AKIAIOSFODNN7EXAMPLE"), tenant)[0] == 403


def test_functions_may_do_only_what_their_roles_allow(up: Up) -> None:
    """The local stack checks policies: the quota API's role may read and write gauges, read pages of usage, no more."""
    from bedrock_meter.local.endpoint import Endpoint

    endpoint = Endpoint(up.state["endpoint"])
    functions, sts = endpoint.client("lambda"), endpoint.client("sts")
    configuration = functions.get_function_configuration(FunctionName=up.state["outputs"]["QuotaApiFunction"])
    session = sts.assume_role(RoleArn=configuration["Role"], RoleSessionName="test")["Credentials"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    script = """
import json, sys
from botocore.exceptions import ClientError
from botocore.session import get_session
client = get_session().create_client("dynamodb")
key = {"pk": {"S": "nobody"}, "sk": {"S": "GAUGE"}}
calls = {
    "read a gauge": lambda t: client.get_item(TableName=t["QuotasTable"], Key=key),
    "remove a gauge": lambda t: client.delete_item(TableName=t["QuotasTable"], Key=key),
    "write usage": lambda t: client.put_item(TableName=t["UsageTable"], Item=key),
    "write a tenant": lambda t: client.put_item(TableName=t["TenantsTable"], Item=key),
    "read usage": lambda t: client.get_item(TableName=t["UsageTable"], Key=key),
}
tables, outcome = json.loads(sys.argv[1]), {}
for name, call in calls.items():
    try:
        call(tables)
        outcome[name] = "allowed"
    except ClientError as error:
        outcome[name] = error.response["Error"]["Code"]
print(json.dumps(outcome))
"""
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(up.state["outputs"])],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "read a gauge": "allowed",
        "remove a gauge": "AccessDeniedException",
        "write usage": "AccessDeniedException",
        "write a tenant": "AccessDeniedException",
        "read usage": "AccessDeniedException",
    }


def test_tenants_can_be_applied_to_a_served_stack_again_and_again(
    served: Command, api: ApiAccess, tmp_path: Path
) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text(
        "tenants: [{id: later, profiles: [later0000001], limits: [{meter: requests, window: 1h, max: 0}]}]\n"
    )
    refused = served("tenants", "apply", file)
    assert refused.returncode == 4, refused.stderr
    assert "  + profile later0000001" in refused.stdout.splitlines()[2]
    digest = refused.stdout.splitlines()[-1].removeprefix("difference ").partition(":")[0]
    first = served("tenants", "apply", file, "--accept", digest)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("later: limits, profile later0000001")
    status, answer = ask_quota(api, "later")
    assert (status, answer["allowed"], answer["limits"][0]["max"]) == (200, False, 0)
    again = served("tenants", "apply", file, "--stack", "local")
    assert again.stdout.startswith("later: as it was")


def test_tenants_can_be_applied_to_any_stack_by_name(up: Up, tmp_path: Path) -> None:
    """As on AWS, with the standard settings of an AWS SDK: here they lead to the local stack."""
    from bedrock_meter.local.endpoint import Endpoint

    file = tmp_path / "tenants.yaml"
    file.write_text("tenants: [{id: by-name, limits: [{meter: requests, window: day, max: 5}]}]\n")
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    by_name = Command({**elsewhere, **Endpoint(up.state["endpoint"]).environment()})
    done = by_name("tenants", "apply", file, "--yes", "--stack", up.state["stack_name"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("by-name: limits, tenant;")
    for stack in ("nonexistent", "-"):
        refused = by_name("tenants", "apply", file, "--yes", "--stack", stack)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), refused.stderr


def test_missing_aws_settings_are_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text("tenants: [{id: acme}]\n")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    bare |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    for environment in (bare, {**bare, "AWS_REGION": "eu-central-1"}, {**bare, "AWS_PROFILE": "missing"}):
        refused = Command(environment)("tenants", "apply", file, "--stack", "bedrock-meter")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), refused.stderr
