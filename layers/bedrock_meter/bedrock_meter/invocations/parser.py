"""Reading the provider's invocation log.

Three facts: every record is JSON inside JSON inside gzip inside base64, and may be hundreds of kilobytes of prompt
around a dozen small fields; prompts may hold keys named like those fields, so that only the record's structure tells
which is which; and nothing of a prompt leaves this module, neither in a value nor in an error.

Therefore typed structs name the needed fields and the decoder skips the rest; the payload's messages stay undecoded
until ``read`` takes them, one at a time; a response's body is looked at only for what its price depends on
(``bodies.py``); errors are made here, from a closed list of reasons.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.bodies import NO_BODY, details_of
from bedrock_meter.invocations.decoding import Text, ascii_only, decode, utf8
from bedrock_meter.invocations.identifiers import MAXIMUM_MODEL_ID_LENGTH
from bedrock_meter.invocations.inflate import inflate
from bedrock_meter.invocations.probe import nonce_of
from bedrock_meter.invocations.quarantine import Reason, Rejected
from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.invocations.timestamps import parse_timestamp

MAXIMUM_INFLATED_BYTES = 64 * 1024 * 1024
"""Far above what a delivery of at most 1 MB holds in practice, and what a function of ordinary memory can hold."""

MAXIMUM_COUNT = 2**53
"""Largest whole number that every JSON reader agrees on."""

PERMISSION_LINE = b"Permissions are correctly set for Amazon Bedrock logs."
"""Bedrock's first line into a newly configured log group: plain text, and no record."""

UNREADABLE_ERROR_CODE = "unreadable"
"""Stands for an error code that is no printable text: the call failed all the same."""

_SCHEMA_TYPE = "ModelInvocationLog"
_KNOWN_MAJOR = "1."
_CONTROL_MESSAGE = "CONTROL_MESSAGE"

_is_account_id = re.compile(r"[0-9]{12}").fullmatch
_is_region = re.compile(r"[a-z0-9-]{1,32}").fullmatch
_is_request_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_is_model_id = re.compile(rf"[!-~]{{1,{MAXIMUM_MODEL_ID_LENGTH}}}").fullmatch
_LONGEST_LABEL = 2048
_is_metadata = re.compile(r"[\t\n\r -~]{1,256}").fullmatch
_MOST_METADATA = 16

M = TypeVar("M", str, Raw)


class _Event(msgspec.Struct, Generic[M], gc=False):
    """One log event. Its message is a JSON text: taken out of the payload, or left there as a JSON string."""

    id: Any = None
    timestamp: Any = None
    message: M = ""  # type: ignore[assignment]


class _Envelope(msgspec.Struct, Generic[M], rename="camel"):
    owner: Any = None
    log_group: Any = None
    log_stream: Any = None
    message_type: Any = None
    log_events: list[_Event[M]] | None = None


class _Input(msgspec.Struct, rename="camel", gc=False):
    input_token_count: Any = None
    cache_read_input_token_count: Any = None
    cache_write_input_token_count: Any = None


class _Output(msgspec.Struct, rename="camel", gc=False):
    output_token_count: Any = None
    output_body_json: Raw = NO_BODY


class _Record(msgspec.Struct, rename="camel", gc=False):
    """The top level. Only what decides about reading is typed; every value is checked where it is used."""

    schema_type: Any = None
    schema_version: Any = None
    timestamp: Any = None
    account_id: Any = None
    region: Any = None
    request_id: Any = None
    operation: Any = None
    model_id: Any = None
    error_code: Any = None
    identity: Any = None
    request_metadata: Any = None
    input: _Input | None = None
    output: _Output | None = None


_NO_INPUT = _Input()
_NO_OUTPUT = _Output()
_take_out = msgspec.json.Decoder(_Envelope[str]).decode
_leave_inside = msgspec.json.Decoder(_Envelope[Raw]).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_text = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record is kept.

    Attributes:
        log_group: Log group, or the bucket of an object.
        log_stream: Log stream, or the key of an object.
    """

    log_group: str = ""
    log_stream: str = ""


class LogLine(msgspec.Struct, frozen=True):
    """One line of the log, not yet read.

    Attributes:
        message: The record's JSON text; as ``Raw``, that text inside a JSON string. Never shown.
        location: Where it is kept.
        id: The log event's id, or the number of the line; empty where there is none.
        timestamp_ms: When it was logged: stands in where the record's own time cannot be read. None where unknown.
    """

    message: Text
    location: Location = Location()
    id: str = ""
    timestamp_ms: int | None = None

    def __repr__(self) -> str:
        return f"LogLine(location={self.location!r}, id={self.id!r}, timestamp_ms={self.timestamp_ms!r})"


@dataclass(frozen=True, slots=True)
class SubscriptionBatch:
    """One delivery of a CloudWatch Logs subscription.

    Attributes:
        owner: Account that owns the log group.
        location: Log group and stream.
        control: Whether it only probes that we can be reached; it then has no lines.
        lines: The log events, undecoded, in order.
    """

    owner: str
    location: Location
    control: bool
    lines: list[LogLine]

    @property
    def log_group(self) -> str:
        """Log group that the lines were written to."""
        return self.location.log_group

    @property
    def log_stream(self) -> str:
        """Log stream that the lines were written to."""
        return self.location.log_stream


def decode_subscription(event: object, *, max_inflated_bytes: int = MAXIMUM_INFLATED_BYTES) -> SubscriptionBatch:
    """Open the event that CloudWatch Logs sends to a function. The messages stay undecoded.

    Args:
        event: ``{"awslogs": {"data": base64(gzip(json))}}``.
        max_inflated_bytes: Refuse what inflates to more.

    Raises:
        UnreadablePayload: The envelope cannot be opened. The same event fails again; see ``reject_payload``.
    """
    envelope = _envelope(_payload(event, max_inflated_bytes))
    if isinstance(envelope, Reason):
        raise UnreadablePayload(Reason.NOT_A_SUBSCRIPTION if envelope is Reason.FIELD_TYPE else envelope)
    control = envelope.message_type == _CONTROL_MESSAGE
    if envelope.log_events is None and not control:
        raise UnreadablePayload(Reason.NOT_A_SUBSCRIPTION)
    location = Location(_name(envelope.log_group), _name(envelope.log_stream))
    events = [] if control or envelope.log_events is None else envelope.log_events
    lines = [LogLine(one.message, location, _name(one.id), _milliseconds(one.timestamp)) for one in events]
    return SubscriptionBatch(_name(envelope.owner), location, control, lines)


def reject_payload(event: object, reason: str) -> Rejected:
    """Return the note for an event that ``decode_subscription`` could not open: one for the whole payload.

    Args:
        event: The same event.
        reason: The error's ``reason``.
    """
    data = _data(event).encode("utf-8", "surrogatepass")
    return Rejected(Reason(reason), sha256(data).hexdigest(), len(data))


def read(line: LogLine) -> Invocation | Rejected | None:
    """Read one line of the log.

    Never raises on account of the line's content. Of a repeated key the last one counts, as in every common JSON
    reader. A count that is absent or null is 0 (embeddings have no output, failed calls have neither).

    Args:
        line: From ``decode_subscription``, or made of a line of an S3 object.

    Returns:
        The invocation; or what to note where it cannot be read; or None for the line that says that permissions are
        set and for a test line of ours, which are no records.
    """
    text = _text(line.message)
    if isinstance(text, Reason):
        return reject(line, text)
    record = decode(_decode_record, text)
    if isinstance(record, Reason):
        start = ascii_only(utf8(text)).strip()
        if record is Reason.NOT_JSON and (start == PERMISSION_LINE or nonce_of(start)):
            return None
        if record is Reason.FIELD_TYPE and not start.startswith(b"{"):
            return reject(line, Reason.NOT_AN_INVOCATION_RECORD)
        return reject(line, record)
    if record.schema_type != _SCHEMA_TYPE:
        return reject(line, Reason.NOT_AN_INVOCATION_RECORD)
    found = _invocation(record, line.timestamp_ms)
    return found if isinstance(found, Invocation) else reject(line, found, _event_ms(record, None))


def probe_of(line: LogLine) -> str | None:
    """Return the nonce of a line that ``read`` knows to be no record, None if it is no test line."""
    text = _text(line.message)
    return None if isinstance(text, Reason) else nonce_of(ascii_only(utf8(text)).strip())


def reject(line: LogLine, reason: Reason, event_ms: int | None = None) -> Rejected:
    """Return the note for a line that is not counted.

    Args:
        line: The line; its text is hashed as the log holds it, wherever it was read from.
        reason: Why.
        event_ms: When the call happened; by default when the line was logged.
    """
    data = _original(line.message)
    if event_ms is None:
        event_ms = line.timestamp_ms
    where, logged_ms = line.location, line.timestamp_ms
    digest = sha256(data).hexdigest()
    return Rejected(reason, digest, len(data), where.log_group, where.log_stream, line.id, event_ms, logged_ms)


def _data(event: object) -> str:
    awslogs = event.get("awslogs") if isinstance(event, Mapping) else None
    data = awslogs.get("data") if isinstance(awslogs, Mapping) else None
    return data if isinstance(data, str) else ""


def _payload(event: object, maximum_bytes: int) -> bytes:
    data = _data(event)
    if not data:
        raise UnreadablePayload(Reason.NOT_A_SUBSCRIPTION)
    compressed = None
    # As strict as binascii's strict mode (alphabet, padding, no white space), and several times as fast.
    with suppress(msgspec.ValidationError, UnicodeError):
        compressed = msgspec.convert(data, bytes)
    # Raised out here, so that the error refers to no other one.
    if compressed is None:
        raise UnreadablePayload(Reason.NOT_BASE64)
    return inflate(compressed, maximum_bytes)


def _envelope(payload: bytes) -> "_Envelope[str] | _Envelope[Raw] | Reason":
    """Decode a payload, at the price of at most its own size in memory.

    ASCII takes one byte a character wherever it is: taking the messages out at once saves a walk over them. Other text
    would take two or four for all of it: such messages stay inside, undecoded, as do those of which one is no text.
    """
    if payload.isascii():
        envelope = decode(_take_out, payload)
        if not isinstance(envelope, Reason):
            return envelope
    return decode(_leave_inside, payload)


def _text(message: Text) -> bytes | str | Reason:
    """Return a record's JSON; what is taken out of a payload here is in ASCII."""
    return decode(_decode_text, ascii_only(bytes(message))) if isinstance(message, Raw) else message


def _original(message: Text) -> bytes:
    """Return a record's text as it is in the log."""
    text = decode(_decode_text, message) if isinstance(message, Raw) else message
    return utf8(message if isinstance(text, Reason) else text)


def _invocation(record: _Record, fallback_ms: int | None) -> Invocation | Reason:
    account_id, region, request_id, model_id = record.account_id, record.region, record.request_id, record.model_id
    if not isinstance(account_id, str) or not _is_account_id(account_id):
        return Reason.ACCOUNT_ID
    if not isinstance(region, str) or not _is_region(region):
        return Reason.REGION
    if not isinstance(request_id, str) or not _is_request_id(request_id):
        return Reason.REQUEST_ID
    if not isinstance(model_id, str) or not _is_model_id(model_id):
        return Reason.MODEL_ID
    read_by_model, written_by_model = record.input or _NO_INPUT, record.output or _NO_OUTPUT
    input_tokens = _count(read_by_model.input_token_count)
    output_tokens = _count(written_by_model.output_token_count)
    cache_read = _count(read_by_model.cache_read_input_token_count)
    cache_write = _count(read_by_model.cache_write_input_token_count)
    if input_tokens is None or output_tokens is None or cache_read is None or cache_write is None:
        return Reason.COUNT
    error = record.error_code
    if error is not None and not isinstance(error, str):
        return Reason.ERROR_CODE
    event_ms = _event_ms(record, fallback_ms)
    if event_ms is None:
        return Reason.TIME
    version = record.schema_version
    details = details_of(written_by_model.output_body_json, cache_write=cache_write, output_tokens=output_tokens)
    return Invocation(
        account_id,
        region,
        request_id,
        event_ms,
        _label(record.operation),
        model_id,
        _label(record.identity.get("arn")) if isinstance(record.identity, dict) else "",
        TokenCounts(input_tokens, output_tokens, cache_read, cache_write),
        (_label(error) or UNREADABLE_ERROR_CODE) if error else None,
        _metadata(record.request_metadata),
        not (isinstance(version, str) and version.startswith(_KNOWN_MAJOR)),
        details.cache_write_1h,
        details.tier,
        details.images,
    )


def _count(value: object) -> int | None:
    """Return a count, 0 for a missing one, None for what is none: 12.0, "12" and true are no counts."""
    if value is None:
        return 0
    # ``type``, because True is an int to ``isinstance``.
    return value if type(value) is int and 0 <= value <= MAXIMUM_COUNT else None


def _event_ms(record: _Record, fallback_ms: int | None) -> int | None:
    at_ms = parse_timestamp(record.timestamp)
    return fallback_ms if at_ms is None else at_ms


def _metadata(metadata: object) -> tuple[tuple[str, str], ...]:
    """Return the pairs of texts; whatever else the caller sent is left out."""
    if not metadata or not isinstance(metadata, dict):
        return ()
    pairs = [
        (key, value)
        for key, value in metadata.items()
        if isinstance(value, str) and _is_metadata(key) and _is_metadata(value)
    ]
    return tuple(pairs[:_MOST_METADATA])


def _label(value: object) -> str:
    """Return a text of printable ASCII and bounded length as it is, everything else as nothing."""
    if isinstance(value, str) and len(value) <= _LONGEST_LABEL and value.isascii() and value.isprintable():
        return value
    return ""


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _milliseconds(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
