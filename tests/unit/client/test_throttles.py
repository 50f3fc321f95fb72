import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.client import ThrottleList
from bedrock_meter.client.throttles import LIFTED, RESUMED, SUSPENDED, THROTTLED

PUBLISHED = Path(__file__).parents[3] / "events" / "published"


def event(kind: str, at: str, *, tenant: str = "acme", limit: str = "hourly", version: int = 1) -> dict[str, Any]:
    detail: dict[str, Any] = {"tenant": tenant, "evaluated_at": f"2026-11-24T{at}:00.000Z"}
    if kind in (THROTTLED, LIFTED):
        detail["limit"] = {"name": limit, "version": version}
    if kind == THROTTLED:
        detail["throttled_until"] = "2026-11-24T23:00:00.000Z"
    return {"source": "bedrock-meter", "detail-type": kind, "time": "2026-11-24T00:00:00Z", "detail": detail}


def test_a_shadow_limit_throttles_nobody() -> None:
    throttles = ThrottleList()
    shadow = event(THROTTLED, "10:00")
    shadow["detail"]["shadow"] = True
    assert not throttles.apply(shadow)
    assert throttles.of("acme") == ()


def test_the_published_examples() -> None:
    throttles = ThrottleList()
    throttled = json.loads((PUBLISHED / "tenant-throttled.example.json").read_text(encoding="utf-8"))
    lifted = json.loads((PUBLISHED / "tenant-throttle-lifted.example.json").read_text(encoding="utf-8"))
    assert throttles.apply(throttled)
    (found,) = throttles.of(throttled["detail"]["tenant"])
    assert found.limit == throttled["detail"]["limit"]["name"]
    assert found.until is not None
    assert found.until > found.since
    lifted["detail"]["limit"] = throttled["detail"]["limit"]
    assert throttles.apply({**lifted, "detail": {**lifted["detail"], "tenant": throttled["detail"]["tenant"]}})
    assert throttles.tenants() == ()


def test_other_events_and_other_sources_change_nothing() -> None:
    throttles = ThrottleList()
    crossed = json.loads((PUBLISHED / "quota-threshold-crossed.example.json").read_text(encoding="utf-8"))
    assert not throttles.apply(crossed)
    assert not throttles.apply({**event(THROTTLED, "10:00"), "source": "somebody"})
    assert not throttles.apply({"source": "bedrock-meter", "detail-type": THROTTLED})
    assert throttles.tenants() == ()


def test_a_copy_changes_nothing() -> None:
    throttles = ThrottleList()
    assert throttles.apply(event(THROTTLED, "10:00"))
    assert not throttles.apply(event(THROTTLED, "10:00"))


def test_each_limit_and_each_tenant_by_itself() -> None:
    throttles = ThrottleList()
    for limit, tenant in itertools.product(("hourly", "daily"), ("acme", "globex")):
        throttles.apply(event(THROTTLED, "10:00", limit=limit, tenant=tenant))
    throttles.apply(event(LIFTED, "10:05", limit="hourly"))
    assert [one.limit for one in throttles.of("acme")] == ["daily"]
    assert len(throttles.of("globex")) == 2
    throttles.apply(event(LIFTED, "10:06", limit="daily"))
    assert throttles.tenants() == ("globex",)


def test_a_limits_old_version_does_not_lift_its_new_one() -> None:
    throttles = ThrottleList()
    throttles.apply(event(THROTTLED, "10:00", version=1))
    throttles.apply(event(THROTTLED, "10:05", version=2))
    throttles.apply(event(LIFTED, "10:05", version=1))
    assert len(throttles.of("acme")) == 1


def test_a_suspended_tenant_until_it_is_resumed() -> None:
    throttles = ThrottleList()
    assert throttles.apply(event(SUSPENDED, "10:00"))
    (found,) = throttles.of("acme")
    assert (found.limit, found.until) == ("", None)
    assert throttles.apply(event(RESUMED, "10:01"))
    assert throttles.of("acme") == ()


HISTORY = [event(kind, f"10:{minute:02}") for minute, kind in enumerate([THROTTLED, LIFTED] * 4)]


@pytest.mark.parametrize("length", [7, 8])
@given(data=st.data())
def test_in_any_order_and_any_number_of_copies_the_newest_word_wins(length: int, data: st.DataObject) -> None:
    events = HISTORY[:length]
    order = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=6))))
    throttles = ThrottleList()
    for one in order:
        throttles.apply(one)
    assert throttles.tenants() == (("acme",) if length % 2 else ())


def test_lifts_of_long_ago_are_forgotten() -> None:
    throttles = ThrottleList()
    throttles.apply(event(LIFTED, "10:00", version=1))
    later = event(LIFTED, "10:01", version=2)
    later["detail"]["evaluated_at"] = "2026-11-26T10:00:00.000Z"
    throttles.apply(later)
    assert [version for _, version in throttles._words["acme"]] == [2]
    assert throttles.apply(event(THROTTLED, "09:59", version=1)), "longer than EventBridge tries"
