from typing import Any

import pytest

from bedrock_meter.local.failures import LocalStackFailed
from bedrock_meter.local.routes import ApiAccess, _authorization_of, _function_of, _route_key

SIGNED = {"components": {"securitySchemes": {"AWS_IAM": {"x-amazon-apigateway-authtype": "awsSigv4"}}}}
JWT = {"components": {"securitySchemes": {"Jwt": {"type": "oauth2"}}}}


def operation(uri: Any, **more: Any) -> dict[str, Any]:
    return {"x-amazon-apigateway-integration": {"uri": uri}, **more}


def test_a_route_leads_to_the_function_that_the_definition_names() -> None:
    uri = {"Fn::Sub": "arn:${AWS::Partition}:apigateway:r:lambda:path/2015-03-31/functions/${QuotaApi.Arn}/invocations"}
    assert _function_of(operation(uri)) == "QuotaApi"


@pytest.mark.parametrize("uri", ["https://example.com", {"Fn::Sub": "https://${Host}/"}, {"Ref": "X"}])
def test_another_integration_is_refused_rather_than_left_out(uri: Any) -> None:
    with pytest.raises(LocalStackFailed):
        _function_of(operation(uri))


def test_protection_is_taken_over_or_the_route_is_refused() -> None:
    assert _authorization_of(SIGNED, operation("x", security=[{"AWS_IAM": []}])) == "AWS_IAM"
    assert _authorization_of(SIGNED, operation("x")) == "NONE"
    with pytest.raises(LocalStackFailed):
        _authorization_of(JWT, operation("x", security=[{"Jwt": []}]))


def test_routes_are_named_as_the_gateway_names_them() -> None:
    assert _route_key("get", "/v1/tenants/{tenant}/quota") == "GET /v1/tenants/{tenant}/quota"
    assert _route_key("x-amazon-apigateway-any-method", "/v1/all") == "ANY /v1/all"
    assert _route_key("x-amazon-apigateway-any-method", "/$default") == "$default"


def test_the_curl_line_is_safe_to_paste() -> None:
    access = ApiAccess("http://127.0.0.1:9/_aws/execute-api/abc", "AKIA", "secret")
    assert access.curl("acme") == (
        "curl --silent --aws-sigv4 aws:amz:us-east-1:execute-api --user AKIA:secret "
        "http://127.0.0.1:9/_aws/execute-api/abc/v1/tenants/acme/quota"
    )
