"""Who may see which tenant: the whole matrix, and that refusals are the same."""

from typing import Any

import pytest

from bedrock_meter.api.callers import caller_of, demands_scopes
from bedrock_meter.api.problems import Problem
from bedrock_meter.limits.reservations import reservation_id
from tests.doubles.desk import Desk
from tests.doubles.http import ARN, CLAIM, SIGNED, Answer, World, token
from tests.doubles.records import limit

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/quota", None),
    ("GET", "/usage", None),
    ("GET", "/explanation", None),
    ("POST", "/reservations", {"key": "k", "model": "anthropic.claude-3", "estimate": {"input_tokens": 1}}),
    ("GET", "/reservations/r1", None),
    ("POST", "/reservations/r1/settlement", {"usage": {"input_tokens": 1}}),
    ("DELETE", "/reservations/r1", None),
]
TENANTS = ("acme", "globex")


def desk(**more: Any) -> Desk:
    """A desk with two tenants, and one reservation of each: ``r1`` is that of ``acme``."""
    found = Desk(limit("1h", 1000), tenants=TENANTS, timezones=dict.fromkeys(TENANTS, "UTC"), **more)
    for tenant in TENANTS:
        assert found.reserve({"input_tokens": 5}, "first", tenant=tenant).status == 201
    return found


def world() -> World:
    return desk().world


def seen(answer: Answer) -> tuple[int, str, dict[str, str]]:
    return answer.status, answer.text, dict(answer.headers)


def test_the_matrix_knows_every_route() -> None:
    tables = [one.routes for one in (world().api, world().reports)]
    routes = {
        (route.method, route.path) for table in tables for route in [*table._static_routes, *table._dynamic_routes]
    }
    assert routes - {("GET", "/v1/openapi.json")} == {
        (method, f"/v1/tenants/<tenant>{path.replace('r1', '<reservation>')}") for method, path, _ in ROUTES
    }


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("owner", TENANTS)
def test_a_token_opens_its_own_tenant_and_all_others_are_one_404(owner: str, method: str, path: str, body: Any) -> None:
    held = desk()
    found = held.world
    (other,) = set(TENANTS) - {owner}
    path = path.replace("r1", reservation_id("acme", "first"))
    mine = found.ask(f"/v1/tenants/{owner}{path}", method, body=body, authorizer=token(owner))
    expected = {"POST/reservations": 201}.get(method + path, 204 if method == "DELETE" else 200)
    assert mine.status == (expected if owner == "acme" or "reservations/" not in path else 404)
    asked, pages, reads = held.asked, found.pages_read, list(held.directory.reads)
    refusals = [
        found.ask(f"/v1/tenants/{tenant}{path}", method, body=body, authorizer=token(owner))
        for tenant in (other, "nobody", "unattributed", "-", "no such", owner.upper())
    ]
    assert {seen(one)[:2] for one in refusals} == {(404, refusals[0].text)}
    assert all(seen(one) == seen(refusals[0]) for one in refusals)
    assert other not in refusals[0].text
    # Nothing was read or written for them, so that nothing could leak by time either.
    assert (held.asked, found.pages_read, held.directory.reads) == (asked, pages, reads)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize(
    "claims",
    [token(None), token(""), token("acme "), token("ACME"), token("[acme globex]"), token("globex,acme"), token("*")],
)
def test_a_claim_that_is_not_exactly_the_tenant_opens_nothing(claims: Any, method: str, path: str, body: Any) -> None:
    answer = world().ask(f"/v1/tenants/acme{path}", method, body=body, authorizer=claims)
    assert (answer.status, answer.document["title"]) == (404, "Tenant not found")


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_tenant_that_is_not_there_is_the_same_for_a_signed_request(method: str, path: str, body: Any) -> None:
    if "r1" not in path:
        found = world()
        answers = [
            found.ask(f"/v1/tenants/{tenant}{path}", method, body=body)
            for tenant in ("nobody", "unattributed", "no such")
        ]
        assert all(seen(one) == seen(answers[0]) for one in answers)
        assert answers[0].status == 404


READ, RESERVE = "bedrock-meter/read", "bedrock-meter/reserve"


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize(
    ("scopes", "reads", "reserves"),
    [
        ({"scope": ""}, False, False),
        ({"scope": "openid profile"}, False, False),
        ({"scope": "bedrock-meter/admin"}, False, False),
        ({"scope": f"x{READ} {RESERVE}s {READ.upper()}"}, False, False),
        ({"scope": f"openid {READ}"}, True, False),
        ({"scope": RESERVE}, True, True),
        ({"scope": "", "scp": f"[openid {READ}]"}, True, False),
        ({"scope": "", "scp": RESERVE}, True, True),
    ],
)
def test_a_token_may_what_its_scopes_say(
    method: str, path: str, body: Any, scopes: dict[str, str], reads: bool, reserves: bool
) -> None:
    held = desk()
    path = path.replace("r1", reservation_id("acme", "first"))
    asked = held.asked
    answer = held.world.ask(f"/v1/tenants/acme{path}", method, body=body, authorizer=token("acme", **scopes))
    if reads if method == "GET" else reserves:
        assert answer.status in (200, 201, 204)
    else:
        assert (answer.status, answer.document["title"]) == (403, "Scope missing")
        assert RESERVE in answer.document["detail"]
        assert (READ in answer.document["detail"]) is (method == "GET")
        assert (held.asked, held.world.pages_read) == (asked, 0), "nothing was read"


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_an_issuer_without_scopes_can_be_taken_as_it_is(method: str, path: str, body: Any) -> None:
    held = desk(demands_scopes=False)
    path = path.replace("r1", reservation_id("acme", "first"))
    mine = held.world.ask(f"/v1/tenants/acme{path}", method, body=body, authorizer=token("acme", scope=""))
    assert mine.status in (200, 201, 204)
    theirs = held.world.ask(f"/v1/tenants/globex{path}", method, body=body, authorizer=token("acme", scope=""))
    assert theirs.status == 404


def test_only_the_word_itself_switches_scopes_off() -> None:
    assert not demands_scopes("ignored")
    assert all(demands_scopes(word) for word in ("demanded", "", "Ignored", "false"))


NOBODY: list[dict[str, Any] | None] = [
    None,
    {},
    {"iam": None},
    {"iam": {}},
    {"jwt": None},
    {"jwt": {"claims": {}}},
    {"jwt": {"claims": {CLAIM: "acme"}}},
    {"lambda": {"tenant": "acme"}},
]


@pytest.mark.parametrize("authorizer", NOBODY)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [*[(method, f"/v1/tenants/acme{path}", body) for method, path, body in ROUTES], ("GET", "/v1/openapi.json", None),
     ("GET", "/anything", None), ("DELETE", "/v1/tenants/acme/quota", None)],
)  # fmt: skip
def test_a_request_that_nobody_has_checked_is_refused(authorizer: Any, method: str, path: str, body: Any) -> None:
    answer = world().ask(path, method, body=body, authorizer=authorizer)
    assert (answer.status, answer.document["title"]) == (401, "Not authenticated")
    assert "acme" not in answer.text


def test_headers_of_the_caller_decide_nothing() -> None:
    headers = {"x-tenant": "acme", "authorization": "Bearer x", "x-amzn-oidc-identity": "acme"}
    assert world().ask("/v1/tenants/acme/quota", authorizer=None, headers=headers).status == 401
    assert world().ask("/v1/tenants/acme/quota", authorizer=token("globex"), headers=headers).status == 404


def test_callers_have_names_for_an_audit_log() -> None:
    def event(authorizer: Any) -> dict[str, Any]:
        return {"requestContext": {"authorizer": authorizer}}

    assert caller_of(event(SIGNED), CLAIM).name == ARN
    found = caller_of(event(token("acme", scope="meter:admin other")), CLAIM)
    assert (found.name, found.tenant, found.scopes) == ("jwt:user-1", "acme", frozenset({"meter:admin", "other"}))
    found = caller_of(event(token("acme", scope="", scp="[meter:admin a]")), CLAIM)
    assert found.scopes == frozenset({"meter:admin", "a"})
    with pytest.raises(Problem):
        caller_of({}, CLAIM)
