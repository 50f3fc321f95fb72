"""A command's process that is killed, disturbed or told nothing at any of its calls, and what it works on."""

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ReadTimeoutError

from bedrock_meter.settings import Tables
from bedrock_meter.storage.tables import LedgerModel, MappingModel, QuotasModel, UsageModel
from tests.faults.dynamodb import DynamoDB
from tests.faults.expressions import Bindings, holds, parse_condition

Act = Callable[[int, bool], None]
"""What happens at a call: its number, from 0, and whether it was carried out already."""


class Killed(BaseException):
    """The command's process is gone; nothing catches this."""


class Interposed:
    """A client that does something before or after its n-th call; calls that are not told are passed on."""

    def __init__(self, client: Any, act: Act) -> None:
        self._client, self._act = client, act
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            at, self.calls = self.calls, self.calls + 1
            self._act(at, False)
            try:
                return real(**request)
            finally:
                self._act(at, True)

        return call


class KillingStore:
    """A store that kills its caller before or after the n-th call that goes through any of its siblings."""

    def __init__(self, store: Any, calls: Iterator[int], at: int | None, after: bool) -> None:
        self._store, self._calls, self._at, self._after = store, calls, at, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._store, name)

        def call(*positional: Any, **named: Any) -> Any:
            if next(self._calls) != self._at:
                return real(*positional, **named)
            if self._after:
                real(*positional, **named)
            raise Killed

        return call


def nothing(at: int, after: bool) -> None:
    """Do nothing."""


def at_call(number: int, do: Callable[[], object], *, after: bool = False) -> Act:
    """Do something before one call, or after it."""

    def act(at: int, is_after: bool) -> None:
        if (at, is_after) == (number, after):
            do()

    return act


def killed_at(number: int, *, after: bool = False) -> Act:
    """Kill the process before one call, or after it."""
    return at_call(number, _kill, after=after)


def reply_lost_at(number: int) -> Act:
    """Carry one call out and lose its reply."""
    return at_call(number, _time_out, after=True)


def _kill() -> None:
    raise Killed


def _time_out() -> None:
    raise ReadTimeoutError(endpoint_url="dynamodb")


class Alone:
    """The double by itself, as the backend of a client. It also scans, in the order of keys."""

    def __init__(self) -> None:
        self._double = DynamoDB()

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._scan(request) if operation == "Scan" else self._double.call(operation, request)

    def _scan(self, request: dict[str, Any]) -> dict[str, Any]:
        table = self._double.table(request["TableName"])
        start = table.key_of(request["ExclusiveStartKey"]) if "ExclusiveStartKey" in request else None
        keys = [key for key in sorted(table.items) if start is None or key > start]
        page = keys[: request["Limit"]]
        bindings = Bindings(request)
        condition, used = parse_condition(request["FilterExpression"])
        bindings.use(used)
        bindings.finish()
        found = [table.items[key] for key in page if holds(condition, table.items[key], bindings)]
        more = {"LastEvaluatedKey": {"pk": table.items[page[-1]]["pk"]}} if len(page) < len(keys) else {}
        return {"Items": found, "Count": len(found), "ScannedCount": len(page), **more}


def create_tables(client: Any, tables: Tables) -> None:
    """Make the tables as their models say, by any client."""
    models = (LedgerModel, UsageModel, QuotasModel, MappingModel)
    for model, name in zip(models, (tables.ledger, tables.usage, tables.quotas, tables.tenants), strict=True):
        hash_key, range_key = model._hash_keyname, model._range_keyname
        schema = [{"AttributeName": hash_key, "KeyType": "HASH"}]
        schema += [{"AttributeName": range_key, "KeyType": "RANGE"}] if range_key else []
        types = {one["AttributeName"]: "S" for one in schema}
        request: dict[str, Any] = {}
        if model is LedgerModel:
            types |= {"unattributed_profile": "S", "event_ms": "N"}
            index_schema = [
                {"AttributeName": "unattributed_profile", "KeyType": "HASH"},
                {"AttributeName": "event_ms", "KeyType": "RANGE"},
            ]
            index = {
                "IndexName": "unattributed",
                "KeySchema": index_schema,
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            request["GlobalSecondaryIndexes"] = [index]
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=schema,
            AttributeDefinitions=[{"AttributeName": one, "AttributeType": kind} for one, kind in types.items()],
            **request,
        )
