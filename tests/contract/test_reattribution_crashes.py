"""Moving usage to its tenant: killed between any two calls, beside any raise, twice, and by wrong designs.

The same over two backends: the double below botocore, which is fast enough for every point in time, and DynamoDB as the
local stack serves it.
"""

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.gauge import read
from bedrock_meter.limits.meters import Meter
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import Item, number
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.storage.worklist import DynamoDBWorklist
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.tenants.directory import CachedDirectory
from bedrock_meter.usage.reattribution import Reattributed, Reattribution
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.contract.disturbed import Act, Interposed, Killed, at_call, killed_at, nothing, reply_lost_at
from tests.contract.repairs import FRESH_PROCESS, LATE_MS, EntryFirst, Metered, Store, SumsFirst, WithoutGauge
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, sums

PROFILE = "newprofile01"

CALLS = (
    invocation("r1", profile=PROFILE),
    invocation("r2", profile=PROFILE, tokens=TokenCounts(1, 2, 3, 4)),
    invocation("twin", profile=PROFILE, tokens=NO_TOKENS),
    invocation("failed", profile=PROFILE, error_code="ThrottlingException"),
    invocation("late", profile=PROFILE, event_ms=LATE_MS),
    invocation("stranger", profile="nobodys00001"),
)
RAISED = invocation("twin", profile=PROFILE, tokens=TokenCounts(500, 70))
SUCCEEDED = invocation("failed", profile=PROFILE, tokens=TokenCounts(8, 8))
WHOLE = sums(requests=4, errors=1, input=21, output=12, cache_read=3, cache_write=4, cost=21 * 3 + 12 * 15 + 3 + 4 * 4)
WAITING = sums(requests=4, errors=1, input=21, output=12, cache_read=3, cache_write=4, unpriced=4)
"""The same without an owner: nobody knows the model, so nobody knows the price."""
WHOLE_RAISED = sums(requests=5, input=529, output=90, cache_read=3, cache_write=4, cost=529 * 3 + 90 * 15 + 3 + 4 * 4)
STRANGE = sums(requests=1, input=10, output=5, unpriced=1)


class World(Metered):
    """Usage of a profile that nobody owned, and its owner of today."""

    def __init__(self, client: Any, *, store: Store = DynamoDBRecordingStore, is_mapped: bool = True) -> None:
        super().__init__(client, CALLS, store)
        self.install([limit("1h"), limit("month", maximum=10_000), limit("1h", name="cost", meter=Meter.COST_USD)])
        self.record(*CALLS)
        if is_mapped:
            self.adopt(PROFILE, "a.model")

    def move(self, act: Act = nothing, *, dry_run: bool = False) -> tuple[Reattributed, int]:
        """Move in a fresh process; returns its report and how many calls it made."""
        client = Interposed(self.client, act)
        work = Reattribution(
            DynamoDBWorklist(client, self.tables),
            self.store(client, self.tables),
            CachedDirectory(DynamoDBDirectoryStore(client, self.tables)),
            TestPrices(),
            **FRESH_PROCESS,
        )
        report = Reattributed()
        work.run([PROFILE, "nobodys00001"], report, dry_run=dry_run)
        return report, client.calls

    def contents(self) -> dict[str, list[Item]]:
        """Everything that counts. ``rev`` counts writes; announcements are no usage."""
        return {
            "ledger": sorted(self.ledger_items(), key=str),
            "usage": sorted(self.usage_items(), key=str),
            "gauge": [{name: number(amount) for name, amount in sorted(self.gauge().buckets.items())}],
        }

    def used(self, tenant: str) -> Sums:
        """Sum of a tenant's roll-ups."""
        return sum((held for key, held in self.rows().items() if key.tenant == tenant), NOTHING)

    def is_exact(self, whole: Sums) -> bool:
        """Whether acme has all of it, the stranger alone is unattributed, and every sum is that of the ledger."""
        live = {key: held for key, held in self.rows().items() if held != NOTHING}
        owned = [entry for entry in self.entries().values() if entry.tenant == "acme"]
        now = [entry for entry in owned if entry.event_ms == NOW_MS]
        recent, cost = sum(one.tokens.total for one in now), sum(one.cost_nano_usd or 0 for one in now)
        late = sum(one.tokens.total for one in owned if one.event_ms == LATE_MS)
        buckets = self.gauge().buckets
        counted = [(reading.used, reading.is_complete) for reading in read(self.gauge(), NOW_MS)]
        is_late = [amount for name, amount in buckets.items() if name.endswith("+")] == [late]
        return (
            live == self.rows_by_the_ledger()
            and self.used("acme") == whole
            and self.used(UNATTRIBUTED) == STRANGE
            and counted == [(recent, True), (recent, True), (cost, True)]
            and is_late
        )


def test_everything_goes_to_the_owner_once_and_nothing_of_anybody_else(client: Any) -> None:
    world = World(client)
    assert world.used(UNATTRIBUTED) == WAITING + STRANGE
    planned, _ = world.move(dry_run=True)
    assert world.used("acme") == NOTHING
    report, _ = world.move()
    assert world.is_exact(WHOLE)
    assert planned == report
    assert {key: (one.entries, one.sums) for key, one in report.moved.items()} == {
        (PROFILE, "acme", "profile"): (5, WHOLE)
    }
    assert (report.left, report.refused, report.expired) == ({"nobodys00001": 1}, 0, 0)
    moved = world.entries()["r1"]
    assert (moved.tenant, moved.rule, moved.model, moved.was, moved.moved_ms) == (
        "acme",
        "profile",
        "a.model",
        UNATTRIBUTED,
        NOW_MS,
    )


def test_twice_changes_nothing(client: Any) -> None:
    world = World(client)
    world.move()
    once, rev = world.contents(), world.gauge().rev
    report, _ = world.move()
    assert (report.moved, report.looked_at) == ({}, 1)
    assert world.contents() == once
    assert world.gauge().rev == rev


def test_a_later_record_of_a_moved_call_is_counted_for_its_tenant(client: Any) -> None:
    world = World(client)
    world.move()
    report = world.record(*CALLS, RAISED, SUCCEEDED)
    assert report.unattributed == 0
    assert world.is_exact(WHOLE_RAISED)
    assert world.entries()["twin"].was == UNATTRIBUTED


def calls_of_a_move(double: Callable[[], Any]) -> int:
    return World(double()).move()[1]


def test_killed_between_any_two_calls_and_repeated_is_exact(double: Callable[[], Any]) -> None:
    undisturbed = World(double())
    _, calls = undisturbed.move()
    expected = undisturbed.contents()
    assert calls >= 10
    for kill_at, after in itertools.product(range(calls), (False, True)):
        world = World(double())
        with pytest.raises(Killed):
            world.move(killed_at(kill_at, after=after))
        world.move()
        assert world.is_exact(WHOLE), (kill_at, after)
        assert world.contents() == expected, (kill_at, after)


def test_killed_in_the_middle_on_the_local_stack(endpoint: Any) -> None:
    world = World(endpoint.client("dynamodb"))
    with pytest.raises(Killed):
        world.move(killed_at(6, after=True))
    assert not world.is_exact(WHOLE)
    world.move()
    assert world.is_exact(WHOLE)


@pytest.mark.parametrize("after", [False, True])
def test_a_raise_at_any_instant_of_a_move_is_exact(double: Callable[[], Any], after: bool) -> None:
    for raise_at in range(calls_of_a_move(double)):
        world = World(double())
        report, _ = world.move(at_call(raise_at, partial(world.record, RAISED, SUCCEEDED), after=after))
        assert report.refused == 0
        assert world.is_exact(WHOLE_RAISED), raise_at


def test_a_move_at_any_instant_of_a_raise_is_exact(double: Callable[[], Any]) -> None:
    assert [at for at in range(RAISE_CALLS) if not raised_beside_a_move(double, at).is_exact(WHOLE_RAISED)] == []


def test_two_moves_at_once_move_each_entry_once(double: Callable[[], Any]) -> None:
    for start_at in range(calls_of_a_move(double)):
        world = World(double())
        report, _ = world.move(at_call(start_at, world.move))
        assert world.is_exact(WHOLE), start_at
        assert sum(one.entries for one in report.moved.values()) + report.elsewhere <= 5


def test_a_change_of_limits_at_any_instant_of_a_move_is_exact(double: Callable[[], Any]) -> None:
    cost = limit("1h", name="cost", meter=Meter.COST_USD)
    wanted = [limit("1h", name="another"), limit("month", maximum=10_000), cost]
    for change_at in range(calls_of_a_move(double)):
        world = World(double())
        report, _ = world.move(at_call(change_at, partial(world.install, wanted, "y")))
        assert report.refused == 0
        assert world.is_exact(WHOLE), change_at


def test_a_reply_that_got_lost_is_no_second_move(double: Callable[[], Any]) -> None:
    for lost_at in range(calls_of_a_move(double)):
        world = World(double())
        with suppress(ReadTimeoutError):  # of a read: the command ends there
            report, _ = world.move(reply_lost_at(lost_at))
            assert sum(one.entries for one in report.moved.values()) == 5
        world.move()
        assert world.is_exact(WHOLE), lost_at


# --- wrong designs, which the same checks must find

RAISE_CALLS = 6


def raised_beside_a_move(double: Callable[[], Any], at: int, store: Store = DynamoDBRecordingStore) -> World:
    """Raise two entries; before the ``at``-th call of the recorder somebody moves all of them."""
    world = World(double(), store=store)
    undisturbed = world.client

    def move(call: int, after: bool) -> None:
        if call == at and not after:
            world.client = undisturbed
            world.move()

    world.client = Interposed(undisturbed, move)
    world.record(RAISED, SUCCEEDED)
    world.client = undisturbed
    world.move()
    return world


class RaiseWithoutTenant(DynamoDBRecordingStore):
    """A raise that asks for the counts only: it adds to whoever had the entry when it was read."""

    def _entry_update(self, held: Item, wanted: Item) -> dict[str, Any]:
        request = super()._entry_update(held, wanted)
        if held["tenant"] == wanted["tenant"]:
            names = {name: alias for alias, name in request["ExpressionAttributeNames"].items()}
            kept = [f"{names[one]} = :old{names[one][1:]}" for one in ("input", "output", "cache_read", "cache_write")]
            used = " ".join([*kept, request["UpdateExpression"]])
            request["ConditionExpression"] = " AND ".join(kept)
            request["ExpressionAttributeNames"] = {
                alias: name for alias, name in request["ExpressionAttributeNames"].items() if f"{alias} " in f"{used} "
            }
            request["ExpressionAttributeValues"] = {
                name: value
                for name, value in request["ExpressionAttributeValues"].items()
                if f"{name} " in f"{used} ".replace(",", " ")
            }
        return request


def test_a_raise_that_does_not_ask_for_the_tenant_dies(double: Callable[[], Any]) -> None:
    outcomes = [
        raised_beside_a_move(double, at, RaiseWithoutTenant).is_exact(WHOLE_RAISED) for at in range(RAISE_CALLS)
    ]
    assert not all(outcomes)
    assert any(outcomes), "in peace it counts exactly"


@pytest.mark.parametrize("design", [EntryFirst, SumsFirst])
def test_a_move_in_two_steps_dies(double: Callable[[], Any], design: Store) -> None:
    peaceful = World(double(), store=design)
    _, calls = peaceful.move()
    assert peaceful.is_exact(WHOLE)
    outcomes = []
    for kill_at in range(calls):
        world = World(double(), store=design)
        with suppress(Killed):
            world.move(killed_at(kill_at))
        with suppress(ClientError):
            world.move()
        outcomes.append(world.is_exact(WHOLE))
    assert not all(outcomes)


def test_a_move_that_forgets_the_gauge_dies(double: Callable[[], Any]) -> None:
    world = World(double(), store=WithoutGauge)
    world.move()
    assert world.used("acme") == WHOLE
    assert not world.is_exact(WHOLE)
