"""A reservation is decided for the call that will be made: what the directory says, not what the caller says."""

from collections.abc import Mapping
from typing import Any

import pytest

from bedrock_meter.errors import ForeignProfile, InvalidDefinition, UnknownCost, UnknownTenant
from bedrock_meter.limits.answers import Answer
from bedrock_meter.limits.costs import Costs
from bedrock_meter.limits.destination import Called
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.limits.scope import Scope
from bedrock_meter.money import NANO
from bedrock_meter.pricing.overrides import Override, OverrideSet
from bedrock_meter.pricing.rating import Rater
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.desk import Desk, MemoryDirectory
from tests.doubles.pricebook import MODEL, PLAIN, book
from tests.doubles.records import NOW_MS, limit, profile_arn

EMBEDDING = "amazon.titan-embed-text-v2:0"
ESTIMATE = Estimate(input_tokens=100, output_tokens=10)
SPEND = limit("1h", NANO, meter=Meter.COST_USD, hard=True)
MARKUP_25, DISCOUNT_50 = 25_000_000, -50_000_000


def owned(name: str, model: str, routing: str | None = "in-region", geography: str | None = None) -> ProfileReference:
    return ProfileReference(name, profile_arn(name), model, routing, geography=geography)


READER, BLIND, EMBEDDER = owned("reader", MODEL), owned("blind", "-", None), owned("embedder", EMBEDDING)
WORLDWIDE, LLAMA = owned("worldwide", MODEL, "global"), owned("llama", "meta.llama3-8b-instruct-v1:0")
NOTHING_MAPPED: Mapping[str, MappingPeriod] = {}
MINE = (READER, BLIND, EMBEDDER, WORLDWIDE, LLAMA)


class Calls:
    """A service whose tenant has ``MINE``, and limits."""

    def __init__(
        self, *limits: Limit, rows: tuple[Override, ...] = (), mapped: Mapping[str, MappingPeriod] = NOTHING_MAPPED
    ) -> None:
        directory = MemoryDirectory({"acme": MINE}, {name: (one,) for name, one in mapped.items()})
        costs = Costs(Rater(book(), OverrideSet(1, rows)), "us-east-1")
        self.desk = Desk(*limits, directory=directory, costs=costs)
        self.service: Reservations = self.desk.service()

    def reserve(self, model: str = "", profile: str = "", estimate: Estimate = ESTIMATE, **options: Any) -> Answer:
        return self.service.reserve("acme", estimate, called=Called(model, profile), **options)

    def held(self, model: str = "", profile: str = "", estimate: Estimate = ESTIMATE) -> dict[str, int]:
        """Return what is held of a call, by limit."""
        made = self.reserve(model, profile, estimate).reservation
        assert made is not None
        return {name: one.amount for one in made.held for name in one.limits}


@pytest.mark.parametrize(
    ("rows", "cost"),
    [
        ((), 4_500),
        ((Override(0, model=MODEL, profile="reader", prices={"default": {"input": 100_000_000}}),), 11_500),
        ((Override(0, profile="reader", percent_e6=MARKUP_25),), 5_625),
        ((Override(0, profile="reader", percent_e6=DISCOUNT_50),), 2_250),
        ((Override(0, tenant="acme", percent_e6=MARKUP_25),), 5_625),
        ((Override(0, tenant="globex", percent_e6=MARKUP_25),), 4_500),
        ((Override(0, profile="another", percent_e6=MARKUP_25),), 4_500),
        ((Override(NOW_MS + 1, profile="reader", percent_e6=MARKUP_25),), 4_500),
        (
            (
                Override(0, model=MODEL, profile="reader", prices={"default": {"input": 100_000_000}}),
                Override(0, tenant="acme", percent_e6=MARKUP_25),
            ),
            14_375,
        ),
    ],
)
@pytest.mark.parametrize(
    ("model", "profile"),
    [(MODEL, ""), ("", "reader"), ("reader", ""), ("", profile_arn("reader")), (profile_arn("reader"), "")],
)
def test_prices_and_percentages_of_the_profile_that_is_called_decide_what_is_held(
    model: str, profile: str, rows: tuple[Override, ...], cost: int
) -> None:
    assert Calls(SPEND, rows=rows).held(model, profile) == {"cost_usd-1h": cost}


def test_a_price_of_its_own_can_be_what_denies_a_call() -> None:
    rows = (Override(0, model=MODEL, profile="reader", prices={"default": {"input": 100_000_000}}),)
    tight = limit("1h", 11_499, meter=Meter.COST_USD, hard=True)
    assert Calls(tight).reserve(MODEL).reservation is not None
    assert Calls(tight, rows=rows).reserve(MODEL).reservation is None


def test_routing_decides_the_price() -> None:
    calls = Calls(SPEND)
    assert calls.held(f"global.{MODEL}") == calls.held(profile="worldwide") == {"cost_usd-1h": 4_050}
    assert calls.held(MODEL) == {"cost_usd-1h": 4_500}


def test_the_mappings_word_wins_for_price_weight_and_scope() -> None:
    claude = "anthropic.claude-opus-4-8"
    scoped = limit("day", 10**6, scope=Scope(models=("anthropic.*",)), name="claude")
    weighted = limit("1h", 10**6, meter=Meter.WEIGHTED_TOKENS, name="weighted")
    known = {"llama": MappingPeriod("acme", 0, None, claude), "blind": MappingPeriod("acme", 0, None, MODEL, "global")}
    assert Calls(scoped, weighted).held(profile="llama") == {"weighted": 110}
    assert Calls(scoped, weighted, mapped=known).held(profile="llama") == {"claude": 110, "weighted": 100 + 15 * 10}
    assert Calls(SPEND, mapped=known).held(profile="blind") == {"cost_usd-1h": 4_050}


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("", ""),
        ("", "blind"),
        (MODEL, "blind"),
        ("", "ownerless"),
        (MODEL, "ownerless"),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc", ""),
        ("arn:aws:sagemaker:us-east-1:123456789012:endpoint/llm", ""),
    ],
)
def test_what_stays_unknown_counts_against_every_limit_that_it_may_touch(model: str, profile: str) -> None:
    """Also where a model is named beside a profile of an unknown model: the record of the call will not name it."""
    limits = (
        limit("1h", 10**6, scope=Scope(models=("anthropic.*",)), name="claude"),
        limit("1h", 10**6, scope=Scope(models=("meta.*",)), name="llama"),
        limit("1h", 10**6, meter=Meter.WEIGHTED_TOKENS, name="weighted"),
    )
    assert Calls(*limits).held(model, profile) == {"claude": 110, "llama": 110, "weighted": 100 + 15 * 10}
    with pytest.raises(UnknownCost):
        Calls(SPEND).reserve(model, profile)


def test_a_limit_on_one_profile_is_touched_by_calls_through_it_and_by_those_that_may_be() -> None:
    calls = Calls(limit("1h", 10**6, scope=Scope(profiles=("reader",)), name="one"))
    assert calls.held(MODEL) == {"one": 110}
    assert calls.held(profile="reader") == {"one": 110}
    assert calls.held(f"global.{MODEL}") == {}
    assert calls.held(profile="ownerless") == {}
    assert calls.held(f"eu.{MODEL}") == {"one": 110}, "through which profile it will be called is not known"


@pytest.mark.parametrize(("model", "profile"), [(EMBEDDING, ""), ("", "embedder"), ("embedder", "")])
def test_what_embeds_holds_no_output(model: str, profile: str) -> None:
    calls = Calls(limit("1h", 10**6), limit("1h", 10**6, meter=Meter.OUTPUT_TOKENS))
    assert calls.held(model, profile) == {"total_tokens-1h": 100}


@pytest.mark.parametrize("is_model", [True, False])
def test_another_tenants_profile_holds_nothing(is_model: bool) -> None:
    calls = Calls(limit("1h", 10**6), mapped={"theirs": MappingPeriod("globex", 0)})
    for name in ("theirs", profile_arn("theirs")):
        with pytest.raises(ForeignProfile):
            calls.reserve(name, "") if is_model else calls.reserve("", name)
    assert (calls.desk.store.requests, calls.desk.reserved()) == ([], [0])


def test_words_that_contradict_each_other_hold_nothing() -> None:
    calls = Calls(limit("1h", 10**6))
    with pytest.raises(InvalidDefinition):
        calls.reserve(PLAIN, "reader")
    assert calls.desk.store.requests == []


def test_the_answer_says_through_which_profile_the_call_goes_and_the_reservation_keeps_it() -> None:
    calls = Calls(limit("1h", 10**6))
    answer = calls.reserve(MODEL)
    assert answer.destination is not None
    assert answer.reservation is not None
    assert answer.destination.through is not None
    assert answer.destination.through.id == "reader"
    kept = calls.service.load("acme", answer.reservation.id)
    assert (kept.through, kept.called) == (READER.arn, Called(MODEL))
    assert (kept.estimate.model, kept.estimate.profile, kept.estimate.routing) == (MODEL, READER.arn, "in-region")


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (MODEL, ()),
        (MODEL, (WORLDWIDE,)),
        (MODEL, (owned("reader", "meta.llama3-8b-instruct-v1:0", "global"),)),
        (f"eu.{MODEL}", (owned("europe", MODEL, "geo", "eu"),)),
        ("reader", ()),
        (EMBEDDING, (LLAMA,)),
    ],
)
def test_the_same_key_and_words_are_the_same_reservation_after_the_directory_changed(
    model: str, change: tuple[ProfileReference, ...]
) -> None:
    calls = Calls(limit("1h", 10**6))
    first = calls.reserve(model, key="call-1")
    before = calls.desk.reserved()
    calls.desk.directory.profiles["acme"] = change
    for service in (calls.service, calls.desk.service()):
        again = service.reserve("acme", ESTIMATE, called=Called(model), key="call-1")
        assert (again.reservation, again.is_new) == (first.reservation, False)
    assert calls.desk.reserved() == before


def test_a_tenant_that_is_not_there_is_unknown_whatever_it_names() -> None:
    calls = Calls(limit("1h", 10**6))
    with pytest.raises(UnknownTenant):
        calls.service.reserve("globex", ESTIMATE, called=Called(MODEL))


def test_a_service_without_a_directory_takes_no_words() -> None:
    calls = Calls(limit("1h", 10**6))
    bare = Reservations(
        calls.desk.store, clock=lambda: NOW_MS, sleep_ms=lambda _: None, uniform=lambda: 0.5, new_id=lambda: "1" * 32
    )
    with pytest.raises(TypeError, match="destinations"):
        bare.reserve("acme", ESTIMATE, called=Called(MODEL))
    assert bare.reserve("acme", ESTIMATE).reservation is not None
