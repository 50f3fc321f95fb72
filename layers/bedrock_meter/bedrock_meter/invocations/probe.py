"""Test lines of ``bedrock-meter preflight``: no records, counted nowhere, only noted as read.

Plain text, so that no reader of JSON takes one for a record; with a nonce, so that each is told from every other.
"""

import re

PROBE_LINE = "bedrock-meter preflight "
"""What a test line begins with; 32 hexadecimal digits follow."""

_PROBE = re.compile(re.escape(PROBE_LINE.encode()) + rb"([0-9a-f]{32})")


def nonce_of(line: bytes) -> str | None:
    """Return the nonce of a test line, None for every other line."""
    found = _PROBE.fullmatch(line)
    return None if found is None else found[1].decode()
