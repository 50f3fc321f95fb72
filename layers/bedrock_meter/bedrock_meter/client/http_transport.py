"""The quota API over HTTP, signed, with botocore and the urllib3 that it brings: no other library.

Three facts: a question carries an idempotency key, so it is repeated after any failure of the way without being counted
twice; an answer of the API is never repeated, only what gateways and networks say instead of one; the time of a call is
bounded, retries included, since a caller's own user is waiting.
"""

import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.session import get_session

from bedrock_meter.client.errors import QuotaRefused, QuotaUnavailable
from bedrock_meter.client.forking import tell_after_fork
from bedrock_meter.client.quota import Amounts, Denial, Profile, Reservation, ReservationRequest
from bedrock_meter.errors import ConfigurationError
from bedrock_meter.money import usd_text

SERVICE: Final = "execute-api"
ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.1
PROBLEM: Final = "application/problem+json"

_SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
"""Headers and body are two writes: with Nagle's algorithm the second one waits for the other side, some 40 ms."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_REGION = re.compile(r"[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_PASSING = frozenset({429, 500, 502, 503, 504})
"""Said by a gateway, or by a function that broke: the question may be repeated."""


class HttpTransport:
    """``Transport`` over the quota API. Safe to use from many threads; connections are kept and reused.

    Args:
        url: Base address of the quota API (``QuotaApiUrl`` of the stack's outputs).
        region: For the signature; taken from the address where it names one.
        credentials: Of whoever may ask; botocore's own chain finds them otherwise.
        bearer: Returns a token for an API with a JWT authorizer; requests are not signed then.
        connect_seconds: Bound for making a connection.
        read_seconds: Bound for an answer.
        deadline_seconds: No attempt begins later than this after the first one.
        connections: How many are kept.

    Raises:
        ConfigurationError: The address is not one, is not encrypted, or no Region is known.
    """

    def __init__(
        self,
        url: str,
        *,
        region: str | None = None,
        credentials: Credentials | None = None,
        bearer: Callable[[], str] | None = None,
        connect_seconds: float = 1,
        read_seconds: float = 3,
        deadline_seconds: float = 3,
        connections: int = 10,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{url!r} is no address of a quota API")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ConfigurationError("the quota API is asked over https: signatures and tenants do not travel in clear")
        self._base = url.rstrip("/")
        self._credentials = credentials
        self._bearer = bearer
        self._region = region or _region_of(parts.hostname)
        if self._region is None and bearer is None:
            raise ConfigurationError("the address names no Region: pass region")
        self._timeouts = (connect_seconds, read_seconds)
        self._deadline_seconds = deadline_seconds
        self._connections = connections
        self.forget_parent()
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Begin with connections of its own: a forked child must not write into its parent's."""
        self._lock = threading.Lock()
        self._http = URLLib3Session(
            timeout=self._timeouts, max_pool_connections=self._connections, socket_options=_SOCKET_OPTIONS
        )

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        """``POST /reservations``."""
        body: dict[str, Any] = {
            "key": request.key,
            "estimate": _stated(request.estimate),
            "ttl_seconds": request.ttl_seconds,
            "kind": request.kind,
        }
        if request.model is not None:
            body["model"] = request.model
        if request.profile is not None:
            body["profile"] = request.profile
        status, document = self._ask("POST", self._path(tenant, "reservations"), body)
        if status == 429:
            return Denial(document, _seconds(document.get("retry_after_seconds")))
        return _reservation(document)

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        """``POST /reservations/{id}/settlement``; one attempt, since the log settles what this does not."""
        body: dict[str, Any] = {"usage": usage.usage()}
        if extend_seconds is not None:
            body["extend_seconds"] = extend_seconds
        self._ask("POST", self._path(tenant, "reservations", reservation_id, "settlement"), body, attempts=1)

    def release(self, tenant: str, reservation_id: str) -> None:
        """``DELETE /reservations/{id}``; two attempts, since only time frees what this does not."""
        self._ask("DELETE", self._path(tenant, "reservations", reservation_id), attempts=2)

    def reservation(self, tenant: str, reservation_id: str) -> dict[str, Any]:
        """Return a reservation's document: ``status`` is ``open``, ``settled``, ``released`` or ``expired``."""
        return self._ask("GET", self._path(tenant, "reservations", reservation_id))[1]

    def quota(self, tenant: str) -> dict[str, Any]:
        """Return the status document of a tenant: what is used, reserved and left of each limit."""
        return self._ask("GET", self._path(tenant, "quota"))[1]

    def close(self) -> None:
        """Close kept connections; new ones are made when it is used again."""
        self._http.close()

    # --- HTTP

    def _path(self, tenant: str, *rest: str) -> str:
        # The API says which ids exist. Here only what could become another path is kept from it.
        segments = [tenant, *rest]
        if any(segment in ("", ".", "..") for segment in segments):
            raise QuotaRefused(404, "No such resource", f"{tenant!r} is no tenant's id")
        return "/".join(["", "v1", "tenants", *(quote(segment, safe="") for segment in segments)])

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, attempts: int = ATTEMPTS
    ) -> tuple[int, dict[str, Any]]:
        """Return (status, document) of an answer of the API: a success, or the denial 429."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            answer = self._attempt(method, path, content)
            if not isinstance(answer, QuotaUnavailable):
                return answer
            pause = random.uniform(0, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            if attempt >= attempts or time.monotonic() - began + pause > self._deadline_seconds:
                raise answer
            time.sleep(pause)

    def _attempt(self, method: str, path: str, content: bytes) -> tuple[int, dict[str, Any]] | QuotaUnavailable:
        """Send once; what is returned instead of an answer says why there is none.

        A problem document with 503 is the API's own word that it does not decide: the tenant's policy is ``closed``, or
        too many reserve at once. It may be asked again, and is no outage that a policy could open.
        """
        request = AWSRequest(method, self._base + path, {"Content-Type": "application/json"}, content)
        try:
            self._authorise(request)
            answer = self._http.send(request.prepare())
        except BotoCoreError as problem:  # no connection, no answer, credentials that cannot be fetched
            return QuotaUnavailable(f"{type(problem).__name__} from {self._base}")
        status: int = answer.status_code
        document = _document(answer.content)
        is_problem = str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower() == PROBLEM
        if status < 300 or (status == 429 and is_problem):
            return status, document
        title, detail = str(document.get("title", f"HTTP {status}")), str(document.get("detail", ""))
        if status in _PASSING:
            wait = str(answer.headers.get("Retry-After", ""))
            return QuotaUnavailable(
                f"{title}: {detail}" if detail else title,
                closed=status == 503 and is_problem,
                retry_after=int(wait) if wait.isascii() and wait.isdigit() else None,
            )
        raise QuotaRefused(status, title, detail or str(document.get("message", "")))

    def _authorise(self, request: AWSRequest) -> None:
        if self._bearer is not None:
            request.headers["Authorization"] = f"Bearer {self._bearer()}"
            return
        with self._lock:
            if self._credentials is None:
                self._credentials = get_session().get_credentials()
        if self._credentials is None:
            raise ConfigurationError("no AWS credentials to sign requests to the quota API with")
        SigV4Auth(self._credentials.get_frozen_credentials(), SERVICE, self._region).add_auth(request)


def _stated(estimate: Amounts) -> dict[str, Any]:
    """Return an estimate as the API takes it: dollars as decimal text."""
    document: dict[str, Any] = estimate.estimate()
    if "cost_nano_usd" in document:
        document["cost_usd"] = usd_text(document.pop("cost_nano_usd"))
    return document


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reservation(document: Mapping[str, Any]) -> Reservation:
    degraded = document.get("degraded") is True
    found = document.get("id")
    if not isinstance(found, str) and not degraded:
        raise QuotaUnavailable("the quota API answered without a reservation: is this its address?")
    profile = document.get("profile")
    metadata = document.get("metadata")
    return Reservation(
        id=found if isinstance(found, str) else None,
        profile=_profile(profile) if isinstance(profile, dict) else None,
        metadata={str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {},
        degraded=degraded,
    )


def _profile(document: Mapping[str, Any]) -> Profile:
    return Profile(str(document["id"]), str(document.get("arn") or document["id"]))


def _seconds(value: object) -> int | None:
    """Return whole seconds, rounded up; None where there are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(0, -int(-value // 1))


def _region_of(host: str) -> str | None:
    found = _REGION.fullmatch(host)
    return found[1] if found else None
