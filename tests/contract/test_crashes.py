"""The whole recorder on DynamoDB and S3, killed before and after each of its AWS calls, then delivered to again."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.wiring import ingestion
from tests.contract.conftest import make_tables
from tests.doubles.records import NOW_MS, invocation, limit
from tests.doubles.subscription import subscription_event

TENANTS = ("acme", "globex")
_numbers = itertools.count()

DELIVERY = subscription_event(
    [
        *[invocation(f"r{number}", profile=f"{TENANTS[number % 2]}profile") for number in range(110)],
        invocation("twin", profile="acmeprofile", tokens=NO_TOKENS),
        invocation("r1", profile="globexprofile"),
        invocation("failed", profile="acmeprofile", error_code="ThrottlingException"),
        invocation("nobody", profile="nobodys00001"),
        '{"schemaType": "ModelInvocationLog", "requestId": "broken"}',
        "not even JSON",
    ],
    logged_ms=NOW_MS,
)
GROWN = subscription_event([invocation("twin", profile="acmeprofile", tokens=TokenCounts(500, 70))], logged_ms=NOW_MS)


class Killed(BaseException):
    """The function's process is gone; nothing catches this."""


class Killing:
    """A client that kills its caller before or after the n-th call that goes through any of its siblings."""

    def __init__(self, client: Any, calls: "itertools.count[int]", at: int | None, after: bool) -> None:
        self._client, self._calls, self._at, self._after = client, calls, at, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            mine = next(self._calls) == self._at
            if not mine:
                return real(**request)
            if self._after:
                with suppress(ClientError):
                    real(**request)
            raise Killed

        return call


class World:
    """Tables and a bucket of their own, with two tenants."""

    def __init__(self, endpoint: Endpoint, tables: Tables) -> None:
        self.dynamodb, self.s3 = connection(), endpoint.client("s3")
        self.tables, self.bucket = tables, f"failures-{next(_numbers)}"
        self.s3.create_bucket(Bucket=self.bucket)
        store, tenants = DynamoDBInstallationStore(self.dynamodb, tables), PynamoDBTenantStore(tables)
        for tenant in TENANTS:
            wanted = [limit("1h"), limit("month")]
            install_limits(store, tenant, wanted, clock=lambda: NOW_MS, new_id=lambda: "x")
            assert tenants.put_periods(f"{tenant}profile", 0, [MappingPeriod(tenant)])

    def deliver(self, *events: dict[str, Any], kill_at: int | None = None, after: bool = False) -> tuple[Ingested, int]:
        """Deliver to a function in a fresh environment; returns its report and how many calls it made."""
        calls = itertools.count()
        meter = ingestion(
            Killing(self.dynamodb, calls, kill_at, after),
            lambda: Killing(self.s3, calls, kill_at, after),
            self.tables,
            self.bucket,
            retention_ms=400 * DAY_MS,
            now=lambda: NOW_MS,
        )
        report = Ingested()
        for event in events:
            meter.ingest(event, report, lambda: 60_000)
        return report, next(calls)

    def contents(self) -> dict[str, Any]:
        """Everything that is stored."""
        found: dict[str, Any] = {}
        for table in (self.tables.ledger, self.tables.usage, self.tables.quotas):
            items = self.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
            found[table.split("-")[0]] = sorted(items, key=str)
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        found["quarantine"] = sorted(item["Key"] for item in listed)
        return found


def test_killing_the_recorder_between_any_two_calls_changes_nothing(
    endpoint: Endpoint, standard_settings: None
) -> None:
    undisturbed = World(endpoint, make_tables())
    report, calls = undisturbed.deliver(DELIVERY, GROWN)
    assert (report.read, report.usage.recorded, report.usage.errors) == (117, 112, 1)
    assert (report.usage.duplicates, report.quarantined, report.usage.unattributed) == (2, 2, 1)
    expected = undisturbed.contents()
    assert len(expected["ledger"]) == 113
    assert len(expected["quarantine"]) == 2
    assert calls >= 9

    outcomes = []
    for kill_at, after in itertools.product(range(calls), (False, True)):
        world = World(endpoint, make_tables())
        with pytest.raises(Killed):
            world.deliver(DELIVERY, GROWN, kill_at=kill_at, after=after)
        world.deliver(DELIVERY, GROWN)
        outcomes.append((kill_at, after, without_rev(world.contents()) == without_rev(expected)))
    assert [outcome for outcome in outcomes if not outcome[2]] == []
    assert len(outcomes) == 2 * calls


def without_rev(contents: dict[str, Any]) -> dict[str, Any]:
    """``rev`` counts writes, and a delivery in two parts takes more of them."""
    quotas = [{name: value for name, value in item.items() if name != "rev"} for item in contents["quotas"]]
    return {**contents, "quotas": quotas}


def test_the_same_delivery_three_times_changes_nothing(endpoint: Endpoint, tables: Tables) -> None:
    world = World(endpoint, tables)
    world.deliver(DELIVERY)
    once = world.contents()
    for _ in range(2):
        report, _ = world.deliver(DELIVERY)
        assert (report.usage.recorded, report.usage.errors) == (0, 0)
        assert report.usage.duplicates == report.read - report.quarantined
    assert world.contents() == once


def test_nothing_of_a_prompt_is_stored_anywhere(endpoint: Endpoint, tables: Tables) -> None:
    world = World(endpoint, tables)
    broken = subscription_event(['{"schemaType": "CANARY-prompt", "CANARY-prompt"', "CANARY-prompt"], logged_ms=NOW_MS)
    world.deliver(DELIVERY, broken)
    everything = str(world.contents())
    for item in world.s3.list_objects_v2(Bucket=world.bucket)["Contents"]:
        everything += world.s3.get_object(Bucket=world.bucket, Key=item["Key"])["Body"].read().decode()
    assert "requestId" not in everything
    assert "CANARY" not in everything
