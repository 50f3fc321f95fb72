"""DynamoDB's expressions: conditions and updates, parsed by their documented grammar and evaluated on real items.

Decisions: whatever is outside the grammar below raises ``Unsupported`` (nested paths, ``list_append``), whatever
DynamoDB refuses raises its ``ValidationException``: reserved words, unused or undefined placeholders, overlapping
paths, 4 KB, 300 operators. Parsing is cached by text: schedules send the same few expressions again and again.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.faults.values import (
    Item,
    Unsupported,
    Value,
    equal,
    invalid,
    number_of,
    rank,
    size_of,
    type_of,
)

MAXIMUM_BYTES = 4096
MAXIMUM_OPERATORS = 300
Node = tuple[Any, ...]

_TOKEN = re.compile(r"\s*([#:][A-Za-z0-9_]+|[A-Za-z_][A-Za-z0-9_]*|<>|<=|>=|[=<>(),+\-.\[\]]|\d+)")
_COMPARATORS = {"=", "<>", "<", "<=", ">", ">="}
_PREDICATES = {"attribute_exists": 1, "attribute_not_exists": 1, "begins_with": 2, "contains": 2, "attribute_type": 2}
_CLAUSES = ("SET", "REMOVE", "ADD", "DELETE")


@lru_cache(maxsize=1)
def reserved_words() -> frozenset[str]:
    """DynamoDB's reserved words, from the list that moto ships; read without importing moto."""
    spec = find_spec("moto")
    assert spec is not None
    assert spec.origin is not None
    listed = Path(spec.origin).parent / "dynamodb" / "parsing" / "reserved_keywords.txt"
    return frozenset(listed.read_text().split())


class Parser:
    """One pass over one expression."""

    def __init__(self, text: str) -> None:
        if len(text.encode()) > MAXIMUM_BYTES:
            raise invalid("Invalid expression: Expression size has exceeded the maximum allowed size;")
        self._tokens = list(_tokens(text))
        self._at = 0
        self.operators = 0
        self.placeholders: set[str] = set()

    def condition(self) -> Node:
        """Parse a condition, to the end."""
        node = self._or()
        if self._peek():
            raise invalid(f"Invalid expression: Syntax error; token: {self._peek()}")
        return node

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _word(self) -> str:
        return self._peek().upper()

    def _take(self, wanted: str | None = None) -> str:
        token = self._peek()
        if not token or (wanted is not None and token.upper() != wanted):
            raise invalid(f"Invalid expression: Syntax error; token: {token or '<EOF>'}, expected {wanted}")
        self._at += 1
        return token

    def _operator(self) -> None:
        self.operators += 1
        if self.operators > MAXIMUM_OPERATORS:
            raise invalid("Invalid expression: The expression contains too many operators; operator count: 301")

    def _or(self) -> Node:
        node = self._and()
        while self._word() == "OR":
            self._take()
            self._operator()
            node = ("or", node, self._and())
        return node

    def _and(self) -> Node:
        node = self._not()
        while self._word() == "AND":
            self._take()
            self._operator()
            node = ("and", node, self._not())
        return node

    def _not(self) -> Node:
        if self._word() == "NOT":
            self._take()
            self._operator()
            return ("not", self._not())
        return self._primary()

    def _primary(self) -> Node:
        if self._peek() == "(":
            self._take()
            node = self._or()
            self._take(")")
            return node
        name = self._peek()
        if name in _PREDICATES:
            self._take()
            self._take("(")
            self._operator()
            arguments = [self._path() if _PREDICATES[name] == 1 else self._operand()]
            if _PREDICATES[name] == 2:
                self._take(",")
                arguments.append(self._operand())
            self._take(")")
            return (name, *arguments)
        left = self._operand()
        self._operator()
        if self._word() == "BETWEEN":
            self._take()
            low = self._operand()
            self._take("AND")
            return ("between", left, low, self._operand())
        if self._word() == "IN":
            self._take()
            self._take("(")
            options = [self._operand()]
            while self._peek() == ",":
                self._take()
                options.append(self._operand())
            self._take(")")
            return ("in", left, tuple(options))
        comparator = self._take()
        if comparator not in _COMPARATORS:
            raise invalid(f"Invalid expression: Syntax error; token: {comparator}")
        return (comparator, left, self._operand())

    def _operand(self) -> Node:
        token = self._peek()
        if token.startswith(":"):
            self.placeholders.add(self._take())
            return ("value", token)
        if token == "size":
            self._take()
            self._take("(")
            self._operator()
            path = self._path()
            self._take(")")
            return ("size", path)
        return self._path()

    def _path(self) -> Node:
        token = self._take()
        if token.startswith("#"):
            self.placeholders.add(token)
        elif not token[0].isalpha() and token[0] != "_":
            raise invalid(f"Invalid expression: Syntax error; token: {token}")
        elif token.upper() in reserved_words():
            raise invalid(f"Invalid expression: Attribute name is a reserved keyword; reserved keyword: {token}")
        if self._peek() in {".", "[", "("}:
            raise Unsupported(f"nested path or function at {token!r}")
        return ("path", token)

    def update(self) -> Node:
        """Parse an update into its actions."""
        actions: list[Node] = []
        seen: set[str] = set()
        while self._peek():
            clause = self._take().upper()
            if clause not in _CLAUSES:
                raise invalid(f"Invalid UpdateExpression: Syntax error; token: {clause}")
            if clause in seen:
                raise invalid(f"Invalid UpdateExpression: The {clause} section can only be used once")
            seen.add(clause)
            while True:
                actions.append(self._action(clause))
                if self._peek() != ",":
                    break
                self._take()
        if not actions:
            raise invalid("Invalid UpdateExpression: The expression can not be empty;")
        return tuple(actions)

    def _action(self, clause: str) -> Node:
        path = self._path()
        self._operator()
        if clause == "REMOVE":
            return (clause, path)
        if clause != "SET":
            value = self._take()
            if not value.startswith(":"):
                raise invalid(f"Invalid UpdateExpression: {clause} takes a value")
            self.placeholders.add(value)
            return (clause, path, ("value", value))
        self._take("=")
        term = self._term()
        if self._peek() in {"+", "-"}:
            operator = self._take()
            self._operator()
            term = (operator, term, self._term())
        return (clause, path, term)

    def _term(self) -> Node:
        if self._peek() == "if_not_exists":
            self._take()
            self._take("(")
            self._operator()
            path = self._path()
            self._take(",")
            fallback = self._term()
            self._take(")")
            return ("if_not_exists", path, fallback)
        if self._peek() == "list_append":
            raise Unsupported("list_append")
        return self._operand()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise invalid(f"Invalid expression: Syntax error; near: {text[at : at + 20]!r}")
        yield found[1]
        at = found.end()


@lru_cache(maxsize=2048)
def parse_condition(text: str) -> tuple[Node, frozenset[str]]:
    """Parse a condition; returns the tree and the placeholders that it uses."""
    parser = Parser(text)
    node = parser.condition()
    return node, frozenset(parser.placeholders)


@lru_cache(maxsize=2048)
def parse_update(text: str) -> tuple[Node, frozenset[str]]:
    """Parse an update; returns its actions and the placeholders that it uses."""
    parser = Parser(text)
    actions = parser.update()
    return actions, frozenset(parser.placeholders)


class Bindings:
    """What the placeholders of one request stand for."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._names: Mapping[str, str] = request.get("ExpressionAttributeNames") or {}
        self._values: Mapping[str, Value] = request.get("ExpressionAttributeValues") or {}
        for what, given in (("Names", "ExpressionAttributeNames"), ("Values", "ExpressionAttributeValues")):
            if given in request and not request[given]:
                raise invalid(f"ExpressionAttribute{what} must not be empty")
        self._unused = {*self._names, *self._values}

    def use(self, placeholders: frozenset[str]) -> None:
        """Note which placeholders an expression uses; each must be defined."""
        for token in placeholders:
            if token not in self._names and token not in self._values:
                raise invalid(f"Invalid expression: a name or value used in expression is not defined: {token}")
        self._unused -= placeholders

    def finish(self) -> None:
        """Refuse what no expression uses."""
        if self._unused:
            raise invalid(f"Value provided is unused in expressions: keys: {sorted(self._unused)}")

    def name(self, path: Node) -> str:
        """Attribute that a path names."""
        token: str = path[1]
        return self._names[token] if token.startswith("#") else token

    def value(self, node: Node) -> Value:
        """What a value placeholder stands for."""
        return self._values[node[1]]

    def operand(self, node: Node, item: Item) -> Value | None:
        """Value of an operand on an item; None where the attribute is missing."""
        if node[0] == "value":
            return self.value(node)
        if node[0] == "path":
            return item.get(self.name(node))
        if node[0] == "size":
            found = item.get(self.name(node[1]))
            return None if found is None else {"N": str(size_of(found))}
        raise Unsupported(f"operand {node[0]}")


def holds(node: Node, item: Item, bindings: Bindings) -> bool:
    """Evaluate a condition on an item; ``{}`` where there is none."""
    kind = node[0]
    if kind == "and":
        return holds(node[1], item, bindings) and holds(node[2], item, bindings)
    if kind == "or":
        return holds(node[1], item, bindings) or holds(node[2], item, bindings)
    if kind == "not":
        return not holds(node[1], item, bindings)
    if kind == "attribute_exists":
        return bindings.name(node[1]) in item
    if kind == "attribute_not_exists":
        return bindings.name(node[1]) not in item
    left = bindings.operand(node[1], item)
    if kind == "between":
        low, high = bindings.operand(node[2], item), bindings.operand(node[3], item)
        return _ordered(low, left, "<=") and _ordered(left, high, "<=")
    if kind == "in":
        options = [bindings.operand(one, item) for one in node[2]]
        return left is not None and any(one is not None and equal(left, one) for one in options)
    right = bindings.operand(node[2], item)
    if kind == "=":
        return left is not None and right is not None and equal(left, right)
    if kind == "<>":
        return left is None or right is None or not equal(left, right)
    if kind in _COMPARATORS:
        return _ordered(left, right, kind)
    if left is None or right is None:
        return False
    if kind == "begins_with":
        return type_of(left) == "S" == type_of(right) and str(left["S"]).startswith(right["S"])
    if kind == "attribute_type":
        return bool(type_of(left) == right["S"])
    content = left[type_of(left)]
    return type_of(right)[0] == type_of(left)[0] and bool(right[type_of(right)] in content)


def _ordered(left: Value | None, right: Value | None, comparator: str) -> bool:
    if left is None or right is None or type_of(left) != type_of(right):
        return False
    low, high = rank(left), rank(right)
    if low is None or high is None:
        return False
    answers = {"<": low < high, "<=": low <= high, ">": low > high, ">=": low >= high}
    return bool(answers[comparator])


def changed(actions: Node, item: Item, bindings: Bindings, protected: tuple[str, ...]) -> Item:
    """Return ``item`` after an update. All terms see the item as it was before.

    Raises:
        ServiceError: ValidationException, as DynamoDB refuses it.
    """
    after = dict(item)
    touched: set[str] = set()
    for action in actions:
        name = bindings.name(action[1])
        if name in touched:
            raise invalid("Invalid UpdateExpression: Two document paths overlap with each other")
        if name in protected:
            raise invalid(f"Cannot update attribute {name}. This attribute is part of the key")
        touched.add(name)
        if action[0] == "REMOVE":
            after.pop(name, None)
        elif action[0] == "SET":
            after[name] = _term(action[2], item, bindings)
        elif action[0] == "ADD":
            after[name] = _added(item.get(name), bindings.value(action[2]))
        else:
            raise Unsupported("DELETE of set elements")
    return after


def _term(node: Node, item: Item, bindings: Bindings) -> Value:
    if node[0] == "if_not_exists":
        return item.get(bindings.name(node[1])) or _term(node[2], item, bindings)
    if node[0] in {"+", "-"}:
        left, right = _term(node[1], item, bindings), _term(node[2], item, bindings)
        if type_of(left) != "N" or type_of(right) != "N":
            raise invalid("An operand in the update expression has an incorrect data type")
        sign = 1 if node[0] == "+" else -1
        return {"N": str(number_of(left) + sign * number_of(right))}
    found = bindings.operand(node, item)
    if found is None:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    return found


def _added(held: Value | None, value: Value) -> Value:
    if type_of(value) != "N":
        raise Unsupported(f"ADD of type {type_of(value)}")
    if held is None:
        return {"N": str(number_of(value))}
    if type_of(held) != "N":
        raise invalid("An operand in the update expression has an incorrect data type")
    return {"N": str(number_of(held) + number_of(value))}
