"""Boosts of a tenant's limits: noted, written down, installed, and kept when other things change."""

from typing import Any

import pytest

from bedrock_meter.cli.boosting import instant_ms, permille_of
from bedrock_meter.errors import InvalidDefinition, UnknownTenant
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.local.failures import BadInput
from bedrock_meter.tenants.boosting import boost_limit
from bedrock_meter.tenants.tenant import BoostGrant
from tests.doubles.records import NOW_MS
from tests.unit.tenants.test_planning import HOUR, Scene, plan


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.change(plan("gold"))
    scene.apply({"id": "acme", "plan": "gold", "limits": [{**HOUR, "name": "mine"}]})
    scene.audit.entries.clear()
    return scene


def grant(limit: str = "hour", **other: Any) -> BoostGrant:
    boost = Boost(other.pop("from_ms", NOW_MS), other.pop("to_ms", NOW_MS + 1000), amount=other.pop("amount", 5))
    return BoostGrant(limit, boost, other.pop("reason", "launch week"), "somebody")


def give(scene: Scene, one: BoostGrant, now_ms: int = NOW_MS, tenant: str = "acme") -> bool:
    clock, new_id = (lambda: now_ms), (lambda: "x")
    return boost_limit(scene.tenants, scene.installation, scene.audit, tenant, one, clock=clock, new_id=new_id)


def boosts(scene: Scene) -> dict[str, tuple[Boost, ...]]:
    return {one.name: one.boosts for one in scene.gauges.gauges["acme"].layout.limits}


def test_a_boost_of_a_plans_limit_is_noted_installed_and_kept(scene: Scene) -> None:
    one = grant()
    assert give(scene, one)
    assert boosts(scene) == {"hour": (one.boost,), "mine": ()}
    (entry,) = scene.audit.entries
    assert (entry.what, entry.by, entry.before) == ("boost", "somebody", {"boosts": []})
    assert entry.after == {"boosts": [one.document()]}
    assert one.document()["reason"] == "launch week"
    assert not give(scene, one)
    assert len(scene.audit.entries) == 1
    scene.apply({"id": "acme", "plan": "gold"})
    scene.change(plan("gold", 200))
    assert boosts(scene) == {"hour": (one.boost,)}
    assert scene.maxima("acme") == {"hour": 200}


def test_what_has_ended_is_forgotten_with_the_next_one_and_five_are_too_many(scene: Scene) -> None:
    for number in range(4):
        assert give(scene, grant(to_ms=NOW_MS + 1000 + number))
    with pytest.raises(InvalidDefinition, match="hour has 4 boosts"):
        give(scene, grant(to_ms=NOW_MS + 5000))
    assert give(scene, grant("mine"))
    later = grant(from_ms=NOW_MS + 5000, to_ms=NOW_MS + 9000)
    assert give(scene, later, NOW_MS + 1001)
    assert [one.to_ms for one in boosts(scene)["hour"]] == [NOW_MS + 1002, NOW_MS + 1003, NOW_MS + 9000]
    assert boosts(scene)["mine"] == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (grant("nothing"), "acme has no limit 'nothing'; it has hour, mine"),
        (grant(reason=""), "reason"),
        (grant(reason="x" * 201), "reason"),
        (grant(reason="a\nb"), "reason"),
        (grant(from_ms=1, to_ms=NOW_MS), "to: is over already"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_noted(scene: Scene, wrong: BoostGrant, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        give(scene, wrong)
    with pytest.raises(UnknownTenant):
        give(scene, grant(), tenant="nobody")
    assert scene.audit.entries == []


def test_factors_and_instants_are_read_strictly() -> None:
    assert [permille_of(text) for text in ("1.5", "2", "1.001", "10.25")] == [500, 1000, 1, 9250]
    for text in ("1", "0.5", "1.0001", "x", "-2", "1,5"):
        with pytest.raises(BadInput, match="--factor"):
            permille_of(text)
    assert instant_ms("--to", "1970-01-01T01:00:01+01:00") == 1000
    for text in ("2026-12-01", "2026-12-01T00:00", "soon"):
        with pytest.raises(BadInput, match="--to"):
            instant_ms("--to", text)
