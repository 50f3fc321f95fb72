"""Between the storage code and the doubles: the functions' own connection and clients, real requests, and no network.

The decision: what is answered is what would be sent. By then the connection to DynamoDB, or botocore, has built,
serialised and addressed the request, and it will parse the answer, classify the error and retry as in production; only
signature and socket are missing.
"""

import gc
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse

from bedrock_meter.storage.connection import Connection
from bedrock_meter.storage.dynamodb import client
from tests.faults.values import ServiceError, Unsupported

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "fault-simulator",
    "AWS_SECRET_ACCESS_KEY": "fault-simulator",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What the clients need in order to be made. The endpoint is AWS's own: nothing is ever sent to it."""


def isolate() -> None:
    """Leave nothing of the user's AWS settings in this process: nothing here could reach an account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(SETTINGS)
    gc.freeze()  # Looking at all modules again and again would be a tenth of the time.


class Backend(Protocol):
    """What answers requests."""

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request, or raise ``ServiceError``, a transport error, or what ends the caller."""


def attached(service: str, backend: Backend) -> Any:
    """Return the handlers' own client of ``service``, or their connection, answered by ``backend``."""
    made = client(service)
    answer = _answering(backend)
    made._user_agent_creator = _NoUserAgent()
    made.meta.events.register("choose-signer", _unsigned)
    made.meta.events.register(f"before-send.{made.meta.service_model.service_id.hyphenize()}", answer)
    if service == "dynamodb":
        return Connection(made, _no_signature, answer, attempts=made.meta.config.retries["total_max_attempts"])
    return made


class _NoUserAgent:
    """Nothing is sent, and composing the name of the sender anew for each request would be a fifth of the time."""

    def to_string(self) -> str:
        return "fault-simulator"


def _no_signature(_request: AWSRequest) -> None:
    pass


def _unsigned(**_: Any) -> Any:
    return UNSIGNED


def _answering(backend: Backend) -> Callable[..., AWSResponse]:
    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        target = request.headers.get("X-Amz-Target")
        try:
            parameters: dict[str, Any]
            if target is None:
                service = "s3"
                operation, parameters = _s3_request(request)
            else:
                name = target if isinstance(target, str) else target.decode()
                prefix, _dot, operation = name.partition(".")
                service = "dynamodb" if prefix.startswith("DynamoDB") else "events"
                parameters = json.loads(request.body)
            answer = backend.call(service, operation, parameters)
            if service == "s3":
                return _s3_response(request, operation, answer)
            return _response(request, 200, answer)
        except ServiceError as refusal:
            problem = {"__type": f"com.amazonaws#{refusal.code}", "message": refusal.message, **refusal.extra}
            return _response(request, refusal.status, problem)

    return answer


def _s3_request(request: AWSPreparedRequest) -> tuple[str, dict[str, Any]]:
    address = urlsplit(request.url)
    key, query = unquote(address.path.lstrip("/")), parse_qs(address.query, keep_blank_values=True)
    if request.method == "GET" and query.get("list-type") == ["2"] and not key:
        return "ListObjectsV2", {"Prefix": query["prefix"][0], "MaxKeys": int(query["max-keys"][0])}
    known = {"PUT": "PutObject", "GET": "GetObject", "DELETE": "DeleteObject"}
    if query == {"tagging": [""]}:
        known = {"PUT": "PutObjectTagging", "GET": "GetObjectTagging"}
    elif query:
        known = {}
    if request.method not in known or "x-amz-copy-source" in request.headers:
        raise Unsupported(f"of S3: {request.method} {address.query}")
    body = request.body.read() if hasattr(request.body, "read") else request.body
    if request.method == "PUT" and "X-Amz-Trailer" in request.headers:
        body = _joined(body)
    return known[request.method], {"Key": key, **({"Body": body} if request.method == "PUT" else {})}


def _joined(body: bytes) -> bytes:
    """Return what was sent in chunks, each behind its size, with a checksum after the last."""
    found = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return found
        found, body = found + body[:length], body[length + 2 :]


def _s3_response(request: AWSPreparedRequest, operation: str, answer: dict[str, Any]) -> AWSResponse:
    body: bytes = answer.get("Body", b"")
    if operation == "ListObjectsV2":
        listed = (f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>" for key, size in answer["Found"])
        body = f"<ListBucketResult>{''.join(listed)}</ListBucketResult>".encode()
    if operation == "GetObjectTagging" and not body:
        body = b"<Tagging><TagSet></TagSet></Tagging>"
    return AWSResponse(request.url, 200, {"content-type": "application/xml"}, _Body(body))


class _Body:
    """What botocore reads an answer from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._content

    def read(self, amount: int | None = None) -> bytes:
        shown, self._content = self._content, b""
        return shown

    def close(self) -> None:
        self._content = b""


def _response(request: AWSPreparedRequest, status: int, content: dict[str, Any]) -> AWSResponse:
    is_json = request.headers.get("X-Amz-Target") is not None
    if is_json:
        body = json.dumps(content).encode()
    else:
        code = content.get("__type", "").partition("#")[2]
        body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    headers = {"content-type": "application/x-amz-json-1.0" if is_json else "application/xml"}
    return AWSResponse(request.url, status, headers, _Body(body))
