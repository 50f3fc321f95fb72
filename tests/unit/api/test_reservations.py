"""The reservation routes over a double that holds."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_meter.api.requests import MAX_BODY_BYTES
from bedrock_meter.api.reservations import PAUSES_MS, Denied, Reserved, Wanted
from bedrock_meter.clock import iso
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from tests.doubles.holding import MemoryReservations
from tests.doubles.http import Answer, World, gauge, request
from tests.doubles.records import NOW_MS, limit

RESERVATIONS = "/v1/tenants/acme/reservations"
CONFLICT = ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem")
CANCELLED = ClientError(
    {
        "Error": {"Code": "TransactionCanceledException"},
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
    },
    "TransactWriteItems",
)
DOWN = EndpointConnectionError(endpoint_url="x")


def world(room: int = 100, **more: Any) -> tuple[World, MemoryReservations]:
    held = MemoryReservations({"acme": room, "globex": room})
    return World({"acme": gauge("acme")}, reservations=held, **more), held


def body(amount: int = 40, key: str = "k1", **more: Any) -> dict[str, Any]:
    return {"key": key, "estimate": {"input_tokens": amount}, **more}


def reserve(found: World, **more: Any) -> Answer:
    return found.ask(RESERVATIONS, "POST", body=body(**more))


def test_a_reservation_is_made_and_goes_into_the_request_metadata_as_it_is() -> None:
    found, held = world()
    answer = reserve(found, model="anthropic.claude-sonnet-4-6", ttl_seconds=60)
    assert answer.status == 201
    assert answer.headers["Location"] == f"{RESERVATIONS}/r1"
    assert answer.document == {
        "id": "r1",
        "tenant": "acme",
        "key": "k1",
        "kind": "call",
        "status": "open",
        "model": "anthropic.claude-sonnet-4-6",
        "profile": {"id": "p1", "arn": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p1"},
        "estimate": {"requests": 1, "input_tokens": 40},
        "estimate_source": "stated",
        "amounts": [{"limit": "hourly", "meter": "input_tokens", "amount": 40}],
        "created_at": iso(NOW_MS),
        "expires_at": iso(NOW_MS + 60_000),
        "degraded": False,
        "metadata": {RESERVATION_KEY: "r1"},
    }
    assert held.room["acme"] == 60


def test_the_same_again_is_the_same_reservation() -> None:
    found, held = world()
    first, second = reserve(found), reserve(found)
    assert (first.status, second.status) == (201, 200)
    assert first.document == second.document
    assert held.room["acme"] == 60


def test_a_key_is_used_for_one_thing_only() -> None:
    found, _ = world()
    reserve(found)
    assert reserve(found, amount=41).status == 409
    assert found.ask(f"{RESERVATIONS}/r1", "DELETE").status == 204
    over = reserve(found)
    assert (over.status, over.document["reservation"]) == (409, "released")
    assert over.headers["Content-Type"] == "application/problem+json"


def test_a_converse_body_is_bounded_and_says_so() -> None:
    found, _ = world(room=10_000)
    converse = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 64}}
    text = json.dumps({"key": "k1", "converse": converse})
    document = found.ask(RESERVATIONS, "POST", body=text).document
    assert document["estimate_source"] == "converse-bytes"
    assert document["estimate"] == {"requests": 1, "input_tokens": len(text) + 64, "output_tokens": 64}
    assert "Hello" not in json.dumps(document)


def test_no_room_is_a_429_that_says_which_limit_and_until_when() -> None:
    found, _ = world(room=10)
    answer = reserve(found)
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "2"
    assert answer.document == {
        "type": "about:blank",
        "title": "Quota exceeded",
        "status": 429,
        "detail": "Limit hourly has no room for 40.",
        "tenant": "acme",
        "limit": {"name": "hourly", "meter": "input_tokens", "window": "1h", "max": 1000, "used": 0, "reserved": 0,
                  "remaining": 10},
        "requested": 40,
        "retry_after_seconds": 2,
        "throttled_until": iso(NOW_MS + 1_500),
    }  # fmt: skip


class Denying(MemoryReservations):
    """Denies what is larger than the maximum, while the window is used up as well."""

    def reserve(self, tenant: str, wanted: Wanted, now_ms: int) -> Reserved | Denied | None:
        limits = {"name": "total_tokens-1h", "meter": "total_tokens", "window": "1h", "max": 5}
        return Denied(limits, 40, None, gauge("acme", limit("1h", 5), used=9))


def test_waiting_is_not_offered_where_it_does_not_help() -> None:
    answer = reserve(World(reservations=Denying()))
    assert (answer.status, answer.document["retry_after_seconds"]) == (429, None)
    assert "Retry-After" not in answer.headers
    assert answer.headers["RateLimit-Policy"] == '"total_tokens-1h";q=5;w=3600'
    assert answer.headers["RateLimit"].startswith('"total_tokens-1h";r=0')


def test_a_suspended_tenant_is_told_so() -> None:
    found, held = world()
    held.suspended.add("acme")
    answer = reserve(found)
    assert (answer.status, answer.document["title"]) == (429, "Tenant suspended")
    assert "Retry-After" not in answer.headers


def test_a_settlement_shrinks_and_extends_and_never_raises() -> None:
    found, held = world()
    reserve(found)
    path = f"{RESERVATIONS}/r1/settlement"
    answer = found.ask(path, "POST", body={"usage": {"input_tokens": 15, "output_tokens": 3}, "extend_seconds": 600})
    assert answer.status == 200
    assert answer.document["amounts"][0]["amount"] == 15
    assert answer.document["expires_at"] == iso(NOW_MS + 600_000)
    assert held.room["acme"] == 85
    assert found.ask(path, "POST", body={"usage": {"input_tokens": 99}}).document["amounts"][0]["amount"] == 15
    assert found.ask(f"{RESERVATIONS}/r1").document["amounts"][0]["amount"] == 15


def test_releasing_twice_is_fine() -> None:
    found, held = world()
    reserve(found)
    answers = [found.ask(f"{RESERVATIONS}/r1", "DELETE") for _ in range(2)]
    assert [(one.status, one.text) for one in answers] == [(204, "")] * 2
    assert held.room["acme"] == 100
    assert found.ask(f"{RESERVATIONS}/r1").document["status"] == "released"


@pytest.mark.parametrize("identifier", ["r2", "no such", "x" * 200, "%2e%2e"])
def test_unknown_reservations(identifier: str) -> None:
    found, _ = world()
    for path, method, more in (
        ("", "GET", {}),
        ("", "DELETE", {}),
        ("/settlement", "POST", {"body": {"usage": {"requests": 1}}}),
    ):
        answer = found.ask(f"{RESERVATIONS}/{identifier}{path}", method, **more)
        assert (answer.status, answer.document["title"]) == (404, "Reservation not found")


def test_an_unknown_tenant_is_the_same_404_as_everywhere() -> None:
    found, _ = world()
    answer = found.ask("/v1/tenants/initech/reservations", "POST", body=body())
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
        (body(amount=-1), "estimate.input_tokens"),
    ],
)
def test_a_request_is_read_strictly(document: dict[str, Any], field: str) -> None:
    found, held = world()
    answer = found.ask(RESERVATIONS, "POST", body=document)
    assert (answer.status, answer.document.get("field")) == (400, field)
    assert held.asked == 0


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"a":1,"a":2}', '{"key":NaN}', "[" * 100_000, '{"k":' + "9" * 5_000 + "}", "\ud800"],
)  # fmt: skip
def test_no_json_is_a_400(text: str) -> None:
    found, _ = world()
    assert found.ask(RESERVATIONS, "POST", body=text).status == 400


@pytest.mark.parametrize(
    "document", [{}, {"usage": {}}, {"usage": {"requests": 1}, "extend_seconds": 1}, {"usage": {"requests": 1}, "x": 1}]
)
def test_a_settlement_is_read_strictly(document: dict[str, Any]) -> None:
    found, _ = world()
    reserve(found)
    assert found.ask(f"{RESERVATIONS}/r1/settlement", "POST", body=document).status == 400


def test_a_body_is_bounded() -> None:
    found, _ = world()
    answer = found.ask(RESERVATIONS, "POST", body="x" * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.document["max_bytes"]) == (413, MAX_BODY_BYTES)
    assert found.ask(RESERVATIONS, "POST", body="é" * (MAX_BODY_BYTES // 2 + 1)).status == 413


@pytest.mark.parametrize(
    ("text", "status"), [(base64.b64encode(json.dumps(body()).encode()).decode(), 201), ("%%%", 400), ("/w==", 400)]
)
def test_a_body_that_the_gateway_encoded(text: str, status: int) -> None:
    """What is not declared as JSON comes in base64."""
    found, _ = world()
    event = {**request("POST", RESERVATIONS, body=text), "isBase64Encoded": True}
    assert found.api.resolve(event, None)["statusCode"] == status


@pytest.mark.parametrize("conflict", [CONFLICT, CANCELLED])
def test_a_conflict_is_tried_again_and_never_taken_for_an_outage(conflict: Exception) -> None:
    found, held = world()
    held.errors = [conflict] * len(PAUSES_MS)
    assert reserve(found).status == 201
    assert (held.asked, found.told) == (len(PAUSES_MS) + 1, [])
    held.errors = [conflict] * (len(PAUSES_MS) + 1)
    answer = reserve(found, key="k2")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.document["title"] == "Storage unavailable"
    assert "degraded" not in found.told


def test_a_transaction_that_was_cancelled_for_more_than_conflicts_is_not_repeated() -> None:
    found, held = world()
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ValidationError"}]
    answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    held.errors = [ClientError(answer, "TransactWriteItems")]
    assert reserve(found).status == 503
    assert held.asked == 1


def test_open_allows_while_the_storage_is_down_and_holds_nothing() -> None:
    found, held = world()
    held.errors = [DOWN]
    answer = reserve(found)
    assert answer.status == 201
    document = answer.document
    assert (document["degraded"], document["allowed"], document["id"]) == (True, True, None)
    assert (document["metadata"], document["amounts"]) == ({}, [])
    assert found.told == ["EndpointConnectionError", "degraded"]
    assert held.asked == 1
    # Nothing was held, so the key is free.
    assert reserve(found).status == 201


def test_closed_does_not_guess() -> None:
    found, held = world(fail_policy="closed")
    held.errors = [DOWN]
    answer = reserve(found)
    assert (answer.status, answer.document["degraded"], answer.headers["Retry-After"]) == (503, True, "1")


def test_the_policy_that_the_quota_route_saw_holds_here_too() -> None:
    found, held = world()
    found.gauges["acme"] = gauge("acme", fail_policy="closed")
    found.ask("/v1/tenants/acme/quota")
    held.errors = [DOWN]
    assert reserve(found).status == 503


def test_what_allows_nothing_is_a_503_whatever_the_policy() -> None:
    found, held = world()
    reserve(found)
    for path, method, more in (
        ("", "GET", {}),
        ("", "DELETE", {}),
        ("/settlement", "POST", {"body": {"usage": {"requests": 1}}}),
    ):
        held.errors = [DOWN]
        assert found.ask(f"{RESERVATIONS}/r1{path}", method, **more).status == 503


def test_a_name_that_is_there_twice_is_refused() -> None:
    found, held = world()
    good = json.dumps(body())
    assert found.ask(RESERVATIONS, "POST", body=good.replace("{", '{"key": "k0", ', 1)).status == 400
    assert (held.asked, found.ask(RESERVATIONS, "POST", body=good).status) == (0, 201)
