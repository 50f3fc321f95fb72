"""The reservation routes over the real service: what a request may say, which status answers it, and outages."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_meter.api.requests import MAX_BODY_BYTES
from bedrock_meter.clock import iso
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reserving import ATTEMPTS, REMEMBER_MS
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.money import NANO
from tests.doubles.desk import ESTIMATE, Desk
from tests.doubles.http import World, request
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import HAIKU_ID

RESERVATIONS = "/v1/tenants/acme/reservations"
CLAUDE = "anthropic.claude-sonnet-4-6"
DOWN = EndpointConnectionError(endpoint_url="x")
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")


def body(amount: int = 40, key: str = "k1", **more: Any) -> dict[str, Any]:
    return {"key": key, "estimate": {"input_tokens": amount}, **more}


def test_a_reservation_is_made_once_for_a_key() -> None:
    desk = Desk()
    first, second = desk.reserve(), desk.reserve()
    assert (first.status, second.status) == (201, 200)
    assert first.headers["Location"] == f"{RESERVATIONS}/{first.document['id']}"
    assert "Location" not in second.headers
    assert first.document == second.document
    assert desk.reserved() == [400]


def test_nothing_is_made_before_the_first_reservation() -> None:
    desk = Desk()
    assert desk.world.ask("/v1/tenants/acme/quota").status == 200
    assert desk.made == 0
    desk.reserve()
    desk.reserve(key="k2")
    assert (desk.made, desk.directory.reads) == (1, []), "without a name nothing is looked up"


def test_the_same_key_with_the_same_content_is_the_same_reservation_later_too() -> None:
    desk = Desk()
    first = desk.reserve(model=CLAUDE)
    desk.now_ms += 5_000
    again = desk.reserve(model=CLAUDE)
    assert (again.status, again.document) == (200, first.document)
    assert desk.reserved() == [400]
    # Also after it became smaller.
    desk.settle(first, {"output_tokens": 1})
    smaller = desk.reserve(model=CLAUDE)
    assert (smaller.status, smaller.document["amounts"][0]["amount"]) == (200, 301)


@pytest.mark.parametrize(
    "other",
    [
        {"estimate": {"input_tokens": 301}},
        {"estimate": {**ESTIMATE, "may_cache": True}},
        {"kind": "lease"},
        {"model": CLAUDE},
        {"profile": "a1"},
        {"region": "eu-central-1"},
        {"tier": "flex"},
    ],
)
def test_the_same_key_with_another_content_is_refused(other: dict[str, Any]) -> None:
    desk = Desk()
    desk.reserve()
    answer = desk.reserve(**other)
    assert (answer.status, answer.document["reservation"]) == (409, "open")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert desk.reserved() == [400]
    desk.now_ms += 600_000
    assert desk.reserve(**other).document["reservation"] == "expired"


def test_the_key_of_a_reservation_that_is_over_is_refused() -> None:
    desk = Desk()
    made = desk.reserve().document
    assert desk.ask(f"/{made['id']}", "DELETE").status == 204
    over = desk.reserve()
    assert (over.status, over.document["reservation"]) == (409, "released")
    desk.reserve(key="k2", ttl_seconds=10)
    desk.now_ms += 10_000
    assert desk.reserve(key="k2", ttl_seconds=10).document["reservation"] == "expired"


def test_a_converse_body_is_bounded_and_says_so() -> None:
    desk = Desk(limit("1h", 10_000))
    converse = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 64}}
    text = json.dumps({"key": "k1", "converse": converse})
    document = desk.ask("", "POST", body=text).document
    assert document["estimate_source"] == "converse-bytes"
    assert document["estimate"] == {"requests": 1, "input_tokens": len(text) + 64, "output_tokens": 64}
    assert "Hello" not in json.dumps(document)


def test_a_converse_body_with_a_cache_point_may_be_of_any_kind_that_is_read() -> None:
    desk = Desk(limit("1h", 10_000, meter=Meter.CACHE_WRITE_TOKENS), limit("1h", 10_000, meter=Meter.INPUT_TOKENS))
    content = [{"text": "Hello"}, {"cachePoint": {"type": "default"}}]
    converse = {"messages": [{"role": "user", "content": content}], "inferenceConfig": {"maxTokens": 64}}
    text = json.dumps({"key": "k1", "converse": converse})
    document = desk.ask("", "POST", body=text).document
    assert document["estimate"]["may_cache"] is True
    assert {one["amount"] for one in document["amounts"]} == {len(text) + 64}


@pytest.mark.parametrize(
    ("more", "tier"),
    [
        ({}, None),
        ({"serviceTier": {"type": "flex"}}, "flex"),
        ({"serviceTier": {"type": "default"}}, "default"),
    ],
)
def test_the_tier_of_a_converse_body_is_the_one_that_is_asked_for(more: dict[str, Any], tier: str | None) -> None:
    desk = Desk(limit("1h", 10_000))
    converse = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 64}}
    made = desk.ask("", "POST", body={"key": "k1", "converse": {**converse, **more}}).document
    assert desk.tables.reservations["acme", made["id"]].estimate.tier == tier


def test_no_room_names_the_limit_and_the_wait() -> None:
    desk = Desk(limit("1h", 1000, hard=True))
    desk.use(700)
    answer = desk.reserve()
    assert answer.status == 429
    document = answer.document
    assert document["type"] == "about:blank"
    assert (document["title"], document["detail"]) == ("Quota exceeded", "Limit total_tokens-1h has no room for 400.")
    assert (document["tenant"], document["limit"]["name"], document["requested"]) == ("acme", "total_tokens-1h", 400)
    assert (document["limit"]["used"], document["limit"]["reserved"], document["limit"]["remaining"]) == (700, 0, 300)
    assert int(answer.headers["Retry-After"]) == document["retry_after_seconds"] > 3_000
    assert document["throttled_until"] > "2026-11-"
    assert answer.headers["RateLimit-Policy"] == '"total_tokens-1h";q=1000;w=3600'
    assert answer.headers["RateLimit"].startswith('"total_tokens-1h";r=300')
    assert desk.reserved() == [0]


def test_waiting_is_not_offered_where_it_does_not_help() -> None:
    """More than the maximum, while the window is used up as well."""
    desk = Desk(limit("1h", 5))
    desk.use(9)
    answer = desk.reserve()
    assert (answer.status, answer.document["retry_after_seconds"]) == (429, None)
    assert "Retry-After" not in answer.headers
    assert answer.headers["RateLimit-Policy"] == '"total_tokens-1h";q=5;w=3600'
    assert answer.headers["RateLimit"].startswith('"total_tokens-1h";r=0')


def test_a_suspended_tenant_holds_nothing_however_old_what_is_remembered_of_it_is() -> None:
    desk = Desk()
    desk.reserve()
    desk.tables.change_gauge("acme", suspension=Suspension(1, "unpaid", NOW_MS, "arn:aws:iam::123456789012:user/a"))
    answer = desk.reserve({"input_tokens": 10}, key="k2")
    assert (answer.status, answer.document["title"]) == (429, "Tenant suspended")
    assert answer.document["suspended"] == {"public_reason": None, "since": iso(NOW_MS)}
    assert "unpaid" not in answer.text
    assert "arn:" not in answer.text
    assert "Retry-After" not in answer.headers
    assert desk.reserved() == [400]
    assert desk.reserve({"input_tokens": 9_000}, key="k3").document["title"] == "Tenant suspended"
    assert desk.reserve().status == 200, "what was reserved before may still be used"
    assert desk.reserved() == [400]
    desk.tables.change_gauge("acme", suspension=Suspension(2, "unpaid", NOW_MS, "a", NOW_MS, "b"))
    desk.now_ms += REMEMBER_MS + 1
    assert desk.reserve({"input_tokens": 10}, key="k4").status == 201


def test_releasing_twice_is_fine() -> None:
    desk = Desk()
    made = desk.reserve().document
    answers = [desk.ask(f"/{made['id']}", "DELETE") for _ in range(2)]
    assert [(one.status, one.text) for one in answers] == [(204, "")] * 2
    assert desk.reserved() == [0]
    assert desk.ask(f"/{made['id']}").document["status"] == "released"


@pytest.mark.parametrize("identifier", ["r2", "no such", "x" * 200, "%2e%2e"])
@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_unknown_reservations(identifier: str, tenant: str) -> None:
    desk = Desk()
    for path, method, sent in (
        ("", "GET", None),
        ("", "DELETE", None),
        ("/settlement", "POST", {"usage": {"requests": 1}}),
    ):
        answer = desk.ask(f"/{identifier}{path}", method, tenant=tenant, body=sent)
        assert (answer.status, answer.document["title"]) == (404, "Reservation not found")


def test_an_unknown_tenant_is_the_same_404_as_everywhere() -> None:
    answer = Desk().ask("", "POST", tenant="initech", body=body(model=CLAUDE))
    assert answer.status == 404
    assert answer.document == World().ask("/v1/tenants/initech/quota").document


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "estimate"),
        ({"key": "k"}, "estimate"),
        (body(converse={}), "estimate"),
        (body(surplus=1), "body"),
        (body(key=""), "key"),
        (body(key="a b"), "key"),
        (body(key="k" * 65), "key"),
        ({**body(), "key": 7}, "key"),
        (body(kind="loan"), "kind"),
        (body(kind=[]), "kind"),
        (body(ttl_seconds=9), "ttl_seconds"),
        (body(ttl_seconds=3601), "ttl_seconds"),
        (body(ttl_seconds=60.0), "ttl_seconds"),
        (body(ttl_seconds=None), "ttl_seconds"),
        (body(model="a b"), "model"),
        (body(model="m" * 600), "model"),
        (body(profile=""), "profile"),
        (body(region="Frankfurt"), "region"),
        (body(region="eu"), "region"),
        (body(region="eu-central-1 "), "region"),
        (body(region=7), "region"),
        (body(tier="cheap"), "tier"),
        (body(tier=None), "tier"),
        (body(tier=[]), "tier"),
        (body(amount=-1), "estimate.input_tokens"),
        ({"key": "k", "estimate": {"input_tokens": 1, "may_cache": 1}}, "estimate.may_cache"),
        ({"key": "k", "estimate": {"input_tokens": 1, "may_cache": None}}, "estimate.may_cache"),
        ({"key": "k", "estimate": {"images": -1}}, "estimate.images"),
        ({"key": "k", "estimate": {"may_cache": True}}, "estimate"),
        (
            {"key": "k", "converse": {"messages": [{}], "inferenceConfig": {"maxTokens": 1},
                                      "serviceTier": {"type": "cheap"}}},
            "converse.serviceTier.type",
        ),
    ],
)  # fmt: skip
def test_a_request_is_read_strictly(document: dict[str, Any], field: str) -> None:
    desk = Desk()
    answer = desk.ask("", "POST", body=document)
    assert (answer.status, answer.document.get("field")) == (400, field)
    assert (desk.asked, desk.directory.reads) == (0, [])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"a":1,"a":2}', '{"key":NaN}', "[" * 100_000, '{"k":' + "9" * 5_000 + "}", "\ud800"],
)
def test_no_json_is_a_400(text: str) -> None:
    assert Desk().ask("", "POST", body=text).status == 400


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"usage": {}},
        {"usage": {"requests": 1}, "extend_seconds": 1},
        {"usage": {"requests": 1}, "x": 1},
        {"usage": {"requests": 1, "may_cache": True}},
    ],
)
def test_a_settlement_is_read_strictly(document: dict[str, Any]) -> None:
    desk = Desk()
    made = desk.reserve().document
    assert desk.ask(f"/{made['id']}/settlement", "POST", body=document).status == 400
    assert desk.reserved() == [400]


def test_a_body_is_bounded() -> None:
    desk = Desk()
    answer = desk.ask("", "POST", body="x" * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.document["max_bytes"]) == (413, MAX_BODY_BYTES)
    assert desk.ask("", "POST", body="é" * (MAX_BODY_BYTES // 2 + 1)).status == 413


@pytest.mark.parametrize(
    ("text", "status"), [(base64.b64encode(json.dumps(body()).encode()).decode(), 201), ("%%%", 400), ("/w==", 400)]
)
def test_a_body_that_the_gateway_encoded(text: str, status: int) -> None:
    """What is not declared as JSON comes in base64."""
    event = {**request("POST", RESERVATIONS, body=text), "isBase64Encoded": True}
    assert Desk().world.resolve(event, None)["statusCode"] == status


def test_a_name_that_is_there_twice_is_refused() -> None:
    desk = Desk()
    good = json.dumps(body())
    assert desk.ask("", "POST", body=good.replace("{", '{"key": "k0", ', 1)).status == 400
    assert (desk.asked, desk.ask("", "POST", body=good).status) == (0, 201)


def test_a_hard_limit_in_dollars_asks_for_a_cost_where_there_is_no_price() -> None:
    desk = Desk(limit("1h", 5 * NANO, meter=Meter.COST_USD, hard=True))
    answer = desk.reserve(model=CLAUDE)
    assert (answer.status, answer.document["field"]) == (400, "estimate.cost_usd")
    assert desk.reserved() == [0]
    assert desk.reserve({**ESTIMATE, "cost_usd": "0.25"}, model=CLAUDE).status == 201


def test_a_conflict_is_tried_again_and_never_taken_for_an_outage() -> None:
    desk = Desk()
    desk.store.busy = ATTEMPTS - 1
    assert desk.reserve().status == 201
    assert desk.world.told == []
    desk.store.is_blocked = True
    answer = desk.reserve(key="k2")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.document["title"] == "Storage unavailable"
    assert "degraded" not in answer.document
    assert desk.world.told == ["Contended"]
    assert desk.ask("/x").status == 503


def test_a_throttle_that_lasts_is_an_outage() -> None:
    desk = Desk()
    desk.reserve()
    desk.store.is_blocked, desk.store.reason = True, THROTTLED
    degraded = desk.reserve(key="k2")
    assert (degraded.status, degraded.document["degraded"], degraded.document["id"]) == (201, True, None)
    assert desk.world.told == ["ThrottlingException", "unexplained", "degraded"]
    assert desk.ask("/x").status == 503


def test_a_transaction_that_was_cancelled_for_more_than_conflicts_is_not_repeated() -> None:
    desk = Desk()
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ValidationError"}]
    cancelled = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    desk.store.errors = [ClientError(cancelled, "TransactWriteItems")]
    assert desk.reserve().status == 503
    assert desk.asked == 1


def test_open_allows_while_the_storage_is_down_and_holds_nothing() -> None:
    desk = Desk()
    desk.store.errors = [DOWN]
    answer = desk.reserve(model=f"eu.{HAIKU_ID}")
    assert answer.status == 201
    document = answer.document
    assert (document["degraded"], document["allowed"], document["id"]) == (True, True, None)
    assert (document["metadata"], document["amounts"]) == ({}, [])
    assert desk.world.told == ["EndpointConnectionError", "degraded"]
    assert desk.asked == 1
    # Nothing was held, so the key is free.
    assert desk.reserve().status == 201
    assert desk.reserved() == [400]


def test_closed_does_not_guess() -> None:
    desk = Desk(fail_policy="closed")
    desk.store.errors = [DOWN]
    answer = desk.reserve()
    assert (answer.status, answer.document["degraded"], answer.headers["Retry-After"]) == (503, True, "1")


@pytest.mark.parametrize("is_by_quota", [True, False])
def test_the_policy_that_an_answer_of_better_times_brought_holds(is_by_quota: bool) -> None:
    desk = Desk(tenant_fail="closed")
    if is_by_quota:
        desk.world.ask("/v1/tenants/acme/quota")
    else:
        desk.reserve()
    desk.store.is_blocked, desk.store.reason = True, THROTTLED
    answer = desk.reserve(key="k2")
    assert (answer.status, answer.document["degraded"]) == (503, True)


def test_what_allows_nothing_is_a_503_whatever_the_policy() -> None:
    desk = Desk()
    made = desk.reserve().document
    for path, method, sent in (
        ("", "GET", None),
        ("", "DELETE", None),
        ("/settlement", "POST", {"usage": {"requests": 1}}),
    ):
        desk.store.errors = [DOWN]
        assert desk.ask(f"/{made['id']}{path}", method, body=sent).status == 503
