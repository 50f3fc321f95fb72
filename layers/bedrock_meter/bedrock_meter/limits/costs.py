"""What an estimate costs at most, before the call, and what is done where no price is known.

The decision: a limit in US dollars says ``when_unpriced``. Where it denies (a hard one, unless it says otherwise), the
estimate of a call without a price is refused unless the caller gives the cost. Where it allows, such a call is let in
while something is left, and nothing of it is held. A shadow limit refuses nothing.

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
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.pricing.models import base_model
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

        A cost is at most ``MAX_AMOUNT``, the largest maximum of a limit: no limit has room for more.

        Each call is rounded by itself later: half a nano-dollar for each is added here. What is billed by the request
        is added for each further call.
        """
        return self._rated(estimate, tenant, now_ms)[0]

    def _rated(self, estimate: Estimate, tenant: str, now_ms: int) -> tuple[Estimate, bool]:
        """Return what ``rated`` returns, and whether the cost is known of every way that the call may take."""
        if estimate.cost_nano_usd is not None or self._rater is None:
            return estimate, estimate.cost_nano_usd is not None
        first, *others = (self._most(self._rater, way, tenant, now_ms) for way in _ways(estimate))
        if first is None:
            return estimate, False
        cost = max(first, *(cost or 0 for cost in others), 0)
        if estimate.requests > 1:
            empty = replace_struct(self._stated(estimate, tenant, now_ms), tokens=NO_TOKENS, images=0)
            cost += (estimate.requests - 1) * (self._rater.rate(empty).cost_nano_usd or 0)
        priced = replace(estimate, cost_nano_usd=min(cost + estimate.requests // 2, MAX_AMOUNT))
        return priced, None not in others

    def _most(self, rater: Rater, way: Estimate, tenant: str, now_ms: int) -> int | None:
        """Return what the dearest kinds of tokens cost that it may turn out to use; None where it has no price.

        A kind that the model has no price for is one that it does not use.
        """
        stated, *others = (rater.rate(call).cost_nano_usd for call in self._kinds(way, tenant, now_ms))
        return None if stated is None else max(stated, *(cost or 0 for cost in others), 0)

    def _stated(self, estimate: Estimate, tenant: str, now_ms: int) -> Call:
        region = estimate.region or self._region
        return Call(
            tenant, estimate.profile_id, estimate.model, region, estimate.routing, now_ms, estimate.tokens,
            tier=estimate.tier, images=estimate.images,
        )  # fmt: skip

    def _kinds(self, estimate: Estimate, tenant: str, now_ms: int) -> Iterator[Call]:
        """Yield the calls that one way may turn out to be: first as it is stated, then by what kinds it leaves open."""
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

    def needed(self, estimate: Estimate, layout: Layout, tenant: str, now_ms: int) -> Estimate:
        """Return it with its cost, where a limit asks for that.

        Raises:
            UnknownCost: One that denies what has no price does, and a way that the call may take has none.
        """
        limits = [one for one in layout.limits if one.meter is Meter.COST_USD and is_touched(one, estimate)]
        if not limits:
            return estimate
        priced, is_known = self._rated(estimate, tenant, now_ms)
        strict = next((one.name for one in limits if one.denies_unpriced and not one.shadow), None)
        if strict is not None and not is_known:
            raise UnknownCost(
                f"limit {strict!r} of {tenant} denies what has no price, and a call of model {estimate.model!r}, of its"
                " routing and tier, has none: give the estimate the most that the call may cost, or give it a price"
            )
        return priced


def _ways(estimate: Estimate) -> Iterator[Estimate]:
    """Yield the ways that a call may take: first as it is stated, then by tiers and profiles that may serve it."""
    tiers = [estimate]
    if estimate.tier == FLEX:  # Whether a call that asked for it is always served by it is unconfirmed.
        tiers.append(replace(estimate, tier=None))
    yield from tiers
    for profile, routing, region in estimate.choices:
        model = base_model(estimate.model).model
        for tier in tiers:
            yield replace(tier, profile=profile, routing=routing, region=region, model=model)


NO_PRICES = Costs()
