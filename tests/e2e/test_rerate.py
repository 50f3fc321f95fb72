"""`rerate` on a stack that is served: prices that become known later, and cost that falls."""

import json
from pathlib import Path
from typing import Any

from bedrock_meter.clock import iso, now_ms
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.storage.dynamodb import text
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
from tests.e2e.conftest import Command, Up

TENANT = "ratedanew"
TENANTS = """
tenants:
  - id: ratedanew
    profiles: [{id: ratedanew001, model: house.model-v1}, {id: ratedanew002, model: amazon.nova-lite-v1:0}]
    limits: [{meter: cost_usd, window: 1h, max: 10}, {meter: cost_usd, window: month, max: 100}]
"""
HOUSE = 4 * (10 * 2_000 + 5 * 8_000) // 2
"""Nano-USD of four calls with 10 tokens in and 5 out, at 2 and 8 US dollars a million, and half of that."""
NOVA = 2 * (10 * 60 + 5 * 240)
"""Of two calls at the book's 0.06 and 0.24."""


def document(command: Command, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = command(*arguments, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cost_of(up: Up) -> dict[str, int]:
    """Cost in nano-USD, requests, and how many of them are priced, as the roll-ups hold them."""
    dynamodb, table = Endpoint(up.state["endpoint"]).client("dynamodb"), up.state["outputs"]["UsageTable"]
    values = {":t": text(TENANT)}
    rows = dynamodb.query(TableName=table, KeyConditionExpression="pk = :t", ExpressionAttributeValues=values)["Items"]
    names = ("requests", "cost_nano_usd", "priced")
    return {name: sum(int(row.get(name, {"N": "0"})["N"]) for row in rows) for name in names}


def test_prices_that_become_known_are_counted_to_the_nano_dollar_and_twice_is_once(
    up: Up, served: Command, tmp_path: Path
) -> None:
    at_ms = now_ms()
    (tmp_path / "tenants.yaml").write_text(TENANTS, encoding="utf-8")
    calls = [invocation(f"house-{number}", profile="ratedanew001", event_ms=at_ms - number) for number in range(4)]
    calls += [invocation(f"nova-{number}", profile="ratedanew002", event_ms=at_ms - number) for number in range(2)]
    calls.append(invocation("none", profile="ratedanew001", event_ms=at_ms, error_code="ThrottlingException"))
    lines = tmp_path / "calls.jsonl"
    lines.write_text("\n".join(json.dumps(record_of(call)) for call in calls), encoding="utf-8")
    counted = served.replay("--tenants", tmp_path / "tenants.yaml", "--time", "recorded", lines)
    assert (counted["recorded"], counted["unpriced"]) == (6, 4)
    assert cost_of(up) == {"requests": 6, "cost_nano_usd": NOVA, "priced": 2}

    started = iso(at_ms - 3_600_000)
    overrides = [
        {"model": "house.model-v1", "from": started, "prices": {"input": 2, "output": 8}},
        {"tenant": TENANT, "from": started, "discount": "50%"},
    ]
    file = tmp_path / "prices.yaml"
    file.write_text(json.dumps({"overrides": overrides}), encoding="utf-8")
    applied = served("prices", "apply", file)
    assert applied.returncode == 0, applied.stderr

    span = ("--from", str(started), "--to", str(iso(at_ms + 1)), "--tenant", TENANT)
    planned = document(served, "rerate", *span, "--dry-run")
    assert cost_of(up)["cost_nano_usd"] == NOVA
    assert [
        (one["model"], one["entries"], one["newly_priced"], one["old_cost_usd"], one["difference_usd"])
        for one in planned["changed"]
    ] == [
        ("amazon.nova-lite-v1:0", 2, 0, "0.0000036", "-0.0000018"),
        ("house.model-v1", 4, 4, "0.00", "0.00012"),
    ]
    assert (planned["old_cost_usd"], planned["new_cost_usd"]) == ("0.0000036", "0.0001218")
    refused = served("rerate", *span)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "read units" in refused.stderr
    assert "--yes" in refused.stderr

    rated = document(served, "rerate", *span, "--yes")
    told = ("mode", "scanned", "read_units")
    assert {key: value for key, value in rated.items() if key not in told} == {
        key: value for key, value in planned.items() if key not in told
    }
    assert (rated["mode"], rated["failed"]) == ("rerated", 1)
    assert cost_of(up) == {"requests": 6, "cost_nano_usd": HOUSE + NOVA // 2, "priced": 6}
    assert not list(Path(up.state["folder"]).glob("rerate*"))

    again = served("rerate", *span, "--yes")
    assert again.returncode == 0, again.stderr
    assert "7 calls in the range: 0 rated anew from 0.00 to 0.00 USD (0.00), 6 are right, 1 failed" in again.stdout
    assert cost_of(up) == {"requests": 6, "cost_nano_usd": HOUSE + NOVA // 2, "priced": 6}
    assert served.replay("--time", "recorded", lines)["duplicates"] == 7
    rebuilt = document(served, "rebuild", "--tenant", TENANT)
    assert (rebuilt["row_differences"], rebuilt["limit_differences"]) == ([], [])


def test_what_is_no_range_or_no_position_ends_with_one_line(served: Command, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    file.write_text("{}")
    span = ("--from", "2026-11-01T00:00Z", "--to", "2026-11-02T00:00Z")
    end = str(iso(now_ms()))
    for arguments in (span[:2], (*span[:2], "--to", "2026-10-01T00:00Z")):
        assert served("rerate", *arguments, "--yes").returncode == 2
    done = served("rerate", "--from", str(iso(now_ms() - 60_000)), "--to", end, "--yes", "--resume", file)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
