"""What limits promise beside their sums: shadows, calls dated ahead, slots, waits, usage without a price."""

from collections.abc import Mapping
from datetime import datetime

from tests.findings.world import START_MS, Findings

MODEL = "anthropic.claude-sonnet-4-6"
OWN, UNPRICED = "a1c3m5e7k9q2", "b2d4n6f8l0r3"
HOUR_S, QUARTER_S = 3_600, 900
RESERVATIONS = "/v1/tenants/acme/reservations"


def tenant(stack: Findings, *limits: Mapping[str, object], model: str = MODEL) -> None:
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": OWN, "model": model}], "limits": list(limits)})


def test_a_shadow_limit_refuses_nothing(stack: Findings) -> None:
    tenant(stack, {"name": "trial", "meter": "cost_usd", "window": "1h", "max": 1, "hard": True, "shadow": True})
    status, said = stack.ask("POST", RESERVATIONS, {"key": "k1", "estimate": {"input_tokens": 10}})
    assert status == 201, said


def test_a_call_dated_ahead_is_counted_until_it_leaves_the_window(stack: Findings) -> None:
    stack.now_ms = START_MS // (HOUR_S * 1_000) * HOUR_S * 1_000 + 60_000
    calls = {"name": "calls", "meter": "requests", "window": "day", "max": 1_000}
    tenant(stack, calls)
    ahead_ms = stack.now_ms + 290_000
    stack.log(stack.record(OWN, {"inputTokenCount": 1_000}, timestamp=ahead_ms))
    tenant(stack, calls, {"name": "strict", "meter": "total_tokens", "window": "15m", "max": 1_000, "hard": True})
    stack.now_ms = ahead_ms + QUARTER_S * 1_000 - 1
    assert stack.quota("acme", "strict")["allowed"] is False


def test_eighteen_limits_with_marks_are_installed(stack: Findings) -> None:
    """Half an hour apart, a call that is priced and one that is not: each bucket of each limit has a mark."""
    profiles = [{"id": OWN, "model": MODEL}, {"id": UNPRICED, "model": "custom.unpriced-v1:0"}]
    stack.tenant("acme", {"timezone": "UTC", "profiles": profiles, "limits": []})
    for hour in range(26):
        at_ms = stack.now_ms - hour * HOUR_S * 1_000
        counts = {"inputTokenCount": 10}
        stack.log(*[stack.record(one, counts, timestamp=at_ms) for one in (OWN, UNPRICED)])
    limits = [{"name": f"l{n}", "meter": "cost_usd", "window": f"{24 * 60 + n}m", "max": str(n + 1)} for n in range(18)]
    body = {"timezone": "UTC", "profiles": profiles, "limits": limits}
    status, said = stack.ask("PUT", "/v1/admin/tenants/acme", body, function="admin_api", if_match="*")
    assert (status, len(stack.ask("GET", "/v1/tenants/acme/quota")[1]["limits"])) == (200, 18), said


def test_a_limit_in_a_used_slot_begins_with_nothing_held(stack: Findings) -> None:
    claude = {"name": "claude", "meter": "cost_usd", "window": "1h", "max": "100", "models": ["anthropic.*"]}
    nova = {"name": "nova", "meter": "requests", "window": "1h", "max": 1_000, "models": ["amazon.nova-*"]}
    llama = {"name": "llama", "meter": "requests", "window": "1h", "max": 1_000, "models": ["meta.*"], "hard": True}
    tenant(stack, claude)
    body = {"key": "k1", "model": MODEL, "ttl_seconds": 3_600, "estimate": {"cost_usd": "5"}}
    assert stack.ask("POST", RESERVATIONS, body)[0] == 201
    tenant(stack, nova)
    tenant(stack, nova, llama)
    assert stack.quota("acme", "llama")["reserved"] == 0


def test_retry_after_is_when_all_limits_have_room(stack: Findings) -> None:
    """An hour's limit is used up; a day's is open only while a boost lasts, which ends before that."""
    stack.now_ms = START_MS // (HOUR_S * 1_000) * HOUR_S * 1_000
    tenant(
        stack,
        {"name": "hour", "meter": "requests", "window": "1h", "max": 10, "hard": True},
        {"name": "day", "meter": "requests", "window": "1d", "max": 5, "hard": True},
    )
    until = datetime.fromtimestamp(stack.now_ms / 1_000 + 1_800).astimezone().isoformat()
    boost = {"limit": "day", "amount": 20, "to": until, "reason": "launch"}
    status, said = stack.ask("POST", "/v1/admin/tenants/acme/boosts", boost, function="admin_api")
    assert status in (200, 201), said
    stack.later(120)
    stack.log(*[stack.record(OWN, {"inputTokenCount": 1}) for _ in range(10)])
    status, said = stack.ask("POST", RESERVATIONS, {"key": "k1", "estimate": {"input_tokens": 1}})
    assert status == 429
    stack.later(said["retry_after_seconds"])
    status, said = stack.ask("POST", RESERVATIONS, {"key": "k2", "estimate": {"input_tokens": 1}})
    assert status == 201, said


def test_a_caller_that_obeys_does_not_ask_once_a_second(stack: Findings) -> None:
    """What stands in the way is a reservation of an hour: a caller asks a few times, not 3,600 times."""
    tenant(stack, {"name": "tokens", "meter": "total_tokens", "window": "1h", "max": 1_000, "hard": True})
    body = {"key": "k1", "ttl_seconds": 3_600, "estimate": {"input_tokens": 900}}
    assert stack.ask("POST", RESERVATIONS, body)[0] == 201
    asked, began_ms = 0, stack.now_ms
    while stack.now_ms < began_ms + 1_800_000:
        asked += 1
        status, said = stack.ask("POST", RESERVATIONS, {"key": f"k{asked}x", "estimate": {"input_tokens": 200}})
        assert status == 429
        stack.later(said["retry_after_seconds"])
        if asked == 40:
            break
    assert asked < 40


def test_an_explanation_says_what_denies(stack: Findings) -> None:
    stack.now_ms = START_MS // 50_400_000 * 50_400_000 + 50_000_000
    tenant(stack, {"name": "week", "meter": "total_tokens", "window": "7d", "max": 1_000, "hard": True})
    at_ms = stack.now_ms - (7 * 24 + 10) * HOUR_S * 1_000
    stack.log(stack.record(OWN, {"inputTokenCount": 5_000}, timestamp=at_ms))
    used = stack.quota("acme", "week")["used"]
    status, said = stack.ask("GET", "/v1/tenants/acme/explanation")
    assert (status, used) == (200, 5_000)
    assert said["limits"][0]["explained"]["total"] >= used


def test_usage_without_a_price_denies_under_a_strict_limit_in_dollars(stack: Findings) -> None:
    limit = {"name": "usd", "meter": "cost_usd", "window": "1h", "max": "1.00", "hard": True}
    tenant(stack, limit, model="custom.unpriced-v1:0")
    stack.log(stack.record(OWN, {"inputTokenCount": 1_000_000}))
    assert stack.quota("acme", "usd")["allowed"] is False
    _, said = stack.ask("GET", "/v1/tenants/acme/quota")
    assert "custom.unpriced-v1:0" in str(said["unpriced"]["models"])
    assert any("rerate" in one for one in said["unpriced"]["commands"])
    status, said = stack.ask("POST", RESERVATIONS, {"key": "k1", "estimate": {"cost_usd": "0.01"}})
    assert (status, said["limit"]["name"]) == (429, "usd")
