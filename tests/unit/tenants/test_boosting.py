"""Boosts of a tenant's limits: noted, written down, installed, ended early, and kept when other things change."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.cli.boosting import instant_ms
from bedrock_meter.errors import InvalidDefinition, UnknownBoost, UnknownTenant
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.meters import Meter
from bedrock_meter.local.failures import BadInput
from bedrock_meter.storage.plans import boosts_of, boosts_text
from bedrock_meter.tenants.boosting import (
    MOST_REMEMBERED,
    REMEMBER_MS,
    WantedBoost,
    boost_limit,
    boosts_not_over,
    end_boost,
    permille_of,
)
from bedrock_meter.tenants.tenant import BoostGrant
from tests.doubles.records import NOW_MS
from tests.unit.tenants.test_planning import HOUR, Scene, plan

TO_MS = NOW_MS + 1000


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.change(plan("gold"))
    scene.apply({"id": "acme", "plan": "gold", "limits": [{**HOUR, "name": "mine"}]})
    scene.audit.entries.clear()
    return scene


def wanted(limit: str = "hour", **other: Any) -> WantedBoost:
    facts = {"to_ms": TO_MS, "reason": "launch week", "by": "somebody", "from_ms": NOW_MS, "amount": 5}
    return WantedBoost(limit, **{**facts, **other})


def give(scene: Scene, one: WantedBoost, now_ms: int = NOW_MS, tenant: str = "acme") -> tuple[BoostGrant, bool]:
    clock, new_id = (lambda: now_ms), (lambda: "x")
    return boost_limit(scene.tenants, scene.installation, scene.audit, tenant, one, clock=clock, new_id=new_id)


def finish(scene: Scene, grant: BoostGrant, now_ms: int = NOW_MS, tenant: str = "acme") -> bool:
    clock, new_id = (lambda: now_ms), (lambda: "x")
    stores = scene.tenants, scene.installation, scene.audit
    return end_boost(*stores, tenant, grant.id_of("acme"), "another", clock=clock, new_id=new_id)


def boosts(scene: Scene) -> dict[str, tuple[Boost, ...]]:
    return {one.name: one.boosts for one in scene.gauges.gauges["acme"].layout.limits}


def test_a_boost_of_a_plans_limit_is_noted_installed_and_kept(scene: Scene) -> None:
    one, is_new = give(scene, wanted())
    assert (is_new, one.meter, one.boost) == (True, Meter.TOTAL_TOKENS, Boost(NOW_MS, TO_MS, 5))
    assert boosts(scene) == {"hour": (one.boost,), "mine": ()}
    (entry,) = scene.audit.entries
    assert (entry.what, entry.by, entry.before) == ("boost", "somebody", {"boosts": []})
    assert entry.after == {"boosts": [one.document("acme")]}
    assert one.document("acme")["reason"] == "launch week"
    assert give(scene, wanted(by="another", reason="again")) == (one, False)
    assert len(scene.audit.entries) == 1
    scene.apply({"id": "acme", "plan": "gold"})
    scene.change(plan("gold", 200))
    assert boosts(scene) == {"hour": (one.boost,)}
    assert scene.maxima("acme") == {"hour": 200}


def test_the_same_one_without_a_beginning_is_the_one_that_is_in_force(scene: Scene) -> None:
    one, _ = give(scene, wanted(from_ms=None))
    assert one.boost.from_ms == NOW_MS
    assert give(scene, wanted(from_ms=None), NOW_MS + 7) == (one, False)
    other, is_new = give(scene, wanted(from_ms=None, amount=6), NOW_MS + 7)
    assert (is_new, other.boost) == (True, Boost(NOW_MS + 7, TO_MS, 6))
    assert finish(scene, one, NOW_MS + 8)
    anew, is_new = give(scene, wanted(from_ms=None), NOW_MS + 9)
    assert (is_new, anew.boost.from_ms) == (True, NOW_MS + 9)


def test_what_has_ended_is_forgotten_with_the_next_one_and_five_are_too_many(scene: Scene) -> None:
    for number in range(4):
        assert give(scene, wanted(to_ms=TO_MS + number))[1]
    with pytest.raises(InvalidDefinition, match="hour has 4 boosts"):
        give(scene, wanted(to_ms=NOW_MS + 5000))
    assert give(scene, wanted("mine"))[1]
    later = wanted(from_ms=NOW_MS + 5000, to_ms=NOW_MS + 9000)
    assert give(scene, later, NOW_MS + 1001)[1]
    assert [one.to_ms for one in boosts(scene)["hour"]] == [NOW_MS + 1002, NOW_MS + 1003, NOW_MS + 9000]
    assert boosts(scene)["mine"] == ()


@pytest.mark.parametrize(
    ("wrong", "where", "said"),
    [
        (wanted("nothing"), "limit", "acme has no such limit; it has hour, mine"),
        (wanted(reason=""), "reason", "must be 1 to 200"),
        (wanted(reason="x" * 201), "reason", "must be 1 to 200"),
        (wanted(reason="a\nb"), "reason", "must be 1 to 200"),
        (wanted(from_ms=1, to_ms=NOW_MS), "to", "is over already"),
        (wanted(from_ms=TO_MS), "to", "ends after it begins"),
        (wanted(from_ms=-1), "from", "1970"),
        (wanted(amount=None), "amount", "either"),
        (wanted(factor=2), "amount", "either"),
        (wanted(amount="many"), "amount", "an amount of tokens, such as 300000"),
        (wanted(amount="5" * 65), "amount", "more than 64 characters"),
        (wanted(amount=None, factor="2" * 65), "factor", "more than 64 characters"),
        (wanted(amount=0), "amount", "1 to 18 digits"),
        (wanted(amount=10**18), "amount", "1 to 18 digits"),
        (wanted(amount=None, factor="1"), "factor", "above 1"),
        (wanted(amount=None, factor=True), "factor", "above 1"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_noted(scene: Scene, wrong: WantedBoost, where: str, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said) as problem:
        give(scene, wrong)
    assert problem.value.where == where
    with pytest.raises(UnknownTenant):
        give(scene, wanted(), tenant="nobody")
    assert scene.audit.entries == []


def test_a_boost_that_is_ended_ends_now_and_twice_is_once(scene: Scene) -> None:
    one, _ = give(scene, wanted())
    assert finish(scene, one, NOW_MS + 300)
    assert boosts(scene)["hour"] == (Boost(NOW_MS, NOW_MS + 300, 5),), "what has passed stays as it was"
    entry = scene.audit.entries[-1]
    assert (entry.what, entry.by, entry.after) == ("end boost", "another", {"boosts": []})
    assert entry.before == {"boosts": [one.document("acme")]}
    assert not finish(scene, one, NOW_MS + 400)
    assert len(scene.audit.entries) == 2
    assert boosts(scene)["hour"] == (Boost(NOW_MS, NOW_MS + 300, 5),)
    with pytest.raises(InvalidDefinition, match="ended early") as problem:
        give(scene, wanted(), NOW_MS + 500)
    assert problem.value.where == "from"


def test_a_boost_that_has_not_begun_is_taken_away(scene: Scene) -> None:
    one, _ = give(scene, wanted(from_ms=NOW_MS + 500))
    assert boosts(scene)["hour"] == (one.boost,)
    assert finish(scene, one, NOW_MS + 500)
    assert boosts(scene)["hour"] == ()
    assert not finish(scene, one, NOW_MS + 501)


def test_one_that_is_over_is_ended_already(scene: Scene) -> None:
    one, _ = give(scene, wanted())
    assert not finish(scene, one, TO_MS)
    assert len(scene.audit.entries) == 1


def test_a_boost_that_is_not_there_is_unknown(scene: Scene) -> None:
    one, _ = give(scene, wanted())
    scene.apply({"id": "globex", "plan": "gold"})
    for tenant in ("globex", "nobody"):
        with pytest.raises((UnknownBoost, UnknownTenant)):
            finish(scene, one, tenant=tenant)
    scene.tenants.definitions["acme"] = replace(scene.tenants.definitions["acme"], removed_ms=NOW_MS)
    with pytest.raises(UnknownTenant):
        finish(scene, one)


def test_ids_tell_boosts_apart_and_stay(scene: Scene) -> None:
    one, _ = give(scene, wanted())
    others = wanted(amount=6), wanted(to_ms=TO_MS + 1), wanted(from_ms=0)
    every = [give(scene, other)[0] for other in others]
    ids = {grant.id_of("acme") for grant in (one, *every)}
    assert len(ids) == 4
    assert one.id_of("globex") not in ids
    assert finish(scene, one, NOW_MS + 1)
    (ended,) = (each for each in scene.tenants.definitions["acme"].boosts if each.ended_ms is not None)
    assert ended.id_of("acme") == one.id_of("acme")


def test_early_ends_are_remembered_for_a_day_and_not_without_bound(scene: Scene) -> None:
    first, _ = give(scene, wanted())
    assert finish(scene, first)
    one = first
    for number in range(MOST_REMEMBERED + 3):
        one, is_new = give(scene, wanted(to_ms=TO_MS + 10 + number), NOW_MS + number)
        assert is_new
        assert finish(scene, one, NOW_MS + number)
    assert len(boosts(scene)["hour"]) <= 4
    held = scene.tenants.definitions["acme"].boosts
    assert len(held) <= MOST_REMEMBERED + 1
    with pytest.raises(UnknownBoost):
        finish(scene, first)
    assert not finish(scene, one)
    later_ms = NOW_MS + REMEMBER_MS + 100
    assert give(scene, wanted(from_ms=later_ms, to_ms=later_ms + 9), later_ms)[1]
    assert len(scene.tenants.definitions["acme"].boosts) == 1


def test_four_that_are_not_over_count_beside_any_number_that_are(scene: Scene) -> None:
    for number in range(3):
        one, _ = give(scene, wanted(to_ms=TO_MS + number))
        assert finish(scene, one, NOW_MS + 1)
    given = [give(scene, wanted(to_ms=TO_MS + 10 + number), NOW_MS + 2)[0].boost for number in range(4)]
    assert list(boosts(scene)["hour"]) == given


def test_an_amount_adds_nothing_to_a_limit_that_counts_something_else(scene: Scene) -> None:
    one, _ = give(scene, wanted(amount="5k"))
    factor, _ = give(scene, wanted(amount=None, factor=2))
    scene.apply({"id": "acme", "plan": "gold", "limits": [{**HOUR, "meter": "usd"}]})
    assert boosts(scene)["hour"] == (factor.boost,)
    scene.apply({"id": "acme", "plan": "gold"})
    assert boosts(scene)["hour"] == (one.boost, factor.boost)


def test_amounts_are_said_in_their_unit_and_without_one_in_the_smallest(scene: Scene) -> None:
    scene.apply({"id": "acme", "limits": [{**HOUR, "meter": "usd", "name": "cost"}]})
    one, _ = give(scene, wanted("cost", amount="$1.50"))
    assert one.boost.amount == 1_500_000_000
    (said,) = boosts_not_over(scene.tenants.definitions["acme"], (), NOW_MS)
    assert (said["amount"], said["unit"], said["id"]) == ("1.50", "USD", one.id_of("acme"))
    (earlier,) = boosts_of('[["cost",0,9,1500000000,0,"x","y"]]')
    assert (earlier.meter, earlier.ended_ms) == (None, None)
    assert (earlier.document("acme")["amount"], earlier.document("acme")["unit"]) == (1_500_000_000, None)
    assert earlier.document("acme", Meter.COST_USD)["amount"] == "1.50"
    ended = (replace(one, ended_ms=NOW_MS), earlier)
    assert boosts_of(boosts_text(ended)) == ended


def test_factors_and_instants_are_read_strictly() -> None:
    assert [permille_of(text) for text in ("1.5", "2", "1.001", "10.25", 1.5, 2)] == [500, 1000, 1, 9250, 500, 1000]
    for wrong in ("1", "0.5", "1.0001", "x", "-2", "1,5", "1002", None, True, [2], 1e-7):
        with pytest.raises(InvalidDefinition, match="factor"):
            permille_of(wrong)
    assert instant_ms("--to", "1970-01-01T01:00:01+01:00") == 1000
    for text in ("2026-12-01", "2026-12-01T00:00", "soon"):
        with pytest.raises(BadInput, match="--to"):
            instant_ms("--to", text)
