"""Definitions, mappings, audit entries, suspensions and principals: what the doubles and DynamoDB both promise."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.suspension import resume, suspend
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import number, text
from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace, control_plane_client
from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import BY_TAG, MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.ownership import ProfileMapping
from bedrock_meter.tenants.plans import parse_plan
from bedrock_meter.tenants.profiles import route_of
from bedrock_meter.tenants.tenant import BoostGrant, ProfileReference, TenantDefinition
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import MemoryAudit, MemoryTenantStore

FULL = TenantDefinition(
    "acme",
    "Europe/Berlin",
    "gold",
    (ProfileReference("p1", "arn:p1", "a.model", "geo", tagged=True, geography="eu"), ProfileReference("p2", "p2")),
    name="Acme, Limited",
    removed_ms=NOW_MS,
)
PERIODS = (
    MappingPeriod("acme", 0, NOW_MS, "a.model", "geo", BY_TAG),
    MappingPeriod("globex", NOW_MS),
)


@dataclass
class Stores:
    """One implementation."""

    tenants: Any
    audit: Any


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return Stores(MemoryTenantStore(), MemoryAudit())
    tables: Tables = request.getfixturevalue("tables")
    client = request.getfixturevalue("endpoint").client("dynamodb")
    return Stores(PynamoDBTenantStore(tables), DynamoDBAuditTrail(client, tables))


def test_a_definition_comes_back_and_is_written_over_what_was_read_only(stores: Stores) -> None:
    store = stores.tenants
    assert store.tenant("acme") is None
    assert store.put_tenant(FULL, NOW_MS)
    held = store.tenant("acme")
    assert (held, held.revision) == (FULL, 1)
    assert not store.put_tenant(FULL, NOW_MS), "somebody was first"
    assert store.put_tenant(replace(held, name=None, removed_ms=None), NOW_MS)
    assert not store.put_tenant(held, NOW_MS)
    assert store.tenant("acme") == replace(FULL, name=None, removed_ms=None)


def test_a_tenants_own_limits_come_back_and_old_definitions_have_none(stores: Stores) -> None:
    hour, removes = limit("1h", name="hour"), ("month",)
    own = TenantDefinition("acme", "Europe/Berlin", limits=(hour, limit("month")), removes=removes)
    grants = (
        BoostGrant("hour", Boost(1, NOW_MS, permille=500), "fair", "x"),
        BoostGrant("m", Boost(1, 2, 3), "ü", "y"),
        BoostGrant("cost", Boost(1, 9, 3), "fair", "x", Meter.COST_USD, ended_ms=5),
    )
    own = replace(own, boosts=grants)
    assert stores.tenants.put_tenant(own, NOW_MS)
    assert stores.tenants.tenant("acme") == own
    old = TenantDefinition("globex", is_whole=False)
    assert stores.tenants.put_tenant(old, NOW_MS)
    assert stores.tenants.tenant("globex") == old
    assert stores.tenants.put_tenant(TenantDefinition("globex", revision=1), NOW_MS)
    assert stores.tenants.tenant("globex") == TenantDefinition("globex")


def test_a_plan_comes_back_and_is_written_over_what_was_read_only(stores: Stores) -> None:
    store = stores.tenants
    gold = parse_plan({"name": "gold", "limits": [{"meter": "usd", "window": "month", "max": "12.5"}]})
    free = parse_plan({"name": "free", "default": True})
    assert not store.plans()
    assert store.put_plan(gold, NOW_MS)
    assert store.put_plan(free, NOW_MS)
    assert not store.put_plan(gold, NOW_MS), "somebody was first"
    found = store.plans()
    assert list(found) == [free, gold]
    assert [one.revision for one in found] == [1, 1]
    assert store.put_plan(replace(found[1], is_default=True), NOW_MS)
    assert not store.remove_plan(found[1])
    assert store.remove_plan(store.plans()[1])
    assert list(store.plans()) == [free]
    assert [one for one in store.everything() if isinstance(one, TenantDefinition)] == []


def test_a_mapping_comes_back_and_is_written_over_what_was_read_only(stores: Stores) -> None:
    store = stores.tenants
    assert store.periods("p1") == (0, ())
    assert store.put_periods("p1", 0, PERIODS)
    version, periods = store.periods("p1")
    assert tuple(periods) == PERIODS
    assert not store.put_periods("p1", 0, PERIODS)
    assert store.put_periods("p1", version, PERIODS[:1])
    assert not store.put_periods("p1", version, PERIODS)


def test_everything_is_all_definitions_and_mappings_and_no_history(stores: Stores) -> None:
    store = stores.tenants
    store.put_tenant(FULL, NOW_MS)
    store.put_tenant(TenantDefinition("globex"), NOW_MS)
    store.put_periods("p1", 0, PERIODS)
    stores.audit.record(AuditEntry("acme", NOW_MS, "x", "add", None, {}))
    found = list(store.everything())
    definitions = {one.id: one for one in found if isinstance(one, TenantDefinition)}
    (mapping,) = (one for one in found if isinstance(one, ProfileMapping))
    assert definitions == {"acme": FULL, "globex": TenantDefinition("globex")}
    assert {one.id: one for one in store.all_tenants()} == definitions
    assert {one.revision for one in definitions.values()} == {1}
    assert (mapping.profile, mapping.version, tuple(mapping.periods)) == ("p1", 1, PERIODS)


def test_history_is_whole_newest_first_and_of_one_tenant(stores: Stores) -> None:
    first = AuditEntry("acme", NOW_MS, "arn:x", "add", None, {"name": "Ü", "limits": ["a"]})
    second = AuditEntry("acme", NOW_MS + 1, "arn:y", "suspend", {"suspended": False}, {"suspended": True})
    for entry in (first, second, replace(first, tenant="acme2")):
        stores.audit.record(entry)
    assert list(stores.audit.history("acme")) == [second, first]
    assert list(stores.audit.history("acme", 1)) == [second]
    assert list(stores.audit.history("nobody")) == []


def test_two_changes_of_one_instant_are_two_entries(stores: Stores) -> None:
    entry = AuditEntry("acme", NOW_MS, "x", "add", None, {"n": 1})
    stores.audit.record(entry)
    stores.audit.record(replace(entry, after={"n": 2}))
    assert len(list(stores.audit.history("acme"))) == 2


def test_forgetting_takes_words_out_of_one_tenants_history(stores: Stores) -> None:
    entry = AuditEntry("acme", NOW_MS, "x", "apply", {"name": "A", "plan": "p"}, {"name": "B", "plan": "q"})
    for one in (entry, replace(entry, before=None, after={"plan": "r"}), replace(entry, tenant="globex")):
        stores.audit.record(one)
    looks: list[str] = []
    assert stores.audit.forget("acme", frozenset({"name"}), NOW_MS - 1, lambda: looks.append("x")) == 0, "later words"
    assert stores.audit.forget("acme", frozenset({"name"}), NOW_MS, lambda: looks.append("x")) == 1
    assert stores.audit.forget("acme", frozenset({"name"}), NOW_MS, lambda: looks.append("x")) == 0
    assert looks == ["x"] * 3
    afters = [one.after for one in stores.audit.history("acme")]
    assert {"plan": "q"} in afters
    assert next(iter(stores.audit.history("globex"))).after == {"name": "B", "plan": "q"}


# --- what only DynamoDB has


def test_an_item_of_an_earlier_version_is_read_and_written(tables: Tables, endpoint: Endpoint) -> None:
    client = endpoint.client("dynamodb")
    profile = {"M": {"id": text("p1"), "arn": text("p1"), "model": text("-")}}
    period = {"M": {"tenant": text("acme"), "from_ms": number(0), "model": text("-")}}
    old = {"schema": number(1), "tenant": text("acme"), "timezone": text("UTC"), "updated_ms": number(NOW_MS)}
    tenant_item = {"pk": text("TENANT#acme"), "sk": text("TENANT"), **old, "profiles": {"L": [profile]}}
    mapping_item = {"pk": text("PROFILE#p1"), "sk": text("MAPPING"), "version": number(3), "periods": {"L": [period]}}
    for item in (tenant_item, mapping_item):
        client.put_item(TableName=tables.tenants, Item=item)
    store = PynamoDBTenantStore(tables)
    held = store.tenant("acme")
    assert held == TenantDefinition("acme", profiles=(ProfileReference("p1", "p1"),), is_whole=False)
    assert store.put_tenant(held, NOW_MS)
    assert DynamoDBDirectoryStore(client, tables).mappings(["p1"]) == {"p1": (MappingPeriod("acme"),)}
    assert {type(one) for one in store.everything()} == {TenantDefinition, ProfileMapping}


def test_a_suspension_is_one_conditional_update_that_raises_rev_and_holds_nobody_up(
    tables: Tables, endpoint: Endpoint
) -> None:
    client = endpoint.client("dynamodb")
    store = DynamoDBSuspensionStore(client, tables)
    stopped = suspend(None, "unpaid", "x", NOW_MS)
    assert stopped is not None
    assert store.suspension("acme") == (False, None)
    assert not store.put_suspension("acme", stopped, None), "no gauge comes into being by it"
    gauges.create(client, tables.quotas, "acme")
    assert store.put_suspension("acme", stopped, None)
    assert not store.put_suspension("acme", stopped, None)
    gauge = gauges.load_one(client, tables.quotas, "acme")
    assert gauge is not None
    assert (gauge.rev, gauge.suspension, gauge.buckets, gauge.lease) == (1, stopped, {}, None)
    client.update_item(**gauges.add_request(tables.quotas, "acme", 0, {"0a": 5}))
    over = resume(stopped, "y", NOW_MS + 1)
    assert over is not None
    assert store.put_suspension("acme", over, stopped)
    assert store.suspension("acme") == (True, over)


def test_principals_are_found_by_tenant_and_forgotten_once(tables: Tables, endpoint: Endpoint) -> None:
    client = endpoint.client("dynamodb")
    for index in range(30):
        item = {"pk": text(f"k{index:02}"), "tenant": text("acme" if index % 3 else "globex"), "input": number(7)}
        if index % 2:
            item["principal"] = text("arn:aws:sts::123456789012:assumed-role/service/jane.doe")
        client.put_item(TableName=tables.ledger, Item=item)
    store = DynamoDBPrincipalStore(client, tables)
    assert store.read_units() >= 0
    pages = list(store.pages("acme", None))
    keys = [key for page, _, _ in pages for key in page]
    assert sorted(keys) == [f"k{index:02}" for index in range(30) if index % 2 and index % 3]
    assert (sum(read for _, read, _ in pages), pages[-1][2]) == (30, None)
    # For whoever has little time a page is bounded, and the next one begins where it ended.
    bounded = DynamoDBPrincipalStore(client, tables, page=7)
    first, read, position = next(bounded.pages("acme", None))
    assert (read, position is not None) == (7, True)
    rest = list(bounded.pages("acme", position))
    assert [number for _, number, _ in rest][:3] == [7, 7, 7]
    assert sorted([*first, *(key for page, _, _ in rest for key in page)]) == sorted(keys)
    assert [store.forget("acme", key) for key in keys] == [True] * len(keys)
    assert not store.forget("acme", keys[0])
    assert not store.forget("acme", "k03"), "another tenant's"
    assert [key for page, _, _ in store.pages("acme", None) for key in page] == []
    left = client.get_item(TableName=tables.ledger, Key={"pk": text(keys[0])})["Item"]
    assert (left["input"], left["tenant"]) == (number(7), text("acme"))
    assert "principal" in client.get_item(TableName=tables.ledger, Key={"pk": text("k03")})["Item"]


def test_the_control_plane_of_the_local_stack_makes_tags_and_deletes(standard_settings: None) -> None:
    plane = BedrockControlPlane(control_plane_client(), Pace())
    source = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0"
    made = plane.create("contract-1", source, {"tenantId": "acme"}, "t" * 64)
    assert plane.tags(made.arn) == {"tenantId": "acme"}
    found = plane.profile(made.id)
    assert found is not None
    assert (found.arn, found.name, route_of(found.models)) == (made.arn, "contract-1", route_of([source]))
    assert [one.id for one in plane.application_profiles() if one.id == made.id] == [made.id]
    assert all(":application-inference-profile/" in one.arn for one in plane.application_profiles())
    assert plane.delete(made.id)
    assert not plane.delete(made.id)
    assert (plane.profile(made.id), plane.tags(made.arn)) == (None, None)
