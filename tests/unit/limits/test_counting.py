"""What usage adds to a limit, and what nobody can say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.limits.counting import Counted, adds, counted
from bedrock_meter.limits.gauge import bucket_name, read_buckets, stale_buckets
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.seeding import seed_rows
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.money import NANO
from bedrock_meter.usage.rollup import RollupKey, Sums, quarter_start
from tests.doubles.records import NOW_MS, limit, sums

OPUS = "anthropic.claude-opus-4-1-20250805-v1:0"
HOUR_MS = 3_600_000
USAGE = sums(3, 1, cost=700, unpriced=1, input=10, output=20, cache_read=40, cache_write=80)


@pytest.mark.parametrize(
    ("meter", "model", "expected"),
    [
        (Meter.REQUESTS, OPUS, (3, 0)),
        (Meter.TOTAL_TOKENS, OPUS, (150, 0)),
        (Meter.COST_USD, OPUS, (700, 1)),
        # Claude 4.7 and below: input + cache writes + 5 x output; cache reads are free.
        (Meter.WEIGHTED_TOKENS, OPUS, (10 + 80 + 5 * 20, 0)),
        (Meter.WEIGHTED_TOKENS, f"global.{OPUS}", (10 + 80 + 5 * 20, 0)),
        (Meter.WEIGHTED_TOKENS, "amazon.nova-lite-v1:0", (10 + 80 + 20, 0)),
        (Meter.WEIGHTED_TOKENS, "-", (10 + 80 + 20, 3)),
    ],
)
def test_each_meter_counts_what_it_says(meter: Meter, model: str, expected: tuple[int, int]) -> None:
    assert counted(limit(meter=meter), USAGE, "p", model) == Counted(*expected)


@pytest.mark.parametrize("meter", list(Meter))
def test_a_scope_takes_all_nothing_or_says_that_it_cannot_tell(meter: Meter) -> None:
    whole = counted(limit(meter=meter), USAGE, "p", OPUS)
    assert counted(limit(meter=meter, scope=Scope(models=("anthropic.*",))), USAGE, "p", OPUS) == whole
    assert counted(limit(meter=meter, scope=Scope(models=("amazon.*",))), USAGE, "p", OPUS) == Counted(0, 0)
    assert counted(limit(meter=meter, scope=Scope(models=("anthropic.*",))), USAGE, "p", "-") == Counted(0, 3)
    assert counted(limit(meter=meter, scope=Scope(profiles=("q",))), USAGE, "p", OPUS) == Counted(0, 0)


SUMS = st.builds(
    lambda requests, unpriced, cost, counts: sums(
        requests, cost=cost, unpriced=unpriced, **dict(zip(("input", "output", "cache_read"), counts, strict=True))
    ),
    st.integers(0, 9),
    st.integers(-3, 9),
    st.integers(-(10**12), 10**12),
    st.tuples(*[st.integers(0, 10**6)] * 3),
)


@given(st.sampled_from(list(Meter)), st.sampled_from([OPUS, "-", "amazon.nova-lite-v1:0"]), SUMS, SUMS)
def test_counting_is_linear(meter: Meter, model: str, one: Sums, other: Sums) -> None:
    apart = [counted(limit(meter=meter), part, "p", model) for part in (one, other)]
    together = counted(limit(meter=meter), one + other, "p", model)
    assert together == Counted(*map(sum, zip(*apart, strict=True)))


def test_what_nobody_can_say_is_marked_beside_the_bucket_and_only_there() -> None:
    (installed,) = plan_change(NO_LIMITS, [limit("1h", meter=Meter.COST_USD)]).next.limits
    bucket = bucket_name(installed.slot, installed.window, NOW_MS)

    def added(usage: Sums) -> dict[str, int]:
        return adds(installed, usage, "p", OPUS, event_ms=NOW_MS, now_ms=NOW_MS)

    assert added(USAGE) == {bucket: 700, bucket + UNCOUNTED: 1}
    assert added(sums(1, cost=5)) == {bucket: 5}
    assert added(sums(1, unpriced=1)) == {bucket + UNCOUNTED: 1}
    assert added(sums(errors=1)) == {}


def test_a_closed_calendar_window_keeps_no_mark() -> None:
    (installed,) = plan_change(NO_LIMITS, [limit("day", meter=Meter.COST_USD)]).next.limits
    late = adds(installed, USAGE, "p", OPUS, event_ms=NOW_MS - 48 * HOUR_MS, now_ms=NOW_MS)
    assert [name[-1] for name in late] == ["+"]


def test_a_new_limit_is_seeded_with_its_part_of_the_rows_and_with_their_marks() -> None:
    wanted = [
        limit("1h", meter=Meter.COST_USD, scope=Scope(models=("anthropic.*",)), name="claude"),
        limit("day", meter=Meter.COST_USD, scope=Scope(profiles=("q",)), name="q"),
        limit("day", meter=Meter.COST_USD, name="all"),
    ]
    layout = plan_change(NO_LIMITS, wanted).next
    quarter_ms = quarter_start(NOW_MS - 1_200_000)
    rows = [
        (RollupKey("acme", quarter_ms, "p", OPUS), sums(2, cost=100, unpriced=1)),
        (RollupKey("acme", quarter_ms, "q", "amazon.nova-lite-v1:0"), sums(1, cost=10)),
        (RollupKey("acme", quarter_ms, "q", "-"), sums(4, unpriced=4)),
    ]
    buckets = {name: held for one in layout.limits for name, held in seed_rows(one, rows, NOW_MS).items()}
    readings = read_buckets(layout, buckets, NOW_MS)
    assert [(one.used, one.uncounted) for one in readings] == [(100, 1 + 4), (10, 4), (110, 5)]


@pytest.mark.parametrize("window", ["15m", "1h", "2h", "7d"])
def test_a_call_that_is_rated_after_a_limit_was_seeded_leaves_no_mark_behind(window: str) -> None:
    strict = limit(window, NANO, meter=Meter.COST_USD, hard=True)
    for offset_ms in range(0, QUARTER_MS, 61_000):
        event_ms = NOW_MS - NOW_MS % QUARTER_MS - QUARTER_MS + offset_ms
        row = RollupKey("acme", event_ms - event_ms % QUARTER_MS, "p", "m"), sums(1, unpriced=1)
        layout = plan_change(NO_LIMITS, [strict]).next
        (installed,) = layout.limits
        buckets = seed_rows(installed, [row], NOW_MS)
        (before,) = read_buckets(layout, buckets, NOW_MS)
        assert (before.uncounted, before.allowed) == (1, False)
        rated = adds(installed, sums(0, cost=5, unpriced=-1), "p", "m", event_ms=event_ms, now_ms=NOW_MS)
        for name, amount in rated.items():
            buckets[name] = buckets.get(name, 0) + amount
        assert sum(amount for name, amount in buckets.items() if name.endswith(UNCOUNTED)) == 0
        for passed_ms in range(0, 15 * installed.window.sub_ms, installed.window.sub_ms // 3):  # type: ignore[union-attr]
            at_ms = NOW_MS + passed_ms
            stale = stale_buckets(layout, buckets, at_ms)
            kept = {name: amount for name, amount in buckets.items() if name not in stale}
            for found in (buckets, kept):
                (reading,) = read_buckets(layout, found, at_ms)
                assert (reading.is_complete, reading.allowed, reading.throttled_until_ms) == (True, True, None)


def test_a_rated_call_takes_no_mark_of_another_quarter_hour_away() -> None:
    strict = limit("1h", NANO, meter=Meter.COST_USD, hard=True)
    layout = plan_change(NO_LIMITS, [strict]).next
    (installed,) = layout.limits
    quarter_ms = NOW_MS - NOW_MS % QUARTER_MS
    gone, other = (bucket_name("0", installed.window, at_ms) + UNCOUNTED for at_ms in (quarter_ms - 1, quarter_ms))
    (reading,) = read_buckets(layout, {gone: -1, other: 1}, NOW_MS)
    assert reading.uncounted == 1
    (reading,) = read_buckets(layout, {other: -1, gone: 1}, NOW_MS)
    assert reading.uncounted == 1, "a seed moves to a later bucket, never to an earlier one"
    short = plan_change(NO_LIMITS, [limit("5m", NANO, meter=Meter.COST_USD)]).next
    first, second = (bucket_name("0", short.limits[0].window, NOW_MS - ago) + UNCOUNTED for ago in (50_000, 0))
    (reading,) = read_buckets(short, {first: -1, second: 1}, NOW_MS)
    assert reading.uncounted == 1, "what is not seeded has nothing moved"
