"""What people write in the Quotas table: suspensions on gauges, and where their words go from there: ``WordStore``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from bedrock_meter.alerts.contracts import TENANT_RESUMED, TENANT_SUSPENDED
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import Item, get_number, get_text
from bedrock_meter.storage.keys import RESERVATION_PREFIX
from bedrock_meter.storage.outboxes import OUT, PARKED, Update, item_key, pending_of, pending_text
from bedrock_meter.storage.patience import patiently, written

_CALLERS_WORDS = ("key", "called", "estimate")
"""Attributes of a reservation that its caller wrote."""


class DynamoDBSuspensionStore:
    """See ``SuspensionStore`` and ``WordStore``."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.quotas

    def suspension(self, tenant: str) -> tuple[bool, Suspension | None]:
        """Read the gauge consistently."""
        gauge = patiently(partial(gauges.load_one, self._client, self._table, tenant))
        return gauge is not None, gauge.suspension if gauge is not None else None

    def put_suspension(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        """Write a suspension over the one seen."""
        return patiently(partial(gauges.put_suspension, self._client, self._table, tenant, suspension, seen))

    def forget_words(self, tenant: str, until_ms: int, still: Callable[[], None]) -> int:
        """Take people's words out of a tenant's reservations and events; see ``WordStore``."""
        changes = [(item, self._wordless(item, until_ms)) for item in list(self._items(tenant))]
        still()
        return sum(self._write(item, change) for item, change in changes if change.names)

    def _wordless(self, item: Item, until_ms: int) -> Update:
        """Return what takes people's words out of an item; changes nothing where there are none."""
        change = Update()
        if get_text(item, "sk").startswith(RESERVATION_PREFIX):
            if get_number(item, "created_ms") <= until_ms:
                for name in _CALLERS_WORDS:
                    if name in item:
                        change.remove(name)
            return change
        for name in item:
            if name.startswith(PARKED):
                change.remove(name)
        for one in pending_of(item):
            is_worded = one.event.detail_type in (TENANT_SUSPENDED, TENANT_RESUMED)
            if is_worded and one.event.detail["public_reason"] is not None:
                event = replace(one.event, detail={**one.event.detail, "public_reason": None})
                change.set(f"{OUT}{event.id}", pending_text(replace(one, event=event)))
        return change

    def _write(self, item: Item, change: Update) -> bool:
        """Send a change, provided that each attribute of it is as it was read; what changed waits for the next run."""
        seen = {f"seen{place[1:]}": item[name] for place, name in change.names.items()}
        condition = " AND ".join(f"{place} = :seen{place[1:]}" for place in change.names)
        key = item_key(get_text(item, "pk"), get_text(item, "sk"))
        request = change.request(self._table, key, condition, **seen)
        return written(partial(self._client.update_item, **request))

    def _items(self, tenant: str) -> Iterator[Item]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :tenant",
            "ExpressionAttributeValues": {":tenant": {"S": tenant}},
            "ConsistentRead": True,
        }
        while True:
            page = patiently(partial(self._client.query, **request))
            yield from page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
