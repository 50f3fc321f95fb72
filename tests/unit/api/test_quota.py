"""The quota API: decisions, headers, problems."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_meter.api.quota import quota_api
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import UNCOUNTED, bucket_name
from bedrock_meter.limits.holds import expiry_bucket, held_name
from bedrock_meter.limits.limit import NO_LIMITS, Limit, encode_layout, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.money import NANO
from tests.doubles.records import NOW_MS, limit


class Gauges:
    """Answers ``GetItem`` for one tenant, or fails."""

    def __init__(self, *limits: Limit, used: int = 0, error: Exception | None = None) -> None:
        layout = plan_change(NO_LIMITS, limits).next
        names = [bucket_name(one.slot, one.window, NOW_MS) for one in layout.limits]
        self.item = {
            "pk": {"S": "acme"},
            "sk": {"S": "GAUGE"},
            "rev": {"N": "3"},
            "v": {"N": "1"},
            "limits": {"S": encode_layout(layout)},
            **{name: {"N": str(used)} for name in names},
        }
        self.error = error
        self.requests: list[dict[str, Any]] = []

    def get_item(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.error:
            raise self.error
        return {"Item": self.item} if request["Key"]["pk"]["S"] == "acme" else {}


def ask(gauges: Gauges, path: str = "/v1/tenants/acme/quota", method: str = "GET") -> tuple[int, dict[str, str], Any]:
    failures: list[str] = []
    api = quota_api(gauges, "quotas", failed=failures.append, now=lambda: NOW_MS)
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
    }
    answer = api.resolve(event, None)  # type: ignore[arg-type]
    body = json.loads(answer["body"])
    if failures:
        body["told"] = failures
    return answer["statusCode"], answer["headers"], body


def test_a_tenant_with_room_is_allowed_and_told_how_much() -> None:
    gauges = Gauges(limit("1h", 1000, hard=True), used=400)
    status, headers, body = ask(gauges)
    assert status == 200
    assert (body["tenant"], body["allowed"], body["as_of"]) == ("acme", True, iso(NOW_MS))
    (one,) = body["limits"]
    assert (one["name"], one["max"], one["used"], one["remaining"]) == ("total_tokens-1h", 1000, 400, 600)
    assert one["throttled_until"] is None
    assert headers["RateLimit-Policy"] == '"total_tokens-1h";q=1000;w=3600'
    assert headers["RateLimit"].startswith('"total_tokens-1h";r=600;t=')
    assert "Retry-After" not in headers
    assert len(gauges.requests) == 1
    assert gauges.requests[0]["ConsistentRead"] is True


def test_a_tenant_over_a_limit_is_denied_and_told_until_when() -> None:
    status, headers, body = ask(Gauges(limit("1h", 100), limit("day", 10_000), used=400))
    assert status == 200
    assert body["allowed"] is False
    over, under = body["limits"]
    assert (over["allowed"], over["remaining"], over["overage"]) == (False, 0, 300)
    assert over["throttled_until"] > body["as_of"]
    assert under["allowed"] is True
    assert 0 < int(headers["Retry-After"]) <= 3900


def test_what_is_reserved_is_not_left_and_may_come_back_at_any_moment() -> None:
    gauges = Gauges(limit("1h", 1000, hard=True), used=400)
    gauges.item[held_name("t", expiry_bucket(NOW_MS))] = {"N": "500"}
    _, headers, body = ask(gauges)
    (one,) = body["limits"]
    assert (one["used"], one["reserved"], one["remaining"], one["allowed"]) == (400, 500, 100, True)
    assert "Retry-After" not in headers
    gauges.item[held_name("t", expiry_bucket(NOW_MS))] = {"N": "600"}
    _, headers, body = ask(gauges)
    (one,) = body["limits"]
    assert (one["remaining"], one["allowed"], one["throttled_until"]) == (0, False, None)
    assert headers["Retry-After"] == "1"


def test_waiting_is_not_offered_where_it_does_not_help() -> None:
    _, headers, body = ask(Gauges(limit("1h", 0)))
    assert body["allowed"] is False
    assert "Retry-After" not in headers


def test_a_tenant_without_limits_is_allowed() -> None:
    status, headers, body = ask(Gauges())
    assert (status, body["allowed"], body["limits"]) == (200, True, [])
    assert "RateLimit" not in headers


@pytest.mark.parametrize("tenant", ["globex", "no%20such", "unattributed", "-x", "a" * 65])
def test_every_tenant_that_cannot_be_seen_is_the_same_404(tenant: str) -> None:
    status, headers, body = ask(Gauges(), f"/v1/tenants/{tenant}/quota")
    assert status == 404
    assert headers["Content-Type"] == "application/problem+json"
    assert body == {
        "type": "about:blank",
        "title": "Tenant not found",
        "status": 404,
        "detail": "There is no such tenant, or it is not yours to see.",
    }


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/tenants", "GET"), ("/v1/tenants/acme/quota", "DELETE"), ("/", "GET")]
)
def test_other_routes_are_problems_too(path: str, method: str) -> None:
    status, headers, _ = ask(Gauges(), path, method)
    assert status == 404
    assert headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "GetItem"), "ThrottlingException"),
        (EndpointConnectionError(endpoint_url="x"), "EndpointConnectionError"),
    ],
)
def test_storage_that_is_down_is_said_and_counted_never_guessed(error: Exception, code: str) -> None:
    status, headers, body = ask(Gauges(error=error))
    assert status == 503
    assert headers["Retry-After"] == "1"
    assert body["told"] == [code]
    assert "allowed" not in body


def test_money_is_shown_as_text_and_what_has_no_price_makes_it_incomplete() -> None:
    gauges = Gauges(
        limit("1h", 5 * NANO, meter=Meter.COST_USD, scope=Scope(models=("anthropic.*",))), used=1_234_567_891
    )
    _, headers, body = ask(gauges)
    (one,) = body["limits"]
    assert (one["unit"], one["max"], one["used"], one["remaining"]) == ("USD", "5.00", "1.234567891", "3.765432109")
    assert (one["scope"], one["complete"]) == ({"models": ["anthropic.*"]}, True)
    assert "uncounted_requests" not in one
    assert headers["RateLimit-Policy"] == '"cost_usd-1h";q=5000000;qu="micro-usd";w=3600'
    assert headers["RateLimit"].startswith('"cost_usd-1h";r=3765432;t=')
    (bucket,) = (name for name in gauges.item if name.startswith("0"))
    gauges.item[bucket + UNCOUNTED] = {"N": "2"}
    (one,) = ask(gauges)[2]["limits"]
    assert (one["complete"], one["uncounted_requests"], one["allowed"]) == (False, 2, True)
