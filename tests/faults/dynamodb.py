"""DynamoDB, deterministic and in memory: what the meter uses of it, as documented, and nothing by luck.

Decisions: a transaction has two instants. It *begins* (conditions are evaluated, its items are held) and *commits*;
whatever touches a held item in between meets a conflict, which is how AWS describes it and what single-threaded
emulators never show. Reads in between see what was there before. Between the two ``pause`` runs the other workers.
A client token makes the same transaction succeed once more for ten minutes after its completion, and not a second
longer. Anything not learned raises ``Unsupported``.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.expressions import Bindings, changed, holds, parse_condition, parse_update
from tests.faults.table import Key, Table, Write
from tests.faults.values import Item, ServiceError, Unsupported, invalid, item_bytes

MAXIMUM_ITEMS = 100
MAXIMUM_TRANSACTION_BYTES = 4 * 1024 * 1024
TOKEN_LIFE_MS = 600_000
PAGE = 100
"""Items in a page of a query; far below 1 MB, so that paging happens."""

_RETURNED = "ReturnValuesOnConditionCheckFailure"


@dataclass
class Prepared:
    """One write that is decided and not yet done."""

    table: Table
    key: Key
    after: Item | None


@dataclass
class Transaction:
    """A transaction between its begin and its commit."""

    token: str
    fingerprint: str
    writes: list[Prepared] = field(default_factory=list)
    committed: bool = False


@dataclass
class _Token:
    fingerprint: str
    completed_ms: int | None = None


class DynamoDB:
    """Tables and the operations on them.

    Attributes:
        clock: Simulated time in milliseconds.
        pause: Runs others between begin and commit of a transaction.
        reported: Picks which of a cancelled transaction's failed positions are reported (AWS does not promise all).
        trace: Every change, in order.
        observers: Called with each change.
    """

    def __init__(self, clock: Callable[[], int] = lambda: 0, pause: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.pause = pause
        self.reported: Callable[[list[int]], Iterable[int]] = lambda positions: positions
        self.tables: dict[str, Table] = {}
        self.trace: list[Write] = []
        self.observers: list[Callable[[Write], None]] = []
        self.page = PAGE
        self._held: dict[tuple[str, Key], Transaction] = {}
        self._tokens: dict[str, _Token] = {}
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateTable": self._create_table,
            "GetItem": self._get_item,
            "BatchGetItem": self._batch_get_item,
            "Query": self._query,
            "Scan": self._scan,
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
            "TransactWriteItems": self._transact_write_items,
        }

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ServiceError: As DynamoDB refuses it.
            Unsupported: The double does not know how DynamoDB would answer.
        """
        if operation not in self._operations:
            raise Unsupported(f"operation {operation}")
        return self._operations[operation](request)

    def table(self, name: str) -> Table:
        """Return the table of this name."""
        if name not in self.tables:
            raise ServiceError("ResourceNotFoundException", f"Requested resource not found: {name!r}")
        return self.tables[name]

    def expire(self) -> None:
        """Remove what has expired, as DynamoDB does within a few days."""
        for table in self.tables.values():
            for key in list(table.expired(self.clock())):
                self._write(Prepared(table, key, None))

    def begin(self, request: dict[str, Any]) -> Transaction | None:
        """Decide a transaction and hold its items; None if its token says that it is done already.

        Raises:
            ServiceError: It is refused, wrong, cancelled, or still in progress under the same token.
        """
        items = request["TransactItems"]
        token = request.get("ClientRequestToken", "")
        fingerprint = json.dumps(items, sort_keys=True) if token else ""
        known = self._tokens.get(token) if token else None
        if known is not None and known.completed_ms is not None and self.clock() > known.completed_ms + TOKEN_LIFE_MS:
            known = None
        if known is not None:
            if known.fingerprint != fingerprint:
                raise ServiceError("IdempotentParameterMismatchException", "the token was used with other parameters")
            if known.completed_ms is None:
                raise ServiceError("TransactionInProgressException", "the transaction is in progress")
            return None
        if not 1 <= len(items) <= MAXIMUM_ITEMS:
            raise invalid(f"Member must have length less than or equal to {MAXIMUM_ITEMS}: {len(items)} items")
        plans = [_Plan(self, one) for one in items]
        targets = [(plan.table.name, plan.key) for plan in plans]
        if len(set(targets)) < len(targets):
            raise invalid("Transaction request cannot include multiple operations on one item")
        transaction = Transaction(token, fingerprint)
        failures: dict[int, dict[str, Any]] = {}
        weight = 0
        for position, (plan, target) in enumerate(zip(plans, targets, strict=True)):
            if target in self._held:
                message = "Transaction is ongoing for the item"
                failures[position] = {"Code": "TransactionConflict", "Message": message}
                continue
            reason, prepared = plan.decide()
            if reason is not None:
                failures[position] = reason
            elif prepared is not None:
                weight += item_bytes(prepared.after or {})
                transaction.writes.append(prepared)
        if failures:
            shown = set(self.reported(sorted(failures)))
            reasons = [failures[at] if at in shown else {"Code": "None"} for at in range(len(items))]
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise ServiceError(
                "TransactionCanceledException",
                f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
                CancellationReasons=reasons,
            )
        if weight > MAXIMUM_TRANSACTION_BYTES:
            raise invalid("Transaction request cannot be larger than 4 MB")
        for target in targets:
            self._held[target] = transaction
        if token:
            self._tokens[token] = _Token(fingerprint)
        return transaction

    def commit(self, transaction: Transaction) -> None:
        """Do what a transaction decided and let go of its items."""
        for prepared in transaction.writes:
            self._write(prepared)
        self._held = {target: holder for target, holder in self._held.items() if holder is not transaction}
        if transaction.token:
            self._tokens[transaction.token].completed_ms = self.clock()
        transaction.committed = True

    def _transact_write_items(self, request: dict[str, Any]) -> dict[str, Any]:
        transaction = self.begin(request)
        if transaction is not None:
            try:
                self.pause()
            finally:
                self.commit(transaction)
        return {}

    def _write(self, prepared: Prepared) -> None:
        before = prepared.table.items.get(prepared.key)
        if before == prepared.after:
            return
        if prepared.after is None:
            del prepared.table.items[prepared.key]
        else:
            prepared.table.items[prepared.key] = prepared.after
        name = prepared.table.name
        write = Write(len(self.trace), name, prepared.key, before, prepared.after, self.clock())
        self.trace.append(write)
        for observer in self.observers:
            observer(write)

    def _create_table(self, request: dict[str, Any]) -> dict[str, Any]:
        table = Table.created(request)
        if table.name in self.tables:
            raise ServiceError("ResourceInUseException", f"Table already exists: {table.name}")
        self.tables[table.name] = table
        return {"TableDescription": {"TableName": table.name, "TableStatus": "ACTIVE"}}

    def _get_item(self, request: dict[str, Any]) -> dict[str, Any]:
        if "ProjectionExpression" in request:
            raise Unsupported("ProjectionExpression")
        table = self.table(request["TableName"])
        item = table.items.get(table.key_of(request["Key"]))
        return {"Item": item} if item is not None else {}

    def _batch_get_item(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = request["RequestItems"]
        count = sum(len(one["Keys"]) for one in asked.values())
        if not 1 <= count <= MAXIMUM_ITEMS:
            raise invalid(f"Too many items requested for the BatchGetItem call: {count}")
        answer: dict[str, list[Item]] = {}
        for name, one in asked.items():
            table = self.table(name)
            keys = [table.key_of(key) for key in one["Keys"]]
            if len(set(keys)) < len(keys):
                raise invalid("Provided list of item keys contains duplicates")
            answer[name] = [table.items[key] for key in keys if key in table.items]
        return {"Responses": answer, "UnprocessedKeys": {}}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.table(request["TableName"]).query(request, self.page)

    def _scan(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.table(request["TableName"]).scan(request, self.page)

    def _put_item(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._single({"Put": request})

    def _update_item(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._single({"Update": request})

    def _delete_item(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._single({"Delete": request})

    def _single(self, described: dict[str, Any]) -> dict[str, Any]:
        plan = _Plan(self, described)
        if (plan.table.name, plan.key) in self._held:
            raise ServiceError("TransactionConflictException", "Transaction is ongoing for the item")
        reason, prepared = plan.decide()
        if reason is not None:
            code, item = reason["Code"], reason.get("Item")
            extra = {} if item is None else {"Item": item}
            name = "ValidationException" if code == "ValidationError" else f"{code}Exception"
            raise ServiceError(name, reason["Message"], **extra)
        before = plan.table.items.get(plan.key)
        if prepared is not None:
            self._write(prepared)
        wanted = plan.request.get("ReturnValues", "NONE")
        if wanted not in {"NONE", "ALL_OLD", "ALL_NEW"}:
            raise Unsupported(f"ReturnValues {wanted}")
        shown = before if wanted == "ALL_OLD" else plan.table.items.get(plan.key)
        return {} if wanted == "NONE" or shown is None else {"Attributes": shown}


class _Plan:
    """One write as requested: what is wrong with it whatever the table holds is refused at once."""

    def __init__(self, double: DynamoDB, described: dict[str, Any]) -> None:
        ((self.kind, self.request),) = described.items()
        self.table = double.table(self.request["TableName"])
        if self.kind == "Put":
            self.key = self.table.key_of(self.request["Item"], whole=False)
        elif self.kind in {"Update", "Delete", "ConditionCheck"}:
            self.key = self.table.key_of(self.request["Key"])
        else:
            raise Unsupported(self.kind)
        self._bindings = Bindings(self.request)
        self._condition = self._actions = None
        if "ConditionExpression" in self.request:
            self._condition, used = parse_condition(self.request["ConditionExpression"])
            self._bindings.use(used)
        if "UpdateExpression" in self.request:
            self._actions, used = parse_update(self.request["UpdateExpression"])
            self._bindings.use(used)
        self._bindings.finish()

    def decide(self) -> tuple[dict[str, Any] | None, Prepared | None]:
        """Return why the write is refused, or what it does; nothing for a mere check."""
        held = self.table.items.get(self.key)
        if self._condition is not None and not holds(self._condition, held or {}, self._bindings):
            reason: dict[str, Any] = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
            if self.request.get(_RETURNED) == "ALL_OLD" and held is not None:
                reason["Item"] = held
            return reason, None
        if self.kind == "ConditionCheck":
            return None, None
        if self.kind == "Delete":
            return None, Prepared(self.table, self.key, None) if held is not None else None
        try:
            after = self._after(held)
            self.table.check(after)
        except ServiceError as refusal:
            return {"Code": "ValidationError", "Message": refusal.message}, None
        return None, Prepared(self.table, self.key, after)

    def _after(self, held: Item | None) -> Item:
        if self.kind == "Put":
            item: Item = self.request["Item"]
            return item
        base = held if held is not None else dict(self.request["Key"])
        if self._actions is None:
            return base
        return changed(self._actions, base, self._bindings, self.table.key_names)
