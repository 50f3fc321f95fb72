"""Changing plans: noted, checked, made true for every tenant, and not taken from anybody."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.tenants.file import parse
from bedrock_meter.tenants.onboarding import apply
from bedrock_meter.tenants.planning import Installed, Planning, Settled
from bedrock_meter.tenants.plans import Plan, parse_plan
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import Killed, MemoryAudit, MemoryTenantStore

HOUR = {"name": "hour", "meter": "total_tokens", "window": "1h", "max": 100}


def plan(name: str, maximum: int = 100, **other: Any) -> Plan:
    return parse_plan({"name": name, "limits": [{**HOUR, "max": maximum}], **other})


class Scene:
    def __init__(self) -> None:
        self.tenants = MemoryTenantStore()
        self.gauges = MemoryTables()
        self.installation = MemoryInstallationStore(self.gauges)
        self.plan_audit, self.audit = MemoryAudit(), MemoryAudit()
        self.work = Planning(
            self.tenants,
            self.installation,
            self.plan_audit,
            self.audit,
            by="somebody",
            clock=lambda: NOW_MS,
            new_id=lambda: "x",
        )

    def apply(self, *entries: dict[str, Any]) -> None:
        definitions = parse({"tenants": list(entries)})
        for _ in apply(
            definitions, self.tenants, self.installation, clock=lambda: NOW_MS, new_id=lambda: "x", audit=self.audit
        ):
            pass

    def change(self, *plans: Plan) -> list[Settled]:
        changed = self.work.put(plans)
        return list(self.work.settle({*changed, *(one.name for one in plans)}))

    def maxima(self, tenant: str) -> dict[str, int]:
        return {one.name: one.maximum for one in self.gauges.gauges[tenant].layout.limits}


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.change(plan("gold"), plan("free", 10, default=True))
    scene.apply(
        {"id": "acme", "plan": "gold"},
        {"id": "globex", "plan": "gold", "limits": [{**HOUR, "max": 7}]},
        {"id": "initech"},
    )
    return scene


def test_a_tenant_gets_the_limits_of_its_plan(scene: Scene) -> None:
    assert [scene.maxima(one) for one in ("acme", "globex", "initech")] == [{"hour": 100}, {"hour": 7}, {"hour": 10}]


def test_a_change_of_a_plan_reaches_all_that_have_it_and_is_noted_of_each(scene: Scene) -> None:
    scene.audit.entries.clear()
    settled = scene.change(plan("gold", 200))
    assert settled == [
        Settled("acme", 1, 3, is_changed=True),
        Settled("globex", 2, 3, is_changed=False),
        Settled("initech", 3, 3, is_changed=False),
    ]
    assert [scene.maxima(one)["hour"] for one in ("acme", "globex", "initech")] == [200, 7, 10]
    (noted,) = scene.audit.entries
    assert (noted.tenant, noted.by, noted.what) == ("acme", "somebody", "plan gold")
    assert noted.before == {
        "limits": ["name=hour,meter=total_tokens,window=1h,max=100,hard=false,thresholds=50+80+100"]
    }
    last = scene.plan_audit.entries[-1]
    assert (last.tenant, last.what, last.before is None) == ("gold", "apply", False)


def test_doing_it_again_changes_and_notes_nothing(scene: Scene) -> None:
    noted = len(scene.audit.entries), len(scene.plan_audit.entries)
    assert not any(one.is_changed for one in scene.change(plan("gold"), plan("free", 10, default=True)))
    assert (len(scene.audit.entries), len(scene.plan_audit.entries)) == noted


def test_a_change_that_stopped_halfway_is_finished_by_doing_it_again(scene: Scene) -> None:
    scene.work.put([plan("gold", 200)])  # and the process died
    assert scene.maxima("acme") == {"hour": 100}
    scene.change(plan("gold", 200))
    assert scene.maxima("acme") == {"hour": 200}


def test_one_tenant_that_cannot_be_changed_does_not_stop_the_others(scene: Scene) -> None:
    scene.gauges.change_gauge("acme", lease=Lease("other", NOW_MS + 1))
    settled = scene.change(plan("gold", 200), plan("free", 20, default=True))
    assert ["being changed by somebody else" in one.problem for one in settled] == [True, False, False]
    assert scene.maxima("initech") == {"hour": 20}


def test_another_default_plan_takes_over(scene: Scene) -> None:
    scene.change(plan("gold", default=True))
    assert [one.name for one in scene.tenants.plans() if one.is_default] == ["gold"]
    assert scene.maxima("initech") == {"hour": 100}


def test_a_plan_that_some_tenant_could_not_have_is_refused_before_anything_changes(scene: Scene) -> None:
    many = [{"name": f"own{number}", "meter": "requests", "window": "1h", "max": 1} for number in range(17)]
    scene.apply({"id": "acme", "plan": "gold", "limits": many})
    wide = parse_plan({"name": "gold", "limits": [HOUR, {**HOUR, "name": "more"}]})
    with pytest.raises(InvalidDefinition, match="tenant acme: limits: 19 limits"):
        scene.work.put([wide])
    assert scene.tenants.plans_by_name["gold"] == plan("gold")
    assert scene.work.put([wide], redefined={"acme"}) == ("gold",)


def test_a_plan_that_is_used_cannot_be_removed(scene: Scene) -> None:
    with pytest.raises(InvalidDefinition, match="gold is the plan of acme, globex: it stays"):
        scene.work.remove("gold")
    with pytest.raises(InvalidDefinition, match="free is the plan of initech"):
        scene.work.remove("free")
    with pytest.raises(InvalidDefinition, match="there is no plan silver"):
        scene.work.remove("silver")
    scene.change(plan("silver"))
    scene.work.remove("silver")
    assert [one.name for one in scene.tenants.plans()] == ["free", "gold"]
    assert (scene.plan_audit.entries[-1].what, scene.plan_audit.entries[-1].after) == ("remove", None)


def test_a_plan_that_somebody_is_given_while_it_is_removed_comes_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.change(plan("silver"))
    take_away = scene.tenants.remove_plan

    def given_meanwhile(one: Plan) -> bool:
        scene.apply({"id": "late", "plan": "silver"})
        return take_away(one)

    monkeypatch.setattr(scene.tenants, "remove_plan", given_meanwhile)
    with pytest.raises(InvalidDefinition, match="silver is the plan of late"):
        scene.work.remove("silver")
    assert scene.tenants.plans_by_name["silver"] == plan("silver")


def test_a_plan_that_somebody_else_changes_is_not_overwritten(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.tenants, "put_plan", lambda plan, now_ms: False)
    with pytest.raises(LeaseLost, match="plan gold was changed by somebody else"):
        scene.work.put([plan("gold", 5)])


def test_an_installation_goes_as_far_as_there_is_time_and_on_from_there(scene: Scene) -> None:
    scene.work.put([plan("gold", 200)])
    time = iter([True, False])
    first = scene.work.install("gold", Installed(), lambda: next(time))
    assert first == Installed("globex", of=3, settled=2, changed=1)
    assert not first.is_finished
    last = scene.work.install("gold", first, lambda: False)
    assert last == Installed("initech", of=3, settled=3, changed=1, is_through=True)
    assert last.is_finished
    assert scene.work.install("gold", replace(last, is_through=False), lambda: True) == last


def test_an_installation_that_failed_for_somebody_is_through_and_not_finished(scene: Scene) -> None:
    scene.work.put([plan("gold", 200)])
    scene.gauges.change_gauge("acme", lease=Lease("other", NOW_MS + 1))
    first = scene.work.install("gold", Installed(), lambda: False)
    assert (first.settled, first.failures, [one.tenant for one in first.failed]) == (0, 1, ["acme"])
    last = scene.work.install("gold", first, lambda: True)
    assert (last.settled, last.failures, last.failed) == (2, 1, ())
    assert (last.is_through, last.is_finished) == (True, False)


def test_without_tenants_an_installation_is_finished_at_once() -> None:
    scene = Scene()
    scene.work.put([plan("gold")])
    assert scene.work.install("gold", Installed(), lambda: False) == Installed(is_through=True)


def test_what_a_tenant_costs_is_what_the_decision_says(scene: Scene) -> None:
    """ADR 0032 computes with it how many tenants fit into a request."""
    calls: list[str] = []

    class Counting:
        def __init__(self, store: Any) -> None:
            self.store = store

        def __getattr__(self, name: str) -> Any:
            def call(*positional: Any, **named: Any) -> Any:
                calls.append(name)
                return getattr(self.store, name)(*positional, **named)

            return call

    stores = [Counting(one) for one in (scene.tenants, scene.installation, scene.plan_audit, scene.audit)]
    work = Planning(*stores, by="somebody", clock=lambda: NOW_MS, new_id=lambda: "x")
    scene.work.put([plan("gold", 200)])
    of_each = []
    settled = work.settle({"gold"})
    while True:
        calls.clear()
        if next(settled, None) is None:
            break
        of_each.append([one for one in calls if one != "all_tenants"])
    assert [len(one) for one in of_each] == [11, 4, 4]


def test_a_tenant_that_is_applied_while_its_plan_changes_ends_with_the_new_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_changes(what: str) -> None:
        if what == "definition":  # after its limits were installed, before anybody can see that it is there
            scene.tenants.before_write = lambda what: None
            assert scene.change(plan("gold", 300))

    scene.tenants.before_write = plan_changes
    scene.apply({"id": "late", "plan": "gold"})
    assert scene.maxima("late") == {"hour": 300}


def test_what_was_stored_before_there_were_plans_keeps_its_limits_beside_a_default_plan(scene: Scene) -> None:
    scene.apply({"id": "old", "limits": [{**HOUR, "name": "mine", "max": 3}, {"name": "hour", "remove": True}]})
    held = scene.tenants.definitions["old"]
    scene.tenants.definitions["old"] = replace(held, limits=(), removes=(), is_whole=False)
    assert scene.maxima("old") == {"mine": 3}
    scene.change(plan("free", 20, default=True))
    assert scene.maxima("old") == {"hour": 20, "mine": 3}
    assert scene.tenants.definitions["old"].is_whole
    assert [one.name for one in scene.tenants.definitions["old"].limits] == ["mine"]
    assert not scene.change(plan("free", 20, default=True))[-1].is_changed


def test_an_old_definition_keeps_its_own_limits_when_a_change_of_it_dies_halfway(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {**HOUR, "name": "mine", "max": 3}
    scene.apply({"id": "old", "limits": [mine, {"name": "hour", "remove": True}]})
    scene.tenants.definitions["old"] = replace(scene.tenants.definitions["old"], limits=(), removes=(), is_whole=False)

    def dies(*_: object, **__: object) -> bool:
        raise Killed

    monkeypatch.setattr("bedrock_meter.tenants.onboarding.install_fail_policy", dies)
    with pytest.raises(Killed):
        scene.apply({"id": "old", "plan": "gold", "limits": [mine]})
    assert scene.maxima("old") == {"hour": 100, "mine": 3}
    assert [one.name for one in scene.tenants.definitions["old"].limits] == ["mine"]


def test_a_removed_tenant_is_left_alone(scene: Scene) -> None:
    scene.tenants.definitions["acme"] = replace(scene.tenants.definitions["acme"], removed_ms=NOW_MS)
    scene.change(plan("gold", 200))
    assert scene.maxima("acme") == {"hour": 100}
    assert scene.work.having("gold") == ("globex",)


def test_a_policy_for_outages_comes_with_a_plan_and_goes_with_it(scene: Scene) -> None:
    strict = parse_plan({"name": "gold", "limits": [{**HOUR, "fail": "closed"}]})
    scene.change(strict)
    assert scene.gauges.gauges["acme"].fail_policy == "closed"
    scene.change(plan("gold"))
    assert scene.gauges.gauges["acme"].fail_policy is None
