"""Suspending and removing: safe twice, safe to stop anywhere, and usage stays."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, MappingPeriod
from bedrock_meter.tenants.offboarding import (
    Actor,
    Deletion,
    deletable,
    remove_tenant,
    resume_tenant,
    suspend_tenant,
)
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import (
    HAIKU,
    Killed,
    MemoryAudit,
    MemoryControlPlane,
    MemoryTenantStore,
)


class MemorySuspensions:
    """``SuspensionStore`` of one tenant; ``between`` runs before each write."""

    def __init__(self) -> None:
        self.held: Suspension | None = None
        self.between: Callable[[], None] = lambda: None

    def suspension(self, tenant: str) -> tuple[bool, Suspension | None]:
        return tenant == "acme", self.held

    def put_suspension(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        self.between()
        if self.held != seen:
            return False
        self.held = suspension
        return True


class Scene:
    """A tenant with two profiles, one of them by a tag."""

    def __init__(self) -> None:
        self.tenants = MemoryTenantStore()
        self.control = MemoryControlPlane()
        self.audit = MemoryAudit()
        self.suspensions = MemorySuspensions()
        references = []
        for profile, by in (("p1", BY_PERSON), ("p2", BY_TAG)):
            made = self.control.add(profile, HAIKU, tenantId="acme")
            references.append(ProfileReference(profile, made.arn, tagged=by == BY_TAG))
            self.tenants.put_periods(profile, 0, [MappingPeriod("acme", by=by)])
        self.tenants.put_tenant(TenantDefinition("acme", name="Acme", profiles=tuple(references)), NOW_MS)

    def actor(self, now_ms: int = NOW_MS) -> Actor:
        return Actor("somebody", now_ms, self.audit)

    def last(self, profile: str) -> MappingPeriod:
        return self.tenants.periods(profile)[1][-1]


def test_suspending_twice_keeps_the_first_reason_and_is_noted_once() -> None:
    scene = Scene()
    assert suspend_tenant(scene.suspensions, "acme", "unpaid", scene.actor())
    assert not suspend_tenant(scene.suspensions, "acme", "other", scene.actor())
    assert scene.suspensions.held is not None
    assert scene.suspensions.held.reason == "unpaid"
    assert resume_tenant(scene.suspensions, "acme", scene.actor(NOW_MS + 1))
    assert not resume_tenant(scene.suspensions, "acme", scene.actor())
    assert [(one.what, one.after) for one in scene.audit.entries] == [
        ("suspend", {"suspended": True, "reason": "unpaid"}),
        ("resume", {"suspended": False}),
    ]


def test_a_lost_reply_is_still_a_suspension_by_us() -> None:
    scene = Scene()

    def lose_the_reply() -> None:
        scene.suspensions.between = lambda: None
        scene.suspensions.held = Suspension(1, "unpaid", NOW_MS, "somebody")

    scene.suspensions.between = lose_the_reply
    assert suspend_tenant(scene.suspensions, "acme", "unpaid", scene.actor())


@pytest.mark.parametrize("reason", ["", "x" * 201, "two\nlines", "\x1b[31m"])
def test_a_reason_is_a_line_of_text(reason: str) -> None:
    with pytest.raises(InvalidDefinition, match="reason: must be 1 to 200 printable characters"):
        suspend_tenant(MemorySuspensions(), "acme", reason, Scene().actor())


def test_nobody_else_can_be_suspended_or_removed() -> None:
    scene = Scene()
    for attempt in (
        lambda: suspend_tenant(scene.suspensions, "nobody", "x", scene.actor()),
        lambda: resume_tenant(scene.suspensions, "nobody", scene.actor()),
        lambda: remove_tenant(scene.tenants, "nobody", scene.actor()),
    ):
        with pytest.raises(InvalidDefinition, match="there is no tenant nobody"):
            attempt()
    assert scene.audit.entries == []


def test_removing_ends_mappings_ahead_and_locks_them_against_tags() -> None:
    scene = Scene()
    removed = remove_tenant(scene.tenants, "acme", scene.actor())
    assert (removed.ended, removed.deleted, removed.effective_ms) == (("p1", "p2"), (), NOW_MS + HANDOVER_MS)
    assert [(scene.last(one).to_ms, scene.last(one).by) for one in ("p1", "p2")] == [
        (NOW_MS + HANDOVER_MS, BY_PERSON)
    ] * 2
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert (definition.profiles, definition.removed_ms, definition.name) == ((), NOW_MS, "Acme")
    assert len(scene.control.profiles) == 2
    again = remove_tenant(scene.tenants, "acme", scene.actor(NOW_MS + 5))
    assert (again.changed, again.ended) == (False, ())
    assert len(scene.audit.entries) == 1


@pytest.mark.parametrize("writes", range(3))
def test_removing_can_stop_at_any_write_and_go_on(writes: int) -> None:
    scene = Scene()
    left = [writes]

    def die(what: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    scene.tenants.before_write = die
    with pytest.raises(Killed):
        remove_tenant(scene.tenants, "acme", scene.actor())
    scene.tenants.before_write = lambda what: None
    remove_tenant(scene.tenants, "acme", scene.actor())
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert (definition.profiles, definition.removed_ms) == ((), NOW_MS)
    assert {scene.last(one).to_ms for one in ("p1", "p2")} == {NOW_MS + HANDOVER_MS}


def test_profiles_are_deleted_if_they_still_carry_the_tenants_tag_also_later() -> None:
    scene = Scene()
    remove_tenant(scene.tenants, "acme", scene.actor())
    scene.control.tags_by_arn[scene.control.profiles["p2"].arn] = {"tenantId": "globex"}
    scene.control.add("stranger", HAIKU, tenantId="acme")
    found = deletable(scene.control, scene.tenants, "acme")
    assert [one.id for one in found] == ["p1", "p2"]
    deletion = Deletion(found, scene.control, "tenantId")
    removed = remove_tenant(scene.tenants, "acme", scene.actor(), deletion=deletion)
    assert ([arn[-2:] for arn in removed.deleted], [arn[-2:] for arn in removed.kept]) == (["p1"], ["p2"])
    assert set(scene.control.profiles) == {"p2", "stranger"}


def test_principals_leave_with_their_tenant() -> None:
    scene = Scene()
    role = "arn:aws:iam::123456789012:role/mr-smith"
    held = scene.tenants.tenant("acme")
    assert held is not None
    scene.tenants.put_principal_periods(role, 0, [MappingPeriod("acme")])
    scene.tenants.put_tenant(replace(held, principals=(role,)), NOW_MS)
    removed = remove_tenant(scene.tenants, "acme", scene.actor())
    assert role in removed.ended
    assert scene.tenants.principal_periods(role)[1][-1].to_ms == NOW_MS + HANDOVER_MS
    assert not remove_tenant(scene.tenants, "acme", scene.actor()).changed
