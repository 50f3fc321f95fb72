"""Where the next page of an answer begins, as text that clients hand back unread.

A cursor carries no right: the tenant comes from the path each time. It is bound to tenant and query by a digest, so
that a cursor of another report is refused and never silently answered with a mixture of two. The digest is no
signature: whoever reads this file can make a cursor. So what it holds is checked as if the caller had written it, its
form here, and what it may be where it is used (``InvalidPosition`` of the tables); it is the same 400 each time.
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
_MAX_CHARACTERS = 3_000
_MAX_KEY_CHARACTERS = 1_024


class Position(NamedTuple):
    """Where a page of a report begins, and what the first page took for its range.

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
    return _pack([position.from_ms, position.to_ms, int(position.is_cut)], query)


def read(text: str, query: Sequence[str]) -> Position:
    """Return the position that ``write`` was given.

    Raises:
        Problem: 400, it is no cursor, or one of another tenant or query.
    """
    values = _unpack(text, 3, query)
    numbers = [one for one in values if type(one) is int and 0 <= one < 10**14]
    if len(numbers) < 3:
        raise refused()
    from_ms, to_ms, is_cut = numbers
    if from_ms >= to_ms or from_ms % QUARTER_MS or to_ms % QUARTER_MS or is_cut > 1:
        raise refused()
    return Position(from_ms, to_ms, bool(is_cut))


def write_key(key: Sequence[str], query: Sequence[str]) -> str:
    """Return the cursor behind the item with this key in the list of ``query``."""
    return _pack(list(key), query)


def read_key(text: str, parts: int, query: Sequence[str]) -> tuple[str, ...]:
    """Return the key that ``write_key`` was given.

    Raises:
        Problem: 400, it is no cursor, or one of another list.
    """
    values = _unpack(text, parts, query)
    key = tuple(one for one in values if isinstance(one, str) and 0 < len(one) <= _MAX_KEY_CHARACTERS and one.isascii())
    if len(key) < parts:
        raise refused()
    return key


def _pack(values: Sequence[str | int], query: Sequence[str]) -> str:
    content = json.dumps([_VERSION, _digest(query), *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _unpack(text: str, parts: int, query: Sequence[str]) -> list[object]:
    try:
        if len(text) > _MAX_CHARACTERS:
            raise refused()
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise refused() from None
    if not isinstance(found, list) or len(found) != parts + 2 or found[:2] != [_VERSION, _digest(query)]:
        raise refused()
    return found[2:]


def refused() -> Problem:
    """Return the answer for a cursor that a list cannot have returned."""
    return invalid("cursor", "is not one that this list returned; ask again without a cursor")


def _digest(query: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(query)).encode()).hexdigest()[:16]
