"""Boosts given and ended on our doubles and on DynamoDB: killed before and after any call to the tables, done again."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.settings import Tables
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.reservations import DynamoDBReservationStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.boosting import WantedBoost, boost_limit, end_boost
from bedrock_meter.tenants.file import parse
from bedrock_meter.tenants.onboarding import apply
from bedrock_meter.tenants.plans import parse_plan
from bedrock_meter.tenants.tenant import BoostGrant
from tests.contract.disturbed import Killed, KillingStore
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.reservations import MemoryReservationStore
from tests.doubles.tenants import MemoryAudit, MemoryTenantStore

TO_MS = NOW_MS + 3_600_000
ENDED_MS = NOW_MS + 60_000
HOUR = {"name": "hour", "meter": "total_tokens", "window": "1h", "max": 100, "hard": True}
WANTED = WantedBoost("hour", TO_MS, "launch week", "somebody", NOW_MS, amount=50)
LATER = replace(WANTED, from_ms=ENDED_MS + 1)
_numbers = itertools.count(1)


@dataclass
class World:
    """The stores that boosts need, and a plan with an hourly limit."""

    tenants: Any
    installation: Any
    audit: Any
    reservations: Any

    def __post_init__(self) -> None:
        self.tenants.put_plan(parse_plan({"name": "gold", "limits": [HOUR]}), NOW_MS)

    def tenant(self, *, boosted: WantedBoost | None) -> str:
        """Make a tenant of its own."""
        name = f"t{next(_numbers)}"
        definitions = parse({"tenants": [{"id": name, "plan": "gold"}]})
        stores = self.tenants, self.installation
        for _ in apply(definitions, *stores, clock=lambda: NOW_MS, new_id=lambda: "x"):
            pass
        if boosted is not None:
            self.give(name, boosted)
        return name

    def give(
        self, tenant: str, wanted: WantedBoost, *, now_ms: int = NOW_MS, at: int | None = None, after: bool = False
    ) -> int:
        """Give a boost; returns how many calls that took."""
        stores, calls = self._stores(at, after)
        boost_limit(*stores, tenant, wanted, clock=lambda: now_ms, new_id=lambda: f"l{next(_numbers)}")
        return next(calls)

    def end(self, tenant: str, *, now_ms: int = ENDED_MS, at: int | None = None, after: bool = False) -> int:
        """End the tenant's first boost; returns how many calls that took."""
        identity = self.grants(tenant)[0].id_of(tenant)
        stores, calls = self._stores(at, after)
        end_boost(*stores, tenant, identity, "another", clock=lambda: now_ms, new_id=lambda: f"l{next(_numbers)}")
        return next(calls)

    def grants(self, tenant: str) -> tuple[BoostGrant, ...]:
        """What is written down."""
        boosts: tuple[BoostGrant, ...] = self.tenants.tenant(tenant).boosts
        return boosts

    def installed(self, tenant: str) -> tuple[tuple[Boost, ...], bool]:
        """What is installed, and whether nobody holds the gauge."""
        gauge = self.installation.gauge(tenant)
        return gauge.layout.limits[0].boosts, gauge.lease is None

    def words(self, tenant: str) -> list[tuple[str, int, int]]:
        """The history, oldest first: what, and how many boosts there were before and after."""
        found = [
            (one.what, len((one.before or {})["boosts"]), len((one.after or {})["boosts"]))
            for one in self.audit.history(tenant)
        ]
        return found[::-1]

    def _stores(self, at: int | None, after: bool) -> tuple[tuple[Any, Any, Any], "itertools.count[int]"]:
        calls = itertools.count()
        tenants, installation, audit = (
            KillingStore(one, calls, at, after) for one in (self.tenants, self.installation, self.audit)
        )
        return (tenants, installation, audit), calls


@pytest.fixture(params=["memory", "dynamodb"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        memory = MemoryTables()
        stores = MemoryInstallationStore(memory), MemoryAudit(), MemoryReservationStore(memory)
        return World(MemoryTenantStore(), *stores)
    tables: Tables = request.getfixturevalue("tables")
    client = request.getfixturevalue("endpoint").client("dynamodb")
    return World(
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(client, tables),
        DynamoDBAuditTrail(client, tables),
        DynamoDBReservationStore(client, tables),
    )


def test_a_boost_and_its_early_end_are_written_down_and_installed(world: World) -> None:
    tenant = world.tenant(boosted=WANTED)
    (grant,) = world.grants(tenant)
    assert (grant.boost, grant.ended_ms, grant.by) == (Boost(NOW_MS, TO_MS, 50), None, "somebody")
    world.end(tenant)
    assert world.grants(tenant) == (replace(grant, ended_ms=ENDED_MS),)
    assert world.installed(tenant) == ((Boost(NOW_MS, ENDED_MS, 50),), True)
    assert world.words(tenant) == [("boost", 0, 1), ("end boost", 1, 0)]


@pytest.mark.parametrize("after", [False, True])
def test_giving_that_is_killed_at_any_call_is_finished_by_doing_it_again(world: World, after: bool) -> None:
    calls = world.give(world.tenant(boosted=None), WANTED)
    assert calls >= 10
    for at in range(calls):
        tenant = world.tenant(boosted=None)
        with pytest.raises(Killed):
            world.give(tenant, WANTED, at=at, after=after)
        if world.grants(tenant):
            assert ("boost", 0, 1) in world.words(tenant), "nothing is done that is not noted"
        # Whoever died may have left a lease: it is over by then.
        world.give(tenant, WANTED, now_ms=NOW_MS + 20_000)
        assert [one.boost for one in world.grants(tenant)] == [Boost(NOW_MS, TO_MS, 50)]
        assert world.installed(tenant) == ((Boost(NOW_MS, TO_MS, 50),), True)
        assert set(world.words(tenant)) == {("boost", 0, 1)}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("wanted", "left"), [(WANTED, (Boost(NOW_MS, ENDED_MS, 50),)), (LATER, ())])
def test_ending_that_is_killed_at_any_call_is_finished_by_doing_it_again(
    world: World, wanted: WantedBoost, left: tuple[Boost, ...], after: bool
) -> None:
    calls = world.end(world.tenant(boosted=wanted))
    assert calls >= 9
    for at in range(calls):
        tenant = world.tenant(boosted=wanted)
        (grant,) = world.grants(tenant)
        with pytest.raises(Killed):
            world.end(tenant, at=at, after=after)
        boosts, _ = world.installed(tenant)
        assert boosts in {(grant.boost,), left}, "the old limits or the new ones, never a part"
        if world.grants(tenant) != (grant,):
            assert world.words(tenant)[-1] == ("end boost", 1, 0), "nothing is done that is not noted"
        is_written = world.grants(tenant) != (grant,)
        # Whoever died may have left a lease: it is over by then.
        again_ms = ENDED_MS + 20_000 if is_written else ENDED_MS
        world.end(tenant, now_ms=again_ms)
        assert world.grants(tenant) == (replace(grant, ended_ms=ENDED_MS),)
        assert world.installed(tenant) == (left, True)
        assert set(world.words(tenant)[1:]) == {("end boost", 1, 0)}


def test_what_was_admitted_on_a_boost_that_is_ended_keeps_what_it_holds_and_new_calls_are_refused(world: World) -> None:
    tenant = world.tenant(boosted=WANTED)
    clock = [ENDED_MS - 1]
    reserving = Reservations(
        world.reservations,
        clock=lambda: clock[0],
        sleep_ms=lambda _: None,
        uniform=lambda: 0.5,
        new_id=lambda: f"{next(_numbers):032x}",
    )
    held = reserving.reserve(tenant, Estimate(input_tokens=130), key="call-1").reservation
    assert held is not None
    world.end(tenant)
    clock[0] = ENDED_MS + 1
    # The image that it remembers is of the boosted limit: the hold is conditioned on the layout.
    refused = reserving.reserve(tenant, Estimate(input_tokens=10), key="call-2", is_first=True)
    assert refused.reservation is None
    assert refused.decision is not None
    assert [one.maximum for one in refused.decision.readings] == [100]
    assert [one.reserved for one in refused.decision.readings] == [130]
    again = reserving.reserve(tenant, Estimate(input_tokens=130), key="call-1")
    assert again.reservation == held
    assert reserving.shrink(tenant, held.id, {"input_tokens": 80}).status == "open"
    assert reserving.reserve(tenant, Estimate(input_tokens=15), key="call-3").reservation is not None
    assert reserving.reserve(tenant, Estimate(input_tokens=15), key="call-4").reservation is None
