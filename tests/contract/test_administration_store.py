"""Lists, claims and the log of changes: our double and the local stack keep the same promises."""

from typing import Any

import pytest

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import Tables
from bedrock_meter.storage.administration import DynamoDBAdministrationStore
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.keys import plan_key
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.administration import AdministrationStore
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.onboarding import TenantStore
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.administration import MemoryTenants
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import MemoryAudit

Both = tuple[AdministrationStore, TenantStore, AuditTrail]


@pytest.fixture(params=["memory", "dynamodb"])
def both(request: pytest.FixtureRequest) -> Both:
    if request.param == "memory":
        memory = MemoryTenants()
        return memory, memory, memory.audit
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    tables: Tables = request.getfixturevalue("tables")
    client = endpoint.client("dynamodb")
    return DynamoDBAdministrationStore(client, tables), PynamoDBTenantStore(tables), DynamoDBAuditTrail(client, tables)


def change(tenant: str, at_ms: int = NOW_MS, **after: Any) -> AuditEntry:
    return AuditEntry(tenant, at_ms, "arn:aws:iam::123456789012:user/admin", "put", None, after or {"plan": "gold"})


def test_a_new_tenant_is_claimed_once(both: Both) -> None:
    store, tenants, trail = both
    assert store.updated_ms("acme") is None
    assert store.claim(None, "Asia/Tokyo", change("acme"))
    assert not store.claim(None, "UTC", change("acme"))
    assert tenants.tenant("acme") == TenantDefinition("acme", "Asia/Tokyo")
    assert store.updated_ms("acme") == NOW_MS
    assert trail.page("acme", None, 10) == ([change("acme")], None)


def test_of_two_claims_on_one_state_one_holds_and_only_it_is_noted(
    both: Both,
) -> None:
    store, tenants, trail = both
    tenants.put_tenant(TenantDefinition("acme", plan="old"), NOW_MS)
    assert store.claim(NOW_MS, "UTC", change("acme", NOW_MS, plan="first"))
    assert not store.claim(NOW_MS, "UTC", change("acme", NOW_MS, plan="second"))
    # Another version also where the clock has not moved on.
    assert store.updated_ms("acme") == NOW_MS + 1
    assert not store.claim(7, "UTC", change("globex"))
    found, _ = trail.page("acme", None, 10)
    assert [one.after for one in found] == [{"plan": "first"}]
    assert trail.page("globex", None, 10) == ([], None)
    assert tenants.tenant("acme") == TenantDefinition("acme", plan="old")


def test_changes_are_newest_first_and_in_pages(both: Both) -> None:
    store, _, trail = both
    assert store.claim(None, "UTC", change("acme", NOW_MS, step=0))
    for step in range(1, 5):
        seen_ms = store.updated_ms("acme")
        assert store.claim(seen_ms, "UTC", change("acme", NOW_MS + step, step=step))
    first, after = trail.page("acme", None, 3)
    assert after is not None
    second, end = trail.page("acme", after, 3)
    assert [(one.after or {})["step"] for one in (*first, *second)] == [4, 3, 2, 1, 0]
    assert end is None
    assert first[0] == change("acme", NOW_MS + 4, step=4)


@pytest.mark.parametrize("kind", ["memory", "dynamodb"])
def test_changes_of_a_plan_lie_apart_and_come_in_pages(kind: str, request: pytest.FixtureRequest) -> None:
    trails: tuple[AuditTrail, AuditTrail]
    if kind == "memory":
        trails = MemoryAudit(), MemoryAudit()
    else:
        tables: Tables = request.getfixturevalue("tables")
        client = request.getfixturevalue("endpoint").client("dynamodb")
        trails = DynamoDBAuditTrail(client, tables, plan_key), DynamoDBAuditTrail(client, tables)
    of_plans, of_tenants = trails
    for step in range(5):
        of_plans.record(change("gold", NOW_MS + step, step=step))
    of_tenants.record(change("gold", NOW_MS, step=9))
    steps, after = [], None
    for _ in range(9):
        page, after = of_plans.page("gold", after, 2)
        assert len(page) <= 2
        steps += [(one.after or {})["step"] for one in page]
        if after is None:
            break
    assert steps == [4, 3, 2, 1, 0]
    assert [one.after for one in of_tenants.page("gold", None, 5)[0]] == [{"step": 9}]


def test_tenants_are_listed_among_everything_else(both: Both) -> None:
    store, tenants, _ = both
    wanted = {}
    for number in range(8):
        definition = TenantDefinition(
            f"t{number}", "UTC", "gold" if number % 2 else None, (ProfileReference(f"p{number}", f"p{number}", "m"),),
            principals=("arn:aws:iam::123456789012:role/worker",) if number == 5 else (),
            fail_policy="closed" if number == 3 else None,
        )  # fmt: skip
        wanted[definition.id] = definition
        tenants.put_tenant(definition, NOW_MS + number)
        tenants.put_periods(f"p{number}", 0, [MappingPeriod(definition.id)])
        store.claim(NOW_MS + number, "UTC", change(definition.id, NOW_MS + 100 + number))
    found, after = {}, None
    for _ in range(50):
        page, after = store.page(after, 3)
        assert len(page) <= 3
        for one in page:
            assert one.definition.id not in found
            found[one.definition.id] = one
        if after is None:
            break
    assert {name: one.definition for name, one in found.items()} == wanted
    assert found["t5"].updated_ms == NOW_MS + 105
