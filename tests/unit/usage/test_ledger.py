"""Joining twins: any order and any number of deliveries end in the same counts."""

from functools import partial
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.pricing.rating import Call
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, LedgerEntry, entry_for
from bedrock_meter.usage.rollup import NOTHING
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, priced, sums

DAY_MS = 86_400_000
ACME = Attribution("acme", "profile", "acmeprofile1", "a.model")


def entry(
    tokens: TokenCounts = NO_TOKENS, error_code: str | None = None, prices: TestPrices | None = None, **details: object
) -> LedgerEntry:
    record = replace(invocation("r1", tokens=tokens, error_code=error_code), **details)
    made = entry_for(record, ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)
    return made.rated(prices or TestPrices())


COUNTS = st.builds(TokenCounts, *[st.integers(0, 2**53)] * 3, st.integers(0, 3))
UNKNOWN_OR = partial(st.one_of, st.none())
ENTRIES = st.one_of(
    st.builds(
        entry,
        COUNTS,
        cache_write_1h=UNKNOWN_OR(st.integers(0, 3)),
        tier=UNKNOWN_OR(st.sampled_from(["default", "flex", "priority"])),
        images=UNKNOWN_OR(st.integers(0, 3)),
    ),
    st.just(entry(error_code="ThrottlingException")),
)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_any_order_and_repetition_of_twins_ends_in_the_same_entry(twins: list[LedgerEntry]) -> None:
    outcomes = set()
    for order in permutations(twins):
        held = order[0]
        for twin in [*order, *order]:
            held = held.joined(twin)
        outcomes.add((held.tokens, held.error_code is None, held.cache_write_1h, held.tier, held.images))
    assert len(outcomes) == 1


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_what_is_added_in_money_is_what_the_ledger_holds_in_the_end(twins: list[LedgerEntry]) -> None:
    """The prices change with every delivery; each difference goes where the first rating went."""
    added, held = NOTHING, None
    for number, twin in enumerate([*twins, *twins]):
        prices = TestPrices(f"v{number}", factor=1 + number)
        change = Change(twin.rated(prices)) if held is None else Change(twin).against(held, prices)
        if change is not None:
            added, held = added + change.sums, change.entry
    assert held is not None
    assert added == held.sums


def test_the_first_rating_stays_whatever_the_price_book_says_later() -> None:
    held = entry(TokenCounts(5, 7))
    assert Change(entry(TokenCounts(5, 7), prices=TestPrices("later", 9))).against(held, TestPrices("later", 9)) is None


def test_a_twin_with_larger_counts_is_rated_whole_and_the_difference_is_added() -> None:
    held = entry(TokenCounts(5, 7))
    change = Change(entry(TokenCounts(9, 7))).against(held, TestPrices("later", 2))
    assert change is not None
    assert (change.entry.cost_nano_usd, change.entry.price_version) == ((9 * 3 + 7 * 15) * 2, "later")
    assert change.sums == sums(input=4, cost=(9 * 3 + 7 * 15) * 2 - (5 * 3 + 7 * 15))


def test_a_twin_that_knows_more_is_no_duplicate() -> None:
    held = entry(TokenCounts(cache_write=10))
    assert held.assumptions == "cache-write-5m"
    change = Change(entry(TokenCounts(cache_write=10), cache_write_1h=4)).against(held, TestPrices())
    assert change is not None
    assert (change.sums, change.entry.assumptions) == (sums(cost=8), "")


def test_a_part_of_smaller_counts_says_nothing_about_larger_ones() -> None:
    known, larger = entry(TokenCounts(cache_write=10), cache_write_1h=4), entry(TokenCounts(cache_write=20))
    assert known.joined(larger).cache_write_1h is None
    assert larger.joined(known).cache_write_1h is None


def test_an_entry_from_before_there_were_prices_is_unpriced_until_it_is_rated() -> None:
    old = replace(entry(TokenCounts(5, 7)), cost_nano_usd=None, price_version="", assumptions="")
    assert old.sums == sums(1, input=5, output=7, unpriced=1)
    assert Change(entry(TokenCounts(5, 7))).against(old, TestPrices()) is None, "a redelivery rates nothing"
    change = Change(entry(TokenCounts(6, 7))).against(old, TestPrices())
    assert change is not None
    assert change.sums == sums(input=1, cost=6 * 3 + 7 * 15, unpriced=-1)


def test_failed_calls_cost_nothing_and_are_not_unpriced() -> None:
    failed = entry(TokenCounts(5, 7), error_code="X")
    assert (failed.cost_nano_usd, failed.price_version, failed.sums) == (None, "", sums(errors=1))


def test_rating_sees_what_the_entry_knows() -> None:
    attribution = Attribution("acme", "profile", "p1", "eu.a.model", "geo")
    record = replace(invocation("r1", tokens=TokenCounts(1)), cache_write_1h=2, tier="flex", images=3)
    call = entry_for(record, attribution, now_ms=NOW_MS, retention_ms=DAY_MS).call
    assert call == Call(
        "acme", "p1", "eu.a.model", "us-east-1", "geo", NOW_MS, TokenCounts(1), 2, "flex", 3, batch=False
    )


@pytest.mark.parametrize(
    ("held", "later", "added"),
    [
        pytest.param(entry(), entry(TokenCounts(5, 7)), priced(input=5, output=7), id="zero-usage twin first"),
        pytest.param(entry(TokenCounts(5, 7)), entry(TokenCounts(9, 7)), priced(input=4), id="growing counts"),
        pytest.param(
            entry(error_code="ModelErrorException"),
            entry(TokenCounts(5, 7)),
            priced(requests=1, errors=-1, input=5, output=7),
            id="success after an error of the same call",
        ),
    ],
)
def test_a_larger_twin_adds_the_difference_only(held: LedgerEntry, later: LedgerEntry, added: object) -> None:
    raised = Change(later).against(held, TestPrices())
    assert raised is not None
    assert raised.sums == added
    assert raised.held == held


@pytest.mark.parametrize(
    ("held", "later"),
    [
        pytest.param(entry(TokenCounts(5, 7)), entry(TokenCounts(5, 7)), id="redelivery"),
        pytest.param(entry(TokenCounts(5, 7)), entry(), id="zero-usage twin last"),
        pytest.param(entry(TokenCounts(5, 7)), entry(error_code="X"), id="error after success"),
        pytest.param(entry(error_code="X"), entry(error_code="X"), id="error delivered again"),
    ],
)
def test_a_record_that_adds_nothing_is_a_duplicate(held: LedgerEntry, later: LedgerEntry) -> None:
    assert Change(later).against(held, TestPrices()) is None


def test_an_entry_outlives_every_instant_at_which_its_record_is_admitted() -> None:
    late = entry_for(invocation("r1", event_ms=NOW_MS - 30 * DAY_MS), ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)
    early = entry_for(invocation("r1", event_ms=NOW_MS + 60_000), ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)
    assert late.expires_s == (NOW_MS + 400 * DAY_MS) // 1000
    assert early.expires_s == (NOW_MS + 60_000 + 400 * DAY_MS) // 1000


def test_a_failed_call_has_no_tokens_whatever_its_record_says() -> None:
    assert entry(TokenCounts(5, 7), error_code="X").sums == sums(errors=1)
