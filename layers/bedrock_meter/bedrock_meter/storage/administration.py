"""Tenants for the admin API, in the Tenants table: lists and claims.

A claim is one transaction: the tenant's ``updated_ms``, conditioned on the one seen, and the audit entry.
"""

from collections.abc import Sequence
from typing import Any

from pynamodb.exceptions import PynamoDBException

from bedrock_meter.settings import Tables
from bedrock_meter.storage.audit import audit_item
from bedrock_meter.storage.dynamodb import (
    AWS_ERRORS,
    Item,
    error_code,
    failure_name,
    get_number,
    get_text,
    number,
    text,
)
from bedrock_meter.storage.keys import TENANT, tenant_key
from bedrock_meter.storage.tenants import definition_of
from bedrock_meter.tenants.administration import Listed
from bedrock_meter.tenants.audit import AuditEntry

FAILURES = (*AWS_ERRORS, PynamoDBException)
"""What administration can end with when the storage fails: requests of our own, and those that pynamodb sends."""

TENANT_SCHEMA = 1
_SCANS = 10
"""Requests for one page of a list at most: mappings and notes lie between the tenants."""


def failure_code(error: Exception) -> str:
    """Code of one of ``FAILURES``, or its type where it has none."""
    cause = getattr(error, "cause_response_code", None)
    return str(cause) if cause else failure_name(error)


class DynamoDBAdministrationStore:
    """``AdministrationStore``."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.tenants

    def page(self, after: tuple[str, ...] | None, limit: int) -> tuple[Sequence[Listed], tuple[str, ...] | None]:
        """Return some tenants."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": True,
            "Limit": limit,
            "FilterExpression": "sk = :tenant",
            "ExpressionAttributeValues": {":tenant": text(TENANT)},
        }
        found: list[Listed] = []
        for _ in range(_SCANS):
            if after is not None:
                request["ExclusiveStartKey"] = {"pk": text(after[0]), "sk": text(after[1])}
            answer = self._client.scan(**request)
            found += [Listed(definition_of(item), get_number(item, "updated_ms")) for item in answer.get("Items", [])]
            last = answer.get("LastEvaluatedKey")
            after = (get_text(last, "pk"), get_text(last, "sk")) if last else None
            if found or after is None:
                break
        return found, after

    def updated_ms(self, tenant: str) -> int | None:
        """Read when a tenant was last changed, consistently."""
        answer = self._client.get_item(TableName=self._table, Key=_key(tenant), ConsistentRead=True)
        return get_number(answer["Item"], "updated_ms") if "Item" in answer else None

    def claim(self, seen_ms: int | None, timezone: str, entry: AuditEntry) -> bool:
        """Note a change, and make it the last one of its tenant."""
        note = {"Put": {"TableName": self._table, "Item": audit_item(entry)}}
        try:
            self._client.transact_write_items(TransactItems=[self._claim(seen_ms, timezone, entry), note])
        except AWS_ERRORS as error:
            reasons = getattr(error, "response", {}).get("CancellationReasons", [])
            # A conflict is another writer of this tenant as well: whoever it is, the state seen is no longer the last.
            if error_code(error) == "TransactionCanceledException" and reasons:
                return False
            raise
        return True

    def _claim(self, seen_ms: int | None, timezone: str, entry: AuditEntry) -> dict[str, Any]:
        if seen_ms is None:
            item = {
                **_key(entry.tenant),
                "schema": number(TENANT_SCHEMA),
                "tenant": text(entry.tenant),
                "timezone": text(timezone),
                "profiles": {"L": []},
                "limits": text("[]"),
                "updated_ms": number(entry.at_ms),
            }
            condition = "attribute_not_exists(pk)"
            return {"Put": {"TableName": self._table, "Item": item, "ConditionExpression": condition}}
        return {
            "Update": {
                "TableName": self._table,
                "Key": _key(entry.tenant),
                "UpdateExpression": "SET updated_ms = :now",
                "ConditionExpression": "updated_ms = :seen",
                "ExpressionAttributeValues": {
                    ":now": number(max(entry.at_ms, seen_ms + 1)),
                    ":seen": number(seen_ms),
                },
            }
        }


def _key(tenant: str) -> Item:
    return {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}
