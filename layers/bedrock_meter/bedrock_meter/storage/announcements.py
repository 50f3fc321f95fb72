"""Announcements of usage without a tenant, a price or a reservation: an outbox item for each UTC day and whom it is of.

The item is put before the usage is recorded. A crash in between announces usage that the redelivery records.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bedrock_meter.alerts.contracts import Event, unattributed_event, unpriced_event, unreserved_event
from bedrock_meter.alerts.outbox import Pending
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, is_passing, number, text
from bedrock_meter.storage.keys import due_shard, outbox_sort_key, unpriced_sort_key, unreserved_sort_key
from bedrock_meter.storage.outboxes import OUT, item_key, pending_text
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.settlement import Uncovered

ANNOUNCEMENT_SCHEMA = 1
DUE_INDEX = "due"
KEPT_MS = 30 * DAY_MS
_REMEMBERED = 10_000


class DynamoDBAnnouncer:
    """``Announcer`` over the Quotas table. An announcement stands in the partition of whose usage it is about."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._done: set[tuple[str, str]] = set()

    def announce(self, entry: LedgerEntry, now_ms: int) -> bool:
        """See ``Announcer.announce``: once per profile and UTC day."""
        day = _day(entry)
        return self._put(entry, outbox_sort_key(entry.profile, day), unattributed_event, day, now_ms)

    def announce_unpriced(self, entry: LedgerEntry, now_ms: int) -> bool:
        """See ``Announcer.announce_unpriced``: once per profile, model and UTC day."""
        day = _day(entry)
        event_of = partial(unpriced_event, None if entry.tenant == UNATTRIBUTED else entry.tenant)
        return self._put(entry, unpriced_sort_key(entry.profile, entry.model, day), event_of, day, now_ms)

    def announce_unreserved(self, entry: LedgerEntry, uncovered: Uncovered, now_ms: int) -> bool:
        """See ``Announcer.announce_unreserved``: once per tenant and UTC day."""
        day = _day(entry)
        event_of = partial(unreserved_event, entry.tenant, uncovered.reason, entry.reservation, uncovered.overuse)
        return self._put(entry, unreserved_sort_key(day), event_of, day, now_ms)

    def _put(self, entry: LedgerEntry, sort_key: str, event_of: Callable[..., Event], day: str, now_ms: int) -> bool:
        place = entry.tenant, sort_key
        if place in self._done:
            return True
        account_id, region, _ = entry.key.split("#", 2)
        event = event_of(
            account_id=account_id,
            region=region,
            profile=entry.profile,
            day=day,
            model=entry.model,
            event_ms=entry.event_ms,
            now_ms=now_ms,
        )
        item = {
            **item_key(*place),
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
        self._done.add(place)
        return True


def _day(entry: LedgerEntry) -> str:
    return datetime.fromtimestamp(entry.event_ms / 1000, UTC).strftime("%Y-%m-%d")
