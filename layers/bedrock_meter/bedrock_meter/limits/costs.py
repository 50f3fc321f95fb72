"""What an estimate costs at most, before the call, and what is done where nobody knows that.

The decision: a hard limit in US dollars is a promise, and a call without a price could break it, so that its
estimate is refused unless the caller gives the cost. A soft limit promises less: such a call is let in while something
is left, and nothing of it is held.

A rated estimate is one of the default tier without images, in-Region unless the model's prefix says otherwise, with
cache writes of the dearer kind, by the prices of the moment. A caller that wants more than this gives the cost itself.
"""

from dataclasses import replace
from typing import Protocol

from msgspec.structs import replace as replace_struct

from bedrock_meter.errors import UnknownCost
from bedrock_meter.limits.estimates import Estimate, is_touched
from bedrock_meter.limits.limit import Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Call, Rated


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

        Each call is rounded by itself later: half a nano-dollar for each is added here.
        """
        if estimate.cost_nano_usd is not None or self._rater is None:
            return estimate
        call = Call(tenant, estimate.profile_id, estimate.model, self._region, None, now_ms, estimate.tokens)
        cost = self._rater.rate(call).cost_nano_usd
        if cost is None:
            return estimate
        if estimate.cache_write_tokens:
            hour = replace_struct(call, cache_write_1h=estimate.cache_write_tokens)
            cost = max(cost, self._rater.rate(hour).cost_nano_usd or 0)
        return replace(estimate, cost_nano_usd=cost + estimate.requests // 2)

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
