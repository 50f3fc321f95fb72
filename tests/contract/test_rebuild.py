"""Rebuilding on DynamoDB: one history that is exact, broken sums put right, and the rebuild killed at every call."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.installation import LEASE_MS, install_limits
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.reconciliation.rebuild import Rebuild, Report
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage.dynamodb import number, text
from bedrock_meter.storage.gauges import gauge_of, load_one
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import GAUGE
from bedrock_meter.storage.reconciliation import DynamoDBReconciliationStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import UNATTRIBUTED, MappingPeriod
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.rollup import Sums
from bedrock_meter.usage.wiring import ingestion
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, priced, sums_of
from tests.doubles.subscription import subscription_event

TENANTS = ("acme", "globex")
HOUR_MS = 3_600_000
_numbers = itertools.count()


class Killed(BaseException):
    """The command's process is gone."""


class Killing:
    """A client whose process is gone from the n-th call on, before or after that call is carried out."""

    def __init__(self, client: Any, at: int | None, after: bool) -> None:
        self._client, self._at, self._after = client, at, after
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            mine, self.calls = self.calls, self.calls + 1
            if self._at is None or mine < self._at:
                return real(**request)
            if self._after and mine == self._at:
                real(**request)
            raise Killed

        return call


class World:
    """Tables with a history: twins, errors, late and unattributed calls, two tenants, a limit added later."""

    def __init__(self, endpoint: Endpoint, tables: Tables) -> None:
        self.client, self.tables = endpoint.client("dynamodb"), tables
        self.now_ms = NOW_MS
        s3, bucket = endpoint.client("s3"), f"rebuild-{next(_numbers)}"
        s3.create_bucket(Bucket=bucket)
        self.meter = ingestion(
            self.client,
            lambda: s3,
            tables,
            bucket,
            retention_ms=400 * DAY_MS,
            now=lambda: self.now_ms,
            rater=TestPrices(),
        )
        self.install("acme", "1h", "month")
        self.install("globex", "day")
        for tenant in TENANTS:
            periods = [MappingPeriod(tenant, model="a.model")]
            assert PynamoDBTenantStore(tables).put_periods(f"{tenant}profile", 0, periods)
        self.deliver(*[invocation(f"r{count}", profile=f"{TENANTS[count % 2]}profile") for count in range(40)])
        self.deliver(
            invocation("twin", profile="acmeprofile", tokens=NO_TOKENS),
            invocation("failed", profile="acmeprofile", error_code="ThrottlingException"),
            invocation("healed", profile="globexprofile", error_code="ThrottlingException"),
            invocation("late", profile="globexprofile", event_ms=NOW_MS - 3 * DAY_MS),
            invocation("nobody", profile="nobodys00001"),
            invocation("long", profile="x/" * 200),
        )
        self.deliver(
            invocation("twin", profile="acmeprofile", tokens=TokenCounts(500, 70)),
            invocation("healed", profile="globexprofile"),
        )
        self.install("acme", "1h", "month", "5h")

    def install(self, tenant: str, *windows: str) -> None:
        store = DynamoDBInstallationStore(self.client, self.tables)
        wanted = [limit(window) for window in windows]
        install_limits(store, tenant, wanted, clock=lambda: self.now_ms, new_id=lambda: "install")

    def deliver(self, *calls: Any) -> None:
        self.meter.ingest(subscription_event(calls, logged_ms=self.now_ms), Ingested(), lambda: 60_000)

    def rebuild(self, client: Any = None, segments: int = 1) -> Rebuild:
        return Rebuild(
            DynamoDBReconciliationStore(client or self.client, self.tables),
            retention_ms=400 * DAY_MS,
            clock=lambda: self.now_ms,
            new_id=lambda: f"rebuild-{next(_numbers)}",
            tell=lambda _: None,
            segments=segments,
        )

    def compare(self) -> Report:
        return self.rebuild(segments=3).compare()

    def break_sums(self) -> None:
        """A row too high, a row that is gone, a row of nobody, a bucket too low, and one that should not be there."""
        rows = self.contents()["usage"]
        high, gone = (next(row for row in rows if row["pk"] == text(tenant)) for tenant in ("acme", "globex"))
        self.client.put_item(TableName=self.tables.usage, Item={**high, "input": number(9_999)})
        self.client.delete_item(TableName=self.tables.usage, Key={name: gone[name] for name in ("pk", "sk")})
        lost = next(row for row in rows if row["pk"] == text(UNATTRIBUTED))
        self.client.put_item(TableName=self.tables.usage, Item={**lost, "errors": number(4)})
        gauge = load_one(self.client, self.tables.quotas, "acme")
        assert gauge is not None
        month = next(name for name in gauge.buckets if name[0] == gauge.layout.limits[1].slot)
        hour = next(name for name, held in gauge.buckets.items() if held and name[0] == gauge.layout.limits[0].slot)
        stray = f"{hour[:-1]}{'0' if hour[-1] != '0' else '1'}"
        self.client.update_item(
            TableName=self.tables.quotas,
            Key={"pk": text("acme"), "sk": text(GAUGE)},
            UpdateExpression="SET #m = :m, #s = :s",
            ExpressionAttributeNames={"#m": month, "#s": stray},
            ExpressionAttributeValues={":m": number(1), ":s": number(50)},
        )

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        """All items, by table."""
        names = {"ledger": self.tables.ledger, "usage": self.tables.usage, "quotas": self.tables.quotas}
        return {
            kind: sorted(self.client.scan(TableName=name, ConsistentRead=True)["Items"], key=str)
            for kind, name in names.items()
        }


@pytest.fixture
def world(endpoint: Endpoint, tables: Tables) -> World:
    return World(endpoint, tables)


def test_rebuilt_is_live(world: World) -> None:
    before = world.contents()
    report = world.compare()
    assert report.differing == []
    assert (report.entries, sorted(report.tenants)) == (46, [*TENANTS, UNATTRIBUTED])
    assert sum(compared.moving for compared in report.tenants.values()) == 0
    assert sums_of(report.rebuilt["acme"]) == priced(21, 1, input=700, output=170)
    assert sums_of(report.rebuilt["globex"]) == priced(22, 0, input=220, output=110)
    assert sums_of(report.rebuilt[UNATTRIBUTED]).requests == 2
    assert world.compare().tenants["acme"].limits == 3
    assert world.contents() == before


def test_only_the_tenants_asked_for_are_compared(world: World) -> None:
    world.break_sums()
    report = world.rebuild().compare(["globex"])
    assert list(report.tenants) == ["globex"]
    assert report.entries == 22
    assert [len(compared.row_differences) for compared in report.differing] == [1]


class Noting:
    """A client that notes what is read without being asked to be consistent."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.loose: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            asked = request.get("RequestItems", {"": request}).values()
            if name != "update_item" and not all(one.get("ConsistentRead") for one in asked):
                self.loose.append(name)
            return getattr(self._client, name)(**request)

        return call


def test_all_that_is_read_is_read_consistently(world: World) -> None:
    """Which no local stack shows: it has no other way of reading."""
    world.break_sums()
    client = Noting(world.client)
    assert world.rebuild(client).put_right().rows == 3
    assert client.loose == []


def test_what_is_broken_is_put_right_once(world: World) -> None:
    right = world.contents()
    world.break_sums()
    broken = world.compare()
    assert [one.tenant for one in broken.differing] == [*TENANTS, UNATTRIBUTED]
    (difference,) = broken.tenants["globex"].row_differences
    assert (difference.held, difference.rebuilt) == (Sums(), priced(1, input=10, output=5))
    assert [one.installed.name for one in broken.tenants["acme"].limit_differences][-1] == "total_tokens-month"

    repaired = world.rebuild().put_right()
    assert (repaired.rows, repaired.refused) == (3, {})
    assert repaired.limits == len(broken.tenants["acme"].limit_differences)
    assert world.compare().differing == []
    assert world.contents()["ledger"] == right["ledger"]
    assert plain(world.contents()["usage"]) == plain(right["usage"])
    gauge = load_one(world.client, world.tables.quotas, "acme")
    assert gauge is not None
    assert (gauge.lease, gauge.layout.version) == (None, 3)
    once = world.contents()
    assert world.rebuild().put_right().refused == {}
    assert world.contents() == once


def test_whether_a_tenant_reserves_survives_a_rebuild(world: World) -> None:
    gauge = load_one(world.client, world.tables.quotas, "acme")
    assert gauge is not None
    store, limits = DynamoDBInstallationStore(world.client, world.tables), [one.limit for one in gauge.layout.limits]
    install_limits(store, "acme", limits, clock=lambda: world.now_ms, new_id=lambda: "x", reserves=True)
    world.break_sums()
    assert world.rebuild().put_right().limits > 0
    gauge = load_one(world.client, world.tables.quotas, "acme")
    assert gauge is not None
    assert gauge.layout.reserves


def test_recorders_go_on_after_a_rebuild(world: World) -> None:
    world.break_sums()
    world.rebuild().put_right()
    world.deliver(*[invocation(f"more{count}", profile="acmeprofile") for count in range(3)])
    report = world.compare()
    assert report.differing == []
    assert sums_of(report.rebuilt["acme"]).requests == 24


def test_what_is_recorded_while_putting_right_counts_once(world: World) -> None:
    """A recorder delivers all the while, one record at a time, and once more each, for the tenant and for another."""
    world.break_sums()
    stop = Event()

    def deliver() -> int:
        for count in itertools.count():
            call = invocation(f"meanwhile{count}", profile=f"{TENANTS[count % 2]}profile")
            world.deliver(call, invocation(f"failed{count}", profile="acmeprofile", error_code="X"))
            world.deliver(call)
            if stop.is_set() and count >= 20:
                return count + 1
        raise AssertionError

    with ThreadPoolExecutor(1) as thread:
        delivered = thread.submit(deliver)
        refused = [world.rebuild().put_right().refused for _ in range(3)]
        stop.set()
        calls = delivered.result()
    assert world.rebuild().put_right().refused == {}, refused
    report = world.compare()
    assert report.differing == []
    counted = [sums_of(report.rebuilt[tenant]) for tenant in TENANTS]
    assert sum(one.requests for one in counted) == 43 + calls
    assert sum(one.errors for one in counted) == 1 + calls
    for tenant in TENANTS:
        gauge = load_one(world.client, world.tables.quotas, tenant)
        assert gauge is not None
        assert gauge.lease is None


def test_a_tenant_whose_limits_are_being_changed_is_refused(world: World) -> None:
    world.break_sums()
    world.client.update_item(
        TableName=world.tables.quotas,
        Key={"pk": text("acme"), "sk": text(GAUGE)},
        UpdateExpression="SET lease = :lease",
        ExpressionAttributeValues={":lease": text(f"{NOW_MS + LEASE_MS}|somebody")},
    )
    repaired = world.rebuild().put_right()
    assert list(repaired.refused) == ["acme"]
    assert (repaired.rows, repaired.limits) == (2, 0)
    world.now_ms += LEASE_MS
    assert world.rebuild().put_right().refused == {}
    assert world.compare().differing == []


def test_killed_between_any_two_calls_it_leaves_old_numbers_or_right_ones(world: World) -> None:
    world.break_sums()
    client = Killing(world.client, None, False)
    world.rebuild(client).put_right()
    assert client.calls >= 12

    wrong = []
    for cell in itertools.product(range(client.calls), (False, True)):
        right = world.contents()
        world.break_sums()
        old = world.contents()
        with pytest.raises(Killed):
            world.rebuild(Killing(world.client, *cell)).put_right()
        left = world.contents()
        rows = {name: plain(kept["usage"]) for name, kept in (("left", left), ("old", old), ("right", right))}
        each = all(rows["left"].get(name) in (rows["old"].get(name), rows["right"].get(name)) for name in rows["right"])
        whole = buckets(left) in (buckets(old), buckets(right))
        world.now_ms += LEASE_MS  # what a killed rebuild left runs out
        world.deliver(invocation(f"afterwards{cell[0]}{cell[1]}", profile="acmeprofile"))
        recorded = len(world.contents()["ledger"]) == len(right["ledger"]) + 1
        again = world.rebuild().put_right()
        exact = not again.refused and world.compare().differing == []
        if not (each and whole and recorded and exact):
            wrong.append((cell, each, whole, recorded, exact))
    assert wrong == []


def plain(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """What rows hold; an attribute that is 0 and one that is missing are the same."""
    return {
        (row["pk"]["S"], row["sk"]["S"]): {
            name: int(value["N"])
            for name, value in row.items()
            if "N" in value and name != "schema" and value["N"] != "0"
        }
        for row in rows
    }


def buckets(contents: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """The buckets of acme's gauge that hold something."""
    (item,) = (item for item in contents["quotas"] if item["pk"] == text("acme") and item["sk"] == text(GAUGE))
    return {name: quantity for name, quantity in gauge_of(item).buckets.items() if quantity}
