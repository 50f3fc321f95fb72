"""A service that wraps its client and tells nothing but the truth exceeds no hard limit: the guard over the real API.

Calls are made in every way: with and without a cache point, Converse, its stream and InvokeModel, asked for one by one
or drawn from a lease. Answers lack counts, records come minutes late, Bedrock throttles.
"""

import json
import random
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from bedrock_meter.client import HttpTransport, Lease, TenantGuard, TenantThrottled
from tests.doubles.bedrock import Bedrock, client, converse_stream, error, ok, streamed
from tests.findings.world import ACCOUNT, REGION, Findings

MODEL = "anthropic.claude-sonnet-4-6"
PROFILE = "a1c3m5e7k9q2"
ARN = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{PROFILE}"
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "weighted_tokens", "cache_read_tokens", "cache_write_tokens")
MAXIMA: dict[str, list[Any]] = {
    "requests": [3, 12, 30],
    "cost_usd": ["0.02", "0.08", "0.3"],
    **{meter: [2_000, 8_000, 30_000] for meter in TOKENS},
}
HEADERS = {
    "inputTokens": "x-amzn-bedrock-input-token-count",
    "outputTokens": "x-amzn-bedrock-output-token-count",
    "cacheReadInputTokens": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokens": "x-amzn-bedrock-cache-write-input-token-count",
}
LATEST_MS = 150_000
"""Records are no later than this, which is less than the guard's ``log_lag_seconds``."""


class Wire:
    """What ``HttpTransport`` sends, answered by the function of the quota API."""

    def __init__(self, stack: Findings) -> None:
        self._stack = stack

    def send(self, request: Any) -> Any:
        body = json.loads(request.body) if request.body else None
        status, document = self._stack.ask(request.method, unquote(urlsplit(request.url).path), body)
        kind = "application/json" if status < 400 else "application/problem+json"
        content = b"" if document is None else json.dumps(document).encode()
        return SimpleNamespace(status_code=status, content=content, headers={"Content-Type": kind})

    def close(self) -> None:
        """Nothing is open."""


class Service:
    """One process that calls for one tenant.

    Attributes:
        admitted: Calls that Bedrock answered.
        late: (instant, record) of calls whose record has not come.
    """

    def __init__(self, stack: Findings, choose: random.Random) -> None:
        self._stack, self._choose = stack, choose
        way = HttpTransport("http://127.0.0.1:9", region=REGION, credentials=Credentials("k", "s"))
        way._http = Wire(stack)
        self.guard = TenantGuard(way, fail="closed", clock=lambda: stack.now_ms / 1_000)
        self._bedrock = Bedrock(ok({}))
        self._client = self.guard.wrap(client(self._bedrock), tenant="acme")
        self._lease: Lease | None = None
        self.admitted = 0
        self.late: list[tuple[int, dict[str, Any]]] = []

    def call(self) -> None:
        """Make one call, and keep its record for later."""
        choose, is_cached = self._choose, self._choose.random() < 0.5
        text, most = "x" * choose.randint(1, 900), choose.randint(1, 300)
        read = choose.randint(1, len(text))
        cached = choose.randint(0, read) if is_cached else 0
        written = choose.randint(0, read - cached) if is_cached else 0
        usage = {
            "inputTokens": read - cached - written,
            "outputTokens": choose.randint(0, most),
            "cacheReadInputTokens": cached,
            "cacheWriteInputTokens": written,
        }
        missing = choose.sample(list(usage), choose.choice([0, 0, 1, 2, 3]))
        told = {name: count for name, count in usage.items() if name not in missing}
        with suppress(TenantThrottled, ClientError):
            reservation = self._send(
                choose.choice(["document", "stream", "headers", "refused"]), text, most, told, is_cached
            )
            self.admitted += 1
            counts = {name.replace("Tokens", "TokenCount"): count for name, count in usage.items()}
            record = self._stack.record(PROFILE, counts, reservation=reservation)
            self.late.append((self._stack.now_ms, record))

    def lease(self) -> None:
        """Open a lease, or close the one that is open."""
        choose = self._choose
        if self._lease is not None:
            self._lease.close()
            self._lease = None
            return
        with suppress(TenantThrottled):
            self._lease = self.guard.lease(
                "acme", model=MODEL, requests=choose.randint(2, 10), input_tokens=choose.randint(500, 5_000),
                output_tokens=choose.randint(100, 1_500), seconds=choose.choice([20, 60]),
            )  # fmt: skip

    def log(self, part: float) -> None:
        """Deliver the records that may not be later, and a part of the others."""
        due = [one for one in self.late if self._stack.now_ms - one[0] > LATEST_MS or self._choose.random() < part]
        self.late = [one for one in self.late if one not in due]
        if due:
            self._stack.log(*(record for _, record in due))

    def _send(self, way: str, text: str, most: int, told: dict[str, int], is_cached: bool) -> str:
        point = [{"cachePoint": {"type": "default"}}] if is_cached else []
        params: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": text}, *point]}]}
        params["inferenceConfig"] = {"maxTokens": most}
        said = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn", "usage": told}
        match way:
            case "document":
                self._bedrock._answers = [ok(said)]
                answer = self._client.converse(modelId=MODEL, **params)
            case "stream":
                self._bedrock._answers = [streamed(converse_stream(usage=told))]
                answer = self._client.converse_stream(modelId=MODEL, **params)
                for _ in answer["stream"]:
                    if self._choose.random() < 0.1:
                        break
            case "headers":
                self._bedrock._answers = [ok({}, {HEADERS[name]: str(count) for name, count in told.items()})]
                block = {"type": "text", "text": text, **({"cache_control": {}} if is_cached else {})}
                body = {"max_tokens": most, "messages": [{"role": "user", "content": [block]}]}
                answer = self._client.invoke_model(modelId=MODEL, body=json.dumps(body))
            case _:
                self._bedrock._answers = [error(429, "ThrottlingException")]
                answer = self._client.converse(modelId=MODEL, **params)
        return str(answer["ResponseMetadata"]["bedrock-meter"]["reservation"])


SEEDS = (*range(6), 35, 79)
"""35 and 79 exceed a limit where a count that an answer lacks is told as 0."""


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_service_exceeds_no_hard_limit(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    choose = random.Random(seed)
    stack = Findings(monkeypatch)
    limits = []
    for number, meter in enumerate(choose.sample(list(MAXIMA), 2)):
        window, scope = choose.choice(["1h", "day"]), choose.choice([{}, {}, {"models": ["anthropic.*"]}])
        limit = {"name": f"l{number}", "meter": meter, "window": window, "max": choose.choice(MAXIMA[meter])}
        limits.append({**limit, "hard": True, **scope})
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": ARN, "model": MODEL}], "limits": limits})
    service = Service(stack, choose)
    for _ in range(50):
        match choose.choices(["call", "lease", "wait"], [8, 1, 2])[0]:
            case "call":
                service.call()
            case "lease":
                service.lease()
            case _:
                stack.later(choose.choice([1, 5, 20, 40]))
        service.log(0.2)
        assert overages(stack) == [0.0, 0.0]
    service.guard.close()
    service.log(1)
    assert overages(stack) == [0.0, 0.0]
    assert service.admitted > 0


def overages(stack: Findings) -> list[float]:
    _, said = stack.ask("GET", "/v1/tenants/acme/quota")
    return [float(one["overage"]) for one in said["limits"]]
