"""The addresses of the APIs: which route leads to which function, what it demands of a token, how fast it may be."""

import json
import re
from typing import Any

import pytest

from bedrock_meter.api import admin_openapi, openapi
from bedrock_meter.api.callers import ADMIN_SCOPE, READ_SCOPE, RESERVE_SCOPE, scopes_for
from tests.doubles.http import REPORTS
from tests.template.expanding import expanded_resources
from tests.template.reading import load_template, properties, resources, words

ANY = "x-amazon-apigateway-any-method"
REPORT_ROUTES = {
    "ANY /v1/tenants/{tenant}/usage",
    "ANY /v1/tenants/{tenant}/explanation",
    "ANY /v1/openapi.json",
}


def signed_routes(api: str) -> dict[str, str]:
    """Route key -> the function that it leads to, of an API that SAM makes."""
    found = {}
    for path, methods in expanded_resources()[api]["Properties"]["Body"]["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] == [{"AWS_IAM": []}], (method, path)
            uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            key = "$default" if path == "/$default" else f"{'ANY' if method == ANY else method.upper()} {path}"
            found[key] = re.search(r"\$\{(\w+)\.Arn\}", uri)[1]  # type: ignore[index]
    return found


def token_routes() -> dict[str, tuple[str, Any]]:
    """Route key -> the function that it leads to, and the scopes that it demands, of the address for tokens."""
    found = {}
    for name, one in resources("AWS::ApiGatewayV2::Route").items():
        route = one["Properties"]
        assert (route["AuthorizationType"], words(route["AuthorizerId"])) == ("JWT", "TokenApiAuthorizer"), name
        integration = properties(words(route["Target"]).removeprefix("integrations/${").removesuffix("}"))
        function = words(integration["IntegrationUri"]).removesuffix(".Arn")
        found[route["RouteKey"]] = function, route["AuthorizationScopes"]
    return found


def documented() -> set[tuple[str, str]]:
    """Method and path of every operation of the quota API."""
    return {(method.upper(), path) for path, methods in openapi.document()["paths"].items() for method in methods}


def leads_to(routes: dict[str, Any], method: str, path: str) -> Any:
    """What a request gets: API Gateway takes the route with its method and path, then any method, then the rest."""
    return next(routes[key] for key in (f"{method} {path}", f"ANY {path}", "$default") if key in routes)


def test_every_operation_has_a_function_and_reports_have_their_own() -> None:
    for routes in (signed_routes("QuotaApi"), {key: one[0] for key, one in token_routes().items()}):
        for method, path in documented():
            is_report = f"ANY {path}" in REPORT_ROUTES
            function = "ReportApiFunction" if is_report else "QuotaApiFunction"
            assert leads_to(routes, method, path) == function, (method, path)
            assert leads_to(routes, "PATCH", path) == function, "what answers a path says which methods it has"
            assert bool(REPORTS.fullmatch(path.replace("{tenant}", "acme"))) is is_report, "the tests' gateway agrees"


def test_signed_routes_are_those_of_the_documents_and_one_for_anything_else() -> None:
    """So that what is not there is a problem document as well."""
    quota = {f"{method} {path}" for method, path in documented() if f"ANY {path}" not in REPORT_ROUTES}
    assert set(signed_routes("QuotaApi")) == quota | REPORT_ROUTES | {"$default"}
    admin = admin_openapi.document()["paths"]
    named = {f"{method.upper()} {path}" for path, methods in admin.items() for method in methods}
    assert set(signed_routes("AdminApi")) == named | {"$default"}


def test_a_route_for_tokens_demands_the_scopes_that_the_function_does() -> None:
    routes = token_routes()
    assert routes.pop("ANY /v1/admin/{proxy+}") == ("AdminApiFunction", [ADMIN_SCOPE])
    for key, (_, scopes) in routes.items():
        condition, demanded, otherwise = scopes["Fn::If"]
        assert (condition, otherwise) == ("DemandsScopes", {"Ref": "AWS::NoValue"}), key
        method = "GET" if key.partition(" ")[0] in {"ANY", "GET", "$default"} else "POST"
        assert tuple(demanded) == scopes_for(method), key
    # What changes something has a route of its own: the one for the rest lets readers in.
    changing = {f"{method} {path}" for method, path in documented() if method != "GET"}
    assert changing <= set(routes)
    assert load_template()["Conditions"]["DemandsScopes"] == {"Fn::Equals": [{"Ref": "JwtScopes"}, "demanded"]}
    parameter = load_template()["Parameters"]["JwtScopes"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("demanded", ["demanded", "ignored"])
    for function in ("QuotaApiFunction", "ReportApiFunction"):
        assert words(properties(function)["Environment"]["Variables"]["JWT_SCOPES"]) == "JwtScopes"
    assert {READ_SCOPE, RESERVE_SCOPE, ADMIN_SCOPE} == {
        f"bedrock-meter/{word}" for word in ("read", "reserve", "admin")
    }


@pytest.mark.parametrize("stage", ["QuotaApiApiGatewayDefaultStage", "TokenApiStage"])
def test_reports_are_slower_than_decisions_at_both_addresses(stage: str) -> None:
    found = expanded_resources()[stage]["Properties"]
    assert words(found["DefaultRouteSettings"]["ThrottlingRateLimit"]) == "ApiRequestsPerSecond"
    assert words(found["DefaultRouteSettings"]["ThrottlingBurstLimit"]) == "ApiBurst"
    assert set(found["RouteSettings"]) == REPORT_ROUTES
    defaults = {name: load_template()["Parameters"][name]["Default"] for name in ("ApiRequestsPerSecond", "ApiBurst")}
    for route, settings in found["RouteSettings"].items():
        assert settings["DetailedMetricsEnabled"] is True, "settings of a route stand for all of the stage's"
        assert 0 < settings["ThrottlingRateLimit"] * 100 <= defaults["ApiRequestsPerSecond"], route
        assert 0 < settings["ThrottlingBurstLimit"] * 100 <= defaults["ApiBurst"], route
        assert all(type(settings[name]) is int for name in ("ThrottlingRateLimit", "ThrottlingBurstLimit"))


def test_the_stage_for_tokens_waits_for_the_routes_that_it_has_settings_of() -> None:
    waits = load_template()["Resources"]["TokenApiStage"]["DependsOn"]
    assert {properties(name)["RouteKey"] for name in waits} == REPORT_ROUTES | {"$default"}


def test_reports_can_have_concurrency_of_their_own_and_share_by_default() -> None:
    parameter = load_template()["Parameters"]["ReportConcurrency"]
    assert (parameter["Type"], parameter["Default"], parameter["MinValue"]) == ("Number", 0, 0)
    reserved = properties("ReportApiFunction")["ReservedConcurrentExecutions"]
    assert words(reserved) == "ReportConcurrency if HasReportConcurrency else AWS::NoValue"
    condition = load_template()["Conditions"]["HasReportConcurrency"]
    assert condition == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReportConcurrency"}, 0]}]}


def test_tokens_are_taken_at_an_address_of_their_own_or_not_at_all() -> None:
    """Throttled and logged as the signed one is."""
    names = [name for name in expanded_resources() if name.startswith("TokenApi")]
    assert len(names) == 18
    assert {expanded_resources()[name]["Condition"] for name in names} == {"TakesTokens", "TakesAdminTokens"}
    authorizer = properties("TokenApiAuthorizer")
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    told = {name: words(value) for name, value in authorizer["JwtConfiguration"].items()}
    assert told == {"Issuer": "JwtIssuer", "Audience": "JwtAudience"}
    stage = properties("TokenApiStage")
    signed = expanded_resources()["QuotaApiApiGatewayDefaultStage"]["Properties"]
    assert stage["DefaultRouteSettings"] == signed["DefaultRouteSettings"]
    assert stage["RouteSettings"] == signed["RouteSettings"]
    assert json.loads(words(stage["AccessLogSettings"]["Format"]))["caller"] == "$context.authorizer.claims.sub"


def test_administrators_with_tokens_need_the_scope_at_the_gateway_too() -> None:
    names = ("TokenApiAdminRoute", "TokenApiAdminIntegration", "TokenApiAdminPermission")
    assert {expanded_resources()[name]["Condition"] for name in names} == {"TakesAdminTokens"}
    both = load_template()["Conditions"]["TakesAdminTokens"]["Fn::And"]
    assert {"Condition": "TakesTokens"} in both


def test_the_admin_api_is_throttled_and_logged() -> None:
    stage = expanded_resources()["AdminApiApiGatewayDefaultStage"]["Properties"]
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == 10
    assert stage["DefaultRouteSettings"]["ThrottlingBurstLimit"] == 20
    assert words(stage["AccessLogSettings"]["DestinationArn"]) == "AdminApiAccessLogGroup.Arn"
    assert json.loads(stage["AccessLogSettings"]["Format"])["caller"] == "$context.identity.userArn"
