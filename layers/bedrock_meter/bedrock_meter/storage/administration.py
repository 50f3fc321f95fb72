"""Tenants for the admin API, in the Tenants table: lists, claims, and the audit log.

A claim is one transaction: the tenant's ``updated_ms``, conditioned on the one seen, and the note about the change.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from pynamodb.exceptions import PynamoDBException

from bedrock_meter.clock import iso
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, number, text
from bedrock_meter.storage.keys import AUDIT_PREFIX, TENANT, audit_sort_key, tenant_key
from bedrock_meter.tenants.administration import Change, Listed
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, ProfileReference, TenantDefinition

FAILURES = (*AWS_ERRORS, PynamoDBException)
"""What administration can end with when the storage fails: requests of our own, and those that pynamodb sends."""

TENANT_SCHEMA = 1
AUDIT_SCHEMA = 1
_SCANS = 10
"""Requests for one page of a list at most: mappings and notes lie between the tenants."""


def failure_code(error: Exception) -> str:
    """Code of one of ``FAILURES``, or its type where it has none."""
    cause = getattr(error, "cause_response_code", None)
    return str(cause) if cause else error_code(error) or type(error).__name__


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
            found += [_listed(item) for item in answer.get("Items", [])]
            last = answer.get("LastEvaluatedKey")
            after = (get_text(last, "pk"), get_text(last, "sk")) if last else None
            if found or after is None:
                break
        return found, after

    def updated_ms(self, tenant: str) -> int | None:
        """Read when a tenant was last changed, consistently."""
        answer = self._client.get_item(TableName=self._table, Key=_key(tenant), ConsistentRead=True)
        return get_number(answer["Item"], "updated_ms") if "Item" in answer else None

    def claim(self, seen_ms: int | None, timezone: str, change: Change) -> bool:
        """Note a change and make it the last one of its tenant."""
        note = {"Put": {"TableName": self._table, "Item": _note(change)}}
        try:
            self._client.transact_write_items(TransactItems=[self._claim(seen_ms, timezone, change), note])
        except AWS_ERRORS as error:
            reasons = getattr(error, "response", {}).get("CancellationReasons", [])
            # A conflict is another writer of this tenant as well: whoever it is, the state seen is no longer the last.
            if error_code(error) == "TransactionCanceledException" and reasons:
                return False
            raise
        return True

    def _claim(self, seen_ms: int | None, timezone: str, change: Change) -> dict[str, Any]:
        if seen_ms is None:
            item = {
                **_key(change.tenant),
                "schema": number(TENANT_SCHEMA),
                "tenant": text(change.tenant),
                "timezone": text(timezone),
                "profiles": {"L": []},
                "limits": text("[]"),
                "updated_ms": number(change.at_ms),
            }
            condition = "attribute_not_exists(pk)"
            return {"Put": {"TableName": self._table, "Item": item, "ConditionExpression": condition}}
        return {
            "Update": {
                "TableName": self._table,
                "Key": _key(change.tenant),
                "UpdateExpression": "SET updated_ms = :now",
                "ConditionExpression": "updated_ms = :seen",
                "ExpressionAttributeValues": {
                    ":now": number(max(change.at_ms, seen_ms + 1)),
                    ":seen": number(seen_ms),
                },
            }
        }

    def changes(
        self, tenant: str, after: tuple[str, ...] | None, limit: int
    ) -> tuple[Sequence[Change], tuple[str, ...] | None]:
        """Return a tenant's changes, newest first."""
        pk = text(tenant_key(tenant))
        start = {} if after is None else {"ExclusiveStartKey": {"pk": pk, "sk": text(after[0])}}
        answer = self._client.query(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :audit)",
            ExpressionAttributeValues={":pk": pk, ":audit": text(AUDIT_PREFIX)},
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        last = answer.get("LastEvaluatedKey")
        found = [_change(tenant, item) for item in answer.get("Items", [])]
        return found, (get_text(last, "sk"),) if last else None


def _key(tenant: str) -> Item:
    return {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}


def _listed(item: Item) -> Listed:
    profiles = tuple(
        ProfileReference(get_text(one["M"], "id"), get_text(one["M"], "arn"), get_text(one["M"], "model"))
        for one in item.get("profiles", {"L": []})["L"]
    )
    definition = TenantDefinition(
        get_text(item, "tenant"),
        get_text(item, "timezone", DEFAULT_TIMEZONE),
        get_text(item, "plan") or None,
        profiles,
        principals=tuple(one["S"] for one in item.get("principals", {"L": []})["L"]),
        fail_policy=get_text(item, "fail_policy") or None,
    )
    return Listed(definition, get_number(item, "updated_ms"))


def _note(change: Change) -> Item:
    sides = (("before", change.before), ("after", change.after))
    return {
        "pk": text(tenant_key(change.tenant)),
        "sk": text(audit_sort_key(iso(change.at_ms), uuid4().hex[:12])),
        "schema": number(AUDIT_SCHEMA),
        "tenant": text(change.tenant),
        "at_ms": number(change.at_ms),
        "by": text(change.by),
        "what": text(change.what),
        **{name: text(json.dumps(value, separators=(",", ":"))) for name, value in sides if value},
    }


def _change(tenant: str, item: Item) -> Change:
    return Change(
        tenant,
        get_number(item, "at_ms"),
        get_text(item, "by"),
        get_text(item, "what"),
        _parsed(item, "before"),
        _parsed(item, "after"),
    )


def _parsed(item: Item, name: str) -> Mapping[str, Any] | None:
    found = get_text(item, name)
    return json.loads(found) if found else None
