"""Who changed what of a tenant, in the tenant's own partition of the Tenants table: ``AuditTrail``.

Whoever changes a tenant writes them: the operator's command, ``sync_profiles``, and the admin API, whose claims write
one in a transaction. botocore only. Nothing overwrites an entry; ``forget`` takes a person's words out of them and
leaves who, when and what.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from bedrock_meter.clock import iso
from bedrock_meter.errors import InvalidPosition
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, number, text
from bedrock_meter.storage.keys import AUDIT_PREFIX, audit_sort_key, tenant_key
from bedrock_meter.storage.patience import patiently
from bedrock_meter.tenants.audit import AuditEntry

AUDIT_SCHEMA = 1
_SORT_KEY = re.compile(rf"{AUDIT_PREFIX}[0-9TZ:.+-]{{1,40}}#[0-9a-f]{{1,32}}")


class DynamoDBAuditTrail:
    """See ``AuditTrail``."""

    def __init__(self, client: Any, tables: Tables, partition: Callable[[str], str] = tenant_key) -> None:
        """Set up.

        Args:
            client: DynamoDB.
            tables: Names of the tables.
            partition: Where entries lie, by the name of what was changed: a tenant, or with ``plan_key`` a plan.
        """
        self._client = client
        self._table = tables.tenants
        self._partition = partition

    def record(self, entry: AuditEntry) -> None:
        """Keep an entry."""
        item = audit_item(entry, self._partition(entry.tenant))
        # Sent again with the same key where only the answer got lost: one entry.
        patiently(partial(self._client.put_item, TableName=self._table, Item=item))

    def history(self, tenant: str, limit: int | None = None) -> Iterator[AuditEntry]:
        """Yield a tenant's entries, newest first."""
        for number_of, item in enumerate(self._items(tenant)):
            if limit is not None and number_of >= limit:
                return
            yield _entry(tenant, item)

    def page(
        self, tenant: str, after: tuple[str, ...] | None, limit: int
    ) -> tuple[Sequence[AuditEntry], tuple[str, ...] | None]:
        """Return some of a tenant's entries, newest first.

        Raises:
            InvalidPosition: ``after`` cannot be an entry's key. DynamoDB would refuse it as an error of ours.
        """
        request = {**self._query(tenant), "Limit": limit}
        if after is not None:
            if len(after) != 1 or not _SORT_KEY.fullmatch(after[0]):
                raise InvalidPosition("no entry of a log of changes has such a key")
            request["ExclusiveStartKey"] = {"pk": text(self._partition(tenant)), "sk": text(after[0])}
        answer = self._client.query(**request)
        last = answer.get("LastEvaluatedKey")
        return [_entry(tenant, item) for item in answer.get("Items", [])], (get_text(last, "sk"),) if last else None

    def forget(self, tenant: str, names: frozenset[str]) -> int:
        """Take the values called ``names`` out of a tenant's entries; returns how many entries held one."""
        changed = 0
        for item in self._items(tenant):
            kept: dict[str, Mapping[str, Any] | None] = {}
            for side in ("before", "after"):
                value = _parsed(item, side)
                if value and names & value.keys():
                    kept[side] = {name: one for name, one in value.items() if name not in names}
            if kept:
                request = {
                    "TableName": self._table,
                    "Key": {"pk": item["pk"], "sk": item["sk"]},
                    "UpdateExpression": "SET " + ", ".join(f"#{side} = :{side}" for side in kept),
                    "ExpressionAttributeNames": {f"#{side}": side for side in kept},
                    "ExpressionAttributeValues": {f":{side}": _json(value) for side, value in kept.items()},
                }
                patiently(partial(self._client.update_item, **request))
                changed += 1
        return changed

    def _query(self, tenant: str) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :audit)",
            "ExpressionAttributeValues": {":pk": text(self._partition(tenant)), ":audit": text(AUDIT_PREFIX)},
            "ConsistentRead": True,
            "ScanIndexForward": False,
        }

    def _items(self, tenant: str) -> Iterator[Item]:
        request = self._query(tenant)
        while True:
            page = patiently(partial(self._client.query, **request))
            yield from page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def audit_item(entry: AuditEntry, partition: str | None = None) -> Item:
    """Return an entry as an item with a key of its own: two of the same instant are two.

    It lies with its tenant, or in ``partition``.
    """
    return {
        "pk": text(tenant_key(entry.tenant) if partition is None else partition),
        "sk": text(audit_sort_key(iso(entry.at_ms), uuid4().hex[:12])),
        "schema": number(AUDIT_SCHEMA),
        "tenant": text(entry.tenant),
        "at_ms": number(entry.at_ms),
        "by": text(entry.by),
        "what": text(entry.what),
        **{name: _json(value) for name, value in (("before", entry.before), ("after", entry.after)) if value},
    }


def _entry(tenant: str, item: Item) -> AuditEntry:
    return AuditEntry(
        tenant=tenant,
        at_ms=get_number(item, "at_ms"),
        by=get_text(item, "by"),
        what=get_text(item, "what"),
        before=_parsed(item, "before"),
        after=_parsed(item, "after"),
    )


def _json(value: Mapping[str, Any] | None) -> dict[str, Any]:
    return text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _parsed(item: Item, name: str) -> Mapping[str, Any] | None:
    found = get_text(item, name)
    return json.loads(found) if found else None
