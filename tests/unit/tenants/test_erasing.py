"""Forgetting a tenant's persons: when it may begin, what goes, what stays, and what a tenant that comes back keeps."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import parse_window
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.erasing import ERASED, Erasable, NotErasable, Persons, check_erasable, forget_persons
from bedrock_meter.tenants.leaving import STEP_MS, Leaving
from bedrock_meter.tenants.offboarding import Actor, remove_tenant, resume_tenant, suspend_tenant
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.tenant import BoostGrant, ProfileReference, TenantDefinition
from tests.doubles.memory import MemoryInstallationStore, MemorySuspensionStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import MemoryAudit, MemoryPrincipals, MemoryTenantStore

ROLE = "arn:aws:iam::123456789012:role/mr-smith"
SESSION = "arn:aws:sts::123456789012:assumed-role/dev/mr-smith"
PATTERN = "arn:aws:sts::123456789012:assumed-role/dev/mr-s*"
OVER_MS = NOW_MS + HANDOVER_MS
LIMIT = Limit("hour", Meter.TOTAL_TOKENS, parse_window("1h", "UTC"), 1_000)


class Scene:
    """acme with a profile, a principal that it has and two that it had, a boost, and a suspension that ended."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.tenants, self.audit, self.gauges = MemoryTenantStore(), MemoryAudit(), MemoryTables()
        self.words = MemorySuspensionStore(self.gauges)
        self.installation = MemoryInstallationStore(self.gauges)
        self.ledger = MemoryPrincipals({f"k{number}": ("acme", SESSION) for number in range(6)})
        for name in (ROLE, SESSION, PATTERN):
            ended_ms = None if name == ROLE else NOW_MS - 1
            self.tenants.put_principal_periods(name, 0, [MappingPeriod("acme", 0, ended_ms)])
        self.tenants.put_periods("p1", 0, [MappingPeriod("acme")])
        self.grant = BoostGrant("hour", Boost(NOW_MS, NOW_MS + 10**9, 5), "Mr Smith has a launch", "somebody")
        self.definition = TenantDefinition(
            "acme", name="Smith", profiles=(ProfileReference("p1", "p1"),), principals=(ROLE,), boosts=(self.grant,)
        )
        self.tenants.put_tenant(self.definition, NOW_MS)
        self.install(self.grant.boost)
        suspend_tenant(self.words, "acme", "Mr Smith did not pay", self.actor)
        resume_tenant(self.words, "acme", self.actor)
        boosts = {"boosts": [self.grant.document("acme")]}
        self.audit.record(AuditEntry("acme", NOW_MS, "somebody", "boost", {"boosts": []}, boosts))

    @property
    def actor(self) -> Actor:
        return Actor("somebody", self.now_ms, self.audit)

    @property
    def persons(self) -> Persons:
        return Persons(self.tenants, self.words, self.audit, lambda: self.now_ms, self.installation)

    def install(self, *boosts: Boost) -> None:
        wanted = [replace(LIMIT, boosts=boosts)]
        install_limits(self.installation, "acme", wanted, clock=lambda: self.now_ms, new_id=lambda: "x")

    def boosts(self) -> tuple[Boost, ...]:
        return self.gauges.gauges["acme"].layout.limits[0].limit.boosts

    def remove(self) -> None:
        remove_tenant(self.tenants, "acme", self.actor)
        self.now_ms = OVER_MS

    def erasable(self) -> Erasable:
        return check_erasable(self.tenants, "acme", self.now_ms)

    def come_back(self) -> None:
        """Be added again, as before, by somebody who saw the removed tenant."""
        held = self.tenants.definitions["acme"]
        back = replace(self.definition, name="New Smith", revision=held.revision)
        assert self.tenants.put_tenant(back, self.now_ms)


def test_all_of_its_persons_go_and_what_counts_stays() -> None:
    scene = Scene()
    scene.remove()
    changed = forget_persons(scene.persons, scene.erasable(), "somebody")
    assert changed == 3
    everything = repr(
        (
            scene.tenants.definitions,
            scene.tenants.principals_by_name,
            scene.audit.entries,
            scene.words.suspension("acme"),
        )
    )
    assert "mith" not in everything
    suspension = scene.words.suspension("acme")[1]
    assert suspension is not None
    assert (suspension.ordinal, suspension.reason, suspension.by, suspension.resumed_by) == (2, ERASED, ERASED, ERASED)
    assert (scene.tenants.definitions["acme"].boosts, scene.boosts()) == ((), ())
    assert {one.what for one in scene.audit.entries} == {"suspend", "resume", "boost", "remove", "erase"}
    assert scene.tenants.forgotten == {ROLE: OVER_MS, SESSION: NOW_MS - 1, PATTERN: NOW_MS - 1}
    assert forget_persons(scene.persons, scene.erasable(), "somebody") == 0


def test_it_waits_for_the_end_of_every_period() -> None:
    scene = Scene()
    with pytest.raises(NotErasable, match="still there: `bedrock-meter tenants remove acme` first"):
        scene.erasable()
    with pytest.raises(NotErasable, match="no tenant nobody"):
        check_erasable(scene.tenants, "nobody", NOW_MS)
    scene.remove()
    scene.now_ms = OVER_MS - 1
    with pytest.raises(NotErasable, match="for another minute"):
        scene.erasable()
    scene.now_ms = OVER_MS
    assert scene.erasable().principals == (ROLE, SESSION, PATTERN)
    for put, name, kind in (
        (scene.tenants.put_periods, "p2", "profile p2"),
        (scene.tenants.put_principal_periods, "other", "principal other"),
    ):
        handed_over = [MappingPeriod("acme", 0, OVER_MS + 1), MappingPeriod("globex", OVER_MS + 1)]
        put(name, 0, handed_over)
        with pytest.raises(NotErasable, match=f"{kind} is acme's for another minute"):
            scene.erasable()
        put(name, 1, [replace(handed_over[0], to_ms=OVER_MS), handed_over[1]])
    assert "other" in scene.erasable().principals


def test_a_removed_tenant_waits_for_those_who_remember_it_by_name_alone() -> None:
    """Nothing is mapped: a gateway's metadata may still name it while recorders remember that it is registered."""
    scene = Scene()
    scene.tenants.put_tenant(TenantDefinition("bare", removed_ms=NOW_MS), NOW_MS)
    with pytest.raises(NotErasable, match="calls can be bare's for another minute"):
        check_erasable(scene.tenants, "bare", OVER_MS - 1)
    assert check_erasable(scene.tenants, "bare", OVER_MS).principals == ()


@pytest.mark.parametrize("write", range(4))
def test_a_tenant_that_comes_back_at_any_write_keeps_what_it_has_from_then_on(write: int) -> None:
    scene = Scene()
    scene.remove()
    erasable, left = scene.erasable(), [write]

    def come_back(what: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            scene.tenants.before_write = lambda what: None
            scene.come_back()

    scene.tenants.before_write = come_back
    with pytest.raises(NotErasable, match="added again"):
        forget_persons(scene.persons, erasable, "somebody")
    definition = scene.tenants.definitions["acme"]
    assert (definition.name, definition.principals, definition.boosts) == ("New Smith", (ROLE,), (scene.grant,))


def test_a_boost_of_a_tenant_that_came_back_stands_on_its_gauge_as_in_its_definition() -> None:
    scene = Scene()
    scene.remove()
    erasable = scene.erasable()
    scene.come_back()
    with pytest.raises(NotErasable, match="added again"):
        forget_persons(scene.persons, erasable, "somebody")
    assert scene.boosts() == (scene.grant.boost,)


def test_words_that_are_written_later_stay() -> None:
    scene = Scene()
    scene.remove()
    erasable = scene.erasable()
    later = AuditEntry("acme", OVER_MS + 1, "somebody", "apply", None, {"name": "New Smith"})
    scene.audit.record(later)
    forget_persons(scene.persons, erasable, "somebody")
    assert later in scene.audit.entries


def test_callers_go_in_steps_and_not_those_of_a_tenant_that_came_back() -> None:
    scene = Scene()
    scene.remove()
    looks = [0]

    def clock() -> int:
        looks[0] += 1
        return OVER_MS + looks[0] * STEP_MS

    leaving = Leaving(scene.tenants, scene.words, scene.audit, scene.ledger, clock=clock)
    first = leaving.erase("acme", "somebody", None)
    assert first is not None
    assert (first.words, first.read, first.principals, first.position) == (3, 2, 2, "2")
    second = leaving.erase("acme", "somebody", "2")
    assert second is not None
    assert (second.words, second.principals, second.position) == (0, 2, "4")
    scene.come_back()
    with pytest.raises(NotErasable, match="added again"):
        leaving.erase("acme", "somebody", "4")
    assert scene.ledger.entries["k5"] == ("acme", SESSION)
    assert leaving.erase("nobody", "somebody", None) is None


def test_the_last_step_forgets_what_an_evaluation_wrote_meanwhile() -> None:
    scene = Scene()
    scene.remove()
    asked: list[Callable[[], None]] = []

    def forget_words(tenant: str, until_ms: int, still: Callable[[], None]) -> int:
        still()
        asked.append(still)
        return 0

    scene.words.forget_words = forget_words  # type: ignore[method-assign]
    Leaving(scene.tenants, scene.words, scene.audit, scene.ledger, clock=lambda: OVER_MS).erase("acme", "x", None)
    assert len(asked) == 2
