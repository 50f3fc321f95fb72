"""Boosts for all inputs: their segments partition time, what looks ahead is exact, and shadows have no say."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.boosts import Boost, least_maximum, maximum_at, next_boundary_ms, segment_start_ms
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import NO_SUMS, Gauge, allows_from_ms, bucket_name, read_buckets, sums_by_slot
from bedrock_meter.limits.levels import States, judge
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit, decode_layout, encode_layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import decide
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window
from bedrock_meter.tenants.plans import effective_limits
from bedrock_meter.tenants.tenant import BoostGrant, TenantDefinition

BASE_MS = 29_000_000 * 60_000
SPAN_MS = 900_000

instants = st.integers(0, 12).map(lambda steps: BASE_MS + steps * 73_000)
boosts = st.lists(
    st.builds(
        lambda pair, amount, permille: Boost(min(pair), max(pair), amount, permille),
        st.tuples(instants, instants).filter(lambda pair: pair[0] != pair[1]),
        st.integers(1, 150),
        st.sampled_from([0, 1, 500]),
    ),
    max_size=4,
).map(tuple)
windows: st.SearchStrategy[Window] = st.sampled_from(
    [RollingWindow(60), RollingWindow(720), CalendarWindow("day", "UTC")]
)
maxima = st.sampled_from([0, 1, 20, 100])
used = st.lists(st.tuples(st.integers(0, SPAN_MS), st.integers(1, 120)), max_size=4)


def limit(window: Window, maximum: int, given_boosts: tuple[Boost, ...], *, hard: bool = True) -> InstalledLimit:
    found = Limit("limit", Meter.TOTAL_TOKENS, window, maximum, hard, (50, 100), boosts=given_boosts)
    return InstalledLimit(found, "0", 1)


def buckets_of(installed: InstalledLimit, usage: list[tuple[int, int]]) -> dict[str, int]:
    buckets: dict[str, int] = {}
    for after_ms, amount in usage:
        name = bucket_name(installed.slot, installed.window, BASE_MS + after_ms)
        buckets[name] = buckets.get(name, 0) + amount
    return buckets


@given(maxima, boosts.filter(bool), st.data())
def test_an_early_end_changes_nothing_before_it_and_takes_one_boost_away_behind_it(
    base: int, given_boosts: tuple[Boost, ...], data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(0, len(given_boosts) - 1))
    ended_ms = data.draw(st.integers(BASE_MS - 5, BASE_MS + SPAN_MS + 5))
    grants = tuple(BoostGrant("limit", one, "x", "y") for one in given_boosts)
    ended = tuple(replace(one, ended_ms=ended_ms) if at == chosen else one for at, one in enumerate(grants))
    own = Limit("limit", Meter.TOTAL_TOKENS, RollingWindow(60), base)
    (before,), (after,) = (
        effective_limits(TenantDefinition("acme", limits=(own,), boosts=each), {}) for each in (grants, ended)
    )
    without = given_boosts[:chosen] + given_boosts[chosen + 1 :]
    for at_ms in {
        ended_ms - 1,
        ended_ms,
        *(at for one in given_boosts for at in (one.from_ms, one.to_ms - 1, one.to_ms)),
    }:
        expected = maximum_at(base, before.boosts, at_ms) if at_ms < ended_ms else maximum_at(base, without, at_ms)
        assert maximum_at(base, after.boosts, at_ms) == expected
    assert [one.id_of("acme") for one in ended] == [one.id_of("acme") for one in grants]


@given(maxima, boosts, st.integers(BASE_MS - 5, BASE_MS + SPAN_MS))
def test_segments_partition_time(base: int, given_boosts: tuple[Boost, ...], at_ms: int) -> None:
    start_ms, end_ms = segment_start_ms(given_boosts, at_ms), next_boundary_ms(given_boosts, at_ms)
    assert start_ms <= at_ms
    last_ms = at_ms + 10**6 if end_ms is None else end_ms - 1
    assert last_ms >= at_ms
    for other_ms in (max(start_ms, at_ms - 10**6), (at_ms + last_ms) // 2, last_ms):
        assert segment_start_ms(given_boosts, other_ms) == start_ms
        assert next_boundary_ms(given_boosts, other_ms) == end_ms
        assert maximum_at(base, given_boosts, other_ms) == maximum_at(base, given_boosts, at_ms)
    if end_ms is not None:
        assert segment_start_ms(given_boosts, end_ms) == end_ms
    assert maximum_at(base, given_boosts, at_ms) >= base


@settings(max_examples=300)
@given(
    windows,
    maxima,
    boosts,
    st.booleans(),
    used,
    st.integers(1, 80),
    st.sampled_from([0, 1, 60_000, 300_000]),
    st.data(),
)
def test_the_first_instant_with_room_is_exact(
    window: Window,
    base: int,
    given_boosts: tuple[Boost, ...],
    hard: bool,
    usage: list[tuple[int, int]],
    need: int,
    ahead_ms: int,
    data: st.DataObject,
) -> None:
    installed = limit(window, base, given_boosts, hard=hard)
    buckets = buckets_of(installed, usage)
    now_ms = BASE_MS + SPAN_MS // 2

    def fits(at_ms: int) -> bool:
        (reading,) = read_buckets(Layout(1, (installed,)), buckets, at_ms)
        return reading.used + need <= least_maximum(base, given_boosts, at_ms, at_ms + ahead_ms)

    found_ms = allows_from_ms(installed, sums_by_slot(buckets).get("0", NO_SUMS), need, now_ms, ahead_ms)
    if found_ms is not None:
        assert found_ms >= now_ms
        assert fits(found_ms)
    end_ms = now_ms + 3 * SPAN_MS if found_ms is None else found_ms
    if end_ms > now_ms:
        edges = [
            instant for one in given_boosts for edge in (one.from_ms, one.to_ms) for instant in (edge, edge - ahead_ms)
        ]
        tries = [*edges, end_ms - 1, now_ms, data.draw(st.integers(now_ms, end_ms - 1))]
        assert not any(fits(at_ms) for at_ms in tries if now_ms <= at_ms < end_ms)


@settings(max_examples=300)
@given(windows, maxima, boosts, used, st.lists(st.integers(0, SPAN_MS), min_size=1, max_size=8))
def test_levels_follow_the_ceiling_and_no_event_is_said_twice(
    window: Window, base: int, given_boosts: tuple[Boost, ...], usage: list[tuple[int, int]], looks: list[int]
) -> None:
    installed = limit(window, base, given_boosts)
    layout = Layout(1, (installed,))
    states: States = {}
    seen: set[tuple[object, ...]] = set()
    throttle: int | None = None
    for after_ms in sorted(looks):
        now_ms = BASE_MS + after_ms
        buckets = buckets_of(installed, [one for one in usage if one[0] <= after_ms])
        verdict = judge(layout, buckets, states, now_ms)
        (reading,) = read_buckets(layout, buckets, now_ms)
        for one in verdict.transitions:
            identity = (one.kind, one.version, one.threshold, one.ordinal)
            assert identity not in seen
            seen.add(identity)
            if one.kind == "throttled":
                assert reading.used >= reading.maximum
                throttle = one.ordinal
            elif one.kind == "lifted":
                assert reading.used < reading.maximum
                assert throttle == one.ordinal
                throttle = None
        if reading.used >= reading.maximum:
            assert throttle is not None
        again = judge(layout, buckets, verdict.states, now_ms)
        assert (again.transitions, again.changed) == ((), False)
        boundary_ms = next_boundary_ms(given_boosts, now_ms)
        due_ms = verdict.next_due_ms
        assert boundary_ms is None or (due_ms is not None and due_ms <= boundary_ms)
        quiet_until_ms = now_ms + SPAN_MS if due_ms is None else due_ms - 1
        assert not judge(layout, buckets, verdict.states, quiet_until_ms).transitions
        states = verdict.states


@given(windows, maxima, boosts)
def test_a_layout_holds_boosts_exactly(window: Window, base: int, given_boosts: tuple[Boost, ...]) -> None:
    layout = Layout(1, (limit(window, base, given_boosts),))
    assert decode_layout(encode_layout(layout), 1) == layout


@given(windows, maxima, maxima, boosts, used, st.integers(1, 50), st.integers(0, SPAN_MS))
def test_a_shadow_never_changes_what_is_allowed(
    window: Window,
    base: int,
    shadowed: int,
    given_boosts: tuple[Boost, ...],
    usage: list[tuple[int, int]],
    need: int,
    after_ms: int,
) -> None:
    real = limit(window, base, given_boosts)
    shadow = replace(real, slot="1", limit=replace(real.limit, name="shadow", maximum=shadowed, shadow=True))
    now_ms = BASE_MS + after_ms
    buckets = buckets_of(real, usage) | buckets_of(shadow, usage)
    alone, both = (Gauge("acme", 1, Layout(1, limits), buckets) for limits in ((real,), (real, shadow)))
    answers = [quota_status(one, now_ms) for one in (alone, both)]
    assert [one["allowed"] for one in answers] == [answers[0]["allowed"]] * 2
    assert answers[0]["denied_by"] == answers[1]["denied_by"]
    assert rate_limit_headers(alone, now_ms) == rate_limit_headers(both, now_ms)
    decisions = [decide(one, Estimate(input_tokens=need), now_ms, now_ms, 60_000) for one in (alone, both)]
    assert decisions[0].allowed == decisions[1].allowed
    assert decisions[0].retry_after_ms == decisions[1].retry_after_ms
    assert decisions[0].room == decisions[1].room
