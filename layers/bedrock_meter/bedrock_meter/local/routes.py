"""The quota API on a local stack: the routes that it does not import itself, and somebody who may call them.

The local stack ignores an HTTP API's OpenAPI body. The routes are taken from that very body, as the SAM transform wrote
it into the deployed stack's template, so that the template stays the only place that defines them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedrock_meter.local.deployment import Deployment
from bedrock_meter.local.endpoint import REGION, Endpoint
from bedrock_meter.local.failures import LocalStackFailed

CALLER = "quota-api-caller"
SERVICE = "execute-api"
_FUNCTION = re.compile(r"functions/\$\{(\w+)\.Arn\}/invocations$")
_SIGNED = "awsSigv4"


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How to call the quota API.

    Attributes:
        url: Base address, without a trailing slash.
        access_key: Of an IAM user that may call this API and do nothing else.
        secret_key: Its secret.
        admin_url: Base address of the admin API, which this user may not call.
    """

    url: str
    access_key: str
    secret_key: str
    admin_url: str = ""

    def quota_url(self, tenant: str) -> str:
        """Return the address of a tenant's quota."""
        return f"{self.url}/v1/tenants/{tenant}/quota"

    def curl(self, tenant: str) -> str:
        """Return a command that asks for a tenant's quota, for a shell."""
        signature = f"aws:amz:{REGION}:{SERVICE}"
        user = f"{self.access_key}:{self.secret_key}"
        return f"curl --silent --aws-sigv4 {signature} --user {user} {self.quota_url(tenant)}"


def open_api(deployment: Deployment) -> ApiAccess:
    """Register the routes and create the caller.

    Raises:
        LocalStackFailed: The API's definition holds something that cannot be registered.
    """
    endpoint = deployment.endpoint
    api_id = deployment.outputs["QuotaApiId"]
    admin_id = deployment.outputs["AdminApiId"]
    for one in (api_id, admin_id):
        _register_routes(endpoint, deployment.name, one)
    account = endpoint.client("sts").get_caller_identity()["Account"]
    iam = endpoint.client("iam")
    iam.create_user(UserName=CALLER)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "execute-api:Invoke",
                "Resource": f"arn:aws:execute-api:{REGION}:{account}:{api_id}/*",
            }
        ],
    }
    iam.put_user_policy(UserName=CALLER, PolicyName="call-quota-api", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=CALLER)["AccessKey"]
    base = f"{endpoint.url}/_aws/execute-api"
    return ApiAccess(f"{base}/{api_id}", key["AccessKeyId"], key["SecretAccessKey"], f"{base}/{admin_id}")


def ask_quota(access: ApiAccess, tenant: str, *, signed: bool = True) -> tuple[int, Any]:
    """Ask the quota API over HTTP; returns the status and the JSON document of the answer."""
    status, _, text = ask(access, access.quota_url(tenant), signed=signed)
    return status, json.loads(text)


def ask(
    access: ApiAccess,
    url: str,
    method: str = "GET",
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    signed: bool = True,
) -> tuple[int, Mapping[str, str], str]:
    """Send a request to one of the APIs; returns status, headers and text of the answer.

    Args:
        access: Whose signature it carries.
        url: Whole address.
        method: HTTP method.
        body: Sent as JSON; None sends none.
        headers: Further headers.
        signed: Whether it is signed at all.
    """
    import urllib.error
    import urllib.request

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    data = None if body is None else json.dumps(body).encode()
    named = {**({} if data is None else {"Content-Type": "application/json"}), **(headers or {})}
    request = AWSRequest(method, url, data=data, headers=named)
    if signed:
        SigV4Auth(Credentials(access.access_key, access.secret_key), SERVICE, REGION).add_auth(request)
    sent = urllib.request.Request(url, data, dict(request.headers), method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, dict(refusal.headers), refusal.read().decode()


def _register_routes(endpoint: Endpoint, stack_name: str, api_id: str) -> None:
    api = endpoint.client("apigatewayv2")
    if api.get_routes(ApiId=api_id)["Items"]:
        return
    cloudformation = endpoint.client("cloudformation")
    template = cloudformation.get_template(StackName=stack_name, TemplateStage="Processed")["TemplateBody"]
    if isinstance(template, str):
        template = json.loads(template)
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    physical = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
    functions = endpoint.client("lambda")
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::ApiGatewayV2::Api" or physical.get(name) != api_id:
            continue
        definition = resource["Properties"]["Body"]
        for path, operations in definition["paths"].items():
            for method, operation in operations.items():
                function = physical[_function_of(operation)]
                arn = functions.get_function(FunctionName=function)["Configuration"]["FunctionArn"]
                integration = api.create_integration(
                    ApiId=api_id,
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=arn,
                    PayloadFormatVersion=operation["x-amazon-apigateway-integration"]["payloadFormatVersion"],
                )
                api.create_route(
                    ApiId=api_id,
                    RouteKey=_route_key(method, path),
                    Target=f"integrations/{integration['IntegrationId']}",
                    AuthorizationType=_authorization_of(definition, operation),
                )


def _route_key(method: str, path: str) -> str:
    if path.lstrip("/") == "$default":
        return "$default"
    return f"{'ANY' if method.startswith('x-') else method.upper()} {path}"


def _function_of(operation: Mapping[str, Any]) -> str:
    uri = operation["x-amazon-apigateway-integration"]["uri"]
    found = _FUNCTION.search(uri["Fn::Sub"]) if isinstance(uri, dict) and isinstance(uri.get("Fn::Sub"), str) else None
    if found is None:
        raise LocalStackFailed(f"the quota API has an integration that is no function: {json.dumps(uri)}")
    return found[1]


def _authorization_of(definition: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    schemes = definition.get("components", {}).get("securitySchemes", {})
    names = [name for requirement in operation.get("security", []) for name in requirement]
    kinds = {schemes.get(name, {}).get("x-amazon-apigateway-authtype") for name in names}
    if not kinds:
        return "NONE"
    if kinds != {_SIGNED}:
        raise LocalStackFailed(f"the quota API is protected by something other than signatures: {', '.join(names)}")
    return "AWS_IAM"
