"""Announcements of unattributed usage: an outbox item for each profile and UTC day, and what of all outboxes is due."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bedrock_meter.alerts.contracts import unattributed_event
from bedrock_meter.alerts.outbox import Pending, PublishOutcome
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, get_text, is_passing, number, text
from bedrock_meter.storage.keys import DUE_SHARDS, OUTBOX_PREFIX, due_shard, outbox_sort_key
from bedrock_meter.storage.outboxes import OUT, item_key, outbox_update, pending_of, pending_text
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import LedgerEntry

ANNOUNCEMENT_SCHEMA = 1
DUE_INDEX = "due"
KEPT_MS = 30 * DAY_MS
_REMEMBERED = 10_000


class DynamoDBAnnouncer:
    """Announcements of unattributed usage: an outbox item for each profile and UTC day.

    The item is put before the usage is recorded. A crash in between announces usage that the redelivery records.
    """

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._done: set[str] = set()

    def announce(self, entry: LedgerEntry, now_ms: int) -> bool:
        """See ``Announcer.announce``."""
        day = datetime.fromtimestamp(entry.event_ms / 1000, UTC).strftime("%Y-%m-%d")
        sort_key = outbox_sort_key(entry.profile, day)
        if sort_key in self._done:
            return True
        account_id, region, _ = entry.key.split("#", 2)
        event = unattributed_event(
            account_id=account_id,
            region=region,
            profile=entry.profile,
            day=day,
            model=entry.model,
            event_ms=entry.event_ms,
            now_ms=now_ms,
        )
        item = {
            **item_key(UNATTRIBUTED, sort_key),
            "schema": number(ANNOUNCEMENT_SCHEMA),
            f"{OUT}{event.id}": pending_text(Pending(event)),
            "next_due_ms": number(now_ms),
            "due_shard": text(due_shard(sort_key)),
            "expires": number((now_ms + KEPT_MS) // 1000),
        }
        try:
            self._client.put_item(
                TableName=self._tables.quotas, Item=item, ConditionExpression="attribute_not_exists(pk)"
            )
        except AWS_ERRORS as error:
            if error_code(error) != "ConditionalCheckFailedException":
                if is_passing(error):
                    return False
                raise
        if len(self._done) >= _REMEMBERED:
            self._done.clear()
        self._done.add(sort_key)
        return True


class DynamoDBOutboxStore:
    """Outbox items that stand alone (announcements), and what is due."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def due(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """Yield the (partition, sort key) of all items whose time has come, page by page."""
        for shard in DUE_SHARDS:
            request: dict[str, Any] = {
                "TableName": self._tables.quotas,
                "IndexName": DUE_INDEX,
                "KeyConditionExpression": "due_shard = :shard AND next_due_ms <= :now",
                "ExpressionAttributeValues": {":shard": text(shard), ":now": number(now_ms)},
            }
            while True:
                page = self._client.query(**request)
                for item in page.get("Items", []):
                    yield get_text(item, "pk"), get_text(item, "sk")
                if not page.get("LastEvaluatedKey"):
                    break
                request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def pending(self, partition: str, sort_key: str) -> tuple[Pending, ...]:
        """Read the outbox of one item consistently."""
        answer = self._client.get_item(
            TableName=self._tables.quotas, Key=item_key(partition, sort_key), ConsistentRead=True
        )
        return pending_of(answer.get("Item", {}))

    def cleared(
        self,
        partition: str,
        sort_key: str,
        outcome: PublishOutcome,
        pending: Sequence[Pending],
        next_due_ms: int | None,
    ) -> None:
        """Take accepted events out; the item itself stays until it expires, so that the day is announced once."""
        update = outbox_update(outcome, pending)
        update.due(sort_key, next_due_ms)
        self._client.update_item(**update.request(self._tables.quotas, item_key(partition, sort_key)))


def is_outbox(sort_key: str) -> bool:
    """Whether a Quotas item is an announcement."""
    return sort_key.startswith(OUTBOX_PREFIX)
