"""What a settlement leaves held, and what a hard limit lets through over the calls that follow."""

from tests.findings.world import Findings

LIMIT = {"name": "hourly", "meter": "total_tokens", "window": "1h", "max": 30_000, "hard": True}
MODEL = "anthropic.claude-sonnet-4-6"
PROFILE = "a1c3m5e7k9q2"
CONVERSE = {
    "system": [{"text": "x" * 9_000}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    "inferenceConfig": {"maxTokens": 200},
}
USAGE = {
    "requests": 1,
    "input_tokens": 10,
    "output_tokens": 100,
    "cache_read_tokens": 8_000,
    "cache_write_tokens": 0,
}


def test_a_caller_with_a_prompt_cache_stays_within_a_hard_limit(stack: Findings) -> None:
    """8,110 tokens a call: a settlement holds all that was used, from the cache too, until its record comes."""
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": PROFILE, "model": MODEL}], "limits": [LIMIT]})
    admitted = []
    for call in range(12):
        body = {"key": f"k{call}", "model": MODEL, "converse": CONVERSE}
        status, held = stack.ask("POST", "/v1/tenants/acme/reservations", body)
        if status == 429:
            break
        assert status == 201, held
        stack.later(1.5)
        path = f"/v1/tenants/acme/reservations/{held['id']}/settlement"
        status, settled = stack.ask("POST", path, {"usage": USAGE})
        assert status == 200, settled
        assert [one["amount"] for one in settled["amounts"]] == [8_110]
        admitted.append(held["id"])
    stack.later(20)
    counts = {"inputTokenCount": 10, "outputTokenCount": 100, "cacheReadInputTokenCount": 8_000}
    stack.log(*[stack.record(PROFILE, counts, reservation=one) for one in admitted])
    seen = stack.quota("acme", "hourly")
    assert (seen["used"], seen["reserved"], seen["overage"]) == (8_110 * len(admitted), 0, 0)
    assert 0 < len(admitted) <= 3, "three of them are 24,330 of 30,000; a fourth does not fit"
