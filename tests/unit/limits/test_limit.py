"""Limits as people write them."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.definition import parse_limit, spelled
from bedrock_meter.limits.limit import DEFAULT_THRESHOLDS, Limit, default_name
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window
from bedrock_meter.tenants.audit import limit_words
from bedrock_meter.tenants.batch import parse_limit_words

BERLIN = "Europe/Berlin"
WHERE = "tenants[2].limits[0]"
HOUR = RollingWindow(3_600)


def test_a_full_definition() -> None:
    definition = {
        "name": "Burst.guard_1-a",
        "meter": "output_tokens",
        "window": {"calendar": "month", "anchor": 15},
        "max": "2.5M",
        "hard": True,
        "thresholds": [120, 25, 75],
    }
    assert parse_limit(definition, BERLIN, WHERE) == Limit(
        name="Burst.guard_1-a",
        meter=Meter.OUTPUT_TOKENS,
        window=CalendarWindow("month", BERLIN, 15),
        maximum=2_500_000,
        hard=True,
        thresholds=(25, 75, 120),
    )


def test_a_short_definition() -> None:
    limit = parse_limit({"meter": "tokens", "window": "1h", "max": 300_000}, BERLIN, WHERE)
    assert limit == Limit("total_tokens-1h", Meter.TOTAL_TOKENS, HOUR, 300_000, hard=False, thresholds=(50, 80, 100))


METERS = [
    *[(str(meter), meter) for meter in Meter],
    ("tokens", Meter.TOTAL_TOKENS),
    ("total", Meter.TOTAL_TOKENS),
    ("input", Meter.INPUT_TOKENS),
    ("output", Meter.OUTPUT_TOKENS),
    ("cache_read", Meter.CACHE_READ_TOKENS),
    ("cache-write", Meter.CACHE_WRITE_TOKENS),
    ("Cache Read Tokens", Meter.CACHE_READ_TOKENS),
    ("calls", Meter.REQUESTS),
    ("invocations", Meter.REQUESTS),
    ("cost", Meter.COST_USD),
    ("USD", Meter.COST_USD),
    ("weighted", Meter.WEIGHTED_TOKENS),
]


@pytest.mark.parametrize(("spelling", "meter"), METERS)
def test_meter_spellings(spelling: str, meter: Meter) -> None:
    assert parse_limit({"meter": spelling, "window": "1h", "max": 1}, BERLIN, WHERE).meter is meter


AMOUNTS = [
    (0, 0),
    (60, 60),
    (1e6, 1_000_000),
    ("300k", 300_000),
    ("300 K", 300_000),
    ("2M", 2_000_000),
    ("2m", 2_000_000),
    ("1.5M", 1_500_000),
    ("1.50k", 1_500),
    ("3G", 3_000_000_000),
    ("3B", 3_000_000_000),
    ("1_000_000", 1_000_000),
    ("1e6", 1_000_000),
    ("2.5e+3", 2_500),
    ("7.0", 7),
    (" 42 ", 42),
    (MAX_AMOUNT, 999_999_999_999_999_999),
]


@pytest.mark.parametrize(("spelling", "maximum"), AMOUNTS)
def test_amount_spellings(spelling: object, maximum: int) -> None:
    assert parse_limit({"meter": "tokens", "window": "1h", "max": spelling}, BERLIN, WHERE).maximum == maximum


DOLLARS = [
    (5, 5_000_000_000),
    (0, 0),
    ("$5", 5_000_000_000),
    ("12.50", 12_500_000_000),
    (12.5, 12_500_000_000),
    (0.1, 100_000_000),
    ("$0.000000001", 1),
    ("1_000", 1_000_000_000_000),
    ("999999999.999999999", MAX_AMOUNT),
]


@pytest.mark.parametrize(("spelling", "maximum"), DOLLARS)
def test_dollars_are_exact_whoever_writes_them(spelling: object, maximum: int) -> None:
    limit = parse_limit({"meter": "cost_usd", "window": "month", "max": spelling}, BERLIN, WHERE)
    assert (limit.maximum, limit.name) == (maximum, "cost_usd-month")


@pytest.mark.parametrize("spelling", ["5 EUR", "-1", -1, True, None, "1.0000000001", 1e-10, float("nan"), "5k", []])
def test_what_is_no_amount_of_dollars(spelling: object) -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        parse_limit({"meter": "cost_usd", "window": "month", "max": spelling}, BERLIN, WHERE)
    assert refusal.value.where == f"{WHERE}.max"
    assert "no amount of US dollars: write for example 5, 12.50" in str(refusal.value)


def test_a_limit_may_look_at_some_models_and_profiles_only() -> None:
    definition = {"meter": "cost_usd", "window": "day", "max": 5, "models": ["anthropic.*"], "profiles": ["p1"]}
    assert parse_limit(definition, BERLIN, WHERE).scope == Scope(("anthropic.*",), ("p1",))
    with pytest.raises(InvalidDefinition) as refusal:
        parse_limit({**definition, "models": []}, BERLIN, WHERE)
    assert refusal.value.where == f"{WHERE}.models"


THRESHOLDS: list[tuple[object, tuple[int, ...]]] = [
    (None, (50, 80, 100)),
    ([], ()),
    ([1, 1000], (1, 1000)),
    ([100, 50, 50], (50, 100)),
    ((90.0,), (90,)),
]


@pytest.mark.parametrize(("spelling", "thresholds"), THRESHOLDS)
def test_threshold_spellings(spelling: object, thresholds: tuple[int, ...]) -> None:
    definition = {"meter": "tokens", "window": "1h", "max": 1, "thresholds": spelling}
    assert parse_limit(definition, BERLIN, WHERE).thresholds == thresholds


NAMES = [
    (Meter.TOTAL_TOKENS, HOUR, "total_tokens-1h"),
    (Meter.REQUESTS, RollingWindow(60), "requests-1m"),
    (Meter.CACHE_WRITE_TOKENS, CalendarWindow("month", BERLIN, 31), "cache_write_tokens-month-31"),
    (Meter.CACHE_WRITE_TOKENS, RollingWindow(44_639 * 60), "cache_write_tokens-44639m"),
]


@pytest.mark.parametrize(("meter", "window", "name"), NAMES)
def test_default_names_are_valid_names(meter: Meter, window: Window, name: str) -> None:
    assert default_name(meter, window) == name
    assert Limit(name, meter, window, 1).name == name


def changed(**changes: object) -> Mapping[str, object]:
    return {"meter": "tokens", "window": "1h", "max": 1, **changes}


NAME_RULE = "write 1 to 32 letters, digits, '.', '_' or '-', first a letter or digit"
REFUSED: list[tuple[object, str, str]] = [
    ("1h", WHERE, "'1h' is not a limit: write {meter: total_tokens, window: 1h, max: 300k}"),
    ({}, WHERE, "meter is missing: write {meter: total_tokens, window: 1h, max: 300k}"),
    ({"meter": "tokens", "max": 1}, WHERE, "window is missing"),
    ({"meter": "tokens", "window": "1h"}, WHERE, "max is missing"),
    (changed(maximum=5), WHERE, "unknown key 'maximum', did you mean 'max'? It is one of name, meter, window, max"),
    (changed(threshold=[5]), WHERE, "unknown key 'threshold', did you mean 'thresholds'?"),
    (changed(Hard=True), WHERE, "unknown key 'Hard', did you mean 'hard'?"),
    (changed(colour="red"), WHERE, "unknown key 'colour', it is one of name, meter, window, max, hard, thresholds"),
    ({7: 1, "meter": "tokens"}, WHERE, "unknown key 7, it is one of"),
    (changed(meter="input_token"), f"{WHERE}.meter", "'input_token' is not a meter, did you mean 'input_tokens'?"),
    (changed(meter=None), f"{WHERE}.meter", "None is not a meter, it is one of requests, input_tokens"),
    (changed(window="1 month"), f"{WHERE}.window", "months and years have no fixed length"),
    (changed(window="week@9"), f"{WHERE}.window.anchor", "9: a week begins on day 1"),
    (changed(max=-1), f"{WHERE}.max", "-1 is outside 0 to 999999999999999999"),
    (changed(max=10**18), f"{WHERE}.max", "1000000000000000000 is outside 0 to 999999999999999999"),
    (changed(max="1e99"), f"{WHERE}.max", "is outside 0 to"),
    (changed(max=1.5), f"{WHERE}.max", "1.5 is not a whole number: write for example 300000, 300k, 2M or 1_000_000"),
    (changed(max="1.0005k"), f"{WHERE}.max", "'1.0005k' is not a whole number"),
    (changed(max=float("inf")), f"{WHERE}.max", "inf is not a whole number"),
    (changed(max=float("nan")), f"{WHERE}.max", "nan is not a whole number"),
    (changed(max="-5"), f"{WHERE}.max", "'-5' is not a whole number"),
    (changed(max="many"), f"{WHERE}.max", "'many' is not a whole number"),
    (changed(max="5T"), f"{WHERE}.max", "'5T' is not a whole number"),
    (changed(max=""), f"{WHERE}.max", "'' is not a whole number"),
    (changed(max=True), f"{WHERE}.max", "True is not a whole number"),
    (changed(max=None), f"{WHERE}.max", "None is not a whole number"),
    (changed(hard="yes"), f"{WHERE}.hard", "'yes': write true or false"),
    (changed(hard=1), f"{WHERE}.hard", "1: write true or false"),
    (changed(thresholds=50), f"{WHERE}.thresholds", "50 is not a list: write percentages from 1 to 1000"),
    (changed(thresholds=["50%"]), f"{WHERE}.thresholds", "'50%' is not a whole number: write percentages"),
    (changed(thresholds=[0.5]), f"{WHERE}.thresholds", "0.5 is not a whole number"),
    (changed(thresholds=[float("inf")]), f"{WHERE}.thresholds", "inf is not a whole number"),
    (changed(thresholds=[True]), f"{WHERE}.thresholds", "True is not a whole number"),
    (changed(thresholds=[0]), f"{WHERE}.thresholds", "[0]: write percentages from 1 to 1000, ascending"),
    (changed(thresholds=[1001]), f"{WHERE}.thresholds", "[1001]: write percentages from 1 to 1000, ascending"),
    (changed(thresholds=range(1, 22)), f"{WHERE}.thresholds", "range(1, 22) is not a list"),
    (changed(thresholds=list(range(1, 22))), f"{WHERE}.thresholds", "21 thresholds: at most 20"),
    (changed(name=""), f"{WHERE}.name", f"'': {NAME_RULE}"),
    (changed(name="-a"), f"{WHERE}.name", f"'-a': {NAME_RULE}"),
    (changed(name="a b"), f"{WHERE}.name", f"'a b': {NAME_RULE}"),
    (changed(name="a\n"), f"{WHERE}.name", NAME_RULE),
    (changed(name="é"), f"{WHERE}.name", NAME_RULE),
    (changed(name="a" * 33), f"{WHERE}.name", NAME_RULE),
    (changed(name=7), f"{WHERE}.name", "7 is not text: put it in quotes"),
    (changed(when_unpriced="deny"), f"{WHERE}.when_unpriced", "only a limit of cost_usd asks for prices, not of"),
    (changed(meter="usd", when_unpriced="never"), f"{WHERE}.when_unpriced", "'never': write allow or deny"),
    (changed(meter="usd", when_unpriced=True), f"{WHERE}.when_unpriced", "True: write allow or deny"),
]


@pytest.mark.parametrize(
    ("hard", "word", "denies"),
    [
        (True, None, True),
        (False, None, False),
        (True, "allow", False),
        (False, "deny", True),
        (True, "deny", True),
    ],
)
def test_a_hard_limit_in_dollars_denies_what_has_no_price_unless_it_says_otherwise(
    hard: bool, word: str | None, denies: bool
) -> None:
    definition = {"meter": "cost_usd", "window": "1h", "max": 5, "hard": hard, "when_unpriced": word}
    found = parse_limit(definition, BERLIN, WHERE)
    assert (found.when_unpriced, found.denies_unpriced) == (word, denies)
    assert parse_limit(spelled(found, BERLIN), BERLIN, WHERE) == found
    assert parse_limit_words(limit_words(found), BERLIN, WHERE) == found
    assert ("when_unpriced" in spelled(found, BERLIN)) == (word is not None)
    tokens = replace(found, meter=Meter.TOTAL_TOKENS, when_unpriced=None)
    assert not tokens.denies_unpriced


@pytest.mark.parametrize(("definition", "where", "problem"), REFUSED)
def test_refused_definitions_say_where_and_what(definition: object, where: str, problem: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        parse_limit(definition, BERLIN, WHERE)
    assert refused.value.where == where
    assert problem in refused.value.problem


def test_a_definition_without_a_place() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        parse_limit(changed(max="many"), BERLIN, "")
    assert refused.value.where == "max"


@pytest.mark.parametrize("thresholds", [(80, 50), (50, 50), (0,), (1001,)])
def test_thresholds_of_a_limit_are_ascending_percentages(thresholds: tuple[int, ...]) -> None:
    with pytest.raises(InvalidDefinition, match="ascending, each once"):
        Limit("a", Meter.REQUESTS, HOUR, 1, thresholds=thresholds)


def test_thresholds_default_to_the_documented_ones() -> None:
    assert Limit("a", Meter.REQUESTS, HOUR, 1).thresholds == DEFAULT_THRESHOLDS == (50, 80, 100)
