"""Callers in the ledger, found and forgotten: ``PrincipalStore``.

The ledger has no index by tenant or caller, on purpose: one would cost a write more for every call for ever, and this
question is asked once in a tenant's life. So the whole ledger is scanned, consistently (what is recorded meanwhile is
of a tenant without profiles): one read unit for each 4 KB, and one write unit for each entry that changes.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from bedrock_meter.errors import InvalidPosition
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_text, text
from bedrock_meter.storage.patience import patiently, written
from bedrock_meter.tenants.erasing import Caller

_MAXIMUM_KEY_BYTES = 2_048
"""Of a partition key, by DynamoDB."""


class DynamoDBPrincipalStore:
    """See ``PrincipalStore``."""

    def __init__(self, client: Any, tables: Tables, page: int | None = None) -> None:
        """Set up.

        Args:
            client: DynamoDB.
            tables: Names of the tables.
            page: Entries that one page reads at most, for whoever has little time; None = what DynamoDB gives, 1 MB.
        """
        self._client = client
        self._page = page
        self._table = tables.ledger

    def read_units(self) -> int:
        """Return about how many read units ``pages`` takes, by the size that DynamoDB last measured (six-hourly)."""
        described = self._client.describe_table(TableName=self._table)["Table"]
        return -(-int(described.get("TableSizeBytes", 0)) // 4096)

    def pages(self, whose: str | Caller, position: str | None) -> Iterator[tuple[Iterable[str], int, str | None]]:
        """Scan the ledger from a position on.

        Raises:
            InvalidPosition: It is none that this has returned.
        """
        condition, values = _meant(whose)
        request: dict[str, Any] = {
            "TableName": self._table,
            "FilterExpression": condition,
            "ExpressionAttributeValues": values,
            "ProjectionExpression": "pk",
            # Said as well as meant: the admin API may scan no other way.
            "Select": "SPECIFIC_ATTRIBUTES",
            "ConsistentRead": True,
            **({"Limit": self._page} if self._page is not None else {}),
        }
        while True:
            if position is not None:
                request["ExclusiveStartKey"] = _key(position)
            page = patiently(partial(self._client.scan, **request))
            last = page.get("LastEvaluatedKey")
            position = json.dumps(last) if last else None
            yield [get_text(item, "pk") for item in page.get("Items", [])], int(page.get("ScannedCount", 0)), position
            if position is None:
                return

    def forget(self, whose: str | Caller, key: str) -> bool:
        """Take the principal out of an entry, provided that it is still meant."""
        condition, values = _meant(whose)
        request = {
            "TableName": self._table,
            "Key": {"pk": text(key)},
            "UpdateExpression": "REMOVE principal",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        return written(partial(self._client.update_item, **request))


def _key(position: str) -> dict[str, Any]:
    """Return the key that a position names: it comes back from outside, and may be anything."""
    try:
        match json.loads(position):
            case {"pk": {"S": str(call)}} if 0 < len(call.encode()) <= _MAXIMUM_KEY_BYTES:
                return {"pk": text(call)}
    except (ValueError, RecursionError):
        pass
    raise InvalidPosition("no entry of the ledger has such a key")


def _meant(whose: str | Caller) -> tuple[str, Item]:
    """Return the condition under which an entry's caller is meant, with its values."""
    if not isinstance(whose, Caller):
        return "tenant = :tenant AND attribute_exists(principal)", {":tenant": text(whose)}
    exactly = "principal = :name"
    if whose.sessions is None:
        return exactly, {":name": text(whose.name)}
    return f"{exactly} OR principal = :role OR begins_with(principal, :sessions)", {
        ":name": text(whose.name),
        ":role": text(whose.sessions),
        ":sessions": text(f"{whose.sessions}/"),
    }
