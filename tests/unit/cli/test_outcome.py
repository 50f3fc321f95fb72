import json

import pytest

from bedrock_meter.cli.outcome import outcome_document, sums_document
from bedrock_meter.cli.tables import print_outcome
from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.definition import parse_limit
from bedrock_meter.limits.gauge import Gauge, bucket_for
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.local.conservation import Counts
from bedrock_meter.local.consumer import received_event
from bedrock_meter.local.replay import Replayed
from bedrock_meter.local.stored import Stored, Totals
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.rollup import Sums

NOW_MS = 1_800_000_000_000
LIMITS = [
    parse_limit({"name": "burst", "meter": "requests", "window": "1h", "max": 5, "hard": True}, "UTC", ""),
    parse_limit({"name": "never", "meter": "requests", "window": "day", "max": 0}, "UTC", ""),
    parse_limit({"name": "month", "meter": "total_tokens", "window": "month", "max": 1_000}, "UTC", ""),
]


def replayed() -> Replayed:
    layout = plan_change(NO_LIMITS, LIMITS).next
    amounts = {bucket_for(one, NOW_MS, NOW_MS): amount for one, amount in zip(layout.limits, (7, 7, 60), strict=True)}
    gauge = Gauge("acme", 3, layout, {name: amount for name, amount in amounts.items() if name is not None})
    totals = Totals()
    totals.add("acme", "p1", Sums(7, 1, TokenCounts(10, 20, 12, 18), 12_345_000_001, 1))
    totals.add("globex", "p9", Sums())
    totals.add(UNATTRIBUTED, "some.model-v1:0", Sums(2, 0, TokenCounts(input=3), unpriced=2))
    event = {
        "id": "copy",
        "time": "2026-11-24T01:00:00Z",
        "detail-type": "Tenant Throttled",
        "detail": {"event_id": "e1", "tenant": "acme", "limit": {"name": "burst"}, "threshold_percent": 100, "used": 7},
    }
    announcement = {**event, "detail-type": "Usage Unattributed", "detail": {"event_id": "e2", "profile": "p2"}}
    return Replayed(
        counts=Counts(14, 9, 2, 1, 2, 2, 3),
        added=Stored(totals, totals, 2),
        events=[received_event(event), received_event(announcement)],
        gauges={"acme": gauge},
        at_ms=NOW_MS,
    )


def test_the_document_holds_every_promised_field() -> None:
    document = json.loads(json.dumps(outcome_document(replayed(), ["idle", "acme"])))
    names = ["read", "recorded", "duplicates", "errors", "quarantined", "unattributed", "unpriced"]
    names += ["tenants", "profiles", "events"]
    assert list(document) == names
    assert [document[name] for name in names[:7]] == [14, 9, 2, 1, 2, 2, 3]
    assert list(document["tenants"]) == ["idle", "acme", "globex"]
    assert document["tenants"]["acme"] | {"limits": []} == {
        "requests": 7,
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": 12,
        "cache_write_tokens": 18,
        "cost_usd": "12.345000001",
        "unpriced": 1,
        "limits": [],
    }
    assert set(document["profiles"]) == {"p1", "p9", "some.model-v1:0"}
    assert document["events"][0] == {
        "detail-type": "Tenant Throttled",
        "id": "e1",
        "tenant": "acme",
        "detail": {"event_id": "e1", "tenant": "acme", "limit": {"name": "burst"}, "threshold_percent": 100, "used": 7},
    }
    assert document["events"][1]["tenant"] is None


def test_limits_say_what_is_left_and_until_when() -> None:
    burst, never, month = outcome_document(replayed(), [])["tenants"]["acme"]["limits"]
    assert burst | {"throttled_until": ""} == {
        "name": "burst",
        "meter": "requests",
        "unit": "requests",
        "window": "1h",
        "max": 5,
        "hard": True,
        "scope": {},
        "used": 7,
        "remaining": 0,
        "complete": True,
        "throttled_until": "",
        "allowed": False,
    }
    assert burst["throttled_until"].endswith("Z")
    assert (never["allowed"], never["throttled_until"]) == (False, None)
    assert (month["used"], month["remaining"], month["allowed"], month["throttled_until"]) == (60, 940, True, None)


def test_people_see_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    found = replayed()
    print_outcome(outcome_document(found, ["idle"]), sums_document(found.added.rollups.unattributed))
    shown = capsys.readouterr().out
    for words in ("acme", "idle", "(no tenant yet)", "burst", "1h hard", "for ever", "Tenant Throttled", "profile p2"):
        assert words in shown
    assert "14 records read = 9 recorded + 2 duplicates + 1 errors + 2 quarantined" in shown
    assert "12.345000001 + 1 unpriced" in shown
    assert UNATTRIBUTED not in shown.replace("Usage Unattributed", "")
