"""What each meter makes of a call."""

import pytest

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.counting import amount
from bedrock_meter.limits.meters import Meter

TOKENS = TokenCounts(input=1_000, output=200, cache_read=30, cache_write=4)

CASES = [
    (Meter.REQUESTS, 3),
    (Meter.INPUT_TOKENS, 1_000),
    (Meter.OUTPUT_TOKENS, 200),
    (Meter.TOTAL_TOKENS, 1_234),
    (Meter.CACHE_READ_TOKENS, 30),
    (Meter.CACHE_WRITE_TOKENS, 4),
    (Meter.OPEN_RESERVATIONS, 0),
]


@pytest.mark.parametrize(("meter", "expected"), CASES)
def test_amount(meter: Meter, expected: int) -> None:
    assert amount(meter, 3, TOKENS) == expected


DEPENDS_ON_MORE = [Meter.WEIGHTED_TOKENS, Meter.COST_USD]


def test_every_meter_has_a_case() -> None:
    assert sorted([meter for meter, _ in CASES] + DEPENDS_ON_MORE) == sorted(Meter)


@pytest.mark.parametrize("meter", DEPENDS_ON_MORE)
def test_weights_and_cost_are_not_made_of_counts_alone(meter: Meter) -> None:
    with pytest.raises(ValueError, match="depends on more"):
        amount(meter, 3, TOKENS)


def test_money_is_shown_as_an_exact_text_and_everything_else_as_a_number() -> None:
    assert Meter.COST_USD.shown(12_500_000_001) == "12.500000001"
    assert (Meter.COST_USD.unit, Meter.REQUESTS.unit, Meter.OUTPUT_TOKENS.unit) == ("USD", "requests", "tokens")
    assert Meter.TOTAL_TOKENS.shown(5) == 5


@pytest.mark.parametrize("meter", [meter for meter, _ in CASES])
def test_a_call_without_tokens_is_still_a_request(meter: Meter) -> None:
    assert amount(meter, 1, NO_TOKENS) == (1 if meter == Meter.REQUESTS else 0)
