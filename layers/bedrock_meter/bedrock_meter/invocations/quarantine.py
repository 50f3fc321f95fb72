"""What is noted of a record that is not counted: why, where it is, a hash to recognise it by. Never a word of it.

The note is enough to find the record in the log that the provider wrote, which stays where it is. Noting the same
record again, on the same day, writes the same object.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

DOCUMENT_VERSION = 1

_MAXIMUM_EVENT_MS = 253_402_300_799_999  # the end of the year 9999
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAXIMUM_NAME_LENGTH = 512


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
    """

    reason: Reason
    sha256: str
    size_bytes: int
    log_group: str = ""
    log_stream: str = ""
    log_event_id: str = ""
    event_ms: int | None = None


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
        "noted_ms": now_ms,
    }


def object_key(rejected: Rejected, now_ms: int) -> str:
    """Return ``quarantine/<yyyy>/<mm>/<dd>/<reason>/<hash>-<log event id or payload>.json``.

    The day (UTC) is the event's, or today where that is unknown: the same record lands on the same key however often
    it comes.
    """
    at_ms = (
        rejected.event_ms if rejected.event_ms is not None and 0 <= rejected.event_ms <= _MAXIMUM_EVENT_MS else now_ms
    )
    day = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y/%m/%d")
    name = _plain(rejected.log_event_id) if rejected.log_event_id else "payload"
    return f"quarantine/{day}/{rejected.reason.value}/{rejected.sha256[:32]}-{name}.json"


def _plain(event_id: str) -> str:
    if _PLAIN_ID.fullmatch(event_id):
        return event_id
    return sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
