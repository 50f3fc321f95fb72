"""Bedrock, below botocore's client: real clients of real service models, whose requests are answered here.

Serialisation, signature, retries and parsing are botocore's own; only the socket is not there.
"""

import copy
import json
import struct
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.session import Session

REGION = "us-east-1"
USAGE = {"inputTokens": 30, "outputTokens": 12, "totalTokens": 42}
COUNT_HEADERS = {
    "x-amzn-bedrock-input-token-count": "30",
    "x-amzn-bedrock-output-token-count": "12",
    "x-amzn-bedrock-cache-read-input-token-count": "5",
    "x-amzn-bedrock-cache-write-input-token-count": "0",
}


class Raw:
    """The body of an answer, as urllib3 hands it over."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self.is_closed = False

    def stream(self, amt: int = 0, decode_content: bool | None = None) -> Iterator[bytes]:
        yield from self._parts

    def read(self, amt: int | None = None) -> bytes:
        return b"".join(self._parts)

    def close(self) -> None:
        self.is_closed = True


def message(kind: str, document: Mapping[str, Any], *, is_error: bool = False) -> bytes:
    """One message of an event stream (vnd.amazon.eventstream)."""
    type_header = ":exception-type" if is_error else ":event-type"
    headers = {
        ":message-type": "exception" if is_error else "event",
        type_header: kind,
        ":content-type": "application/json",
    }
    encoded = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    payload = json.dumps(document).encode()
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    framed = prelude + struct.pack(">I", crc32(prelude)) + encoded + payload
    return framed + struct.pack(">I", crc32(framed))


def converse_stream(texts: Iterable[str] = ("one", "two"), usage: Mapping[str, int] | None = USAGE) -> list[bytes]:
    """Messages of a ``ConverseStream``; without ``usage`` it ends early."""
    deltas = [message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}) for text in texts]
    end = [message("messageStop", {"stopReason": "end_turn"})]
    if usage is not None:
        end.append(message("metadata", {"usage": usage, "metrics": {"latencyMs": 9}}))
    return [message("messageStart", {"role": "assistant"}), *deltas, *end]


def model_stream(chunks: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Messages of an ``InvokeModelWithResponseStream``."""
    import base64

    return [message("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()}) for one in chunks]


class Bedrock:
    """Answers in order: an ``AWSResponse`` or an exception each; the last one stays.

    Attributes:
        requests: Every request that was sent, prepared and signed.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[Any] = []
        self.raws: list[Raw] = []

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, headers, parts = answer
        raw = Raw(parts)
        self.raws.append(raw)
        named = HeadersDict({"x-amzn-requestid": f"request-{len(self.requests)}", **headers})
        return AWSResponse(request.url, status, named, raw)

    def body(self, number: int = -1) -> Any:
        """JSON that was sent."""
        return json.loads(self.requests[number].body)


def ok(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
    return 200, {"content-type": "application/json", **(headers or {})}, [json.dumps(document).encode()]


def streamed(messages: Iterable[bytes]) -> Any:
    return 200, {"content-type": "application/vnd.amazon.eventstream"}, messages


def error(status: int, code: str) -> Any:
    return status, {"x-amzn-errortype": code, "content-type": "application/json"}, [b'{"message": "so it is"}']


CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 9},
}


def client(
    bedrock: Bedrock,
    service: str = "bedrock-runtime",
    *,
    session: Session | None = None,
    attempts: int = 1,
    **more: Any,
) -> Any:
    """A client of botocore that talks to the double; more attempts than one wait as botocore does."""
    made = (session or shared_session()).create_client(
        service,
        region_name=REGION,
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, **more),
    )
    made.meta.events.register_first(f"before-send.{service}", bedrock)
    return made


_SESSION: list[Session] = []


def shared_session() -> Session:
    """One session for all tests: a second one would load its data files again."""
    if not _SESSION:
        _SESSION.append(Session())
    return _SESSION[0]


def session_with(service: str, change: Callable[[dict[str, Any]], None]) -> Session:
    """A session whose botocore has another model of a service: ``change`` alters its shapes."""
    session = Session()
    load = session.get_component("data_loader").load_service_model

    def changed(name: str, kind: str, *more: Any, **named: Any) -> Any:
        found = load(name, kind, *more, **named)
        if (name, kind) == (service, "service-2"):
            found = copy.deepcopy(found)
            change(found["shapes"])
        return found

    session.get_component("data_loader").load_service_model = changed
    return session
