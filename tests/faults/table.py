"""One table of the double: items by key, sparse indexes, a stream, expiry, and what every write has to fit into."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from tests.faults.expressions import Bindings, Node, holds, parse_condition
from tests.faults.values import MAXIMUM_ITEM_BYTES, Item, Unsupported, invalid, item_bytes, number_of, rank, type_of

Key = tuple[str, str]
Schema = tuple[str, str | None]
MAXIMUM_SEGMENTS = 1_000_000
_MAXIMUM_KEY_BYTES = (2048, 1024)


@dataclass(frozen=True)
class Write:
    """One change of one item: what the stream and the oracle see.

    Attributes:
        sequence: Order of commits over all tables.
        table: Name of the table.
        key: Key of the item.
        before: The item before, None where there was none.
        after: The item after, None where it was removed.
        at_ms: Simulated time.
    """

    sequence: int
    table: str
    key: Key
    before: Item | None
    after: Item | None
    at_ms: int


@dataclass
class Table:
    """A table as ``CreateTable`` describes it."""

    name: str
    schema: Schema
    types: dict[str, str]
    indexes: dict[str, Schema] = field(default_factory=dict)
    ttl: str | None = "expires"
    items: dict[Key, Item] = field(default_factory=dict)

    @classmethod
    def created(cls, request: dict[str, Any]) -> "Table":
        """Make the table that a ``CreateTable`` request describes."""
        indexes = {one["IndexName"]: _schema(one["KeySchema"]) for one in request.get("GlobalSecondaryIndexes", ())}
        if request.get("LocalSecondaryIndexes"):
            raise Unsupported("local indexes")
        types = {one["AttributeName"]: one["AttributeType"] for one in request["AttributeDefinitions"]}
        return cls(request["TableName"], _schema(request["KeySchema"]), types, indexes)

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the key attributes."""
        partition, sort = self.schema
        return (partition,) if sort is None else (partition, sort)

    def key_of(self, attributes: Item, *, whole: bool = True) -> Key:
        """Return the key in ``attributes``; ``whole`` = they are nothing but a key."""
        if whole and set(attributes) != set(self.key_names):
            raise invalid("The provided key element does not match the schema")
        parts = []
        for name, most in zip(self.key_names, _MAXIMUM_KEY_BYTES, strict=False):
            value = attributes.get(name)
            if value is None:
                raise invalid(f"One of the required keys was not given a value: missing the key {name}")
            if type_of(value) != self.types[name]:
                raise invalid(f"Type mismatch for key {name} expected: {self.types[name]} actual: {type_of(value)}")
            if type_of(value) != "S":
                raise Unsupported("table keys other than strings")
            if not value["S"]:
                raise invalid(
                    f"The AttributeValue for a key attribute cannot contain an empty string value. Key: {name}"
                )
            if len(value["S"].encode()) > most:
                raise invalid(f"Aggregated size of the key {name} has exceeded the size limit")
            parts.append(value["S"])
        return parts[0], (parts[1] if len(parts) > 1 else "")

    def check(self, item: Item) -> None:
        """Refuse an item that a write must not leave behind."""
        if item_bytes(item) > MAXIMUM_ITEM_BYTES:
            raise invalid("Item size has exceeded the maximum allowed size")
        for value in item.values():
            if type_of(value) == "N":
                number_of(value)
        for schema in self.indexes.values():
            for name in schema:
                if name in item and type_of(item[name]) != self.types[name]:
                    raise invalid(f"Type mismatch for Index Key {name} Expected: {self.types[name]}")

    def query(self, request: dict[str, Any], page: int) -> dict[str, Any]:
        """Answer a ``Query`` over the table or an index, ``page`` items at most."""
        index = request.get("IndexName")
        if index and request.get("ConsistentRead"):
            raise invalid("Consistent reads are not supported on global secondary indexes")
        if index and index not in self.indexes:
            raise invalid(f"The table does not have the specified index: {index}")
        for unknown in ("FilterExpression", "ProjectionExpression", "KeyConditions", "QueryFilter"):
            if unknown in request:
                raise Unsupported(unknown)
        schema = self.indexes[index] if index else self.schema
        bindings = Bindings(request)
        node, placeholders = parse_condition(request["KeyConditionExpression"])
        bindings.use(placeholders)
        bindings.finish()
        _check_key_condition(node, schema, bindings)
        found = [item for item in self.items.values() if holds(node, item, bindings) and _is_indexed(item, schema)]
        order = [name for name in (schema[1], *self.key_names) if name is not None]
        found.sort(key=lambda item: tuple(rank(item[name]) for name in order))
        if request.get("ScanIndexForward") is False:
            found.reverse()
        start = request.get("ExclusiveStartKey")
        names = tuple(dict.fromkeys((*[name for name in schema if name], *self.key_names)))
        if start:
            after = tuple(rank(start[name]) for name in order)
            forward = request.get("ScanIndexForward") is not False
            found = [
                item
                for item in found
                if (tuple(rank(item[name]) for name in order) > after) == forward
                and tuple(rank(item[name]) for name in order) != after
            ]
        most = min(page, request.get("Limit", page))
        shown = found[:most]
        answer: dict[str, Any] = {"Count": len(shown), "ScannedCount": len(shown)}
        answer["Items"] = [{name: item[name] for name in names} for item in shown] if index else shown
        if len(found) > most or (len(shown) == most and most < page):
            answer["LastEvaluatedKey"] = {name: shown[-1][name] for name in names}
        return answer

    def scan(self, request: dict[str, Any], page: int) -> dict[str, Any]:
        """Answer a ``Scan`` of the table or of one segment, ``page`` items read at most, before the filter.

        Items follow each other by the hash of their partition, then by sort key; a partition is in one segment.
        """
        for unknown in ("IndexName", "ScanFilter", "Select"):
            if unknown in request:
                raise Unsupported(unknown)
        number, of = request.get("Segment", 0), request.get("TotalSegments", 1)
        if ("Segment" in request) != ("TotalSegments" in request) or not 0 <= number < of <= MAXIMUM_SEGMENTS:
            raise invalid("Segment and TotalSegments belong together, and the one is less than the other")
        bindings, node = Bindings(request), None
        if "FilterExpression" in request:
            node, placeholders = parse_condition(request["FilterExpression"])
            bindings.use(placeholders)
        shown_names = _projected(request.get("ProjectionExpression"), bindings)
        bindings.finish()
        keys = sorted((crc32(key[0].encode()), *key) for key in self.items if crc32(key[0].encode()) % of == number)
        start = request.get("ExclusiveStartKey")
        if start:
            partition, sort = self.key_of(start)
            keys = [key for key in keys if key > (crc32(partition.encode()), partition, sort)]
        most = min(page, request.get("Limit", page))
        shown = [self.items[key[1:]] for key in keys[:most]]
        found = [item for item in shown if node is None or holds(node, item, bindings)]
        if shown_names is not None:
            found = [{name: value for name, value in item.items() if name in shown_names} for item in found]
        answer: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": len(shown)}
        if len(keys) > most or (len(shown) == most and most < page):
            answer["LastEvaluatedKey"] = {name: shown[-1][name] for name in self.key_names}
        return answer

    def expired(self, now_ms: int) -> Iterator[Key]:
        """Yield the keys of items that DynamoDB may remove by now."""
        for key, item in self.items.items():
            if self.ttl in item and number_of(item[str(self.ttl)]) * 1000 < now_ms:
                yield key


def _projected(expression: str | None, bindings: Bindings) -> set[str] | None:
    """Names of the attributes that are asked for; None = all."""
    if expression is None:
        return None
    placeholders = [one.strip() for one in expression.split(",")]
    if not all(one.startswith("#") and one[1:].isalnum() for one in placeholders):
        raise Unsupported(f"the projection {expression}")
    bindings.use(frozenset(placeholders))
    return {bindings.name(("path", one)) for one in placeholders}


def _schema(described: list[dict[str, str]]) -> Schema:
    by_type = {one["KeyType"]: one["AttributeName"] for one in described}
    return by_type["HASH"], by_type.get("RANGE")


def _is_indexed(item: Item, schema: Schema) -> bool:
    return all(name is None or name in item for name in schema)


def _check_key_condition(node: Node, schema: Schema, bindings: Bindings) -> None:
    conditions = [node[1], node[2]] if node[0] == "and" else [node]
    named = {bindings.name(one[1]): one[0] for one in conditions if one[1][0] == "path"}
    partition, sort = schema
    if named.pop(partition, None) != "=":
        raise invalid(f"Query condition missed key schema element: {partition}")
    if set(named) - {sort}:
        raise invalid("Query key condition not supported")
    if sort in named and named[sort] not in {"=", "<", "<=", ">", ">=", "between", "begins_with"}:
        raise invalid("Query key condition not supported")
