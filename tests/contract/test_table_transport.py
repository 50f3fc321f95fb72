"""The guard's way straight to the tables, wired as docs/client.md says, over the local stack's tables."""

import pytest

from bedrock_meter.api.reservations import KeyUsed
from bedrock_meter.api.wiring import reservations_over_dynamodb
from bedrock_meter.client import Amounts, Denial, QuotaRefused, Reservation, ReservationRequest, TableTransport
from bedrock_meter.clock import now_ms
from bedrock_meter.errors import Contended, InvalidDefinition
from bedrock_meter.limits.gauge import read
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.records import limit, profile_arn

MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"


@pytest.fixture
def transport(tables: Tables) -> TableTransport:
    definition = TenantDefinition("acme", "UTC", None, (ProfileReference("p1", profile_arn("p1"), MODEL),))
    PynamoDBTenantStore(tables).put_tenant(definition, now_ms())
    store = DynamoDBInstallationStore(connection(), tables)
    install_limits(store, "acme", [limit("1h", 1_000, hard=True)], clock=now_ms, new_id=lambda: "x")
    reservations = reservations_over_dynamodb(
        connection(is_quick=True), quotas_table=tables.quotas, tenants_table=tables.tenants
    )
    return TableTransport(reservations, busy=(Contended,), refusals=(KeyUsed, InvalidDefinition))


def reserved(tables: Tables) -> int:
    gauge = gauges.load_one(connection(), tables.quotas, "acme")
    assert gauge is not None
    return read(gauge, now_ms())[0].reserved


def wanted(key: str, tokens: int) -> ReservationRequest:
    return ReservationRequest(key, Amounts(1, tokens, 0), model=MODEL)


def test_what_is_reserved_is_held_until_it_shrinks_or_is_released(transport: TableTransport, tables: Tables) -> None:
    first = transport.reserve("acme", wanted("k1", 700))
    assert isinstance(first, Reservation)
    assert first.id
    assert first.profile is not None
    assert first.profile.arn == profile_arn("p1")
    assert transport.reserve("acme", wanted("k1", 700)) == first
    assert reserved(tables) == 700
    transport.shrink("acme", first.id, Amounts(1, 200, 0))
    assert reserved(tables) == 200
    transport.release("acme", first.id)
    assert reserved(tables) == 0


def test_what_does_not_fit_is_denied_with_the_limit(transport: TableTransport, tables: Tables) -> None:
    transport.reserve("acme", wanted("k1", 700))
    denial = transport.reserve("acme", wanted("k2", 301))
    assert isinstance(denial, Denial)
    limits = dict(denial.document["limit"])
    assert (limits["name"], limits["max"], limits["reserved"]) == ("total_tokens-1h", 1_000, 700)
    assert denial.document["requested"] == 301
    assert reserved(tables) == 700


def test_wrong_questions_are_refused(transport: TableTransport) -> None:
    with pytest.raises(QuotaRefused, match="there is no tenant globex"):
        transport.reserve("globex", wanted("k1", 1))
    transport.reserve("acme", wanted("k1", 1))
    with pytest.raises(QuotaRefused, match="KeyUsed"):
        transport.reserve("acme", wanted("k1", 2))
