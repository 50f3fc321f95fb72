"""The APIs as their callers reach them: signed requests through the local stack's gateway to the deployed functions."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.local.endpoint import OPERATOR
from bedrock_meter.local.routes import ApiAccess, ask
from tests.e2e.conftest import Command, Up


@pytest.fixture
def api(up: Up) -> ApiAccess:
    return ApiAccess(**up.state["api"])


@pytest.fixture
def admin(api: ApiAccess) -> ApiAccess:
    return replace(api, access_key=OPERATOR, secret_key=OPERATOR)


def get(access: ApiAccess, path: str, **more: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, text = ask(access, access.url + path, **more)
    media = headers.get("Content-Type", "")
    return status, dict(headers), json.loads(text) if "json" in media else text


def test_usage_of_the_sample_records(api: ApiAccess) -> None:
    status, headers, document = get(api, "/v1/tenants/acme/usage?by=month&group=model")
    assert status == 200, document
    assert headers["X-Request-Id"]
    # The samples are of a few days; whichever months they fall in, every token that the quota route knows is here.
    everything = get(api, "/v1/tenants/acme/usage?by=day&from=2026-01-01&to=2027-01-30")[2]["usage"]
    assert sum(line["requests"] for line in everything) > 0
    status, headers, text = get(api, "/v1/tenants/acme/usage?by=day&group=profile&format=csv")
    assert (status, text.splitlines()[0][:24]) == (200, "period,start,end,profile")


def test_why_acme_is_throttled(api: ApiAccess) -> None:
    status, _, document = get(api, "/v1/tenants/acme/explanation")
    assert status == 200
    assert document["allowed"] is False
    denying = next(one for one in document["limits"] if one["name"] == document["decisive"])
    assert denying["explained"]["total"] > 0
    assert denying["explained"]["models"]


def test_the_document_and_everything_that_is_not_there(api: ApiAccess) -> None:
    status, _, document = get(api, "/v1/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    for path, method, expected in (("/v1/nothing", "GET", 404), ("/v1/tenants/acme/quota", "PUT", 405)):
        status, headers, problem = get(api, path, method=method)
        assert (status, problem["status"]) == (expected, expected)
        assert headers["Content-Type"] == "application/problem+json"
    assert get(api, "/v1/nothing", signed=False)[0] == 403
    assert get(api, "/v1/tenants/acme/quota?surplus=1")[0] == 400


def test_administrators_change_tenants_under_versions_and_callers_of_the_quota_api_do_not(
    api: ApiAccess, admin: ApiAccess
) -> None:
    def call(path: str, method: str = "GET", access: ApiAccess = admin, **more: Any) -> tuple[int, Any, Any]:
        status, headers, text = ask(access, api.admin_url + path, method, **more)
        return status, headers, json.loads(text)

    tenant = "/v1/admin/tenants/by-admin"
    assert call(tenant, access=api)[0] == 403
    assert call(tenant, signed=False)[0] == 403
    definition = {"timezone": "UTC", "limits": [{"meter": "requests", "window": "day", "max": 0}]}
    status, headers, made = call(tenant, "PUT", body=definition, headers={"If-None-Match": "*"})
    assert status == 200, made
    quota = get(api, "/v1/tenants/by-admin/quota")[2]
    assert (quota["allowed"], quota["limits"][0]["max"]) == (False, 0)
    limits = {"limits": [{"meter": "requests", "window": "day", "max": 9}]}
    assert call(f"{tenant}/limits", "PUT", body=limits)[0] == 428
    status, _, changed = call(f"{tenant}/limits", "PUT", body=limits, headers={"If-Match": headers["ETag"]})
    assert (status, changed["limits"][0]["max"]) == (200, 9)
    assert call(f"{tenant}/limits", "PUT", body=limits, headers={"If-Match": headers["ETag"]})[0] == 412
    assert get(api, "/v1/tenants/by-admin/quota")[2]["allowed"] is True
    stopped = call(f"{tenant}/suspension", "PUT", body={"reason": "invoice 7 is open"})[2]["suspended"]
    status, answered, quota = get(api, "/v1/tenants/by-admin/quota")
    assert (quota["allowed"], quota["suspended"], "Retry-After" in answered) == (False, stopped, False)
    assert ask(admin, f"{api.admin_url}{tenant}/suspension", "DELETE")[0] == 204
    assert get(api, "/v1/tenants/by-admin/quota")[2]["allowed"] is True
    log = call(f"{tenant}/audit")[2]["changes"]
    assert [one["what"] for one in log] == ["resume", "suspend", "put limits", "put"]
    assert all(one["by"].startswith("arn:") for one in log)
    signing = {"AWS_ACCESS_KEY_ID": OPERATOR, "AWS_SECRET_ACCESS_KEY": OPERATOR, "AWS_DEFAULT_REGION": "us-east-1"}
    command = Command({**os.environ, **signing})
    shown = command("tenants", "history", "by-admin", "--api", api.admin_url, "--output", "json")
    assert (shown.returncode, json.loads(shown.stdout)) == (0, log), shown.stderr
    assert "by-admin" in {one["id"] for one in call("/v1/admin/tenants?limit=200")[2]["tenants"]}
