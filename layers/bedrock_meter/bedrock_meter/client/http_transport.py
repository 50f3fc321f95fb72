"""The quota API over HTTP, signed, with botocore and the urllib3 that it brings: no other library.

A question carries an idempotency key, so it is repeated after any failure of the way without being counted twice. An
answer of the API is never repeated, only what gateways and networks say instead of one. The time of a call is bounded,
retries included, since a caller's own user is waiting.

**Asked too fast.** The API's own refusals are problem documents. A 429 or 503 without one is the gateway's: more
requests came than it takes, or than there are functions to answer them. It is repeated while there is time, with full
jitter, and from a budget of one request in ten; what is left is ``QuotaBusy``. A tenant that was refused so is slowed
(``pace.py``): what it asks beyond its pace is ``QuotaBusy`` at once, without a request.
"""

import json
import math
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.session import get_session

from bedrock_meter.client.errors import ForeignProfile, QuotaBusy, QuotaRefused, QuotaUnavailable
from bedrock_meter.client.forking import tell_after_fork
from bedrock_meter.client.pace import Paces, RetryBudget
from bedrock_meter.client.quota import Amounts, Denial, Profile, Reservation, ReservationRequest, policy_of
from bedrock_meter.errors import ConfigurationError
from bedrock_meter.money import usd_text

SERVICE: Final = "execute-api"
ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.1
PROBLEM: Final = "application/problem+json"
TENANT_BUSY: Final = "urn:bedrock-meter:tenant-busy"
FOREIGN_PROFILE: Final = "urn:bedrock-meter:foreign-profile"

_SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
"""Headers and body are two writes: with Nagle's algorithm the second one waits for the other side, some 40 ms."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_REGION = re.compile(r"[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_TOO_FAST = frozenset({429, 503})
"""Without a problem document: said by the gateway, which takes no more at the moment."""

_BROKEN = frozenset({500, 502, 503, 504})
"""Said by a gateway, or by a function that broke: the question may be repeated."""


class Session(Protocol):
    """What sends a prepared request, as botocore's ``URLLib3Session`` does."""

    def send(self, request: Any) -> Any:
        """Return an answer with ``status_code``, ``headers`` and ``content``, or raise a ``BotoCoreError``."""

    def close(self) -> None:
        """Close kept connections."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What became of one request.

    Attributes:
        status: Of an answer of the API.
        document: Its body.
        problem: Why there is no answer; None where there is one.
        by_gateway: Whether the gateway refused it, without the API having seen it.
        wait_seconds: For how long the gateway said to wait; None where it did not say.
    """

    status: int = 0
    document: Mapping[str, Any] | None = None
    problem: QuotaUnavailable | None = None
    by_gateway: bool = False
    wait_seconds: int | None = None


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
        clock: Seconds that never go back.
        sleep: Waits for some seconds, between attempts.
        jitter: Returns a number between two others, at random.
        session: Makes what sends requests; called again in a forked child.

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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
        session: Callable[[], Session] | None = None,
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
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._session = session or self._session_of_urllib3
        self._paces = Paces()
        self._retries = RetryBudget()
        self.forget_parent()
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Begin with connections of its own: a forked child must not write into its parent's."""
        self._lock = threading.Lock()
        self._pace_lock = threading.Lock()
        self._http = self._session()

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        """``POST /reservations``. Beyond the tenant's pace it raises ``QuotaBusy`` without a request."""
        body: dict[str, Any] = {
            "key": request.key,
            "estimate": _stated(request.estimate),
            "ttl_seconds": request.ttl_seconds,
            "kind": request.kind,
        }
        for name in ("model", "profile", "region", "tier"):
            if (value := getattr(request, name)) is not None:
                body[name] = value
        path = self._path(tenant, "reservations")
        with self._pace_lock:
            wait = self._paces.wait(tenant, self._clock())
        if wait > 0:
            raise QuotaBusy(
                f"tenant {tenant} asks faster than the quota API takes: slowed", math.ceil(wait), remembered=True
            )
        status, document = self._ask("POST", path, tenant, body)
        if status == 429:
            return Denial(document, _seconds(document.get("retry_after_seconds")))
        if status == 403:
            raise ForeignProfile(tenant, request.profile or request.model or "")
        return _reservation(document)

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        """``POST /reservations/{id}/settlement``; one attempt, since the log settles what this does not."""
        body: dict[str, Any] = {"usage": usage.usage()}
        if extend_seconds is not None:
            body["extend_seconds"] = extend_seconds
        self._ask("POST", self._path(tenant, "reservations", reservation_id, "settlement"), tenant, body, attempts=1)

    def release(self, tenant: str, reservation_id: str) -> None:
        """``DELETE /reservations/{id}``; two attempts, since only time frees what this does not."""
        self._ask("DELETE", self._path(tenant, "reservations", reservation_id), tenant, attempts=2)

    def reservation(self, tenant: str, reservation_id: str) -> dict[str, Any]:
        """Return a reservation's document: ``status`` is ``open``, ``settled``, ``released`` or ``expired``."""
        return self._ask("GET", self._path(tenant, "reservations", reservation_id), tenant)[1]

    def quota(self, tenant: str) -> dict[str, Any]:
        """Return the status document of a tenant: what is used, reserved and left of each limit."""
        return self._ask("GET", self._path(tenant, "quota"), tenant)[1]

    def close(self) -> None:
        """Close kept connections; new ones are made when it is used again."""
        self._http.close()

    # --- HTTP

    def _session_of_urllib3(self) -> Session:
        made: Session = URLLib3Session(
            timeout=self._timeouts, max_pool_connections=self._connections, socket_options=_SOCKET_OPTIONS
        )
        return made

    def _path(self, tenant: str, *rest: str) -> str:
        # The API says which ids exist. Here only what could become another path is kept from it.
        segments = [tenant, *rest]
        if any(segment in ("", ".", "..") for segment in segments):
            raise QuotaRefused(404, "No such resource", f"{tenant!r} is no tenant's id")
        return "/".join(["", "v1", "tenants", *(quote(segment, safe="") for segment in segments)])

    def _ask(
        self,
        method: str,
        path: str,
        tenant: str,
        body: Mapping[str, Any] | None = None,
        *,
        attempts: int = ATTEMPTS,
    ) -> tuple[int, dict[str, Any]]:
        """Return (status, document) of an answer of the API: a success, the denial 429, or a foreign profile 403."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        began = self._clock()
        with self._pace_lock:
            self._retries.earn()
        attempt = 0
        while True:
            attempt += 1
            with self._pace_lock:
                self._paces.sent(tenant, self._clock())
            made = self._attempt(method, path, content)
            if made.problem is None:
                with self._pace_lock:
                    self._paces.answered(tenant, self._clock())
                return made.status, dict(made.document or {})
            is_busy = isinstance(made.problem, QuotaBusy)
            if is_busy:
                with self._pace_lock:
                    self._paces.refused(tenant, self._clock())
            pause = self._jitter(0, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)) + (made.wait_seconds or 0)
            if (
                attempt >= attempts
                or (is_busy and not made.by_gateway)
                or self._clock() - began + pause > self._deadline_seconds
                or (is_busy and not self._may_repeat())
            ):
                raise made.problem
            self._sleep(pause)

    def _may_repeat(self) -> bool:
        with self._pace_lock:
            return self._retries.spend()

    def _attempt(self, method: str, path: str, content: bytes) -> _Attempt:
        """Send once; return the answer, or why there is none.

        A problem document with 503 is the API's own word that it does not decide: the tenant's policy is ``closed``, or
        too many reserve at once. It may be asked again, and is no outage that a policy could open.
        """
        request = AWSRequest(method, self._base + path, {"Content-Type": "application/json"}, content)
        try:
            self._authorise(request)
            answer = self._http.send(request.prepare())
        except BotoCoreError as problem:  # no connection, no answer, credentials that cannot be fetched
            name = type(problem).__name__
            return _Attempt(problem=QuotaUnavailable(f"{name} from {self._base}", kind=name))
        status: int = answer.status_code
        document = _document(answer.content)
        is_problem = str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower() == PROBLEM
        title, detail = str(document.get("title", f"HTTP {status}")), str(document.get("detail", ""))
        why = f"{title}: {detail}" if detail else title
        wait = _header_seconds(answer.headers.get("Retry-After"))
        if status == 429 and is_problem and document.get("type") == TENANT_BUSY:
            said = _seconds(document.get("retry_after_seconds"))
            return _Attempt(problem=QuotaBusy(why, said or wait or 1))
        if status < 300 or (status == 429 and is_problem):
            return _Attempt(status, document)
        if status == 403 and is_problem and document.get("type") == FOREIGN_PROFILE:
            return _Attempt(status, document)
        if status in _TOO_FAST and not is_problem:
            return _Attempt(
                problem=QuotaBusy(f"the quota API was asked too fast: {why}", wait or 1),
                by_gateway=True,
                wait_seconds=wait,
            )
        if status in _BROKEN:
            return _Attempt(problem=QuotaUnavailable(why, closed=status == 503, retry_after=wait, kind="server error"))
        available = _profiles(document["available_profiles"]) if "available_profiles" in document else None
        raise QuotaRefused(status, title, detail or str(document.get("message", "")), available)

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
        fail=policy_of(document),
        available_profiles=_profiles(document.get("available_profiles")),
    )


def _profiles(found: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _profile(document: Mapping[str, Any]) -> Profile:
    return Profile(str(document["id"]), str(document.get("arn") or document["id"]))


def _seconds(value: object) -> int | None:
    """Return whole seconds, rounded up; None where there are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(0, -int(-value // 1))


def _header_seconds(text: object) -> int | None:
    """Return the seconds of a ``Retry-After`` header; None where it has none, or a date."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else None


def _region_of(host: str) -> str | None:
    found = _REGION.fullmatch(host)
    return found[1] if found else None
