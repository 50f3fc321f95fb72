"""What the guard does when the quota API answers late, too often or not, and with what callers hand to it.

The quota API here is a server of this file, on loopback; so is Bedrock where a call reaches it.
"""

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import get_session

from bedrock_meter.client import Amounts, HttpTransport, TenantGuard

MODEL = "anthropic.claude-sonnet-4-6"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1c3m5e7k9q2"
ONE_CALL = Amounts(1, 10, 10)
ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    "inferenceConfig": {"maxTokens": 60},
}


class Server:
    """Answers each request by a function of (method, path, body) -> (status, content type, content)."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, str, bytes]]) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.requests.append((self.command, self.path, body))
                status, kind, content = answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        for method in ("GET", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.handle_one)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def asked(self, tenant: str, method: str = "POST") -> list[bytes]:
        return [body for how, path, body in self.requests if how == method and f"/{tenant}/" in path]


def held(body: bytes) -> tuple[int, str, bytes]:
    document = {
        "id": "0" * 32,
        "profile": {"id": "a1c3m5e7k9q2", "arn": ARN},
        "metadata": {"bedrock-meter-reservation": "0" * 32},
        "degraded": False,
        "fail": "open",
    }
    return 201, "application/json", json.dumps(document).encode()


@contextmanager
def serving(answer: Callable[[str, str, bytes], tuple[int, str, bytes]]) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.close()


def guard_of(server: Server, **more: Any) -> TenantGuard:
    transport = HttpTransport(
        server.url, region="us-east-1", credentials=Credentials("a", "b"), read_seconds=0.3, deadline_seconds=0.3
    )
    return TenantGuard(transport, **more)


def bedrock(endpoint: str, region: str = "us-east-1") -> Any:
    return get_session().create_client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


def outcome(act: Callable[[], Any]) -> str:
    """What an act ends in: the name of an error, or ``done``."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - which one it is, is the answer
        return type(error).__name__
    return "done"


def test_the_gateways_throttle_lifts_no_limit_and_stops_no_other_tenant() -> None:
    gateway = (429, "application/json", b'{"message":"Too Many Requests"}')
    with serving(lambda *_: gateway) as server, guard_of(server, fail="open") as guard:
        assert outcome(lambda: guard.admit("noisy", model=MODEL, estimate=ONE_CALL)) == "QuotaBusy"
        assert outcome(lambda: guard.admit("other", model=MODEL, estimate=ONE_CALL)) == "QuotaBusy"
        assert server.asked("other"), "other tenants are asked for all the same"


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_one_slow_answer_costs_no_other_tenant_its_limits(fail: Any) -> None:
    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        if "/slow/" in path:
            time.sleep(1)
        return held(body)

    with serving(answer) as server, guard_of(server, fail=fail) as guard:
        outcome(lambda: guard.admit("slow", model=MODEL, estimate=ONE_CALL))
        admitted = [outcome(lambda: guard.admit("quick", model=MODEL, estimate=ONE_CALL)) for _ in range(3)]
        assert (admitted, len(server.asked("quick"))) == (["done"] * 3, 3)


def _frame(kind: str, payload: dict[str, str]) -> bytes:
    """One message of an event stream that is an exception."""
    headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(packed) + len(content), len(packed))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + content
    return message + struct.pack(">I", zlib.crc32(message))


def test_a_throttle_inside_a_stream_gives_back_what_was_held() -> None:
    stream = _frame("throttlingException", {"message": "Too many tokens"})
    frames = (200, "application/vnd.amazon.eventstream", stream)
    with serving(lambda method, path, body: held(body)) as quota, serving(lambda *_: frames) as runtime:
        client = guard_of(quota).wrap(bedrock(runtime.url), tenant="acme")
        answer = client.converse_stream(modelId=MODEL, **ASK)
        assert outcome(lambda: list(answer["stream"])) == "EventStreamError"
        assert len(quota.asked("acme", "DELETE")) == 1


def test_a_body_that_can_be_read_again_is_read() -> None:
    text = json.dumps({"max_tokens": 60, "messages": [{"role": "user", "content": "Is it so?"}]}).encode()
    with (
        serving(lambda method, path, body: held(body)) as quota,
        serving(lambda *_: (200, "application/json", b"{}")) as runtime,
    ):
        client = guard_of(quota).wrap(bedrock(runtime.url), tenant="acme")
        client.invoke_model(modelId=MODEL, body=io.BytesIO(text))
        estimate = json.loads(quota.asked("acme")[0])["estimate"]
        assert estimate["input_tokens"] < 1_000
        assert [body for _, _, body in runtime.requests] == [text]


def test_the_clients_region_is_said() -> None:
    with (
        serving(lambda method, path, body: held(body)) as quota,
        serving(lambda *_: (200, "application/json", b"{}")) as runtime,
    ):
        client = guard_of(quota).wrap(bedrock(runtime.url, "eu-central-1"), tenant="acme")
        outcome(lambda: client.converse(modelId=MODEL, **ASK))
        assert json.loads(quota.asked("acme")[0]).get("region") == "eu-central-1"


@pytest.mark.parametrize("tenant", [lambda: None, lambda: ""])
def test_a_tenant_that_nothing_names_is_a_mistake_of_the_configuration(tenant: Any) -> None:
    with (
        serving(lambda method, path, body: held(body)) as quota,
        serving(lambda *_: (200, "application/json", b"{}")) as runtime,
    ):
        client = guard_of(quota).wrap(bedrock(runtime.url), tenant=tenant)
        assert outcome(lambda: client.converse(modelId=MODEL, **ASK)) == "ConfigurationError"


class _Asynchronous:
    """As clients of aiobotocore are: a client of the service whose calls are coroutines."""

    def __init__(self, client: Any) -> None:
        self.meta = client.meta

    async def _make_api_call(self, operation: str, params: dict[str, Any]) -> None:
        """Never called here."""


class _AnotherSdk:
    """As ``AnthropicBedrock`` is: no client of botocore at all."""


@pytest.mark.parametrize("make", [_Asynchronous, lambda client: _AnotherSdk()], ids=["asynchronous", "another SDK"])
def test_what_cannot_be_wrapped_is_refused_in_a_sentence(make: Any) -> None:
    with serving(lambda method, path, body: held(body)) as quota:
        client = make(bedrock("http://127.0.0.1:1"))
        assert outcome(lambda: guard_of(quota).wrap(client, tenant="acme")) == "ConfigurationError"
