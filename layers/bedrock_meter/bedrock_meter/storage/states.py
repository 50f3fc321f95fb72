"""Verdicts as items: what the evaluator reads and writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.evaluator import TenantState
from bedrock_meter.alerts.outbox import Pending, PublishOutcome
from bedrock_meter.limits import levels
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, number, text
from bedrock_meter.storage.keys import GAUGE, GAUGE_SHARDS, STATE, TENANT, tenant_key
from bedrock_meter.storage.outboxes import DUE_INDEX, OUT, Update, item_key, outbox_update, pending_of, pending_text

STATE_SCHEMA = 1
_TENANTS_A_READ = 50
"""Gauge and state of each are the hundred keys of one batch read."""


def state_of(item: Item) -> TenantState:
    """Read a STATE item."""
    return TenantState(
        version=get_number(item, "state_version"),
        evaluated_rev=get_number(item, "evaluated_rev"),
        layout_version=get_number(item, "layout_version"),
        suspension=get_number(item, "suspension"),
        levels=levels.from_item(json.loads(get_text(item, "levels", "{}"))),
        pending=pending_of(item),
        next_due_ms=get_number(item, "next_due_ms") if "next_due_ms" in item else None,
    )


class DynamoDBEvaluationStore:
    """``EvaluationStore`` over the Quotas and Tenants tables."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def load(self, tenant: str) -> tuple[Gauge, TenantState] | None:
        """Read gauge and state consistently, in one request."""
        keys = [item_key(tenant, STATE), item_key(tenant, GAUGE)]
        items = {get_text(item, "sk"): item for item in gauges.read_batch(self._client, self._tables.quotas, keys)}
        if GAUGE not in items:
            return None
        state = items.get(STATE)
        return gauges.gauge_of(items[GAUGE]), state_of(state) if state else TenantState()

    def part(self, number: int, of: int) -> Iterator[tuple[Gauge, TenantState]]:
        """Yield the gauges of one part of the table with their states, as they were a moment ago.

        Asks the index which gauges there are, so that nothing else is read: no reservation, open or over. ``of``
        divides the index's sixty parts.
        """
        for shard in GAUGE_SHARDS[number::of]:
            request: dict[str, Any] = {
                "TableName": self._tables.quotas,
                "IndexName": DUE_INDEX,
                "KeyConditionExpression": "due_shard = :shard",
                "ExpressionAttributeValues": {":shard": text(shard)},
            }
            while True:
                page = self._client.query(**request)
                yield from self._beside_states([get_text(item, "pk") for item in page.get("Items", [])])
                if not page.get("LastEvaluatedKey"):
                    break
                request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _beside_states(self, tenants: Sequence[str]) -> Iterator[tuple[Gauge, TenantState]]:
        for start in range(0, len(tenants), _TENANTS_A_READ):
            chosen = tenants[start : start + _TENANTS_A_READ]
            keys = [item_key(tenant, sort_key) for tenant in chosen for sort_key in (GAUGE, STATE)]
            read = gauges.read_batch(self._client, self._tables.quotas, keys, consistent=False)
            items = {(get_text(item, "pk"), get_text(item, "sk")): item for item in read}
            for tenant in chosen:
                gauge, state = items.get((tenant, GAUGE)), items.get((tenant, STATE))
                if gauge is not None:
                    yield gauges.gauge_of(gauge), state_of(state) if state is not None else TenantState()

    def profiles(self, tenant: str) -> Sequence[str]:
        """ARNs (or ids) of the profiles that the tenant owns now."""
        key = {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}
        item = self._client.get_item(TableName=self._tables.tenants, Key=key).get("Item", {})
        return tuple(profile["M"]["arn"]["S"] for profile in item.get("profiles", {}).get("L", []))

    def save(
        self, tenant: str, state: TenantState, *, before: TenantState, events: Sequence[Event], late: Mapping[str, int]
    ) -> bool:
        """Write the verdict and its events in one update; late buckets leave the gauge in the same transaction."""
        update = Update()
        update.set("schema", number(STATE_SCHEMA))
        update.set("state_version", number(state.version))
        update.set("evaluated_rev", number(state.evaluated_rev))
        update.set("layout_version", number(state.layout_version))
        update.set("suspension", number(state.suspension))
        update.set("levels", text(json.dumps(levels.to_item(state.levels), separators=(",", ":"))))
        update.due(tenant, state.next_due_ms)
        for event in events:
            update.set(f"{OUT}{event.id}", pending_text(Pending(event)))
        if before.version == 0:
            request = update.request(self._tables.quotas, item_key(tenant, STATE), "attribute_not_exists(pk)")
        else:
            condition = "state_version = :before"
            request = update.request(
                self._tables.quotas, item_key(tenant, STATE), condition, before=number(before.version)
            )
        try:
            if late:
                items = [{"Update": request}, {"Update": self._late_request(tenant, late)}]
                self._client.transact_write_items(TransactItems=items)
            else:
                self._client.update_item(**request)
        except AWS_ERRORS as error:
            if error_code(error) in {"ConditionalCheckFailedException", "TransactionCanceledException"}:
                return False
            raise
        return True

    def _late_request(self, tenant: str, late: Mapping[str, int]) -> dict[str, Any]:
        update = Update()
        for name in late:
            update.remove(name)
        seen = {f"s{index}": number(amount) for index, amount in enumerate(late.values())}
        condition = " AND ".join(f"#{index} = :s{index}" for index in range(len(late)))
        return update.request(self._tables.quotas, item_key(tenant, GAUGE), condition, **seen)

    def cleared(
        self,
        tenant: str,
        state: TenantState,
        outcome: PublishOutcome,
        pending: Sequence[Pending],
        next_due_ms: int | None,
    ) -> None:
        """Empty the outbox of what was accepted.

        When to look again is only set if the verdict is still the newest; otherwise the newer one has said it.
        """
        for with_due in (True, False):
            update = outbox_update(outcome, pending)
            key = item_key(tenant, STATE)
            if with_due:
                update.due(tenant, next_due_ms)
                request = update.request(self._tables.quotas, key, "state_version = :seen", seen=number(state.version))
            else:
                if not update.names:
                    return
                request = update.request(self._tables.quotas, key)
            try:
                self._client.update_item(**request)
                return
            except AWS_ERRORS as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def prune(self, tenant: str, layout_version: int, buckets: Sequence[str]) -> None:
        """Remove buckets that no window reaches any more."""
        gauges.prune(self._client, self._tables.quotas, tenant, layout_version, buckets)
