"""Bearer tokens against the template's own authorizer: an issuer on loopback, whose signatures the local stack checks.

The stack that `up` serves is updated as an operator would, with the three parameters of tokens. Only the issuer's
address is put in afterwards: the template demands https, and the issuer of a test has no certificate.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.routes import ApiAccess, ask
from tests.e2e.conftest import Up
from tests.e2e.issuer import Issuer, Key, issuing

PARAMETERS = {"JwtIssuer": "https://issuer.example.com", "JwtAudience": "bedrock-meter,other", "JwtAdmins": "true"}
QUOTA = "/v1/tenants/acme/quota"
UPDATE_S = 60


@dataclass(frozen=True)
class Door:
    """The address for tokens, who issues them, and a key under the same name that is nobody's."""

    access: ApiAccess
    url: str
    issuer: Issuer
    foreign: Key

    def token(self, *, key: Key | None = None, **claims: Any) -> str:
        """Return a token that is good for a tenant, but for what ``claims`` says; None takes a claim away."""
        now = int(time.time())
        good = {"sub": "user-7", "aud": "bedrock-meter", "iat": now - 5, "exp": now + 600, "tenant_id": "acme"}
        good["scope"] = "openid bedrock-meter/read bedrock-meter/reserve"
        return self.issuer.token({name: one for name, one in {**good, **claims}.items() if one is not None}, key)

    def ask(
        self, path: str, token: str | None, method: str = "GET", body: object = None
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request; returns status, headers and document."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        status, answered, text = ask(self.access, self.url + path, method, body=body, headers=headers, signed=False)
        return status, dict(answered), json.loads(text or "null")


@pytest.fixture(scope="module")
def door(up: Up) -> Iterator[Door]:
    endpoint, name = Endpoint(up.state["endpoint"]), up.state["stack_name"]
    cloudformation, gateway = endpoint.client("cloudformation"), endpoint.client("apigatewayv2")

    def stack() -> Any:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]

    kept = {one["ParameterKey"] for one in stack()["Parameters"]} - PARAMETERS.keys()
    changed: list[dict[str, Any]] = [
        {"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()
    ]
    cloudformation.update_stack(
        StackName=name,
        UsePreviousTemplate=True,
        Parameters=changed + [{"ParameterKey": key, "UsePreviousValue": True} for key in kept],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    deadline = time.monotonic() + UPDATE_S
    while stack()["StackStatus"].endswith("_IN_PROGRESS") and time.monotonic() < deadline:
        time.sleep(0.1)
    updated = stack()
    assert updated["StackStatus"] == "UPDATE_COMPLETE"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in updated["Outputs"]}
    api = outputs["TokenApiUrl"].removeprefix("https://").partition(".")[0]
    (authorizer,) = gateway.get_authorizers(ApiId=api)["Items"]
    audience = ["bedrock-meter", "other"]
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["JwtConfiguration"] == {"Issuer": PARAMETERS["JwtIssuer"], "Audience": audience}
    with issuing() as issuer:
        gateway.update_authorizer(
            ApiId=api,
            AuthorizerId=authorizer["AuthorizerId"],
            JwtConfiguration={"Issuer": issuer.url, "Audience": audience},
        )
        url = f"{endpoint.url}/_aws/execute-api/{api}"
        yield Door(ApiAccess(**up.state["api"]), url, issuer, Key.make(issuer.key.name))


def test_a_token_opens_its_own_tenant_and_every_other_one_is_as_if_it_did_not_exist(door: Door) -> None:
    status, headers, document = door.ask(QUOTA, door.token())
    assert (status, document["tenant"]) == (200, "acme"), document
    assert "RateLimit" in headers
    assert door.ask(QUOTA, door.token(aud=["other", "third"]))[0] == 200
    answers = [
        door.ask("/v1/tenants/globex/quota", door.token()),  # is there
        door.ask("/v1/tenants/nobody/quota", door.token()),  # is not
        door.ask(QUOTA, door.token(tenant_id="ACME")),
        door.ask(QUOTA, door.token(tenant_id=None)),
        door.ask("/v1/tenants/globex/reservations", door.token(), "POST", {"key": "x", "estimate": {}}),
    ]
    assert [status for status, _, _ in answers] == [404] * len(answers)
    assert all(document == answers[0][2] for _, _, document in answers)
    ours = {"Content-Type", "Cache-Control", "Content-Length"}
    assert len({tuple(sorted((k, v) for k, v in headers.items() if k in ours)) for _, headers, _ in answers}) == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda door: None, id="no token"),
        pytest.param(lambda door: "not.a.token", id="no JWT"),
        pytest.param(lambda door: door.token(exp=int(time.time()) - 1), id="expired"),
        pytest.param(lambda door: door.token(nbf=int(time.time()) + 600), id="not valid yet"),
        pytest.param(lambda door: door.token(aud="somebody-else"), id="for somebody else"),
        pytest.param(lambda door: door.token(iss="https://issuer.example.org"), id="by another issuer"),
        pytest.param(
            lambda door: door.token(key=door.foreign),
            id="signed with another key of the same name",
        ),
        pytest.param(lambda door: swapped(door.token(), door.token(tenant_id="globex")), id="claims exchanged"),
    ],
)
@pytest.mark.parametrize("path", [QUOTA, "/v1/admin/tenants/acme"])
def test_a_token_that_is_wrong_opens_nothing(door: Door, spoilt: Callable[[Door], str | None], path: str) -> None:
    status, _, document = door.ask(path, spoilt(door))
    assert (status, document) == (401, {"message": "Unauthorized"})


def test_a_token_may_what_its_scopes_say_and_the_gateway_says_so_first(door: Door) -> None:
    reservations = "/v1/tenants/acme/reservations"
    body = {"key": "of-a-token", "estimate": {"input_tokens": 1}}
    changing = [("POST", reservations), ("POST", f"{reservations}/r1/settlement"), ("DELETE", f"{reservations}/r1")]
    reading = [
        QUOTA,
        "/v1/tenants/acme/usage",
        "/v1/tenants/acme/explanation",
        f"{reservations}/r1",
        "/v1/openapi.json",
    ]
    nobody, reader = door.token(scope="openid"), door.token(scope="bedrock-meter/read")
    for method, path in changing:
        for token in (nobody, reader):
            refused = door.ask(path, token, method, body if path == reservations else None)
            assert (refused[0], refused[2]) == (403, {"message": "Forbidden"}), (method, path)
    for path in reading:
        assert door.ask(path, nobody)[0] == 403, path
        assert door.ask(path, reader)[0] == (404 if path.endswith("r1") else 200), path
    # A route that the gateway does not know demands no more than reading; the function then demands its own.
    status, _, document = door.ask("/v1/tenants/acme/usage", reader, "POST", {})
    assert (status, document["title"]) == (403, "Scope missing")
    reserver = door.token(scope="bedrock-meter/reserve")
    assert door.ask(QUOTA, reserver)[0] == 200
    assert door.ask(f"{reservations}/r1", reserver, "DELETE")[0] == 404


def swapped(token: str, other: str) -> str:
    """The claims of another token under this one's signature."""
    header, _, signature = token.split(".")
    return ".".join((header, other.split(".")[1], signature))


def test_administrators_need_the_scope_and_are_noted_by_their_subject(door: Door) -> None:
    acme = "/v1/admin/tenants/acme"
    for token in (door.token(), door.token(scope="bedrock-meter/read"), door.token(scope="bedrock-meter/admins")):
        for method, path, body in (
            ("GET", acme, None),
            ("GET", "/v1/admin/tenants", None),
            ("PUT", f"{acme}/suspension", {"reason": "x"}),
            ("DELETE", acme, None),
        ):
            assert door.ask(path, token, method, body)[0] == 403, (method, path)
    admin = door.token(sub="admin-1", tenant_id=None, scope="openid bedrock-meter/admin")
    assert door.ask(acme, admin)[2]["id"] == "acme"
    # An administrator of the token's kind is bound to no tenant there, and still to its own at the quota API.
    assert door.ask(QUOTA, admin)[0] == 403
    reader = door.token(sub="admin-1", tenant_id=None, scope="bedrock-meter/admin bedrock-meter/read")
    assert door.ask(QUOTA, reader)[0] == 404
    assert door.ask(f"{acme}/suspension", admin, "PUT", {"reason": "of the token"})[0] == 200
    assert set(door.ask(QUOTA, door.token())[2]["suspended"]) == {"public_reason", "since"}
    assert door.ask(f"{acme}/suspension", admin, "DELETE")[0] == 204
    newest = door.ask(f"{acme}/audit?limit=2", admin)[2]["changes"]
    assert [(one["what"], one["by"]) for one in newest] == [("resume", "jwt:admin-1"), ("suspend", "jwt:admin-1")]
