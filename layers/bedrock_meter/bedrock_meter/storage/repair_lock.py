"""The repair lock as an item of the Tenants table, where no recorder looks: ``RepairLockStore``."""

from typing import Any

from bedrock_meter.reconciliation.repair_lock import Holder, LockState
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, number, text
from bedrock_meter.storage.keys import LOCK, REPAIR
from bedrock_meter.storage.patience import patiently

LOCK_SCHEMA = 1
_OF_A_HOLDER = ("holder", "command", "by", "since_ms", "expires_ms")


class DynamoDBRepairLock:
    """See ``RepairLockStore`` for what each call promises."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.tenants

    def take(self, holder: Holder, now_ms: int) -> Holder | None:
        """Take it, on condition that it is free, has expired, or is ours already: then only the reply was lost."""
        values = {
            "schema": number(LOCK_SCHEMA),
            "holder": text(holder.id),
            "command": text(holder.command),
            "by": text(holder.by),
            "since_ms": number(holder.since_ms),
            "expires_ms": number(holder.expires_ms),
        }
        is_taken = patiently(
            lambda: self._update(
                "SET " + ", ".join(f"#{name} = :{name}" for name in values) + " ADD #taken :one",
                "attribute_not_exists(#holder) OR #expires_ms <= :now OR #holder = :holder",
                {"taken", *values},
                {**{f":{name}": value for name, value in values.items()}, ":one": number(1), ":now": number(now_ms)},
            )
        )
        return None if is_taken else self.state().holder

    def renew(self, holder: Holder, expires_ms: int) -> bool:
        """Move its end."""
        return patiently(
            lambda: self._update(
                "SET #expires_ms = :expires",
                "#holder = :holder",
                {"expires_ms", "holder"},
                {":expires": number(expires_ms), ":holder": text(holder.id)},
            )
        )

    def release(self, holder: Holder) -> None:
        """Give it back, and keep how often it was taken."""
        try:
            self._update(
                "REMOVE " + ", ".join(f"#{name}" for name in _OF_A_HOLDER),
                "#holder = :holder",
                set(_OF_A_HOLDER),
                {":holder": text(holder.id)},
            )
        except AWS_ERRORS:
            return

    def state(self) -> LockState:
        """Read it."""
        answer = patiently(
            lambda: self._client.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True),
        )
        item: Item = answer.get("Item", {})
        holder = Holder(
            get_text(item, "holder"),
            get_text(item, "command"),
            get_text(item, "by"),
            get_number(item, "since_ms"),
            get_number(item, "expires_ms"),
        )
        return LockState(holder if holder.id else None, get_number(item, "taken"))

    def _update(self, change: str, condition: str, names: set[str], values: dict[str, Any]) -> bool:
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames={f"#{name}": name for name in sorted(names)},
                ExpressionAttributeValues=values,
            )
        except AWS_ERRORS as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True


_KEY = {"pk": text(REPAIR), "sk": text(LOCK)}
