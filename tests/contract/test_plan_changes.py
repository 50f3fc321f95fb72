"""A plan changed for who has it, on our doubles and on DynamoDB: killed before and after any call, sent again."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_meter.errors import PlanUsed
from bedrock_meter.settings import Tables
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import plan_key
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.file import parse
from bedrock_meter.tenants.onboarding import apply
from bedrock_meter.tenants.planning import Installed, Planning
from bedrock_meter.tenants.plans import Plan, by_name, parse_plan
from tests.contract.disturbed import Killed, KillingStore
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import MemoryAudit, MemoryTenantStore

LATER_MS = NOW_MS + 20_000
"""A lease that somebody left behind is over by then."""

_numbers = itertools.count(1)


@dataclass
class World:
    """The stores that plans need."""

    tenants: Any
    installation: Any
    plan_audit: Any
    audit: Any

    def work(self, now_ms: int = NOW_MS, at: int | None = None, after: bool = False) -> tuple[Planning, Any]:
        """What changes plans, killed at a call; and the counter of its calls."""
        calls = itertools.count()
        stores = self.tenants, self.installation, self.plan_audit, self.audit
        killing = [KillingStore(one, calls, at, after) for one in stores]
        return Planning(*killing, by="x", clock=lambda: now_ms, new_id=lambda: f"l{next(_numbers)}"), calls

    def plan(self) -> Plan:
        """Make a plan of its own with two tenants; returns it with another maximum."""
        number = next(_numbers)
        held = plan(f"p{number}", 100)
        assert self.tenants.put_plan(held, NOW_MS)
        definitions = parse({"tenants": [{"id": f"t{number}-{one}", "plan": held.name} for one in "ab"]})
        for _ in apply(definitions, self.tenants, self.installation, clock=lambda: NOW_MS, new_id=lambda: "x"):
            pass
        return plan(held.name, 200)

    def change(self, wanted: Plan, **when: Any) -> tuple[Installed, int]:
        """Change a plan and install it, one tenant at a time; returns how far it is, and how many calls that took."""
        work, calls = self.work(**when)
        work.put([wanted])
        done = work.install(wanted.name, Installed(), lambda: False)
        while not done.is_through:
            done = work.install(wanted.name, done, lambda: False)
        return done, next(calls)

    def maxima(self, name: str) -> list[int]:
        """Maxima that are installed for the plan's tenants."""
        having = self.work()[0].having(name)
        return [self.installation.gauge(one).layout.limits[0].maximum for one in having]


def plan(name: str, maximum: int) -> Plan:
    limit = {"name": "hour", "meter": "total_tokens", "window": "1h", "max": maximum}
    return parse_plan({"name": name, "limits": [limit]})


@pytest.fixture(params=["memory", "dynamodb"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return World(MemoryTenantStore(), MemoryInstallationStore(MemoryTables()), MemoryAudit(), MemoryAudit())
    tables: Tables = request.getfixturevalue("tables")
    client = request.getfixturevalue("endpoint").client("dynamodb")
    return World(
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(client, tables),
        DynamoDBAuditTrail(client, tables, plan_key),
        DynamoDBAuditTrail(client, tables),
    )


@pytest.mark.parametrize("after", [False, True])
def test_a_change_that_is_killed_at_any_call_is_finished_by_sending_it_again(world: World, after: bool) -> None:
    wanted = world.plan()
    done, calls = world.change(wanted)
    assert (done.of, done.settled, done.changed, done.is_finished) == (2, 2, 2, True)
    assert calls >= 25
    for at in range(calls):
        wanted = world.plan()
        with pytest.raises(Killed):
            world.change(wanted, at=at, after=after)
        written = by_name(world.tenants.plans())[wanted.name] == wanted
        if written:
            assert [one.what for one in world.plan_audit.history(wanted.name)] == ["apply"]
        assert set(world.maxima(wanted.name)) <= {100, 200}
        assert written or world.maxima(wanted.name) == [100, 100]
        done, _ = world.change(wanted, now_ms=LATER_MS)
        assert (done.of, done.settled, done.is_finished) == (2, 2, True)
        assert world.maxima(wanted.name) == [200, 200]
        for tenant in world.work()[0].having(wanted.name):
            assert {one.what for one in world.audit.history(tenant)} == {f"plan {wanted.name}"}, "noted, at least once"


def test_a_plan_is_taken_away_when_nobody_has_it_and_its_log_stays(world: World) -> None:
    wanted = world.plan()
    with pytest.raises(PlanUsed):
        world.work()[0].remove(wanted.name)
    world.work()[0].put([plan("free", 5)])
    world.work(LATER_MS)[0].remove("free")
    assert "free" not in by_name(world.tenants.plans())
    assert [one.what for one in world.plan_audit.history("free")] == ["remove", "apply"]
