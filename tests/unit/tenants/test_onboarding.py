"""Applying definitions, over moto's DynamoDB and the real tenant store."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import client
from bedrock_meter.storage.tables import MappingModel, bound
from bedrock_meter.storage.tenants import DynamoDBDirectoryStore, PynamoDBTenantStore
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.onboarding import HANDOVER_MS, Applied, apply
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS, limit

TABLES = Tables("", "", "", "tenants")


class Scene:
    """The Tenants table, gauges in memory and a clock."""

    def __init__(self) -> None:
        self.tenants = PynamoDBTenantStore(TABLES)
        self.directory = DynamoDBDirectoryStore(client(), TABLES)
        self.gauges = MemoryTables()
        self.now_ms = NOW_MS

    def apply(self, *definitions: TenantDefinition) -> list[Applied]:
        return list(
            apply(
                definitions,
                self.tenants,
                MemoryInstallationStore(self.gauges),
                clock=lambda: self.now_ms,
                new_id=lambda: "x",
            )
        )

    def periods(self, profile: str) -> list[MappingPeriod]:
        return list(self.directory.mappings([profile]).get(profile, ()))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        bound(MappingModel, TABLES.tenants).create_table(billing_mode="PAY_PER_REQUEST")
        yield Scene()


def definition(tenant: str, *profiles: str, model: str = "a.model", **other: object) -> TenantDefinition:
    references = tuple(ProfileReference(one, one, model) for one in profiles)
    return TenantDefinition(tenant, profiles=references, **other)  # type: ignore[arg-type]


def test_a_new_tenant_has_its_gauge_limits_and_profiles_from_the_beginning(scene: Scene) -> None:
    (applied,) = scene.apply(definition("acme", "p1", "p2", limits=(limit("1h"),)))
    assert applied == Applied("acme", ("limits", "profile p1", "profile p2", "tenant"), NOW_MS)
    assert scene.periods("p1") == [MappingPeriod("acme", 0, None, "a.model")]
    assert [one.name for one in scene.gauges.gauges["acme"].layout.limits] == ["total_tokens-1h"]
    assert scene.tenants.tenant("acme") == definition("acme", "p1", "p2")


def test_applying_twice_changes_nothing(scene: Scene) -> None:
    wanted = [definition("acme", "p1", limits=(limit("1h"),)), definition("globex", plan="gold")]
    scene.apply(*wanted)
    assert [applied.changed for applied in scene.apply(*wanted)] == [(), ()]


def test_a_policy_for_outages_lies_on_the_gauge_where_it_is_read(scene: Scene) -> None:
    (applied,) = scene.apply(definition("acme", fail_policy="closed"))
    assert applied.changed == ("fail policy", "tenant")
    assert scene.gauges.gauges["acme"].fail_policy == "closed"
    assert scene.tenants.tenant("acme") == definition("acme", fail_policy="closed")
    (again,) = scene.apply(definition("acme", fail_policy="closed"))
    assert again.changed == ()
    scene.apply(definition("acme"))
    assert scene.gauges.gauges["acme"].fail_policy is None


def test_a_profile_changes_hands_when_no_cached_answer_can_be_wrong_about_it(scene: Scene) -> None:
    scene.apply(definition("acme", "p1"))
    (applied,) = scene.apply(definition("globex", "p1"))
    handover_ms = NOW_MS + HANDOVER_MS
    assert applied.effective_ms == handover_ms
    assert scene.periods("p1") == [
        MappingPeriod("acme", 0, handover_ms, "a.model"),
        MappingPeriod("globex", handover_ms, None, "a.model"),
    ]


def test_a_profile_that_is_not_named_any_more_leaves(scene: Scene) -> None:
    scene.apply(definition("acme", "p1", "p2"))
    (applied,) = scene.apply(definition("acme", "p2"))
    assert applied.changed == ("profile p1 removed", "tenant")
    assert applied.effective_ms == NOW_MS + HANDOVER_MS
    assert scene.periods("p1") == [MappingPeriod("acme", 0, NOW_MS + HANDOVER_MS, "a.model")]
    scene.now_ms += 10 * HANDOVER_MS
    scene.apply(definition("acme", "p1", "p2"))
    assert [period.tenant for period in scene.periods("p1")] == ["acme", "acme"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_profile_that_moves_within_one_file_is_never_nobodys(scene: Scene, order: tuple[int, int]) -> None:
    scene.apply(definition("acme", "p1"))
    wanted = [definition("acme"), definition("globex", "p1")]
    for index in order:
        scene.apply(wanted[index])
        scene.now_ms += 500
    first, second = scene.periods("p1")
    assert (first.tenant, second.tenant) == ("acme", "globex")
    assert first.to_ms == second.from_ms


def test_a_corrected_model_replaces_the_period_in_place(scene: Scene) -> None:
    scene.apply(definition("acme", "p1", model="-"))
    scene.apply(definition("acme", "p1", model="b.model"))
    assert scene.periods("p1") == [MappingPeriod("acme", 0, None, "b.model")]


def test_a_mapping_that_somebody_else_changed_is_read_again(scene: Scene) -> None:
    assert scene.tenants.put_periods("p1", 0, [MappingPeriod("acme")])
    version, _ = scene.tenants.periods("p1")
    assert scene.tenants.put_periods("p1", version, [MappingPeriod("globex")])
    assert not scene.tenants.put_periods("p1", version, [MappingPeriod("initech")])
    assert not scene.tenants.put_periods("p1", 0, [MappingPeriod("initech")])
    assert scene.periods("p1") == [MappingPeriod("globex")]
