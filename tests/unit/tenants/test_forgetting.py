"""Forgetting one person by name: everywhere, whoever the tenant, and only once nothing is mapped to it."""

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.tenants.attribution import UNATTRIBUTED, MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.erasing import ERASED, Caller, NotErasable
from bedrock_meter.tenants.forgetting import Forgetting, caller_of
from bedrock_meter.tenants.leaving import Step
from bedrock_meter.tenants.offboarding import Actor, suspend_tenant
from bedrock_meter.tenants.tenant import BoostGrant, TenantDefinition
from bedrock_meter.tenants.trust import Trust
from tests.doubles.memory import MemoryInstallationStore, MemorySuspensionStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import MemoryAudit, MemoryHistory, MemoryPrincipals, MemoryTenantStore

ROLE = "arn:aws:iam::123456789012:role/dev"
ANN, BOB = (f"arn:aws:sts::123456789012:assumed-role/dev/{name}" for name in ("ann", "bob"))
OTHER_ROLE = "arn:aws:sts::123456789012:assumed-role/developers/ann"


class Scene:
    def __init__(self) -> None:
        self.tenants, self.audit, self.gauges = MemoryTenantStore(), MemoryAudit(), MemoryTables()
        self.suspensions = MemorySuspensionStore(self.gauges)
        self.ledger = MemoryPrincipals(
            {"k0": ("acme", ANN), "k1": (UNATTRIBUTED, ANN), "k2": ("acme", BOB), "k3": ("globex", OTHER_ROLE)}
        )
        grant = BoostGrant("hour", Boost(NOW_MS, NOW_MS + 9, 5), "launch", ANN)
        self.tenants.put_tenant(TenantDefinition("acme", principals=(ANN, BOB), boosts=(grant,)), NOW_MS)
        self.tenants.put_principal_periods(ANN, 0, [MappingPeriod("acme", 0, NOW_MS)])
        self.audit.record(AuditEntry("acme", NOW_MS, ANN, "apply", None, {"timezone": "UTC"}))
        self.forgetting = Forgetting(
            self.tenants,
            self.suspensions,
            self.audit,
            MemoryHistory(self.audit),
            self.ledger,
            clock=lambda: NOW_MS,
        )

    def erase(self, name: str, *, dry_run: bool = False) -> Step:
        return self.forgetting.erase(name, "somebody", None, dry_run=dry_run)

    def callers(self) -> dict[str, str | None]:
        return {key: principal for key, (_, principal) in self.ledger.entries.items()}


def test_a_session_is_forgotten_everywhere_and_noted_without_its_name() -> None:
    scene = Scene()
    done = scene.erase(ANN)
    assert (done.words, done.read, done.principals, done.position) == (3, 4, 2, None)
    assert scene.callers() == {"k0": None, "k1": None, "k2": BOB, "k3": OTHER_ROLE}
    assert ANN not in repr((scene.tenants.definitions, scene.tenants.principals_by_name, scene.audit.entries))
    assert scene.tenants.definitions["acme"].boosts[0].by == ERASED
    assert scene.tenants.forgotten == {ANN: NOW_MS}
    note = scene.audit.entries[-1]
    assert (note.tenant, note.by, note.what, note.after) == (
        UNATTRIBUTED,
        "somebody",
        "erase principal",
        {"erased": True},
    )
    again = scene.erase(ANN)
    assert (again.words, again.principals) == (0, 0)


def test_a_dry_run_counts_the_same_and_changes_nothing() -> None:
    scene = Scene()
    before = repr((scene.tenants.__dict__, scene.audit.entries, scene.ledger.entries))
    done = scene.erase(ANN, dry_run=True)
    assert (done.words, done.principals) == (3, 2)
    assert repr((scene.tenants.__dict__, scene.audit.entries, scene.ledger.entries)) == before


def test_a_role_stands_for_all_its_sessions_and_for_no_role_that_begins_like_it() -> None:
    scene = Scene()
    scene.erase("arn:aws:iam::123456789012:role/some/path/dev")
    assert scene.callers() == {"k0": None, "k1": None, "k2": None, "k3": OTHER_ROLE}
    assert scene.tenants.definitions["acme"].principals == ()


def test_whoever_suspended_is_forgotten_and_the_reason_stays() -> None:
    scene = Scene()
    MemoryInstallationStore(scene.gauges).create_gauge("acme")
    suspend_tenant(scene.suspensions, "acme", "unpaid", Actor(ANN, NOW_MS, scene.audit))
    scene.erase(ANN)
    held = scene.suspensions.suspension("acme")[1]
    assert held is not None
    assert (held.by, held.resumed_by, held.reason) == (ERASED, "", "unpaid")


@pytest.mark.parametrize("name", [ANN, ROLE])
def test_it_is_refused_while_it_is_mapped(name: str) -> None:
    scene = Scene()
    scene.tenants.put_principal_periods(ANN, 1, [MappingPeriod("acme", 0, NOW_MS + 1)])
    with pytest.raises(NotErasable, match="mapped to acme: take it out there, wait 70 s"):
        scene.erase(name)
    assert (len(scene.audit.entries), scene.callers()["k0"]) == (1, ANN)


def test_a_gateway_is_refused() -> None:
    scene = Scene()
    scene.tenants.trusted = Trust(gateways=(ROLE,))
    with pytest.raises(NotErasable, match="it is a gateway"):
        scene.erase(ROLE)


@pytest.mark.parametrize("name", ["", "x" * 701, "two\nlines", ERASED])
def test_nobodys_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidDefinition, match="must be an ARN or another name"):
        Scene().erase(name)


def test_names_that_are_no_arn_are_taken_as_they_are() -> None:
    assert caller_of("jane@corp.example") == Caller("jane@corp.example")
    assert caller_of("jane@corp.example").sessions is None
    assert caller_of(ROLE).sessions == "arn:aws:sts::123456789012:assumed-role/dev"
    assert caller_of(ANN).is_named(ANN)
