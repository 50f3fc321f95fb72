"""Rating anew: killed between any two calls, beside any raise, twice, with lost replies, and by wrong designs.

The same over two backends: the double below botocore, which is fast enough for every point in time, and DynamoDB as the
local stack serves it.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.gauge import late_buckets, read
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.reconciliation.rebuild import Rebuild
from bedrock_meter.settings import DAY_MS
from bedrock_meter.storage.dynamodb import number, text
from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.rerating import Difference, Page, Rerated, Rerating
from tests.contract.disturbed import Act, Interposed, Killed, at_call, killed_at, nothing, reply_lost_at
from tests.contract.repairs import FRESH_PROCESS, LATE_MS, EntryFirst, Metered, Store, WithoutGauge
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit

NEW = "newmodel0001"

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


class Before(TestPrices):
    """What was known when the calls were recorded: no price for the new model."""

    def rate(self, call: Call) -> Rated:
        return Rated(None, self.version) if call.model == "new.model" else super().rate(call)


BEFORE, CHEAPER = Before("test-1", factor=2), TestPrices("test-2")
COSTS = {"r1": 10 * 3 + 5 * 15, "twin": 3 + 2 * 15 + 3 + 4 * 4, "unpriced": 7 * 3 + 15, "late": 10 * 3 + 5 * 15}
"""What the calls in the range cost by the prices that are known in the end."""


class World(Metered):
    """Usage that was rated before the prices were known."""

    def __init__(self, client: Any, *, store: Store = DynamoDBRecordingStore) -> None:
        super().__init__(client, CALLS, store)
        self.install([limit(window, maximum=10_000, meter=Meter.COST_USD) for window in ("1h", "month")])
        self.adopt("acmeprofile1", "a.model")
        self.adopt(NEW, "new.model")
        self.record(*CALLS, rater=BEFORE)

    def rate(
        self,
        act: Act = nothing,
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
            **FRESH_PROCESS,
        )
        report = Rerated()
        ledger = DynamoDBLedgerRange(client, self.tables, LATE_MS, NOW_MS + 1, **chosen)
        work.run(ledger.pages(after), report, dry_run=dry_run, done=done)
        return report, client.calls

    def contents(self) -> tuple[object, ...]:
        """Everything that counts."""
        return self.entries(), self.rows(), dict(self.gauge().buckets)

    def is_exact(self, costs: dict[str, int] = COSTS) -> bool:
        """Whether each call costs what it should, and every sum is that of the ledger."""
        entries = self.entries()
        now = sum(cost for name, cost in costs.items() if name != "late")
        outside = entries["outside"].cost_nano_usd or 0
        (late,) = late_buckets(self.gauge().layout, self.gauge().buckets)
        readings = [(reading.used, reading.is_complete) for reading in read(self.gauge(), NOW_MS)]
        return (
            {name: entries[name].cost_nano_usd for name in costs} == costs
            and self.rows() == self.rows_by_the_ledger()
            and readings == [(now, True), (now, True)]
            and late.amount == costs["late"] + outside
        )


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
        with pytest.raises(Killed):
            world.rate(killed_at(kill_at, after=after))
        world.rate()
        assert world.is_exact(), (kill_at, after)
        assert world.contents() == expected, (kill_at, after)


@pytest.mark.parametrize("after", [False, True])
def test_a_raise_at_any_instant_of_a_run_is_exact(double: Callable[[], Any], after: bool) -> None:
    """A recorder that does not know the new prices yet may come last: the next run puts that right."""
    raised = {**COSTS, "twin": 500 * 3 + 70 * 15 + 3 + 4 * 4}
    for raise_at, rater in itertools.product(range(calls_of_a_run(double)), (BEFORE, CHEAPER)):
        world = World(double())
        report, _ = world.rate(at_call(raise_at, partial(world.record, RAISED, rater=rater), after=after))
        assert report.refused == 0
        assert rater is BEFORE or world.is_exact(raised), raise_at
        world.rate()
        assert world.is_exact(raised), raise_at


def test_two_runs_at_once_change_each_entry_once(double: Callable[[], Any]) -> None:
    for start_at in range(calls_of_a_run(double)):
        world = World(double())
        world.rate(at_call(start_at, world.rate))
        assert world.is_exact(), start_at


def test_a_change_of_limits_at_any_instant_of_a_run_is_exact(double: Callable[[], Any]) -> None:
    wanted = [limit(window, maximum=20_000, meter=Meter.COST_USD) for window in ("1h", "month")]
    for change_at in range(calls_of_a_run(double)):
        world = World(double())
        report, _ = world.rate(at_call(change_at, partial(world.install, wanted, "y")))
        assert report.refused == 0
        assert world.is_exact(), change_at


def test_a_reply_that_got_lost_is_no_second_change(double: Callable[[], Any]) -> None:
    for lost_at in range(calls_of_a_run(double)):
        world = World(double())
        with suppress(ReadTimeoutError):  # of a read of the gauge: the command ends there
            report, _ = world.rate(reply_lost_at(lost_at))
            assert report.rewritten == 5
        world.rate()
        assert world.is_exact(), lost_at


# --- wrong designs, which the same checks must find


def test_a_rating_in_two_steps_dies(double: Callable[[], Any]) -> None:
    peaceful = World(double(), store=EntryFirst)
    _, calls = peaceful.rate()
    assert peaceful.is_exact(), "in peace it counts exactly"
    outcomes = []
    for kill_at in range(calls):
        world = World(double(), store=EntryFirst)
        with suppress(Killed):
            world.rate(killed_at(kill_at))
        world.rate()
        outcomes.append(world.is_exact())
    assert not all(outcomes)


def test_a_rating_that_forgets_the_gauge_dies(double: Callable[[], Any]) -> None:
    world = World(double(), store=WithoutGauge)
    world.rate()
    assert not world.is_exact()
