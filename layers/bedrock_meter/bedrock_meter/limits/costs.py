"""What an estimate costs at most, before the call, and what is done where nobody knows that.

The decision: a hard limit in US dollars is a promise, and a call without a price could break it, so that its
estimate is refused unless the caller gives the cost. A soft limit promises less: such a call is let in while something
is left, and nothing of it is held.

A rated estimate is of the call that will be made: of its profile, model, routing and Region, of the tier that is asked
for, by the prices of the moment. What is left open is rated as the dearest that it may turn out to be.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from msgspec.structs import replace as replace_struct

from bedrock_meter.errors import UnknownCost
from bedrock_meter.invocations.record import NO_TOKENS
from bedrock_meter.limits.estimates import Estimate, is_touched
from bedrock_meter.limits.limit import Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Call, Rated

FLEX = "flex"


class Rater(Protocol):
    """Knows prices."""

    def rate(self, call: Call) -> Rated:
        """Return what a call costs."""


class Costs:
    """Rates estimates of calls that are made from one Region."""

    def __init__(self, rater: Rater | None = None, region: str = "") -> None:
        """Set up; without a rater nobody knows a price."""
        self._rater = rater
        self._region = region

    def rated(self, estimate: Estimate, tenant: str, now_ms: int) -> Estimate:
        """Return it with what it costs at most; unchanged where it says so itself or has no price.

        Each call is rounded by itself later: half a nano-dollar for each is added here. What is billed by the request
        is added for each further call.
        """
        if estimate.cost_nano_usd is not None or self._rater is None:
            return estimate
        first, *others = (self._rater.rate(call).cost_nano_usd for call in self._ways(estimate, tenant, now_ms))
        if first is None:
            return estimate
        cost = max(first, *(cost or 0 for cost in others), 0)
        if estimate.requests > 1:
            empty = replace_struct(self._stated(estimate, tenant, now_ms), tokens=NO_TOKENS, images=0)
            cost += (estimate.requests - 1) * (self._rater.rate(empty).cost_nano_usd or 0)
        return replace(estimate, cost_nano_usd=cost + estimate.requests // 2)

    def _stated(self, estimate: Estimate, tenant: str, now_ms: int) -> Call:
        region = estimate.region or self._region
        return Call(
            tenant, estimate.profile_id, estimate.model, region, estimate.routing, now_ms, estimate.tokens,
            tier=estimate.tier, images=estimate.images,
        )  # fmt: skip

    def _ways(self, estimate: Estimate, tenant: str, now_ms: int) -> Iterator[Call]:
        """Yield the calls that it may turn out to be: first as it is stated, then what else it leaves open."""
        tokens, stated = estimate.tokens, self._stated(estimate, tenant, now_ms)
        yield stated
        hour = tokens.cache_write
        if estimate.may_cache:
            hour = tokens.total - tokens.output
            read = replace_struct(tokens, input=0, cache_read=hour, cache_write=0)
            written = replace_struct(tokens, input=0, cache_read=0, cache_write=hour)
            yield replace_struct(stated, tokens=read)
            stated = replace_struct(stated, tokens=written)
            yield stated
        if hour:
            yield replace_struct(stated, cache_write_1h=hour)
        if estimate.tier == FLEX:  # Whether a call that asked for it is always served by it is unconfirmed.
            yield from self._ways(replace(estimate, tier=None), tenant, now_ms)

    def needed(self, estimate: Estimate, layout: Layout, tenant: str, now_ms: int) -> Estimate:
        """Return it with its cost, where a limit asks for that.

        Raises:
            UnknownCost: A hard limit does, and nobody knows.
        """
        limits = [one for one in layout.limits if one.meter is Meter.COST_USD and is_touched(one, estimate)]
        if not limits:
            return estimate
        priced = self.rated(estimate, tenant, now_ms)
        hard = next((one.name for one in limits if one.hard), None)
        if priced.cost_nano_usd is None and hard is not None:
            raise UnknownCost(
                f"{tenant} has the hard limit {hard!r} in US dollars, and model {estimate.model!r} has no price:"
                " give the estimate the most that the call may cost, or give the model a price"
            )
        return priced


NO_PRICES = Costs()
