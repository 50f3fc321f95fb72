"""What an estimate is under each limit."""

from dataclasses import replace

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.destination import Called, Choice, Destination
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


def test_usage_says_what_it_names_and_the_rest_stays_as_it_was_estimated() -> None:
    estimate = Estimate(2, 100, 50, cost_nano_usd=None, model=OPUS, images=3, tier="flex", region="eu-west-1")
    assert estimate.reported({}) == estimate
    used = replace(estimate, input_tokens=40, output_tokens=60)
    assert estimate.reported({"input_tokens": 40, "output_tokens": 60}) == used, "nothing is capped kind by kind"
    assert estimate.reported({"images": 1, "requests": 0}) == replace(estimate, images=1, requests=0)
    assert estimate.reported({"cost_nano_usd": 9}).cost_nano_usd == 9
    assert Estimate(cost_nano_usd=5).reported({"cost_nano_usd": 9}).cost_nano_usd == 9


@pytest.mark.parametrize("is_bound", [True, False])
@pytest.mark.parametrize(
    "usage",
    [
        {"total_tokens": 1}, {"model": 1}, {"may_cache": 1}, {"tier": 1}, {"input_tokens": -1},
        {"requests": 10**18}, {"cache_read_tokens": -1}, {"images": -1},
    ],
)  # fmt: skip
def test_usage_has_known_kinds_and_bounds(usage: dict[str, int], is_bound: bool) -> None:
    with pytest.raises(InvalidDefinition, match=next(iter(usage))):
        Estimate(may_cache=is_bound).reported(usage)


READ = ("input_tokens", "cache_read_tokens", "cache_write_tokens")


@pytest.mark.parametrize("missing", READ)
def test_a_bound_of_all_kinds_that_are_read_stays_until_all_three_are_reported(missing: str) -> None:
    bound = Estimate(input_tokens=100, output_tokens=50, model=OPUS, may_cache=True)
    usage = dict.fromkeys(READ, 7)
    partly = bound.reported({**{kind: usage[kind] for kind in READ if kind != missing}, "output_tokens": 5})
    assert partly == replace(bound, output_tokens=5)
    whole = bound.reported(usage)
    assert whole == Estimate(1, 7, 50, 7, 7, model=OPUS)
    assert whole.may_cache is False


def test_a_bound_of_all_kinds_that_are_read_counts_under_each_of_them_and_once_in_a_sum() -> None:
    bound = Estimate(3, 100, 5, 20, 10, model=OPUS, may_cache=True)
    assert {meter: amount_of(meter, bound) for meter in Meter} == {
        Meter.REQUESTS: 3,
        Meter.INPUT_TOKENS: 100,
        Meter.OUTPUT_TOKENS: 5,
        Meter.TOTAL_TOKENS: 135,
        Meter.CACHE_READ_TOKENS: 120,
        Meter.CACHE_WRITE_TOKENS: 110,
        Meter.WEIGHTED_TOKENS: 100 + 15 * 5 + 10,
        Meter.COST_USD: None,
        Meter.OPEN_RESERVATIONS: 1,
    }


@pytest.mark.parametrize(
    ("model", "output"),
    [
        (OPUS, 50),
        (f"eu.{OPUS}", 50),
        ("-", 50),
        ("amazon.titan-embed-text-v2:0", 0),
        ("cohere.embed-multilingual-v3", 0),
        ("us.cohere.embed-v4:0", 0),
        ("amazon.rerank-v1:0", 0),
        ("cohere.rerank-v3-5:0", 0),
    ],
)
def test_the_call_that_will_be_made_says_what_an_estimate_is_of(model: str, output: int) -> None:
    """What embeds or ranks writes no text, whatever its caller took for it."""
    through = Choice("a1c3m5e7k9q2", ARN, model, "geo", "eu", "eu-west-1")
    asked = Estimate(2, 100, 50, 3, 4, 5, 6, model="the.caller-says", tier="flex", may_cache=True)
    assert asked.towards(Destination(model, "geo", "eu-west-1", through, ARN)) == Estimate(
        2, 100, output, 3, 4, 5, 6, model, ARN, "geo", "eu-west-1", "flex", True
    )


@pytest.mark.parametrize("kind", KINDS)
def test_amounts_have_bounds(kind: str) -> None:
    for amount in (-1, 10**18):
        with pytest.raises(InvalidDefinition, match=kind):
            Estimate(**{kind: amount})  # type: ignore[arg-type]


def test_names_have_bounds() -> None:
    with pytest.raises(InvalidDefinition, match="profile"):
        Estimate(profile="x" * 513)
    for field in ("model", "profile", "region"):
        with pytest.raises(InvalidDefinition, match=field):
            Called(**{field: "x" * 513})
