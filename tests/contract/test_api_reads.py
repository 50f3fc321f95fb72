"""What the quota API reads, over the local stack: a tenant's zone, its rows in pages, and its policy for outages."""

import pytest

from bedrock_meter.api.reports import DynamoDBReports
from bedrock_meter.api.wiring import reservations_over_dynamodb
from bedrock_meter.clock import now_ms
from bedrock_meter.errors import ForeignProfile
from bedrock_meter.limits.destination import Called
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.installation import install_fail_policy, install_limits
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.money import NANO
from bedrock_meter.settings import Tables
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import usage_sort_key
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import BY_TAG, MappingPeriod
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.contract.conftest import Stores
from tests.doubles.records import NOW_MS, limit, profile_arn

QUARTER = NOW_MS - NOW_MS % QUARTER_MS


@pytest.fixture
def reports(endpoint: Endpoint, tables: Tables) -> DynamoDBReports:
    return DynamoDBReports(connection(), tables.usage, tables.tenants)


def test_a_tenants_zone(reports: DynamoDBReports, tables: Tables) -> None:
    assert reports.timezone("acme") is None
    PynamoDBTenantStore(tables).put_tenant(TenantDefinition("acme", "Asia/Kathmandu", fail_policy="closed"), NOW_MS)
    assert reports.timezone("acme") == "Asia/Kathmandu"
    found = PynamoDBTenantStore(tables).tenant("acme")
    assert found is not None
    assert found.fail_policy == "closed"


def test_a_tenants_profiles_and_their_mappings(endpoint: Endpoint, tables: Tables) -> None:
    profiles = (
        ProfileReference("p1", "p1", "a.model"),
        ProfileReference("p2", "arn:aws:x:p2", "-"),
        ProfileReference("p3", "arn:aws:x:p3", "a.model", "geo", True, "eu"),
        ProfileReference("p4", "p4", "a.model", "global"),
    )
    periods = (
        MappingPeriod("globex", 0, NOW_MS, "a.model"),
        MappingPeriod("acme", NOW_MS, None, "a.model", "geo", BY_TAG, "eu"),
    )
    written = PynamoDBTenantStore(tables)
    written.put_tenant(TenantDefinition("acme", "UTC", None, profiles), NOW_MS)
    assert written.put_periods("p3", 0, periods)
    assert written.tenant("acme") == TenantDefinition("acme", "UTC", None, profiles, revision=1)
    store = DynamoDBDirectoryStore(connection(), tables)
    assert tuple(store.profiles_of("acme")) == profiles
    assert tuple(store.profiles_of("globex")) == ()
    assert dict(store.mappings(["p1", "p3"])) == {"p3": periods}


def test_a_reservation_is_decided_by_what_the_tables_say_of_the_profile(endpoint: Endpoint, tables: Tables) -> None:
    model, arn = "anthropic.claude-sonnet-4-6", profile_arn("p1")
    written = PynamoDBTenantStore(tables)
    written.put_tenant(TenantDefinition("acme", profiles=(ProfileReference("p1", arn),)), NOW_MS)
    assert written.put_periods("p1", 0, (MappingPeriod("acme", 0, None, model, "geo", BY_TAG, "us"),))
    assert written.put_periods("p2", 0, (MappingPeriod("globex", 0),))
    limits = [limit("1h", 10**6), limit("1h", NANO, meter=Meter.COST_USD, hard=True)]
    installation = DynamoDBInstallationStore(connection(), tables)
    install_limits(installation, "acme", limits, clock=now_ms, new_id=lambda: "x")
    make = reservations_over_dynamodb(connection(), quotas_table=tables.quotas, tenants_table=tables.tenants)
    service = make()
    estimate = Estimate(input_tokens=1_000, output_tokens=100)
    made = service.reserve("acme", estimate, called=Called(f"us.{model}"), key="call-1").reservation
    assert made is not None
    assert (made.through, made.estimate.model, made.estimate.routing) == (arn, model, "geo")
    # 1,000 tokens at $3.30 a million and 100 at $16.50.
    assert {one.meter: one.amount for one in made.held} == {Meter.TOTAL_TOKENS: 1_100, Meter.COST_USD: 4_950_000}
    assert make().reserve("acme", estimate, called=Called(f"us.{model}"), key="call-1").reservation == made
    elsewhere = service.reserve("acme", Estimate(cost_nano_usd=0), called=Called(f"eu.{model}")).destination
    assert elsewhere is not None
    assert (elsewhere.through, [one.id for one in elsewhere.available]) == (None, ["p1"])
    with pytest.raises(ForeignProfile):
        service.reserve("acme", estimate, called=Called("p2"))


def test_rows_of_a_range_in_the_order_of_time(reports: DynamoDBReports, tables: Tables, endpoint: Endpoint) -> None:
    client = connection()
    for tenant in ("acme", "acm", "acme2"):
        for quarter in range(-2, 3):
            for profile in ("p1", "p2"):
                key = usage_sort_key(QUARTER + quarter * QUARTER_MS, profile, "m")
                item = {"pk": {"S": tenant}, "sk": {"S": key}, "requests": {"N": "1"}, "input": {"N": "5"}}
                client.put_item(TableName=tables.usage, Item=item)
    pages = list(reports.pages("acme", QUARTER - QUARTER_MS, QUARTER + QUARTER_MS))
    rows = [key for page in pages for key, _ in page]
    assert [(key.tenant, (key.quarter_ms - QUARTER) // QUARTER_MS, key.profile) for key in rows] == [
        ("acme", -1, "p1"),
        ("acme", -1, "p2"),
        ("acme", 0, "p1"),
        ("acme", 0, "p2"),
    ]
    backwards = reports.pages("acme", QUARTER - QUARTER_MS, QUARTER + QUARTER_MS, newest_first=True)
    assert [key for page in backwards for key, _ in page] == rows[::-1]


def test_a_policy_for_outages_stays_through_changes_of_limits(stores: Stores) -> None:
    def install(*limits: object) -> None:
        install_limits(stores.installation, "acme", limits, clock=lambda: NOW_MS, new_id=lambda: "x")  # type: ignore[arg-type]

    assert not install_fail_policy(stores.installation, "acme", "closed")
    install()
    assert install_fail_policy(stores.installation, "acme", "closed")
    assert not install_fail_policy(stores.installation, "acme", "closed")
    install(limit("5m"))
    assert stores.gauge("acme").fail_policy == "closed"
    assert [one.name for one in stores.gauge("acme").layout.limits] == ["total_tokens-5m"]
    assert install_fail_policy(stores.installation, "acme", None)
    assert stores.gauge("acme").fail_policy is None
