"""Quarantine listed and read again, over CloudWatch Logs, S3 and DynamoDB."""

import gzip
import itertools
import json
from typing import Any

import pytest

from bedrock_meter.cli import main, quarantine
from bedrock_meter.cli.deployed import DeployedRecorder
from bedrock_meter.clock import now_ms
from bedrock_meter.invocations.doubt import EVERYTHING
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import rollups
from bedrock_meter.storage.log_objects import S3LogObjects
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.rollup import NOTHING
from bedrock_meter.usage.wiring import ingestion
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of

OBJECT = "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/24/01/x.json.gz"
STREAM = "aws/bedrock/modelinvocations"
_numbers = itertools.count()


class World:
    """A log group and a log bucket, taken in by a recorder whose clock is a day behind: all is in its future."""

    def __init__(self, endpoint: Endpoint, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
        number = next(_numbers)
        self.tables, self.group, self.failures, self.bucket = tables, f"/q/{number}", f"q-{number}", f"l-{number}"
        self.s3, self.logs, self.dynamodb = (endpoint.client(name) for name in ("s3", "logs", "dynamodb"))
        for bucket in (self.failures, self.bucket):
            self.s3.create_bucket(Bucket=bucket)
        self.logs.create_log_group(logGroupName=self.group)
        self.logs.create_log_stream(logGroupName=self.group, logStreamName=STREAM)
        outputs = {
            f"{name.capitalize()}Table": getattr(tables, name) for name in ("ledger", "usage", "quotas", "tenants")
        }
        outputs |= {"FailureBucket": self.failures, "InvocationLogGroup": self.group}
        monkeypatch.setattr(quarantine, "outputs_of_stack", lambda _: outputs)
        recorder = DeployedRecorder("123456789012", "us-east-1", 400 * DAY_MS, EVERYTHING, True)
        monkeypatch.setattr(quarantine, "recorder_of", lambda _: recorder)
        self.at_ms = now_ms()
        self.behind = ingestion(
            self.dynamodb,
            lambda: self.s3,
            tables,
            self.failures,
            retention_ms=400 * DAY_MS,
            now=lambda: self.at_ms - DAY_MS,
        )

    def log(self, *messages: str) -> None:
        from bedrock_meter.reconciliation.backfill import LogEvent, deliveries

        events = [{"timestamp": self.at_ms, "message": message} for message in messages]
        self.logs.put_log_events(logGroupName=self.group, logStreamName=STREAM, logEvents=events)
        kept = self.logs.filter_log_events(logGroupName=self.group)["events"]
        page = [LogEvent(one["eventId"], STREAM, one["timestamp"], one["message"]) for one in kept]
        for delivery in deliveries(self.group, page):
            self.behind.ingest(delivery, Ingested(), lambda: 60_000)

    def upload(self, *messages: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=OBJECT, Body=gzip.compress("\n".join(messages).encode()))
        opened = S3LogObjects(lambda: self.s3).open(self.bucket, OBJECT)
        self.behind.ingest_object(opened.content, Ingested(), lambda: 60_000)

    def call(self, request_id: str, error: str | None = None) -> str:
        return json.dumps(record_of(invocation(request_id, event_ms=self.at_ms, error_code=error)))

    def requests(self) -> int:
        pages = rollups.read_rollups(self.dynamodb, self.tables.usage, UNATTRIBUTED, from_ms=0)
        return sum((one for page in pages for _, one in page), NOTHING).requests


@pytest.fixture
def world(endpoint: Endpoint, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(endpoint, tables, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main.execute(["quarantine", *arguments, "--output", "json"]) == 0
    printed = capsys.readouterr()
    assert "CANARY" not in printed.out + printed.err
    found: list[dict[str, Any]] = json.loads(printed.out)
    return found


def test_what_can_be_counted_by_now_is_recorded_once_and_its_note_removed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.log(world.call("r1"), world.call("r2", "ThrottlingException"), "CANARY-broken")
    world.upload(world.call("r1"), world.call("r3"))
    assert world.requests() == 0
    listed = run(capsys, "list")
    assert sorted(one["reason"] for one in listed) == ["in_the_future"] * 4 + ["not_json"]
    assert {(one["log_group"], one["log_stream"]) for one in listed} == {(world.group, STREAM), (world.bucket, OBJECT)}
    assert all(len(one["sha256"]) == 64 and one["size_bytes"] and one["log_event_id"] for one in listed)
    outcomes = run(capsys, "redrive")
    assert sorted((one["outcome"], one["now"]) for one in outcomes) == [
        ("failed_call", ""),
        ("recorded", ""),
        ("recorded", ""),
        ("recorded", ""),
        ("rejected", "not_json"),
    ]
    assert world.requests() == 2
    assert [one["outcome"] for one in run(capsys, "redrive")] == ["rejected"]
    assert [one["reason"] for one in run(capsys, "list")] == ["not_json"]
    assert world.requests() == 2


def test_notes_are_chosen_by_reason_and_day(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.log(world.call("r1"), "CANARY-broken")
    assert [one["reason"] for one in run(capsys, "list", "--reason", "not_json")] == ["not_json"]
    assert run(capsys, "list", "--since", "2999-01-01") == []
    assert len(run(capsys, "list", "--since", "2020-01-01T00:00Z")) == 2
    assert [one["outcome"] for one in run(capsys, "redrive", "--reason", "in_the_future")] == ["recorded"]


def test_what_is_gone_and_what_has_no_place_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.log(world.call("r1"))
    world.upload(world.call("r2"))
    world.behind.ingest({"awslogs": {"data": "CANARY!"}}, Ingested(), lambda: 60_000)
    world.logs.delete_log_stream(logGroupName=world.group, logStreamName=STREAM)
    world.s3.delete_object(Bucket=world.bucket, Key=OBJECT)
    outcomes = run(capsys, "redrive")
    assert sorted(one["outcome"] for one in outcomes) == ["no_location", "not_found", "not_found"]
    assert len(run(capsys, "list")) == 3


def test_the_table_shows_the_same_and_no_marks_of_others(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.log("CANARY-broken")
    assert main.execute(["quarantine", "list"]) == 0
    shown = capsys.readouterr().out
    assert "not_json" in shown
    assert "1 notes" in shown
    assert "CANARY" not in shown


@pytest.mark.parametrize("arguments", [["--reason", "bad"], ["--since", "yesterday"]])
@pytest.mark.parametrize("command", ["list", "redrive"])
def test_a_wrong_filter_is_refused_before_anything_is_read(
    command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.execute(["quarantine", command, *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"bedrock-meter: {arguments[0]}")
