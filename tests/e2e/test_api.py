"""The APIs as their callers reach them: signed requests through the local stack's gateway to the deployed functions."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.clock import iso, now_ms
from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.local.endpoint import OPERATOR
from bedrock_meter.local.routes import ApiAccess, ask
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
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
    assert float(denying["explained"]["total"]) > 0
    assert denying["explained"]["models"]


HOLDING = """
tenants:
  - id: holder
    profiles: [{id: holderprof01, model: anthropic.claude-sonnet-4-6}]
    limits:
      - {meter: total_tokens, window: 1h, max: 1000, hard: true}
      - {meter: cost_usd, window: day, max: 5, hard: true, models: [anthropic.*]}
      - {meter: requests, window: 1h, max: 0, models: [meta.*]}
"""


def test_a_call_is_reserved_made_and_settled_by_its_record(api: ApiAccess, served: Command, tmp_path: Path) -> None:
    path, file = "/v1/tenants/holder/reservations", tmp_path / "tenants.yaml"
    file.write_text(HOLDING, encoding="utf-8")
    applied = served("tenants", "apply", file, "--yes")
    assert applied.returncode == 0, applied.stderr

    estimate = {"input_tokens": 500, "output_tokens": 300}
    wanted = {"key": "call-1", "model": "anthropic.claude-sonnet-4-6", "estimate": estimate}
    status, headers, held = get(api, path, method="POST", body=wanted)
    assert status == 201, held
    assert headers["Location"] == f"{path}/{held['id']}"
    # 500 in, 300 out of Claude Sonnet 4.6, at $3 and $15 a million, or a tenth more.
    by_meter = {one["meter"]: one["amount"] for one in held["amounts"]}
    assert by_meter["total_tokens"] == 800
    assert 0.006 <= float(by_meter["cost_usd"]) <= 0.0066
    assert held["profile"]["id"] == "holderprof01"
    status, _, again = get(api, path, method="POST", body=wanted)
    assert (status, again) == (200, held)
    assert get(api, path, method="POST", body={**wanted, "estimate": {"input_tokens": 1}})[0] == 409

    other = {"key": "call-2", "profile": "holderprof01", "estimate": {"input_tokens": 201}}
    status, headers, denied = get(api, path, method="POST", body=other)
    assert (status, headers["Retry-After"]) == (429, "1")
    assert (denied["limit"]["reserved"], denied["limit"]["remaining"], denied["requested"]) == (800, 200, 201)
    assert "RateLimit" in headers

    settled = get(api, f"{path}/{held['id']}/settlement", method="POST", body={"usage": {"output_tokens": 100}})[2]
    assert {one["meter"]: one["amount"] for one in settled["amounts"]}["total_tokens"] == 600
    call = invocation("held-1", profile="holderprof01", event_ms=now_ms(), tokens=TokenCounts(450, 90))
    line = tmp_path / "call.jsonl"
    line.write_text(json.dumps({**record_of(call), "requestMetadata": held["metadata"]}), encoding="utf-8")
    assert served.replay("--time", "recorded", line)["recorded"] == 1
    assert get(api, f"{path}/{held['id']}")[2]["status"] == "settled"
    tokens, *_ = get(api, "/v1/tenants/holder/quota")[2]["limits"]
    assert (tokens["used"], tokens["reserved"]) == (540, 0)

    status, _, more = get(
        api, path, method="POST", body={"key": "call-3", "profile": "holderprof01", "estimate": {"input_tokens": 460}}
    )
    assert status == 201
    assert ask(api, f"{api.url}{path}/{more['id']}", "DELETE")[0] == 204
    assert get(api, f"{path}/{more['id']}")[2]["status"] == "released"
    assert (
        get(
            api,
            path,
            method="POST",
            body={"key": "call-3", "profile": "holderprof01", "estimate": {"input_tokens": 460}},
        )[0]
        == 409
    )


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
    reasons = {"reason": "invoice 7 is open", "public_reason": "Please call us."}
    stopped = call(f"{tenant}/suspension", "PUT", body=reasons)[2]["suspended"]
    status, answered, quota = get(api, "/v1/tenants/by-admin/quota")
    assert (quota["allowed"], "Retry-After" in answered) == (False, False)
    assert quota["suspended"] == {name: stopped[name] for name in ("public_reason", "since")}
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


def test_administrators_change_plans_and_boosts(api: ApiAccess, admin: ApiAccess, served: Command) -> None:
    def call(path: str, method: str = "GET", access: ApiAccess = admin, **more: Any) -> tuple[int, Any, Any]:
        status, headers, text = ask(access, api.admin_url + path, method, **more)
        return status, headers, json.loads(text) if text else None

    def maximum() -> tuple[int, int | None]:
        (limit,) = get(api, "/v1/tenants/planned/quota")[2]["limits"]
        return limit["max"], limit.get("base_max")

    plan, tenant = "/v1/admin/plans/by-admin", "/v1/admin/tenants/planned"
    hour = {"name": "hour", "meter": "requests", "window": "1h", "max": 5}
    status, headers, made = call(plan, "PUT", body={"limits": [hour]}, headers={"If-None-Match": "*"})
    assert (status, made["installation"]["finished"]) == (200, True), made
    try:
        assert call(tenant, "PUT", body={"plan": "by-admin"}, headers={"If-None-Match": "*"})[0] == 200
        assert call(plan, "PUT", access=api, body={}, headers={"If-Match": "*"})[0] == 403
        changed = {"limits": [{**hour, "max": 9}]}
        status, _, made = call(plan, "PUT", body=changed, headers={"If-Match": headers["ETag"]})
        assert (status, made["installation"]["changed"], maximum()) == (200, 1, (9, None)), made
        assert call(plan, "PUT", body={"limits": []}, headers={"If-Match": headers["ETag"]})[0] == 412
        status, _, made = call(f"{plan}/installation", "POST")
        assert (status, made["installation"]["changed"], made["installation"]["finished"]) == (200, 0, True)

        to = iso(now_ms() + 3_600_000)
        wanted = {"limit": "hour", "to": to, "factor": 2, "reason": "launch week"}
        status, _, boost = call(f"{tenant}/boosts", "POST", body=wanted)
        assert (status, maximum()) == (201, (18, 9)), boost
        assert call(f"{tenant}/boosts", "POST", body=wanted)[::2] == (200, boost)
        assert call(f"{tenant}/boosts")[2]["boosts"] == call(tenant)[2]["boosts"] == [boost]
        for _ in range(2):
            assert call(f"{tenant}/boosts/{boost['id']}", "DELETE")[0] == 204
        assert (call(f"{tenant}/boosts")[2]["boosts"], maximum()) == ([], (9, None))
        # The command on the tables gives and ends the same ones.
        given = served("tenants", "boost", "planned", "hour", "--amount", "3", "--to", to, "--reason", "more")
        assert (given.returncode, maximum()) == (0, (12, 9)), given.stderr
        (listed,) = json.loads(served("tenants", "boosts", "planned", "--output", "json").stdout)
        assert call(f"{tenant}/boosts")[2]["boosts"] == [listed]
        ended = served("tenants", "end-boost", "planned", listed["id"])
        assert (ended.returncode, maximum()) == (0, (9, None)), ended.stderr
        assert served("tenants", "end-boost", "planned", "0123456789abcdef").returncode == 2
        log = call(f"{tenant}/audit")[2]["changes"]
        assert [one["what"] for one in log[:2]] == ["end boost", "boost"]
        assert [one["what"] for one in log[2:]] == ["end boost", "boost", "plan by-admin", "put"]
        assert call(plan, "DELETE", headers={"If-Match": "*"})[0] == 409
    finally:
        assert call(tenant, "PUT", body={}, headers={"If-Match": "*"})[0] == 200
        assert call(plan, "DELETE", headers={"If-Match": "*"})[0] == 204
    assert call(plan)[0] == 404
    assert [one["what"] for one in call(f"{plan}/audit")[2]["changes"]] == ["remove", "apply", "apply"]
