"""What all tenants share, and what each may see of it: reports, tokens, suspensions, cursors, and who trusts whom."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.http import token
from tests.findings.world import START_MS, Findings
from tests.template.reading import load_template, resources, words

ROOT = Path(__file__).resolve().parents[2]
OWN = "a1c3m5e7k9q2"
LIMIT = {"name": "tokens", "meter": "total_tokens", "window": "day", "max": 1_000, "hard": True}
ACME, ADMIN = "/v1/tenants/acme", "/v1/admin/tenants/acme"
BUSY = "urn:bedrock-meter:tenant-busy"
DAY_MS = 86_400_000


@pytest.fixture
def acme(stack: Findings) -> Findings:
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": OWN}], "limits": [LIMIT]})
    stack.log(stack.record(OWN, {"inputTokenCount": 10}))
    return stack


# --- H3: reports


def functions_of(path: str) -> set[str]:
    """Logical ids of the functions that have a route of this path."""
    return {
        name
        for name, one in resources("AWS::Serverless::Function").items()
        for event in one["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi" and event["Properties"].get("Path") == path
    }


@pytest.mark.parametrize("report", ["/v1/tenants/{tenant}/usage", "/v1/tenants/{tenant}/explanation"])
def test_reports_are_no_neighbours_of_decisions(report: str) -> None:
    reporting = functions_of(report)
    assert not reporting & functions_of("/v1/tenants/{tenant}/quota"), "they take each other's concurrency"
    (name,) = reporting
    function = resources("AWS::Serverless::Function")[name]["Properties"]
    assert "ReservedConcurrentExecutions" in function
    (route,) = (one["Properties"] for one in function["Events"].values() if one["Properties"].get("Path") == report)
    assert route["RouteSettings"]["ThrottlingRateLimit"] < 200


@pytest.mark.parametrize("report", ["usage", "explanation"])
def test_the_reports_of_one_tenant_are_bounded_and_decisions_are_not(acme: Findings, report: str) -> None:
    acme.tenant("globex", {"timezone": "UTC", "limits": [LIMIT]})
    answers = [acme.ask("GET", f"{ACME}/{report}") for _ in range(400)]
    statuses = [status for status, _ in answers]
    assert 429 in statuses, "400 reports of one tenant in a row"
    assert statuses[:20] == [200] * 20
    busy = answers[statuses.index(429)][1]
    assert (busy["type"], busy["retry_after_seconds"] >= 1) == (BUSY, True)
    assert acme.ask("GET", f"/v1/tenants/globex/{report}")[0] == 200
    assert acme.ask("GET", f"{ACME}/quota")[0] == 200
    acme.later(busy["retry_after_seconds"])
    assert acme.ask("GET", f"{ACME}/{report}")[0] == 200


def test_usage_is_read_for_half_the_price(acme: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    call = acme.double.call

    def listening(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "Query":
            asked.append(request.get("ConsistentRead"))
        answer: dict[str, Any] = call(operation, request)
        return answer

    monkeypatch.setattr(acme.double, "call", listening)
    status, said = acme.ask("GET", f"{ACME}/usage")
    assert (status, said["usage"][0]["requests"]) == (200, 1)
    assert asked
    assert not any(asked), "a report that decides nothing is read consistently, at twice the price"


# --- M3: what a token may

RESERVE = {"key": "k1", "estimate": {"input_tokens": 5}}


@pytest.mark.parametrize("scope", ["openid profile", "bedrock-meter/admin", "bedrock-meter/read"])
def test_a_token_that_may_read_or_nothing_holds_nothing(acme: Findings, scope: str) -> None:
    status, said = acme.ask("POST", f"{ACME}/reservations", RESERVE, caller=token("acme", scope=scope))
    assert status == 403, said
    assert "bedrock-meter/reserve" in said["detail"]
    assert acme.quota("acme", "tokens")["reserved"] == 0


@pytest.mark.parametrize("resource", ["quota", "usage", "explanation"])
def test_a_token_without_a_scope_reads_nothing(acme: Findings, resource: str) -> None:
    status, said = acme.ask("GET", f"{ACME}/{resource}", caller=token("acme", scope="openid"))
    assert status == 403, said
    assert acme.ask("GET", f"{ACME}/{resource}", caller=token("acme", scope="bedrock-meter/read"))[0] == 200


def test_the_gateway_demands_scopes_on_each_route_for_tokens() -> None:
    routes = [one["Properties"] for one in resources("AWS::ApiGatewayV2::Route").values()]
    without = [route["RouteKey"] for route in routes if "AuthorizationScopes" not in route]
    assert without == []
    changing = [route for route in routes if re.match(r"(POST|DELETE) .*/reservations", route["RouteKey"])]
    assert len(changing) == 3
    assert not any("bedrock-meter/read" in json.dumps(route["AuthorizationScopes"]) for route in changing)


# --- M4: who suspended, and why

PERSON, REASON = "arn:aws:sts::123456789012:assumed-role/service/session", "owes since March, see CASE-9"


def test_a_suspended_tenant_reads_neither_who_did_it_nor_why(acme: Findings) -> None:
    status, said = acme.ask("PUT", f"{ADMIN}/suspension", {"reason": REASON}, function="admin_api")
    assert (status, said["suspended"]["by"], said["suspended"]["reason"]) == (200, PERSON, REASON)
    acme.later(120)
    answers = {
        "quota": acme.ask("GET", f"{ACME}/quota"),
        "explanation": acme.ask("GET", f"{ACME}/explanation"),
        "usage": acme.ask("GET", f"{ACME}/usage"),
        "denial": acme.ask("POST", f"{ACME}/reservations", RESERVE),
        "event": (200, acme.evaluate("acme")),
    }
    assert answers["quota"][1]["allowed"] is False
    assert answers["quota"][1]["suspended"]["since"]
    assert answers["denial"][0] == 429
    assert "Tenant Suspended" in json.dumps(answers["event"][1])
    leaks = [name for name, (_, said) in answers.items() if PERSON in json.dumps(said) or "CASE-9" in json.dumps(said)]
    assert leaks == []


def test_a_tenant_reads_what_was_written_for_it(acme: Findings) -> None:
    body = {"reason": REASON, "public_reason": "Please call us."}
    status, said = acme.ask("PUT", f"{ADMIN}/suspension", body, function="admin_api")
    assert status == 200, said
    acme.later(120)
    assert acme.ask("GET", f"{ACME}/quota")[1]["suspended"]["public_reason"] == "Please call us."


# --- L3: cursors that nobody gave out


def cursor(*values: object, of: tuple[str, ...]) -> str:
    """A cursor as anybody can make one who has read how they are made."""
    digest = hashlib.sha256(json.dumps(list(of)).encode()).hexdigest()[:16]
    text = json.dumps([1, digest, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_step_of_an_erasure_from_nowhere_is_refused(acme: Findings) -> None:
    assert acme.ask("DELETE", ADMIN, function="admin_api")[0] == 200
    acme.later(600)
    body = {"cursor": cursor("x", of=("erasure", "acme"))}
    status, said = acme.ask("POST", f"{ADMIN}/erasure", body, function="admin_api")
    assert (status, said.get("field")) == (400, "cursor")


@pytest.mark.parametrize("key", ["TENANT", "AUDIT#", "x"])
def test_a_page_of_the_history_from_nowhere_is_refused(acme: Findings, key: str) -> None:
    query = f"cursor={cursor(key, of=('audit', 'acme'))}"
    status, said = acme.ask("GET", f"{ADMIN}/audit", function="admin_api", query=query)
    assert (status, said.get("field")) == (400, "cursor")


@pytest.mark.parametrize(("by", "days"), [("hour", 62), ("day", 400), ("month", 400)])
def test_a_cursor_opens_no_longer_range_than_its_query_may_ask_for(acme: Findings, by: str, days: int) -> None:
    end_ms = START_MS // 900_000 * 900_000
    for from_ms, to_ms in ((end_ms - (days + 2) * DAY_MS, end_ms), (0, 90_000_000_000_000)):
        made = cursor(from_ms, to_ms, 0, of=("acme", by, "none", "", ""))
        status, said = acme.ask("GET", f"{ACME}/usage", query=f"by={by}&cursor={made}")
        assert (status, said.get("field")) == (400, "cursor")


# --- M8, L7, L10: who trusts whom


def test_nobody_but_the_meter_publishes_on_its_bus() -> None:
    policies = [
        one["Properties"]["Statement"]
        for one in load_template()["Resources"].values()
        if one["Type"] == "AWS::Events::EventBusPolicy"
    ]
    denying = [one for one in policies if (one["Effect"], one["Principal"]) == ("Deny", "*")]
    assert [one["Action"] for one in denying] == ["events:PutEvents"]
    assert "aws:PrincipalArn" in json.dumps(denying[0]["Condition"])


def test_prompts_can_be_under_a_key_of_the_operators() -> None:
    (group,) = (
        one["Properties"]
        for name, one in resources("AWS::Logs::LogGroup").items()
        if "InvocationLogRetentionDays" in json.dumps(one)
    )
    assert "KmsKeyId" in group


def test_every_permission_names_the_account_and_every_schedule_its_group() -> None:
    permissions = {name: one["Properties"] for name, one in resources("AWS::Lambda::Permission").items()}
    assert [name for name, one in permissions.items() if "SourceAccount" not in one] == []
    roles = {name: one["Properties"]["AssumeRolePolicyDocument"] for name, one in resources("AWS::IAM::Role").items()}
    scheduled = {name: trust for name, trust in roles.items() if "scheduler.amazonaws.com" in json.dumps(trust)}
    assert scheduled
    assert [name for name, trust in scheduled.items() if "aws:SourceArn" not in json.dumps(trust)] == []


# --- L5: policies to copy


def resources_of_examples() -> list[str]:
    """Every resource of an HTTP API in a JSON example of the documents, for the tenant acme."""
    found = []
    for document in (ROOT / "docs").glob("*.md"):
        for example in re.findall(r"```json\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            found += re.findall(r'"(arn:aws:execute-api:[^"]+)"', example)
    return [one.replace("${aws:PrincipalTag/tenant}", "acme") for one in found]


def test_a_policy_of_the_documents_opens_no_path_that_begins_at_another_tenant() -> None:
    examples = resources_of_examples()
    assert len(examples) > 3
    wrong = []
    for one in examples:
        head = one.split("/")[0]
        pattern = re.compile(re.escape(one).replace(r"\*", ".*"))
        for stage in ("$default", "other"):
            for path in (
                "v1/tenants/globex/v1/tenants/acme/quota",
                "v1/tenants/globex/x/v1/tenants/acme/reservations/1",
            ):
                if pattern.fullmatch(f"{head}/{stage}/GET/{path}"):
                    wrong.append(words(one))
    assert wrong == []
