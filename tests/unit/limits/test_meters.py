"""What each meter makes of a call."""

import pytest

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.meters import Meter, amount

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


def test_every_meter_has_a_case() -> None:
    assert [meter for meter, _ in CASES] == list(Meter)


@pytest.mark.parametrize("meter", list(Meter))
def test_a_call_without_tokens_is_still_a_request(meter: Meter) -> None:
    assert amount(meter, 1, NO_TOKENS) == (1 if meter == Meter.REQUESTS else 0)
