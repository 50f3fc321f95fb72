"""The OpenAPI document against the code: as committed and served, its routes, its bounds, the shape of answers."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bedrock_meter.api import admin_openapi, estimates, openapi, reservations
from bedrock_meter.api.problems import FOREIGN_PROFILE, Problem, foreign_profile
from bedrock_meter.api.requests import MAX_COUNT
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.reservations import reservation_id
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.tenant import ProfileReference, checked_tenant_id
from bedrock_meter.usage.rollup import RollupKey
from tests.doubles.desk import MemoryDirectory
from tests.doubles.http import World, gauge, token
from tests.doubles.records import NOW_MS, limit, profile_arn, sums
from tests.unit.api.test_callers import ROUTES, desk, world

ROOT = Path(__file__).resolve().parents[3]


def routes_of(api: Resolver) -> set[tuple[str, str]]:
    """Method and path of every route, in OpenAPI's spelling."""
    table = [*api.routes._static_routes, *api.routes._dynamic_routes]
    return {(route.method.lower(), re.sub(r"<(\w+)>", r"{\1}", route.path)) for route in table}


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in document["paths"].items() for method in methods}


@pytest.mark.parametrize(("name", "text"), [("openapi", openapi.text()), ("openapi-admin", admin_openapi.text())])
def test_the_committed_document_is_the_one_that_is_made(name: str, text: str) -> None:
    assert (ROOT / "docs" / f"{name}.json").read_text(encoding="utf-8") == text, "make openapi"


def test_the_served_document_is_the_committed_one() -> None:
    answer = world().ask("/v1/openapi.json")
    assert answer.status == 200
    assert answer.document == json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))


def test_the_document_has_the_routes_that_there_are() -> None:
    assert operations(openapi.document()) == routes_of(world().api) | routes_of(world().reports)


def test_without_reservations_their_routes_are_not_there() -> None:
    without = World({"acme": gauge("acme")})
    assert without.ask("/v1/tenants/acme/reservations", "POST", body={}).status == 404


def test_parameters_of_paths_are_those_of_the_path() -> None:
    for path, methods in openapi.document()["paths"].items():
        for operation in methods.values():
            named = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
            assert named == re.findall(r"\{(\w+)\}", path)


def test_query_parameters_are_those_that_are_read() -> None:
    """An unknown one is refused with the names that are known."""
    for path, methods in openapi.document()["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                continue
            address = path.replace("{tenant}", "acme").replace("{reservation}", "r1")
            detail = world().ask(address, method.upper(), query="surplus=1").document["detail"]
            named = sorted(one["name"] for one in operation.get("parameters", []) if one["in"] == "query")
            assert detail.endswith(f"known are {', '.join(named)}" if named else "this resource has none"), path


def test_the_scopes_of_an_operation_are_those_that_open_it() -> None:
    for path, methods in openapi.document()["paths"].items():
        address = path.replace("{tenant}", "acme").replace("{reservation}", reservation_id("acme", "first"))
        for method, operation in methods.items():
            assert {"signature": []} in operation["security"]
            named = {scope for one in operation["security"] for scope in one.get("token", ())}
            opening = {
                scope
                for scope in ("bedrock-meter/read", "bedrock-meter/reserve", "bedrock-meter/admin", "openid", "")
                if desk().world.ask(address, method.upper(), body={}, authorizer=token("acme", scope=scope)).status
                != 403
            }
            assert named == opening, (method, path)


def test_names_of_schemas_lead_somewhere() -> None:
    document = openapi.document()
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]


def test_every_operation_has_a_name_and_says_what_nobody_gets_without_a_signature() -> None:
    every = [operation for methods in openapi.document()["paths"].values() for operation in methods.values()]
    assert len({one["operationId"] for one in every}) == len(every)
    assert all({"401", "403", "429", "500", "503"} <= one["responses"].keys() for one in every)


@pytest.mark.parametrize("tenant", ["acme", "A.b_c-9", "a" * 64, "a" * 65, "-a", "", "a b", "ä"])
def test_the_pattern_of_a_tenant_is_what_the_code_takes(tenant: str) -> None:
    (parameter,) = openapi.document()["paths"]["/v1/tenants/{tenant}/quota"]["get"]["parameters"]
    try:
        checked_tenant_id(tenant)
        is_taken = True
    except InvalidDefinition:
        is_taken = False
    assert bool(re.search(parameter["schema"]["pattern"], tenant)) == is_taken


def test_bounds_of_a_reservation_are_those_that_are_checked() -> None:
    schemas = openapi.document()["components"]["schemas"]
    request = schemas["ReservationRequest"]["properties"]
    named = {"key", "model", "profile", "region", "tier", "estimate", "converse", "ttl_seconds", "kind"}
    assert set(request) == named
    refused = world().ask("/v1/tenants/acme/reservations", "POST", body={"surplus": 1}).document["detail"]
    assert all(name in refused for name in named), "the code names the same members as known"
    assert request["key"]["pattern"] == f"^{reservations.KEY.pattern}$"
    assert request["region"]["pattern"] == f"^{reservations.REGION.pattern}$"
    assert request["tier"]["enum"] == ["default", "flex", "priority", "reserved"]
    assert (request["ttl_seconds"]["minimum"], request["ttl_seconds"]["maximum"]) == (10, 3600)
    assert schemas["Estimate"]["properties"]["input_tokens"]["maximum"] == MAX_COUNT
    assert set(schemas["Estimate"]["properties"]) == {*estimates.KINDS, "may_cache"}
    assert set(schemas["Usage"]["properties"]) == set(estimates.KINDS)


@pytest.mark.parametrize("kind", [*estimates.KINDS, "may_cache", "surplus"])
@pytest.mark.parametrize(("name", "is_usage"), [("Estimate", False), ("Usage", True)])
def test_what_the_schema_of_amounts_takes_is_what_the_code_takes(name: str, is_usage: bool, kind: str) -> None:
    document = openapi.document()
    amounts = {kind: {"cost_usd": "0.01", "may_cache": True}.get(kind, 1)}
    for content in (amounts, {**amounts, "output_tokens": 1}, {}):
        is_valid = validator(document, document["components"]["schemas"][name]).is_valid(content)
        try:
            estimates.stated(content, "estimate", is_usage=is_usage)
        except Problem:
            assert not is_valid
        else:
            assert is_valid


def test_the_types_of_problems_are_documented() -> None:
    document = openapi.document()
    types = document["components"]["schemas"]["Problem"]["properties"]["type"]["examples"]
    assert types == ["about:blank", "urn:bedrock-meter:foreign-profile", "urn:bedrock-meter:tenant-busy"]
    assert foreign_profile().type == FOREIGN_PROFILE == types[1]
    reserve = document["paths"]["/v1/tenants/{tenant}/reservations"]["post"]["responses"]
    assert types[1] in reserve["403"]["description"]
    assert all(
        types[2] in operation["responses"]["429"]["description"]
        and "application/problem+json" in operation["responses"]["429"]["content"]
        for methods in document["paths"].values()
        for operation in methods.values()
    )


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    whole = {**schema, "components": document["components"]}
    return jsonschema.Draft202012Validator(whole)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_answers_have_the_documented_shape(method: str, path: str, body: Any) -> None:
    document = openapi.document()
    held = desk()
    found = held.world
    mine = ProfileReference("p1", profile_arn("p1"), "anthropic.claude-3", "geo", geography="eu")
    held.directory = MemoryDirectory({"acme": [mine]}, {"theirs": [MappingPeriod("globex", 0)]})
    found.gauges["acme"] = gauge("acme", limit("1h", 10), limit("month", 10**6), used=50)
    found.rows["acme"] = [(RollupKey("acme", NOW_MS - NOW_MS % 900_000, "p1", "m1"), sums(requests=1, input=5))]
    template = f"/v1/tenants/{{tenant}}{path.replace('r1', '{reservation}')}"
    path = path.replace("r1", reservation_id("acme", "first"))
    operation = document["paths"][template][method.lower()]
    asked = [(f"/v1/tenants/{tenant}{path}", body) for tenant in ("acme", "nobody")]
    expected = {204 if method == "DELETE" else 200, 404}
    if method == "POST":
        expected |= {400}
        asked += [(asked[0][0], {}), (asked[0][0], "x")]
        if path == "/reservations":
            estimate = {"estimate": {"input_tokens": 1}}
            found.gauges["globex"] = gauge("globex", limit("1h", 10**6))
            other = asked[0][0].replace("acme", "globex")
            asked += [
                (asked[0][0], {"key": "big", "estimate": {"input_tokens": 10**9}}),
                (asked[0][0], {"key": "first", **estimate}),
                (asked[0][0], {"key": "k2", "model": "theirs", **estimate}),
                (other, {"key": "k3", "model": "anthropic.claude-3", **estimate}),
                (other, {"key": "k3", "model": "anthropic.claude-3", **estimate}),
            ]
            expected = {400, 403, 404, 409, 429, 201, 200}
    seen = set()
    for address, content in asked:
        answer = found.ask(address, method, body=content)
        seen.add(answer.status)
        response = operation["responses"][str(answer.status)]
        if answer.text:
            media = answer.headers["Content-Type"].partition(";")[0]
            validator(document, response["content"][media]["schema"]).validate(answer.document)
    assert seen >= expected
