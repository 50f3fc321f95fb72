"""The commands under the repair lock: refused with one line while another is at work, and gone on with afterwards."""

from typing import Any

import pytest

from bedrock_meter.cli import deployed, main, reattribute, rebuild, rerate
from bedrock_meter.cli.deployed import Caller
from bedrock_meter.clock import now_ms
from bedrock_meter.errors import RepairLost
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.local.project import STATE_VARIABLE
from bedrock_meter.reconciliation.repair_lock import LOCK_MS, HeldLock, Holder, LockState
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import dynamodb
from bedrock_meter.storage.dynamodb import number, text
from bedrock_meter.storage.keys import usage_sort_key
from bedrock_meter.storage.recording import entry_item
from bedrock_meter.storage.repair_lock import DynamoDBRepairLock
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import entry_for
from tests.contract.disturbed import create_tables
from tests.doubles.records import invocation
from tests.faults.dynamodb import DynamoDB
from tests.faults.wire import attached

TABLES = Tables("ledger", "usage", "quotas", "tenants")
OUTPUTS = {"LedgerTable": "ledger", "UsageTable": "usage", "QuotasTable": "quotas", "TenantsTable": "tenants"}
ME = Caller("arn:aws:iam::123456789012:role/me", "aws", "123456789012", "us-east-1")
REWRITING = {
    "rebuild --in-place": ["rebuild", "--in-place"],
    "reattribute": ["reattribute", "acmeprofile1"],
    "rerate": ["rerate", "--from", "2020-01-01T00:00Z", "--to", "2020-01-02T00:00Z", "--yes"],
}
DRY = [["reattribute", "acmeprofile1", "--dry-run"], [*REWRITING["rerate"], "--dry-run"]]


class Backend:
    """The double, which also says how large a table is."""

    def __init__(self) -> None:
        self.double = DynamoDB(now_ms)

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return {"Table": {}} if operation == "DescribeTable" else self.double.call(operation, request)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Tables that the commands find by their usual way."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = attached("dynamodb", Backend())
    create_tables(made, TABLES)
    monkeypatch.setattr(dynamodb, "client", lambda *_, **__: made)
    monkeypatch.setattr(deployed, "caller", lambda *_: ME)
    monkeypatch.setattr(rebuild, "retention_ms", lambda _: 400 * 86_400_000)
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    for command in (rebuild, reattribute, rerate):
        monkeypatch.setattr(command, "outputs_of_stack", lambda _: OUTPUTS)
    return made


@pytest.fixture
def lock(client: Any) -> DynamoDBRepairLock:
    return DynamoDBRepairLock(client, TABLES)


def somebody(since_ms: int) -> Holder:
    return Holder("other", "rerate", "arn:aws:iam::123456789012:role/anna", since_ms, since_ms + LOCK_MS)


@pytest.mark.parametrize("arguments", [*REWRITING.values(), ["rebuild"]], ids=" ".join)
def test_a_command_is_refused_while_another_is_at_work(
    arguments: list[str], lock: DynamoDBRepairLock, capsys: pytest.CaptureFixture[str]
) -> None:
    lock.take(somebody(now_ms()), now_ms())
    before = lock.state()
    assert main.execute(arguments) == 1
    shown = capsys.readouterr()
    complaint = shown.err.splitlines()[-1]
    assert complaint.startswith(
        "bedrock-meter: `rerate` of arn:aws:iam::123456789012:role/anna has been at work since "
    )
    assert "try again when it is through" in complaint
    assert shown.out == "", "no result of nothing"
    assert lock.state() == before


@pytest.mark.parametrize("arguments", [*REWRITING.values(), ["rebuild"]], ids=" ".join)
def test_it_works_when_the_other_was_killed_long_enough_ago(arguments: list[str], lock: DynamoDBRepairLock) -> None:
    killed_ms = now_ms() - LOCK_MS
    lock.take(somebody(killed_ms), killed_ms)
    assert main.execute(arguments) == 0


@pytest.mark.parametrize("command", REWRITING)
def test_the_lock_names_the_command_while_it_works_and_is_given_back(
    command: str, lock: DynamoDBRepairLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LockState] = []
    real = DynamoDBRepairLock.take

    def take(self: DynamoDBRepairLock, holder: Holder, at_ms: int) -> Holder | None:
        other = real(self, holder, at_ms)
        seen.append(self.state())
        return other

    monkeypatch.setattr(DynamoDBRepairLock, "take", take)
    assert main.execute(REWRITING[command]) == 0
    ((holder, taken),) = [(one.holder, one.taken) for one in seen]
    assert holder is not None
    assert (holder.command, holder.by, taken) == (command, ME.by, 1)
    assert lock.state() == LockState(None, 1)


@pytest.mark.parametrize("arguments", [*DRY, ["rebuild"]], ids=" ".join)
def test_what_writes_nothing_takes_no_lock(arguments: list[str], lock: DynamoDBRepairLock) -> None:
    assert main.execute(arguments) == 0
    assert lock.state() == LockState()


@pytest.mark.parametrize("arguments", DRY, ids=" ".join)
def test_a_dry_run_waits_for_nobody(arguments: list[str], lock: DynamoDBRepairLock) -> None:
    lock.take(somebody(now_ms()), now_ms())
    assert main.execute(arguments) == 0


@pytest.mark.parametrize("command", REWRITING)
def test_who_has_lost_the_lock_writes_nothing_more(
    command: str,
    client: Any,
    lock: DynamoDBRepairLock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There is something to do for each: a row of nothing, a call that has a tenant today, one of another book."""
    made = entry_for(
        invocation("r1", profile="acmeprofile1", event_ms=1_577_836_800_000),
        Attribution(UNATTRIBUTED, "none", "acmeprofile1", "a.model"),
        now_ms=now_ms(),
        retention_ms=DAY_MS,
    )
    client.put_item(TableName="ledger", Item=entry_item(made))
    row = {"pk": text("acme"), "sk": text(usage_sort_key(now_ms() // QUARTER_MS * QUARTER_MS, "p", "m"))}
    client.put_item(TableName="usage", Item={**row, "requests": number(1)})
    period = {"M": {"tenant": text("acme"), "from_ms": number(0), "model": text("a.model")}}
    mapping = {"pk": text("PROFILE#acmeprofile1"), "sk": text("MAPPING"), "periods": {"L": [period]}}
    client.put_item(TableName="tenants", Item=mapping)
    before = contents(client)

    def lose(_: HeldLock) -> None:
        raise RepairLost("the repair lock was lost")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(HeldLock, "check", lose)
        assert main.execute(REWRITING[command]) == 1
    assert "the repair lock was lost" in capsys.readouterr().err
    assert contents(client) == before
    assert lock.state().holder is None
    assert main.execute(REWRITING[command]) == 0
    assert contents(client) != before, "there was something to do"


def contents(client: Any) -> list[Any]:
    """Ledger and roll-ups."""
    return [client.scan(TableName=name)["Items"] for name in ("ledger", "usage")]
