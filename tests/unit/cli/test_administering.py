"""``tenants ... --api``: the commands over the admin API itself, in process."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import EndpointConnectionError
from botocore.httpsession import URLLib3Session

from bedrock_meter.cli.administering import AdminApi
from bedrock_meter.cli.main import execute
from bedrock_meter.local.failures import BadInput
from bedrock_meter.tenants.ownership import HANDOVER_MS
from tests.doubles.office import FULL, NEW, Office
from tests.doubles.records import NOW_MS

URL = "https://abc123.execute-api.eu-west-1.amazonaws.com"
FILE = """
tenants:
  - id: acme
    name: Acme
    plan: gold
    profiles: [{id: p2, model: a.model}]
    limits: [{meter: total_tokens, window: 1h, max: 2k}]
  - {id: globex}
"""


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    """The admin API behind botocore's connections; ``signatures`` keeps what requests carried."""
    made = Office()
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)

    class Reply:
        def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
            self.status_code, self.headers, self.text = status, headers, text

    def send(_: object, request: AWSPreparedRequest) -> Reply:
        signature = request.headers["Authorization"]
        signature = signature.decode() if isinstance(signature, bytes) else signature
        assert "/eu-west-1/execute-api/aws4_request" in signature
        path, _sign, query = request.url.removeprefix(URL).partition("?")
        headers = {key: value.decode() if isinstance(value, bytes) else value for key, value in request.headers.items()}
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        answer = made.ask(path, request.method, query=query, body=body, headers=headers)
        return Reply(answer.status, answer.headers, answer.text)

    monkeypatch.setattr(URLLib3Session, "send", send)
    return made


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert execute(["tenants", *words, "--api", URL]) == code
    done = capsys.readouterr()
    return done.out, done.err


def test_a_file_is_applied_and_again_changes_nothing(
    office: Office, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    office.put(FULL, NEW)
    file = tmp_path / "tenants.yaml"
    file.write_text(FILE, encoding="utf-8")
    out, hint = run(capsys, "apply", str(file), "--yes")
    words = (
        "limits, fail policy, profile p1 removed, principal arn:aws:iam::123456789012:role/acme-worker removed, tenant"
    )
    results = out.splitlines()[-2:]
    assert [line.partition("; holds from ")[0] for line in results] == [f"acme: {words}", "globex: tenant"]
    # Both leave their tenant when no recorder can hold an answer from before.
    at = datetime.fromisoformat(results[0].rpartition(" ")[2])
    assert round(at.timestamp() * 1000) - NOW_MS in range(HANDOVER_MS, HANDOVER_MS + 100)
    assert hint == "", "nothing came to a tenant"
    again = [line.partition(";")[0] for line in run(capsys, "apply", str(file))[0].splitlines()]
    assert again == ["acme: as it was", "globex: as it was"]
    assert [one.limit.maximum for one in office.gauges.gauges["acme"].layout.limits] == [2000]
    (tmp_path / "more.yaml").write_text(FILE + "gateways: {principals: []}\n", encoding="utf-8")
    assert "gateways" in run(capsys, "apply", str(tmp_path / "more.yaml"), code=2)[1]
    assert office.plan_audit.entries == []


def test_plans_of_a_file_are_applied_before_its_tenants(
    office: Office, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "tenants.yaml"
    limits = "[{name: hour, meter: total_tokens, window: 1h, max: 2k}]"
    file.write_text(
        f"plans: [{{name: gold, limits: {limits}}}]\ntenants: [{{id: globex, plan: gold}}]\n", encoding="utf-8"
    )
    lines = run(capsys, "apply", str(file), "--yes")[0].splitlines()
    assert lines[-2] == "gold: changed; 0 tenants: 0 changed, 0 failed"
    assert lines[-1].startswith("globex: limits, ")
    assert [one.limit.name for one in office.gauges.gauges["globex"].layout.limits] == ["hour"]
    again = run(capsys, "apply", str(file))[0].splitlines()
    assert again[0] == "gold: as it was; 1 tenants: 0 changed, 0 failed"
    assert again[1].startswith("globex: as it was")


EUROPE = "/v1/admin/tenants/europe"


def test_a_tenant_is_shown_and_listed(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    office.put({**FULL, "name": "Acme"}, NEW)
    document = json.loads(run(capsys, "show", "acme", "--output", "json")[0])
    assert (document["plan"], document["allowed"], document["removed"]) == ("gold", True, None)
    assert [(one["name"], one["used"], one["source"]) for one in document["limits"]][:2] == [
        ("total_tokens-1h", 0, "tenant"),
        ("requests-month-15", 0, "tenant"),
    ]
    period = {"tenant": "acme", "from": "1970-01-01T00:00:00.000Z", "to": None}
    assert [(one["id"], one["by"], one["periods"]) for one in document["profiles"]] == [
        ("p1", "person", [period]),
        ("p2", "person", [period]),
    ]
    office.put(
        {"profiles": [{"id": "g1", "model": "global.a.model"}, {"id": "e1", "model": "eu.a.model"}]}, NEW, EUROPE
    )
    there = json.loads(run(capsys, "show", "europe", "--output", "json")[0])["profiles"]
    assert [(one["routing"], one["geography"]) for one in there] == [("global", None), ("geo", "eu")]
    shown = run(capsys, "show", "acme")[0]
    words = ("tenant: acme", "name: Acme", "allowed: True", "requests-month-15", "a.model", "3 limits", "2 profiles")
    assert all(word in shown for word in words)
    for number in range(250):
        office.put({}, NEW, f"/v1/admin/tenants/t{number:03}")
    rows = json.loads(run(capsys, "list", "--output", "json")[0])
    assert len(rows) == 252
    acme = {
        "tenant": "acme",
        "name": "Acme",
        "timezone": "Europe/Berlin",
        "plan": "gold",
        "removed": None,
        "profiles": 2,
    }
    assert rows[0] == acme
    assert run(capsys, "show", "nobody", code=2)[1].count("\n") == 1


def test_a_tenant_is_suspended_and_resumed_and_its_history_says_so(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.put(FULL, NEW)
    assert "invoice unpaid" in run(capsys, "suspend", "acme", "--reason", "invoice unpaid")[0]
    held = office.gauges.gauges["acme"].suspension
    assert held is not None
    assert held.is_in_force
    assert run(capsys, "resume", "acme")[0] == "acme: not suspended\n"
    rows: list[dict[str, Any]] = json.loads(run(capsys, "history", "acme", "--limit", "2", "--output", "json")[0])
    assert [(one["what"], one["after"]) for one in rows] == [
        ("resume", {"suspended": False}),
        ("suspend", {"suspended": True, "reason": "invoice unpaid"}),
    ]
    for command in (("suspend", "acme", "--reason", "x"), ("resume", "acme")):
        assert "--by cannot stand beside --api" in run(capsys, *command, "--by", "me", code=2)[1]


def test_what_a_suspended_tenant_reads_is_said(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    office.put(FULL, NEW)
    reasons = ("--reason", "invoice unpaid", "--public-reason", "Please call us.")
    said = run(capsys, "suspend", "acme", *reasons)[0]
    assert said.endswith(": invoice unpaid; the tenant reads: Please call us.\n")
    assert "invoice unpaid; the tenant reads: Please call us." in run(capsys, "show", "acme")[0]
    held = office.gauges.gauges["acme"].suspension
    assert held is not None
    assert held.public_reason == "Please call us."


def test_what_cannot_be_done_is_one_line(
    office: Office, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    office.tenants.error = EndpointConnectionError(endpoint_url="tables")
    assert "answers 503" in run(capsys, "show", "acme", code=1)[1]

    def unreachable(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url=URL)

    monkeypatch.setattr(URLLib3Session, "send", unreachable)
    assert "cannot be reached" in run(capsys, "show", "acme", code=1)[1]


def test_a_change_under_an_old_version_is_refused() -> None:
    def late(method: str, *_: object) -> tuple[int, Mapping[str, str], str]:
        answer = (200, {"ETag": '"1-1"'}, "{}") if method == "GET" else (412, {}, '{"detail": "Read it again."}')
        return answer[0], {**answer[1], "Content-Type": "application/json"}, answer[2]

    with pytest.raises(Exception, match="412: Read it again"):
        AdminApi(URL, late).put("acme", {"id": "acme"})


@pytest.mark.parametrize("url", ["", "http://example.com", "ftp://127.0.0.1", "example.com"])
def test_an_address_that_is_none_or_not_encrypted_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="with https"):
        AdminApi(url, lambda *_: (200, {}, ""))
