"""What a call uses at most, as its caller estimates it, and what that is under each limit.

Two facts: what the caller leaves open is bounded upwards, so that a limit that the call may touch is touched, and
tokens of a model that was not named weigh as much as any do; a cost that was not given is rated where it matters
(``costs.py``), and one that nobody knows is None, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.counting import amount, weighed
from bedrock_meter.limits.destination import MOST_NAME, Destination, Way
from bedrock_meter.limits.limit import InstalledLimit
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.pricing.models import writes_text
from bedrock_meter.pricing.weights import HEAVIEST, weights_of

NO_PROFILE = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call, or all calls of a lease together, use at most.

    Attributes:
        requests: Calls.
        input_tokens: Tokens by kind; the kinds are disjoint, as in records, but for ``may_cache``.
        output_tokens: See there.
        cache_read_tokens: See there.
        cache_write_tokens: See there.
        cost_nano_usd: What they cost at most; None = rate them.
        images: Images that are made; None = the caller does not say.
        model: The model that is called, ``-`` where it is not known: then every limit on some models is touched.
        profile: Id or ARN of the profile that is called; empty = any.
        routing: How the call is routed; None = as the model's prefix says.
        region: Region of the call; empty = the stack's.
        tier: Service tier that is asked for; None = the default one.
        choices: Other ways that the call may take, as (profile, routing, Region): it costs what the dearest costs.
        may_cache: Whether ``input_tokens`` may turn out to be of any kind that is read: they bound input, cache reads
            and cache writes each, count once in sums, and cost what the dearest kind costs.

    Raises:
        InvalidDefinition: An amount is outside 0 to 18 digits, or a name is too long.
    """

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_nano_usd: int | None = None
    images: int | None = None
    model: str = NO_MODEL
    profile: str = NO_PROFILE
    routing: str | None = None
    region: str = ""
    tier: str | None = None
    may_cache: bool = False
    choices: tuple[Way, ...] = ()

    def __post_init__(self) -> None:
        for kind in KINDS:
            value = getattr(self, kind)
            if value is not None and not 0 <= value <= MAX_AMOUNT:
                raise InvalidDefinition(kind, f"{value} is outside 0 to {MAX_AMOUNT}")
        for name in ("model", "profile"):
            if len(getattr(self, name)) > MOST_NAME:
                raise InvalidDefinition(name, f"write at most {MOST_NAME} letters")

    @property
    def tokens(self) -> TokenCounts:
        """Tokens by kind."""
        return TokenCounts(
            input=self.input_tokens,
            output=self.output_tokens,
            cache_read=self.cache_read_tokens,
            cache_write=self.cache_write_tokens,
        )

    @property
    def profile_id(self) -> str:
        """Last segment of the profile's ARN, as records and scopes name it."""
        return self.profile.rpartition("/")[2]

    def towards(self, destination: Destination) -> "Estimate":
        """Return the estimate of the call that will be made. A model that writes no text has no output tokens."""
        silent = destination.model != NO_MODEL and not writes_text(destination.model)
        return replace(
            self,
            output_tokens=0 if silent else self.output_tokens,
            model=destination.model,
            profile=destination.profile,
            routing=destination.routing,
            region=destination.region,
            choices=destination.choices,
        )

    def reported(self, usage: Mapping[str, int]) -> "Estimate":
        """Return what was used, by the names in ``KINDS``; what is missing stays as it was estimated.

        A bound of all kinds that are read (``may_cache``) stays until all three are reported. Nothing is capped here:
        an amount under a limit is a sum of kinds, and a kind may be above its own estimate while the sum is not.

        Raises:
            InvalidDefinition: A name is none of ``KINDS``, or an amount is out of bounds.
        """
        for kind in usage:
            if kind not in KINDS:
                raise InvalidDefinition(kind, f"write one of {', '.join(KINDS)}")
        used: dict[str, Any] = dict(usage)
        may_cache = self.may_cache and not used.keys() >= READ_KINDS
        if may_cache:
            replace(NOTHING_SAID, **used)  # refuses amounts that are out of bounds
            used = {kind: amount for kind, amount in used.items() if kind not in READ_KINDS}
        return replace(self, **used, may_cache=may_cache)


READ_KINDS = frozenset({"input_tokens", "cache_read_tokens", "cache_write_tokens"})
"""Kinds of tokens that a model reads."""

_NO_AMOUNTS = ("model", "profile", "routing", "region", "tier", "may_cache", "choices")

KINDS = tuple(field.name for field in fields(Estimate) if field.name not in _NO_AMOUNTS)
"""What of an estimate is an amount."""

NOTHING_SAID = Estimate()
"""One call of which nothing is known."""


def is_touched(installed: InstalledLimit, estimate: Estimate) -> bool:
    """Return whether a call of this estimate may count under a limit."""
    return installed.scope.may_cover(estimate.profile_id, estimate.model)


def amount_under(installed: InstalledLimit, estimate: Estimate) -> int:
    """Return what the estimate adds to one limit at most; 0 where it is not touched, or nobody knows the cost."""
    return amount_of(installed.meter, estimate) or 0 if is_touched(installed, estimate) else 0


def amount_of(meter: Meter, estimate: Estimate) -> int | None:
    """Return what the estimate is on a meter at most; None for a cost that nobody knows."""
    match meter:
        case Meter.OPEN_RESERVATIONS:
            return 1
        case Meter.COST_USD:
            return estimate.cost_nano_usd
        case Meter.WEIGHTED_TOKENS:
            return weighed(HEAVIEST if estimate.model == NO_MODEL else weights_of(estimate.model), estimate.tokens)
        case Meter.CACHE_READ_TOKENS | Meter.CACHE_WRITE_TOKENS if estimate.may_cache:
            return estimate.input_tokens + amount(meter, estimate.requests, estimate.tokens)
    return amount(meter, estimate.requests, estimate.tokens)
