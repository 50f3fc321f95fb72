"""``usage remove``: which entry is meant, what is said of it, and what is asked; how it is taken is tried elsewhere."""

import io
import json
from typing import Any

import pytest

from bedrock_meter.cli import deployed, main, usage
from bedrock_meter.cli.deployed import Caller, DeployedRecorder
from bedrock_meter.clock import now_ms
from bedrock_meter.invocations.doubt import ANY, Origins
from bedrock_meter.reconciliation.repair_lock import LOCK_MS, Holder
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import dynamodb
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.dynamodb import text
from bedrock_meter.storage.recording import entry_item, entry_of
from bedrock_meter.storage.repair_lock import DynamoDBRepairLock
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import LedgerEntry, entry_for
from tests.contract.disturbed import create_tables
from tests.doubles.records import invocation
from tests.faults.dynamodb import DynamoDB
from tests.faults.wire import attached

TABLES = Tables("ledger", "usage", "quotas", "tenants")
OUTPUTS = {f"{name.capitalize()}Table": name for name in ("ledger", "usage", "quotas", "tenants")}
ME = Caller("arn:aws:iam::123456789012:role/ops", "aws", "123456789012", "us-east-1")
ORIGINS = Origins(frozenset({"222222222222", ANY}), frozenset({"eu-west-1"}), frozenset({ANY}), 10**7)
KEY = "123456789012#us-east-1#r1"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Backend:
        double = DynamoDB(now_ms)

        def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
            return self.double.call(operation, request)

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = attached("dynamodb", Backend())
    create_tables(made, TABLES)
    monkeypatch.setattr(dynamodb, "client", lambda *_, **__: made)
    monkeypatch.setattr(deployed, "caller", lambda name=None: Caller(name or ME.by, "aws", ME.account, ME.region))
    recorder = DeployedRecorder("123456789012", "us-east-1", 400 * DAY_MS, ORIGINS, True)
    monkeypatch.setattr(deployed, "recorder_of", lambda _: recorder)
    monkeypatch.setattr(usage, "outputs_of_stack", lambda _: OUTPUTS)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return made


def keep(client: Any, key: str = KEY, *, retention_ms: int = DAY_MS, error: str | None = None) -> LedgerEntry:
    owner = Attribution("acme", "profile", "acmeprofile1", "a.model")
    record = invocation(key.rpartition("#")[2], profile="acmeprofile1", event_ms=now_ms() - 1_000, error_code=error)
    made = entry_for(record, owner, now_ms=now_ms() - 1_000, retention_ms=retention_ms)
    client.put_item(TableName="ledger", Item={**entry_item(made), "pk": text(key)})
    return made


def held(client: Any, key: str = KEY) -> LedgerEntry:
    return entry_of(client.get_item(TableName="ledger", Key={"pk": text(key)}, ConsistentRead=True)["Item"])


def remove(*words: str) -> int:
    return main.execute(["usage", "remove", *words])


def test_it_says_what_it_took_and_the_history_who_and_why(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client)
    assert remove(KEY, "--yes", "--reason", "forged", "--by", "anna", "--output", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["outcome"], said["tenant"], said["entry"]) == ("removed", "acme", KEY)
    assert (said["requests"], said["input_tokens"], said["removed"] is not None) == (1, 10, True)
    (entry,) = DynamoDBAuditTrail(client, TABLES).history("acme")
    assert (entry.by, entry.what) == ("anna", "remove usage")
    assert entry.before is not None
    assert entry.after == {"entry": KEY, "removed": True, "reason": "forged"}
    assert entry.before["input_tokens"] == 10
    assert DynamoDBRepairLock(client, TABLES).state().taken == 1
    assert remove(KEY) == 0, "there is nothing to ask about"
    assert "taken back already" in capsys.readouterr().out
    assert DynamoDBRepairLock(client, TABLES).state().taken == 1


def test_it_is_refused_while_another_repair_is_at_work(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client)
    other = Holder("other", "rerate", "arn:aws:iam::123456789012:role/anna", now_ms(), now_ms() + LOCK_MS)
    DynamoDBRepairLock(client, TABLES).take(other, now_ms())
    assert remove(KEY, "--yes") == 1
    assert "try again when it is through" in capsys.readouterr().err
    assert held(client).removed_ms is None
    assert list(DynamoDBAuditTrail(client, TABLES).history("acme")) == []


def test_without_a_terminal_it_needs_to_be_told(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client)
    assert remove(KEY) == 4
    assert f"{KEY} counts for acme: 15 tokens" in capsys.readouterr().err
    assert held(client).removed_ms is None


def test_a_dry_run_asks_nothing_and_writes_nothing(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client)
    assert remove(KEY, "--dry-run") == 0
    assert "would be taken back" in capsys.readouterr().out
    assert held(client).removed_ms is None
    assert list(DynamoDBAuditTrail(client, TABLES).history("acme")) == []
    assert DynamoDBRepairLock(client, TABLES).state().taken == 0


@pytest.mark.parametrize("key", [KEY, "222222222222#us-east-1#r1", "123456789012#eu-west-1#r1"])
def test_a_request_id_is_enough_where_the_stack_believes_its_account_and_region(client: Any, key: str) -> None:
    keep(client, key)
    assert remove("r1", "--yes") == 0
    assert held(client, key).removed_ms is not None


def test_of_several_calls_of_a_request_id_none_is_taken(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = "222222222222#eu-west-1#r1"
    keep(client)
    keep(client, other)
    assert remove("r1", "--yes") == 2
    assert f"name one: {KEY}, {other}" in capsys.readouterr().err
    assert held(client).removed_ms is held(client, other).removed_ms is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (KEY, "the ledger holds no such entry"),
        ("r1", "write the whole key"),
        ("999999999999#us-east-1#r1 ", "account#region#requestId"),
        ("#us-east-1#r1", "account#region#requestId"),
        ("a b", "account#region#requestId"),
        ("", "account#region#requestId"),
        ("x" * 129, "account#region#requestId"),
    ],
)
def test_what_names_no_entry_is_said(client: Any, entry: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client, "999999999999#us-east-1#r1")
    assert remove(entry, "--yes") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["x" * 257, "two\nlines", "\x1b[2J"])
def test_a_reason_is_one_short_line(client: Any, reason: str) -> None:
    keep(client)
    assert remove(KEY, "--yes", "--reason", reason) == 2
    assert held(client).removed_ms is None


def test_an_entry_past_its_retention_stays(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client, retention_ms=0)
    assert remove(KEY, "--yes") == 1
    assert "past its retention" in capsys.readouterr().out
    assert list(DynamoDBAuditTrail(client, TABLES).history("acme")) == []


def test_a_failed_call_is_an_error_less(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    keep(client, error="ThrottlingException")
    assert remove(KEY, "--yes") == 0
    assert "a failed call" in capsys.readouterr().out
    assert held(client).removed_ms is not None
