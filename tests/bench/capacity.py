"""What recording costs in DynamoDB: capacity units and requests per record, counted from the items as they are stored.

The worst ordinary case: identifiers of maximum length, three limits per tenant with every bucket full of twelve-digit
sums. Sizes are counted by DynamoDB's documented rules (UTF-8 bytes of names and values; a number takes a byte per two
digits and one more); a transactional write costs two units for each started kilobyte of the larger of the item before
and after it.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import SUB_BUCKETS, RollingWindow, parse_window
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.project import find_project
from bedrock_meter.local.server import serving
from bedrock_meter.pricing.rating import ASSUMPTIONS, Call, Rated
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import Item
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.usage.recorder import Recorded
from bedrock_meter.usage.wiring import ingestion
from tests.contract.conftest import make_tables
from tests.doubles.records import ACCOUNT, NOW_MS, REGION, profile_arn

CASES = ((50, 10, 3.0), (99, 1, 2.2))
"""(records, tenants, capacity units per record to reach)."""

FLOOR = 2.0
FULL = 999_999_999_999


def value_size(value: dict[str, Any]) -> int:
    """Size of an attribute value in bytes, by DynamoDB's rules."""
    ((kind, content),) = value.items()
    if kind == "N":
        return (len(content.strip("-").strip("0")) + 1) // 2 + 1
    return len(content.encode())


def item_size(item: Item) -> int:
    """Size of an item in bytes."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def write_units(before: int, after: int) -> int:
    """Units of one item in a transaction."""
    return 2 * max(1, -(-max(before, after) // 1024))


class Counting:
    """Counts requests, and prices each transaction by the items before and after it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            self.requests[name] += 1
            if name != "transact_write_items":
                return real(**request)
            keys = [self._key(item) for item in request["TransactItems"]]
            before = [self._size(*key) for key in keys]
            answer = real(**request)
            for (table, key), size in zip(keys, before, strict=True):
                after = self._size(table, key)
                kind = table.split("-")[0]
                self.units[kind] += write_units(size, after)
                self.largest[kind] = max(self.largest[kind], after)
            return answer

        return call

    @staticmethod
    def _key(item: dict[str, Any]) -> tuple[str, Item]:
        if "Put" in item:
            return item["Put"]["TableName"], {"pk": item["Put"]["Item"]["pk"]}
        return item["Update"]["TableName"], item["Update"]["Key"]

    def _size(self, table: str, key: Item) -> int:
        return item_size(self._client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


class Dearest:
    """A price book whose answers are as long as they get."""

    def rate(self, call: Call) -> Rated:
        """Return a million dollars, and every assumption that goes together."""
        return Rated(10**15 - 1, "2026-12-31.0123456789ab+99999", ASSUMPTIONS[:5])


def longest(prefix: str, number: int, length: int) -> str:
    """A name of maximum length."""
    return f"{prefix}{number}-".ljust(length, "x")


def three_limits() -> list[Limit]:
    """Three rolling limits, which have thirteen live buckets each, with names of maximum length."""
    windows = [parse_window(window, "UTC") for window in ("1m", "1h", "31d")]
    return [
        Limit(longest("limit", number, 32), Meter.TOTAL_TOKENS, window, FULL * 100, hard=True)
        for number, window in enumerate(windows)
    ]


def prepare(dynamodb: Any, tables: Tables, tenants: list[str], now_ms: int = NOW_MS) -> None:
    """Make tenants with full gauges."""
    store, definitions = DynamoDBInstallationStore(dynamodb, tables), PynamoDBTenantStore(tables)
    for tenant in tenants:
        install_limits(store, tenant, three_limits(), clock=lambda: now_ms, new_id=lambda: "x")
        definitions.put_periods(
            profile_of(tenant), 0, [MappingPeriod(tenant, 0, None, longest("a.model", 0, 64), "in-region")]
        )
        gauge = gauges.load_one(dynamodb, tables.quotas, tenant)
        assert gauge is not None
        buckets: dict[str, int] = {}
        for installed in gauge.layout.limits:
            window = installed.window
            assert isinstance(window, RollingWindow)
            starts = [now_ms - window.sub_ms * number for number in range(SUB_BUCKETS + 1)]
            buckets |= {bucket_name(installed.slot, window, start): FULL for start in starts}
        filled = gauges.add_request(tables.quotas, tenant, gauge.layout.version, buckets)
        filled.pop("ReturnValuesOnConditionCheckFailure")
        dynamodb.update_item(**filled)


def profile_of(tenant: str) -> str:
    """A profile's id, of the length that AWS gives it."""
    return ("p" + tenant.replace("-", "")[6:8]).ljust(12, "0")


def invocation(number: int, tenant: str) -> Invocation:
    """A call by a role and session with names of maximum length."""
    return Invocation(
        account_id=ACCOUNT,
        region=REGION,
        request_id=f"{number:08d}-0000-4000-8000-000000000000",
        event_ms=NOW_MS,
        operation="InvokeModelWithResponseStream",
        model_id=profile_arn(profile_of(tenant)),
        principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/{longest('role', 0, 64)}/{longest('session', 0, 64)}",
        tokens=TokenCounts(999_999, 99_999, 999_999, 999_999),
        cache_write_1h=999_998,
        tier="priority",
        images=999,
    )


def measure(endpoint: Endpoint, records: int, tenants: int) -> Counting:
    """Record one batch."""
    tables = make_tables()
    names = [longest("tenant", index, 64) for index in range(tenants)]
    prepare(endpoint.client("dynamodb"), tables, names)
    counting = Counting(endpoint.client("dynamodb"))
    meter = ingestion(
        counting, lambda: None, tables, "", retention_ms=400 * DAY_MS, now=lambda: NOW_MS, rater=Dearest()
    )
    report = Recorded()
    batch = [invocation(index, names[index % tenants]) for index in range(records)]
    meter._recorder.record(batch, report, lambda: 60_000)
    assert report.recorded == records, report
    return counting


def main() -> int:
    """Print the table; return 0 if the targets are reached, else 1."""
    reached = True
    print(
        f"Recording: write units and requests per record (floor {FLOOR}), identifiers of maximum length, full buckets"
    )
    heads = (("records", 8), ("tenants", 9), ("units", 8), ("a record", 10), ("to reach", 10), ("requests", 10))
    print("".join(f"{head:>{width}}" for head, width in heads) + "  largest items (bytes)")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with serving(find_project().stack_python(), place / "stack.log", place / "scratch") as (endpoint, _):
            endpoint.adopt()
            for records, tenants, target in CASES:
                counting = measure(endpoint, records, tenants)
                units = sum(counting.units.values())
                each = units / records
                reached &= each <= target
                largest = ", ".join(f"{name} {size}" for name, size in counting.largest.items())
                requests = sum(counting.requests.values())
                print(f"{records:>8}{tenants:>9}{units:>8}{each:>10.2f}{target:>10.1f}{requests:>10}  {largest}")
    return 0 if reached else 1
