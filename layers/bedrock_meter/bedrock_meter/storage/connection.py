"""DynamoDB for requests that are made all the time: what our builders make is sent as it is.

The decision: botocore finds endpoint, credentials and proxies, signs and sends; its client's walk through a service
model, which serves any service and any shape, is left out. That is half of a request's CPU (ADR 0031). Three
promises of the client are kept here and tested against it, request by request: the same answers and the same
exceptions; a transaction has a token of its own, so that it is done once however often it is sent; what failed on the
way, or was throttled, is sent again a few times, and nothing else is.
"""

import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

THROTTLED_CODES = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""Refusals of what comes too fast: for an account, for a table, or for one range of its keys."""

REPEATED_CODES = THROTTLED_CODES | {"TransactionInProgressException"}
"""Refusals after which the same request is sent again, as are all with a status of 500 and more."""

_TARGET = "DynamoDB_20120810."
_CONTENT_TYPE = "application/x-amz-json-1.0"
_FIRST_PAUSE_S = 0.05
SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
"""Headers and body are two writes: with Nagle's algorithm the second one waits for the other side, some 40 ms."""

Sign = Callable[[AWSRequest], None]


class Response(Protocol):
    """What came back."""

    status_code: int
    headers: Any
    content: bytes


Send = Callable[[AWSPreparedRequest], Response]
"""Raises botocore's exceptions for what fails on the way."""


def _operation(name: str) -> Callable[..., Any]:
    def ask(self: "Connection", **request: Any) -> Any:
        return self._ask(name, request)

    ask.__doc__ = f"``{name}``, as botocore's client takes and answers it."
    return ask


class Connection:
    """What a botocore client of DynamoDB is, with the operations of the hot paths made short.

    Everything else (pages, waiters, tables) is the client's own. Values are typed, as in DynamoDB's API; bytes are not
    supported, and nothing here has any. Safe to use from many threads; connections are kept and reused.

    Args:
        client: Botocore's: its endpoint and its settings hold.
        sign: Puts a signature on a request.
        send: Sends one.
        attempts: How often a request is sent at most.
    """

    get_item = _operation("GetItem")
    batch_get_item = _operation("BatchGetItem")
    query = _operation("Query")
    scan = _operation("Scan")
    put_item = _operation("PutItem")
    update_item = _operation("UpdateItem")
    delete_item = _operation("DeleteItem")

    def __init__(self, client: Any, sign: Sign, send: Send, *, attempts: int) -> None:
        self._client = client
        self._sign = sign
        self._send = send
        self._attempts = attempts
        self._url = f"{client.meta.endpoint_url}/"

    def transact_write_items(self, **request: Any) -> Any:
        """``TransactWriteItems``, as botocore's client takes and answers it."""
        # Before the first attempt: the token is what makes further ones harmless.
        return self._ask("TransactWriteItems", {"ClientRequestToken": str(uuid.uuid4()), **request})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _ask(self, operation: str, request: dict[str, Any]) -> Any:
        body = json.dumps(request, separators=(",", ":")).encode()
        attempt = 1
        while True:
            try:
                return self._once(operation, body)
            except (ClientError, ConnectionError, HTTPClientError) as problem:
                if attempt >= self._attempts or not _is_repeated(problem):
                    raise
            time.sleep(random.uniform(0, _FIRST_PAUSE_S * 2 ** (attempt - 1)))
            attempt += 1

    def _once(self, operation: str, body: bytes) -> Any:
        headers = {"Content-Type": _CONTENT_TYPE, "X-Amz-Target": _TARGET + operation}
        request = AWSRequest("POST", self._url, headers, body)
        self._sign(request)
        response = self._send(request.prepare())
        if response.status_code >= 300:
            raise _refusal(operation, response)
        try:
            return json.loads(response.content)
        except ValueError as problem:  # not DynamoDB's answer: somebody in between
            raise HTTPClientError(error=problem) from problem


def connected(client: Any, session: Session) -> Connection:
    """Return a connection with the endpoint, times and attempts of a botocore client, and its session's credentials."""
    config, url, region = client.meta.config, client.meta.endpoint_url, client.meta.region_name
    credentials = session.get_credentials()
    http = URLLib3Session(
        verify=session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True,
        proxies=config.proxies or get_environ_proxies(url),
        timeout=(config.connect_timeout, config.read_timeout),
        max_pool_connections=config.max_pool_connections,
        socket_options=SOCKET_OPTIONS,
    )

    def sign(request: AWSRequest) -> None:
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
        SigV4Auth(frozen, "dynamodb", region).add_auth(request)

    return Connection(client, sign, http.send, attempts=config.retries.get("total_max_attempts", 3))


def _refusal(operation: str, response: Response) -> ClientError:
    """Return a refusal as botocore raises it: what DynamoDB says beside its code is kept by name."""
    try:
        said = json.loads(response.content)
    except ValueError:
        said = {}
    document = said if isinstance(said, dict) else {}
    code = str(document.get("__type", response.status_code)).partition(":")[0].rpartition("#")[2]
    message = str(document.get("message") or document.get("Message") or "")
    request_id = str(response.headers.get("x-amzn-requestid") or "")
    metadata = {"HTTPStatusCode": response.status_code, "RequestId": request_id}
    parsed: Any = {**document, "Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(parsed, operation)


def _is_repeated(problem: Exception) -> bool:
    if not isinstance(problem, ClientError):
        return True
    status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or problem.response.get("Error", {}).get("Code") in REPEATED_CODES
