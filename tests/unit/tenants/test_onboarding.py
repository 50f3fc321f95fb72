"""Applying definitions, over moto's DynamoDB and the real tenant store."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from moto import mock_aws

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.settings import Tables
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import client
from bedrock_meter.storage.tables import MappingModel, bound
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import BY_TAG, MappingPeriod
from bedrock_meter.tenants.directory import Question
from bedrock_meter.tenants.onboarding import Applied, apply
from bedrock_meter.tenants.ownership import HANDOVER_MS, PrincipalMapping, nameless
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from bedrock_meter.tenants.trust import MAXIMUM_PATTERNS, GatewayDefinition, Trust
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import MemoryAudit

TABLES = Tables("", "", "", "tenants")


class Scene:
    """The Tenants table, gauges in memory and a clock."""

    def __init__(self) -> None:
        self.tenants = PynamoDBTenantStore(TABLES)
        self.directory = DynamoDBDirectoryStore(client(), TABLES)
        self.gauges = MemoryTables()
        self.now_ms = NOW_MS
        self.audit = MemoryAudit()

    def apply(self, *definitions: TenantDefinition, revisions: Mapping[str, int] | None = None) -> list[Applied]:
        return list(
            apply(
                definitions,
                self.tenants,
                MemoryInstallationStore(self.gauges),
                clock=lambda: self.now_ms,
                new_id=lambda: "x",
                audit=self.audit,
                by="somebody",
                revisions=revisions,
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
    assert scene.tenants.tenant("acme") == definition("acme", "p1", "p2", limits=(limit("1h"),))


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


def test_whether_a_tenant_reserves_is_kept_beside_its_limits(scene: Scene) -> None:
    wanted = definition("acme", limits=(limit("1h"),), reserves=True)
    assert [scene.apply(wanted)[0].changed for _ in range(2)] == [("limits", "tenant"), ()]
    layout = scene.gauges.gauges["acme"].layout
    assert (layout.version, layout.reserves) == (1, True)
    assert scene.apply(definition("acme", limits=(limit("1h"),)))[0].changed == ("limits",)
    changed = scene.gauges.gauges["acme"].layout
    assert (changed.version, changed.limits, changed.reserves) == (2, layout.limits, False)


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


ROLE = "arn:aws:iam::123456789012:role/acme-worker"
PATTERN = "arn:aws:iam::123456789012:role/acme-*"


def owners(scene: Scene, principal: str) -> list[MappingPeriod]:
    return list(scene.tenants.principal_periods(principal)[1])


def trusted(scene: Scene) -> Trust:
    answer = scene.directory.ask(Question(trust=True)).trust
    assert answer is not None
    return answer


@pytest.mark.parametrize("principal", [ROLE, PATTERN])
def test_a_principal_is_mapped_like_a_profile(scene: Scene, principal: str) -> None:
    (applied,) = scene.apply(definition("acme", principals=(principal,)))
    assert applied.changed == (f"principal {principal}", "tenant")
    assert owners(scene, principal) == [MappingPeriod("acme")]
    assert scene.tenants.tenant("acme") == definition("acme", principals=(principal,))
    assert [one.changed for one in scene.apply(definition("acme", principals=(principal,)))] == [()]
    scene.apply(definition("globex", principals=(principal,)))
    handover_ms = NOW_MS + HANDOVER_MS
    assert owners(scene, principal) == [MappingPeriod("acme", 0, handover_ms), MappingPeriod("globex", handover_ms)]
    scene.now_ms = handover_ms + 1
    (applied,) = scene.apply(definition("globex"))
    assert applied.changed == (f"principal {principal} removed", "tenant")
    assert owners(scene, principal)[-1].to_ms == handover_ms + 1 + HANDOVER_MS


def test_the_recorder_reads_what_people_wrote(scene: Scene) -> None:
    assert trusted(scene) == Trust()
    scene.apply(definition("acme", "p1", principals=(ROLE, PATTERN)))
    assert scene.tenants.put_gateways(GatewayDefinition(("arn:aws:iam::123456789012:role/gateway",), "team"))
    trust = trusted(scene)
    assert trust == scene.tenants.trust()
    assert (trust.gateways, trust.metadata_key) == (("arn:aws:iam::123456789012:role/gateway",), "team")
    assert trust.patterns == {PATTERN: (MappingPeriod("acme"),)}
    assert trust.names_principals
    answer = scene.directory.ask(Question(["p1", "p2"], [ROLE], ["acme", "nobody"]))
    assert answer.profiles == {"p1": (MappingPeriod("acme", 0, None, "a.model"),)}
    assert answer.principals == {ROLE: (MappingPeriod("acme"),)}
    assert answer.tenants == {"acme"}


@pytest.mark.parametrize("principal", [ROLE, PATTERN])
def test_a_principal_is_forgotten_without_its_other_owners(scene: Scene, principal: str) -> None:
    scene.apply(definition("acme", principals=(principal,)))
    scene.apply(definition("globex", principals=(principal,)))
    key, handover_ms = scene.tenants.mapping_key(principal), scene.now_ms + HANDOVER_MS
    (found,) = scene.tenants.owned()
    assert isinstance(found, PrincipalMapping)
    assert (found.key, found.name) == (key, principal)
    assert not scene.tenants.forget_principal(key, "acme", handover_ms - 1), "it has not ended"
    assert scene.tenants.forget_principal(key, "acme", handover_ms)
    assert [one.tenant for one in owners(scene, principal)] == ["globex"]
    scene.now_ms += 1_000_000
    scene.apply(definition("globex"))
    ended_ms = scene.now_ms + HANDOVER_MS
    assert scene.tenants.forget_principal(key, None, ended_ms)
    assert not scene.tenants.forget_principal(key, None, ended_ms)
    # What is left says until when, and neither who nor whose.
    left = client().scan(TableName="tenants")["Items"]
    assert principal not in str([one for one in left if one["sk"]["S"] != "TENANT"])
    (tombstone,) = [one for one in left if one["pk"]["S"].startswith("FORGOTTEN#")]
    assert (tombstone["until_ms"]["N"], sorted(tombstone)) == (str(ended_ms), ["pk", "schema", "sk", "until_ms"])
    assert scene.directory.ask(Question(principals=[ROLE])).principals == {}
    assert trusted(scene).patterns == {}
    # Whoever gets it then is not its first owner, and no recorder reads what was forgotten.
    scene.now_ms = ended_ms + 5
    scene.apply(definition("hooli", principals=(principal,)))
    assert [(one.tenant, one.from_ms) for one in owners(scene, principal)] == [("hooli", ended_ms + 5 + HANDOVER_MS)]
    recorders = (
        trusted(scene).patterns if principal == PATTERN else scene.directory.ask(Question([], [ROLE])).principals
    )
    assert [one.tenant for one in recorders[principal]] == ["hooli"]


def test_the_latest_end_of_a_forgotten_principal_stays(scene: Scene) -> None:
    periods = [MappingPeriod("acme", 0, 10), MappingPeriod("globex", 10, 30)]
    assert scene.tenants.put_principal_periods(ROLE, 0, periods)
    for tenant in ("globex", "acme"):
        assert scene.tenants.forget_principal(scene.tenants.mapping_key(ROLE), tenant, NOW_MS)
    assert scene.tenants.principal_periods(ROLE) == (0, (nameless(30),))


def test_a_removed_tenant_is_not_registered(scene: Scene) -> None:
    scene.apply(definition("acme"), definition("globex"))
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert scene.tenants.put_tenant(replace(held, removed_ms=NOW_MS), NOW_MS)
    assert scene.directory.ask(Question(tenants=["acme", "globex"])).tenants == {"globex"}


def test_gateways_and_patterns_do_not_overwrite_each_other(scene: Scene) -> None:
    version, _ = scene.tenants.principal_periods(PATTERN)
    assert scene.tenants.put_gateways(GatewayDefinition((ROLE,)))
    assert not scene.tenants.put_principal_periods(PATTERN, version, [MappingPeriod("acme")])
    version, _ = scene.tenants.principal_periods(PATTERN)
    assert scene.tenants.put_principal_periods(PATTERN, version, [MappingPeriod("acme")])
    assert scene.tenants.put_gateways(GatewayDefinition((ROLE,)))
    assert trusted(scene).version == version + 1
    assert trusted(scene).gateways == (ROLE,)


def test_too_many_patterns_are_refused(scene: Scene) -> None:
    patterns = {f"{PATTERN[:-1]}{number}*": (MappingPeriod("acme"),) for number in range(MAXIMUM_PATTERNS)}
    assert scene.tenants._put_trust(Trust(patterns=patterns))
    with pytest.raises(InvalidDefinition, match="at most 200 patterns"):
        scene.apply(definition("acme", principals=(PATTERN,)))
    # One that ended leaves its place to another one.
    gone = f"{PATTERN[:-1]}0*"
    version, _ = scene.tenants.principal_periods(gone)
    assert scene.tenants.put_principal_periods(gone, version, [MappingPeriod("acme", 0, NOW_MS)])
    scene.apply(definition("acme", principals=(PATTERN,)))
    assert gone in trusted(scene).patterns


def test_a_looked_up_mapping_is_written_where_there_is_none_and_people_can_change_it(scene: Scene) -> None:
    found = MappingPeriod("acme", 0, None, "a.model", "geo")
    assert scene.directory.adopt("p1", found) == (found,)
    assert scene.directory.adopt("p1", MappingPeriod("globex")) == (found,)
    assert scene.tenants.periods("p1") == (1, (found,))
    scene.apply(definition("globex", "p1"))
    assert [one.tenant for one in scene.periods("p1")] == ["acme", "globex"]


def test_what_a_file_does_not_say_of_a_profile_stays_as_it_is_known(scene: Scene) -> None:
    scene.apply(definition("acme", "p1", model="-"))
    known = MappingPeriod("acme", 0, None, "a.model", "geo", geography="eu")
    scene.tenants.put_periods("p1", 1, [known])
    held = scene.tenants.tenant("acme")
    assert held is not None
    references = (ProfileReference("p1", "arn:p1", "a.model", "geo", geography="eu"),)
    scene.tenants.put_tenant(TenantDefinition("acme", profiles=references, revision=held.revision), NOW_MS)
    (applied,) = scene.apply(definition("acme", "p1", model="-"))
    assert applied.changed == ()
    assert scene.periods("p1") == [known]
    # Another routing is not within that geography.
    other = replace(definition("acme", "p1"), profiles=(ProfileReference("p1", "p1", "a.model", "global"),))
    scene.apply(other)
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert [(one.routing, one.geography) for one in held.profiles] == [("global", None)]
    assert [(one.routing, one.geography) for one in scene.periods("p1")] == [("global", None)]


def test_a_file_leaves_alone_what_is_the_tenants_by_a_tag_only(scene: Scene) -> None:
    scene.tenants.put_periods("p9", 0, [MappingPeriod("acme", by=BY_TAG)])
    tagged = ProfileReference("p9", "arn:p9", "a.model", "geo", tagged=True)
    scene.tenants.put_tenant(TenantDefinition("acme", profiles=(tagged,)), NOW_MS)
    scene.apply(definition("acme", "p1"))
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert [one.id for one in held.profiles] == ["p1", "p9"]
    assert scene.periods("p9") == [MappingPeriod("acme", by=BY_TAG)]
    scene.apply(definition("acme", "p1", "p9"))
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert [one.tagged for one in held.profiles] == [False, False]
    assert scene.apply(definition("acme", "p1", "p9"))[0].changed == ()


def test_an_entry_that_says_by_a_tag_gives_nothing_and_takes_nothing(scene: Scene) -> None:
    scene.tenants.put_periods("p9", 0, [MappingPeriod("acme", by=BY_TAG)])
    tagged = ProfileReference("p9", "arn:p9", "a.model", "geo", tagged=True)
    scene.tenants.put_tenant(TenantDefinition("acme", profiles=(tagged,)), NOW_MS)
    listed = TenantDefinition("acme", profiles=(ProfileReference("p8", "p8", tagged=True), replace(tagged, model="-")))
    assert scene.apply(listed)[0].changed == ()
    assert scene.tenants.tenant("acme") == TenantDefinition("acme", profiles=(tagged,))
    assert scene.periods("p9") == [MappingPeriod("acme", by=BY_TAG)]
    assert scene.periods("p8") == []


def test_a_definition_of_another_revision_is_refused_before_anything_of_it_changes(scene: Scene) -> None:
    scene.apply(definition("acme", "p1", limits=(limit("1h"),)))
    held = scene.tenants.tenant("acme")
    assert held is not None
    scene.apply(definition("acme", "p1", "p2", limits=(limit("1h"),)))
    entries, layout = len(scene.audit.entries), scene.gauges.gauges["acme"].layout
    with pytest.raises(LeaseLost, match="acme was changed by another writer"):
        scene.apply(definition("acme"), revisions={"acme": held.revision})
    with pytest.raises(LeaseLost, match="acme was changed"):
        scene.apply(definition("acme"), revisions={})
    assert (len(scene.audit.entries), scene.gauges.gauges["acme"].layout) == (entries, layout)
    assert [one.tenant for one in scene.periods("p1") + scene.periods("p2") if one.to_ms is None] == ["acme"] * 2
    scene.apply(definition("acme"), revisions={"acme": held.revision + 1})
    assert scene.tenants.tenant("acme") == definition("acme")


def test_what_a_person_changes_while_a_definition_is_applied_is_not_overwritten(scene: Scene) -> None:
    scene.apply(definition("acme", "p1"))
    put, others = scene.tenants.put_tenant, [replace(definition("acme", "p1"), name="Others were here")]

    def late(definition: TenantDefinition, now_ms: int) -> bool:
        if others:
            held = scene.tenants.tenant("acme")
            assert held is not None
            assert put(replace(others.pop(), revision=held.revision), now_ms)
        return put(definition, now_ms)

    scene.tenants.put_tenant = late  # type: ignore[method-assign]
    with pytest.raises(LeaseLost, match="was changed by another writer meanwhile"):
        scene.apply(definition("acme", "p1", plan="gold"))
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert (held.name, held.plan) == ("Others were here", None)
    # What a tag brings meanwhile is kept, and no reason to refuse.
    tagged = ProfileReference("p9", "p9", tagged=True)
    others.append(replace(held, profiles=(*held.profiles, tagged)))
    scene.apply(definition("acme", "p1", plan="gold"))
    held = scene.tenants.tenant("acme")
    assert held is not None
    assert (held.plan, [one.id for one in held.profiles]) == ("gold", ["p1", "p9"])


def test_each_change_is_noted_once(scene: Scene) -> None:
    wanted = definition("acme", "p1", limits=(limit("1h"),), name="Acme")
    scene.apply(wanted)
    scene.apply(wanted)
    scene.apply(definition("acme", "p1", name="Acme"))
    first, second = scene.audit.entries
    assert (first.what, first.by, first.before) == ("apply", "somebody", None)
    assert first.after is not None
    assert first.after["name"] == "Acme"
    assert second.after == {"limits": []}
    assert second.before is not None
    assert second.before["limits"] == [
        "name=total_tokens-1h,meter=total_tokens,window=1h,max=1000,hard=false,thresholds=50+80+100"
    ]
