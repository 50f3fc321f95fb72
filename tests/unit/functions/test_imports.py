"""What each function loads when it starts: a heavy module on the Lambda path is paid for at every cold start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "LEDGER_TABLE": "l",
    "USAGE_TABLE": "u",
    "QUOTAS_TABLE": "q",
    "TENANTS_TABLE": "t",
    "EVENT_BUS": "bus",
    "FAILURE_BUCKET": "bucket",
    "RECORD_USAGE_FUNCTION": "recorder",
    "OBJECT_QUEUE": "queue",
    "LEDGER_RETENTION_DAYS": "400",
    "LOG_ACCOUNTS": "123456789012,",
    "LOG_REGIONS": "us-east-1,",
    "LOG_STREAMS": "aws/bedrock/modelinvocations",
    "MAXIMUM_CALL_TOKENS": "10000000",
    "TENANT_TAG_KEY": "tenantId",
    "FAIL_POLICY": "open",
    "JWT_SCOPES": "demanded",
    "JWT_TENANT_CLAIM": "tenant_id",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "BedrockMeter",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
}
HEAVY = {"aws_xray_sdk", "boto3", "jsonschema", "moto", "pydantic", "pynamodb", "requests", "rich", "typer", "yaml"}
RECORDERS = ("record_usage", "record_objects", "redrive_failures")
BELIEFS = ("LOG_ACCOUNTS", "LOG_REGIONS", "LOG_STREAMS", "MAXIMUM_CALL_TOKENS")
FOREIGN = {
    "record_usage": HEAVY | {"aws_lambda_powertools.event_handler"},
    "record_objects": HEAVY | {"aws_lambda_powertools.event_handler"},
    "redrive_failures": HEAVY | {"aws_lambda_powertools.event_handler"},
    "evaluate_quotas": HEAVY | {"aws_lambda_powertools.event_handler", "msgspec"},
    "sweep": HEAVY | {"aws_lambda_powertools.event_handler", "msgspec"},
    "sync_profiles": HEAVY | {"aws_lambda_powertools.event_handler"},
    "quota_api": HEAVY | {"msgspec"},
    "report_api": HEAVY | {"msgspec"},
    "admin_api": HEAVY - {"pynamodb"},
}


def loaded_by(function: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Import a function's handler in a process of its own; prints the names of all modules."""
    code = f"import functions.{function}.handler, json, sys; print(json.dumps(sorted(sys.modules)))"
    package = ROOT / "layers" / "bedrock_meter"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{package}", **settings}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_function_is_listed() -> None:
    assert {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")} == set(FOREIGN)


@pytest.mark.parametrize("function", sorted(FOREIGN))
def test_a_function_loads_nothing_that_it_does_not_need(function: str) -> None:
    done = loaded_by(function, SETTINGS)
    assert done.returncode == 0, done.stderr
    assert FOREIGN[function] & set(json.loads(done.stdout)) == set()


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("record_usage", "FAILURE_BUCKET"),
        ("record_usage", "LEDGER_RETENTION_DAYS"),
        *[(function, f"{table}_TABLE") for function in RECORDERS for table in ("LEDGER", "USAGE", "QUOTAS", "TENANTS")],
        *[(function, f"{table}_TABLE") for function in ("evaluate_quotas", "sweep") for table in ("QUOTAS", "TENANTS")],
        *[(function, name) for function in RECORDERS for name in BELIEFS],
        ("record_objects", "FAILURE_BUCKET"),
        ("record_objects", "OBJECT_QUEUE"),
        ("record_objects", "LEDGER_RETENTION_DAYS"),
        ("redrive_failures", "FAILURE_BUCKET"),
        ("redrive_failures", "RECORD_USAGE_FUNCTION"),
        ("redrive_failures", "LEDGER_RETENTION_DAYS"),
        ("evaluate_quotas", "EVENT_BUS"),
        ("sweep", "EVENT_BUS"),
        ("sync_profiles", "TENANTS_TABLE"),
        ("sync_profiles", "TENANT_TAG_KEY"),
        *[("quota_api", f"{table}_TABLE") for table in ("QUOTAS", "USAGE", "TENANTS")],
        *[("admin_api", f"{table}_TABLE") for table in ("QUOTAS", "USAGE", "TENANTS")],
        ("admin_api", "JWT_TENANT_CLAIM"),
        ("quota_api", "FAIL_POLICY"),
        ("quota_api", "JWT_TENANT_CLAIM"),
        ("quota_api", "JWT_SCOPES"),
        *[("report_api", f"{table}_TABLE") for table in ("QUOTAS", "USAGE", "TENANTS")],
        ("report_api", "JWT_SCOPES"),
        ("report_api", "JWT_TENANT_CLAIM"),
    ],
)
def test_a_function_without_a_setting_refuses_to_start_and_names_it(function: str, missing: str) -> None:
    done = loaded_by(function, {name: value for name, value in SETTINGS.items() if name != missing})
    assert done.returncode != 0
    assert f"ConfigurationError: the environment variable {missing} is not set" in done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "many", "", "1.5"])
def test_a_retention_that_is_no_number_of_days_is_refused(value: str) -> None:
    done = loaded_by("record_usage", {**SETTINGS, "LEDGER_RETENTION_DAYS": value})
    assert "LEDGER_RETENTION_DAYS" in done.stderr
    assert done.returncode != 0
