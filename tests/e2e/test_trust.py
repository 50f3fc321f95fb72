"""`preflight`, `setup-logging` and `reattribute` on a stack that is served."""

import json
from pathlib import Path
from typing import Any

from bedrock_meter.clock import now_ms
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.storage.dynamodb import text
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
from tests.e2e.conftest import Command, Up

PROFILE = "trustprofil1"
TENANTS = """
tenants:
  - id: latecomer
    profiles: [{id: trustprofil1, model: amazon.nova-lite-v1:0}]
    limits: [{meter: total_tokens, window: 1h, max: 100k}]
"""
COST = 5 * (10 * 60 + 5 * 240)
"""Nano-USD of five calls with 10 tokens in and 5 out of Nova Lite, at the book's 0.06 and 0.24 US dollars a million."""


def document(command: Command, *arguments: str | Path, code: int = 0) -> Any:
    done = command(*arguments, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def levels(found: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one["level"] for one in found["findings"]}


def stored(up: Up) -> dict[str, int]:
    """How many items each table holds of usage."""
    dynamodb = Endpoint(up.state["endpoint"]).client("dynamodb")
    tables = {name: up.state["outputs"][f"{name}Table"] for name in ("Ledger", "Usage")}
    return {name: dynamodb.scan(TableName=table, Select="COUNT")["Count"] for name, table in tables.items()}


def test_the_preflight_finds_what_is_missing_and_setup_logging_puts_it_right(up: Up, served: Command) -> None:
    before = stored(up)
    found = document(served, "preflight", "--wait", "60", code=1)
    assert levels(found) == {
        "Region": "ok",
        "configuration": "error",
        "log group": "ok",
        "subscription": "ok",
        "permission": "ok",
        "writers": "ok",
        "log policies": "ok",
        "test line": "ok",
    }
    assert "setup-logging" in next(one["fix"] for one in found["findings"] if one["check"] == "configuration")
    assert stored(up) == before, "a test line counts nothing"

    planned = document(served, "setup-logging")
    assert planned["written"] is False
    assert document(served, "setup-logging")["before"] is None, "nothing was written"
    written = document(served, "setup-logging", "--yes")
    assert (written["written"], written["after"]) == (True, planned["after"])
    assert written["after"]["textDataDeliveryEnabled"] is False
    assert document(served, "setup-logging", "--yes")["changes"] == []

    sound = document(served, "preflight", "--no-test-line")
    assert set(levels(sound).values()) == {"ok"}
    assert {"bodies", "role"} <= levels(sound).keys()
    table = served("preflight", "--no-test-line")
    assert table.returncode == 0, table.stderr
    assert "9 checks: 9 ok" in table.stdout


def sums_of(up: Up, tenant: str, profile: str) -> dict[str, int]:
    dynamodb, table = Endpoint(up.state["endpoint"]).client("dynamodb"), up.state["outputs"]["UsageTable"]
    values = {":t": text(tenant)}
    items = dynamodb.query(TableName=table, KeyConditionExpression="pk = :t", ExpressionAttributeValues=values)["Items"]
    rows = [item for item in items if f"#{profile}#" in item["sk"]["S"]]
    names = ("requests", "errors", "input", "cost_nano_usd", "priced")
    return {name: sum(int(row.get(name, {"N": "0"})["N"]) for row in rows) for name in names}


def test_usage_of_a_profile_that_is_mapped_later_is_moved_once_to_the_nano_dollar(
    up: Up, served: Command, tmp_path: Path
) -> None:
    at_ms = now_ms()
    calls = [invocation(f"trust-{number}", profile=PROFILE, event_ms=at_ms - number) for number in range(5)]
    calls.append(invocation("trust-failed", profile=PROFILE, event_ms=at_ms, error_code="ThrottlingException"))
    lines = tmp_path / "calls.jsonl"
    lines.write_text("\n".join(json.dumps(record_of(call)) for call in calls), encoding="utf-8")
    assert served.replay("--time", "recorded", lines)["unattributed"] == 5
    waiting = {"requests": 5, "errors": 1, "input": 50, "cost_nano_usd": 0, "priced": 0}
    whole, none = {**waiting, "cost_nano_usd": COST, "priced": 5}, dict.fromkeys(waiting, 0)
    assert sums_of(up, UNATTRIBUTED, PROFILE) == waiting

    left = document(served, "reattribute", PROFILE)
    assert (left["moved"], left["left"]) == ([], {PROFILE: 6})
    file = tmp_path / "tenants.yaml"
    file.write_text(TENANTS, encoding="utf-8")
    applied = served("tenants", "apply", file, "--yes")
    assert applied.returncode == 0, applied.stderr
    assert "bedrock-meter reattribute --all --dry-run --stack local" in applied.stderr
    assert "reattribute" not in served("tenants", "apply", file).stderr, "nothing was mapped"
    planned = document(served, "reattribute", "--all", "--dry-run")
    assert sums_of(up, UNATTRIBUTED, PROFILE) == waiting
    moved = document(served, "reattribute", PROFILE)
    assert moved["moved"] == planned["moved"]
    assert [(one["tenant"], one["entries"], one["cost_usd"]) for one in moved["moved"]] == [
        ("latecomer", 6, "0.000009")
    ]
    assert (sums_of(up, UNATTRIBUTED, PROFILE), sums_of(up, "latecomer", PROFILE)) == (none, whole)

    again = served("reattribute", PROFILE)
    assert again.returncode == 0, again.stderr
    assert "0 entries without a tenant: 0 moved" in again.stdout
    assert sums_of(up, "latecomer", PROFILE) == whole
    assert served.replay("--time", "recorded", lines)["duplicates"] == 6
    rebuilt = document(served, "rebuild", "--tenant", "latecomer", "--tenant", UNATTRIBUTED)
    assert (rebuilt["row_differences"], rebuilt["limit_differences"]) == ([], [])


TRUSTED = """
tenants:
  - id: by-role
    principals: [arn:aws:iam::123456789012:role/path/batch]
  - id: by-pattern
    principals: ["arn:aws:iam::123456789012:role/team-*"]
  - id: by-word
gateways:
  principals: [arn:aws:iam::123456789012:role/gateway]
"""


def called_by(role: str, number: int, tenant: str = "") -> str:
    record = record_of(invocation(f"by-{role}-{number}", event_ms=now_ms()))
    principal = f"arn:aws:sts::123456789012:assumed-role/{role}/session-{number}"
    said = {"requestMetadata": {"tenantId": tenant}} if tenant else {}
    return json.dumps({**record, "modelId": "amazon.nova-lite-v1:0", "identity": {"arn": principal}, **said})


def test_without_a_profile_the_caller_decides_and_its_word_only_where_it_is_trusted(
    fresh: Command, tmp_path: Path
) -> None:
    calls = [
        *(called_by("batch", number) for number in range(2)),
        called_by("batch", 2, "by-word"),
        called_by("team-red", 0),
        *(called_by("gateway", number, "by-word") for number in range(3)),
        called_by("gateway", 3, "nobody"),
        called_by("stranger", 0, "by-word"),
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(calls), encoding="utf-8")
    (tmp_path / "tenants.yaml").write_text(TRUSTED, encoding="utf-8")
    counted = fresh.replay(tmp_path)
    requests = {tenant: usage["requests"] for tenant, usage in counted["tenants"].items()}
    assert requests == {"by-role": 3, "by-pattern": 1, "by-word": 3}
    assert (counted["recorded"], counted["unattributed"]) == (9, 2)


def test_a_choice_has_to_be_made(served: Command) -> None:
    for arguments in ((), (PROFILE, "--all")):
        done = served("reattribute", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
