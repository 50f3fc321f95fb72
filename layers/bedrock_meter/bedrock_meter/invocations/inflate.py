"""Opening gzip from outside: never more than a bound, never an error that tells more than why.

A member's checksum proves that it is whole. Bytes after the last member that begin no other one are padding
or noise and are ignored, as gzip itself does; a member that begins and does not end is an error.

Inflating is half of what decoding costs. ISA-L (the package ``isal``) takes less than half of zlib's time for it.
"""

from isal import isal_zlib

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.quarantine import Reason

_GZIP = 16 + isal_zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"
_MOST_MEMBERS = 1000
"""Each one copies what follows it, so that a megabyte of empty members would cost minutes."""


def inflate(data: bytes, maximum_bytes: int) -> bytes:
    """Return the content of all gzip members in ``data``.

    Args:
        data: gzip of one or several members.
        maximum_bytes: Most that they may inflate to, together.

    Raises:
        UnreadablePayload: It is not gzip or damaged, ends too early, or inflates to more than ``maximum_bytes`` or
            from more than a thousand members.
    """
    parts: list[bytes] = []
    room = maximum_bytes
    reason = None if data.startswith(_MAGIC) else Reason.NOT_GZIP
    while reason is None and data.startswith(_MAGIC):
        member = isal_zlib.decompressobj(_GZIP)
        try:
            # One byte more than allowed tells a full payload from one that is too large.
            part = member.decompress(data, room + 1)
        except isal_zlib.error:  # type: ignore[misc]  # its stub declares an instance
            reason = Reason.NOT_GZIP
            break
        room -= len(part)
        if room < 0:
            reason = Reason.TOO_LARGE
        elif not member.eof:
            reason = Reason.TRUNCATED_GZIP
        elif len(parts) == _MOST_MEMBERS:
            reason = Reason.TOO_LARGE
        parts.append(part)
        data = member.unused_data
    if reason is not None:
        raise UnreadablePayload(reason)
    return parts[0] if len(parts) == 1 else b"".join(parts)
