"""What must not lift a limit: the gateway's own words, one slow answer, a stream, a file, a name. Over real HTTP.

Nothing here leans on a double of this project's own API or on a name that a later version brought, so that the file
says of any version whether it holds.
"""

import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import EventStreamError

from bedrock_meter.client import (
    Amounts,
    HttpTransport,
    NoProfile,
    QuotaRefused,
    QuotaUnavailable,
    TenantGuard,
    TenantThrottled,
)
from bedrock_meter.errors import ConfigurationError, MeterError
from tests.doubles.bedrock import CONVERSED, Bedrock, client, message, ok, streamed

MODEL = "anthropic.claude-sonnet-4-6"
CALL: dict[str, Any] = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "hello"}]}]}
ARN = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/"


class Api:
    """The quota API and its gateway: what each tenant is answered.

    Attributes:
        answers: By tenant: (status, content type, document, seconds to wait); a reservation for all others.
        asked: (tenant, method, body) of each request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, dict[str, Any], float]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                tenant = self.path.split("/")[3]
                api.asked.append((tenant, self.command, json.loads(content) if content else None))
                reserved = {"id": "r", "profile": {"id": "a1c3m5e7k9q2", "arn": f"{ARN}a1c3m5e7k9q2"}, "metadata": {}}
                status, kind, document, seconds = api.answers.get(tenant, (201, "application/json", reserved, 0.0))
                time.sleep(seconds)
                payload = json.dumps(document).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(payload)))
                    self.end_headers()
                    self.wfile.write(payload)
                except OSError:
                    self.close_connection = True

            do_POST = answer  # noqa: N815 - the name that http.server calls
            do_DELETE = answer  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def questions(self, tenant: str) -> list[Any]:
        return [body for name, method, body in self.asked if name == tenant and method == "POST" and "key" in body]

    def methods(self, tenant: str) -> list[str]:
        return [method for name, method, _ in self.asked if name == tenant]


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def guard(api: Api) -> Iterator[TenantGuard]:
    way = HttpTransport(
        api.url, region="us-east-1", credentials=Credentials("k", "s"), read_seconds=0.2, deadline_seconds=0.3
    )
    with TenantGuard(way) as made:
        yield made


OVER = {
    "title": "Quota exceeded",
    "limit": {"name": "strict", "meter": "total_tokens", "max": 1, "used": 1, "remaining": 0},
    "requested": 1,
    "retry_after_seconds": 60,
}


@pytest.mark.parametrize(
    ("status", "says"), [(429, "Too Many Requests"), (503, "Service Unavailable")], ids=["429", "503"]
)
def test_the_gateways_own_refusal_lifts_no_limit(api: Api, guard: TenantGuard, status: int, says: str) -> None:
    api.answers["noisy"] = (status, "application/json", {"message": says}, 0.0)
    api.answers["over"] = (429, "application/problem+json", OVER, 0.0)
    for _ in range(7):
        with pytest.raises(QuotaUnavailable):
            guard.admit("noisy", model=MODEL, estimate=Amounts(1))
    with pytest.raises(TenantThrottled):
        guard.admit("over", model=MODEL, estimate=Amounts(1))
    assert api.questions("over")


def test_a_busy_tenant_is_neither_denied_nor_let_through(api: Api, guard: TenantGuard) -> None:
    document = {"type": "urn:bedrock-meter:tenant-busy", "title": "Tenant busy", "retry_after_seconds": 2}
    api.answers["hot"] = (429, "application/problem+json", document, 0.0)
    with pytest.raises(QuotaUnavailable) as busy:
        guard.admit("hot", model=MODEL, estimate=Amounts(1))
    assert busy.value.retry_after == 2


def test_one_slow_answer_costs_no_other_tenant_its_limits(api: Api, guard: TenantGuard) -> None:
    api.answers["slow"] = (201, "application/json", {}, 0.5)
    guard.admit("slow", model=MODEL, estimate=Amounts(1))
    for _ in range(3):
        assert not guard.admit("quick", model=MODEL, estimate=Amounts(1)).degraded


def test_a_call_that_is_throttled_inside_its_stream_is_released(api: Api, guard: TenantGuard) -> None:
    refused = [message("throttlingException", {"message": "slow"}, is_error=True)]
    guarded = guard.wrap(client(Bedrock(streamed(refused))), tenant="acme")
    with pytest.raises(EventStreamError):
        list(guarded.converse_stream(**CALL)["stream"])
    assert api.methods("acme") == ["POST", "DELETE"]


def test_a_file_is_bounded_by_its_content_and_sent_as_it_was(api: Api, guard: TenantGuard) -> None:
    content = json.dumps({"max_tokens": 60, "messages": [{"role": "user", "content": "hello"}]}).encode()
    bedrock = Bedrock(ok({"content": []}))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    for body in (content, io.BytesIO(content)):
        guarded.invoke_model(modelId=MODEL, body=body)
    of_bytes, of_file = (body["estimate"] for body in api.questions("acme"))
    assert of_file == of_bytes
    assert of_file["output_tokens"] == 60
    sent = bedrock.requests[-1].body
    assert (sent.read() if hasattr(sent, "read") else sent) == content


def test_a_profile_that_the_api_does_not_know_as_the_tenants_is_refused(api: Api, guard: TenantGuard) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    api.answers["acme"] = (201, "application/json", {"id": "r", "profile": None, "metadata": {}}, 0.0)
    with pytest.raises(MeterError):
        guarded.converse(**{**CALL, "modelId": f"{ARN}n1n3m5e7k9q2"})
    foreign = {"type": "urn:bedrock-meter:foreign-profile", "title": "Foreign profile"}
    api.answers["acme"] = (403, "application/problem+json", foreign, 0.0)
    with pytest.raises(MeterError, match="another tenant"):
        guarded.converse(**{**CALL, "modelId": f"{ARN}f1f3m5e7k9q2"})
    assert not bedrock.requests


def test_the_question_says_region_cache_and_whole_profile(api: Api, guard: TenantGuard) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    guarded.converse(**{**CALL, "modelId": f"{ARN}a1c3m5e7k9q2"}, system=[{"cachePoint": {"type": "default"}}])
    (asked,) = api.questions("acme")
    assert (asked.get("region"), asked["profile"]) == ("us-east-1", f"{ARN}a1c3m5e7k9q2")
    assert asked["estimate"].get("may_cache") is True


def test_what_cannot_be_guarded_says_what_works_instead(guard: TenantGuard) -> None:
    class Awaited:
        async def _make_api_call(self, *_: Any) -> None: ...

    for other in (Awaited(), object()):
        with pytest.raises(ConfigurationError, match=r"guard\.admit"):
            guard.wrap(other, tenant="acme")


def test_a_call_of_no_tenant_says_what_to_do(guard: TenantGuard) -> None:
    def unset() -> str:
        raise LookupError("tenant")

    for give in (lambda: None, lambda: "", unset):
        guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant=give)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="tenant"):
            guarded.converse(**CALL)


def test_an_answer_that_counts_no_cache_leaves_what_may_have_been_cached_held(api: Api, guard: TenantGuard) -> None:
    """Response headers of InvokeModel are in no service model: those of caches may be missing."""
    headers = {"x-amzn-bedrock-input-token-count": "10", "x-amzn-bedrock-output-token-count": "5"}
    guarded = guard.wrap(client(Bedrock(ok({}, headers))), tenant="acme")
    system = [{"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}]
    body = {"max_tokens": 60, "system": system, "messages": [{"role": "user", "content": "hi"}]}
    guarded.invoke_model(modelId=MODEL, body=json.dumps(body))
    told = [body["usage"] for _, _, body in api.asked if body is not None and "usage" in body]
    assert told == [{"requests": 1, "input_tokens": 10, "output_tokens": 5}]


@pytest.mark.parametrize("policy", ["refuse", "pass"])
def test_a_call_without_a_price_because_it_has_no_profile_is_told_so(api: Api, policy: Any) -> None:
    listed = [{"id": "a1c3m5e7k9q2", "arn": f"{ARN}a1c3m5e7k9q2", "model": MODEL, "region": "us-east-1"}]
    document = {"title": "Invalid request", "detail": "estimate.cost_usd: must be given", "available_profiles": listed}
    api.answers["acme"] = (400, "application/problem+json", document, 0.0)
    way = HttpTransport(api.url, region="us-east-1", credentials=Credentials("k", "s"))
    guarded = TenantGuard(way, missing_profile=policy).wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    said = "it has a1c3m5e7k9q2" if policy == "refuse" else "estimate.cost_usd: must be given"
    with pytest.raises(NoProfile if policy == "refuse" else QuotaRefused, match=said):
        guarded.converse(**{**CALL, "modelId": "n0b0dysprof1"})
