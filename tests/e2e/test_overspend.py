"""From a tenant's first profile to events about its money: `tenants add`, the log, the consumer queue."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bedrock_meter.clock import now_ms
from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.local.routes import ApiAccess, ask
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
from tests.e2e.conftest import Command, Up

TENANT = "spender"
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
LIMIT = "name=budget,meter=cost_usd,window=day,max=$1,hard=true,thresholds=100"


def zone_at_noon() -> str:
    """A zone in which half of today has passed, whenever this runs: so the whole test lies in one day of the tenant."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"


def spend(command: Command, folder: Path, profile: str, name: str, tokens: TokenCounts) -> list[dict[str, Any]]:
    """Log ten calls that use ``tokens`` in sum, and return what the consumer queue received about the tenant."""
    part = TokenCounts(input=tokens.input // 10, output=tokens.output // 10)
    calls = [
        invocation(f"{name}-{number}", profile=profile, tokens=part, event_ms=now_ms() - number) for number in range(10)
    ]
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(json.dumps(record_of(call)) for call in calls), encoding="utf-8")
    found = command.replay("--time", "recorded", file)
    assert (found["recorded"], found["unattributed"], found["unpriced"]) == (10, 0, 0)
    return [event for event in found["events"] if event["tenant"] == TENANT]


def test_a_new_tenant_that_overspends_is_foreseen_and_then_stopped_in_dollars(
    up: Up, served: Command, tmp_path: Path
) -> None:
    words = ("tenants", "add", TENANT, "--model", MODEL, "--limit", LIMIT, "--timezone", zone_at_noon())
    done = served(*words, "--output", "json")
    assert done.returncode == 0, done.stderr
    arn = json.loads(done.stdout)["tenants"][0]["profiles"][0]["arn"]
    profile = arn.rpartition("/")[2]

    # 400,000 x $0.25 a million in + 400,000 x $1.25 a million out = $0.10 + $0.50, by noon.
    (foreseen,) = spend(served, tmp_path, profile, "morning", TokenCounts(input=400_000, output=400_000))
    assert foreseen["detail-type"] == "Tenant Overspend Forecast"
    detail = foreseen["detail"]
    assert (detail["limit"]["unit"], detail["limit"]["max"], detail["used"]) == ("USD", "1.00", "0.60")
    assert detail["profiles"] == [arn]

    # $0.10 + $0.375 more.
    (throttled,) = spend(served, tmp_path, profile, "noon", TokenCounts(input=400_000, output=300_000))
    assert throttled["detail-type"] == "Tenant Throttled"
    detail = throttled["detail"]
    assert (detail["used"], detail["overage"], detail["complete"]) == ("1.075", "0.075", True)
    assert detail["throttled_until"] == detail["window"]["end"]

    api = ApiAccess(**up.state["api"])
    status, headers, text = ask(api, f"{api.url}/v1/tenants/{TENANT}/quota")
    answer = json.loads(text)
    assert (status, answer["allowed"], answer["limits"][0]["used"]) == (200, False, "1.075")
    assert 0 < int(headers["Retry-After"]) <= timedelta(days=1).total_seconds()
