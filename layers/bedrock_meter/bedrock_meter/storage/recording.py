"""The one transaction, in DynamoDB's words.

Cost: two write units for each started kilobyte of each item. Ledger entries and gauges are kept under one kilobyte
    for that reason.
"""

from collections.abc import Iterable
from typing import Any

from botocore.exceptions import ClientError

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges, reservations
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, is_passing, number, text
from bedrock_meter.storage.keys import usage_sort_key
from bedrock_meter.storage.rollups import COUNTS, row_amounts
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change, LedgerEntry
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import GaugeHead, Refused, UnacceptableWrites
from bedrock_meter.usage.rollup import RollupKey, Sums
from bedrock_meter.usage.settlement import ReservationKey

LEDGER_SCHEMA = 2
"""1: before there were prices; such an entry is read as never rated."""

USAGE_SCHEMA = 2
"""1: before there were prices; see ``storage/rollups.py``."""

_TEXTS = {
    "principal": "principal",
    "error": "error_code",
    "routing": "routing",
    "tier": "tier",
    "price_version": "price_version",
    "assumptions": "assumptions",
    "was": "was",
    "reservation": "reservation",
}
"""Attributes that are absent where there is nothing to say, and their fields."""

_NUMBERS = ("cache_write_1h", "images", "cost_nano_usd", "moved_ms", "removed_ms")
"""The same for numbers."""

_OPTIONAL = (*_TEXTS, *_NUMBERS, "unattributed_profile")

_Position = Change | RollupKey | Reservation | str


def entry_item(entry: LedgerEntry) -> Item:
    """Return the entry as a Ledger item."""
    item: Item = {
        "pk": text(entry.key),
        "schema": number(LEDGER_SCHEMA),
        "tenant": text(entry.tenant),
        "rule": text(entry.rule),
        "profile": text(entry.profile),
        "model": text(entry.model),
        "operation": text(entry.operation),
        "event_ms": number(entry.event_ms),
        "expires": number(entry.expires_s),
        **{name: number(getattr(entry.tokens, name)) for name in COUNTS},
    }
    for name, field in _TEXTS.items():
        if getattr(entry, field):
            item[name] = text(getattr(entry, field))
    for name in _NUMBERS:
        if getattr(entry, name) is not None:
            item[name] = number(getattr(entry, name))
    if entry.tenant == UNATTRIBUTED and entry.removed_ms is None:
        item["unattributed_profile"] = text(entry.profile)
    return item


def entry_of(item: Item) -> LedgerEntry:
    """Read a Ledger item."""
    return LedgerEntry(
        key=get_text(item, "pk"),
        tenant=get_text(item, "tenant"),
        rule=get_text(item, "rule"),
        profile=get_text(item, "profile"),
        model=get_text(item, "model"),
        principal=get_text(item, "principal"),
        operation=get_text(item, "operation"),
        event_ms=get_number(item, "event_ms"),
        tokens=TokenCounts(*(get_number(item, name) for name in COUNTS)),
        error_code=get_text(item, "error") or None,
        expires_s=get_number(item, "expires"),
        routing=get_text(item, "routing") or None,
        cache_write_1h=_number_or_none(item, "cache_write_1h"),
        tier=get_text(item, "tier") or None,
        images=_number_or_none(item, "images"),
        cost_nano_usd=_number_or_none(item, "cost_nano_usd"),
        price_version=get_text(item, "price_version"),
        assumptions=get_text(item, "assumptions"),
        was=get_text(item, "was") or None,
        moved_ms=_number_or_none(item, "moved_ms"),
        reservation=get_text(item, "reservation"),
        removed_ms=_number_or_none(item, "removed_ms"),
    )


def _number_or_none(item: Item, name: str) -> int | None:
    return get_number(item, name) if name in item else None


class DynamoDBRecordingStore:
    """``RecordingStore`` over the real tables."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def heads(self, tenants: Iterable[str]) -> dict[str, GaugeHead]:
        """Read gauge heads, a hundred in a request."""
        found = gauges.load(self._client, self._tables.quotas, tenants)
        return {tenant: GaugeHead(gauge.layout, gauge.lease) for tenant, gauge in found.items()}

    def reservations(self, keys: Iterable[ReservationKey]) -> dict[ReservationKey, Reservation]:
        """Read reservations, a hundred in a request."""
        return reservations.load(self._client, self._tables.quotas, keys)

    def commit(self, writes: Writes) -> Refused | None:
        """Send the transaction; see ``RecordingStore.commit``."""
        requests: list[dict[str, Any]] = []
        positions: list[_Position] = []
        for change in writes.changes:
            requests.append(self._entry_request(change))
            positions.append(change)
        for key, sums in writes.rollups.items():
            requests.append(self._rollup_request(key, sums))
            positions.append(key)
        for before, after in writes.settled:
            requests.append({"Update": reservations.change_request(self._tables.quotas, before, after)})
            positions.append(before)
        for tenant, (version, adds) in writes.gauges.items():
            requests.append({"Update": gauges.add_request(self._tables.quotas, tenant, version, adds)})
            positions.append(tenant)
        try:
            self._client.transact_write_items(TransactItems=requests)
        except AWS_ERRORS as error:
            if error_code(error) == "TransactionCanceledException":
                return self._refusal(error, positions)
            if error_code(error) == "ValidationException":
                raise UnacceptableWrites(str(error)) from error
            if is_passing(error):
                return Refused(busy=frozenset(change.entry.tenant for change in writes.changes))
            raise
        return None

    def create_gauge(self, tenant: str) -> None:
        """Create an empty gauge unless there is one."""
        gauges.create(self._client, self._tables.quotas, tenant)

    def cancel_lease(self, tenant: str, lease: Lease) -> None:
        """Give up a change of limits whose owner is gone."""
        gauges.cancel_change(self._client, self._tables.quotas, tenant, lease)

    def _entry_request(self, change: Change) -> dict[str, Any]:
        if change.held is None:
            return {
                "Put": {
                    "TableName": self._tables.ledger,
                    "Item": entry_item(change.entry),
                    "ConditionExpression": "attribute_not_exists(pk)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        return {"Update": self._entry_update(entry_item(change.held), entry_item(change.entry))}

    def _entry_update(self, held: Item, wanted: Item) -> dict[str, Any]:
        """Return the update from one image of an entry to another, provided that the entry is as it was read.

        All of it, its tenant and model too: they name the sums that the difference goes to, and a move changes them.
        Only the schema is set and not asked for: what an older one holds is read as the same entry.
        """
        names = sorted({*held, *wanted, *_OPTIONAL} - {"pk", "schema"})
        alias = {name: f"#{index}" for index, name in enumerate(names)}
        values = {f":old{index}": held[name] for index, name in enumerate(names) if name in held}
        conditions = [
            f"#{index} = :old{index}" if name in held else f"attribute_not_exists(#{index})"
            for index, name in enumerate(names)
        ]
        changed = [name for name in names if name in wanted and wanted[name] != held.get(name)]
        removed = [name for name in names if name in held and name not in wanted]
        values |= {f":new{index}": wanted[name] for index, name in enumerate(names) if name in changed}
        update = "SET #schema = :schema"
        update += "".join(f", {alias[name]} = :new{alias[name][1:]}" for name in changed)
        if removed:
            update += " REMOVE " + ", ".join(alias[name] for name in removed)
        return {
            "TableName": self._tables.ledger,
            "Key": {"pk": wanted["pk"]},
            "UpdateExpression": update,
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": {"#schema": "schema", **{value: key for key, value in alias.items()}},
            "ExpressionAttributeValues": {":schema": wanted["schema"], **values},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _rollup_request(self, key: RollupKey, sums: Sums) -> dict[str, Any]:
        amounts = row_amounts(sums)
        added = [name for name, amount in amounts.items() if amount]
        values = {f":{name}": number(amounts[name]) for name in added}
        return {
            "Update": {
                "TableName": self._tables.usage,
                "Key": {"pk": text(key.tenant), "sk": text(usage_sort_key(key.quarter_ms, key.profile, key.model))},
                "UpdateExpression": "SET #schema = :schema"
                + (" ADD " + ", ".join(f"#{name} :{name}" for name in added) if added else ""),
                "ExpressionAttributeNames": {"#schema": "schema", **{f"#{name}": name for name in added}},
                "ExpressionAttributeValues": {":schema": number(USAGE_SCHEMA), **values},
            }
        }

    @staticmethod
    def _refusal(error: Exception, positions: list[_Position]) -> Refused:
        held: dict[str, LedgerEntry | None] = {}
        heads: dict[str, GaugeHead | None] = {}
        busy: set[str] = set()
        changed: dict[ReservationKey, Reservation | None] = {}
        reasons = error.response.get("CancellationReasons", []) if isinstance(error, ClientError) else []
        for position, reason in zip(positions, reasons, strict=False):
            code = reason.get("Code", "None")
            if code == "None":
                continue
            if code == "ValidationError":
                raise UnacceptableWrites(str(reason.get("Message", ""))) from error
            if code != "ConditionalCheckFailed":
                busy.add(_tenant_of(position))
                continue
            item = reason.get("Item")
            if isinstance(position, Change):
                held[position.entry.key] = entry_of(item) if item else None
            elif isinstance(position, Reservation):
                changed[position.tenant, position.id] = reservations.reservation_of(item) if item else None
            elif isinstance(position, str):
                gauge = gauges.gauge_of(item) if item else None
                heads[position] = GaugeHead(gauge.layout, gauge.lease) if gauge else None
        return Refused(held, heads, frozenset(busy), changed)


def _tenant_of(position: _Position) -> str:
    if isinstance(position, Change):
        return position.entry.tenant
    return position if isinstance(position, str) else position.tenant
