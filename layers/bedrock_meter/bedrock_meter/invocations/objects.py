"""Reading the objects that Bedrock writes when it logs to S3, in bounded memory however large they are.

Bedrock writes JSON lines, compressed. Objects that somebody merged or rewrote may be arrays or plain text: content
decides, not the name. In lines, a broken record costs itself; in an array, what follows a broken string may be lost to
it up to ``MAXIMUM_RECORD_BYTES``, and is noted as one rejected record. Nothing is held but one record and one piece.

zlib and not ISA-L: objects are not waited for, and its streaming interface is Python's own.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.parser import Location, LogLine
from bedrock_meter.invocations.quarantine import Reason, Rejected

MAXIMUM_RECORD_BYTES = 4 * 1024 * 1024
"""Bedrock keeps bodies above 100 KB out of the record."""

MAXIMUM_OBJECT_BYTES = 4 * 1024**3
"""Most that an object may inflate to: so much is skipped within one invocation, lines at 600 MB/s and arrays at 50 on a
full core (55 MB of records of 3.4 KB)."""

PIECE_BYTES = 256 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Lazy: whoever may write below one account's folder can repeat the layout inside it.
_is_log_name = re.compile(r"(?:.*?/)??AWSLogs/([0-9]{12})/BedrockModelInvocationLogs/(.+)", re.DOTALL).fullmatch
_PERMISSION_CHECK = "amazon-bedrock-logs-permission-check"
_structure = re.compile(rb'["\[\]{},]').search
_end_of_text = re.compile(rb'["\\]').search


def is_log_object(key: str) -> bool:
    """Whether an object holds records.

    Bedrock writes ``[prefix/]AWSLogs/<account>/BedrockModelInvocationLogs/<region>/<yyyy>/<mm>/<dd>/<hh>/<name>``.
    Bodies that were too large for their record lie in ``data/`` beside them; an object with a fixed name shows that
    Bedrock may write.
    """
    found = _is_log_name(key)
    if found is None:
        return False
    *folders, name = found[2].split("/")
    return bool(name) and name != _PERMISSION_CHECK and "data" not in folders


def place_of(key: str) -> tuple[str, str]:
    """Return the account and the Region whose records lie at an object's place; empty where its name says none."""
    found = _is_log_name(key)
    if found is None:
        return "", ""
    region, _, rest = found[2].partition("/")
    return found[1], region if rest else ""


class LogObject:
    """One object, read once from its beginning."""

    def __init__(self, location: Location, chunks: Iterable[bytes]) -> None:
        self._location = location
        self._hash = sha256()
        self._size = 0
        self._chunks = self._hashed(chunks)

    @property
    def location(self) -> Location:
        """Bucket and key."""
        return self._location

    def lines(self, after: int = 0) -> Iterator[LogLine | Rejected]:
        """Yield the records behind the first ``after`` ones; their ids are their numbers, from 1.

        A record without a readable time has none at all: when an object was written says nothing, since copies of it
        are newer.

        Raises:
            UnreadablePayload: From here on nothing can be read; see ``reject``. What was yielded is sound.
        """
        for number, record in enumerate(split(_opened(self._chunks)), 1):
            if number <= after:
                continue
            if isinstance(record, bytes):
                yield LogLine(record, self._location, str(number))
            else:
                digest, size = record
                yield self._rejected(Reason.TOO_LARGE, digest, size, str(number))

    def reject(self, reason: str) -> Rejected:
        """Return the note for the whole object. Reads the rest of it, so that the same object has the same hash."""
        for _ in self._chunks:
            pass
        return self._rejected(Reason(reason), self._hash.hexdigest(), self._size, "")

    def _rejected(self, reason: Reason, digest: str, size: int, number: str) -> Rejected:
        return Rejected(reason, digest, size, self._location.log_group, self._location.log_stream, number)

    def _hashed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._hash.update(chunk)
            self._size += len(chunk)
            yield chunk


def _opened(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content in pieces of at most a chunk or ``PIECE_BYTES``."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_MAGIC):
            break
    pieces = chain((head,), chunks)
    total = 0
    for piece in _inflated(pieces) if head.startswith(_MAGIC) else pieces:
        total += len(piece)
        if total > MAXIMUM_OBJECT_BYTES:
            raise UnreadablePayload(Reason.TOO_LARGE)
        yield piece


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of all members; bytes behind the last one that begin no other are padding, as for gzip."""
    member = None
    data = b""
    for chunk in chunks:
        data += chunk
        while True:
            if member is None:
                if len(data) < len(_MAGIC):
                    break
                if not data.startswith(_MAGIC):
                    return
                member = zlib.decompressobj(_GZIP)
            try:
                piece = member.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise UnreadablePayload(Reason.NOT_GZIP) from None
            yield piece
            if member.eof:
                data, member = member.unused_data, None
                continue
            data = member.unconsumed_tail
            # A full piece may have more behind it, also when all of the input is taken.
            if not data and len(piece) < PIECE_BYTES:
                break
    if member is not None or data == _MAGIC[:1]:
        raise UnreadablePayload(Reason.TRUNCATED_GZIP)


class _Held:
    """The part of a record that was read so far: its bytes, or only their hash and number where there are too many."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._hash = sha256()
        self._dropped = 0

    def add(self, part: bytes) -> None:
        self._bytes += part
        if len(self._bytes) > MAXIMUM_RECORD_BYTES or self._dropped:
            self._hash.update(self._bytes)
            self._dropped += len(self._bytes)
            self._bytes.clear()

    def take(self) -> Iterator[bytes | tuple[str, int]]:
        """Yield the record unless it is blank, and begin the next one."""
        if self._dropped:
            yield self._hash.hexdigest(), self._dropped
        elif record := bytes(self._bytes).strip(_BLANK):
            yield record
        self.__init__()  # type: ignore[misc]


def split(pieces: Iterable[bytes]) -> Iterator[bytes | tuple[str, int]]:
    """Take a text apart into records: lines, or the elements of an array if that is what it begins with.

    Yields:
        A record's bytes; hash and size of one that is longer than ``MAXIMUM_RECORD_BYTES``.
    """
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head = (head + piece).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
        if len(head) >= len(_BYTE_ORDER_MARK):
            break
    if head.startswith(b"["):
        tail: list[bytes] = []
        yield from _elements(chain((head,), rest), tail)
        yield from _lines(chain(tail, rest))
    else:
        yield from _lines(chain((head,), rest))


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes | tuple[str, int]]:
    held = _Held()
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            held.add(piece[start:end])
            yield from held.take()
            start = end + 1
        held.add(piece[start:])
    yield from held.take()


def _elements(pieces: Iterable[bytes], tail: list[bytes]) -> Iterator[bytes | tuple[str, int]]:
    """Yield the elements of the array that the text begins with; what stands behind it goes to ``tail``."""
    held = _Held()
    depth, in_text, is_escaped = 0, False, False
    for piece in pieces:
        start = position = 0
        if is_escaped and piece:
            position, is_escaped = 1, False
        while found := (_end_of_text if in_text else _structure)(piece, position):
            position = found.end()
            mark = found[0]
            if mark == b'"':
                in_text = not in_text
            elif mark == b"\\":
                position += 1
                is_escaped = position > len(piece)
            elif mark in b"[{":
                depth += 1
                if depth == 1:
                    start = position
            elif depth == 1:
                held.add(piece[start : found.start()])
                yield from held.take()
                start = position
                if mark != b",":
                    tail.append(piece[position:])
                    return
            elif mark != b",":
                depth -= 1
        held.add(piece[start:])
    yield from held.take()
