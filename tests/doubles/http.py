"""Requests as an HTTP API hands them to a function (payload 2.0), and the whole quota API over doubles."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.api.wiring import quota_api
from bedrock_meter.limits.gauge import Gauge, bucket_name
from bedrock_meter.limits.limit import NO_LIMITS, Limit, plan_change
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.usage.rollup import RollupKey, Sums
from tests.doubles.records import NOW_MS

ARN = "arn:aws:sts::123456789012:assumed-role/service/session"
SIGNED: dict[str, Any] = {"iam": {"userArn": ARN, "accountId": "123456789012"}}
CLAIM = "custom:tenant"


def token(tenant: str | None, **claims: str) -> dict[str, Any]:
    """What an authorizer says of a bearer token."""
    named = {} if tenant is None else {CLAIM: tenant}
    return {"jwt": {"claims": {"sub": "user-1", "iss": "https://login.example.com", **named, **claims}, "scopes": None}}


def request(
    method: str,
    path: str,
    *,
    query: str = "",
    body: object = None,
    authorizer: Mapping[str, Any] | None = SIGNED,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make an event; a body that is no text is sent as JSON."""
    context = {
        "http": {"method": method, "path": path},
        "stage": "$default",
        "requestId": "request-1",
        **({} if authorizer is None else {"authorizer": authorizer}),
    }
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": dict(headers or {}),
        "requestContext": context,
        "isBase64Encoded": False,
        **({} if text is None else {"body": text}),
    }


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


def gauge(tenant: str, *limits: Limit, used: int = 0, fail_policy: str | None = None) -> Gauge:
    """A gauge in which each limit has the same amount in its current bucket."""
    layout = plan_change(NO_LIMITS, limits).next if limits else NO_LIMITS
    buckets = {bucket_name(one.slot, one.window, NOW_MS): used for one in layout.limits}
    return Gauge(tenant, 3, layout, buckets, fail_policy=fail_policy)


@dataclass
class World:
    """Tables of a few tenants.

    ``error`` is raised by whatever reads, ``unreadable`` by what reads roll-ups; ``reservations`` makes what holds.
    """

    gauges: dict[str, Gauge] = field(default_factory=dict)
    timezones: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[tuple[RollupKey, Sums]]] = field(default_factory=dict)
    error: Exception | None = None
    unreadable: Exception | None = None
    page: int = 100
    pages_read: int = 0
    told: list[str] = field(default_factory=list)
    reservations: Callable[[], Reservations] | None = None
    fail_policy: str = "open"
    now_ms: int = NOW_MS
    _api: Resolver | None = None

    def gauge_of(self, tenant: str) -> Gauge | None:
        self._fail()
        return self.gauges.get(tenant)

    def timezone(self, tenant: str) -> str | None:
        self._fail()
        return self.timezones.get(tenant)

    def pages(
        self, tenant: str, from_ms: int, to_ms: int, *, newest_first: bool = False
    ) -> Iterator[Sequence[tuple[RollupKey, Sums]]]:
        found = sorted(
            (row for row in self.rows.get(tenant, []) if from_ms <= row[0].quarter_ms < to_ms),
            key=lambda row: row[0],
            reverse=newest_first,
        )
        for start in range(0, len(found) or 1, self.page):
            self._fail()
            if self.unreadable is not None:
                raise self.unreadable
            self.pages_read += 1
            yield found[start : start + self.page]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    @property
    def api(self) -> Resolver:
        """The API; one for the life of this world, as a warm function has."""
        if self._api is None:
            self._api = quota_api(
                self.gauge_of,
                self,
                self.reservations,
                telling=Telling(
                    self.told.append,
                    lambda: self.told.append("degraded"),
                    self._unexpected,
                    lambda: self.told.append("unexplained"),
                ),
                tenant_claim=CLAIM,
                fail_policy=self.fail_policy,
                now=lambda: self.now_ms,
            )
        return self._api

    def _unexpected(self, error: Exception) -> None:
        self.told.append(f"unexpected {type(error).__name__}")

    def ask(self, path: str, method: str = "GET", **more: Any) -> Answer:
        """Send one request through the API."""
        answer = self.api.resolve(request(method, path, **more), None)
        return Answer(answer["statusCode"], answer["headers"], answer["body"] or "")
