"""Reservations as items, and what they do to the gauge, in DynamoDB's words.

==============  ===============================================================================================
``held``        compact JSON, ``[[key, meter, amount, [limit, ...]], ...]``
``estimate``    compact JSON, what it was asked for with; ``key`` under which name, ``created_ms`` when
``called``      compact JSON, the caller's words for the call; ``through`` the tenant's profile that it goes through
``expires_ms``  when it stops holding; ``expires`` is when DynamoDB may forget it, a day later
``generation``  raised by each change, which is conditioned on it
``nonce``       of the attempt that wrote it
``status``      ``open``, ``settled`` or ``released``
``settled_by``  key of the ledger entry of the call that settled it
``lease``       1 where it stands for many calls
==============  ===============================================================================================

Holding is one plain update and writing down one plain put: a write unit each while the gauge stays under a kilobyte.
Whatever gives something back is a transaction, because botocore repeats a request whose reply was lost, and only a
transaction is done once under its token; a hold that is repeated holds too much, which expires.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

from bedrock_meter.limits.destination import NOTHING_CALLED, Called
from bedrock_meter.limits.estimates import NOTHING_SAID, Estimate
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holding import Busy, Hold
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import KEPT_MS, Held, Reservation, Status, moved_holds
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.connection import THROTTLED_CODES
from bedrock_meter.storage.dynamodb import (
    AWS_ERRORS,
    Item,
    error_code,
    get_number,
    get_text,
    number,
    text,
    throttled_keys,
)
from bedrock_meter.storage.keys import GAUGE, RESERVATION_PREFIX, reservation_sort_key

RESERVATION_SCHEMA = 1
_BUSY = THROTTLED_CODES | {gauges.CONFLICT, "TransactionCanceledException", "TransactionInProgressException"}


def reservation_item(reservation: Reservation) -> Item:
    """Return a reservation as an item."""
    item: Item = {
        **_key(reservation.tenant, reservation.id),
        "schema": number(RESERVATION_SCHEMA),
        "held": text(_held_text(reservation)),
        "estimate": text(_said(reservation.estimate, NOTHING_SAID)),
        "created_ms": number(reservation.created_ms),
        "expires_ms": number(reservation.expires_ms),
        "generation": number(reservation.generation),
        "nonce": text(reservation.nonce),
        "status": text(reservation.status),
        "expires": number((reservation.expires_ms + KEPT_MS) // 1000),
    }
    if reservation.called != NOTHING_CALLED:
        item["called"] = text(_said(reservation.called, NOTHING_CALLED))
    if reservation.through:
        item["through"] = text(reservation.through)
    if reservation.key:
        item["key"] = text(reservation.key)
    if reservation.settled_by:
        item["settled_by"] = text(reservation.settled_by)
    if reservation.is_lease:
        item["lease"] = number(1)
    return item


def reservation_of(item: Item) -> Reservation:
    """Read a reservation item."""
    return Reservation(
        tenant=get_text(item, "pk"),
        id=get_text(item, "sk").removeprefix(RESERVATION_PREFIX),
        held=tuple(
            Held(key, Meter(meter), amount, tuple(limits))
            for key, meter, amount, limits in json.loads(get_text(item, "held", "[]"))
        ),
        expires_ms=get_number(item, "expires_ms"),
        generation=get_number(item, "generation"),
        nonce=get_text(item, "nonce"),
        status=cast("Status", get_text(item, "status")),
        is_lease="lease" in item,
        estimate=_estimate_of(get_text(item, "estimate", "{}")),
        called=Called(**json.loads(get_text(item, "called", "{}"))),
        through=get_text(item, "through"),
        key=get_text(item, "key"),
        created_ms=get_number(item, "created_ms"),
        settled_by=get_text(item, "settled_by"),
    )


def change_request(table: str, before: Reservation, after: Reservation) -> dict[str, Any]:
    """The reservation's part of a transaction that changes it, provided that it is still ``before``."""
    settled_by = {":settled_by": text(after.settled_by)} if after.settled_by else {}
    return {
        "TableName": table,
        "Key": _key(before.tenant, before.id),
        "UpdateExpression": "SET held=:held,expires_ms=:expires_ms,expires=:expires,generation=:after,#status=:status"
        + (",settled_by=:settled_by" if settled_by else ""),
        "ConditionExpression": "generation=:before AND nonce=:nonce",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {
            ":held": text(_held_text(after)),
            ":expires_ms": number(after.expires_ms),
            ":expires": number((after.expires_ms + KEPT_MS) // 1000),
            ":before": number(before.generation),
            ":after": number(after.generation),
            ":nonce": text(before.nonce),
            ":status": text(after.status),
            **settled_by,
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def load(client: Any, table: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Reservation]:
    """Read reservations by (tenant, id) consistently, a hundred in a request; those that are not there are missing."""
    found = map(reservation_of, gauges.read_batch(client, table, [_key(*key) for key in keys]))
    return {(one.tenant, one.id): one for one in found}


class DynamoDBReservationStore:
    """``ReservationStore`` over the Quotas table."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.quotas

    def look(self, tenant: str, identity: str | None) -> tuple[Gauge | None, Reservation | None]:
        """Read the gauge, and a reservation with it."""
        try:
            if identity is None:
                return gauges.load_one(self._client, self._table, tenant), None
            keys = [_gauge_key(tenant), _key(tenant, identity)]
            items = {get_text(one, "sk"): one for one in gauges.read_batch(self._client, self._table, keys)}
        except AWS_ERRORS as error:
            raise _busy(error) from error
        gauge, held = items.get(GAUGE), items.get(reservation_sort_key(identity))
        return gauges.gauge_of(gauge) if gauge else None, reservation_of(held) if held else None

    def find(self, tenant: str, identity: str) -> Reservation | None:
        """Read a reservation."""
        try:
            answer = self._client.get_item(TableName=self._table, Key=_key(tenant, identity), ConsistentRead=True)
        except AWS_ERRORS as error:
            raise _busy(error) from error
        return reservation_of(answer["Item"]) if "Item" in answer else None

    def hold(self, hold: Hold) -> tuple[bool, Gauge | None]:
        """Hold on the gauge, conditioned on its charges and its suspension."""
        adds = {**hold.reservation.holds, **hold.charges}
        names = {name: f"#{index}" for index, name in enumerate({**adds, **dict.fromkeys(hold.ceilings)})}
        values = {f":{name[1:]}": number(adds[attribute]) for attribute, name in names.items() if attribute in adds}
        conditions = ["v=:v", "attribute_not_exists(suspension)"]
        if hold.suspension is not None:
            conditions[1] = "suspension=:suspension"
            values[":suspension"] = text(hold.suspension.encode())
        for index, (attribute, ceiling) in enumerate(hold.ceilings.items()):
            conditions.append(f"(attribute_not_exists({names[attribute]}) OR {names[attribute]}<=:m{index})")
            values[f":m{index}"] = number(ceiling)
        clauses = [f"{names[attribute]} :{names[attribute][1:]}" for attribute in adds]
        update = f"ADD {','.join(clauses)}" if clauses else ""
        removed = {f"#p{index}": name for index, name in enumerate(hold.passed)}
        if removed:
            update += f" REMOVE {','.join(removed)}"
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": _gauge_key(hold.reservation.tenant),
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeValues": {":v": number(hold.version), **values},
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if update:
            request["UpdateExpression"] = update
        all_names = {name: attribute for attribute, name in names.items()} | removed
        if all_names:
            request["ExpressionAttributeNames"] = all_names
        try:
            answer = self._client.update_item(**request)
        except AWS_ERRORS as error:
            if error_code(error) != gauges.CONDITION_FAILED:
                raise _busy(error) from error
            item = _held_item(error)
            # Some stores do not show what is there.
            tenant = hold.reservation.tenant
            return False, gauges.gauge_of(item) if item else gauges.load_one(self._client, self._table, tenant)
        return True, gauges.gauge_of(answer["Attributes"])

    def put(self, reservation: Reservation) -> Reservation | None:
        """Write a reservation down unless there is one."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=reservation_item(reservation),
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except AWS_ERRORS as error:
            if error_code(error) != gauges.CONDITION_FAILED:
                raise _busy(error) from error
            item = _held_item(error)
            return reservation_of(item) if item else self.find(reservation.tenant, reservation.id)
        return None

    def give_back(self, reservation: Reservation) -> None:
        """Take a hold back; a transaction of one item, so that a repeated request does it once."""
        adds = {name: -amount for name, amount in reservation.holds.items()}
        if adds and self._transact(holds_request(self._table, reservation.tenant, adds)):
            raise Busy

    def change(self, before: Reservation, after: Reservation, now_ms: int) -> Reservation | None:
        """Replace a reservation and move what it holds."""
        parts = [change_request(self._table, before, after)]
        moved = moved_holds(before, after) if before.is_open(now_ms) else {}
        if moved:
            parts.append(holds_request(self._table, before.tenant, moved))
        reasons = self._transact(*parts)
        if not reasons:
            return after
        if reasons[0].get("Code") == "ConditionalCheckFailed":
            item = reasons[0].get("Item")
            return reservation_of(item) if item else self.find(before.tenant, before.id)
        raise Busy

    def _transact(self, *updates: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a transaction; returns why conditions of it were not met, nothing if it is done."""
        try:
            self._client.transact_write_items(TransactItems=[{"Update": one} for one in updates])
        except AWS_ERRORS as error:
            response = getattr(error, "response", {})
            reasons = cast("list[dict[str, Any]]", response.get("CancellationReasons", []))
            if any(one.get("Code") == "ConditionalCheckFailed" for one in reasons):
                return reasons
            raise _busy(error) from error
        return []


def holds_request(table: str, tenant: str, adds: Mapping[str, int]) -> dict[str, Any]:
    """The gauge's part of a transaction that gives back or moves holds."""
    names = {f"#{index}": name for index, name in enumerate(adds)}
    return {
        "TableName": table,
        "Key": _gauge_key(tenant),
        "UpdateExpression": "ADD " + ",".join(f"#{index} :{index}" for index in range(len(adds))),
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{index}": number(amount) for index, amount in enumerate(adds.values())},
    }


def _key(tenant: str, identity: str) -> Item:
    return {"pk": text(tenant), "sk": text(reservation_sort_key(identity))}


def _gauge_key(tenant: str) -> Item:
    return {"pk": text(tenant), "sk": text(GAUGE)}


def _held_text(reservation: Reservation) -> str:
    held = [[one.key, str(one.meter), one.amount, one.limits] for one in reservation.held]
    return json.dumps(held, separators=(",", ":"))


def _estimate_of(words: str) -> Estimate:
    said = json.loads(words)
    return Estimate(
        **{**said, "choices": tuple((one, routing, region) for one, routing, region in said["choices"])}
        if "choices" in said
        else said
    )


def _said(words: Estimate | Called, nothing: Estimate | Called) -> str:
    said = {name: value for name, value in asdict(words).items() if value != getattr(nothing, name)}
    return json.dumps(said, separators=(",", ":"))


def _held_item(error: Exception) -> Item | None:
    response = getattr(error, "response", {})
    return cast("Item | None", response.get("Item"))


def _busy(error: Exception) -> Exception:
    """What to raise: ``Busy`` where another writer or a throttle is in the way, the error itself in an outage.

    A throttle of the tenant's own keys is the error itself: asking again at once would only make it last.
    """
    is_in_the_way = error_code(error) in _BUSY and throttled_keys(error) is not True
    return Busy() if is_in_the_way else error
