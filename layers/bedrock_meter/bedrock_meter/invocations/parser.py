"""Reading the provider's invocation log.

Three facts: every record is JSON inside JSON inside gzip inside base64, and may be hundreds of kilobytes of prompt
around a dozen small fields; prompts may hold keys named like those fields, so that only the record's structure tells
which is which; and nothing of a prompt leaves this module, neither in a value nor in an error.

Therefore typed structs name the needed fields and the decoder skips the rest; the payload's messages stay undecoded
until ``read`` takes them, one at a time; errors are made here, from a closed list of reasons.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.identifiers import MAXIMUM_MODEL_ID_LENGTH
from bedrock_meter.invocations.inflate import inflate
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

_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MODEL_ID = re.compile(rf"[!-~]{{1,{MAXIMUM_MODEL_ID_LENGTH}}}")
_MAXIMUM_LABEL_LENGTH = 2048
_MAXIMUM_METADATA = 16
_MAXIMUM_METADATA_LENGTH = 256

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
"""Every escape, surrogate pairs as one, so that an escaped backslash before a ``u`` is not mistaken for one."""
_REPLACEMENT = rb"\ufffd"

T = TypeVar("T")


class _Event(msgspec.Struct, gc=False):
    """One log event. Its message stays as it is: a JSON text inside a JSON string."""

    id: Any = None
    timestamp: Any = None
    message: Raw = Raw()


class _Envelope(msgspec.Struct, rename="camel"):
    owner: Any = None
    log_group: Any = None
    log_stream: Any = None
    message_type: Any = None
    log_events: list[_Event] | None = None


class _Input(msgspec.Struct, rename="camel", gc=False):
    input_token_count: Any = None
    cache_read_input_token_count: Any = None
    cache_write_input_token_count: Any = None


class _Output(msgspec.Struct, rename="camel", gc=False):
    output_token_count: Any = None


class _Record(msgspec.Struct, rename="camel", gc=False):
    """The top level. What may never make a record unreadable is kept raw and decoded apart."""

    schema_type: Any = None
    schema_version: Any = None
    timestamp: Raw = Raw()
    account_id: Any = None
    region: Any = None
    request_id: Any = None
    operation: Raw = Raw()
    model_id: Any = None
    error_code: Any = None
    identity: Raw = Raw()
    request_metadata: Raw = Raw()
    input: _Input | None = None
    output: _Output | None = None


class _Identity(msgspec.Struct, gc=False):
    arn: Any = None


_NO_INPUT = _Input()
_NO_OUTPUT = _Output()


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_any = msgspec.json.Decoder(Any).decode


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record is kept.

    Attributes:
        log_group: Log group, or the bucket of an object.
        log_stream: Log stream, or the key of an object.
    """

    log_group: str = ""
    log_stream: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log, not yet read.

    Attributes:
        message: The record's JSON text; as ``Raw``, that text inside a JSON string. Never shown.
        location: Where it is kept.
        id: The log event's id, or the number of the line; empty where there is none.
        timestamp_ms: When it was logged: stands in where the record's own time cannot be read. None where unknown.
    """

    message: bytes | str | Raw = field(repr=False)
    location: Location = Location()
    id: str = ""
    timestamp_ms: int | None = None


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
    compressed = _compressed(event)
    if isinstance(compressed, Reason):
        raise UnreadablePayload(compressed)
    envelope = _decoded(_decode_envelope, inflate(compressed, max_inflated_bytes))
    if isinstance(envelope, Reason):
        raise UnreadablePayload(Reason.NOT_A_SUBSCRIPTION if envelope is Reason.FIELD_TYPE else envelope)
    control = envelope.message_type == _CONTROL_MESSAGE
    if envelope.log_events is None and not control:
        raise UnreadablePayload(Reason.NOT_A_SUBSCRIPTION)
    location = Location(_label(envelope.log_group), _label(envelope.log_stream))
    events = [] if control or envelope.log_events is None else envelope.log_events
    lines = [LogLine(one.message, location, _label(one.id), _milliseconds(one.timestamp)) for one in events]
    return SubscriptionBatch(_label(envelope.owner), location, control, lines)


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
        set, which is no record.
    """
    text = _text(line.message)
    if isinstance(text, Reason):
        return reject(line, text)
    record = _decoded(_decode_record, text)
    if isinstance(record, Reason):
        if record is Reason.NOT_JSON and _utf8(text).strip() == PERMISSION_LINE:
            return None
        if record is Reason.FIELD_TYPE and not _utf8(text).lstrip().startswith(b"{"):
            return reject(line, Reason.NOT_AN_INVOCATION_RECORD)
        return reject(line, record)
    if record.schema_type != _SCHEMA_TYPE:
        return reject(line, Reason.NOT_AN_INVOCATION_RECORD)
    event_ms = parse_timestamp(_ancillary(_decode_any, record.timestamp))
    if event_ms is None:
        event_ms = line.timestamp_ms
    invocation = _invocation(record, event_ms)
    return reject(line, invocation, event_ms) if isinstance(invocation, Reason) else invocation


def reject(line: LogLine, reason: Reason, event_ms: int | None = None) -> Rejected:
    """Return the note for a line that is not counted.

    Args:
        line: The line; its text is hashed as the log holds it, wherever it was read from.
        reason: Why.
        event_ms: When the call happened; by default when the line was logged.
    """
    text = _text(line.message)
    data = _utf8(line.message if isinstance(text, Reason) else text)
    if event_ms is None:
        event_ms = line.timestamp_ms
    where = line.location
    return Rejected(reason, sha256(data).hexdigest(), len(data), where.log_group, where.log_stream, line.id, event_ms)


def _data(event: object) -> str:
    awslogs = event.get("awslogs") if isinstance(event, Mapping) else None
    data = awslogs.get("data") if isinstance(awslogs, Mapping) else None
    return data if isinstance(data, str) else ""


def _compressed(event: object) -> bytes | Reason:
    data = _data(event)
    if not data:
        return Reason.NOT_A_SUBSCRIPTION
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        return Reason.NOT_BASE64


def _invocation(record: _Record, event_ms: int | None) -> Invocation | Reason:
    if not _matches(_ACCOUNT_ID, record.account_id):
        return Reason.ACCOUNT_ID
    if not _matches(_REGION, record.region):
        return Reason.REGION
    if not _matches(_REQUEST_ID, record.request_id):
        return Reason.REQUEST_ID
    if not _matches(_MODEL_ID, record.model_id):
        return Reason.MODEL_ID
    tokens = _tokens(record.input or _NO_INPUT, record.output or _NO_OUTPUT)
    if tokens is None:
        return Reason.COUNT
    if not isinstance(record.error_code, str | None):
        return Reason.ERROR_CODE
    if event_ms is None:
        return Reason.TIME
    return Invocation(
        account_id=record.account_id,
        region=record.region,
        request_id=record.request_id,
        event_ms=event_ms,
        operation=_label(_ancillary(_decode_any, record.operation)),
        model_id=record.model_id,
        principal=_principal(record.identity),
        tokens=tokens,
        error_code=(_label(record.error_code) or UNREADABLE_ERROR_CODE) if record.error_code else None,
        metadata=_metadata(record.request_metadata),
        schema_drift=not (isinstance(record.schema_version, str) and record.schema_version.startswith(_KNOWN_MAJOR)),
    )


def _tokens(read_by_model: _Input, written_by_model: _Output) -> TokenCounts | None:
    counts = (
        read_by_model.input_token_count,
        written_by_model.output_token_count,
        read_by_model.cache_read_input_token_count,
        read_by_model.cache_write_input_token_count,
    )
    for count in counts:
        # ``type``: True is an int to isinstance.
        if count is not None and not (type(count) is int and 0 <= count <= MAXIMUM_COUNT):
            return None
    return TokenCounts(*(count or 0 for count in counts))


def _principal(identity: Raw) -> str:
    read_identity = _ancillary(_decode_identity, identity)
    return _label(read_identity.arn) if read_identity else ""


def _metadata(metadata: Raw) -> tuple[tuple[str, str], ...]:
    """Return the pairs of texts; whatever else the caller sent is left out."""
    pairs = _ancillary(_decode_metadata, metadata) or {}
    texts = (
        (key, _ancillary(_decode_text, value)) for key, value in pairs.items() if len(key) <= _MAXIMUM_METADATA_LENGTH
    )
    kept = [(key, text) for key, text in texts if text is not None and len(text) <= _MAXIMUM_METADATA_LENGTH]
    return tuple(kept[:_MAXIMUM_METADATA])


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _label(value: object) -> str:
    """Return a printable text of bounded length as it is, everything else as nothing."""
    return value if isinstance(value, str) and len(value) <= _MAXIMUM_LABEL_LENGTH and value.isprintable() else ""


def _milliseconds(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _ancillary(decode: Callable[[Any], T], value: Raw) -> T | None:
    """Decode a field that may be missing or unreadable without harm."""
    if not bytes(value):
        return None
    outcome = _decoded(decode, value)
    return None if isinstance(outcome, Reason) else outcome


def _text(message: bytes | str | Raw) -> bytes | str | Reason:
    return _decoded(_decode_text, message) if isinstance(message, Raw) else message


def _utf8(text: bytes | str | Raw) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)


def _decoded(decode: Callable[[Any], T], text: bytes | str | Raw) -> T | Reason:
    """Decode strictly; where that fails over characters that are none, once more with those replaced."""
    outcome = _attempt(decode, text)
    if outcome is not Reason.NOT_JSON:
        return outcome
    repaired = _repaired(_utf8(text))
    return outcome if repaired is None else _attempt(decode, repaired)


def _attempt(decode: Callable[[Any], T], text: bytes | str | Raw) -> T | Reason:
    try:
        return decode(text)
    except msgspec.ValidationError:
        return Reason.FIELD_TYPE
    except RecursionError:
        return Reason.TOO_DEEP
    except (msgspec.DecodeError, UnicodeError):
        return Reason.NOT_JSON


def _repaired(data: bytes) -> bytes | None:
    """Return JSON without its byte order mark, invalid UTF-8 and lone surrogates, or None if it has none of them.

    Models stream half characters, and a prompt may hold anything. None of that makes the counts beside it less sound.
    """
    repaired = data.decode("utf-8-sig", "replace").encode()
    if _SURROGATE.search(repaired):
        repaired = _ESCAPE.sub(lambda escape: _REPLACEMENT if _SURROGATE.fullmatch(escape[0]) else escape[0], repaired)
    return None if repaired == data else repaired
