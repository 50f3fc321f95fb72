"""Test lines that came out of the recorder: one item each in the Quotas table, gone after an hour.

They share the table with gauges because every recorder may write there already; nobody else looks at them.
"""

from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, get_number, number, text
from bedrock_meter.storage.keys import PREFLIGHT, probe_sort_key

PROBE_SCHEMA = 1
KEPT_MS = 3_600_000


class DynamoDBProbes:
    """Notes and finds test lines."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def acknowledge(self, nonce: str, now_ms: int) -> None:
        """Note that a line was read; a failure is silent, because a test must not cost a delivery."""
        item = {
            **self._key(nonce),
            "schema": number(PROBE_SCHEMA),
            "read_ms": number(now_ms),
            "expires": number((now_ms + KEPT_MS) // 1000),
        }
        try:
            self._client.put_item(TableName=self._tables.quotas, Item=item)
        except AWS_ERRORS:
            return

    def read_at_ms(self, nonce: str) -> int | None:
        """Return when a line was read, None = not yet."""
        answer = self._client.get_item(TableName=self._tables.quotas, Key=self._key(nonce), ConsistentRead=True)
        item = answer.get("Item")
        return get_number(item, "read_ms") if item else None

    @staticmethod
    def _key(nonce: str) -> dict[str, Any]:
        return {"pk": text(PREFLIGHT), "sk": text(probe_sort_key(nonce))}
