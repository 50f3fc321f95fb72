"""A tenant's gauge as an item, and every write to it.

===============  ==============================================================================================
``rev``          raised by each write that adds usage or changes the limits
``v``            version of the layout; recorders condition on it
``limits``       the layout, compact JSON
``suspension``   the last suspension, in force or over
``lease``        ``expires_ms|holder`` while somebody changes the limits; recorders of the tenant wait meanwhile
``pending``      the layout being installed under that lease; nobody reads it but its owner
``due_shard``    a part of the index ``due``, with ``next_due_ms`` 0, both as long as the item lives: who looks through
                 all gauges finds them there, and reads no reservation
``fail_policy``  ``open`` or ``closed``: what the API answers when it cannot read this item; absent = the default
``c0``           all charges to the limit in slot 0, used or held: only ever raised; see ``limits/holds.py``
``xt.3k2a``      what open reservations hold of meter ``t`` until that expiry bucket passes
``x05.3k2a``     the same of a limit on some models or profiles, which got slot 0 with layout version 5
``0abc``         buckets: slot and number, integers; only their names begin with a digit or a capital letter
===============  ==============================================================================================

Buckets are flat, so that ``ADD`` needs no parent, and absolute, so that an old bucket can never be mistaken for a new
one.
"""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bedrock_meter.limits.gauge import Gauge, Lease
from bedrock_meter.limits.holds import charges, is_hold
from bedrock_meter.limits.limit import NO_LIMITS, Layout, decode_layout, encode_layout
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, number, text
from bedrock_meter.storage.keys import GAUGE, gauge_shard

GAUGE_SCHEMA = 1
NOTHING_INSTALLED = encode_layout(NO_LIMITS)
CONDITION_FAILED = "ConditionalCheckFailedException"
CONFLICT = "TransactionConflictException"
CONFLICT_PAUSES_MS = (25, 50, 100, 200, 400, 800, 1600)

_BATCH = 100
_BUCKETS_PER_UPDATE = 200


def is_bucket(name: str) -> bool:
    """Whether an attribute of the gauge is a bucket."""
    return name[:1].isdigit() or name[:1].isupper()


def gauge_of(item: Item) -> Gauge:
    """Read a gauge item."""
    version = get_number(item, "v")
    lease, suspension = get_text(item, "lease"), get_text(item, "suspension")
    return Gauge(
        tenant=get_text(item, "pk"),
        rev=get_number(item, "rev"),
        layout=decode_layout(get_text(item, "limits", NOTHING_INSTALLED), version),
        buckets={name: int(value["N"]) for name, value in item.items() if is_bucket(name)},
        lease=_lease_of(lease) if lease else None,
        suspension=Suspension.decode(suspension) if suspension else None,
        fail_policy=get_text(item, "fail_policy") or None,
        holds={name: int(value["N"]) for name, value in item.items() if is_hold(name)},
    )


def _lease_of(value: str) -> Lease:
    expires_ms, _, holder = value.partition("|")
    return Lease(holder=holder, expires_ms=int(expires_ms))


def _lease_text(lease: Lease) -> str:
    return f"{lease.expires_ms}|{lease.holder}"


def _key(tenant: str) -> Item:
    return {"pk": text(tenant), "sk": text(GAUGE)}


def read_batch(client: Any, table: str, keys: Sequence[Item], *, consistent: bool = True) -> list[Item]:
    """Read items, in any number; those that do not exist are missing in the answer.

    Unprocessed keys are asked again by the next request; DynamoDB raises when it can process none at all.
    """
    found: list[Item] = []
    waiting = list(keys)
    while waiting:
        request = {table: {"Keys": waiting[:_BATCH], "ConsistentRead": consistent}}
        answer = client.batch_get_item(RequestItems=request)
        found += answer.get("Responses", {}).get(table, [])
        unprocessed = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        waiting = unprocessed + waiting[_BATCH:]
    return found


def load(client: Any, table: str, tenants: Iterable[str]) -> dict[str, Gauge]:
    """Read the gauges of ``tenants`` consistently; tenants without one are missing in the answer."""
    gauges = map(gauge_of, read_batch(client, table, [_key(tenant) for tenant in tenants]))
    return {gauge.tenant: gauge for gauge in gauges}


def load_one(client: Any, table: str, tenant: str) -> Gauge | None:
    """Read one gauge consistently, in one request."""
    item = client.get_item(TableName=table, Key=_key(tenant), ConsistentRead=True).get("Item")
    return gauge_of(item) if item else None


def create(client: Any, table: str, tenant: str) -> bool:
    """Create an empty gauge; False if there is one already."""
    item = {
        **_key(tenant),
        "schema": number(GAUGE_SCHEMA),
        "rev": number(0),
        "v": number(0),
        "limits": text(NOTHING_INSTALLED),
        "due_shard": text(gauge_shard(tenant)),
        "next_due_ms": number(0),
    }
    return _conditionally(client.put_item, TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)")


def add_request(table: str, tenant: str, version: int, adds: Mapping[str, int]) -> dict[str, Any]:
    """The gauge's part of a recording transaction: add to buckets, provided that the limits are those known.

    What is added to buckets is charged as well, so that no reservation is admitted by an image from before.
    """
    adds = {**adds, **charges(adds)}
    names = {f"#{index}": bucket for index, bucket in enumerate(adds)}
    values = {f":{index}": number(quantity) for index, quantity in enumerate(adds.values())}
    return {
        "TableName": table,
        "Key": _key(tenant),
        "UpdateExpression": "ADD rev :one" + "".join(f",#{index} :{index}" for index in range(len(adds))),
        "ConditionExpression": "v=:v AND attribute_not_exists(lease)",
        "ExpressionAttributeValues": {":one": number(1), ":v": number(version), **values},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **({"ExpressionAttributeNames": names} if names else {}),
    }


def begin_change(client: Any, table: str, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
    """Hold recorders off: put ``lease`` and the layout to be on the gauge.

    Args:
        client: DynamoDB.
        table: Quotas table.
        tenant: Whose limits change.
        layout: The layout to install; its version is the present one plus one.
        lease: The new lease.
        seen: The lease that is there now (run out), or None.

    Returns:
        False if the gauge has changed meanwhile; nothing was written.
    """
    values = {
        ":lease": text(_lease_text(lease)),
        ":pending": text(encode_layout(layout)),
        ":v": number(layout.version - 1),
    }
    condition = "v = :v AND attribute_not_exists(lease)"
    if seen is not None:
        condition = "v = :v AND lease = :seen"
        values[":seen"] = text(_lease_text(seen))
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression="SET lease = :lease, pending = :pending",
        ConditionExpression=condition,
        ExpressionAttributeValues=values,
    )


def renew_lease(client: Any, table: str, tenant: str, lease: Lease, renewed: Lease, buckets: Mapping[str, int]) -> bool:
    """Extend a lease and set buckets; False if it is lost. A repeated request whose reply was lost does no harm."""
    names, values, sets = _set_buckets(buckets)
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression=f"SET lease=:renewed{sets}",
        ConditionExpression="lease IN (:lease, :renewed)",
        ExpressionAttributeValues={
            ":lease": text(_lease_text(lease)),
            ":renewed": text(_lease_text(renewed)),
            **values,
        },
        **names,
    )


def _set_buckets(buckets: Mapping[str, int]) -> tuple[dict[str, Any], Item, str]:
    """Return the names, values and clauses that set buckets; ``packing.MAXIMUM_BUCKETS`` fit one update."""
    names = {f"#{index}": bucket for index, bucket in enumerate(buckets)}
    values = {f":{index}": number(quantity) for index, quantity in enumerate(buckets.values())}
    sets = "".join(f",#{index}=:{index}" for index in range(len(buckets)))
    return {"ExpressionAttributeNames": names} if names else {}, values, sets


def clear_buckets(client: Any, table: str, tenant: str, lease: Lease, buckets: Sequence[str]) -> bool:
    """Remove buckets while holding the lease; False if it is lost."""
    for start in range(0, len(buckets), _BUCKETS_PER_UPDATE):
        names = {f"#{index}": bucket for index, bucket in enumerate(buckets[start : start + _BUCKETS_PER_UPDATE])}
        kept = _conditionally(
            client.update_item,
            TableName=table,
            Key=_key(tenant),
            UpdateExpression=f"REMOVE {', '.join(names)}",
            ConditionExpression="lease = :lease",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={":lease": text(_lease_text(lease))},
        )
        if not kept:
            return False
    return True


def finish_change(
    client: Any, table: str, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]
) -> bool:
    """Install a layout with its seeded buckets, or the last of them, and let recorders go on.

    False if the lease is lost.
    """
    names, values, sets = _set_buckets(seeded)
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression=f"SET v=:v,limits=:limits{sets} REMOVE lease,pending ADD rev :one",
        ConditionExpression="lease = :lease",
        ExpressionAttributeValues={
            ":lease": text(_lease_text(lease)),
            ":limits": text(encode_layout(layout)),
            ":one": number(1),
            ":v": number(layout.version),
            **values,
        },
        **names,
    )


def cancel_change(client: Any, table: str, tenant: str, lease: Lease) -> bool:
    """Take back a change that was begun; False if the gauge no longer holds this lease."""
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression="REMOVE lease, pending",
        ConditionExpression="lease = :lease",
        ExpressionAttributeValues={":lease": text(_lease_text(lease))},
    )


def put_suspension(client: Any, table: str, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
    """Suspend or resume a tenant. Raises ``rev``, so that the evaluator looks; recorders are not held up.

    Args:
        client: DynamoDB.
        table: Quotas table.
        tenant: Whose gauge.
        suspension: What it is to hold.
        seen: What it holds now, or None.

    Returns:
        False if there is no gauge, or it has changed meanwhile; nothing was written.
    """
    values = {":new": text(suspension.encode()), ":one": number(1)}
    condition = "attribute_exists(pk) AND attribute_not_exists(suspension)"
    if seen is not None:
        condition = "suspension = :seen"
        values[":seen"] = text(seen.encode())
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression="SET suspension = :new ADD rev :one",
        ConditionExpression=condition,
        ExpressionAttributeValues=values,
    )


def put_fail_policy(client: Any, table: str, tenant: str, policy: str | None) -> bool:
    """Write what the API answers for a tenant when this item cannot be read; False if there is no gauge."""
    values = {"ExpressionAttributeValues": {":policy": text(policy)}} if policy else {}
    return _conditionally(
        client.update_item,
        TableName=table,
        Key=_key(tenant),
        UpdateExpression="SET fail_policy = :policy" if policy else "REMOVE fail_policy",
        ConditionExpression="attribute_exists(pk)",
        **values,
    )


def prune(client: Any, table: str, tenant: str, version: int, buckets: Sequence[str]) -> bool:
    """Remove buckets that no window can reach any more, at most 200 of them.

    False if the layout changed meanwhile, a change is in progress, or a recorder was writing: they can wait for the
    next evaluation. A change in progress may have cleared a slot and be filling it under the same names.
    """
    names = {f"#{index}": bucket for index, bucket in enumerate(buckets[:_BUCKETS_PER_UPDATE])}
    try:
        client.update_item(
            TableName=table,
            Key=_key(tenant),
            UpdateExpression=f"REMOVE {', '.join(names)}",
            ConditionExpression="v = :v AND attribute_not_exists(lease)",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={":v": number(version)},
        )
    except AWS_ERRORS as error:
        if error_code(error) in {CONDITION_FAILED, CONFLICT}:
            return False
        raise
    return True


def _conditionally(call: Any, **request: Any) -> bool:
    """Send a conditional write, past recorders' transactions: botocore gives up at the first conflict."""
    for pause_ms in (*CONFLICT_PAUSES_MS, None):
        try:
            call(**request)
        except AWS_ERRORS as error:
            if error_code(error) == CONDITION_FAILED:
                return False
            if error_code(error) != CONFLICT or pause_ms is None:
                raise
            time.sleep(random.uniform(0, pause_ms) / 1000)
        else:
            return True
    return False
