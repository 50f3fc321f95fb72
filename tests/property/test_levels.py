"""Levels over whole histories: usage comes in, time passes, limits change, and every verdict is checked.

The oracle is a small model of what a consumer of the events believes: whether the limit is throttled, under which
version and number.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.gauge import bucket_name, read_buckets
from bedrock_meter.limits.levels import States, Verdict, from_item, judge, to_item
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window

BASE_MS = 1_785_000_000_000

windows: st.SearchStrategy[Window] = st.sampled_from(
    [
        RollingWindow(60),
        RollingWindow(3_600),
        CalendarWindow("day", "Europe/Berlin"),
        CalendarWindow("week", "Asia/Kathmandu", 3),
    ]
)
thresholds = st.lists(
    st.sampled_from([1, 3, 5, 6, 50, 80, 95, 99, 100, 101, 105, 120, 1000]), unique=True, max_size=5
).map(lambda levels: tuple(sorted(levels)))
maxima = st.one_of(st.sampled_from([0, 1, 2, 19, 20, 100]), st.integers(1, 10**6))


@dataclass(frozen=True)
class Step:
    """So much time passes, then so many percent of the maximum are used; before that, the limit may change."""

    passes: float
    percent: int
    new_maximum: int | None
    ahead_ms: int


steps = st.builds(
    Step,
    passes=st.one_of(st.sampled_from([0, 1 / 12, 1, 13 / 12]), st.floats(0, 1.2)),
    percent=st.one_of(st.sampled_from([0, 1, 5, 45, 50, 95, 100]), st.integers(0, 130)),
    new_maximum=st.one_of(st.none(), st.none(), st.none(), maxima),
    ahead_ms=st.sampled_from([0, 0, 0, 300_000]),
)


@dataclass
class Consumer:
    """What somebody who listens to the events believes."""

    throttle: tuple[int, int] | None = None  # version and number
    seen: set[tuple[object, ...]] = field(default_factory=set)

    def hear(self, verdict: Verdict) -> None:
        for one in verdict.transitions:
            identity = (one.kind, one.name, one.version, one.threshold, one.ordinal)
            assert identity not in self.seen
            self.seen.add(identity)
            if one.kind == "throttled":
                assert self.throttle is None or self.throttle != (one.version, one.ordinal)
                self.throttle = (one.version, one.ordinal)
            elif one.kind == "lifted":
                assert self.throttle == (one.version, one.ordinal)
                self.throttle = None


def length_ms(window: Window) -> int:
    if isinstance(window, RollingWindow):
        return window.length_ms
    return {"day": 1, "week": 7, "month": 31}[window.unit] * 86_400_000


def check_verdict(layout: Layout, buckets: dict[str, int], states: States, now_ms: int, verdict: Verdict) -> None:
    (reading,) = read_buckets(layout, buckets, now_ms)
    limit, used = reading.limit, reading.used
    state = verdict.states.get(limit.name)
    fired = state.fired if state else ()
    for level in {*limit.thresholds, 100} if limit.maximum else {100}:
        if used * 100 >= level * limit.maximum:
            assert level in fired
        elif isinstance(limit.window, RollingWindow) and (used == 0 or used * 100 < (level - 5) * limit.maximum):
            assert level not in fired
    for one in verdict.transitions:
        assert one.limit is limit
        assert one.reading == reading
        if one.kind == "lifted":
            assert used < limit.maximum
        elif one.kind == "forecast":
            start_ms, end_ms = reading.window_start_ms, reading.window_end_ms
            passed_ms = now_ms - start_ms
            assert passed_ms * 10 >= end_ms - start_ms
            assert used < limit.maximum
            assert one.projected == used * (end_ms - start_ms) // passed_ms
            assert one.projected >= limit.maximum
        else:
            assert used * 100 >= one.threshold * limit.maximum
            assert (one.kind == "throttled") == (one.threshold == 100)
    assert verdict.changed == (verdict.states != states)
    assert judge(layout, buckets, verdict.states, now_ms) == replace(verdict, transitions=(), changed=False)
    assert from_item(json.loads(json.dumps(to_item(verdict.states)))) == verdict.states


def check_due(layout: Layout, buckets: dict[str, int], verdict: Verdict, now_ms: int, between: float) -> None:
    window = layout.limits[0].window

    def quiet(at_ms: int) -> bool:
        then = judge(layout, buckets, verdict.states, at_ms)
        # A calendar limit forgets its thresholds when their window ends, without a word.
        return not then.transitions and (isinstance(window, CalendarWindow) or not then.changed)

    due_ms = verdict.next_due_ms
    if due_ms is None:
        assert quiet(now_ms + round(between * 3 * length_ms(window)))
        return
    assert due_ms > now_ms
    assert quiet(due_ms - 1)
    assert quiet(now_ms + round(between * (due_ms - 1 - now_ms)))
    assert not quiet(due_ms)


@settings(max_examples=300)
@given(windows, maxima, thresholds, st.booleans(), st.lists(steps, max_size=12), st.floats(0, 1))
def test_histories(
    window: Window, maximum: int, levels: tuple[int, ...], hard: bool, history: Sequence[Step], between: float
) -> None:
    installed = InstalledLimit(Limit("limit", Meter.REQUESTS, window, maximum, hard, levels), "0", 1)
    buckets: dict[str, int] = {}
    states: States = {}
    consumer = Consumer()
    now_ms = BASE_MS
    for step in history:
        now_ms += round(step.passes * length_ms(window))
        if step.new_maximum is not None:
            changed = replace(installed.limit, maximum=step.new_maximum)
            installed = replace(installed, limit=changed, version=installed.version + 1)
        amount = -(-installed.maximum * step.percent // 100)
        if amount:
            name = bucket_name("0", window, now_ms + step.ahead_ms)
            buckets[name] = buckets.get(name, 0) + amount
        layout = Layout(installed.version, (installed,))
        verdict = judge(layout, buckets, states, now_ms)
        check_verdict(layout, buckets, states, now_ms, verdict)
        check_due(layout, buckets, verdict, now_ms, between)
        consumer.hear(verdict)
        states = verdict.states
        fired = states["limit"].fired if states else ()
        assert (consumer.throttle is not None) == (100 in fired)
    removed = judge(Layout(installed.version + 1, ()), buckets, states, now_ms)
    consumer.hear(removed)
    assert consumer.throttle is None
    assert (removed.states, removed.next_due_ms) == ({}, None)


@given(windows, st.integers(1, 10**6), thresholds, st.lists(st.integers(95, 130), min_size=1, max_size=20))
def test_between_95_and_100_percent_nothing_flaps(
    window: Window, maximum: int, levels: tuple[int, ...], percents: list[int]
) -> None:
    layout = Layout(1, (InstalledLimit(Limit("limit", Meter.REQUESTS, window, maximum, True, levels), "0", 1),))
    states: States = {}
    heard: list[int] = []
    for percent in [100, *percents]:
        used = -(-percent * maximum // 100)
        verdict = judge(layout, {bucket_name("0", window, BASE_MS): used}, states, BASE_MS)
        states, heard = verdict.states, [*heard, *(one.threshold for one in verdict.transitions)]
    assert heard.count(100) == 1


@given(
    st.lists(st.tuples(windows, maxima, thresholds, st.booleans(), st.integers(0, 10**6)), min_size=2, max_size=6),
    st.integers(0, 86_400_000),
)
def test_limits_are_judged_independently(
    drawn: list[tuple[Window, int, tuple[int, ...], bool, int]], later_ms: int
) -> None:
    limits = tuple(
        InstalledLimit(Limit(f"limit-{number}", Meter.REQUESTS, window, maximum, hard, levels), str(number), 1)
        for number, (window, maximum, levels, hard, _) in enumerate(drawn)
    )
    buckets = {
        bucket_name(limit.slot, limit.window, BASE_MS): one[-1] for limit, one in zip(limits, drawn, strict=True)
    }
    states: States = {}
    alone: dict[str, States] = {limit.name: {} for limit in limits}
    for now_ms in (BASE_MS, BASE_MS + later_ms):
        together = judge(Layout(1, limits), buckets, states, now_ms)
        verdicts = [judge(Layout(1, (limit,)), buckets, alone[limit.name], now_ms) for limit in limits]
        assert together.transitions == tuple(one for verdict in verdicts for one in verdict.transitions)
        dues = [verdict.next_due_ms for verdict in verdicts if verdict.next_due_ms is not None]
        assert together.next_due_ms == min(dues, default=None)
        states = together.states
        alone = {limit.name: verdict.states for limit, verdict in zip(limits, verdicts, strict=True)}
        assert states == {name: state for one in alone.values() for name, state in one.items()}
