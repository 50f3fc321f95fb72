"""Which usage a limit looks at, and how people say so."""

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.scope import MOST, NO_MODEL, WHOLE, Scope, parse_scope
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL

SONNET = "anthropic.claude-sonnet-4-6"


def test_the_mark_of_a_model_that_nobody_named_is_one_and_the_same() -> None:
    assert NO_MODEL == UNKNOWN_MODEL


@pytest.mark.parametrize("model", [SONNET, f"us.{SONNET}", f"global.{SONNET}"])
def test_a_model_fits_however_it_is_reached(model: str) -> None:
    assert Scope(models=("anthropic.claude-*",)).covers("p", model)
    assert Scope(models=(SONNET,)).covers("p", model)
    assert not Scope(models=("amazon.*",)).covers("p", model)


@pytest.mark.parametrize(
    ("scope", "profile", "model", "covered"),
    [
        (WHOLE, "p", NO_MODEL, True),
        (Scope(profiles=("p", "q")), "q", NO_MODEL, True),
        (Scope(profiles=("p", "q")), "r", SONNET, False),
        (Scope(models=("a.*", "anthropic.*")), "r", SONNET, True),
        (Scope(models=("anthropic.claude-sonnet-4-?",)), "r", SONNET, True),
        (Scope(models=("anthropic.claude-sonnet-4",)), "r", SONNET, False),
        (Scope(models=("*",)), "r", NO_MODEL, None),
        (Scope(models=("anthropic.*",), profiles=("p",)), "p", SONNET, True),
        (Scope(models=("anthropic.*",), profiles=("p",)), "q", SONNET, False),
        (Scope(models=("anthropic.*",), profiles=("p",)), "p", "amazon.nova-lite-v1:0", False),
        (Scope(models=("anthropic.*",), profiles=("p",)), "p", NO_MODEL, None),
        (Scope(models=("anthropic.*",), profiles=("p",)), "q", NO_MODEL, False),
    ],
)
def test_both_must_fit_and_an_unknown_model_is_unknown(
    scope: Scope, profile: str, model: str, covered: bool | None
) -> None:
    assert scope.covers(profile, model) is covered


def test_people_write_lists_of_patterns_and_of_ids_or_arns() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1c3m5e7k9q2"
    assert parse_scope({"models": ["anthropic.*"], "profiles": [arn, "b1"]}) == Scope(
        ("anthropic.*",), ("a1c3m5e7k9q2", "b1")
    )
    assert parse_scope({"models": "anthropic.*"}) == Scope(("anthropic.*",))
    assert parse_scope({"meter": "cost_usd"}) == WHOLE


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"models": []}, "leave it out to mean all models"),
        ({"profiles": [7]}, "write a list of texts"),
        ({"models": None}, "write a list of texts"),
        ({"models": ["us.anthropic.claude-*"]}, "leave out the prefix of the system profile: 'anthropic.claude-*'"),
        ({"models": ["a b"]}, "a model's id"),
        ({"models": ["[a-z]*"]}, "a model's id"),
        ({"models": ["a.*", "a.*"]}, "named twice"),
        ({"profiles": ["x*"]}, "the id of a profile"),
        ({"profiles": [f"p{number}" for number in range(MOST + 1)]}, "at most 10"),
    ],
)
def test_what_is_wrong_is_said(definition: dict[object, object], words: str) -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        parse_scope(definition)
    assert words in str(refusal.value)
    assert refusal.value.where in ("models", "profiles")


def test_a_document_names_what_is_limited_and_nothing_else() -> None:
    assert WHOLE.document() == {}
    assert Scope(models=("a.*",)).document() == {"models": ["a.*"]}
    assert Scope(profiles=("p",)).document() == {"profiles": ["p"]}
