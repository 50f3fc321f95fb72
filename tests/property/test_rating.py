"""What holds for every call that can be rated, whatever the model, Region, routing, tier and counts."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.pricing.book import Book, Card, load_book
from bedrock_meter.pricing.models import ROUTINGS
from bedrock_meter.pricing.overrides import Override, OverrideSet
from bedrock_meter.pricing.rating import ASSUMPTIONS, Call, Rater

BOOK = load_book()
REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1", "us-gov-west-1", "sa-east-1", "mars-1")
PREFIXES = ("", "us.", "eu.", "global.", "us-gov.")

counts = st.integers(0, 2**53) | st.integers(0, 300_000) | st.just(0)
tokens = st.builds(TokenCounts, counts, counts, counts, counts)
calls = st.builds(
    Call,
    tenant=st.sampled_from(("acme", "globex")),
    profile=st.sampled_from(("a1", "g1")),
    model=st.builds(str.__add__, st.sampled_from(PREFIXES), st.sampled_from(sorted(BOOK.cards)) | st.text(max_size=8)),
    region=st.sampled_from(REGIONS),
    routing=st.none() | st.sampled_from(ROUTINGS),
    event_ms=st.integers(0, 2**44),
    tokens=tokens,
    cache_write_1h=st.none() | counts,
    tier=st.sampled_from((None, "default", "flex", "priority", "reserved", "")),
    images=st.none() | st.integers(0, 100),
    batch=st.booleans(),
)
rows = st.builds(
    Override,
    from_ms=st.integers(0, 2**44),
    model=st.sampled_from(("*", "anthropic.*", "amazon.nova-lite-v1:0")),
    tenant=st.none() | st.just("acme"),
    percent_e6=st.integers(-100_000_000, 10**9),
)
overrides = st.builds(OverrideSet, st.just(1), st.lists(rows, max_size=4).map(tuple))


def without_steps(book: Book) -> Book:
    """The same book without prices of large contexts: there, rating is a sum over its parts."""
    cards = {
        model: {
            scope: [Card(one.tiers, one.from_ms, assumes=one.assumes) for one in held] for scope, held in at.items()
        }
        for model, at in book.cards.items()
    }
    return replace(book, cards=cards)


FLAT = Rater(without_steps(BOOK))


@given(calls, overrides)
def test_a_cost_is_a_whole_number_or_unknown_and_always_the_same(call: Call, held: OverrideSet) -> None:
    rated = Rater(BOOK, held).rate(call)
    assert rated == Rater(BOOK, held).rate(call)
    assert rated.cost_nano_usd is None or (type(rated.cost_nano_usd) is int and rated.cost_nano_usd >= 0)
    assert list(rated.assumptions) == [code for code in ASSUMPTIONS if code in rated.assumptions]


@given(calls, overrides)
def test_a_cost_is_its_lines_within_half_a_nano_usd(call: Call, held: OverrideSet) -> None:
    reckoning = Rater(BOOK, held).reckon(call)
    if reckoning.cost_nano_usd is not None:
        lines = sum((Fraction(line.quantity * (line.price or 0), 10**6) for line in reckoning.lines), Fraction())
        exact = lines * (1 + Fraction(reckoning.percent_e6, 10**8))
        assert -Fraction(1, 2) < reckoning.cost_nano_usd - exact <= Fraction(1, 2)


@given(calls, st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
def test_more_tokens_never_cost_less(call: Call, more: list[int]) -> None:
    rater = Rater(BOOK)
    less = rater.rate(call).cost_nano_usd
    grown = rater.rate(replace(call, tokens=call.tokens + TokenCounts(*more))).cost_nano_usd
    if less is not None and grown is not None and call.cache_write_1h is None:
        assert grown >= less


@given(calls, tokens)
def test_a_call_costs_what_its_parts_cost_but_for_the_rounding(call: Call, part: TokenCounts) -> None:
    whole = replace(call, tokens=call.tokens + part, cache_write_1h=None, images=None)
    one = FLAT.rate(replace(whole, tokens=call.tokens)).cost_nano_usd
    other = FLAT.rate(replace(whole, tokens=part)).cost_nano_usd
    both = FLAT.reckon(whole)
    if one is not None and other is not None and both.cost_nano_usd is not None:
        per_request = sum(line.price or 0 for line in both.lines if line.kind == "request") // 10**6
        assert abs(one + other - per_request - both.cost_nano_usd) <= 1


@given(calls)
def test_a_kind_without_a_price_and_no_count_makes_no_difference(call: Call) -> None:
    reckoning = Rater(BOOK).reckon(call)
    assert all(line.quantity > 0 for line in reckoning.lines)
    assert (reckoning.cost_nano_usd is None) == bool(reckoning.unpriced)
    if reckoning.cost_nano_usd is not None:
        assert all(line.price is not None for line in reckoning.lines)
