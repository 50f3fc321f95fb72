"""Opening gzip from outside: never more than a bound, never an error that tells more than why.

A member's checksum proves that it is whole. Bytes after the last member that begin no other one are padding or noise
and are ignored, as gzip itself does; a member that begins and does not end is an error.
"""

import zlib

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.quarantine import Reason

_GZIP = 16 + zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"


def inflate(data: bytes, maximum_bytes: int) -> bytes:
    """Return the content of all gzip members in ``data``.

    Raises:
        UnreadablePayload: It is not gzip or damaged, ends too early, or inflates to more than ``maximum_bytes``.
    """
    parts: list[bytes] = []
    room = maximum_bytes
    reason: Reason | None = None
    while reason is None and (not parts or data.startswith(_MAGIC)):
        member = zlib.decompressobj(_GZIP)
        try:
            # One byte more than allowed tells a full payload from one that is too large.
            part = member.decompress(data, room + 1)
        except zlib.error:
            reason = Reason.NOT_GZIP
            break
        room -= len(part)
        if room < 0:
            reason = Reason.TOO_LARGE
        elif not member.eof:
            reason = Reason.TRUNCATED_GZIP
        parts.append(part)
        data = member.unused_data
    if reason is not None:
        raise UnreadablePayload(reason)
    return parts[0] if len(parts) == 1 else b"".join(parts)
