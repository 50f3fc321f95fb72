"""The operator's overrides of prices, in the Tenants table: the present set as one item, and each change as another."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.pricing.overrides import NONE, OverrideSet
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, get_number, get_text, number, text
from bedrock_meter.storage.gauges import read_batch
from bedrock_meter.storage.keys import OVERRIDES, PRICES, override_change_key

MAXIMUM_BYTES = 350_000
"""An item may have 400 KB."""


class Change(NamedTuple):
    """One change of the set: which version it made, when, who applied it, and how many rows it has since."""

    version: int
    at_ms: int
    by: str
    rows: int


class DynamoDBOverrideStore:
    """``OverrideStore``, and how a set is replaced."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.tenants

    def read(self) -> OverrideSet:
        """Read the present set, consistently; the empty set of version 0 if there never was one."""
        key = {"pk": text(PRICES), "sk": text(OVERRIDES)}
        items = list(read_batch(self._client, self._table, [key]))
        return _decoded(get_text(items[0], "document")) if items else NONE

    def replace(self, held: OverrideSet, new: OverrideSet, *, now_ms: int, by: str) -> bool:
        """Put ``new`` in the place of ``held``, and note who did it.

        Returns:
            False if the set changed since ``held`` was read; nothing is written then.

        Raises:
            InvalidDefinition: The set has grown too large for one item.
        """
        document = msgspec.json.encode(new).decode()
        if len(document) > MAXIMUM_BYTES:
            raise InvalidDefinition("overrides", f"{len(new.rows)} rows, past ones included, are too many for one item")
        said = {
            "version": number(new.version),
            "document": text(document),
            "updated_ms": number(now_ms),
            "updated_by": text(by),
            "rows": number(len(new.rows)),
        }
        unchanged: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if held.version:
            unchanged = {
                "ConditionExpression": "#version = :held",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":held": number(held.version)},
            }
        change = {"pk": text(PRICES), "sk": text(override_change_key(new.version)), **said}
        puts = [
            {"TableName": self._table, "Item": {"pk": text(PRICES), "sk": text(OVERRIDES), **said}, **unchanged},
            {"TableName": self._table, "Item": change, "ConditionExpression": "attribute_not_exists(pk)"},
        ]
        try:
            self._client.transact_write_items(TransactItems=[{"Put": put} for put in puts])
        except AWS_ERRORS as error:
            if error_code(error) == "TransactionCanceledException":
                reasons = error.response.get("CancellationReasons", [])
                if any(one.get("Code") == "ConditionalCheckFailed" for one in reasons):
                    return False
            raise
        return True

    def changes(self) -> Iterator[Change]:
        """Yield all changes, the first one first."""
        request = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :prices AND begins_with(sk, :change)",
            "ExpressionAttributeValues": {":prices": text(PRICES), ":change": text(f"{OVERRIDES}#")},
            "ConsistentRead": True,
        }
        for page in self._client.get_paginator("query").paginate(**request):
            for item in page["Items"]:
                yield Change(
                    get_number(item, "version"),
                    get_number(item, "updated_ms"),
                    get_text(item, "updated_by"),
                    get_number(item, "rows"),
                )


def _decoded(document: str) -> OverrideSet:
    return msgspec.json.decode(document, type=OverrideSet)
