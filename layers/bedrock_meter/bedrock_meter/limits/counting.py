"""What usage adds to a limit: the one integer that its buckets add up, and what nobody can say.

Three facts: counting is linear, the amount of a sum is the sum of the amounts, so that batches can be added up first
and a roll-up row counts like the calls in it; a call of which it is not known what it adds (it has no price, or nobody
named its model) is *uncounted*, which a mark beside the bucket remembers, so that no reading passes for complete; and
the mark is written only where there is something uncounted, so that it costs nothing where all is known.
"""

from typing import NamedTuple

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.gauge import LATE, bucket_for, unmarked_at
from bedrock_meter.limits.limit import InstalledLimit, Limit
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.pricing.weights import Weights, weights_of
from bedrock_meter.usage.rollup import Sums


class Counted(NamedTuple):
    """What usage adds to a limit.

    Attributes:
        amount: In the meter's unit; negative for a correction.
        uncounted: Calls of which nobody can say what they add.
    """

    amount: int
    uncounted: int


NOTHING = Counted(0, 0)


def counted(limit: Limit, sums: Sums, profile: str, model: str) -> Counted:
    """Return what ``sums``, which are of one profile and model, add to ``limit``."""
    covered = limit.scope.covers(profile, model)
    if covered is None:
        return Counted(0, sums.requests)
    if not covered:
        return NOTHING
    if limit.meter is Meter.COST_USD:
        return Counted(sums.cost_nano_usd, sums.unpriced)
    if limit.meter is Meter.WEIGHTED_TOKENS:
        return Counted(weighed(weights_of(model), sums.tokens), sums.requests if model == NO_MODEL else 0)
    return Counted(amount(limit.meter, sums.requests, sums.tokens), 0)


def amount(meter: Meter, requests: int, tokens: TokenCounts) -> int:
    """Return what ``requests`` calls with ``tokens`` in sum are on a meter that depends on nothing else.

    ``total_tokens`` is the sum of all four kinds (input excludes both cache counts).
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
            return 0  # Only reservations hold it, one each.
    raise ValueError(f"{meter} depends on more than requests and tokens")


def weighed(weights: Weights, tokens: TokenCounts) -> int:
    """Return the sum of tokens, each as often as it counts against Bedrock's own quotas."""
    return (
        tokens.input * weights.input
        + tokens.output * weights.output
        + tokens.cache_read * weights.cache_read
        + tokens.cache_write * weights.cache_write
    )


def adds(
    installed: InstalledLimit, sums: Sums, profile: str, model: str, *, event_ms: int, now_ms: int
) -> dict[str, int]:
    """Return what usage of ``event_ms`` that is recorded at ``now_ms`` adds to the buckets of a limit, by name.

    A closed calendar window keeps no mark: its late bucket is in no reading.
    """
    amount, uncounted = counted(installed.limit, sums, profile, model)
    if not amount and not uncounted:
        return {}
    bucket = bucket_for(installed, event_ms, now_ms)
    found = {bucket: amount} if amount and bucket is not None else {}
    beside = bucket if uncounted > 0 else unmarked_at(installed, event_ms, now_ms)
    if uncounted and beside is not None and not beside.endswith(LATE):
        found[beside + UNCOUNTED] = uncounted
    return found
