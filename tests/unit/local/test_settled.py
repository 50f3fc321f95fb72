from dataclasses import replace

from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.evaluator import TenantState
from bedrock_meter.alerts.outbox import Pending
from bedrock_meter.limits.definition import parse_limit
from bedrock_meter.limits.gauge import Gauge, bucket_for
from bedrock_meter.limits.levels import judge
from bedrock_meter.limits.limit import NO_LIMITS, encode_layout, plan_change
from bedrock_meter.local.settled import is_unjudged, outstanding
from bedrock_meter.storage.dynamodb import Item, number, text
from bedrock_meter.storage.outboxes import pending_text

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
LAYOUT = plan_change(NO_LIMITS, [parse_limit({"meter": "requests", "window": "1h", "max": 10}, "UTC", "")]).next


def gauge(used: int) -> Gauge:
    bucket = bucket_for(LAYOUT.limits[0], NOW_MS, NOW_MS)
    assert bucket is not None
    return Gauge("acme", 1, LAYOUT, {bucket: used})


def test_a_gauge_below_every_level_needs_no_judgement() -> None:
    assert not is_unjudged(gauge(4), TenantState(), NOW_MS)


def test_a_crossed_level_is_outstanding_until_the_state_says_so() -> None:
    crossed = gauge(9)
    assert is_unjudged(crossed, TenantState(), NOW_MS)
    judged = TenantState(levels=judge(crossed.layout, crossed.buckets, {}, NOW_MS).states)
    assert not is_unjudged(crossed, judged, NOW_MS)
    assert is_unjudged(gauge(10), judged, NOW_MS)


def test_a_lift_comes_with_time_and_is_not_waited_for() -> None:
    full = gauge(10)
    judged = TenantState(levels=judge(full.layout, full.buckets, {}, NOW_MS).states)
    assert judge(full.layout, full.buckets, judged.levels, NOW_MS + 2 * HOUR_MS).transitions
    assert not is_unjudged(full, judged, NOW_MS + 2 * HOUR_MS)


def item(found: Gauge) -> Item:
    buckets = {name: number(used) for name, used in found.buckets.items()}
    layout = {"limits": text(encode_layout(found.layout)), "v": number(found.layout.version)}
    return {"pk": text(found.tenant), "sk": text("GAUGE"), "rev": number(1), **layout, **buckets}


def test_waiting_events_and_missing_judgements_are_named() -> None:
    event = Event("e1", "Usage Unattributed", {"event_id": "e1", "evaluated_at": "2026-11-24T01:00:00.000Z"})
    announcement: Item = {"pk": text("unattributed"), "sk": text("OUTBOX#p"), "out:e1": pending_text(Pending(event))}
    quotas = {
        "unattributed": {"OUTBOX#p": announcement},
        "acme": {"GAUGE": item(gauge(10))},
        "idle": {"GAUGE": item(replace(gauge(0), tenant="idle"))},
    }
    assert outstanding(quotas, NOW_MS) == [
        "1 events of unattributed wait to be published",
        "tenant acme is not evaluated yet",
    ]
    del announcement["out:e1"]
    del quotas["acme"]
    assert outstanding(quotas, NOW_MS) == []
