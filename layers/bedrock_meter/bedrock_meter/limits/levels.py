"""Levels: when a limit's usage is worth an event, and when it stops being so. The only owner of hysteresis.

Three facts: ``judge`` is pure, it compares what the buckets say now with what was fired before; a rolling limit fires a
level once per *rise* (it re-arms 5 points below the level), a calendar limit once per window; a changed limit is judged
anew under its new version. Level 100 is the throttle: crossing it is ``throttled``, re-arming it ``lifted``. Where a
boost begins or ends, a limit is judged anew as well, without the 5 points. Everything is compared in integers. Once in
a calendar window, a *forecast* says that its maximum will be reached before it ends (``forecast.py``); a limit that is
reached already needs none.

Judging twice changes nothing. Judging late finds what is true now; what rose and fell in between is not reported.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bedrock_meter.limits.boosts import next_boundary_ms, segment_start_ms
from bedrock_meter.limits.forecast import projected, projected_from_ms
from bedrock_meter.limits.gauge import Reading, bucket_name, falls_below_ms, read_buckets
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.windows import CalendarWindow

THROTTLE = 100
REARM_POINTS = 5

Kind = Literal["throttled", "lifted", "threshold", "forecast"]


@dataclass(frozen=True, slots=True)
class LimitState:
    """What was fired for one limit.

    Attributes:
        version: Version of the limit under which it was fired.
        window_start_ms: Start of the calendar window in which it was fired, 0 for a rolling one; or the last boundary
            of the limit's boosts, where that is later.
        fired: Levels that are up, ascending. 100 among them means throttled.
        rises: How often each level of a rolling limit has risen under this version.
        forecast: Whether an overspend was forecast for the calendar window.
        shadow: Whether the limit was a shadow when it fired: a throttle that nobody acted on.
    """

    version: int
    window_start_ms: int
    fired: tuple[int, ...]
    rises: Mapping[int, int] = field(default_factory=dict)
    forecast: bool = False
    shadow: bool = False


States = Mapping[str, LimitState]
"""State by limit name. A limit for which nothing is remembered has none."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a level. ``(name, version, threshold, ordinal, kind)`` names it uniquely within a tenant.

    Attributes:
        kind: ``throttled``, ``lifted`` (both at level 100), ``threshold``, or ``forecast`` of level 100.
        name: Name of the limit.
        version: Version of the limit under which the level rose; a lift has the version of its throttle.
        threshold: The level in percent of the maximum.
        ordinal: Start of the calendar window in which the level rose, or of the later segment of a boost in it (ms);
            or the number of the rise of a rolling limit, from 1.
        limit: The limit as it is now; None when it was removed while it throttled.
        reading: What it says now; None when it was removed.
        projected: Of a forecast: what will have been used at the end of the window.
        shadow: Whether the limit was a shadow when the level rose; a lift has the word of its throttle.
    """

    kind: Kind
    name: str
    version: int
    threshold: int
    ordinal: int
    limit: InstalledLimit | None
    reading: Reading | None
    projected: int | None = None
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``judge`` found.

    Attributes:
        states: States to remember.
        transitions: What changed: lifts of removed limits first, then by limit in the layout's order, lifts before
            rises, levels ascending, a forecast last.
        next_due_ms: First instant after now at which judging again, with nothing more used, would re-arm, lift or fire
            something. None when time alone changes nothing.
        changed: Whether ``states`` differs from the states that were given.
    """

    states: dict[str, LimitState]
    transitions: tuple[Transition, ...]
    next_due_ms: int | None
    changed: bool


def judge(layout: Layout, buckets: Mapping[str, int], states: States, now_ms: int) -> Verdict:
    """Judge every limit of ``layout`` at ``now_ms``.

    Args:
        layout: The limits.
        buckets: Sums by bucket name.
        states: What the last verdict said to remember; empty at first.
        now_ms: The instant.
    """
    installed_names = {installed.name for installed in layout.limits}
    transitions = [
        Transition("lifted", name, state.version, THROTTLE, _ordinal(state, THROTTLE), None, None, shadow=state.shadow)
        for name, state in sorted(states.items())
        if name not in installed_names and THROTTLE in state.fired
    ]
    kept: dict[str, LimitState] = {}
    due: list[int] = []
    for reading in read_buckets(layout, buckets, now_ms):
        state, changes = _judge_limit(reading, states.get(reading.limit.name), now_ms)
        transitions += changes
        if state is not None:
            kept[reading.limit.name] = state
        due += _due(reading, buckets, state, now_ms)
    return Verdict(kept, tuple(transitions), min(due, default=None), kept != dict(states))


def to_item(states: States) -> dict[str, dict[str, Any]]:
    """Return the states as plain maps, lists and integers, for JSON or a table item."""
    return {
        name: {
            "version": state.version,
            "window_start_ms": state.window_start_ms,
            "fired": list(state.fired),
            "rises": {str(level): count for level, count in state.rises.items()},
            **({"forecast": True} if state.forecast else {}),
            **({"shadow": True} if state.shadow else {}),
        }
        for name, state in states.items()
    }


def from_item(item: Mapping[str, Mapping[str, Any]]) -> dict[str, LimitState]:
    """Return the states that ``to_item`` wrote; numbers may have become decimals on the way."""
    return {
        name: LimitState(
            version=int(values["version"]),
            window_start_ms=int(values["window_start_ms"]),
            fired=tuple(int(level) for level in values["fired"]),
            rises={int(level): int(count) for level, count in values["rises"].items()},
            forecast=bool(values.get("forecast")),
            shadow=bool(values.get("shadow")),
        )
        for name, values in item.items()
    }


def _judge_limit(
    reading: Reading, before: LimitState | None, now_ms: int
) -> tuple[LimitState | None, list[Transition]]:
    limit, used, maximum = reading.limit, reading.used, reading.maximum
    levels = _levels(limit, maximum)
    calendar = isinstance(limit.window, CalendarWindow)
    start_ms = max(reading.window_start_ms if calendar else 0, segment_start_ms(limit.boosts, now_ms))
    fresh = LimitState(limit.version, start_ms, (), shadow=limit.shadow)
    state = before or fresh
    transitions = []
    # Maximum 0 allows nothing in any window: a new one is no news.
    is_another = state.version != fresh.version
    if is_another or (state.window_start_ms != start_ms and (maximum or not calendar)):
        # A limit that became a shadow denies no longer, and whoever acted on its throttle is told so.
        is_over = not _is_crossed(maximum, THROTTLE, used) or (limit.shadow and not state.shadow)
        if THROTTLE in state.fired and is_over:
            transitions.append(_transition("lifted", limit, state, THROTTLE, reading))
        # Numbers of rises go on within a version, so that no two events of it are one.
        state = fresh if is_another else replace(fresh, rises=state.rises)
    fired, rises, forecast_before = set(state.fired), dict(state.rises), state.forecast
    if not calendar:
        rearmed = {level for level in fired if used < _rearm_below(maximum, level)}
        if THROTTLE in rearmed:
            transitions.append(_transition("lifted", limit, state, THROTTLE, reading))
        fired -= rearmed
    risen = [level for level in levels if level not in fired and _is_crossed(maximum, level, used)]
    fired |= set(risen)
    if not calendar:
        for level in risen:
            rises[level] = rises.get(level, 0) + 1
    ahead = _overspend(reading, fired, now_ms)
    state = replace(state, fired=tuple(sorted(fired)), rises=rises, forecast=state.forecast or ahead is not None)
    for level in risen:
        kind: Kind = "throttled" if level == THROTTLE else "threshold"
        transitions.append(_transition(kind, limit, state, level, reading))
    if ahead is not None and not forecast_before:
        transitions.append(replace(_transition("forecast", limit, state, THROTTLE, reading), projected=ahead))
    return (state if fired or rises or state.forecast else None), transitions


def _overspend(reading: Reading, fired: Collection[int], at_ms: int) -> int | None:
    """Return what the calendar window will have used, if that reaches the maximum and nothing has said so yet."""
    if not isinstance(reading.limit.window, CalendarWindow) or not reading.maximum or THROTTLE in fired:
        return None
    ahead = projected(reading.used, reading.window_start_ms, reading.window_end_ms, at_ms)
    return ahead if ahead is not None and _is_crossed(reading.maximum, THROTTLE, ahead) else None


def _due(reading: Reading, buckets: Mapping[str, int], state: LimitState | None, now_ms: int) -> list[int]:
    limit = reading.limit
    fired = state.fired if state else ()
    changes_ms = next_boundary_ms(limit.boosts, now_ms)
    boundary = [changes_ms] if changes_ms is not None else []
    if isinstance(limit.window, CalendarWindow):
        if reading.maximum == 0:
            return boundary
        start_ms, end_ms = reading.window_start_ms, reading.window_end_ms
        ahead = buckets.get(bucket_name(limit.slot, limit.window, end_ms), 0)
        then_maximum = limit.maximum_at(end_ms)
        rises_then = any(_is_crossed(then_maximum, level, ahead) for level in _levels(limit, then_maximum))
        due = [*boundary, end_ms] if THROTTLE in fired or rises_then else boundary
        windows = [(reading.used, start_ms, end_ms, fired), (ahead, *limit.window.bounds(end_ms), ())]
        for used, begin_ms, finish_ms, said in windows:
            at_ms = projected_from_ms(begin_ms, finish_ms)
            ceiling = limit.maximum_at(at_ms)
            then = replace(reading, used=used, maximum=ceiling, window_start_ms=begin_ms, window_end_ms=finish_ms)
            if now_ms < at_ms and _overspend(then, said, at_ms) is not None:
                due.append(at_ms)
        return due
    instants = [falls_below_ms(limit, buckets, _rearm_below(reading.maximum, level), now_ms) for level in fired]
    return boundary + [instant for instant in instants if instant is not None]


def _levels(limit: InstalledLimit, maximum: int) -> list[int]:
    if maximum == 0:
        return [THROTTLE]
    return sorted({*limit.thresholds, THROTTLE})


def _is_crossed(maximum: int, level: int, used: int) -> bool:
    return used * 100 >= level * maximum


def _rearm_below(maximum: int, level: int) -> int:
    """Return the amount below which a fired level re-arms: 5 points below it, at the latest when nothing is used."""
    if maximum == 0:
        return 0
    return max(1, -(-(level - REARM_POINTS) * maximum // 100))


def _ordinal(state: LimitState, level: int) -> int:
    return state.rises.get(level, 0) or state.window_start_ms


def _transition(kind: Kind, limit: InstalledLimit, state: LimitState, level: int, reading: Reading) -> Transition:
    ordinal = _ordinal(state, level)
    return Transition(kind, limit.name, state.version, level, ordinal, limit, reading, shadow=state.shadow)
