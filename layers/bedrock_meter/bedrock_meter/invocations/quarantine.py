"""What is noted of a record that is not counted: why, where it is, a hash to recognise it by. Never a word of it.

The note is enough to find the record in the log that the provider wrote, which stays where it is. Noting the same
record again writes the same object with all that finding it takes: only when it was noted is another. Of one delivery
some records get a note each, and one note says how many more there are.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

DOCUMENT_VERSION = 1

_MAXIMUM_EVENT_MS = 253_402_300_799_999  # the end of the year 9999
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAXIMUM_NAME_LENGTH = 1024  # as long as the key of an object may be: what is cut is not found again
_day_of_object = re.compile(r"/([0-9]{4}/[0-9]{2}/[0-9]{2})/[0-9]{2}/[^/]*\Z").search


class Reason(StrEnum):
    """Why something is not counted. A closed set: it is a dimension of metrics and a folder of the quarantine."""

    NOT_A_SUBSCRIPTION = "not_a_subscription"
    """The function's event is not what CloudWatch Logs sends."""
    NOT_BASE64 = "not_base64"
    NOT_GZIP = "not_gzip"
    """The payload is not gzip, or a checksum does not match."""
    TRUNCATED_GZIP = "truncated_gzip"
    TOO_LARGE = "too_large"
    """The payload inflates beyond the bound."""

    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    """Nested deeper than any reader follows."""
    NOT_AN_INVOCATION_RECORD = "not_an_invocation_record"
    """JSON, but its ``schemaType`` is not ``ModelInvocationLog``."""
    ACCOUNT_ID = "account_id"
    REGION = "region"
    REQUEST_ID = "request_id"
    MODEL_ID = "model_id"
    COUNT = "count"
    """A token count is no whole number from 0 to 2^53."""
    FIELD_TYPE = "field_type"
    """``input`` or ``output`` is no object, or a field holds a number that no reader can hold."""
    ERROR_CODE = "error_code"
    """``errorCode`` is no text, so that it is not certain whether the call failed."""
    TIME = "time"
    """Neither the record nor its log event says when the call happened."""

    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"

    FOREIGN_ACCOUNT = "foreign_account"
    """Of an account that the log does not belong to, and that the deployment does not list."""
    FOREIGN_REGION = "foreign_region"
    """Of a Region that the log is not for."""
    FOREIGN_STREAM = "foreign_stream"
    """In a log stream that Bedrock does not write to."""
    IMPLAUSIBLE_COUNT = "implausible_count"
    """More tokens of a kind than the deployment takes for possible."""

    MORE = "more"
    """Stands for the further rejected lines of a delivery, each for its own reason."""

    @property
    def is_doubt(self) -> bool:
        """Whether the record was readable, and Bedrock of this account may not have written it."""
        return self in _DOUBTS


_DOUBTS = frozenset({Reason.FOREIGN_ACCOUNT, Reason.FOREIGN_REGION, Reason.FOREIGN_STREAM, Reason.IMPLAUSIBLE_COUNT})


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record, or a whole payload, that is not counted.

    Attributes:
        reason: Why.
        sha256: Of the record's text in UTF-8 as the log holds it, or of the payload as it was delivered; hexadecimal.
        size_bytes: How long what was hashed is.
        log_group: Where it is; empty where unknown.
        log_stream: Where it is; empty where unknown.
        log_event_id: Id of the log event; empty for a whole payload.
        event_ms: When the call happened, else when it was logged; None where nothing says so.
        logged_ms: When it was logged, which is where it is looked for; None where nothing says so, as in objects.
        records: How many lines this stands for: 1, or all further ones of a delivery.
        logged_until_ms: When the last of them was logged; None for one alone.
    """

    reason: Reason
    sha256: str
    size_bytes: int
    log_group: str = ""
    log_stream: str = ""
    log_event_id: str = ""
    event_ms: int | None = None
    logged_ms: int | None = None
    records: int = 1
    logged_until_ms: int | None = None


class Overflow:
    """Rejected lines of one delivery beyond those that get a note each: one note for all of them.

    The log holds the lines themselves; ``quarantine redrive`` reads them again, from the first one's time to the last
    one's, and then notes each.
    """

    def __init__(self) -> None:
        self._first: Rejected | None = None
        self._hash = sha256()
        self._size = 0
        self.records = 0
        self._logged: list[int] = []

    def add(self, rejected: Rejected) -> None:
        """Take one more."""
        self._first = self._first or rejected
        self._hash.update(rejected.sha256.encode())
        self._size += rejected.size_bytes
        self.records += rejected.records
        if rejected.logged_ms is not None:
            times = [*self._logged, rejected.logged_ms]
            self._logged = [min(times), max(times)]

    @property
    def note(self) -> Rejected | None:
        """The note for all of them, None where there are none. The same lines give the same note."""
        first = self._first
        if first is None:
            return None
        logged_ms, until_ms = self._logged or (None, None)
        digest = self._hash.hexdigest()
        at_ms = first.event_ms if logged_ms is None else logged_ms
        where = (first.log_group, first.log_stream, first.log_event_id)
        return Rejected(Reason.MORE, digest, self._size, *where, at_ms, logged_ms, self.records, until_ms)


def to_document(rejected: Rejected, now_ms: int) -> dict[str, str | int | None]:
    """Return the note as JSON-able values. Names from outside are bounded."""
    return {
        "version": DOCUMENT_VERSION,
        "reason": rejected.reason.value,
        "sha256": rejected.sha256,
        "size_bytes": rejected.size_bytes,
        "log_group": rejected.log_group[:_MAXIMUM_NAME_LENGTH],
        "log_stream": rejected.log_stream[:_MAXIMUM_NAME_LENGTH],
        "log_event_id": rejected.log_event_id[:_MAXIMUM_NAME_LENGTH],
        "event_ms": rejected.event_ms,
        "logged_ms": rejected.logged_ms,
        "records": rejected.records,
        "logged_until_ms": rejected.logged_until_ms,
        "noted_ms": now_ms,
    }


def object_key(rejected: Rejected, now_ms: int) -> str:
    """Return ``quarantine/<yyyy>/<mm>/<dd>/<reason>/<hash>-<log event id or payload>.json``.

    The day (UTC) is the event's, else the one in an object's name, or today where neither is known: the same record
    lands on the same key however often it comes.
    """
    at_ms = rejected.event_ms
    if at_ms is None and (named := _day_of_object(rejected.log_stream)):
        day = named[1]
    else:
        at_ms = at_ms if at_ms is not None and 0 <= at_ms <= _MAXIMUM_EVENT_MS else now_ms
        day = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y/%m/%d")
    name = _plain(rejected.log_event_id) if rejected.log_event_id else "payload"
    return f"quarantine/{day}/{rejected.reason.value}/{rejected.sha256[:32]}-{name}.json"


def _plain(event_id: str) -> str:
    if _PLAIN_ID.fullmatch(event_id):
        return event_id
    return sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
