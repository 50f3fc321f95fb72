"""Ledger entries that wait for a tenant, found by the sparse index ``unattributed``: ``Worklist``.

The index holds keys only and lags behind, so that it says where to look and never what is there: each entry is read
from the table itself, consistently.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_text, text
from bedrock_meter.storage.entries import entries_of
from bedrock_meter.storage.patience import patiently
from bedrock_meter.usage.ledger import LedgerEntry

INDEX = "unattributed"
_PAGE = 100


class DynamoDBWorklist:
    """See ``Worklist`` for what each call promises."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def profiles(self) -> list[str]:
        """Return every profile of which an entry waits. Scans the index: half a read unit for about 40 entries."""
        request = {"ProjectionExpression": "unattributed_profile"}
        return sorted(
            {get_text(item, "unattributed_profile") for page in self._pages("scan", request) for item in page}
        )

    def waiting(self, profile: str) -> Iterator[Sequence[LedgerEntry]]:
        """Read the entries of a profile that wait, oldest first."""
        request = {
            "KeyConditionExpression": "unattributed_profile = :profile",
            "ExpressionAttributeValues": {":profile": text(profile)},
            "Limit": _PAGE,
        }
        for page in self._pages("query", request):
            entries = entries_of(self._client, self._tables, [get_text(item, "pk") for item in page])
            waiting = [entry for entry in entries if entry.profile == profile]
            yield sorted(waiting, key=lambda entry: (entry.event_ms, entry.key))

    def _pages(self, call: str, request: dict[str, Any]) -> Iterator[list[Item]]:
        request = {"TableName": self._tables.ledger, "IndexName": INDEX, **request}
        while True:
            page = patiently(lambda: getattr(self._client, call)(**request))
            yield page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
