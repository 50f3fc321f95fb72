"""Burn-down rates, by hand from the page that the module names."""

import pytest

from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.weights import OUTPUT_RATES, weights_of


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ("anthropic.claude-opus-4-8", 15),
        ("us.anthropic.claude-opus-4-8", 15),
        ("anthropic.claude-opus-5", 10),
        ("anthropic.claude-opus-5-5", 10),
        ("global.anthropic.claude-sonnet-5", 10),
        ("anthropic.claude-fable-5-1", 10),
        ("openai.gpt-5.6-sol", 10),
        ("us.openai.gpt-5.6-luna", 10),
        ("anthropic.claude-opus-4-7", 5),
        ("anthropic.claude-opus-4-20250514-v1:0", 5),
        ("anthropic.claude-opus-4-1-20250805-v1:0", 5),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", 5),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 5),
        ("anthropic.claude-v2:1", 5),
        ("anthropic.claude-instant-v1", 5),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6", 5),
        # not on the page: its last sentence says one to one
        ("anthropic.claude-sonnet-5-5", 1),
        ("anthropic.claude-haiku-5-5", 1),
        ("anthropic.claude-fable-5", 1),
        ("openai.gpt-6-sol", 1),
        ("amazon.nova-pro-v1:0", 1),
        ("-", 1),
        ("", 1),
    ],
)
def test_an_output_token_weighs(model: str, output: int) -> None:
    assert weights_of(model) == (1, output, 0, 1)


def test_every_row_is_about_a_model_of_the_book() -> None:
    rates = {weights_of(model).output for model in load_book().cards}
    assert rates == {rate for _, rate in OUTPUT_RATES} | {1}
