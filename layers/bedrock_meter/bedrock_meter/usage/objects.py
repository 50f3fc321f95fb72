"""Objects of the invocation log, taken in one by one as their bucket tells of them.

A message says which object there is. It comes again until the object is done, which is safe: calls that are recorded
are duplicates. But a duplicate costs as much time as a new record, so that an object which takes longer than one
invocation would never end. Therefore, when the time runs out, the message is replaced by one that says how many
records are done: those are skipped undecoded, and every invocation gets further. The new message is sent before the
old one is taken out; a crash in between leaves both, which costs time and counts nothing twice.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from bedrock_meter.errors import MeterError, OutOfTime
from bedrock_meter.invocations.objects import LogObject, is_log_object
from bedrock_meter.usage.ingestion import Ingested, Ingestion


class Opened(Protocol):
    """An object that can be read; ``version`` changes with its content."""

    @property
    def version(self) -> str:
        """What tells two contents apart."""

    @property
    def content(self) -> LogObject:
        """What is in it."""


class LogObjects(Protocol):
    """Where the objects are."""

    def open(self, bucket: str, key: str) -> Opened:
        """Begin to read one; raises if it is not there."""


class Later(Protocol):
    """The queue that messages come from."""

    def send(self, body: str) -> None:
        """Put a message into it."""


class UnknownMessage(MeterError):
    """A message that tells of no object. It comes again, and lands in the dead-letter queue."""


class Remainder(Struct, frozen=True, forbid_unknown_fields=True):
    """Our own message: the rest of an object.

    Attributes:
        bucket: Its bucket.
        key: Its name.
        after: How many of its records are done.
        version: Of the content that they were counted in.
    """

    bucket: str
    key: str
    after: int = 0
    version: str = ""


class _Name(Struct):
    name: str


class _Key(Struct):
    key: str


class _Detail(Struct):
    bucket: _Name
    object: _Key


class _ObjectCreated(Struct):
    """What EventBridge says of a new object; its names are as they are, not encoded as for a URL."""

    detail: _Detail


class ObjectReport(Struct):
    """What one invocation did.

    Attributes:
        read: Objects that are done.
        continued: Objects that are put back, to be read on.
        skipped: Objects that hold no records.
        ingested: What became of the records.
    """

    read: int = 0
    continued: int = 0
    skipped: int = 0
    ingested: Ingested = msgspec.field(default_factory=Ingested)


class ObjectIntake:
    """Takes in what messages tell of."""

    def __init__(self, objects: LogObjects, ingestion: Ingestion, later: Later) -> None:
        self._objects = objects
        self._ingestion = ingestion
        self._later = later

    def take_in(self, body: str, report: ObjectReport, remaining_ms: Callable[[], int]) -> None:
        """Take in the object of one message. The same message again changes nothing.

        Raises:
            UnknownMessage: The message tells of no object.
            DeliverAgain: The object is not done and no further than before; keep the message.
        """
        wanted = _wanted(body)
        if not is_log_object(wanted.key):
            report.skipped += 1
            return
        opened = self._objects.open(wanted.bucket, wanted.key)
        after = wanted.after if wanted.version == opened.version else 0
        try:
            self._ingestion.ingest_object(opened.content, report.ingested, remaining_ms, after=after)
        except OutOfTime:
            done = report.ingested.lines
            if done <= after:
                raise
            rest = Remainder(wanted.bucket, wanted.key, done, opened.version)
            self._later.send(msgspec.json.encode(rest).decode())
            report.continued += 1
            return
        report.read += 1


def _wanted(body: str) -> Remainder:
    try:
        return msgspec.json.decode(body, type=Remainder)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        detail = msgspec.json.decode(body, type=_ObjectCreated).detail
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UnknownMessage(f"a message of {len(body)} characters tells of no object") from None
    return Remainder(detail.bucket.name, detail.object.key)
