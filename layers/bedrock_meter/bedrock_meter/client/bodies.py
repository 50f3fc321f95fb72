"""The body of an InvokeModel request, read without taking it away from botocore.

botocore takes bytes, text, or a file. A file that can seek is read from where it stands and put back there, since
botocore sends it from there.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, Final

MAXIMUM_BYTES: Final = 25 * 1024 * 1024
"""Longest body that is read. Bedrock takes 25,000,000 bytes (service model of bedrock-runtime)."""


def content_of(body: object) -> bytes | None:
    """Return the bytes that a request will send; None where they cannot be looked at.

    Args:
        body: What the caller passed: bytes, text, or a file.

    Returns:
        None for a file that cannot seek, is longer than ``MAXIMUM_BYTES`` or cannot be read. A file stands where it
        stood before.
    """
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return _read(body)


def document_of(content: bytes | None) -> Any:
    """Return the JSON of a body; None for what is none."""
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None


def tier_of(operation: str, params: Mapping[str, Any]) -> str | None:
    """Return the service tier that a call asks for in any of its forms, as the caller wrote it; None where in none.

    Converse has ``serviceTier: {"type": ...}``, InvokeModel a text of the same name, and some providers' bodies have
    ``service_tier``.
    """
    given = params.get("serviceTier")
    if isinstance(given, Mapping):
        given = given.get("type")
    if given is None and "body" in params and operation.startswith("InvokeModel"):
        content = content_of(params["body"])
        if content is not None and b"service_tier" in content and isinstance(body := document_of(content), dict):
            given = body.get("service_tier")
    return given if isinstance(given, str) else None


def _read(body: Any) -> bytes | None:
    try:
        if not body.seekable():
            return None
        stood = body.tell()
        try:
            length = body.seek(0, io.SEEK_END) - stood
            body.seek(stood)
            content = body.read(MAXIMUM_BYTES + 1) if length <= MAXIMUM_BYTES else None
        finally:
            body.seek(stood)
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return content if isinstance(content, bytes) and len(content) <= MAXIMUM_BYTES else None
