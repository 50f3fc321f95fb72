"""Events that wait, as attributes of an item, and the updates that move them.

Outbox entries are flat attributes ``out:<event id>`` (``refusals|event``), parked ones ``parked:<event id>``: no
parent map to miss, and two workers never rewrite each other's entries.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.outbox import Pending, PublishOutcome
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_text, number, text
from bedrock_meter.storage.keys import DUE_SHARDS, OUTBOX_PREFIX, due_shard

OUT = "out:"
DUE_INDEX = "due"
PARKED = "parked:"


def item_key(partition: str, sort: str) -> Item:
    """Return the key of a Quotas item."""
    return {"pk": text(partition), "sk": text(sort)}


def pending_of(item: Item) -> tuple[Pending, ...]:
    """Read the outbox of an item in the order of evaluation; parked events are not among it."""
    found = []
    for name in item:
        if name.startswith(OUT):
            refusals, _, encoded = get_text(item, name).partition("|")
            found.append(Pending(Event.decode(name[len(OUT) :], encoded), int(refusals)))
    return tuple(
        sorted(found, key=lambda one: (one.event.detail["evaluated_at"], one.event.detail.get("threshold_percent", 0)))
    )


def pending_text(pending: Pending) -> dict[str, Any]:
    """Return the attribute of a waiting event."""
    return text(f"{pending.refusals}|{pending.event.encode()}")


class Update:
    """Builds one update expression."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: Item = {}
        self._sets: list[str] = []
        self._removes: list[str] = []

    def _name(self, name: str) -> str:
        placeholder = f"#{len(self.names)}"
        self.names[placeholder] = name
        return placeholder

    def set(self, name: str, value: dict[str, Any]) -> None:
        """Set an attribute."""
        placeholder = f":{len(self.values)}"
        self.values[placeholder] = value
        self._sets.append(f"{self._name(name)} = {placeholder}")

    def remove(self, name: str) -> None:
        """Remove an attribute; one that is not there is no error."""
        self._removes.append(self._name(name))

    def due(self, partition: str, next_due_ms: int | None) -> None:
        """Say when the sweep looks at the item again; None takes it out of the index."""
        if next_due_ms is None:
            self.remove("next_due_ms")
            self.remove("due_shard")
        else:
            self.set("next_due_ms", number(next_due_ms))
            self.set("due_shard", text(due_shard(partition)))

    def request(self, table: str, key: Item, condition: str | None = None, **values: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of an update; ``values`` are those of the condition, without the colon."""
        clauses = [f"SET {', '.join(self._sets)}"] if self._sets else []
        clauses += [f"REMOVE {', '.join(self._removes)}"] if self._removes else []
        all_values = {**self.values, **{f":{name}": value for name, value in values.items()}}
        return {
            "TableName": table,
            "Key": key,
            "UpdateExpression": " ".join(clauses),
            "ExpressionAttributeNames": self.names,
            **({"ExpressionAttributeValues": all_values} if all_values else {}),
            **({"ConditionExpression": condition} if condition else {}),
        }


def outbox_update(outcome: PublishOutcome, pending: Sequence[Pending]) -> Update:
    """Remove what was accepted; note refusals; park what was refused too often."""
    update = Update()
    for identity in sorted(outcome.accepted):
        update.remove(f"{OUT}{identity}")
    for one in pending:
        if one.event.id in outcome.refused:
            if one.is_parked:
                update.remove(f"{OUT}{one.event.id}")
                update.set(f"{PARKED}{one.event.id}", pending_text(one))
            else:
                update.set(f"{OUT}{one.event.id}", pending_text(one))
    return update


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
