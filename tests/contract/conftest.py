"""Both sides of each contract: the doubles in memory, and DynamoDB as the local stack serves it.

The tables are made from the pynamodb models, which a template test holds against ``template.yaml``.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.project import find_project
from bedrock_meter.local.server import serving
from bedrock_meter.settings import Tables
from bedrock_meter.storage import dynamodb, rollups
from bedrock_meter.storage.dynamodb import text
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore, entry_of
from bedrock_meter.storage.reservations import DynamoDBReservationStore
from bedrock_meter.storage.states import DynamoDBEvaluationStore
from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
from bedrock_meter.storage.tables import LedgerModel, MappingModel, QuotasModel, UsageModel, bound
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.recorder import RecordingStore
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.contract.disturbed import Alone
from tests.doubles.memory import (
    MemoryEvaluationStore,
    MemoryInstallationStore,
    MemoryRecordingStore,
    MemorySuspensionStore,
    MemoryTables,
)
from tests.doubles.reservations import MemoryReservationStore
from tests.faults.wire import attached

_numbers = itertools.count()


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A local stack for this session."""
    folder = tmp_path_factory.mktemp("stack")
    with serving(find_project().stack_python(), folder / "stack.log", folder / "scratch") as (endpoint, _):
        yield endpoint


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes clients of doubles of their own, below botocore: fast enough for every point in time."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return lambda: attached("dynamodb", Alone())


@pytest.fixture(params=["double", "local stack"])
def client(request: pytest.FixtureRequest) -> Any:
    """One client of each backend."""
    if request.param == "double":
        return request.getfixturevalue("double")()
    return request.getfixturevalue("endpoint").client("dynamodb")


@pytest.fixture
def standard_settings(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the local stack what the standard AWS settings point to, also for who has asked for credentials before."""
    monkeypatch.setattr(dynamodb, "_session", None)
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)


def make_tables() -> Tables:
    """Make four empty tables where the standard AWS settings point to."""
    number = next(_numbers)
    made = Tables(*(f"{name}-{number}" for name in ("ledger", "usage", "quotas", "tenants")))
    for model, name in zip((LedgerModel, UsageModel, QuotasModel, MappingModel), vars_of(made), strict=True):
        bound(model, name).create_table(wait=True, billing_mode="PAY_PER_REQUEST")
    return made


@pytest.fixture
def tables(standard_settings: None) -> Tables:
    """Four empty tables."""
    return make_tables()


def vars_of(tables: Tables) -> tuple[str, ...]:
    """The names in the order of the models."""
    return tables.ledger, tables.usage, tables.quotas, tables.tenants


@dataclass
class Stores:
    """One implementation of everything, and a way to look behind it."""

    recording: RecordingStore
    installation: InstallationStore
    evaluation: Any
    tables: Any
    client: Any = None
    reservations: Any = None

    def entry(self, key: str) -> LedgerEntry | None:
        """What the ledger holds of a call."""
        if self.client is None:
            found: LedgerEntry | None = self.tables.ledger.get(key)
            return found
        item = self.client.get_item(TableName=self.tables.ledger, Key={"pk": text(key)}).get("Item")
        return entry_of(item) if item else None

    def gauge(self, tenant: str) -> Gauge:
        """The gauge, which must be there."""
        gauge = self.installation.gauge(tenant)
        assert gauge is not None
        return gauge

    def suspend(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        """Put a suspension over the one seen."""
        if self.client is None:
            return MemorySuspensionStore(self.tables).put_suspension(tenant, suspension, seen)
        return DynamoDBSuspensionStore(self.client, self.tables).put_suspension(tenant, suspension, seen)

    def used(self, tenant: str) -> Sums:
        """Sum of a tenant's roll-ups."""
        if self.client is None:
            rows = [sums for key, sums in self.tables.usage.items() if key.tenant == tenant]
        else:
            pages = rollups.read_rollups(self.client, self.tables.usage, tenant, from_ms=0)
            rows = [sums for page in pages for _, sums in page]
        return sum(rows, NOTHING)


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """The stores under contract."""
    if request.param == "memory":
        memory = MemoryTables()
        return Stores(
            MemoryRecordingStore(memory),
            MemoryInstallationStore(memory),
            MemoryEvaluationStore(memory),
            memory,
            reservations=MemoryReservationStore(memory),
        )
    tables: Tables = request.getfixturevalue("tables")
    client = dynamodb.connection()
    return Stores(
        DynamoDBRecordingStore(client, tables),
        DynamoDBInstallationStore(client, tables),
        DynamoDBEvaluationStore(client, tables),
        tables,
        client,
        DynamoDBReservationStore(client, tables),
    )
