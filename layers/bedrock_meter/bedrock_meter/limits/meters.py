"""What can be limited: the meters.

A meter turns one invocation, or a sum of invocations, into the one integer that a limit's buckets add up.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the evaluator and the API weigh nothing, so they need not load what reads records
    from bedrock_meter.invocations.record import TokenCounts


class Meter(StrEnum):
    """What a limit counts. The values are what people write and what events carry."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    CACHE_READ_TOKENS = "cache_read_tokens"
    CACHE_WRITE_TOKENS = "cache_write_tokens"
    OPEN_RESERVATIONS = "open_reservations"


def amount(meter: Meter, requests: int, tokens: "TokenCounts") -> int:
    """Return what ``requests`` calls with ``tokens`` in sum add to a bucket of ``meter``.

    Linear: the amount of a sum is the sum of the amounts, so batches can be added up first. ``total_tokens`` is the sum
    of all four kinds (input excludes both cache counts). Negative differences (a twin that lowers nothing, an
    adjustment) pass through. ``open_reservations`` counts no usage at all: only reservations hold it, one each.
    """
    match meter:
        case Meter.REQUESTS:
            return requests
        case Meter.INPUT_TOKENS:
            return tokens.input
        case Meter.OUTPUT_TOKENS:
            return tokens.output
        case Meter.TOTAL_TOKENS:
            return tokens.total
        case Meter.CACHE_READ_TOKENS:
            return tokens.cache_read
        case Meter.CACHE_WRITE_TOKENS:
            return tokens.cache_write
        case Meter.OPEN_RESERVATIONS:
            return 0
