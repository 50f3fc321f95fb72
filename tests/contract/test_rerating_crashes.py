"""Rating anew: killed between any two calls, beside any raise, twice, with lost replies, and by wrong designs.

The same over two backends: the double below botocore, which is fast enough for every point in time, and DynamoDB as the
local stack serves it.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.limits.gauge import Gauge, late_buckets, read
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.reconciliation.rebuild import Rebuild
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import gauges, rollups
from bedrock_meter.storage.dynamodb import Item, number, text
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore, entry_of
from bedrock_meter.storage.tenants import DynamoDBDirectoryStore
from bedrock_meter.tenants.attribution import UNATTRIBUTED, MappingPeriod
from bedrock_meter.tenants.directory import CachedDirectory
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Recorded, Recorder, Refused
from bedrock_meter.usage.rerating import Difference, Page, Rerated, Rerating
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from tests.contract.disturbed import Alone, Announced, Interposed, Killed, create_tables, nothing
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit
from tests.faults.wire import attached

NEW = "newmodel0001"
LATE_MS = NOW_MS - 40 * DAY_MS
"""In a month that is closed."""

CALLS = (
    invocation("r1"),
    invocation("twin", tokens=TokenCounts(1, 2, 3, 4)),
    invocation("unpriced", profile=NEW, tokens=TokenCounts(7, 1)),
    invocation("failed", error_code="ThrottlingException"),
    invocation("late", event_ms=LATE_MS),
    invocation("stranger", profile="nobodys00001"),
    invocation("outside", event_ms=NOW_MS - 41 * DAY_MS),
)
RAISED = invocation("twin", tokens=TokenCounts(500, 70, 3, 4))

Store = type[DynamoDBRecordingStore]
_numbers = itertools.count()


class Before(TestPrices):
    """What was known when the calls were recorded: no price for the new model."""

    def rate(self, call: Call) -> Rated:
        return Rated(None, self.version) if call.model == "new.model" else super().rate(call)


BEFORE, CHEAPER = Before("test-1", factor=2), TestPrices("test-2")
COSTS = {"r1": 10 * 3 + 5 * 15, "twin": 3 + 2 * 15 + 3 + 4 * 4, "unpriced": 7 * 3 + 15, "late": 10 * 3 + 5 * 15}
"""What the calls in the range cost by the prices that are known in the end."""


class World:
    """Tables of their own, with usage that was rated before the prices were known."""

    def __init__(self, client: Any, *, store: Store = DynamoDBRecordingStore) -> None:
        self.client, self.store = client, store
        self.tables = Tables(*(f"{name}-rate-{next(_numbers)}" for name in ("ledger", "usage", "quotas", "tenants")))
        create_tables(client, self.tables)
        wanted = [limit(window, maximum=10_000, meter=Meter.COST_USD) for window in ("1h", "month")]
        installation = DynamoDBInstallationStore(client, self.tables)
        install_limits(installation, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "x")
        directory = DynamoDBDirectoryStore(client, self.tables)
        directory.adopt("acmeprofile1", MappingPeriod("acme", 0, None, "a.model"))
        directory.adopt(NEW, MappingPeriod("acme", 0, None, "new.model"))
        self.record(*CALLS)

    def record(self, *records: Invocation, rater: TestPrices = BEFORE) -> None:
        """Record in a fresh environment."""
        recorder = Recorder(
            self.store(self.client, self.tables),
            CachedDirectory(DynamoDBDirectoryStore(self.client, self.tables)),
            Announced(),
            rater,
            retention_ms=400 * DAY_MS,
            clock=lambda: NOW_MS,
            sleep_ms=lambda _: None,
            uniform=lambda: 0.5,
        )
        recorder.record(records, Recorded(), lambda: 60_000)

    def rate(
        self,
        act: Callable[[int, bool], None] = nothing,
        *,
        dry_run: bool = False,
        rater: TestPrices = CHEAPER,
        done: Callable[[Page], None] = lambda _: None,
        after: str | None = None,
        **chosen: Sequence[str],
    ) -> tuple[Rerated, int]:
        """Rate anew in a fresh process; returns its report and how many calls it made."""
        client = Interposed(self.client, act)
        work = Rerating(
            self.store(client, self.tables),
            rater,
            clock=lambda: NOW_MS,
            sleep_ms=lambda _: None,
            uniform=lambda: 0.5,
        )
        report = Rerated()
        ledger = DynamoDBLedgerRange(client, self.tables, LATE_MS, NOW_MS + 1, **chosen)
        work.run(ledger.pages(after), report, dry_run=dry_run, done=done)
        return report, client.calls

    def entries(self) -> dict[str, LedgerEntry]:
        keys = [{"pk": text(call.call_id)} for call in CALLS]
        found = map(entry_of, gauges.read_batch(self.client, self.tables.ledger, keys))
        return {entry.key.rpartition("#")[2]: entry for entry in found}

    def rows(self) -> dict[RollupKey, Sums]:
        found: list[Item] = []
        for tenant in ("acme", UNATTRIBUTED):
            request = {"TableName": self.tables.usage, "ConsistentRead": True, "KeyConditionExpression": "pk = :t"}
            found += self.client.query(**request, ExpressionAttributeValues={":t": text(tenant)})["Items"]
        return dict(map(rollups.rollup_of, found))

    def gauge(self) -> Gauge:
        gauge = gauges.load_one(self.client, self.tables.quotas, "acme")
        assert gauge is not None
        return gauge

    def contents(self) -> tuple[object, ...]:
        """Everything that counts."""
        return self.entries(), self.rows(), dict(self.gauge().buckets)

    def is_exact(self, costs: dict[str, int] = COSTS) -> bool:
        """Whether each call costs what it should, and every sum is that of the ledger."""
        entries = self.entries()
        by_row: dict[RollupKey, Sums] = {}
        for entry in entries.values():
            by_row[entry.rollup] = by_row.get(entry.rollup, NOTHING) + entry.sums
        now = sum(cost for name, cost in costs.items() if name != "late")
        outside = entries["outside"].cost_nano_usd or 0
        (late,) = late_buckets(self.gauge().layout, self.gauge().buckets)
        readings = [(reading.used, reading.is_complete) for reading in read(self.gauge(), NOW_MS)]
        return (
            {name: entries[name].cost_nano_usd for name in costs} == costs
            and self.rows() == by_row
            and readings == [(now, True), (now, True)]
            and late.amount == costs["late"] + outside
        )


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes clients of doubles of their own."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return lambda: attached("dynamodb", Alone())


@pytest.fixture(params=["double", "local stack"])
def client(request: pytest.FixtureRequest) -> Any:
    """One client of each backend."""
    if request.param == "double":
        return request.getfixturevalue("double")()
    return request.getfixturevalue("endpoint").client("dynamodb")


def test_what_is_in_the_range_costs_what_is_known_now_and_nothing_else_changes(client: Any) -> None:
    world = World(client)
    assert world.entries()["unpriced"].sums.unpriced == 1
    outside = world.entries()["outside"]
    planned, _ = world.rate(dry_run=True)
    assert world.entries()["r1"].price_version == "test-1", "a dry run writes nothing"
    report, _ = world.rate()
    assert world.is_exact()
    assert planned == report
    priced = sum(cost for name, cost in COSTS.items() if name != "unpriced")
    assert report.changed == {
        "acme": {
            "a.model": Difference(3, 2 * priced, priced),
            "new.model": Difference(1, 0, COSTS["unpriced"], newly_priced=1),
        },
        UNATTRIBUTED: {"-": Difference(1, same_cost=1)},
    }
    assert (report.failed, report.same, report.expired, report.refused) == (1, 0, 0, 0)
    assert (report.scanned, report.looked_at) == (7, 6)
    assert world.entries()["outside"] == outside


def test_twice_changes_nothing(client: Any) -> None:
    world = World(client)
    world.rate()
    once, rev = world.contents(), world.gauge().rev
    report, _ = world.rate()
    assert (report.changed, report.same) == ({}, 5)
    assert world.contents() == once
    assert world.gauge().rev == rev


def test_there_and_back_is_as_before(client: Any) -> None:
    world = World(client)
    before = world.contents()
    world.rate()
    report, _ = world.rate(rater=BEFORE)
    after = world.contents()
    assert after[:2] == before[:2]
    assert {name: held for name, held in world.gauge().buckets.items() if held} == before[2]
    assert report.changed["acme"]["new.model"].newly_unpriced == 1
    assert not all(reading.is_complete for reading in read(world.gauge(), NOW_MS))


def test_only_what_is_chosen_is_looked_at(client: Any) -> None:
    world = World(client)
    report, _ = world.rate(tenants=["acme", "nobody"], models=["new.model"])
    assert {tenant: list(models) for tenant, models in report.changed.items()} == {"acme": ["new.model"]}
    assert (report.looked_at, report.scanned) == (1, 7)
    report, _ = world.rate(tenants=[UNATTRIBUTED])
    assert report.looked_at == 1


def test_an_entry_from_before_there_were_prices_is_rated(client: Any) -> None:
    world = World(client)
    held = world.entries()["r1"]
    client.update_item(
        TableName=world.tables.ledger,
        Key={"pk": text(held.key)},
        UpdateExpression="SET #schema = :one REMOVE cost_nano_usd, price_version, assumptions",
        ExpressionAttributeNames={"#schema": "schema"},
        ExpressionAttributeValues={":one": number(1)},
    )
    report, _ = world.rate(tenants=["acme"], models=["a.model"])
    assert report.changed["acme"]["a.model"].newly_priced == 1
    assert world.entries()["r1"].cost_nano_usd == COSTS["r1"]


def test_pages_go_on_where_the_last_one_ended(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedrock_meter.storage.ledger_range._PAGE", 2)
    world = World(client)
    pages: list[Page] = []

    def stop(page: Page) -> None:
        pages.append(page)
        if len(pages) == 2:
            raise Killed

    with pytest.raises(Killed):
        world.rate(done=stop)
    assert not world.is_exact()
    report, _ = world.rate(after=pages[-1].after)
    assert world.is_exact()
    assert report.scanned == 3
    assert DynamoDBLedgerRange(client, world.tables, 0, 1).units == 0


def test_a_rebuild_finds_nothing_to_put_right(endpoint: Any) -> None:
    world = World(endpoint.client("dynamodb"))
    world.rate()
    store = DynamoDBReconciliationStore(world.client, world.tables)
    rebuild = Rebuild(
        store, retention_ms=400 * DAY_MS, clock=lambda: NOW_MS, new_id=lambda: "r", tell=lambda _: None, segments=2
    )
    report = rebuild.compare()
    assert report.entries == len(CALLS)
    assert report.differing == []


def calls_of_a_run(double: Callable[[], Any]) -> int:
    return World(double()).rate()[1]


def test_killed_between_any_two_calls_and_repeated_is_exact(double: Callable[[], Any]) -> None:
    undisturbed = World(double())
    _, calls = undisturbed.rate()
    expected = undisturbed.contents()
    assert calls >= 7
    for kill_at, after in itertools.product(range(calls), (False, True)):
        world = World(double())

        def kill(at: int, is_after: bool, point: tuple[int, bool] = (kill_at, after)) -> None:
            if (at, is_after) == point:
                raise Killed

        with pytest.raises(Killed):
            world.rate(kill)
        world.rate()
        assert world.is_exact(), (kill_at, after)
        assert world.contents() == expected, (kill_at, after)


@pytest.mark.parametrize("after", [False, True])
def test_a_raise_at_any_instant_of_a_run_is_exact(double: Callable[[], Any], after: bool) -> None:
    """A recorder that does not know the new prices yet may come last: the next run puts that right."""
    raised = {**COSTS, "twin": 500 * 3 + 70 * 15 + 3 + 4 * 4}
    for raise_at, rater in itertools.product(range(calls_of_a_run(double)), (BEFORE, CHEAPER)):
        world = World(double())

        def disturb(
            at: int, is_after: bool, world: World = world, raise_at: int = raise_at, rater: TestPrices = rater
        ) -> None:
            if at == raise_at and is_after == after:
                world.record(RAISED, rater=rater)

        report, _ = world.rate(disturb)
        assert report.refused == 0
        assert rater is BEFORE or world.is_exact(raised), raise_at
        world.rate()
        assert world.is_exact(raised), raise_at


def test_two_runs_at_once_change_each_entry_once(double: Callable[[], Any]) -> None:
    for start_at in range(calls_of_a_run(double)):
        world = World(double())

        def other(at: int, after: bool, world: World = world, start_at: int = start_at) -> None:
            if at == start_at and not after:
                world.rate()

        world.rate(other)
        assert world.is_exact(), start_at


def test_a_change_of_limits_at_any_instant_of_a_run_is_exact(double: Callable[[], Any]) -> None:
    for change_at in range(calls_of_a_run(double)):
        world = World(double())

        def change(at: int, after: bool, world: World = world, change_at: int = change_at) -> None:
            if at == change_at and not after:
                wanted = [limit(window, maximum=20_000, meter=Meter.COST_USD) for window in ("1h", "month")]
                store = DynamoDBInstallationStore(world.client, world.tables)
                install_limits(store, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "y")

        report, _ = world.rate(change)
        assert report.refused == 0
        assert world.is_exact(), change_at


def test_a_reply_that_got_lost_is_no_second_change(double: Callable[[], Any]) -> None:
    for lost_at in range(calls_of_a_run(double)):
        world = World(double())

        def lose(at: int, after: bool, lost_at: int = lost_at) -> None:
            if at == lost_at and after:
                raise ReadTimeoutError(endpoint_url="dynamodb")

        with suppress(ReadTimeoutError):  # of a read of the gauge: the command ends there
            report, _ = world.rate(lose)
            assert report.rewritten == 5
        world.rate()
        assert world.is_exact(), lost_at


# --- wrong designs, which the same checks must find


class EntryFirst(DynamoDBRecordingStore):
    """The entry first, the sums after it."""

    def commit(self, writes: Writes) -> Refused | None:
        if not is_rewrite(writes):
            return super().commit(writes)
        refused = super().commit(Writes(writes.changes, {}, {}))
        if refused is None and writes.rollups:
            refused = super().commit(Writes((), writes.rollups, writes.gauges))
        return refused


class RollupsOnly(DynamoDBRecordingStore):
    """Forgets the gauge."""

    def commit(self, writes: Writes) -> Refused | None:
        return super().commit(Writes(writes.changes, writes.rollups, {}) if is_rewrite(writes) else writes)


def is_rewrite(writes: Writes) -> bool:
    return any(one.held is not None for one in writes.changes)


def test_a_rating_in_two_steps_dies(double: Callable[[], Any]) -> None:
    peaceful = World(double(), store=EntryFirst)
    _, calls = peaceful.rate()
    assert peaceful.is_exact(), "in peace it counts exactly"
    outcomes = []
    for kill_at in range(calls):
        world = World(double(), store=EntryFirst)

        def kill(at: int, after: bool, kill_at: int = kill_at) -> None:
            if at == kill_at and not after:
                raise Killed

        with suppress(Killed):
            world.rate(kill)
        world.rate()
        outcomes.append(world.is_exact())
    assert not all(outcomes)


def test_a_rating_that_forgets_the_gauge_dies(double: Callable[[], Any]) -> None:
    world = World(double(), store=RollupsOnly)
    world.rate()
    assert not world.is_exact()
