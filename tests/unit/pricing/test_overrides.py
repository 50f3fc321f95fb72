"""Which override counts, when, and how one set replaces another."""

import msgspec
import pytest

from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.cached import FRESH_FOR_MS, CachedRater
from bedrock_meter.pricing.overrides import EFFECTIVE_AFTER_MS, NONE, Override, OverrideSet, chosen, merged
from bedrock_meter.pricing.rating import Rater
from tests.doubles.prices import MemoryOverrideStore
from tests.unit.pricing.test_rating import DAY, SONNET, call

LATER = DAY + 3_600_000


def prices(usd: int, **about: str) -> Override:
    return Override(0, prices={"default": {"input": usd * 1_000_000_000}}, **about)  # type: ignore[arg-type]


def percent(points: int, **about: str) -> Override:
    return Override(0, percent_e6=points * 1_000_000, **about)  # type: ignore[arg-type]


def cost(*rows: Override, **of: object) -> int | None:
    return Rater(load_book(), OverrideSet(1, rows)).rate(call(input=1_000, **of)).cost_nano_usd  # type: ignore[arg-type]


def test_a_price_replaces_the_kind_that_it_names_and_no_other() -> None:
    rater = Rater(load_book(), OverrideSet(1, (prices(2),)))
    # 1,000 x 2,000 + 100 x 16,500: the output keeps its card's price
    assert rater.rate(call(input=1_000, output=100)).cost_nano_usd == 3_650_000


def test_a_price_holds_whatever_the_size_of_the_context() -> None:
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    rater = Rater(load_book(), OverrideSet(1, (prices(2),)))
    # 200,001 x 2,000 + 10 x 24,750: only the output is that of the step
    assert rater.rate(call(model, input=200_001, output=10)).cost_nano_usd == 400_249_500


def test_a_price_of_a_tier_is_for_that_tier() -> None:
    row = Override(0, prices={"flex": {"input": 1_000_000_000}})
    assert cost(row, tier="flex") == 1_000_000
    assert cost(row) == 3_300_000
    reserved = Override(0, prices={"reserved": {"input": 0}})
    assert cost(reserved, tier="reserved") == 0
    own = Rater(load_book(), OverrideSet(1, (reserved,))).rate(call(input=1, tier="reserved"))
    assert own.assumptions == ()


def test_a_model_without_a_card_is_priced_by_the_operator() -> None:
    row = prices(4, model="x1y2z3")
    assert cost(row, model="x1y2z3") == 4_000_000
    # The output has no price: all of the call is unknown
    rater = Rater(load_book(), OverrideSet(1, (row,)))
    assert rater.rate(call("x1y2z3", input=1, output=1)).cost_nano_usd is None


def test_an_unknown_model_has_no_price_whatever_a_wildcard_says() -> None:
    assert cost(prices(4), percent(10), model="-") is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [(15, 3_795_000), (-10, 2_970_000), (-100, 0), (0, 3_300_000)],  # of 1,000 x 3,300 = 3,300,000
)
def test_a_percentage_is_of_the_sum(points: int, expected: int) -> None:
    assert cost(percent(points)) == expected


def test_price_and_percentage_come_together_and_are_rounded_once() -> None:
    # 1,000 x 2,000 x 1.15 = 2,300,000
    assert cost(prices(2), percent(15)) == 2_300_000
    tiny = Override(0, prices={"default": {"input": 1_500_000}})
    # 1 x 1.5 x 1.5 = 2.25; rounded twice it would be 2 x 1.5 = 3
    rater = Rater(load_book(), OverrideSet(1, (tiny, percent(50))))
    assert rater.rate(call(input=1)).cost_nano_usd == 2


RANKS = (
    percent(1),
    percent(2, model="anthropic.*"),
    percent(3, model="anthropic.claude-sonnet-*"),
    percent(4, model=SONNET),
    percent(5, profile="a1c3m5e7k9q2"),
    percent(6, profile="a1c3m5e7k9q2", model=SONNET),
    percent(7, tenant="acme"),
    percent(8, tenant="acme", model="anthropic.*"),
    percent(9, tenant="acme", model=SONNET),
    percent(10, tenant="acme", profile="a1c3m5e7k9q2"),
)
"""From the least specific to the most."""


@pytest.mark.parametrize("length", range(1, len(RANKS) + 1))
def test_the_most_specific_row_wins_wherever_it_stands(length: int) -> None:
    expected = 3_300_000 * (100 + length) // 100
    assert cost(*RANKS[:length]) == expected
    assert cost(*reversed(RANKS[:length])) == expected


@pytest.mark.parametrize("about", [{"tenant": "globex"}, {"profile": "g1l3b5x7t9w2"}, {"model": "amazon.*"}])
def test_a_row_about_others_does_not_count(about: dict[str, str]) -> None:
    assert cost(percent(50, **about)) == 3_300_000


@pytest.mark.parametrize(("shift", "expected"), [(-1, 3_300_000), (0, 3_630_000), (1, 3_630_000)])
def test_a_row_begins_with_its_first_millisecond(shift: int, expected: int) -> None:
    assert cost(Override(LATER, percent_e6=10_000_000), event_ms=LATER + shift) == expected


@pytest.mark.parametrize(("shift", "expected"), [(-1, 3_630_000), (0, 3_300_000), (1, 3_300_000)])
def test_a_row_has_ended_at_its_end(shift: int, expected: int) -> None:
    assert cost(Override(0, LATER, percent_e6=10_000_000), event_ms=LATER + shift) == expected


def test_of_two_alike_the_later_beginning_counts_then_the_later_written() -> None:
    early, late = Override(1, percent_e6=1), Override(2, percent_e6=2)
    for rows in ((early, late), (late, early)):
        assert chosen(OverrideSet(1, rows).fitting("t", "p", "m"), 5)[1] == late
    first, second = Override(1, percent_e6=1), Override(1, percent_e6=2)
    assert chosen(OverrideSet(1, (first, second)).fitting("t", "p", "m"), 5)[1] == second


def test_a_set_survives_being_written_down() -> None:
    held = OverrideSet(7, (*RANKS, prices(2), Override(5, 9, prices={"flex": {"input": 1}})))
    assert msgspec.json.decode(msgspec.json.encode(held), type=OverrideSet) == held


# --- one set after another


def undated(*rows: Override) -> list[tuple[Override, bool]]:
    return [(row, False) for row in rows]


def test_a_first_file_begins_ahead_of_every_cache() -> None:
    new = merged(NONE, undated(percent(10)), DAY)
    assert new == OverrideSet(1, (Override(DAY + EFFECTIVE_AFTER_MS, percent_e6=10_000_000),))
    assert EFFECTIVE_AFTER_MS > FRESH_FOR_MS


def test_the_same_file_again_changes_nothing() -> None:
    file = [*undated(percent(10), prices(2)), (Override(5, 9, percent_e6=1, tenant="acme"), True)]
    once = merged(NONE, file, DAY)
    assert merged(once, file, DAY + 1) is once
    assert merged(once, file, LATER) is once


def test_what_the_file_no_longer_says_ends_and_stays_for_the_past() -> None:
    once = merged(NONE, undated(percent(10)), DAY)
    twice = merged(once, undated(percent(12)), LATER)
    change_ms = LATER + EFFECTIVE_AFTER_MS
    assert twice == OverrideSet(
        2,
        (
            Override(DAY + EFFECTIVE_AFTER_MS, change_ms, percent_e6=10_000_000),
            Override(change_ms, percent_e6=12_000_000),
        ),
    )
    rater = Rater(load_book(), twice)
    costs = [rater.rate(call(input=1_000, event_ms=change_ms + shift)).cost_nano_usd for shift in (-1, 0)]
    assert costs == [3_630_000, 3_696_000]
    assert merged(twice, [], LATER * 2).rows[0] == twice.rows[0]


def test_a_row_that_never_held_leaves_no_trace() -> None:
    once = merged(NONE, undated(percent(10)), DAY)
    assert merged(once, [], DAY) == OverrideSet(2, ())
    future = merged(NONE, [(Override(LATER * 2, percent_e6=1), True)], DAY)
    assert merged(future, [], DAY + 1) == OverrideSet(2, ())


def test_a_row_that_ends_may_stay_in_the_file_after_its_end() -> None:
    file = undated(Override(0, LATER, percent_e6=1))
    once = merged(NONE, file, DAY)
    assert once.rows == (Override(DAY + EFFECTIVE_AFTER_MS, LATER, percent_e6=1),)
    assert merged(once, file, LATER * 2) is once


def test_a_row_that_would_end_before_it_begins_is_left_out() -> None:
    assert merged(NONE, undated(Override(0, DAY, percent_e6=1)), DAY) is NONE
    assert merged(NONE, undated(Override(0, DAY + EFFECTIVE_AFTER_MS, percent_e6=1)), DAY) is NONE


def test_a_row_that_loses_its_day_begins_now() -> None:
    future = merged(NONE, [(Override(LATER * 2, percent_e6=1), True)], DAY)
    assert merged(future, undated(Override(0, percent_e6=1)), LATER).rows == (
        Override(LATER + EFFECTIVE_AFTER_MS, percent_e6=1),
    )


def test_a_day_in_the_past_is_taken_at_its_word() -> None:
    once = merged(NONE, undated(percent(10)), DAY)
    back = merged(once, [*undated(percent(10)), (Override(5, percent_e6=20_000_000, tenant="acme"), True)], LATER)
    rater = Rater(load_book(), back)
    assert rater.rate(call(input=1_000, event_ms=DAY)).cost_nano_usd == 3_960_000


def test_a_row_that_comes_back_begins_anew() -> None:
    once = merged(NONE, undated(percent(10)), DAY)
    gone = merged(once, [], LATER)
    again = merged(gone, undated(percent(10)), LATER + 10 * EFFECTIVE_AFTER_MS)
    assert [(row.from_ms, row.to_ms) for row in again.rows] == [
        (DAY + EFFECTIVE_AFTER_MS, LATER + EFFECTIVE_AFTER_MS),
        (LATER + 11 * EFFECTIVE_AFTER_MS, None),
    ]


# --- what a running function holds


def test_the_store_is_asked_once_a_minute() -> None:
    store, now = MemoryOverrideStore(), [DAY]
    rater = CachedRater(store, load_book(), clock=lambda: now[0])
    assert store.reads == 0
    assert rater.rate(call(input=1_000)).cost_nano_usd == 3_300_000
    store.held = OverrideSet(1, (percent(10),))
    now[0] = DAY + FRESH_FOR_MS - 1
    assert rater.rate(call(input=1_000)).cost_nano_usd == 3_300_000
    assert store.reads == 1
    now[0] = DAY + FRESH_FOR_MS
    assert rater.rate(call(input=1_000)) == Rater(load_book(), store.held).rate(call(input=1_000))
    assert store.reads == 2


def test_an_unchanged_set_keeps_its_rater() -> None:
    store, now = MemoryOverrideStore(), [DAY]
    rater = CachedRater(store, load_book(), clock=lambda: now[0])
    first = rater.current()
    now[0] += FRESH_FOR_MS
    assert rater.current() is first


def test_a_set_that_cannot_be_read_is_no_empty_set() -> None:
    class Broken(MemoryOverrideStore):
        def read(self) -> OverrideSet:
            raise ConnectionError

    rater = CachedRater(Broken(), load_book(), clock=lambda: DAY)
    with pytest.raises(ConnectionError):
        rater.rate(call(input=1))
