"""Joining twins: any order and any number of deliveries end in the same counts."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, LedgerEntry, entry_for
from tests.doubles.records import NOW_MS, invocation, sums

DAY_MS = 86_400_000
ACME = Attribution("acme", "profile", "acmeprofile1", "a.model")


def entry(tokens: TokenCounts = NO_TOKENS, error_code: str | None = None) -> LedgerEntry:
    record = invocation("r1", tokens=tokens, error_code=error_code)
    return entry_for(record, ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)


COUNTS = st.builds(TokenCounts, *[st.integers(0, 2**53)] * 4)
ENTRIES = st.one_of(st.builds(entry, COUNTS), st.just(entry(error_code="ThrottlingException")))


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_any_order_and_repetition_of_twins_ends_in_the_same_entry(twins: list[LedgerEntry]) -> None:
    outcomes = set()
    for order in permutations(twins):
        held = order[0]
        for twin in [*order, *order]:
            held = held.joined(twin)
        outcomes.add((held.tokens, held.error_code is None))
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    ("held", "later", "added"),
    [
        pytest.param(entry(), entry(TokenCounts(5, 7)), sums(input=5, output=7), id="zero-usage twin first"),
        pytest.param(entry(TokenCounts(5, 7)), entry(TokenCounts(9, 7)), sums(input=4), id="growing counts"),
        pytest.param(
            entry(error_code="ModelErrorException"),
            entry(TokenCounts(5, 7)),
            sums(requests=1, errors=-1, input=5, output=7),
            id="success after an error of the same call",
        ),
    ],
)
def test_a_larger_twin_adds_the_difference_only(held: LedgerEntry, later: LedgerEntry, added: object) -> None:
    raised = Change(later).against(held)
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
    assert Change(later).against(held) is None


def test_an_entry_outlives_every_instant_at_which_its_record_is_admitted() -> None:
    late = entry_for(invocation("r1", event_ms=NOW_MS - 30 * DAY_MS), ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)
    early = entry_for(invocation("r1", event_ms=NOW_MS + 60_000), ACME, now_ms=NOW_MS, retention_ms=400 * DAY_MS)
    assert late.expires_s == (NOW_MS + 400 * DAY_MS) // 1000
    assert early.expires_s == (NOW_MS + 60_000 + 400 * DAY_MS) // 1000


def test_a_failed_call_has_no_tokens_whatever_its_record_says() -> None:
    assert entry(TokenCounts(5, 7), error_code="X").sums == sums(errors=1)
