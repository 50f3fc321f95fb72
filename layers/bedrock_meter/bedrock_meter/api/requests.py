"""What a request may hold: read strictly, bounded before it is read, and never repeated in an error.

Unknown names are refused, in the query and in bodies: a misspelt ``form`` would silently widen a report, a misspelt
``max_tokens`` would silently reserve nothing.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from bedrock_meter.api.problems import Problem, invalid

MAX_BODY_BYTES = 1_048_576
MAX_QUERY_CHARACTERS = 2_048
MAX_COUNT = 2**53
"""The largest count of tokens that a JSON reader takes for exact; Bedrock's own are held to the same."""

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def query(event: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Return the query's parameters.

    Raises:
        Problem: 400, one is unknown or there twice, or the query is too long or no text.
    """
    raw = event.get("rawQueryString") or ""
    if len(raw) > MAX_QUERY_CHARACTERS:
        raise Problem(400, "Invalid request", f"the query is longer than {MAX_QUERY_CHARACTERS} characters")
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict")
    except ValueError:
        raise Problem(400, "Invalid request", "the query is no percent-encoded UTF-8") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem(400, "Invalid request", "a query parameter is there twice")
    if not found.keys() <= set(known):
        names = f"known are {', '.join(sorted(known))}" if known else "this resource has none"
        raise Problem(400, "Invalid request", f"unknown query parameter: {names}")
    return found


def choice(parameters: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    """Return a parameter that is one of a few words."""
    value = parameters.get(name, default)
    if value not in choices:
        raise invalid(name, f"must be one of {', '.join(choices)}")
    return value


def instant(name: str, text: str) -> int | str:
    """Return an instant in milliseconds, or a local date as it stands (``2026-11-24``), whose zone the caller knows.

    Raises:
        Problem: 400, it is neither.
    """
    try:
        if _DATE.fullmatch(text):
            datetime.fromisoformat(text)
            return text
        if _INSTANT.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise invalid(name, "must be a date such as 2026-11-24 or an instant such as 2026-11-24T10:15:00Z")


def body_bytes(event: Mapping[str, Any], most: int = MAX_BODY_BYTES) -> bytes:
    """Return a request's body.

    Raises:
        Problem: 413, it is longer than ``most`` bytes; 400, it is no text.
    """
    text = event.get("body") or ""
    limit = most * 4 // 3 + 4 if event.get("isBase64Encoded") else most
    if len(text) <= limit:
        try:
            content = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
        except (binascii.Error, ValueError):
            raise Problem(400, "Invalid request", "the body is no text") from None
        if len(content) <= most:
            return content
    raise Problem(413, "Body too large", f"A body has at most {most} bytes.", max_bytes=most)


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds.

    Raises:
        Problem: 400, it is none: not JSON, not UTF-8, a name twice, NaN, or too deep.
    """
    try:
        document = json.loads(content.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number)
        if b"\\ud" in content or b"\\uD" in content:
            json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (ValueError, RecursionError):
        raise Problem(400, "Invalid request", "the body is no JSON text in UTF-8 with each name once") from None
    if not isinstance(document, dict):
        raise Problem(400, "Invalid request", "the body must be a JSON object")
    return document


def refuse_unknown(where: str, document: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse an object with a member that nobody reads."""
    if not document.keys() <= set(known):
        raise invalid(where or "body", f"unknown member: known are {', '.join(sorted(known))}")


def whole_number(where: str, value: object, lowest: int, highest: int) -> int:
    """Return an integer within bounds, both included; ``true`` and ``1.0`` are none."""
    if type(value) is int and lowest <= value <= highest:
        return value
    raise invalid(where, f"must be a whole number from {lowest} to {highest}")


def matching(where: str, value: object, pattern: re.Pattern[str], what: str) -> str:
    """Return text that has a form."""
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise invalid(where, f"must be {what}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
