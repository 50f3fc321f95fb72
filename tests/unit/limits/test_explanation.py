"""Who used a window: exact for calendar windows, honest about quarter-hours for rolling ones."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bedrock_meter.limits.explanation import TOP, Share, decisive, explain, range_of
from bedrock_meter.limits.gauge import Reading, read
from bedrock_meter.limits.holds import expiry_bucket, held_name
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.seeding import seed_rows
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.usage.rollup import RollupKey, Sums
from tests.doubles.http import gauge
from tests.doubles.records import NOW_MS, limit, sums

QUARTER = NOW_MS - NOW_MS % QUARTER_MS


def reading(window: str, maximum: int = 1000, used: int = 0, meter: Meter = Meter.TOTAL_TOKENS) -> Reading:
    (one,) = read(gauge("acme", limit(window, maximum, meter=meter), used=used), NOW_MS)
    return one


def row(quarters_ago: int, model: str, profile: str, **amounts: int) -> tuple[RollupKey, Sums]:
    return RollupKey("acme", QUARTER - quarters_ago * QUARTER_MS, profile, model), sums(**amounts)


def test_a_calendar_window_is_explained_exactly() -> None:
    day = reading("day")
    assert range_of(day, NOW_MS) == (day.window_start_ms, day.window_end_ms)
    rows = [row(3, "m1", "p1", requests=2, input=70), row(0, "m2", "p1", requests=1, input=20, output=10)]
    found = explain(day, [rows], NOW_MS, max_pages=8)
    assert (found.is_exact, found.is_complete, found.total) == (True, True, 100)
    assert [(one.name, one.amount, one.requests) for one in found.models] == [("m1", 70, 2), ("m2", 30, 1)]
    assert [(one.name, one.amount, one.requests) for one in found.profiles] == [("p1", 100, 3)]


def test_a_rolling_window_is_explained_by_whole_quarter_hours_and_says_so() -> None:
    hour = reading("1h")
    from_ms, to_ms = range_of(hour, NOW_MS)
    assert from_ms % QUARTER_MS == to_ms % QUARTER_MS == 0
    oldest_ms = (NOW_MS // 300_000 - 12) * 300_000
    assert from_ms <= oldest_ms < from_ms + QUARTER_MS
    assert to_ms - QUARTER_MS <= NOW_MS + 300_000 < to_ms
    found = explain(hour, [[row(0, "m", "p", requests=1, output=5)]], NOW_MS, max_pages=8)
    assert (found.is_exact, found.is_complete, found.from_ms, found.to_ms) == (False, True, from_ms, to_ms)


def test_a_rolling_window_is_explained_from_where_used_begins() -> None:
    (week,) = read(gauge("acme", limit("7d", 1000, hard=True)), NOW_MS)
    sub_ms = 7 * 86_400_000 // 12
    oldest_ms = (NOW_MS // sub_ms - 12) * sub_ms
    assert range_of(week, NOW_MS)[0] == oldest_ms - oldest_ms % QUARTER_MS < week.window_start_ms - QUARTER_MS


def test_the_meter_of_the_limit_counts() -> None:
    rows = [row(0, "m", "p", requests=7, input=100, output=5)]
    assert explain(reading("day", meter=Meter.REQUESTS), [rows], NOW_MS, max_pages=1).total == 7
    assert explain(reading("day", meter=Meter.OUTPUT_TOKENS), [rows], NOW_MS, max_pages=2).total == 5


def test_a_scope_is_explained_by_what_it_looks_at() -> None:
    scope = Scope(models=("anthropic.*",), profiles=("p1", "p2"))
    (scoped,) = read(gauge("acme", limit("day", 1000, scope=scope)), NOW_MS)
    rows = [
        row(3, "us.anthropic.claude-sonnet-4-6", "p1", requests=2, input=70),
        row(2, "meta.llama3-8b-instruct-v1:0", "p1", requests=5, input=500),
        row(2, "anthropic.claude-sonnet-4-6", "p3", requests=5, input=500),
        row(1, "-", "p2", requests=3, input=30),
    ]
    found = explain(scoped, [rows], NOW_MS, max_pages=8)
    assert (found.total, found.uncounted, found.is_exact) == (70, 3, True)
    assert found.models == (Share("us.anthropic.claude-sonnet-4-6", 70, 2), Share("-", 0, 3, 3))
    assert found.profiles == (Share("p1", 70, 2), Share("p2", 0, 3, 3))


def test_money_and_weighted_tokens_are_counted_as_the_gauge_counts_them() -> None:
    claude, unnamed = "anthropic.claude-sonnet-4-6", "-"
    rows = [
        row(1, claude, "p", requests=3, input=100, output=10, cost=75, unpriced=1),
        row(0, unnamed, "p", requests=2, input=7, output=1, cost=5),
    ]
    for meter in (Meter.COST_USD, Meter.WEIGHTED_TOKENS):
        day = reading("day", meter=meter)
        found = explain(day, [rows], NOW_MS, max_pages=8)
        seeded = seed_rows(day.limit, rows, NOW_MS)
        (bucket,) = (name for name in seeded if not name.endswith(UNCOUNTED))
        assert (found.total, found.uncounted) == (seeded[bucket], seeded[bucket + UNCOUNTED])
        assert sum(share.uncounted for share in found.models) == found.uncounted > 0
    assert explain(reading("day", meter=Meter.COST_USD), [rows], NOW_MS, max_pages=8).total == 80


def test_many_models_are_the_largest_and_a_sum() -> None:
    rows = [row(0, f"m{number:02}", "p", requests=1, input=number + 1) for number in range(TOP + 5)]
    found = explain(reading("day"), [rows], NOW_MS, max_pages=8)
    assert len(found.models) == TOP + 1
    assert found.models[0].name == f"m{TOP + 4}"
    assert (found.models[-1].name, found.models[-1].amount, found.models[-1].requests) == ("", 1 + 2 + 3 + 4 + 5, 5)
    assert sum(one.amount for one in found.models) == found.total


def test_reading_ends_after_so_many_pages_and_the_answer_says_how_far_it_went() -> None:
    asked = 0

    def pages() -> Iterator[Sequence[tuple[RollupKey, Sums]]]:
        nonlocal asked
        for ago in range(9, -1, -1):
            asked += 1
            yield [row(ago, "m", "p", requests=1, input=1)]

    found = explain(reading("day"), pages(), NOW_MS, max_pages=3)
    assert (asked, found.total) == (3, 3)
    assert (found.is_complete, found.is_exact) == (False, False)
    assert found.to_ms == QUARTER - 7 * QUARTER_MS


def test_the_limit_that_denies_longest_decides() -> None:
    readings = read(gauge("acme", limit("1h", 10), limit("month", 10), limit("day", 1000), used=50), NOW_MS)
    chosen = decisive(readings)
    assert chosen is not None
    assert chosen.limit.name == "total_tokens-month"
    never = read(gauge("acme", limit("month", 10), limit("1h", 0), used=50), NOW_MS)
    assert decisive(never) is never[1]


def test_what_only_reservations_deny_decides_after_what_is_used_up() -> None:
    found = gauge("acme", limit("1h", 100), limit("day", 60, meter=Meter.REQUESTS), used=50)
    held = replace(found, holds={held_name("t", expiry_bucket(NOW_MS)): 50})
    readings = read(held, NOW_MS)
    assert [one.allowed for one in readings] == [False, True]
    assert decisive(readings) is readings[0]
    used_up = read(replace(held, layout=plan_change(NO_LIMITS, [limit("1h", 100), limit("day", 50)]).next), NOW_MS)
    assert decisive(used_up) is used_up[1]
    nearly = read(replace(found, holds={held_name("t", expiry_bucket(NOW_MS)): 45}), NOW_MS)
    assert decisive(nearly) is nearly[0]


def test_without_a_denial_the_limit_nearest_to_its_end_decides() -> None:
    readings = read(gauge("acme", limit("1h", 1000), limit("day", 100), used=50), NOW_MS)
    assert decisive(readings) is readings[1]
    assert decisive(()) is None
