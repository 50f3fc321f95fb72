"""Requests as an HTTP API hands them to a function (payload 2.0), and the whole quota API over doubles."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.api.report_wiring import report_api
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
REPORTS = re.compile(r"/v1/tenants/[^/]+/(usage|explanation)|/v1/openapi\.json")
"""Paths whose routes lead to the function of reports, whatever the method: ``tests/template`` holds them."""

SCOPES = "bedrock-meter/read bedrock-meter/reserve"


def token(tenant: str | None, **claims: str) -> dict[str, Any]:
    """What an authorizer says of a bearer token, with all scopes of the quota API unless ``scope`` says others."""
    named = {} if tenant is None else {CLAIM: tenant}
    good = {"sub": "user-1", "iss": "https://login.example.com", "scope": SCOPES}
    return {"jwt": {"claims": {**good, **named, **claims}, "scopes": None}}


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
    consistent_pages: int = 0
    told: list[str] = field(default_factory=list)
    reservations: Callable[[], Reservations] | None = None
    fail_policy: str = "open"
    now_ms: int = NOW_MS
    budget: ReportBudget = field(default_factory=ReportBudget)
    demands_scopes: bool = True
    _api: Resolver | None = None
    _reports: Resolver | None = None

    def gauge_of(self, tenant: str) -> Gauge | None:
        self._fail()
        return self.gauges.get(tenant)

    def timezone(self, tenant: str) -> str | None:
        self._fail()
        return self.timezones.get(tenant)

    def pages(
        self, tenant: str, from_ms: int, to_ms: int, *, newest_first: bool = False, is_consistent: bool = True
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
            self.consistent_pages += is_consistent
            yield found[start : start + self.page]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    @property
    def api(self) -> Resolver:
        """The function that decides; one for the life of this world, as a warm one."""
        if self._api is None:
            self._api = quota_api(
                self.gauge_of,
                self,
                self.reservations,
                telling=self._telling,
                tenant_claim=CLAIM,
                fail_policy=self.fail_policy,
                demands_scopes=self.demands_scopes,
                now=lambda: self.now_ms,
            )
        return self._api

    @property
    def reports(self) -> Resolver:
        """The function that reports."""
        if self._reports is None:
            self._reports = report_api(
                self.gauge_of,
                self,
                telling=self._telling,
                tenant_claim=CLAIM,
                demands_scopes=self.demands_scopes,
                budget=self.budget,
                now=lambda: self.now_ms,
            )
        return self._reports

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer a request by the function that the routes of the template lead to."""
        is_report = REPORTS.fullmatch(str(event.get("rawPath")))
        return (self.reports if is_report else self.api).resolve(event, context)

    @property
    def _telling(self) -> Telling:
        return Telling(
            self.told.append,
            lambda: self.told.append("degraded"),
            self._unexpected,
            lambda: self.told.append("unexplained"),
        )

    def _unexpected(self, error: Exception) -> None:
        self.told.append(f"unexpected {type(error).__name__}")

    def ask(self, path: str, method: str = "GET", **more: Any) -> Answer:
        """Send one request through the API."""
        answer = self.resolve(request(method, path, **more), None)
        return Answer(answer["statusCode"], answer["headers"], answer["body"] or "")
