"""Who keeps the quotas, in memory: the service behind the quota API, a transport to it, and the API over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from bedrock_meter import clock
from bedrock_meter.client import (
    RESERVATION_KEY,
    Amounts,
    Denial,
    ForeignProfile,
    Profile,
    QuotaRefused,
    Reservation,
    ReservationRequest,
)
from bedrock_meter.money import parse_usd

MODEL = "anthropic.claude-sonnet-4-6"
REGION = "us-east-1"
PROFILE_ID = "a1c3m5e7k9q2"
PROFILE_ARN = f"arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/{PROFILE_ID}"
RETRY_MS = 90_000


@dataclass(frozen=True)
class Wanted:
    """A question, as it arrives at the service."""

    key: str
    estimate: Mapping[str, int]
    ttl_ms: int
    kind: str
    model: str | None
    profile: str | None
    region: str | None = None
    tier: str | None = None


class KeyUsed(Exception):
    """The key belongs to another reservation."""


@dataclass(frozen=True)
class Held:
    """A reservation, as the service shows it."""

    id: str
    wanted: Any
    amounts: Mapping[str, int]
    expires_ms: int
    profile: tuple[str, str] | None
    status: str = "open"


@dataclass(frozen=True)
class Denied:
    """A denial, as the service shows it."""

    limit: Mapping[str, Any] | None
    requested: int
    throttled_until_ms: int | None


@dataclass
class QuotaService:
    """One limit a tenant over input and output tokens together; nothing comes back but by its holder or by time.

    Attributes:
        maximum: Per tenant.
        used: Per tenant: what was recorded.
        profiles: (id, ARN) by tenant and model, or by tenant and a profile's ARN or id.
        fail: The effective policy of each tenant; ``closed`` where it says nothing, since its limit is strict.
    """

    maximum: dict[str, int]
    used: dict[str, int] = field(default_factory=dict)
    profiles: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    fail: dict[str, str] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    held: dict[str, Held] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    now_ms: Callable[[], int] = clock.now_ms

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def reserved(self, tenant: str) -> int:
        """What open reservations hold now."""
        now_ms = self.now_ms()
        return sum(
            _tokens(one.amounts)
            for one in self.held.values()
            if one.id.startswith(f"{tenant}:") and one.status == "open" and now_ms < one.expires_ms
        )

    def of(self, status: str) -> list[Held]:
        return [one for one in self.held.values() if one.status == status]

    def reserve(self, tenant: str, wanted: Any, now_ms: int) -> Held | Denied | None:
        with self._lock:
            self.asked.append(("reserve", wanted))
            if self.errors:
                raise self.errors.pop(0)
            if tenant not in self.maximum:
                return None
            identity = f"{tenant}:{wanted.key}"
            if (known := self.held.get(identity)) is not None:
                if known.status != "open" or known.wanted != wanted:
                    raise KeyUsed(known.status)
                return known
            if tenant in self.suspended:
                return Denied(None, 0, None)
            used, reserved, maximum = self.used.get(tenant, 0), self.reserved(tenant), self.maximum[tenant]
            need = max(1, _tokens(wanted.estimate))
            if used + reserved + need > maximum:
                limit = {
                    "name": "hourly-tokens",
                    "meter": "total_tokens",
                    "window": "1h",
                    "max": maximum,
                    "used": used,
                    "reserved": reserved,
                    "remaining": max(0, maximum - used - reserved),
                }
                return Denied(limit, need, None if need > maximum else now_ms + RETRY_MS)
            if any(wanted.profile in one for (owner, _), one in self.profiles.items() if owner != tenant):
                raise ForeignProfile(tenant, wanted.profile)
            profile = self._profile(tenant, wanted)
            held = Held(identity, wanted, dict(wanted.estimate), now_ms + wanted.ttl_ms, profile)
            self.held[identity] = held
            return held

    def available(self, tenant: str) -> list[dict[str, Any]]:
        """What the tenant has, as an answer lists it."""
        return [
            {"id": identity, "arn": arn, "model": model, "routing": "in-region", "geography": None, "region": REGION}
            for (owner, model), (identity, arn) in self.profiles.items()
            if owner == tenant
        ]

    def _profile(self, tenant: str, wanted: Any) -> tuple[str, str] | None:
        if wanted.profile is not None:
            return next(
                (one for (owner, _), one in self.profiles.items() if owner == tenant and wanted.profile in one), None
            )
        return self.profiles.get((tenant, wanted.model)) if wanted.model else None

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> Held | None:
        with self._lock:
            self.asked.append(("shrink", (reservation, dict(usage), extend_ms)))
            if self.errors:
                raise self.errors.pop(0)
            held = self.held.get(reservation)
            if held is None or not reservation.startswith(f"{tenant}:"):
                return None
            if held.status == "open":
                amounts = {kind: min(amount, usage.get(kind, amount)) for kind, amount in held.amounts.items()}
                expires_ms = max(held.expires_ms, now_ms + (extend_ms or 0))
                held = self.held[reservation] = replace(held, amounts=amounts, expires_ms=expires_ms)
            return held

    def release(self, tenant: str, reservation: str, now_ms: int) -> bool:
        with self._lock:
            self.asked.append(("release", reservation))
            if self.errors:
                raise self.errors.pop(0)
            held = self.held.get(reservation)
            if held is None or not reservation.startswith(f"{tenant}:"):
                return False
            if held.status == "open":
                self.held[reservation] = replace(held, status="released")
            return True


def service(maximum: int = 20_000, **more: Any) -> QuotaService:
    """A service that knows the tenant ``acme`` and its profile."""
    return QuotaService({"acme": maximum}, profiles={("acme", MODEL): (PROFILE_ID, PROFILE_ARN)}, **more)


class MemoryTransport:
    """``Transport`` to a service in this process. ``failure`` is raised instead of asking, as often as it is there."""

    def __init__(self, quota: QuotaService) -> None:
        self.quota = quota
        self.failure: Exception | None = None
        self.attempts = 0
        self.is_closed = False

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        self._attempt()
        wanted = Wanted(
            request.key,
            request.estimate.estimate(),
            request.ttl_seconds * 1_000,
            request.kind,
            request.model,
            request.profile,
            request.region,
            request.tier,
        )
        now_ms = self.quota.now_ms()
        try:
            answer = self.quota.reserve(tenant, wanted, now_ms)
        except KeyUsed as used:
            raise QuotaRefused(409, "Key already used", str(used)) from used
        if answer is None:
            raise QuotaRefused(404, "Tenant not found", tenant)
        if isinstance(answer, Denied):
            document = {**denial_document(tenant, answer, now_ms), "fail": self.quota.fail.get(tenant, "closed")}
            return Denial(document, document["retry_after_seconds"])
        profile = Profile(*answer.profile) if answer.profile else None
        fail: Any = self.quota.fail.get(tenant, "closed")
        available = self.quota.available(tenant) if profile is None else ()
        return Reservation(answer.id, profile, {RESERVATION_KEY: answer.id}, fail=fail, available_profiles=available)

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        self._attempt()
        extend_ms = None if extend_seconds is None else extend_seconds * 1_000
        self.quota.shrink(tenant, reservation_id, usage.usage(), extend_ms, self.quota.now_ms())

    def release(self, tenant: str, reservation_id: str) -> None:
        self._attempt()
        self.quota.release(tenant, reservation_id, self.quota.now_ms())

    def close(self) -> None:
        self.is_closed = True

    def _attempt(self) -> None:
        self.attempts += 1
        if self.failure is not None:
            raise self.failure


def denial_document(tenant: str, denied: Denied, now_ms: int) -> dict[str, Any]:
    """A denial as the API words it."""
    until_ms = denied.throttled_until_ms
    document: dict[str, Any] = {
        "tenant": tenant,
        "requested": denied.requested,
        "retry_after_seconds": None if until_ms is None else -(-(until_ms - now_ms) // 1_000),
        "throttled_until": clock.iso(until_ms),
    }
    return document if denied.limit is None else {**document, "limit": dict(denied.limit)}


# --- the API over HTTP


@dataclass
class Answer:
    """What the server says instead of answering."""

    status: int
    document: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class QuotaServer:
    """The quota API of docs and contract, in this process, over a service in memory.

    Attributes:
        url: Its base address.
        requests: (method, path, headers, body) of each request.
        instead: Answers for the next requests; None drops the connection without a word.
        connections: How many were made.
    """

    def __init__(self, quota: QuotaService) -> None:
        self.quota = quota
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.instead: list[Answer | None] = []
        self.connections = 0
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> Answer:
        now_ms = self.quota.now_ms()
        _, version, tenants, tenant, *rest = (unquote(part) for part in path.split("/"))
        assert (version, tenants) == ("v1", "tenants"), path
        if (method, rest) == ("POST", ["reservations"]):
            return self._reserve(tenant, body, now_ms)
        if method == "POST" and rest[2:] == ["settlement"]:
            extend_ms = body["extend_seconds"] * 1_000 if "extend_seconds" in body else None
            held = self.quota.shrink(tenant, rest[1], _by_kind(body["usage"]), extend_ms, now_ms)
            return Answer(200, {"id": rest[1]}) if held else problem(404, "Reservation not found")
        if method == "DELETE":
            return Answer(204) if self.quota.release(tenant, rest[1], now_ms) else problem(404, "Reservation not found")
        if (method, rest[:1]) == ("GET", ["reservations"]) and rest[1] in self.quota.held:
            return Answer(200, {"id": rest[1], "status": self.quota.held[rest[1]].status})
        if (method, rest) == ("GET", ["quota"]) and tenant in self.quota.maximum:
            return Answer(200, {"tenant": tenant, "limits": []})
        return problem(404, "No such resource")

    def _reserve(self, tenant: str, body: dict[str, Any], now_ms: int) -> Answer:
        assert body.keys() <= {*("key", "model", "profile", "region", "tier", "estimate", "ttl_seconds", "kind")}
        estimate = {"requests": 1, **_by_kind(body["estimate"])}
        wanted = Wanted(
            body["key"],
            estimate,
            body["ttl_seconds"] * 1_000,
            body["kind"],
            *(body.get(name) for name in ("model", "profile", "region", "tier")),
        )
        try:
            answer = self.quota.reserve(tenant, wanted, now_ms)
        except KeyUsed as used:
            return problem(409, "Key already used", reservation=str(used))
        except ForeignProfile:
            return problem(403, "Foreign profile", type="urn:bedrock-meter:foreign-profile")
        except Exception:  # noqa: BLE001 - whatever the storage ends with
            return problem(503, "Quota unknown", headers={"Retry-After": "1"})
        if answer is None:
            return problem(404, "Tenant not found")
        if isinstance(answer, Denied):
            title = "Quota exceeded" if answer.limit else "Tenant suspended"
            fail = self.quota.fail.get(tenant, "closed")
            return problem(429, title, **denial_document(tenant, answer, now_ms), fail=fail)
        profile = None if answer.profile is None else {"id": answer.profile[0], "arn": answer.profile[1]}
        document: dict[str, Any] = {
            "id": answer.id,
            "tenant": tenant,
            "key": wanted.key,
            "kind": wanted.kind,
            "status": "open",
            "model": wanted.model,
            "profile": profile,
            "estimate": estimate,
            "amounts": [],
            "created_at": clock.iso(now_ms),
            "expires_at": clock.iso(answer.expires_ms),
            "degraded": False,
            "fail": self.quota.fail.get(tenant, "closed"),
            **(
                {"available_profiles": self.quota.available(tenant)}
                if profile is None and (wanted.model or wanted.profile)
                else {}
            ),
            "metadata": {RESERVATION_KEY: answer.id},
        }
        return Answer(201, document)


def problem(status: int, title: str, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:
    """An RFC 9457 problem of the API."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": "so it is", **members}
    return Answer(status, document, headers or {}, "application/problem+json")


@contextmanager
def serving(quota: QuotaService) -> Iterator[QuotaServer]:
    """Serve the quota API on loopback for the length of a ``with`` block."""
    api = QuotaServer(quota)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that waits for the acknowledgement of its header would measure Nagle, not us.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            api.connections += 1

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(content) if content else None
            api.requests.append((self.command, self.path, dict(self.headers), body))
            said: Answer | None
            if api.instead:
                said = api.instead.pop(0)
                if said is None:
                    self.close_connection = True
                    return
            else:
                said = api.answer(self.command, self.path, body)
            payload = b"" if said.status == 204 else json.dumps(said.document).encode()
            self.send_response(said.status)
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(payload)))
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _by_kind(document: Mapping[str, Any]) -> dict[str, int]:
    return {
        **{kind: amount for kind, amount in document.items() if kind != "cost_usd"},
        **({"cost_nano_usd": parse_usd(document["cost_usd"])} if "cost_usd" in document else {}),
    }


def _tokens(amounts: Mapping[str, int]) -> int:
    return sum(amount for kind, amount in amounts.items() if kind.endswith("_tokens"))
