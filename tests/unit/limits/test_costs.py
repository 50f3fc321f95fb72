"""What an estimate costs at most, and who must know."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.errors import UnknownCost
from bedrock_meter.limits.costs import NO_PRICES, Costs
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import WHOLE, Scope
from bedrock_meter.limits.windows import RollingWindow
from bedrock_meter.money import NANO
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.rating import Call, Rated, Rater
from tests.doubles.rater import UNPRICED_MODEL, TestPrices
from tests.doubles.records import NOW_MS

COSTS = Costs(TestPrices(), "us-east-1")
CLAUDE = Scope(models=("anthropic.claude-*",))


def layout(*, hard: bool = True, scope: Scope = WHOLE, meter: Meter = Meter.COST_USD, **other: Any) -> Layout:
    limit = Limit("spend", meter, RollingWindow(3600), 5 * NANO, hard, scope=scope, **other)
    return Layout(1, (InstalledLimit(limit, "0", 1),))


def test_a_cost_that_was_given_is_believed() -> None:
    given = Estimate(input_tokens=100, cost_nano_usd=1, model="a.model")
    assert COSTS.rated(given, "acme", NOW_MS) is given
    assert COSTS.needed(given, layout(), "acme", NOW_MS) is given


def test_tokens_are_rated_and_each_further_call_may_be_rounded_up() -> None:
    one = Estimate(input_tokens=100, output_tokens=10, model="a.model")
    assert COSTS.rated(one, "acme", NOW_MS).cost_nano_usd == 450
    lease = Estimate(9, input_tokens=100, output_tokens=10, model="a.model")
    assert COSTS.rated(lease, "acme", NOW_MS).cost_nano_usd == 450 + 4


def test_cache_writes_are_the_dearer_ones() -> None:
    assert COSTS.rated(Estimate(cache_write_tokens=100, model="a.model"), "acme", NOW_MS).cost_nano_usd == 600


def test_the_real_book_knows_a_model_with_the_prefix_of_a_system_profile() -> None:
    costs = Costs(Rater(load_book()), "eu-west-1")
    estimate = Estimate(input_tokens=1_000_000, model="eu.anthropic.claude-sonnet-4-5-20250929-v1:0")
    cost = costs.rated(estimate, "acme", NOW_MS).cost_nano_usd
    assert cost is not None
    assert NANO < cost < 10 * NANO


@pytest.mark.parametrize("costs", [COSTS, NO_PRICES])
def test_a_hard_limit_refuses_what_has_no_price_and_says_what_to_do(costs: Costs) -> None:
    with pytest.raises(UnknownCost, match=r"limit 'spend' .*denies.*nobody.knows-this-model.*give the estimate"):
        costs.needed(Estimate(model=UNPRICED_MODEL), layout(), "acme", NOW_MS)


class UnpricedThroughGlobal(TestPrices):
    """``TestPrices``, of which no price is known for one routing."""

    def rate(self, call: Call) -> Rated:
        """Return what a call costs."""
        return Rated(None, "test") if call.routing == "global" else super().rate(call)


@pytest.mark.parametrize("tier", [None, "flex"])
def test_one_way_without_a_price_is_enough_for_a_hard_limit_to_refuse(tier: str | None) -> None:
    costs = Costs(UnpricedThroughGlobal(), "us-east-1")
    ways = ("in1", "in-region", "us-east-1"), ("gl1", "global", "us-east-1")
    call = Estimate(input_tokens=100, model="a.model", tier=tier, choices=ways)
    with pytest.raises(UnknownCost):
        costs.needed(call, layout(), "acme", NOW_MS)
    assert costs.needed(call, layout(hard=False), "acme", NOW_MS).cost_nano_usd == 300, "the dearest that is known"
    known = replace(call, choices=ways[:1])
    assert costs.needed(known, layout(), "acme", NOW_MS).cost_nano_usd == 300
    given = replace(call, cost_nano_usd=700)
    assert costs.needed(given, layout(), "acme", NOW_MS) is given


def test_nobody_else_asks_for_a_price() -> None:
    unpriced = Estimate(model=UNPRICED_MODEL)
    for harmless in (
        layout(hard=False),
        layout(scope=CLAUDE),
        layout(meter=Meter.REQUESTS),
        Layout(1, ()),
        layout(shadow=True),
    ):
        assert COSTS.needed(unpriced, harmless, "acme", NOW_MS) == unpriced
    with pytest.raises(UnknownCost):
        COSTS.needed(Estimate(), layout(scope=CLAUDE), "acme", NOW_MS)


def test_a_shadow_limit_is_rated_like_any_other_so_that_it_says_what_it_would_hold() -> None:
    priced = COSTS.needed(Estimate(input_tokens=100, model="a.model"), layout(shadow=True), "acme", NOW_MS)
    assert priced.cost_nano_usd == 300


def test_the_limit_says_whether_it_refuses_what_has_no_price() -> None:
    unpriced = Estimate(model=UNPRICED_MODEL)
    for harmless in (layout(when_unpriced="allow"), layout(shadow=True, when_unpriced="deny")):
        assert COSTS.needed(unpriced, harmless, "acme", NOW_MS) == unpriced
    with pytest.raises(UnknownCost):
        COSTS.needed(unpriced, layout(hard=False, when_unpriced="deny"), "acme", NOW_MS)
