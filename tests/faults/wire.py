"""Between botocore and the doubles: real clients, real requests, and no network.

The decision: the handler of botocore's ``before-send`` event answers. By then botocore has built, serialised and
addressed the request and it will parse the answer, classify the error and retry as in production; only signature and
socket are missing.
"""

import gc
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from bedrock_meter.storage.dynamodb import client
from tests.faults.values import ServiceError

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
    """Return the handlers' own client of ``service``, answered by ``backend``."""
    made = client(service)
    made.meta.events.register("choose-signer", _unsigned)
    made.meta.events.register(f"before-send.{made.meta.service_model.service_id.hyphenize()}", _answering(backend))
    return made


def _unsigned(**_: Any) -> Any:
    return UNSIGNED


def _answering(backend: Backend) -> Callable[..., AWSResponse]:
    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        target = request.headers.get("X-Amz-Target")
        try:
            parameters: dict[str, Any]
            if target is None:
                service, operation = "s3", "PutObject"
                parameters = _put_object(request)
            else:
                name = target if isinstance(target, str) else target.decode()
                prefix, _dot, operation = name.partition(".")
                service = "dynamodb" if prefix.startswith("DynamoDB") else "events"
                parameters = json.loads(request.body)
            return _response(request, 200, backend.call(service, operation, parameters))
        except ServiceError as refusal:
            problem = {"__type": f"com.amazonaws#{refusal.code}", "message": refusal.message, **refusal.extra}
            return _response(request, refusal.status, problem)

    return answer


def _put_object(request: AWSPreparedRequest) -> dict[str, Any]:
    if request.method != "PUT":
        raise AssertionError(f"only PutObject is known of S3: {request.method}")
    body = request.body.read() if hasattr(request.body, "read") else request.body
    return {"Key": unquote(urlsplit(request.url).path.lstrip("/")), "Body": body}


class _Body:
    """What botocore reads an answer from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._content


def _response(request: AWSPreparedRequest, status: int, content: dict[str, Any]) -> AWSResponse:
    is_json = request.headers.get("X-Amz-Target") is not None
    if is_json:
        body = json.dumps(content).encode()
    else:
        code = content.get("__type", "").partition("#")[2]
        body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    headers = {"content-type": "application/x-amz-json-1.0" if is_json else "application/xml"}
    return AWSResponse(request.url, status, headers, _Body(body))
