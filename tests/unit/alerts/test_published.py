"""The published contracts: schemas, their examples, and what the builders really make."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from bedrock_meter.alerts import contracts
from bedrock_meter.alerts.contracts import (
    Event,
    adjustment_event,
    suspension_event,
    transition_event,
    unattributed_event,
    unpriced_event,
    unreserved_event,
)
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.levels import judge
from bedrock_meter.limits.limit import NO_LIMITS, Layout, plan_change
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.overuse import Overuse
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import resume, suspend, unannounced
from bedrock_meter.money import NANO, usd_text
from tests.doubles.records import NOW_MS, limit, profile_arn

FOLDER = Path(__file__).parents[3] / "events" / "published"
SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in FOLDER.glob("*.schema.json")
}
DETAIL_TYPES = {value for name, value in vars(contracts).items() if name.isupper() and isinstance(value, str)} - {
    contracts.SOURCE,
    contracts.DETAIL_VERSION,
}


def validate(event: Event) -> None:
    """Raise unless the event's detail is what its schema says."""
    schema = SCHEMAS[event.detail_type.lower().replace(" ", "-")]
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(dict(event.detail))


EXAMPLES = sorted(path.name.removesuffix(".example.json") for path in FOLDER.glob("*.example.json"))
"""Names of detail types; a special case of one has a second part, behind a dot."""


def test_every_detail_type_has_a_schema_an_example_and_nothing_else_has() -> None:
    assert {schema["title"] for schema in SCHEMAS.values()} == DETAIL_TYPES
    assert {name for name in EXAMPLES if "." not in name} == set(SCHEMAS)


@pytest.mark.parametrize("case", EXAMPLES)
def test_examples_are_valid(case: str) -> None:
    name = case.partition(".")[0]
    Draft202012Validator.check_schema(SCHEMAS[name])
    example: dict[str, Any] = json.loads((FOLDER / f"{case}.example.json").read_text())
    assert example["source"] == contracts.SOURCE
    assert example["detail-type"] == SCHEMAS[name]["title"]
    Draft202012Validator(SCHEMAS[name], format_checker=FormatChecker()).validate(example["detail"])


def made() -> list[Event]:
    """One event of every kind, made as the services make them."""
    profiles = (profile_arn("053a3ulue40l"),)
    layout = plan_change(NO_LIMITS, [limit("1h", 1000), limit("month", 1000, thresholds=(120,))]).next
    buckets = {bucket_name(one.slot, one.window, NOW_MS): 1300 for one in layout.limits}
    rising = judge(layout, buckets, {}, NOW_MS)
    falling = judge(layout, {}, rising.states, NOW_MS + 90 * 86_400_000)
    removed = judge(NO_LIMITS, {}, rising.states, NOW_MS)
    transitions = [*rising.transitions, *falling.transitions, *removed.transitions]
    events = [transition_event("acme", profiles, one, now_ms=NOW_MS) for one in transitions]
    events.append(forecast())
    month = layout.limits[1]
    events.append(adjustment_event("acme", profiles, month, window_start_ms=NOW_MS, amount=5, rev=9, now_ms=NOW_MS))
    (cost,) = plan_change(NO_LIMITS, [limit("month", 10 * NANO, meter=Meter.COST_USD)]).next.limits
    events.append(adjustment_event("acme", profiles, cost, window_start_ms=NOW_MS, amount=-5, rev=9, now_ms=NOW_MS))
    sighting: dict[str, Any] = {
        "account_id": "123456789012",
        "region": "us-east-1",
        "profile": "p",
        "day": "2026-11-24",
        "model": "-",
        "event_ms": NOW_MS,
        "now_ms": NOW_MS,
    }
    events.append(unattributed_event(**sighting))
    events += [unpriced_event(tenant, **sighting) for tenant in ("acme", None)]
    stopped = resume(suspend(None, "unpaid", "somebody", NOW_MS, "Please call us."), "somebody", NOW_MS)
    events += [suspension_event("acme", profiles, one, now_ms=NOW_MS) for one in unannounced(0, stopped)]
    events.append(unreserved_event("acme", "none", "", None, **sighting))
    events.append(unreserved_event("globex", "expired", "1" * 32, None, **sighting))
    above = [Overuse(layout.limits[0], 0, 5_000), Overuse(cost, 5, NANO)]
    for tenant, one in zip(("initech", "hooli"), above, strict=True):
        events.append(unreserved_event(tenant, "above", "1" * 32, one, **sighting))
    return events


def forecast() -> Event:
    """A forecast of a cost limit on some models, of which some usage has no price."""
    wanted = limit("month", 10 * NANO, meter=Meter.COST_USD, scope=Scope(models=("a.*",)), thresholds=())
    (month,) = plan_change(NO_LIMITS, [wanted]).next.limits
    bucket = bucket_name(month.slot, month.window, NOW_MS)
    (rising,) = judge(Layout(1, (month,)), {bucket: 9 * NANO, bucket + UNCOUNTED: 2}, {}, NOW_MS).transitions
    return transition_event("acme", (profile_arn("053a3ulue40l"),), rising, now_ms=NOW_MS)


def boosted_shadow() -> Event:
    """A threshold of a shadow limit that is boosted."""
    boost = Boost(NOW_MS - 3_600_000, NOW_MS + 7 * 86_400_000, permille=500)
    wanted = limit("1h", 200_000, name="trial", hard=True, thresholds=(80,), shadow=True, boosts=(boost,))
    layout = plan_change(NO_LIMITS, [wanted]).next
    (hour,) = layout.limits
    (rising,) = judge(layout, {bucket_name(hour.slot, hour.window, NOW_MS): 243_007}, {}, NOW_MS).transitions
    return transition_event("acme", (profile_arn("053a3ulue40l"),), rising, now_ms=NOW_MS)


def test_the_example_of_a_boosted_shadow_is_the_event_that_is_made() -> None:
    example = json.loads((FOLDER / "quota-threshold-crossed.boosted-shadow.example.json").read_text())
    assert example["detail"] == dict(boosted_shadow().detail)
    assert example["resources"] == boosted_shadow().resources
    found = example["detail"]
    assert (found["shadow"], found["limit"]["shadow"]) == (True, True)
    assert (found["limit"]["max"], found["limit"]["base_max"]) == (300_000, 200_000)


def test_every_event_that_is_made_is_valid() -> None:
    events = [*made(), boosted_shadow()]
    for event in events:
        validate(event)
    assert {event.detail_type for event in events} == DETAIL_TYPES


def test_ids_tell_events_apart_and_stay_the_same() -> None:
    first, again = made(), made()
    assert [event.id for event in first] == [event.id for event in again]
    throttles = [event.id for event in first if event.detail_type != contracts.TENANT_THROTTLE_LIFTED]
    assert len(set(throttles)) == len(throttles)


def test_a_forecast_says_how_far_and_what_it_does_not_know() -> None:
    detail = forecast().detail
    # 18 November 2026, 11:07 UTC: 1,508,820 of the month's 2,592,000 seconds have passed.
    passed_s, month_s = 17 * 86_400 + 11 * 3_600 + 7 * 60, 30 * 86_400
    assert detail["projected"] == usd_text(9 * NANO * month_s // passed_s) == "15.461088797"
    assert detail["projected_overage"] == "5.461088797"
    assert (detail["used"], detail["limit"]["max"], detail["limit"]["unit"]) == ("9.00", "10.00", "USD")
    assert detail["limit"]["scope"] == {"models": ["a.*"]}
    assert (detail["complete"], detail["uncounted_requests"], detail["throttled_until"]) == (False, 2, None)
    assert "threshold_percent" not in detail
