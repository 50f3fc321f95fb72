"""What can be limited: the meters, their units, and how amounts of them are shown.

An amount is one integer everywhere inside: calls, tokens, or nano-USD. Only documents for people and consumers show
money as a decimal text in US dollars. What a call adds to a meter is said in ``counting.py``.
"""

from enum import StrEnum

from bedrock_meter.money import usd_text

MAX_AMOUNT = 10**18 - 1
"""The largest maximum, boost or estimate of any meter: 18 digits."""


class Meter(StrEnum):
    """What a limit counts. The values are what people write and what events carry."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    CACHE_READ_TOKENS = "cache_read_tokens"
    CACHE_WRITE_TOKENS = "cache_write_tokens"
    WEIGHTED_TOKENS = "weighted_tokens"
    COST_USD = "cost_usd"
    OPEN_RESERVATIONS = "open_reservations"

    @property
    def unit(self) -> str:
        """What an amount in a document is of, such as ``requests``, ``tokens`` or ``USD``."""
        match self:
            case Meter.REQUESTS:
                return "requests"
            case Meter.WEIGHTED_TOKENS:
                return "weighted tokens"
            case Meter.COST_USD:
                return "USD"
            case Meter.OPEN_RESERVATIONS:
                return "reservations"
        return "tokens"

    def shown(self, amount: int) -> int | str:
        """Return an amount as documents show it: a whole number, or US dollars as an exact decimal text."""
        return usd_text(amount) if self is Meter.COST_USD else amount
