"""Usage taken back: killed between any two calls, beside any raise, twice, with lost replies, and by wrong designs."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.gauge import late_buckets, read
from bedrock_meter.limits.meters import Meter
from bedrock_meter.reconciliation.rebuild import Rebuild
from bedrock_meter.settings import DAY_MS
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.entries import entries_of
from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.storage.worklist import DynamoDBWorklist
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.removal import WHAT, Removal
from bedrock_meter.usage.rerating import Rerated, Rerating
from bedrock_meter.usage.rewriting import Outcome, Rewritten
from tests.contract.disturbed import Act, Interposed, Killed, at_call, killed_at, nothing, reply_lost_at
from tests.contract.repairs import FRESH_PROCESS, LATE_MS, EntryFirst, Metered, Store, WithoutGauge
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit

FORGED = TokenCounts(9_000_000, 1, 2, 3)
CALLS = (
    invocation("r1"),
    invocation("forged", tokens=FORGED),
    invocation("forged late", tokens=FORGED, event_ms=LATE_MS),
    invocation("forged failure", error_code="ThrottlingException"),
    invocation("stranger", profile="nobodys00001", tokens=FORGED),
)
RAISED = invocation("forged", tokens=TokenCounts(9_500_000, 70, 3, 4))
ME = "arn:aws:iam::123456789012:role/ops"


class World(Metered):
    """Usage of which some was never Bedrock's."""

    def __init__(self, client: Any, *, store: Store = DynamoDBRecordingStore) -> None:
        super().__init__(client, CALLS, store)
        meters = (Meter.REQUESTS, Meter.TOTAL_TOKENS, Meter.COST_USD)
        wanted = [limit(window, maximum=100, meter=meter) for window in ("1h", "month") for meter in meters]
        self.install(wanted)
        self.adopt("acmeprofile1", "a.model")
        self.record(*CALLS)

    def remove(self, request_id: str = "forged", act: Act = nothing, **how: Any) -> tuple[Rewritten, int]:
        """Take an entry back in a fresh process; returns what became of it, and how many calls that took."""
        client = Interposed(self.client, act)
        trail = DynamoDBAuditTrail(client, self.tables)
        work = Removal(self.store(client, self.tables), trail, ME, **FRESH_PROCESS)
        (key,) = [call.call_id for call in CALLS if call.request_id == request_id]
        (held,) = entries_of(client, self.tables, [key])
        return work.remove(held, "forged", **how), client.calls

    def history(self) -> list[tuple[str, str, Any]]:
        """What the tenant's history says."""
        found = DynamoDBAuditTrail(self.client, self.tables).history("acme")
        return [(one.by, one.what, (one.after or {}).get("reason")) for one in found]

    def contents(self) -> tuple[object, ...]:
        """Everything that counts."""
        return self.entries(), self.rows(), dict(self.gauge().buckets)

    def is_exact(self) -> bool:
        """Whether the forged call counts nothing, and every sum is that of the ledger."""
        readings = sorted(reading.used for reading in read(self.gauge(), NOW_MS))
        left = self.entries()["r1"]
        wanted = sorted(2 * [1, left.tokens.total, left.cost_nano_usd or 0])
        return self.rows() == self.rows_by_the_ledger() and readings == wanted


def test_the_entry_counts_nothing_and_all_else_stays(client: Any) -> None:
    world = World(client)
    before = world.contents()
    planned, _ = world.remove(dry_run=True)
    assert (planned.outcome, world.contents(), world.history()) == (Outcome.WRITTEN, before, [])
    done, _ = world.remove()
    assert done.outcome is Outcome.WRITTEN
    assert world.is_exact()
    assert world.history() == [(ME, WHAT, "forged")]
    entry = world.entries()["forged"]
    assert (entry.removed_ms, entry.tokens, entry.tenant) == (NOW_MS, FORGED, "acme")
    assert all(world.entries()[name] == held for name, held in before[0].items() if name != "forged")  # type: ignore[attr-defined]


def test_twice_is_once(client: Any) -> None:
    world = World(client)
    world.remove()
    once, rev = world.contents(), world.gauge().rev
    done, _ = world.remove()
    assert done.outcome is Outcome.LEFT
    assert (world.contents(), world.gauge().rev) == (once, rev)
    assert len(world.history()) == 1, "nothing was left to change"


def test_no_other_record_of_the_call_counts_again(client: Any) -> None:
    world = World(client)
    world.remove()
    once = world.contents()
    for record in (RAISED, CALLS[1], invocation("forged", error_code="ThrottlingException")):
        report = world.record(record)
        assert (report.recorded, report.errors, report.duplicates) == (0, 0, 1)
    assert world.contents() == once


@pytest.mark.parametrize("request_id", ["forged late", "forged failure", "stranger"])
def test_of_any_kind(client: Any, request_id: str) -> None:
    world = World(client)
    done, _ = world.remove(request_id)
    assert done.outcome is Outcome.WRITTEN
    assert world.rows() == world.rows_by_the_ledger()
    if request_id == "forged late":
        assert {one.amount for one in late_buckets(world.gauge().layout, world.gauge().buckets)} <= {0}


def test_rating_anew_and_moving_leave_it_alone(client: Any) -> None:
    world = World(client)
    worklist = DynamoDBWorklist(client, world.tables)
    assert [one.key for page in worklist.waiting("nobodys00001") for one in page] == [CALLS[-1].call_id]
    for name in ("forged", "forged late", "stranger"):
        world.remove(name)
    once = world.entries()
    rating = Rerating(DynamoDBRecordingStore(client, world.tables), TestPrices("test-9", factor=7), **FRESH_PROCESS)
    rating.run(DynamoDBLedgerRange(client, world.tables, LATE_MS, NOW_MS + 1).pages(), report := Rerated())
    assert {tenant: list(models) for tenant, models in report.changed.items()} == {"acme": ["a.model"]}
    assert report.rewritten == 1
    assert {name: held for name, held in world.entries().items() if name != "r1"} == {
        name: held for name, held in once.items() if name != "r1"
    }
    assert [one for page in worklist.waiting("nobodys00001") for one in page] == [], "it waits for no tenant any more"
    assert world.entries()["stranger"].tenant == UNATTRIBUTED
    assert world.rows() == world.rows_by_the_ledger()


def test_a_rebuild_finds_nothing_to_put_right(endpoint: Any) -> None:
    world = World(endpoint.client("dynamodb"))
    for call in CALLS[1:]:
        world.remove(call.request_id)
    store = DynamoDBReconciliationStore(world.client, world.tables)
    rebuild = Rebuild(
        store, retention_ms=400 * DAY_MS, clock=lambda: NOW_MS, new_id=lambda: "r", tell=lambda _: None, segments=2
    )
    report = rebuild.compare()
    assert report.entries == len(CALLS)
    assert report.differing == []


def test_killed_between_any_two_calls_and_repeated_is_exact(double: Callable[[], Any]) -> None:
    calls = World(double()).remove()[1]
    for kill_at, after in itertools.product(range(calls), (False, True)):
        world = World(double())
        with pytest.raises(Killed):
            world.remove(act=killed_at(kill_at, after=after))
        assert not world.entries()["forged"].removed_ms or world.history(), "never without a word"
        world.remove()
        assert world.is_exact(), (kill_at, after)


@pytest.mark.parametrize("after", [False, True])
def test_a_raise_at_any_instant_is_exact(double: Callable[[], Any], after: bool) -> None:
    for raise_at in range(World(double()).remove()[1]):
        world = World(double())
        done, _ = world.remove(act=at_call(raise_at, partial(world.record, RAISED), after=after))
        assert done.outcome is Outcome.WRITTEN
        assert world.is_exact(), raise_at


def test_two_at_once_take_back_once(double: Callable[[], Any]) -> None:
    for start_at in range(World(double()).remove()[1]):
        world = World(double())
        world.remove(act=at_call(start_at, world.remove))
        assert world.is_exact(), start_at


def test_a_change_of_limits_at_any_instant_is_exact(double: Callable[[], Any]) -> None:
    meters = (Meter.REQUESTS, Meter.TOTAL_TOKENS, Meter.COST_USD)
    wanted = [limit(window, maximum=200, meter=meter) for window in ("1h", "month") for meter in meters]
    for change_at in range(World(double()).remove()[1]):
        world = World(double())
        done, _ = world.remove(act=at_call(change_at, partial(world.install, wanted, "y")))
        assert done.outcome is Outcome.WRITTEN
        assert world.is_exact(), change_at


def test_a_reply_that_got_lost_is_no_second_change(double: Callable[[], Any]) -> None:
    for lost_at in range(World(double()).remove()[1]):
        world = World(double())
        with suppress(ReadTimeoutError):
            world.remove(act=reply_lost_at(lost_at))
        world.remove()
        assert world.is_exact(), lost_at


def test_a_wrong_design_dies(double: Callable[[], Any]) -> None:
    world = World(double(), store=WithoutGauge)
    world.remove()
    assert not world.is_exact()
    outcomes = []
    for kill_at in range(World(double(), store=EntryFirst).remove()[1]):
        world = World(double(), store=EntryFirst)
        with suppress(Killed):
            world.remove(act=killed_at(kill_at))
        world.remove()
        outcomes.append(world.is_exact())
    assert not all(outcomes)
