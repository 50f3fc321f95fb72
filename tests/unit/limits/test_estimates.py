"""What an estimate is under each limit."""

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.estimates import KINDS, Estimate, amount_of, amount_under, is_touched
from bedrock_meter.limits.limit import InstalledLimit, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import WHOLE, Scope
from bedrock_meter.limits.windows import RollingWindow
from bedrock_meter.pricing.weights import OUTPUT_RATES

OPUS = "anthropic.claude-opus-4-8"
CLAUDE = Scope(models=("anthropic.claude-*",))
ONE_PROFILE = Scope(profiles=("a1c3m5e7k9q2",))
ARN = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1c3m5e7k9q2"


def installed(meter: Meter = Meter.TOTAL_TOKENS, scope: Scope = WHOLE) -> InstalledLimit:
    return InstalledLimit(Limit("one", meter, RollingWindow(3600), 100, scope=scope), "0", 1)


def test_every_meter_has_an_amount_and_only_a_cost_can_be_unknown() -> None:
    estimate = Estimate(3, 10, 5, 2, 1, model=OPUS)
    assert {meter: amount_of(meter, estimate) for meter in Meter} == {
        Meter.REQUESTS: 3,
        Meter.INPUT_TOKENS: 10,
        Meter.OUTPUT_TOKENS: 5,
        Meter.TOTAL_TOKENS: 18,
        Meter.CACHE_READ_TOKENS: 2,
        Meter.CACHE_WRITE_TOKENS: 1,
        Meter.WEIGHTED_TOKENS: 10 + 15 * 5 + 1,
        Meter.COST_USD: None,
        Meter.OPEN_RESERVATIONS: 1,
    }
    assert amount_under(installed(Meter.COST_USD), estimate) == 0
    assert amount_under(installed(Meter.COST_USD), Estimate(cost_nano_usd=7)) == 7


def test_tokens_of_a_model_that_nobody_named_weigh_as_much_as_any() -> None:
    heaviest = max(rate for _, rate in OUTPUT_RATES)
    assert amount_of(Meter.WEIGHTED_TOKENS, Estimate(output_tokens=1)) == heaviest
    assert amount_of(Meter.WEIGHTED_TOKENS, Estimate(output_tokens=1, model="amazon.nova-pro-v1:0")) == 1


@pytest.mark.parametrize(
    ("scope", "estimate", "touched"),
    [
        (WHOLE, Estimate(), True),
        (CLAUDE, Estimate(model=OPUS), True),
        (CLAUDE, Estimate(model=f"us.{OPUS}"), True),
        (CLAUDE, Estimate(model="amazon.nova-pro-v1:0"), False),
        (CLAUDE, Estimate(), True),
        (ONE_PROFILE, Estimate(model=OPUS), True),
        (ONE_PROFILE, Estimate(profile="a1c3m5e7k9q2"), True),
        (ONE_PROFILE, Estimate(profile=ARN), True),
        (ONE_PROFILE, Estimate(profile="b2d4n6f8l0r3"), False),
        (Scope(CLAUDE.models, ONE_PROFILE.profiles), Estimate(model="amazon.nova-pro-v1:0"), False),
        (Scope(CLAUDE.models, ONE_PROFILE.profiles), Estimate(profile=ARN), True),
    ],
)
def test_what_is_not_said_may_touch_any_limit(scope: Scope, estimate: Estimate, touched: bool) -> None:
    assert is_touched(installed(scope=scope), estimate) is touched
    assert bool(amount_under(installed(Meter.REQUESTS, scope), estimate)) is touched


def test_usage_lowers_what_it_names_and_raises_nothing() -> None:
    estimate = Estimate(2, 100, 50, cost_nano_usd=None, model=OPUS)
    assert estimate.at_most({}) == estimate
    assert estimate.at_most({"input_tokens": 40, "output_tokens": 60}) == Estimate(2, 40, 50, model=OPUS)
    assert estimate.at_most({"cost_nano_usd": 9}).cost_nano_usd == 9
    assert Estimate(cost_nano_usd=5).at_most({"cost_nano_usd": 9}).cost_nano_usd == 5


@pytest.mark.parametrize("usage", [{"total_tokens": 1}, {"model": 1}, {"input_tokens": -1}, {"requests": 10**18}])
def test_usage_has_known_kinds_and_bounds(usage: dict[str, int]) -> None:
    with pytest.raises(InvalidDefinition):
        Estimate().at_most(usage)


@pytest.mark.parametrize("kind", KINDS)
def test_amounts_have_bounds(kind: str) -> None:
    for amount in (-1, 10**18):
        with pytest.raises(InvalidDefinition, match=kind):
            Estimate(**{kind: amount})  # type: ignore[arg-type]


def test_names_have_bounds() -> None:
    with pytest.raises(InvalidDefinition, match="profile"):
        Estimate(profile="x" * 513)
