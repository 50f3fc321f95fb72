"""JSON from outside, decoded into structs: a value or a reason, never an error that could quote what was read.

Three facts: the decoder skips what no struct names, so that prompts are walked over and not kept; it is strict (NaN,
trailing commas, bare control characters are no JSON); and everything that the meter needs of a record is ASCII by AWS's
own rules, so that all other characters stand in bodies. They are masked before decoding: text of one byte a character
costs half the time, and invalid UTF-8 makes no record unreadable.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw

from bedrock_meter.invocations.quarantine import Reason

Text = bytes | str | Raw
"""JSON text. ``Raw`` is a part of a larger one, which it keeps alive."""

T = TypeVar("T")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MASK = bytes(range(0x80)) + b"\x7f" * 0x80
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
"""Every escape, so that an escaped backslash before a ``u`` is not mistaken for one."""
_REPLACEMENT = rb"\ufffd"


def decode(decoder: Callable[[Text], T], text: Text) -> T | Reason:
    """Return what ``decoder`` makes of ``text``, or why it cannot: ``not_json``, ``field_type`` or ``too_deep``."""
    try:
        return decoder(text)
    except msgspec.ValidationError:
        return Reason.FIELD_TYPE
    except RecursionError:
        return Reason.TOO_DEEP
    except (msgspec.DecodeError, UnicodeError):
        repaired = repair(utf8(text))
    return Reason.NOT_JSON if repaired is None else decode(decoder, repaired)


def ascii_only(data: bytes) -> bytes:
    """Return JSON without byte order mark, every byte of other characters masked by DEL, which is in no value."""
    return data if data.isascii() else data.removeprefix(_BYTE_ORDER_MARK).translate(_MASK)


def repair(data: bytes) -> bytes | None:
    """Return JSON in ASCII without surrogates, or None if it is that already.

    Models stream half characters, and prompts hold anything. None of that makes the counts beside it less sound.
    """
    repaired = ascii_only(data)
    if _SURROGATE.search(repaired):
        repaired = _ESCAPE.sub(lambda escape: _REPLACEMENT if _SURROGATE.fullmatch(escape[0]) else escape[0], repaired)
    return None if repaired == data else repaired


def utf8(text: Text) -> bytes:
    """Return the text's bytes, also those of half characters."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
