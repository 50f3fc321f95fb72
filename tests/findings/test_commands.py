"""What the operator's command says and asks before it takes something away, over the admin API."""

import io
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from bedrock_meter.cli.main import execute
from tests.findings.world import Findings

API = "https://admin0000.execute-api.us-east-1.amazonaws.com"
OWN, OTHERS = "a1c3m5e7k9q2", "b2d4n6f8l0r3"
LIMIT = {"name": "hourly", "meter": "requests", "window": "1h", "max": 10, "hard": True}


class _Raw(io.BytesIO):
    def stream(self) -> list[bytes]:
        return [self.read()]


@pytest.fixture
def command(stack: Findings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Command":
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "invented")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "invented")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Command(stack, monkeypatch, tmp_path)


class Command:
    """The command without a terminal; what it sends to the admin API reaches the stack."""

    def __init__(self, stack: Findings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        sent = URLLib3Session.send

        def send(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            url = urlsplit(request.url)
            if url.netloc != urlsplit(API).netloc:
                return sent(session, request)
            headers = {name.lower(): _text(value) for name, value in request.headers.items()}
            status, named, text = stack.http(request.method, url.path, url.query, _text(request.body or b""), headers)
            return AWSResponse(request.url, status, named, _Raw(text.encode()))

        monkeypatch.setattr(URLLib3Session, "send", send)

    def __call__(self, *words: str) -> int:
        return execute([*words, "--api", API])

    def file(self, text: str) -> str:
        path = self.folder / "tenants.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def profiles(stack: Findings, tenant: str) -> list[str]:
    document = stack.ask("GET", f"/v1/admin/tenants/{tenant}", function="admin_api")[1]
    return [one["id"] if isinstance(one, dict) else one for one in document["profiles"]]


def test_a_file_takes_no_profile_away_without_a_word(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.stack.tenant("acme", {"timezone": "UTC", "profiles": [OWN], "limits": [LIMIT]})
    file = command.file("tenants: [{id: acme, limits: [{meter: requests, window: 1h, max: 10}]}]")
    code = command("tenants", "apply", file)
    assert (code, profiles(command.stack, "acme")) == (4, [OWN])
    said = capsys.readouterr()
    assert OWN in said.out + said.err


def test_a_profile_is_not_taken_from_another_tenant_without_a_word(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.stack.tenant("initech", {"timezone": "UTC", "profiles": [OTHERS], "limits": [LIMIT]})
    code = command("tenants", "apply", command.file(f"tenants: [{{id: zeta, profiles: [{OTHERS}]}}]"))
    assert (code, profiles(command.stack, "initech")) == (4, [OTHERS])
    said = capsys.readouterr()
    assert "taken from initech" in said.out + said.err


def test_removing_a_tenant_asks(command: Command) -> None:
    command.stack.tenant("acme", {"timezone": "UTC", "profiles": [OWN], "limits": [LIMIT]})
    code = command("tenants", "remove", "acme")
    assert (code, profiles(command.stack, "acme")) == (4, [OWN])


def test_a_file_that_is_no_log_is_not_all_recorded(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "costs.csv"
    file.write_text("day,cost\n2026-11-01,12.50\n", encoding="utf-8")
    assert execute(["replay", str(file)]) == 3
    assert "all recorded" not in capsys.readouterr().out
