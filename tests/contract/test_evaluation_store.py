"""What every evaluation store promises, and the same of installation where DynamoDB could differ from the double."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.evaluator import TenantState
from bedrock_meter.alerts.outbox import MAXIMUM_REFUSALS, Pending, PublishOutcome
from bedrock_meter.limits.gauge import Lease, read
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.levels import LimitState
from bedrock_meter.limits.limit import Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.storage.states import DynamoDBEvaluationStore
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, entry_for
from bedrock_meter.usage.packing import Chunk, writes_of
from tests.contract.conftest import Stores
from tests.doubles.records import NOW_MS, invocation, limit

EVENT = Event("e1", "Tenant Throttled", {"evaluated_at": "2026-11-24T01:00:00.000Z", "used": 2**53})
OTHER = Event("e2", "Tenant Throttled", {"evaluated_at": "2026-11-24T01:00:00.001Z"})
LEVELS = {"tokens-1h": LimitState(1, 0, (50, 100), {50: 1, 100: 2})}
FIRST = TenantState(version=1, evaluated_rev=7, layout_version=1, levels=LEVELS, next_due_ms=NOW_MS)


@pytest.fixture
def acme(stores: Stores) -> Stores:
    stores.recording.create_gauge("acme")
    return stores


def save(stores: Stores, state: TenantState, before: TenantState, *events: Event, **late: int) -> bool:
    saved: bool = stores.evaluation.save("acme", state, before=before, events=events, late=late)
    return saved


def load(stores: Stores) -> TenantState:
    state: TenantState = stores.evaluation.load("acme")[1]
    return state


def test_a_verdict_comes_back_as_it_was_written(acme: Stores) -> None:
    assert load(acme) == TenantState()
    assert save(acme, FIRST, TenantState(), EVENT, OTHER)
    assert load(acme) == replace(FIRST, pending=(Pending(EVENT), Pending(OTHER)))


def test_a_verdict_derived_from_an_older_state_is_not_written(acme: Stores) -> None:
    assert save(acme, FIRST, TenantState())
    assert not save(acme, FIRST, TenantState(), EVENT)
    assert save(acme, replace(FIRST, version=2, next_due_ms=None), FIRST)
    assert load(acme) == replace(FIRST, version=2, next_due_ms=None)


def test_late_buckets_leave_the_gauge_with_the_verdict_or_not_at_all(acme: Stores) -> None:
    acme.installation.begin("acme", Layout(1, ()), Lease("x", NOW_MS), None)
    acme.installation.finish("acme", Layout(1, ()), Lease("x", NOW_MS), {"0abc+": 5, "0abd": 1})
    assert not save(acme, FIRST, TenantState(), EVENT, **{"0abc+": 4})
    assert load(acme) == TenantState()
    assert save(acme, FIRST, TenantState(), EVENT, **{"0abc+": 5})
    assert acme.gauge("acme").buckets == {"0abd": 1}


def test_parts_are_all_gauges_once_each_with_its_state(acme: Stores) -> None:
    others = [f"tenant{number}" for number in range(30)]
    for tenant in others:
        acme.recording.create_gauge(tenant)
    assert save(acme, FIRST, TenantState(), EVENT)
    parts = [list(acme.evaluation.part(number, 4)) for number in range(4)]
    found = {gauge.tenant: (gauge, state) for part in parts for gauge, state in part}
    assert sorted(gauge.tenant for part in parts for gauge, _ in part) == sorted(["acme", *others])
    assert max(len(part) for part in parts) < len(others)
    assert found["acme"] == acme.evaluation.load("acme")
    assert found["acme"][1] == replace(FIRST, pending=(Pending(EVENT),))
    assert all(found[tenant] == acme.evaluation.load(tenant) for tenant in others)


def test_accepted_events_leave_the_outbox_and_refused_ones_are_counted_then_parked(acme: Stores) -> None:
    save(acme, FIRST, TenantState(), EVENT, OTHER)
    state = load(acme)
    once = replace(Pending(OTHER), refusals=1)
    outcome = PublishOutcome(accepted=frozenset({"e1"}), refused={"e2": "AccessDenied"})
    acme.evaluation.cleared("acme", state, outcome, [once], NOW_MS + 1)
    assert load(acme) == replace(FIRST, pending=(once,), next_due_ms=NOW_MS + 1)
    parked = replace(Pending(OTHER), refusals=MAXIMUM_REFUSALS)
    acme.evaluation.cleared("acme", state, PublishOutcome(refused={"e2": "AccessDenied"}), [parked], None)
    assert load(acme) == replace(FIRST, next_due_ms=None)


def test_a_parked_event_waits_again_after_the_command_of_the_runbook(endpoint: Endpoint, tables: Tables) -> None:
    client = connection()
    DynamoDBRecordingStore(client, tables).create_gauge("acme")
    store = DynamoDBEvaluationStore(client, tables)
    assert store.save("acme", FIRST, before=TenantState(), events=[OTHER], late={})
    parked = replace(Pending(OTHER), refusals=MAXIMUM_REFUSALS)
    store.cleared("acme", FIRST, PublishOutcome(refused={"e2": "AccessDenied"}), [parked], None)
    expression = "SET #o = #p REMOVE #p"
    runbook = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"--update-expression '{expression}'" in runbook
    client.update_item(
        TableName=tables.quotas,
        Key={"pk": {"S": "acme"}, "sk": {"S": "STATE"}},
        UpdateExpression=expression,
        ExpressionAttributeNames={"#p": "parked:e2", "#o": "out:e2"},
    )
    found = store.load("acme")
    assert found is not None
    assert found[1].pending == (parked,)


def test_clearing_after_a_newer_verdict_leaves_its_due_instant(acme: Stores) -> None:
    save(acme, FIRST, TenantState(), EVENT)
    old = load(acme)
    newer = replace(FIRST, version=2, next_due_ms=NOW_MS + 5)
    save(acme, newer, old)
    acme.evaluation.cleared("acme", old, PublishOutcome(accepted=frozenset({"e1"})), [], None)
    assert load(acme) == newer


def test_pruning_needs_the_layout_that_it_was_decided_on(acme: Stores) -> None:
    acme.installation.begin("acme", Layout(1, ()), Lease("x", NOW_MS), None)
    acme.installation.finish("acme", Layout(1, ()), Lease("x", NOW_MS), {"0a": 1, "0b": 2, "0c": 3})
    acme.evaluation.prune("acme", 0, ["0a"])
    assert len(acme.gauge("acme").buckets) == 3
    acme.evaluation.prune("acme", 1, ["0a", "0b", "0never"])
    assert acme.gauge("acme").buckets == {"0c": 3}


def test_a_lease_is_taken_once_and_only_its_holder_installs(acme: Stores) -> None:
    mine, theirs = Lease("mine", NOW_MS + 1), Lease("theirs", NOW_MS + 1)
    store = acme.installation
    assert store.begin("acme", Layout(1, ()), mine, None)
    assert not store.begin("acme", Layout(1, ()), theirs, None)
    assert not store.renew("acme", theirs, theirs, {"0a": 1})
    assert acme.gauge("acme").buckets == {}
    assert not store.clear("acme", theirs, ["0a"])
    assert not store.finish("acme", Layout(1, ()), theirs, {})
    assert store.begin("acme", Layout(1, ()), theirs, mine), "over one that ran out"
    assert not store.finish("acme", Layout(1, ()), mine, {})
    assert store.finish("acme", Layout(1, ()), theirs, {"0a": 1})
    assert acme.gauge("acme").lease is None


def test_a_part_is_set_with_the_lease_and_sent_twice_it_is_set_once(acme: Stores) -> None:
    first, second = Lease("mine", NOW_MS + 1), Lease("mine", NOW_MS + 2)
    store = acme.installation
    assert store.begin("acme", Layout(1, ()), first, None)
    assert store.renew("acme", first, second, {"0a": 1, "0a-": 2})
    assert (acme.gauge("acme").lease, acme.gauge("acme").buckets) == (second, {"0a": 1, "0a-": 2})
    assert acme.gauge("acme").layout.version == 0


def test_nothing_is_pruned_while_limits_change(acme: Stores) -> None:
    # A slow evaluator saw an old bucket in a slot that no limit has; the change has cleared and filled it since.
    first, second = Lease("first", NOW_MS + 1), Lease("second", NOW_MS + 1)
    assert acme.installation.begin("acme", Layout(1, ()), first, None)
    assert acme.installation.finish("acme", Layout(1, ()), first, {"0a": 5, "0a-": 1})
    assert acme.installation.begin("acme", Layout(2, ()), second, None)
    acme.evaluation.prune("acme", 1, ["0a", "0a-"])
    assert acme.gauge("acme").buckets == {"0a": 5, "0a-": 1}
    assert acme.installation.finish("acme", Layout(2, ()), second, {})
    acme.evaluation.prune("acme", 1, ["0a", "0a-"])
    assert acme.gauge("acme").buckets == {"0a": 5, "0a-": 1}
    acme.evaluation.prune("acme", 2, ["0a", "0a-"])
    assert acme.gauge("acme").buckets == {}


def test_eighteen_limits_install_whatever_marks_there_are(acme: Stores) -> None:
    for hours in range(26):
        call = invocation(f"r{hours}", event_ms=NOW_MS - hours * 3_600_000)
        entry = entry_for(call, Attribution("acme", "profile", "acmeprofile1", "-"), now_ms=NOW_MS, retention_ms=10**10)
        layouts = {"acme": acme.gauge("acme").layout}
        assert acme.recording.commit(writes_of(Chunk((Change(entry),)), layouts, NOW_MS)) is None
    wanted = [limit(f"{1440 + minutes}m", meter=Meter.WEIGHTED_TOKENS) for minutes in range(18)]
    assert install_limits(acme.installation, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "x")
    gauge = acme.gauge("acme")
    assert len(gauge.layout.limits) == 18
    assert gauge.lease is None
    assert sum(name.endswith("-") for name in gauge.buckets) == len(gauge.buckets) / 2 > 200
    assert {one.uncounted for one in read(gauge, NOW_MS)} == {25, 26}


def test_the_largest_verdict_there_can_be_is_one_write(acme: Stores) -> None:
    from bedrock_meter.alerts.evaluator import MOST_EVENTS

    late = {f"0{number:03}+": 1 for number in range(MOST_EVENTS)}
    acme.installation.begin("acme", Layout(1, ()), Lease("x", NOW_MS), None)
    acme.installation.finish("acme", Layout(1, ()), Lease("x", NOW_MS), {**late, "0abd": 2})
    events = [
        Event(f"e{number}", "Usage Adjusted", {"evaluated_at": "2026-11-24T01:00:00.000Z"})
        for number in range(2 * MOST_EVENTS + 2)
    ]
    assert save(acme, FIRST, TenantState(), *events, **late)
    assert len(load(acme).pending) == len(events)
    assert acme.gauge("acme").buckets == {"0abd": 2}


class Counting:
    """A client that counts what it is made to read."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.read = 0
        self.sent: set[str] = set()

    def query(self, **request: Any) -> Any:
        self.sent.add("query")
        answer = self._client.query(**request)
        self.read += answer["ScannedCount"] if "ScannedCount" in answer else len(answer["Items"])
        return answer

    def batch_get_item(self, **request: Any) -> Any:
        self.sent.add("batch_get_item")
        self.read += sum(len(asked["Keys"]) for asked in request["RequestItems"].values())
        return self._client.batch_get_item(**request)


def test_looking_through_all_gauges_reads_no_reservation_open_or_over(stores: Stores) -> None:
    if stores.client is None:
        pytest.skip("what is read is counted in requests to DynamoDB")

    def look() -> int:
        client = Counting(stores.client)
        found = [one for number in range(60) for one in DynamoDBEvaluationStore(client, stores.tables).part(number, 60)]
        assert {gauge.tenant for gauge, _ in found} == {f"tenant{number}" for number in range(5)}
        assert client.sent == {"query", "batch_get_item"}
        return client.read

    for number in range(5):
        stores.recording.create_gauge(f"tenant{number}")
    before = look()
    for number in range(60):
        one = Reservation("tenant1", f"{number:032x}", (), NOW_MS, status="settled" if number % 2 else "open")
        assert stores.reservations.put(one) is None
    assert look() == before == 5 + 2 * 5, "the names, then gauge and state of each"
