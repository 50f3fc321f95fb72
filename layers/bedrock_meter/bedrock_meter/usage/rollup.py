"""Quarter-hour sums: what reports, reconciliation and the seeds of new limits read.

Quarter-hours, because civil time zones are offset from UTC by multiples of fifteen minutes: any tenant's day is a
whole number of rows. A row can be rebuilt from the ledger at any time; it is never the source of truth.
"""

from msgspec import Struct

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.windows import QUARTER_MS


def quarter_start(event_ms: int) -> int:
    """Start of the quarter-hour [start, start + 15 min) that holds ``event_ms``."""
    return event_ms - event_ms % QUARTER_MS


class Sums(Struct, frozen=True):
    """What a set of invocations adds up to.

    ``requests`` are successful calls; failed ones are ``errors`` and nothing else. ``cost_nano_usd`` is the cost of the
    successful calls that have one; ``unpriced`` is how many have none, so that the cost is the whole one where it is 0.
    """

    requests: int = 0
    errors: int = 0
    tokens: TokenCounts = NO_TOKENS
    cost_nano_usd: int = 0
    unpriced: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.requests + other.requests,
            self.errors + other.errors,
            self.tokens + other.tokens,
            self.cost_nano_usd + other.cost_nano_usd,
            self.unpriced + other.unpriced,
        )

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(
            self.requests - other.requests,
            self.errors - other.errors,
            self.tokens - other.tokens,
            self.cost_nano_usd - other.cost_nano_usd,
            self.unpriced - other.unpriced,
        )


NOTHING = Sums()


class RollupKey(Struct, frozen=True, order=True):
    """One row: a tenant (or ``unattributed``), a quarter-hour, a profile and a model."""

    tenant: str
    quarter_ms: int
    profile: str
    model: str
