"""From gauge to events: once, under one id, and never overtaken by an older verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from bedrock_meter.alerts.contracts import (
    QUOTA_THRESHOLD_CROSSED,
    TENANT_RESUMED,
    TENANT_SUSPENDED,
    TENANT_THROTTLE_LIFTED,
    TENANT_THROTTLED,
    USAGE_ADJUSTED,
    Event,
)
from bedrock_meter.alerts.evaluator import (
    MOST_EVENTS,
    REPUBLISH_AFTER_MS,
    Evaluated,
    Evaluator,
    TenantState,
    is_unjudged,
)
from bedrock_meter.alerts.outbox import MAXIMUM_REFUSALS, Pending, PublishOutcome
from bedrock_meter.errors import DeliverAgain
from bedrock_meter.limits.gauge import Gauge, bucket_for, bucket_name, late_buckets
from bedrock_meter.limits.limit import NO_LIMITS, Limit, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.suspension import resume, suspend
from tests.doubles.memory import MemoryBus, MemoryEvaluationStore, MemoryTables
from tests.doubles.records import NOW_MS, limit

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


class Scene:
    """One tenant, an evaluator and a clock."""

    def __init__(self, *limits: Limit) -> None:
        self.tables = MemoryTables(profiles={"acme": ("arn:profile",)})
        self.tables.gauges["acme"] = Gauge("acme", 0, plan_change(NO_LIMITS, limits).next, {})
        self.store = MemoryEvaluationStore(self.tables)
        self.bus = MemoryBus()
        self.now_ms = NOW_MS
        self.evaluator = Evaluator(self.store, self.bus, clock=lambda: self.now_ms)

    def use(self, amount: int, *, event_ms: int | None = None) -> None:
        gauge = self.tables.gauges["acme"]
        at_ms = self.now_ms if event_ms is None else event_ms
        names = [bucket_for(installed, at_ms, self.now_ms) for installed in gauge.layout.limits]
        self.tables.change_gauge("acme", adds={name: amount for name in names if name}, rev=gauge.rev + 1)

    def limits(self, *limits: Limit) -> None:
        gauge = self.tables.gauges["acme"]
        layout = plan_change(gauge.layout, limits).next
        self.tables.change_gauge("acme", layout=layout, rev=gauge.rev + 1)

    def suspend(self) -> None:
        gauge = self.tables.gauges["acme"]
        stopped = suspend(gauge.suspension, "unpaid", "arn:aws:iam::123456789012:user/ops", self.now_ms)
        self.tables.change_gauge("acme", suspension=stopped, rev=gauge.rev + 1)

    def resume(self) -> None:
        gauge = self.tables.gauges["acme"]
        let_go = resume(gauge.suspension, "somebody", self.now_ms)
        self.tables.change_gauge("acme", suspension=let_go, rev=gauge.rev + 1)

    def evaluate(self) -> list[Event]:
        """Evaluate once; returns what the bus received by it."""
        before = len(self.bus.received)
        self.evaluator.evaluate("acme", Evaluated())
        return self.bus.received[before:]

    @property
    def state(self) -> TenantState:
        return self.tables.states["acme"]


def kinds(events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(event.detail_type, event.detail["threshold_percent"]) for event in events]


def test_each_crossed_level_is_published_once() -> None:
    scene = Scene(limit("1h", 1000))
    scene.use(810)
    assert kinds(scene.evaluate()) == [(QUOTA_THRESHOLD_CROSSED, 50), (QUOTA_THRESHOLD_CROSSED, 80)]
    scene.use(200)
    assert kinds(scene.evaluate()) == [(TENANT_THROTTLED, 100)]
    scene.use(50)
    assert scene.evaluate() == []


def test_an_event_can_be_acted_upon_alone() -> None:
    scene = Scene(limit("1h", 1000, hard=True))
    scene.use(1200)
    event = scene.evaluate()[-1]
    detail = event.detail
    assert event.detail_type == TENANT_THROTTLED
    assert event.resources == ["arn:profile"]
    assert (detail["tenant"], detail["profiles"]) == ("acme", ["arn:profile"])
    assert (detail["used"], detail["remaining"], detail["overage"]) == (1200, 0, 200)
    assert detail["limit"] == {
        "name": "total_tokens-1h",
        "meter": "total_tokens",
        "unit": "tokens",
        "window": "1h",
        "max": 1000,
        "hard": True,
        "version": 1,
    }
    assert detail["throttled_until"] > detail["evaluated_at"]


def test_a_quiet_evaluation_writes_nothing() -> None:
    scene = Scene(limit("1h", 1000))
    scene.use(10)
    scene.evaluate()
    saves = scene.store.saves
    scene.use(10)
    scene.evaluate()
    assert scene.store.saves == saves


def test_a_throttle_lifts_by_time_alone_at_its_due_instant() -> None:
    scene = Scene(limit("1h", 1000))
    scene.use(1000)
    scene.evaluate()
    due_ms = scene.state.next_due_ms
    assert due_ms is not None
    scene.now_ms = due_ms
    while kinds(scene.evaluate()) == [] and scene.state.next_due_ms is not None:
        scene.now_ms = scene.state.next_due_ms
    assert scene.bus.received[-1].detail_type == TENANT_THROTTLE_LIFTED
    assert scene.now_ms <= NOW_MS + HOUR_MS + 5 * 60_000


def test_a_second_rise_is_another_event_under_another_id() -> None:
    scene = Scene(limit("1h", 1000, thresholds=(100,)))
    scene.use(1000)
    scene.evaluate()
    scene.now_ms += 2 * HOUR_MS
    scene.evaluate()
    scene.use(1000)
    scene.evaluate()
    assert [event.detail_type for event in scene.bus.received] == [
        TENANT_THROTTLED,
        TENANT_THROTTLE_LIFTED,
        TENANT_THROTTLED,
    ]
    assert len({event.id for event in scene.bus.received}) == 3


def test_a_crash_between_commit_and_publish_publishes_later_under_the_same_id() -> None:
    scene = Scene(limit("1h", 1000, thresholds=(100,)))
    scene.use(1000)
    scene.bus.fail = "ThrottlingException"
    assert scene.evaluate() == []
    (waiting,) = scene.state.pending
    assert scene.state.next_due_ms is not None
    assert scene.state.next_due_ms <= scene.now_ms + REPUBLISH_AFTER_MS
    scene.bus.fail = None
    scene.now_ms += REPUBLISH_AFTER_MS
    (published,) = scene.evaluate()
    assert published.id == waiting.event.id
    assert scene.state.pending == ()


def test_an_outage_of_the_bus_parks_nothing_and_a_refusal_is_parked_in_the_end() -> None:
    scene = Scene(limit("1h", 1000, thresholds=(100,)))
    scene.use(1000)
    scene.bus.fail = "InternalFailure"
    for _ in range(MAXIMUM_REFUSALS * 3):
        scene.evaluate()
    assert [pending.refusals for pending in scene.state.pending] == [0]
    scene.bus.fail, scene.bus.refuse = None, "NotAuthorizedForSourceException"
    report = Evaluated()
    for _ in range(MAXIMUM_REFUSALS):
        scene.evaluator.evaluate("acme", report)
    assert report.reasons == {"NotAuthorizedForSourceException": MAXIMUM_REFUSALS}
    assert not scene.state.pending
    assert [one.event.detail_type for one in scene.tables.parked] == [TENANT_THROTTLED]


def test_an_older_verdict_never_overwrites_a_newer_one() -> None:
    scene = Scene(limit("1h", 1000, thresholds=(100,)))
    scene.use(1000)
    slow_image = scene.store.load("acme")
    assert slow_image is not None

    class SlowStore(MemoryEvaluationStore):
        """Shows the old image once, as a worker that was stopped after its read has seen it."""

        stale = [slow_image]  # noqa: RUF012

        def load(self, tenant: str) -> tuple[Gauge, TenantState] | None:
            return self.stale.pop() if self.stale else super().load(tenant)

    scene.evaluate()
    scene.limits(limit("1h", 5000, thresholds=(100,)))
    scene.evaluate()
    assert [event.detail_type for event in scene.bus.received] == [TENANT_THROTTLED, TENANT_THROTTLE_LIFTED]
    slow = Evaluator(SlowStore(scene.tables), scene.bus, clock=lambda: scene.now_ms)
    slow.evaluate("acme", Evaluated())
    assert scene.bus.received[-1].detail_type == TENANT_THROTTLE_LIFTED
    assert 100 not in {level for state in scene.state.levels.values() for level in state.fired}


def test_a_state_that_never_stands_still_is_delivered_again() -> None:
    class Overtaken(MemoryEvaluationStore):
        def save(self, *arguments: object, **options: object) -> bool:
            return False

    scene = Scene(limit("1h", 1000))
    scene.use(1000)
    evaluator = Evaluator(Overtaken(scene.tables), scene.bus, clock=lambda: scene.now_ms)
    with pytest.raises(DeliverAgain, match="acme"):
        evaluator.evaluate("acme", Evaluated())
    assert scene.bus.received == []


def test_a_late_record_adjusts_its_closed_period_once() -> None:
    scene = Scene(limit("day", 1000))
    scene.use(10)
    scene.evaluate()
    scene.use(25, event_ms=NOW_MS - 3 * DAY_MS)
    (event,) = scene.evaluate()
    assert event.detail_type == USAGE_ADJUSTED
    assert event.detail["adjusted_by"] == 25
    assert scene.evaluate() == []
    scene.use(5, event_ms=NOW_MS - 3 * DAY_MS)
    (again,) = scene.evaluate()
    assert again.detail["adjusted_by"] == 5
    assert again.id != event.id


def test_a_closed_period_that_costs_less_is_adjusted_downwards_and_one_that_is_as_before_is_no_news() -> None:
    scene = Scene(limit("day", 10**12, meter=Meter.COST_USD))
    closed_ms = NOW_MS - 3 * DAY_MS
    scene.use(-1_500_000_001, event_ms=closed_ms)
    (event,) = scene.evaluate()
    assert (event.detail_type, event.detail["adjusted_by"]) == (USAGE_ADJUSTED, "-1.500000001")
    scene.use(700, event_ms=closed_ms)
    scene.use(-700, event_ms=closed_ms)
    assert list(scene.tables.gauges["acme"].buckets.values()) == [0]
    assert scene.evaluate() == []
    assert scene.tables.gauges["acme"].buckets == {}


def test_a_cost_that_falls_lifts_a_rolling_throttle_at_once_and_a_calendar_one_with_its_window() -> None:
    scene = Scene(limit("1h", 1000, name="rolling"), limit("day", 1000, name="calendar"))
    scene.use(1000)
    assert (TENANT_THROTTLED, 100) in kinds(scene.evaluate())
    scene.use(-900)
    lifted = scene.evaluate()
    assert [(event.detail_type, event.detail["limit"]["name"]) for event in lifted] == [
        (TENANT_THROTTLE_LIFTED, "rolling")
    ]
    assert scene.evaluate() == []
    scene.limits(limit("1h", 1000, name="rolling"), limit("day", 1001, name="calendar"))
    lifted = scene.evaluate()
    assert [event.detail_type for event in lifted] == [TENANT_THROTTLE_LIFTED]


def test_buckets_out_of_every_window_are_pruned_in_one_write() -> None:
    scene = Scene(limit("5m", 1000))
    for _ in range(10):
        scene.use(1)
        scene.now_ms += 25_000
    scene.now_ms += HOUR_MS
    live = bucket_name("0", scene.tables.gauges["acme"].layout.limits[0].window, scene.now_ms)
    scene.use(1)
    scene.evaluate()
    assert set(scene.tables.gauges["acme"].buckets) == {live}
    assert len(scene.store.pruned) >= 6


def test_a_tenant_without_a_gauge_is_no_error() -> None:
    scene = Scene()
    scene.evaluator.evaluate("nobody", Evaluated())
    assert scene.bus.received == []


def test_an_event_survives_its_way_through_the_outbox() -> None:
    scene = Scene(limit("1h", 1000))
    scene.use(1000)
    for event in scene.evaluate():
        assert Event.decode(event.id, event.encode()) == event


def test_the_outbox_only_gives_up_what_was_refused() -> None:
    event = Event("id", "Tenant Throttled", {})
    nearly = replace(Pending(event), refusals=MAXIMUM_REFUSALS - 1)
    assert not nearly.is_parked
    assert PublishOutcome().accepted == frozenset()


def test_a_suspension_and_its_end_are_published_once_each() -> None:
    scene = Scene(limit("1h", 1000))
    scene.suspend()
    (stopped,) = scene.evaluate()
    assert scene.evaluate() == []
    assert stopped.detail_type == TENANT_SUSPENDED
    assert (stopped.detail["public_reason"], stopped.detail["profiles"]) == (None, ["arn:profile"])
    assert "arn:aws:iam" not in stopped.encode(), "no caller's identity in events"
    assert "unpaid" not in stopped.encode(), "nor what administrators wrote for themselves"
    scene.use(500)
    assert [event.detail_type for event in scene.evaluate()] == [QUOTA_THRESHOLD_CROSSED], "usage goes on being judged"
    scene.resume()
    (let_go,) = scene.evaluate()
    assert let_go.detail_type == TENANT_RESUMED
    assert scene.evaluate() == []


def test_a_suspension_that_ended_before_anybody_looked_is_published_with_its_end() -> None:
    scene = Scene()
    scene.suspend()
    scene.resume()
    assert [event.detail_type for event in scene.evaluate()] == [TENANT_SUSPENDED, TENANT_RESUMED]


def test_a_suspension_that_the_bus_did_not_take_is_published_again_under_the_same_id() -> None:
    scene = Scene()
    scene.suspend()
    scene.bus.fail = "InternalFailure"
    assert scene.evaluate() == []
    (waiting,) = scene.state.pending
    assert scene.state.next_due_ms == scene.now_ms + REPUBLISH_AFTER_MS
    scene.bus.fail = None
    scene.now_ms += REPUBLISH_AFTER_MS
    assert [event.id for event in scene.evaluate()] == [waiting.event.id]


class Sizes(MemoryEvaluationStore):
    """Notes how much each write carries."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.sizes: list[tuple[int, int]] = []

    def save(
        self, tenant: str, state: TenantState, *, before: TenantState, events: Sequence[Event], late: Mapping[str, int]
    ) -> bool:
        self.sizes.append((len(events), len(late)))
        return super().save(tenant, state, before=before, events=events, late=late)


def sized(*limits: Limit) -> tuple[Scene, Sizes]:
    scene = Scene(*limits)
    store = Sizes(scene.tables)
    scene.evaluator = Evaluator(store, scene.bus, clock=lambda: scene.now_ms)
    return scene, store


def test_all_levels_of_all_limits_at_once_are_published_once_in_writes_that_are_not_too_large() -> None:
    levels = tuple(range(5, 105, 5))
    scene, store = sized(*(limit(f"{hours}h", 1000, thresholds=levels) for hours in range(1, 19)))
    scene.use(1000)
    report = Evaluated()
    scene.evaluator.evaluate("acme", report)
    assert len({event.id for event in scene.bus.received}) == len(scene.bus.received) == 18 * 20
    assert report.tenants == 1
    assert max(events for events, _ in store.sizes) <= MOST_EVENTS
    assert scene.state.next_due_ms is not None
    assert scene.state.next_due_ms > NOW_MS
    assert scene.evaluate() == []


def test_a_part_that_was_written_is_due_at_once_for_the_rest() -> None:
    class Dies(Sizes):
        def save(
            self,
            tenant: str,
            state: TenantState,
            *,
            before: TenantState,
            events: Sequence[Event],
            late: Mapping[str, int],
        ) -> bool:
            if self.sizes:
                raise ConnectionError
            return super().save(tenant, state, before=before, events=events, late=late)

    scene, _ = sized(*(limit(f"{hours}h", 1000, thresholds=tuple(range(5, 105, 5))) for hours in range(1, 19)))
    scene.use(1000)
    with pytest.raises(ConnectionError):
        Evaluator(Dies(scene.tables), scene.bus, clock=lambda: NOW_MS).evaluate("acme", Evaluated())
    assert scene.state.next_due_ms == NOW_MS
    assert is_unjudged(scene.tables.gauges["acme"], scene.state, NOW_MS)
    scene.evaluate()
    assert len({event.id for event in scene.bus.received}) == len(scene.bus.received) == 18 * 20


def test_a_year_of_closed_days_is_adjusted_in_writes_that_are_not_too_large() -> None:
    scene, store = sized(limit("day", 1000))
    for days in range(2, 302):
        scene.use(7, event_ms=NOW_MS - days * DAY_MS)
    events = scene.evaluate()
    assert [event.detail_type for event in events] == [USAGE_ADJUSTED] * 300
    assert len({event.detail["window_start"] for event in events}) == 300
    assert max(late for _, late in store.sizes) <= MOST_EVENTS
    assert not late_buckets(scene.tables.gauges["acme"].layout, scene.tables.gauges["acme"].buckets)
