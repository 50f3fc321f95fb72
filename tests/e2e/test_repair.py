"""`backfill` and `rebuild` on a stack that is served: what no subscription delivered, and sums that are broken."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bedrock_meter.clock import iso, now_ms
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.sending import STREAM
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
from tests.e2e.conftest import Command, Up

CALLS = 25


def document(command: Command, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = command(*arguments, "--output", "json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def put_undelivered(up: Up) -> tuple[str, str]:
    """Write records to the log group while it has no subscription; returns the range that they were logged in."""
    logs, group = Endpoint(up.state["endpoint"]).client("logs"), up.state["outputs"]["InvocationLogGroup"]
    (held,) = logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
    logs.delete_subscription_filter(logGroupName=group, filterName=held["filterName"])
    at_ms = now_ms()
    calls = [invocation(f"undelivered-{number}", event_ms=at_ms, profile="undelivered1") for number in range(CALLS)]
    events = [{"timestamp": at_ms, "message": json.dumps(record_of(call))} for call in calls]
    logs.put_log_events(logGroupName=group, logStreamName=STREAM, logEvents=events)
    names = ("filterName", "filterPattern", "destinationArn")
    logs.put_subscription_filter(logGroupName=group, **{name: held[name] for name in names})
    return str(iso(at_ms)), str(iso(at_ms + 1))


def test_what_was_never_delivered_is_backfilled_once(up: Up, served: Command) -> None:
    start, end = put_undelivered(up)
    counted = {"read": CALLS, "recorded": CALLS, "duplicates": 0, "errors": 0, "quarantined": 0}
    span = ("--from", start, "--to", end)
    first = document(served, "backfill", *span)
    assert first == {"from": start, "to": end, **counted}
    assert not list(Path(up.state["folder"]).glob("backfill*"))
    assert document(served, "backfill", *span) == {**first, "recorded": 0, "duplicates": CALLS}
    table = served("backfill", *span)
    assert "25 records read = 0 recorded + 25 duplicates" in table.stdout
    assert document(served, "rebuild")["row_differences"] == []

    entry = invocation("undelivered-3").call_id
    planned = document(served, "usage", "remove", entry, "--dry-run")
    assert (planned["outcome"], planned["tenant"], planned["requests"]) == ("would be removed", "unattributed", 1)
    assert served("usage", "remove", entry).returncode == 4
    assert document(served, "usage", "remove", entry, "--yes", "--reason", "forged")["outcome"] == "removed"
    assert document(served, "usage", "remove", entry, "--yes")["outcome"] == "removed before"
    assert document(served, "backfill", *span) == {**first, "recorded": 0, "duplicates": CALLS}
    compared = document(served, "rebuild")
    assert (compared["row_differences"], compared["limit_differences"]) == ([], [])


def test_a_position_of_another_range_is_refused(served: Command, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    file.write_text("{}")
    start = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    done = served("backfill", "--from", start, "--to", datetime.now(UTC).isoformat(), "--resume", file)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_broken_sums_are_found_and_put_right(up: Up, served: Command, tmp_path: Path) -> None:
    found = document(served, "rebuild")
    assert (found["mode"], found["row_differences"], found["limit_differences"]) == ("compare-only", [], [])
    assert found["ledger_entries"] > 0
    assert found["limits"] > 0

    dynamodb, table = Endpoint(up.state["endpoint"]).client("dynamodb"), up.state["outputs"]["UsageTable"]
    row = max(dynamodb.scan(TableName=table)["Items"], key=lambda item: int(item.get("input", {"N": "0"})["N"]))
    dynamodb.put_item(TableName=table, Item={**row, "input": {"N": "1"}})
    file = tmp_path / "rebuilt.json"
    broken = document(served, "rebuild", "--into-json", file, code=3)
    (difference,) = broken["row_differences"]
    tenant, name = row["pk"]["S"], row["sk"]["S"]
    assert (difference["tenant"], difference["row"]) == (tenant, name)
    assert (difference["held"]["input"], difference["rebuilt"]["input"]) == (1, int(row["input"]["N"]))
    assert json.loads(file.read_text())[tenant][name] == difference["rebuilt"]
    table_form = served("rebuild", "--tenant", tenant)
    assert table_form.returncode == 3
    assert "Roll-ups that differ" in table_form.stdout

    repaired = document(served, "rebuild", "--in-place")
    assert (repaired["corrected_rows"], repaired["corrected_limits"], repaired["refused"]) == (1, 0, {})
    clean = document(served, "rebuild", "--tenant", tenant)
    assert (clean["tenants"], clean["row_differences"], clean["limit_differences"]) == (1, [], [])
    assert dynamodb.get_item(TableName=table, Key={"pk": row["pk"], "sk": row["sk"]})["Item"]["input"] == row["input"]
