"""``tenants add``: one profile for each tenant and source, whatever dies, gets lost or stands there already."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bedrock_meter.errors import InvalidDefinition, ProfileQuotaFull, ProfileRefused
from bedrock_meter.limits.limit import Limit
from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, MappingPeriod
from bedrock_meter.tenants.catalog import ADOPTED, CREATED, HAD, ProfileCatalog
from bedrock_meter.tenants.offboarding import Actor, Deletion, deletable, remove_tenant
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.profiles import InferenceProfile, profile_name
from bedrock_meter.tenants.provisioning import Added, Provisioner, Wanted
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import (
    GLOBAL_SONNET,
    HAIKU,
    HAIKU_ID,
    SONNET,
    SONNET_ID,
    Killed,
    MemoryAudit,
    MemoryControlPlane,
    MemoryTenantStore,
)


class Scene:
    """One account; each ``add`` is a command of its own, which knows nothing of the ones before."""

    def __init__(self) -> None:
        self.tenants = MemoryTenantStore()
        self.control = MemoryControlPlane()
        self.audit = MemoryAudit()
        self.gauges = MemoryTables()
        self.now_ms = NOW_MS

    def provisioner(self) -> Provisioner:
        return Provisioner(
            self.tenants,
            MemoryInstallationStore(self.gauges),
            ProfileCatalog(self.control, self.tenants, "tenantId"),
            self.audit,
            by="somebody",
            clock=lambda: self.now_ms,
            new_id=lambda: "x",
            extra_tags={"stage": "test"},
        )

    def add(self, tenant: str, *sources: str, dry_run: bool = False, **wanted: object) -> Added:
        return self.provisioner().add(
            Wanted(tenant, sources, **wanted),  # type: ignore[arg-type]
            dry_run=dry_run,
        )

    def owners(self) -> dict[str, list[str]]:
        return {profile: [one.tenant for one in found[1]] for profile, found in self.tenants.mappings_by_id.items()}

    @property
    def limits(self) -> list[Limit]:
        return [one.limit for one in self.gauges.gauges["acme"].layout.limits]


def hows(added: Added) -> list[str]:
    return [one.how for one in added.profiles]


def test_a_tenant_gets_limits_and_a_tagged_profile_for_each_model() -> None:
    scene = Scene()
    added = scene.add("acme", HAIKU, SONNET, GLOBAL_SONNET, timezone="Europe/Berlin", limits=(limit("1h"),))
    assert hows(added) == [CREATED] * 3
    assert [(one.model, one.routing, one.geography) for one in added.profiles] == [
        (HAIKU_ID, "in-region", None),
        (SONNET_ID, "geo", "us"),
        (SONNET_ID, "global", None),
    ]
    assert scene.limits == [limit("1h")]
    for one in added.profiles:
        assert scene.control.tags_by_arn[one.arn] == {"tenantId": "acme", "stage": "test"}
        (period,) = scene.tenants.periods(one.arn.rpartition("/")[2])[1]
        assert period == MappingPeriod("acme", 0, None, one.model, one.routing, BY_PERSON, one.geography)
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert definition.timezone == "Europe/Berlin"
    assert [one.arn for one in definition.profiles] == [one.arn for one in added.profiles]
    assert [one.geography for one in definition.profiles] == [None, "us", None]


def test_adding_twice_changes_nothing_and_asks_for_no_tags() -> None:
    scene = Scene()
    first = scene.add("acme", HAIKU, SONNET, limits=(limit("1h"),))
    entries, writes = len(scene.audit.entries), scene.tenants.writes
    scene.control.asked.clear()
    again = scene.add("acme", HAIKU, SONNET, limits=(limit("1h"),))
    assert again.changed == ()
    assert hows(again) == [HAD, HAD]
    assert [one.arn for one in again.profiles] == [one.arn for one in first.profiles]
    assert (len(scene.audit.entries), scene.tenants.writes) == (entries, writes)
    assert set(scene.control.asked) <= {"list", "get"}


def test_what_is_not_said_of_a_known_tenant_stays() -> None:
    scene = Scene()
    scene.add("acme", HAIKU, timezone="Europe/Berlin", plan="gold", name="Acme", limits=(limit("1h"),))
    added = scene.add("acme", SONNET, plan="platinum")
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert (definition.timezone, definition.plan, definition.name) == ("Europe/Berlin", "platinum", "Acme")
    assert len(definition.profiles) == 2
    assert scene.limits == [limit("1h")]
    assert added.changed == (f"created {SONNET_ID}", "tenant")


def test_a_dry_run_says_it_all_and_touches_nothing() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    added = scene.add("acme", HAIKU, SONNET, limits=(limit("1h"),), dry_run=True)
    assert added.changed == ("limits", f"adopted {HAIKU_ID}", f"created {SONNET_ID}", "tenant")
    assert (scene.tenants.definitions, scene.tenants.mappings_by_id, scene.audit.entries) == ({}, {}, [])
    assert list(scene.control.profiles) == ["p1"]
    assert scene.gauges.gauges == {}


def test_a_profile_with_the_right_tag_is_adopted_whoever_made_it() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.control.add("p2", HAIKU, tenantId="globex")
    scene.control.add("p3", HAIKU)
    added = scene.add("acme", HAIKU)
    assert hows(added) == [ADOPTED]
    assert scene.owners() == {"p1": ["acme"]}
    assert "create" not in scene.control.asked


@pytest.mark.parametrize("tags", [{}, {"tenantId": "globex"}])
def test_a_profile_of_the_same_name_that_is_not_the_tenants_is_refused(tags: dict[str, str]) -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, name=profile_name("acme", HAIKU), **tags)
    with pytest.raises(ProfileRefused, match="tag it tenantId=acme or delete it"):
        scene.add("acme", HAIKU)
    assert scene.owners() == {}
    assert scene.audit.entries == []


def test_a_profile_that_a_person_gave_to_another_tenant_is_not_adopted_for_its_tag() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.tenants.put_periods("p1", 0, [MappingPeriod("globex")])
    assert hows(scene.add("acme", HAIKU)) == [CREATED]
    assert scene.owners()["p1"] == ["globex"]


@pytest.mark.parametrize("references", [(), (ProfileReference("p1", "p1", HAIKU_ID, "in-region", tagged=True),)])
def test_what_a_tag_had_mapped_becomes_a_persons_when_a_person_adds_it(
    references: tuple[ProfileReference, ...],
) -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.tenants.put_periods("p1", 0, [MappingPeriod("acme", 0, None, HAIKU_ID, "in-region", BY_TAG)])
    scene.tenants.put_tenant(TenantDefinition("acme", profiles=references), NOW_MS)
    added = scene.add("acme", HAIKU)
    assert "create" not in scene.control.asked
    assert hows(added) == [ADOPTED]
    assert scene.tenants.periods("p1")[1][-1].by == BY_PERSON
    assert scene.add("acme", HAIKU).changed == ()


def killed_at(count: int) -> Callable[[str], None]:
    """Dies at the write of this number."""
    left = [count]

    def count_down(what: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return count_down


@pytest.mark.parametrize("forgets_tokens", [False, True])
def test_a_crash_between_creation_and_registration_ends_in_one_profile(forgets_tokens: bool) -> None:
    scene = Scene()
    scene.control.forgets_tokens = forgets_tokens

    def die(profile: InferenceProfile) -> None:
        raise Killed

    scene.control.after_create = die
    with pytest.raises(Killed):
        scene.add("acme", HAIKU, limits=(limit("1h"),))
    assert len(scene.control.profiles) == 1
    scene.control.after_create = lambda profile: None
    assert hows(scene.add("acme", HAIKU, limits=(limit("1h"),))) == [ADOPTED]
    assert len(scene.control.profiles) == 1
    assert scene.owners() == {"made00000000": ["acme"]}
    assert scene.add("acme", HAIKU, limits=(limit("1h"),)).changed == ()


@pytest.mark.parametrize("writes", range(4))
def test_a_crash_at_any_write_ends_in_the_same_place_after_a_second_run(writes: int) -> None:
    whole = Scene()
    whole.add("acme", HAIKU, SONNET, plan="gold")
    scene = Scene()
    scene.tenants.before_write = killed_at(writes)
    if writes < 3:
        with pytest.raises(Killed):
            scene.add("acme", HAIKU, SONNET, plan="gold")
    scene.tenants.before_write = lambda what: None
    scene.add("acme", HAIKU, SONNET, plan="gold")
    assert scene.owners() == whole.owners()
    assert scene.control.profiles == whole.control.profiles
    assert scene.tenants.definitions == whole.tenants.definitions
    assert scene.add("acme", HAIKU, SONNET, plan="gold").changed == ()


def test_a_token_that_is_answered_with_a_deleted_profile_is_changed() -> None:
    scene = Scene()
    scene.add("acme", HAIKU)
    actor = Actor("somebody", NOW_MS, scene.audit)
    gone = deletable(scene.control, scene.tenants, "acme")
    removed = remove_tenant(scene.tenants, "acme", actor, deletion=Deletion(gone, scene.control, "tenantId"))
    assert len(removed.deleted) == 1
    added = scene.add("acme", HAIKU)
    assert hows(added) == [CREATED]
    assert list(scene.control.profiles) == ["made00000001"]
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert definition.removed_ms is None


def test_a_profile_that_stayed_in_bedrock_comes_back_to_a_tenant_that_was_removed() -> None:
    scene = Scene()
    scene.add("acme", HAIKU)
    remove_tenant(scene.tenants, "acme", Actor("somebody", NOW_MS, scene.audit))
    added = scene.add("acme", HAIKU)
    assert hows(added) == [ADOPTED]
    assert added.effective_ms == NOW_MS + HANDOVER_MS
    assert len(scene.control.profiles) == 1


def test_a_full_quota_ends_it_and_what_was_made_is_found_again() -> None:
    scene = Scene()
    scene.control.quota = 1
    with pytest.raises(ProfileQuotaFull):
        scene.add("acme", HAIKU, SONNET)
    scene.control.quota = 2
    assert hows(scene.add("acme", HAIKU, SONNET)) == [ADOPTED, CREATED]
    assert len(scene.control.profiles) == 2


def test_somebody_elses_change_in_between_is_kept() -> None:
    scene = Scene()
    scene.add("acme", HAIKU, plan="gold")

    def rename(what: str) -> None:
        if what == "definition":
            scene.tenants.before_write = lambda what: None
            held = scene.tenants.definitions["acme"]
            scene.tenants.put_tenant(replace(held, name="Acme"), NOW_MS)

    scene.tenants.before_write = rename
    scene.add("acme", SONNET)
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert (definition.name, definition.plan, len(definition.profiles)) == ("Acme", "gold", 2)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (Wanted("acme", (SONNET.replace("us.", "xx."),)), "neither a foundation model nor a system-defined profile"),
        (Wanted("acme", (HAIKU,), models=("amazon.nova-micro-v1:0",)), "which is not among the models"),
        (Wanted("acme", (HAIKU, HAIKU.replace("us-east-1", "us-west-2"))), "are the same model and routing"),
    ],
)
def test_sources_that_cannot_be_are_refused_before_anything_is_done(wanted: Wanted, complaint: str) -> None:
    scene = Scene()
    with pytest.raises(InvalidDefinition, match=complaint):
        scene.provisioner().add(wanted)
    assert (scene.audit.entries, scene.gauges.gauges, scene.control.profiles) == ([], {}, {})


def test_a_zone_does_not_move_under_calendar_limits() -> None:
    scene = Scene()
    scene.add("acme", limits=(limit("day"),))
    with pytest.raises(InvalidDefinition, match="give limits as well"):
        scene.add("acme", timezone="Europe/Berlin")
    scene.add("acme", timezone="Europe/Berlin", limits=())
    assert scene.limits == []


def test_every_change_is_noted_with_who_and_what_before_it_is_made() -> None:
    scene = Scene()
    scene.add("acme", HAIKU, plan="gold")
    scene.now_ms += 5
    scene.add("acme", plan="silver")
    first, second = scene.audit.entries
    assert (first.by, first.what, first.before) == ("somebody", "add", None)
    assert first.after is not None
    assert first.after["new_profiles"] == [{"source": HAIKU, "how": CREATED}]
    assert (second.at_ms, second.before, second.after) == (NOW_MS + 5, {"plan": "gold"}, {"plan": "silver"})
    scene.tenants.before_write = killed_at(0)
    with pytest.raises(Killed):
        scene.add("acme", plan="bronze")
    assert scene.audit.entries[-1].after == {"plan": "bronze"}
