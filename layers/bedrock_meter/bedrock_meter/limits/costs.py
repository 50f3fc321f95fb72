"""What an estimate costs at most, before the call, and what is done where no price is known.

The decision: a limit in US dollars says ``when_unpriced``. Where it denies (a hard one, unless it says otherwise), the
estimate of a call without a price is refused unless the caller gives the cost. Where it allows, such a call is let in
while something is left, and nothing of it is held. A shadow limit refuses nothing.

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
            UnknownCost: One that denies what has no price does, and no price is known.
        """
        limits = [one for one in layout.limits if one.meter is Meter.COST_USD and is_touched(one, estimate)]
        if not limits:
            return estimate
        priced = self.rated(estimate, tenant, now_ms)
        strict = next((one.name for one in limits if one.denies_unpriced and not one.shadow), None)
        if priced.cost_nano_usd is None and strict is not None:
            raise UnknownCost(
                f"limit {strict!r} of {tenant} denies what has no price, and model {estimate.model!r} has none:"
                " give the estimate the most that the call may cost, or give the model a price"
            )
        return priced


NO_PRICES = Costs()
