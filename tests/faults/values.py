"""DynamoDB's typed values: equality, order, sizes and bounds, as its documentation states them.

A value is ``{type: content}`` as on the wire. What this double has not learned is refused loudly, never guessed.
"""

from typing import Any

Value = dict[str, Any]
Item = dict[str, Value]

MAXIMUM_ITEM_BYTES = 400 * 1024
MAXIMUM_DIGITS = 38
_SETS = ("SS", "NS", "BS")


class Unsupported(AssertionError):
    """The double does not know this part of DynamoDB; a test must not pass by luck."""


class ServiceError(Exception):
    """An error answer.

    Attributes:
        code: As botocore shows it.
        extra: Further members of the answer.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str = "", *, status: int = 400, **extra: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.extra = code, message, status, extra


def invalid(message: str) -> ServiceError:
    """The answer to a request that is wrong whatever the table holds."""
    return ServiceError("ValidationException", message)


def type_of(value: Value) -> str:
    """Type letter of a value."""
    (kind,) = value
    return kind


def number_of(value: Value) -> int:
    """The number that an ``N`` value stands for: an integer of at most 38 digits, as nothing of ours is a fraction."""
    text: str = value["N"]
    if not text.removeprefix("-").isdigit():
        raise Unsupported(f"the number {text}")
    if len(text.removeprefix("-").strip("0")) > MAXIMUM_DIGITS:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    return int(text)


def equal(left: Value, right: Value) -> bool:
    """Whether two values are equal, type included."""
    kind = type_of(left)
    if kind != type_of(right):
        return False
    if kind == "N":
        return number_of(left) == number_of(right)
    if kind in _SETS:
        return set(left[kind]) == set(right[kind])
    return bool(left[kind] == right[kind])


def rank(value: Value) -> Any:
    """What a value is ordered by among those of its type; None for types without an order."""
    kind = type_of(value)
    if kind == "N":
        return number_of(value)
    return str(value["S"]).encode() if kind == "S" else None


def size_of(value: Value) -> int:
    """What ``size()`` says, and roughly what a value weighs."""
    kind = type_of(value)
    content = value[kind]
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content) // 2 + 1
    if kind in {"BOOL", "NULL"}:
        return 1
    if kind == "L":
        return 3 + sum(1 + size_of(one) for one in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + size_of(one) for name, one in content.items())
    if kind in {"SS", "NS"}:
        return sum(len(one.encode()) for one in content)
    raise Unsupported(f"size of a value of type {kind}")


def item_bytes(item: Item) -> int:
    """What an item weighs against the 400 KB."""
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())
