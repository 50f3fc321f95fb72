"""Levels: what rises, what lifts, and what is remembered.

Rolling cases use a hard limit of 100 over 12 minutes, whose sub-buckets last one minute: what is used in minute 0
leaves at minute 13.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.levels import LimitState, States, Transition, Verdict, from_item, judge, to_item
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window

MINUTE_MS = 60_000
TWELVE = RollingWindow(720)
DAY = CalendarWindow("day", "Europe/Berlin")
THRESHOLDS = (50, 80, 100)


def at(minutes: float) -> int:
    return round((29_000_000 + minutes) * MINUTE_MS)


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


DAY_MS, NEXT_DAY_MS, DAY_AFTER_MS = (utc_ms(f"2026-07-{day}T22:00") for day in (23, 24, 25))


def installed(
    window: Window = TWELVE,
    maximum: int = 100,
    *,
    thresholds: tuple[int, ...] = THRESHOLDS,
    version: int = 1,
    name: str = "limit",
) -> InstalledLimit:
    return InstalledLimit(Limit(name, Meter.REQUESTS, window, maximum, True, thresholds), "0", version)


def layout(*limits: InstalledLimit) -> Layout:
    return Layout(max((limit.version for limit in limits), default=1), limits)


def look(limit: InstalledLimit, used: int, states: States, now_ms: int) -> Verdict:
    """Judge one limit whose whole usage is in the bucket of ``now_ms``."""
    return judge(layout(limit), {bucket_name("0", limit.window, now_ms): used}, states, now_ms)


def brief(verdict: Verdict) -> list[str]:
    return [f"{one.kind} {one.threshold} #{one.ordinal} v{one.version}" for one in verdict.transitions]


# used one after the other (each in a fresh window), and what each step announces
RISES: list[tuple[tuple[int, ...], list[tuple[int, list[str]]]]] = [
    (THRESHOLDS, [(0, []), (49, []), (50, ["threshold 50 #1 v1"]), (50, []), (79, [])]),
    (THRESHOLDS, [(80, ["threshold 50 #1 v1", "threshold 80 #1 v1"])]),
    (THRESHOLDS, [(100, ["threshold 50 #1 v1", "threshold 80 #1 v1", "throttled 100 #1 v1"]), (500, [])]),
    # Re-arming 5 points below; a rise is numbered.
    (THRESHOLDS, [(50, ["threshold 50 #1 v1"]), (45, []), (50, []), (44, []), (50, ["threshold 50 #2 v1"])]),
    # No flapping between 95 and 100.
    (
        (),
        [
            (99, []),
            (100, ["throttled 100 #1 v1"]),
            (95, []),
            (100, []),
            (94, ["lifted 100 #1 v1"]),
            (99, []),
            (100, ["throttled 100 #2 v1"]),
            (0, ["lifted 100 #2 v1"]),
        ],
    ),
    # 100 is judged although it is not listed; levels above it are thresholds.
    ((120,), [(119, ["throttled 100 #1 v1"]), (120, ["threshold 120 #1 v1"]), (115, []), (114, []), (95, [])]),
    # The lowest levels re-arm when nothing is used.
    ((1, 5, 6), [(6, ["threshold 1 #1 v1", "threshold 5 #1 v1", "threshold 6 #1 v1"]), (1, []), (0, [])]),
    ((3,), [(3, ["threshold 3 #1 v1"]), (1, []), (3, []), (0, []), (3, ["threshold 3 #2 v1"])]),
]


@pytest.mark.parametrize(("thresholds", "steps"), RISES)
def test_levels_of_a_rolling_limit(thresholds: tuple[int, ...], steps: list[tuple[int, list[str]]]) -> None:
    states: States = {}
    for number, (used, expected) in enumerate(steps):
        verdict = look(installed(thresholds=thresholds), used, states, at(20 * number))
        assert brief(verdict) == expected
        states = verdict.states


def test_a_maximum_of_one() -> None:
    states: States = {}
    announced: list[str] = []
    for number, used in enumerate((0, 1, 1, 0, 1)):
        verdict = look(installed(maximum=1), used, states, at(20 * number))
        states, announced = verdict.states, [*announced, *[one.kind for one in verdict.transitions]]
    rise = ["threshold", "threshold", "throttled"]
    assert announced == [*rise, "lifted", *rise]


def test_the_largest_maximum_is_judged_exactly() -> None:
    limit = installed(maximum=10**18 - 1, thresholds=())
    assert brief(look(limit, 10**18 - 2, {}, at(0))) == []
    assert brief(look(limit, 10**18 - 1, {}, at(0))) == ["throttled 100 #1 v1"]


@pytest.mark.parametrize("window", [TWELVE, DAY])
def test_a_maximum_of_nothing_is_throttled_once_and_for_good(window: Window) -> None:
    limit = installed(window, maximum=0)
    first = look(limit, 0, {}, DAY_MS)
    assert [(one.kind, one.threshold) for one in first.transitions] == [("throttled", 100)]
    assert first.next_due_ms is None
    for used, now_ms in ((0, DAY_MS), (7, DAY_MS), (0, NEXT_DAY_MS), (7, DAY_AFTER_MS)):
        again = look(limit, used, first.states, now_ms)
        assert (again.transitions, again.changed, again.next_due_ms) == ((), False, None)
    raised = look(installed(window, maximum=5, version=2), 0, first.states, NEXT_DAY_MS)
    assert [(one.kind, one.version, one.ordinal) for one in raised.transitions] == [
        ("lifted", 1, first.transitions[0].ordinal)
    ]


def test_a_transition_tells_the_limit_and_what_it_says() -> None:
    limit = installed(thresholds=())
    verdict = look(limit, 130, {}, at(0))
    (transition,) = verdict.transitions
    assert transition.limit is limit
    assert transition.reading is not None
    assert (transition.name, transition.reading.used, transition.reading.overage) == ("limit", 130, 30)
    assert transition.reading.throttled_until_ms == at(13)


def test_nothing_is_remembered_of_a_limit_that_never_rose() -> None:
    verdict = look(installed(), 10, {}, at(0))
    assert verdict == Verdict({}, (), None, False)


def test_what_rose_is_remembered() -> None:
    verdict = look(installed(), 85, {}, at(0))
    assert verdict.states == {"limit": LimitState(1, 0, (50, 80), {50: 1, 80: 1})}
    assert verdict.changed
    again = look(installed(), 85, verdict.states, at(0))
    assert again == replace(verdict, transitions=(), changed=False)


def test_how_often_it_rose_is_remembered_when_it_has_fallen() -> None:
    risen = look(installed(), 85, {}, at(0))
    fallen = look(installed(), 0, risen.states, at(20))
    assert fallen.states == {"limit": LimitState(1, 0, (), {50: 1, 80: 1})}
    assert (fallen.changed, fallen.transitions, fallen.next_due_ms) == (True, (), None)


# used by minute, judged at minute 5: when time alone re-arms something
DUE: list[tuple[dict[int, int], float | None]] = [
    ({0: 49}, None),
    ({0: 50}, 13),
    ({0: 10, 3: 40}, 13),
    ({0: 5, 3: 45}, 16),  # 45 left are not below 45
    ({0: 6, 3: 44}, 13),
    ({0: 10, 2: 70, 4: 20}, 13),  # the throttle lifts at 90; the thresholds re-arm later
    ({0: 1, 2: 60, 4: 40}, 15),
]


@pytest.mark.parametrize(("minutes", "due"), DUE)
def test_when_a_rolling_limit_is_due(minutes: dict[int, int], due: float | None) -> None:
    buckets = {bucket_name("0", TWELVE, at(minute)): used for minute, used in minutes.items()}
    verdict = judge(layout(installed()), buckets, {}, at(5))
    assert verdict.next_due_ms == (None if due is None else at(due))
    if due is not None:
        early = judge(layout(installed()), buckets, verdict.states, at(due) - 1)
        on_time = judge(layout(installed()), buckets, verdict.states, at(due))
        assert (early.changed, on_time.changed) == (False, True)


def test_the_earliest_of_all_limits_is_due() -> None:
    first = installed()
    second = replace(installed(name="other"), slot="1")
    buckets = {bucket_name("0", TWELVE, at(3)): 100, bucket_name("1", TWELVE, at(0)): 100}
    verdict = judge(layout(first, second), buckets, {}, at(5))
    assert verdict.next_due_ms == at(13)
    assert [one.name for one in verdict.transitions] == ["limit"] * 3 + ["other"] * 3


def day_buckets(*used: int) -> dict[str, int]:
    return {
        bucket_name("0", DAY, start_ms): amount
        for start_ms, amount in zip((DAY_MS, NEXT_DAY_MS, DAY_AFTER_MS), used, strict=False)
    }


def test_a_calendar_limit_fires_once_per_window_and_lifts_when_the_next_begins() -> None:
    limit = installed(DAY)
    risen = judge(layout(limit), day_buckets(100), {}, DAY_MS)
    assert brief(risen) == [f"{kind} #{DAY_MS} v1" for kind in ("threshold 50", "threshold 80", "throttled 100")]
    assert risen.next_due_ms == NEXT_DAY_MS
    early = judge(layout(limit), day_buckets(100), risen.states, NEXT_DAY_MS - 1)
    assert (early.changed, early.transitions) == (False, ())
    lifted = judge(layout(limit), day_buckets(100), risen.states, NEXT_DAY_MS)
    assert brief(lifted) == [f"lifted 100 #{DAY_MS} v1"]
    assert (lifted.states, lifted.next_due_ms) == ({}, None)
    again = judge(layout(limit), day_buckets(100, 50), lifted.states, NEXT_DAY_MS)
    assert brief(again) == [f"threshold 50 #{NEXT_DAY_MS} v1"]
    assert again.next_due_ms == NEXT_DAY_MS + (DAY_AFTER_MS - NEXT_DAY_MS) // 10, "half of it in a tenth of the day"


def test_thresholds_of_a_calendar_limit_go_quietly_with_their_window() -> None:
    limit = installed(DAY)
    late_ms = NEXT_DAY_MS - MINUTE_MS
    risen = judge(layout(limit), day_buckets(85), {}, late_ms)
    assert (risen.next_due_ms, brief(risen)[-1]) == (None, f"threshold 80 #{DAY_MS} v1")
    later = judge(layout(limit), day_buckets(85), risen.states, NEXT_DAY_MS)
    assert (later.states, later.transitions, later.changed) == ({}, (), True)


def test_a_calendar_limit_that_an_adjustment_lowers_stays_until_its_window_ends() -> None:
    risen = judge(layout(installed(DAY)), day_buckets(100), {}, DAY_MS)
    lowered = judge(layout(installed(DAY)), day_buckets(10), risen.states, DAY_MS)
    assert (lowered.transitions, lowered.changed, lowered.next_due_ms) == ((), False, NEXT_DAY_MS)


def test_a_window_that_is_full_before_it_begins_throttles_when_it_begins() -> None:
    limit = installed(DAY, thresholds=())
    before = judge(layout(limit), day_buckets(0, 100), {}, NEXT_DAY_MS - 1)
    assert (before.transitions, before.next_due_ms) == ((), NEXT_DAY_MS)
    begun = judge(layout(limit), day_buckets(0, 100), before.states, NEXT_DAY_MS)
    assert brief(begun) == [f"throttled 100 #{NEXT_DAY_MS} v1"]


def test_a_throttle_that_goes_on_in_the_next_window_is_announced_anew() -> None:
    limit = installed(DAY, thresholds=())
    first = judge(layout(limit), day_buckets(100, 100), {}, DAY_MS)
    second = judge(layout(limit), day_buckets(100, 100), first.states, NEXT_DAY_MS)
    assert brief(second) == [f"throttled 100 #{NEXT_DAY_MS} v1"]
    third = judge(layout(limit), day_buckets(100, 100), second.states, DAY_AFTER_MS)
    assert brief(third) == [f"lifted 100 #{NEXT_DAY_MS} v1"]


# window, the new maximum under version 2 after a throttle at 100 of 100 under version 1
CHANGES: list[tuple[Window, int, list[str]]] = [
    (TWELVE, 1_000, ["lifted 100 #1 v1"]),
    (TWELVE, 101, ["lifted 100 #1 v1", "threshold 50 #1 v2", "threshold 80 #1 v2"]),  # 99 %: allowed again
    (TWELVE, 100, ["threshold 50 #1 v2", "threshold 80 #1 v2", "throttled 100 #1 v2"]),
    (TWELVE, 0, ["throttled 100 #1 v2"]),
    (DAY, 1_000, [f"lifted 100 #{DAY_MS} v1"]),
    (DAY, 101, [f"lifted 100 #{DAY_MS} v1", f"threshold 50 #{DAY_MS} v2", f"threshold 80 #{DAY_MS} v2"]),
    (DAY, 90, [f"{kind} #{DAY_MS} v2" for kind in ("threshold 50", "threshold 80", "throttled 100")]),
    (DAY, 0, [f"throttled 100 #{DAY_MS} v2"]),
]


@pytest.mark.parametrize(("window", "maximum", "announced"), CHANGES)
def test_a_changed_limit_is_judged_anew(window: Window, maximum: int, announced: list[str]) -> None:
    before = look(installed(window), 100, {}, DAY_MS)
    changed = installed(window, maximum, version=2)
    after = look(changed, 100, before.states, DAY_MS)
    assert brief(after) == announced
    assert brief(look(changed, 100, after.states, DAY_MS)) == []


def test_a_limit_that_becomes_another_window_lifts_under_its_old_number() -> None:
    before = look(installed(DAY, thresholds=()), 100, {}, DAY_MS)
    after = look(installed(TWELVE, thresholds=(), version=2), 0, before.states, DAY_MS)
    assert brief(after) == [f"lifted 100 #{DAY_MS} v1"]
    assert after.states == {}


@pytest.mark.parametrize(("window", "ordinal"), [(TWELVE, 1), (DAY, DAY_MS)])
def test_a_limit_that_is_removed_while_it_throttles_is_lifted(window: Window, ordinal: int) -> None:
    before = look(installed(window), 100, {}, DAY_MS)
    after = judge(layout(), {}, before.states, DAY_MS)
    assert after.transitions == (Transition("lifted", "limit", 1, 100, ordinal, None, None),)
    assert (after.states, after.changed, after.next_due_ms) == ({}, True, None)


def test_a_limit_that_is_removed_below_its_maximum_goes_quietly() -> None:
    before = look(installed(), 90, {}, at(0))
    after = judge(layout(), {}, before.states, at(0))
    assert (after.transitions, after.states, after.changed) == ((), {}, True)


def test_a_renamed_limit_lifts_and_rises_under_its_new_name() -> None:
    before = look(installed(thresholds=()), 100, {}, at(0))
    after = look(installed(thresholds=(), name="renamed", version=2), 100, before.states, at(0))
    assert [(one.kind, one.name, one.version) for one in after.transitions] == [
        ("lifted", "limit", 1),
        ("throttled", "renamed", 2),
    ]


STATES: dict[str, LimitState] = {
    "a": LimitState(3, 0, (50, 100), {50: 7, 100: 2}),
    "b": LimitState(4, DAY_MS, (80,)),
}


def test_states_survive_json() -> None:
    assert from_item(json.loads(json.dumps(to_item(STATES)))) == STATES


def test_states_survive_decimals() -> None:
    assert from_item(json.loads(json.dumps(to_item(STATES)), parse_int=Decimal)) == STATES


def test_an_item_of_states_is_plain() -> None:
    assert to_item(STATES)["a"] == {
        "version": 3,
        "window_start_ms": 0,
        "fired": [50, 100],
        "rises": {"50": 7, "100": 2},
    }


DAY_LENGTH_MS = NEXT_DAY_MS - DAY_MS
TENTH_MS = DAY_LENGTH_MS // 10


def forecasts(used: int, at_ms: int, states: States | None = None, **limit: object) -> Verdict:
    return judge(layout(installed(DAY, thresholds=(), **limit)), day_buckets(used), states or {}, at_ms)  # type: ignore[arg-type]


def test_a_forecast_is_said_once_in_a_window_with_its_projection() -> None:
    said = forecasts(30, DAY_MS + DAY_LENGTH_MS // 4)
    assert brief(said) == [f"forecast 100 #{DAY_MS} v1"]
    assert said.transitions[0].projected == 120
    again = forecasts(60, DAY_MS + DAY_LENGTH_MS // 3, said.states)
    assert (again.transitions, again.changed) == ((), False)
    assert from_item(to_item(said.states)) == said.states


def test_a_projection_that_does_not_reach_the_maximum_is_no_news() -> None:
    assert forecasts(24, DAY_MS + DAY_LENGTH_MS // 4).transitions == ()
    assert [one.projected for one in forecasts(25, DAY_MS + DAY_LENGTH_MS // 4).transitions] == [100]


def test_nothing_is_projected_before_a_tenth_of_the_window_and_time_brings_it_then() -> None:
    early = forecasts(10, DAY_MS + TENTH_MS - 1)
    assert (early.transitions, early.next_due_ms) == ((), DAY_MS + TENTH_MS)
    assert brief(forecasts(10, DAY_MS + TENTH_MS)) == [f"forecast 100 #{DAY_MS} v1"]
    assert forecasts(9, DAY_MS + TENTH_MS - 1).next_due_ms is None
    assert forecasts(10, DAY_MS + TENTH_MS + 60_000).next_due_ms is None


def test_what_is_used_up_already_needs_no_forecast() -> None:
    full = forecasts(100, DAY_MS + TENTH_MS)
    assert brief(full) == [f"throttled 100 #{DAY_MS} v1"]
    assert forecasts(90, DAY_MS + TENTH_MS, full.states).transitions == ()
    assert forecasts(5, DAY_MS + TENTH_MS, maximum=0).transitions[0].kind == "throttled"


def test_a_changed_limit_and_the_next_window_are_forecast_anew() -> None:
    said = forecasts(30, DAY_MS + DAY_LENGTH_MS // 4)
    changed = forecasts(30, DAY_MS + DAY_LENGTH_MS // 4, said.states, maximum=110, version=2)
    assert brief(changed) == [f"forecast 100 #{DAY_MS} v2"]
    limit = installed(DAY, thresholds=())
    following = judge(layout(limit), day_buckets(30, 30), said.states, NEXT_DAY_MS + DAY_LENGTH_MS // 4)
    assert brief(following) == [f"forecast 100 #{NEXT_DAY_MS} v1"]


def test_rolling_limits_are_not_forecast() -> None:
    assert look(installed(), 99, {}, DAY_MS).transitions[-1].kind == "threshold"
