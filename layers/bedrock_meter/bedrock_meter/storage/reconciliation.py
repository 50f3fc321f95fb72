"""Ledger, roll-ups and gauges as reconciliation reads and corrects them: ``ReconciliationStore`` over the tables.

All reads are consistent, which costs one read unit for each started 4 KB of a page. What DynamoDB says that it cost is
added up in ``units``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedrock_meter.limits.gauge import Lease
from bedrock_meter.limits.limit import Layout
from bedrock_meter.reconciliation.comparison import Image
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_text, number, text
from bedrock_meter.storage.keys import GAUGE, quarter_label, usage_sort_key
from bedrock_meter.storage.patience import patiently
from bedrock_meter.storage.recording import USAGE_SCHEMA, entry_of
from bedrock_meter.storage.rollups import COUNTS, rollup_of, row_amounts
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.rollup import RollupKey, Sums

_PROJECTED = ("pk", "tenant", "profile", "model", "event_ms", *COUNTS, "error", "cost_nano_usd", "removed_ms")


class DynamoDBReconciliationStore:
    """See ``ReconciliationStore`` for what each call promises."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._units: list[float] = []

    @property
    def units(self) -> float:
        """Read units used so far by scans and queries, as DynamoDB reports them; 0 where it does not."""
        return sum(self._units)

    def row_name(self, key: RollupKey) -> str:
        """Return the sort key of a row."""
        return usage_sort_key(key.quarter_ms, key.profile, key.model)

    def images(self, tenants: Sequence[str] | None, from_ms: int) -> dict[str, Image]:
        """Read live rows and gauges: by tenant where tenants are named, by scan for all."""
        from_label = quarter_label(max(0, from_ms))
        rows: dict[str, dict[str, Sums]] = {}
        for item in self._usage_items(tenants, from_label):
            name = get_text(item, "sk")
            if name >= from_label:
                rows.setdefault(get_text(item, "pk"), {})[name] = rollup_of(item)[1]
        if tenants is None:
            request = {
                "TableName": self._tables.quotas,
                "FilterExpression": "sk = :gauge",
                "ExpressionAttributeValues": {":gauge": text(GAUGE)},
            }
            found = map(gauges.gauge_of, self._pages(self._client.scan, request))
            live = {gauge.tenant: gauge for gauge in found}
        else:
            live = gauges.load(self._client, self._tables.quotas, tenants)
        return {tenant: Image(rows.get(tenant, {}), live.get(tenant)) for tenant in {*rows, *live}}

    def _usage_items(self, tenants: Sequence[str] | None, from_label: str) -> Iterator[Item]:
        if tenants is None:
            yield from self._pages(self._client.scan, {"TableName": self._tables.usage})
            return
        for tenant in tenants:
            request = {
                "TableName": self._tables.usage,
                "KeyConditionExpression": "pk = :tenant AND sk >= :from",
                "ExpressionAttributeValues": {":tenant": text(tenant), ":from": text(from_label)},
            }
            yield from self._pages(self._client.query, request)

    def entries(self, segment: int, segments: int) -> Iterator[Sequence[LedgerEntry]]:
        """Scan a part of the ledger; attributes that say nothing about sums are not sent."""
        request: dict[str, Any] = {
            "TableName": self._tables.ledger,
            "Segment": segment,
            "TotalSegments": segments,
            "ProjectionExpression": ",".join(f"#{index}" for index in range(len(_PROJECTED))),
            "ExpressionAttributeNames": {f"#{index}": name for index, name in enumerate(_PROJECTED)},
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }
        while True:
            page = self._page(self._client.scan, request)
            yield [entry_of(item) for item in page.get("Items", [])]
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _pages(self, call: Any, request: dict[str, Any]) -> Iterator[Item]:
        request |= {"ConsistentRead": True, "ReturnConsumedCapacity": "TOTAL"}
        while True:
            page = self._page(call, request)
            yield from page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _page(self, call: Any, request: Mapping[str, Any]) -> Any:
        page = patiently(lambda: call(**request))
        self._units.append(float(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0)))
        return page

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        """Hold recorders off."""
        return patiently(
            lambda: gauges.begin_change(self._client, self._tables.quotas, tenant, layout, lease, seen)
        ) or self._is_ours(tenant, lease)

    def _is_ours(self, tenant: str, lease: Lease) -> bool:
        """Whether the lease is there already: the answer to the request that put it was lost, and it was sent again."""
        gauge = gauges.load_one(self._client, self._tables.quotas, tenant)
        return gauge is not None and gauge.lease == lease

    def renew(self, tenant: str, lease: Lease, renewed: Lease, buckets: Mapping[str, int]) -> bool:
        """Extend the lease and set buckets."""
        return patiently(lambda: gauges.renew_lease(self._client, self._tables.quotas, tenant, lease, renewed, buckets))

    def finish(self, tenant: str, layout: Layout, lease: Lease, buckets: Mapping[str, int]) -> bool:
        """Set buckets and layout and let recorders go on; done, too, if only the answer was lost the first time."""
        done = patiently(
            lambda: gauges.finish_change(self._client, self._tables.quotas, tenant, layout, lease, buckets)
        )
        if done:
            return True
        gauge = gauges.load_one(self._client, self._tables.quotas, tenant)
        return gauge is not None and gauge.lease is None and gauge.layout == layout

    def release(self, tenant: str, lease: Lease) -> None:
        """Let recorders go on without a change."""
        patiently(lambda: gauges.cancel_change(self._client, self._tables.quotas, tenant, lease))

    def correct(self, tenant: str, name: str, held: Sums, rebuilt: Sums) -> bool:
        """Make a row hold ``rebuilt``, provided that it holds ``held``. A missing attribute holds 0."""
        before, after = row_amounts(held), row_amounts(rebuilt)
        conditions, values = [], {":schema": number(USAGE_SCHEMA)}
        for column, amount in before.items():
            same = f"#{column} = :old_{column}"
            conditions.append(same if amount else f"(attribute_not_exists(#{column}) OR {same})")
            values |= {f":old_{column}": number(amount), f":{column}": number(after[column])}

        def send() -> bool:
            try:
                self._client.update_item(
                    TableName=self._tables.usage,
                    Key={"pk": text(tenant), "sk": text(name)},
                    UpdateExpression="SET #schema = :schema, " + ", ".join(f"#{name} = :{name}" for name in after),
                    ConditionExpression=" AND ".join(conditions),
                    ExpressionAttributeNames={f"#{name}": name for name in ("schema", *after)},
                    ExpressionAttributeValues=values,
                )
            except AWS_ERRORS as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
            return True

        return patiently(send)
