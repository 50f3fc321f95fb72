"""Makers of invocations and limits for tests: valid by default, each test names what it is about."""

from collections.abc import Mapping
from typing import Any

from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import parse_window
from bedrock_meter.usage.rollup import NOTHING, Sums

NOW_MS = 1_795_000_020_000
"""A moment in November 2026; 20 s into a quarter-hour."""

ACCOUNT = "123456789012"
REGION = "us-east-1"


def profile_arn(profile: str) -> str:
    """ARN of an application inference profile."""
    return f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{profile}"


def invocation(
    request_id: str,
    *,
    profile: str = "acmeprofile1",
    tokens: TokenCounts | None = None,
    event_ms: int = NOW_MS,
    error_code: str | None = None,
) -> Invocation:
    """One call through an application inference profile: 10 tokens in, 5 out."""
    counts = TokenCounts(input=10, output=5) if tokens is None else tokens
    return Invocation(
        account_id=ACCOUNT,
        region=REGION,
        request_id=request_id,
        event_ms=event_ms,
        operation="Converse",
        model_id=profile_arn(profile),
        principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/service/session",
        tokens=NO_TOKENS if error_code else counts,
        error_code=error_code,
    )


def limit(window: str = "1h", maximum: int = 1000, *, meter: Meter = Meter.TOTAL_TOKENS, **other: object) -> Limit:
    """A limit on total tokens."""
    parsed = parse_window(window, "UTC")
    name = other.pop("name", f"{meter}-{parsed}".replace("@", "-"))
    return Limit(name=name, meter=meter, window=parsed, maximum=maximum, **other)  # type: ignore[arg-type]


def sums(requests: int = 0, errors: int = 0, *, cost: int = 0, unpriced: int = 0, **tokens: int) -> Sums:
    """Sums by name; ``cost`` in nano-USD."""
    return Sums(requests, errors, TokenCounts(**tokens), cost, unpriced)


def priced(requests: int = 0, errors: int = 0, *, unpriced: int = 0, **tokens: int) -> Sums:
    """The same with the cost that ``TestPrices`` says: 3 in, 15 out, 1 cache read, 4 written."""
    counts = TokenCounts(**tokens)
    cost = counts.input * 3 + counts.output * 15 + counts.cache_read + counts.cache_write * 4
    return Sums(requests, errors, counts, cost, unpriced)


def sums_of(rows: Mapping[Any, Sums]) -> Sums:
    """What rows add up to."""
    return sum(rows.values(), NOTHING)
