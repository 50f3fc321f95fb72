"""The prices file: exact values, and a complaint with place and remedy for everything else."""

from pathlib import Path

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.pricing.file import load
from bedrock_meter.pricing.overrides import Override

DECEMBER = 1_796_083_200_000
JANUARY = 1_798_761_600_000


def read(tmp_path: Path, text: str) -> tuple[tuple[Override, bool], ...]:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def test_rows_are_read_exactly(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        """
overrides:
  - model: anthropic.claude-sonnet-4-6
    prices: {input: 2.70, output: $13.50, cache_read: 0.000000001, flex: {input: 1}, image: 0.04}
  - {model: "amazon.nova-*", from: 2026-12-01, to: 2027-01-01T00:00Z, discount: 12.5%}
  - {tenant: acme, markup: 0.000001%}
  - {profile: "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1c3m5e7k9q2", markup: 100 %}
  - {tenant: 12345678, discount: 100%}
""",
    )
    prices = {
        "default": {"input": 2_700_000_000, "output": 13_500_000_000, "cache_read": 1, "image": 40_000_000_000_000},
        "flex": {"input": 1_000_000_000},
    }
    assert rows == (
        (Override(0, model="anthropic.claude-sonnet-4-6", prices=prices), False),
        (Override(DECEMBER, JANUARY, model="amazon.nova-*", percent_e6=-12_500_000), True),
        (Override(0, tenant="acme", percent_e6=1), False),
        (Override(0, profile="a1c3m5e7k9q2", percent_e6=100_000_000), False),
        (Override(0, tenant="12345678", percent_e6=-100_000_000), False),
    )


def test_an_empty_list_ends_everything(tmp_path: Path) -> None:
    assert read(tmp_path, "overrides: []") == ()


@pytest.mark.parametrize(
    ("row", "where", "words"),
    [
        ("x", "", "must be a mapping"),
        ("{tenant: acme}", "", "one of prices, markup and discount"),
        ("{markup: 1%, discount: 1%}", "", "one of prices, markup and discount"),
        ("{markup: 15}", "markup", "such as 15%"),
        ("{markup: -5%}", "markup", "such as 15%"),
        ("{markup: 1.0000001%}", "markup", "six decimals"),
        ("{markup: [1%]}", "markup", "such as 15%"),
        ("{discount: 100.1%}", "discount", "more than 100%"),
        ("{markup: 1%, price: 2}", "", "unknown key 'price'"),
        ("{markup: 1%, tenant: unattributed}", "id", "unattributed"),
        ("{markup: 1%, profile: '#'}", "profile", "application inference profile"),
        ("{markup: 1%, model: us.anthropic.claude-sonnet-4-6}", "model", "write anthropic.claude-sonnet-4-6"),
        ("{markup: 1%, model: 'arn:aws:bedrock:::foundation-model/x.y'}", "model", "base model"),
        ("{markup: 1%, model: '[a-z]'}", "model", "base model"),
        ("{markup: 1%, model: ''}", "model", "base model"),
        ("{markup: 1%, from: tomorrow}", "from", "2026-12-01"),
        ("{markup: 1%, from: 2026-13-01}", "from", "2026-12-01"),
        ("{markup: 1%, from: [1]}", "from", "2026-12-01"),
        ("{markup: 1%, from: 2026-12-01, to: 2026-12-01}", "to", "later than"),
        ("{markup: 1%, to: 1970-01-01}", "to", "later than"),
        ("{prices: {}}", "prices", "must be a mapping"),
        ("{prices: 3}", "prices", "must be a mapping"),
        ("{prices: {inputs: 3}}", "prices", "unknown kind 'inputs'"),
        ("{prices: {input: free}}", "prices.input", "per million tokens"),
        ("{prices: {input: -1}}", "prices.input", "per million tokens"),
        ("{prices: {input: 0.0000000001}}", "prices.input", "per million tokens"),
        ("{prices: {image: lots}}", "prices.image", "for one"),
        ("{prices: {flex: 3}}", "prices", "unknown kind 'flex'"),
        ("{prices: {flex: {inputs: 3}}}", "prices.flex", "unknown kind 'inputs'"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(tmp_path: Path, row: str, where: str, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        read(tmp_path, f"overrides: [{{tenant: other, markup: 1%}}, {row}]")
    path = str(tmp_path / "prices.yaml") + ".overrides[1]" + (f".{where}" if where else "")
    assert caught.value.where == path
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a list 'overrides'"),
        ("[]", "a list 'overrides'"),
        ("overrides: {}", "a list 'overrides'"),
        ("overrides: []\nmarkup: 1%", "unknown key 'markup'"),
        ("overrides: [", "not valid YAML"),
        ("overrides: !!python/object/apply:os.system [x]", "must be a mapping"),
        (f"overrides: [{','.join(['{markup: 1%}'] * 501)}]", "at most 500"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match="cannot be read"):
        load(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ("markup: 1%", "discount: 1%", True),
        ("markup: 1%", "prices: {input: 1}", False),
        ("markup: 1%", "markup: 1%, tenant: acme", False),
        ("markup: 1%, to: 2026-12-01", "markup: 2%, from: 2026-12-01", False),
        ("markup: 1%, to: 2026-12-02", "markup: 2%, from: 2026-12-01", True),
        ("markup: 1%, from: 2026-12-01", "markup: 2%, to: 2026-12-01", False),
    ],
)
def test_two_rows_about_the_same_may_not_hold_at_once(
    tmp_path: Path, first: str, second: str, is_refused: bool
) -> None:
    text = f"overrides: [{{{first}}}, {{{second}}}]"
    if is_refused:
        with pytest.raises(InvalidDefinition, match=r"overrides\[1\]: is about the same as overrides\[0\]"):
            read(tmp_path, text)
    else:
        assert len(read(tmp_path, text)) == 2
