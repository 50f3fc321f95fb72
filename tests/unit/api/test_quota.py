"""The quota route: decisions, headers, problems, and what is answered while the storage is down."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.holds import bucket_end_ms, expiry_bucket, held_name
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.money import NANO
from bedrock_meter.usage.rollup import RollupKey
from tests.doubles.http import World, gauge
from tests.doubles.records import NOW_MS, limit, sums
from tests.unit.api.test_outage import throttle

QUOTA = "/v1/tenants/acme/quota"


def world(*limits: Limit, used: int = 0, fail_policy: str | None = None) -> World:
    return World({"acme": gauge("acme", *limits, used=used, fail_policy=fail_policy)})


def test_a_tenant_with_room_is_allowed_and_told_how_much() -> None:
    answer = world(limit("1h", 1000, hard=True), used=400).ask(QUOTA)
    body = answer.document
    assert answer.status == 200
    assert (body["tenant"], body["allowed"], body["degraded"]) == ("acme", True, False)
    assert body["as_of"] == iso(NOW_MS)
    (one,) = body["limits"]
    assert (one["name"], one["max"], one["used"], one["remaining"]) == ("total_tokens-1h", 1000, 400, 600)
    assert one["throttled_until"] is None
    assert answer.headers["RateLimit-Policy"] == '"total_tokens-1h";q=1000;w=3600'
    assert answer.headers["RateLimit"].startswith('"total_tokens-1h";r=600;t=')
    assert answer.headers["X-Request-Id"] == "request-1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Retry-After" not in answer.headers


def test_a_tenant_over_a_limit_is_denied_and_told_until_when() -> None:
    answer = world(limit("1h", 100), limit("day", 10_000), used=400).ask(QUOTA)
    assert answer.status == 200
    assert answer.document["allowed"] is False
    over, under = answer.document["limits"]
    assert (over["allowed"], over["remaining"], over["overage"]) == (False, 0, 300)
    assert over["throttled_until"] > answer.document["as_of"]
    assert under["allowed"] is True
    assert 0 < int(answer.headers["Retry-After"]) <= 3900


def test_what_is_reserved_is_not_left_until_it_has_passed() -> None:
    found = world(limit("1h", 1000, hard=True), used=400)
    known, name = found.gauges["acme"], held_name("t", expiry_bucket(NOW_MS))
    found.gauges["acme"] = replace(known, holds={name: 500})
    answer = found.ask(QUOTA)
    (one,) = answer.document["limits"]
    assert (one["used"], one["reserved"], one["remaining"], one["allowed"]) == (400, 500, 100, True)
    assert "Retry-After" not in answer.headers
    found.gauges["acme"] = replace(known, holds={name: 600})
    answer = found.ask(QUOTA)
    (one,) = answer.document["limits"]
    assert (one["remaining"], one["allowed"], one["throttled_until"]) == (0, False, None)
    assert one["denied_because"] == ["reserved"]
    passes_s = -(-(bucket_end_ms(expiry_bucket(NOW_MS)) - NOW_MS) // 1_000)
    assert answer.headers["Retry-After"] == str(passes_s)
    found.now_ms = NOW_MS + passes_s * 1_000
    assert found.ask(QUOTA).document["allowed"] is True


def test_waiting_is_not_offered_where_it_does_not_help() -> None:
    answer = world(limit("1h", 0)).ask(QUOTA)
    assert answer.document["allowed"] is False
    assert "Retry-After" not in answer.headers


def test_a_tenant_without_limits_is_allowed() -> None:
    answer = world().ask(QUOTA)
    assert (answer.status, answer.document["allowed"], answer.document["limits"]) == (200, True, [])
    assert "RateLimit" not in answer.headers


@pytest.mark.parametrize("tenant", ["globex", "no%20such", "no such", "unattributed", "-x", "a" * 65])
def test_every_tenant_that_cannot_be_seen_is_the_same_404(tenant: str) -> None:
    answer = world().ask(f"/v1/tenants/{tenant}/quota")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.document == {
        "type": "about:blank",
        "title": "Tenant not found",
        "status": 404,
        "detail": "There is no such tenant, or it is not yours to see.",
    }


@pytest.mark.parametrize(("path", "method"), [("/v1/tenants", "GET"), ("/", "GET"), ("/v1/tenants//quota", "GET")])
def test_other_routes_are_problems_too(path: str, method: str) -> None:
    answer = world().ask(path, method)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == "request-1"


def test_a_method_that_a_resource_does_not_have_is_told_which_it_has() -> None:
    answer = world().ask(QUOTA, "DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


def test_a_parameter_that_nobody_reads_is_refused() -> None:
    answer = world().ask(QUOTA, query="verbose=1")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert "verbose" not in answer.text


def test_an_error_that_nobody_foresaw_says_nothing_and_is_told() -> None:
    broken = world()
    broken.error = RuntimeError("with a prompt in it")
    answer = broken.ask(QUOTA)
    assert (answer.status, answer.document["title"]) == (500, "Internal error")
    assert "prompt" not in answer.text
    assert broken.told == ["unexpected RuntimeError"]


THROTTLED = ClientError(
    {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "GetItem"
)
OUTAGES = [
    (THROTTLED, "ThrottlingException"),
    (EndpointConnectionError(endpoint_url="x"), "EndpointConnectionError"),
    (ReadTimeoutError(endpoint_url="x"), "ReadTimeoutError"),
    (ClientError({"Error": {"Code": "InternalServerError"}}, "GetItem"), "InternalServerError"),
]


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_tenant_that_heats_its_own_keys_is_denied_for_a_moment_whatever_its_policy(policy: str) -> None:
    hot = World({"acme": gauge("acme", fail_policy=policy)}, fail_policy=policy)
    assert hot.ask(QUOTA).status == 200
    hot.error = throttle("ThrottlingException", "TableReadKeyRangeThroughputExceeded")
    answer = hot.ask(QUOTA)
    assert (answer.status, answer.headers["Content-Type"]) == (429, "application/problem+json")
    assert answer.document["type"] == "urn:bedrock-meter:tenant-busy"
    assert answer.document["title"] == "Tenant busy"
    assert 1 <= answer.document["retry_after_seconds"] <= 5
    assert answer.headers["Retry-After"] == str(answer.document["retry_after_seconds"])
    assert "allowed" not in answer.document
    assert hot.told == [], "no outage: no alarm"


def unexplained_by(error: Exception) -> list[str]:
    """What is told beside its code: that a throttle gives no reason."""
    return ["unexplained"] if error is THROTTLED else []


@pytest.mark.parametrize(("error", "code"), OUTAGES)
def test_open_allows_while_the_storage_is_down_and_says_that_it_did_not_look(error: Exception, code: str) -> None:
    down = world(limit("1h", 0))
    down.error = error
    answer = down.ask(QUOTA)
    assert answer.status == 200
    assert answer.document == {
        "tenant": "acme",
        "allowed": True,
        "as_of": iso(NOW_MS),
        "degraded": True,
        "limits": [],
    }
    assert "RateLimit" not in answer.headers
    assert down.told == [code, *unexplained_by(error), "degraded"]


@pytest.mark.parametrize(("error", "code"), OUTAGES)
def test_closed_does_not_guess(error: Exception, code: str) -> None:
    down = world()
    down.fail_policy, down.error = "closed", error
    answer = down.ask(QUOTA)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.document["degraded"] is True
    assert "allowed" not in answer.document
    assert down.told == [code, *unexplained_by(error)]


@pytest.mark.parametrize(("default", "own", "status"), [("open", "closed", 503), ("closed", "open", 200)])
def test_a_tenants_own_policy_is_known_when_it_cannot_be_read(default: str, own: str, status: int) -> None:
    seen = world(fail_policy=own)
    seen.fail_policy = default
    assert seen.ask(QUOTA).status == 200
    seen.error = THROTTLED
    assert seen.ask(QUOTA).status == status
    # One that was never seen has the stack's.
    assert seen.ask("/v1/tenants/globex/quota").status == (200 if default == "open" else 503)


def test_a_policy_that_changed_is_followed() -> None:
    seen = world(fail_policy="closed")
    seen.ask(QUOTA)
    seen.gauges["acme"] = gauge("acme")
    seen.ask(QUOTA)
    seen.error = THROTTLED
    assert seen.ask(QUOTA).status == 200


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_mistake_of_the_deployment_opens_nothing(code: str) -> None:
    broken = world()
    broken.error = ClientError({"Error": {"Code": code}}, "GetItem")
    assert broken.ask(QUOTA).status == 503
    assert broken.told == [code]


def test_money_is_shown_as_text_and_what_has_no_price_makes_it_incomplete() -> None:
    priced = limit("1h", 5 * NANO, meter=Meter.COST_USD, scope=Scope(models=("anthropic.*",)))
    found = world(priced, used=1_234_567_891)
    answer = found.ask(QUOTA)
    (one,) = answer.document["limits"]
    assert (one["unit"], one["max"], one["used"], one["remaining"]) == ("USD", "5.00", "1.234567891", "3.765432109")
    assert (one["scope"], one["complete"]) == ({"models": ["anthropic.*"]}, True)
    assert "uncounted_requests" not in one
    assert answer.headers["RateLimit-Policy"] == '"cost_usd-1h";q=5000000;qu="micro-usd";w=3600'
    assert answer.headers["RateLimit"].startswith('"cost_usd-1h";r=3765432;t=')
    known = found.gauges["acme"]
    (bucket,) = known.buckets
    found.gauges["acme"] = replace(known, buckets={**known.buckets, bucket + UNCOUNTED: 2})
    (one,) = found.ask(QUOTA).document["limits"]
    assert (one["complete"], one["uncounted_requests"], one["allowed"]) == (False, 2, True)


UNKNOWN = ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")
WITHOUT_PRICE = [
    ("custom.old-v1:0", "p1", 3, 1),
    ("custom.new-v1:0", "p1", 1, 2),
    ("a.model", "p1", 0, 0),
    ("-", "p2", 2, 1),
]
"""Model, profile, how many quarter-hours ago, calls without a price."""


def unpriced_world(**changes: object) -> World:
    strict = replace(limit("2h", 10 * NANO, meter=Meter.COST_USD, hard=True), **changes)  # type: ignore[arg-type]
    found = world(strict)
    known = found.gauges["acme"]
    mark = bucket_name("0", strict.window, NOW_MS - 3 * QUARTER_MS) + UNCOUNTED
    found.gauges["acme"] = replace(known, buckets={mark: 4})
    quarter_ms = NOW_MS - NOW_MS % QUARTER_MS
    found.rows["acme"] = [
        (RollupKey("acme", quarter_ms - ago * QUARTER_MS, profile, model), sums(5, unpriced=unpriced))
        for model, profile, ago, unpriced in WITHOUT_PRICE
    ]
    return found


def test_usage_without_a_price_denies_and_the_answer_says_which_and_what_to_do() -> None:
    found = unpriced_world()
    answer = found.ask(QUOTA)
    body = answer.document
    (one,) = body["limits"]
    assert (body["allowed"], body["denied_by"]) == (False, ["cost_usd-2h"])
    assert (one["when_unpriced"], one["denied_because"], one["uncounted_requests"]) == ("deny", ["unpriced"], 4)
    assert (one["used"], one["remaining"]) == ("0.00", "10.00")
    assert body["unpriced"]["models"] == [
        {"model": "custom.new-v1:0"},
        {"model": None, "profile": "p2"},
        {"model": "custom.old-v1:0"},
    ]
    assert body["unpriced"]["complete"] is True
    commands = body["unpriced"]["commands"]
    assert [" ".join(one.split()[:3]) for one in commands] == [
        "bedrock-meter tenants apply",
        "bedrock-meter prices apply",
        "bedrock-meter rerate --tenant",
    ]
    leaves_s = int(answer.headers["Retry-After"])
    assert 0 < leaves_s <= 2 * 3_600
    found.now_ms = NOW_MS + (leaves_s - 1) * 1_000
    assert found.ask(QUOTA).document["allowed"] is False
    found.now_ms = NOW_MS + leaves_s * 1_000
    later = found.ask(QUOTA).document
    assert later["allowed"] is True
    assert "unpriced" not in later
    assert "denied_because" not in later["limits"][0]


@pytest.mark.parametrize("changes", [{"when_unpriced": "allow"}, {"shadow": True}, {"hard": False}])
def test_nothing_is_looked_up_where_usage_without_a_price_does_not_deny(changes: dict[str, object]) -> None:
    found = unpriced_world(**changes)
    body = found.ask(QUOTA).document
    assert (body["allowed"], "unpriced" in body, found.pages_read) == (True, False, 0)
    (one,) = body["limits"]
    assert (one["complete"], one["uncounted_requests"]) == (False, 4)
    assert one.get("would_allow", True) is ("shadow" not in changes)


def test_what_has_no_price_is_looked_up_once_a_minute_and_again_when_the_limits_change() -> None:
    found = unpriced_world()
    for after_ms, reads in ((0, 1), (59_999, 1), (60_000, 2), (61_000, 2)):
        found.now_ms = NOW_MS + after_ms
        assert found.ask(QUOTA).document["unpriced"]["models"]
        assert found.pages_read == reads
    known = found.gauges["acme"]
    changed = tuple(replace(one, version=9) for one in known.layout.limits)
    found.gauges["acme"] = replace(known, layout=replace(known.layout, version=9, limits=changed))
    found.ask(QUOTA)
    assert found.pages_read == 3


def test_more_than_a_few_models_and_pages_are_not_named() -> None:
    found = unpriced_world()
    key, _ = found.rows["acme"][0]
    found.rows["acme"] = [
        (RollupKey("acme", key.quarter_ms, "p1", f"custom.m{number}"), sums(1, unpriced=1)) for number in range(9)
    ]
    body = found.ask(QUOTA).document["unpriced"]
    assert (len(body["models"]), body["complete"]) == (5, False)
    found = unpriced_world()
    found.page = 1
    found.rows["acme"] += [
        (RollupKey("acme", key.quarter_ms + QUARTER_MS, "p1", f"a.m{number}"), sums(1)) for number in range(9)
    ]
    body = found.ask(QUOTA).document["unpriced"]
    assert body["complete"] is False
    assert found.pages_read == 4


def test_the_answer_is_given_where_the_rollups_cannot_be_read() -> None:
    found = unpriced_world()
    found.unreadable = UNKNOWN
    answer = found.ask(QUOTA)
    assert (answer.status, answer.document["allowed"]) == (200, False)
    assert answer.document["unpriced"] == {"models": [], "complete": False, "commands": []}
    found.unreadable = None
    assert found.ask(QUOTA).document["unpriced"]["models"]
