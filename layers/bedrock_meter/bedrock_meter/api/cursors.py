"""Where the next page of a report begins, as text that clients hand back unread.

A cursor carries no right: the tenant comes from the path each time. It is bound to tenant and query by a digest, so
that a cursor of another report is refused and never silently answered with a mixture of two.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from bedrock_meter.api.problems import Problem, invalid
from bedrock_meter.limits.windows import QUARTER_MS

_VERSION = 1
_MAX_CHARACTERS = 200


class Position(NamedTuple):
    """Where a page begins, and what the first page took for its range.

    Attributes:
        from_ms: Start of the page.
        to_ms: End of the whole report (exclusive).
        is_cut: Whether the page goes on inside a period of which an earlier one holds the beginning.
    """

    from_ms: int
    to_ms: int
    is_cut: bool


def write(position: Position, query: Sequence[str]) -> str:
    """Return the cursor of ``position`` in the report of ``query`` (tenant and parameters)."""
    values = [_VERSION, position.from_ms, position.to_ms, int(position.is_cut), _digest(query)]
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def read(text: str, query: Sequence[str]) -> Position:
    """Return the position that ``write`` was given.

    Raises:
        Problem: 400, it is no cursor, or one of another tenant or query.
    """
    try:
        if len(text) > _MAX_CHARACTERS:
            raise ValueError("too long")
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, from_ms, to_ms, is_cut, digest = json.loads(content)
        numbers = (from_ms, to_ms, is_cut)
        if version != _VERSION or not all(type(one) is int and 0 <= one < 10**14 for one in numbers):
            raise ValueError("another form")
        if from_ms >= to_ms or from_ms % QUARTER_MS or to_ms % QUARTER_MS:
            raise ValueError("no range")
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _refusal() from None
    if digest != _digest(query):
        raise _refusal()
    return Position(from_ms, to_ms, bool(is_cut))


def _refusal() -> Problem:
    return invalid("cursor", "is not one that this report returned; ask again without a cursor")


def _digest(query: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(query)).encode()).hexdigest()[:16]
