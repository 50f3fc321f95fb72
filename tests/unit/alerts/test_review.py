"""What nobody judged is found by looking, an hour later at most, and what was judged is left alone."""

from typing import Any

from bedrock_meter.alerts.contracts import TENANT_THROTTLED, USAGE_ADJUSTED
from bedrock_meter.alerts.evaluator import Evaluated, is_unjudged
from bedrock_meter.alerts.review import PARTS, Review
from bedrock_meter.alerts.sweep import LAST_CALL_MS, Worklist
from tests.doubles.records import limit
from tests.unit.alerts.test_evaluator import DAY_MS, Scene

MINUTE_MS = 60_000


def look(scene: Scene, *, remaining_ms: int = 60_000) -> Evaluated:
    """One minute of the sweep."""
    report = Evaluated()
    no_outboxes: Any = None
    worklist = Worklist(
        scene.evaluator, no_outboxes, scene.bus, is_outbox=lambda key: key != "GAUGE", clock=lambda: scene.now_ms
    )
    review = Review(scene.store, worklist, gauge_key="GAUGE", clock=lambda: scene.now_ms)
    assert review.run(report, lambda: remaining_ms) == []
    return report


def look_for_an_hour(scene: Scene) -> list[int]:
    """Minutes in which a tenant was judged."""
    found = []
    for minute in range(PARTS):
        if look(scene).tenants:
            found.append(minute)
        scene.now_ms += MINUTE_MS
    return found


def test_a_rise_without_a_hint_is_found_within_an_hour_and_only_once() -> None:
    scene = Scene(limit("1d", 1000))
    scene.use(1200)
    assert len(look_for_an_hour(scene)) == 1
    assert [event.detail_type for event in scene.bus.received].count(TENANT_THROTTLED) == 1
    assert look_for_an_hour(scene) == []


def test_a_day_without_the_stream_is_made_good() -> None:
    scene = Scene(limit("7d", 1000))
    scene.use(1200)
    scene.now_ms += 25 * 60 * MINUTE_MS
    look_for_an_hour(scene)
    assert TENANT_THROTTLED in [event.detail_type for event in scene.bus.received]


def test_usage_that_changes_no_level_is_no_reason_to_judge() -> None:
    scene = Scene(limit("1d", 1000))
    scene.use(600)
    scene.evaluate()
    scene.use(10)
    assert look_for_an_hour(scene) == []


def test_late_usage_that_nobody_reported_is_found() -> None:
    scene = Scene(limit("day", 1000))
    scene.evaluate()
    scene.use(10, event_ms=scene.now_ms - 3 * DAY_MS)
    assert len(look_for_an_hour(scene)) == 1
    assert [event.detail_type for event in scene.bus.received] == [USAGE_ADJUSTED]


def test_looking_ends_in_time_and_comes_back_an_hour_later() -> None:
    scene = Scene(limit("1d", 1000))
    scene.use(1200)
    while not list(scene.store.part(scene.now_ms // MINUTE_MS % PARTS, PARTS)):
        scene.now_ms += MINUTE_MS
    assert look(scene, remaining_ms=LAST_CALL_MS - 1).tenants == 0
    scene.now_ms += PARTS * MINUTE_MS
    assert look(scene).tenants == 1


def test_asking_whether_a_gauge_is_judged_changes_nothing() -> None:
    scene = Scene(limit("1d", 1000))
    gauge = scene.tables.gauges["acme"]
    scene.evaluate()
    assert not is_unjudged(gauge, scene.state, scene.now_ms)
    scene.use(1200)
    before = dict(scene.tables.states)
    assert is_unjudged(scene.tables.gauges["acme"], scene.state, scene.now_ms)
    assert (scene.tables.states, scene.bus.received) == (before, [])
