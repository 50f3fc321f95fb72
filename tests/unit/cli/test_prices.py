"""The commands about prices: what they print, for people and for programs, and how they end."""

import json
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.cli import main, prices
from bedrock_meter.pricing.overrides import NONE, Override, OverrideSet
from tests.doubles.prices import MemoryOverrideStore

SONNET = "anthropic.claude-sonnet-4-6"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryOverrideStore:
    memory = MemoryOverrideStore()
    monkeypatch.setattr(prices, "_store", lambda stack: memory)
    monkeypatch.setattr(prices, "_caller", lambda: "arn:aws:iam::111122223333:user/ada")
    return memory


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main.execute(["prices", *arguments]) == code
    printed = capsys.readouterr()
    return printed.out, printed.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run(capsys, *arguments, "--output", "json")[0])


def test_models_are_listed_with_regional_and_global_prices(capsys: pytest.CaptureFixture[str]) -> None:
    listed = document(capsys, "list", "anthropic.claude-sonnet-4-*", "--region", "eu-west-1")
    found = {one["model"]: one for one in listed["models"]}
    assert found[SONNET]["regional"]["input"] == "3.30"
    assert found[SONNET]["global"]["input"] == "3.00"
    assert all(model.startswith("anthropic.claude-sonnet-4-") for model in found)
    assert SONNET in run(capsys, "list", "anthropic.*")[0]


def test_a_model_is_shown_with_tiers_step_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    shown = document(capsys, "show", "us.amazon.nova-pro-v1:0")
    assert (shown["routing"], shown["card"]) == ("geo", "us")
    assert shown["usd"]["flex"] == {"input": "0.40", "output": "1.60", "cache_read": "0.10"}
    assert shown["weights"] == {"input": 1, "output": 1, "cache_read": 0, "cache_write": 1}
    step = document(capsys, "show", "anthropic.claude-sonnet-4-5-20250929-v1:0", "--routing", "global")
    assert (step["above_tokens"], step["usd_above"]["default"]["input"]) == (200_000, "6.00")
    images = document(capsys, "show", "amazon.nova-canvas-v1:0")
    assert images["usd"]["default"] == {"image": "0.06"}
    table = run(capsys, "show", "anthropic.claude-sonnet-4-5-20250929-v1:0")[0]
    assert "default, above 200,000 tokens" in table
    assert list(document(capsys, "show", "amazon.nova-pro-v1:0", "--tier", "priority")["usd"]) == ["priority"]
    assert list(document(capsys, "show", "amazon.nova-pro-v1:0", "--batch")["usd"]) == ["batch"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "anthropic.claude-sonet-4-6"), 1, f"did you mean {SONNET}"),
        (("show", SONNET, "--tier", "flex"), 1, "there are default"),
        (("show", SONNET, "--at", "soon"), 2, "--at soon"),
        (("show", SONNET, "--routing", "away"), 2, "away"),
        (("explain", SONNET, "--input-tokens", "-1"), 2, "--input-tokens"),
        (("apply", "missing.yaml"), 2, "cannot be read"),
    ],
)
def test_a_wrong_question_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    out, complaint = run(capsys, *arguments, code=code)
    assert (out, complaint.count("\n")) == ("", 1)
    assert words in complaint


def test_a_cost_is_explained_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--input-tokens", "3", "--output-tokens", "52", "--cache-write-tokens", "24479"]
    text = run(capsys, "explain", f"us.{SONNET}", *counts)[0]
    assert [line.split() for line in text.splitlines()[2:5]] == [
        ["input", "3", "x", "3.30", "/", "1,000,000", "=", "0.0000099"],
        ["output", "52", "x", "16.50", "/", "1,000,000", "=", "0.000858"],
        ["cache_write", "24,479", "x", "4.125", "/", "1,000,000", "=", "0.100975875"],
    ]
    assert "cost: 0.101843775 USD = 101,843,775 nano-USD" in text
    assert "assumed: cache-write-5m" in text
    said = document(capsys, "explain", f"us.{SONNET}", *counts)
    assert (said["cost_nano_usd"], said["cost_usd"]) == (101_843_775, "0.101843775")
    assert said["assumptions"] == ["cache-write-5m"]


def test_every_choice_of_a_call_reaches_the_rater(capsys: pytest.CaptureFixture[str]) -> None:
    hours = ["--cache-write-tokens", "10", "--cache-write-1h-tokens", "10"]
    assert document(capsys, "explain", SONNET, *hours)["cost_nano_usd"] == 10 * 6_600
    assert document(capsys, "explain", "amazon.nova-canvas-v1:0", "--images", "2")["cost_usd"] == "0.12"
    nova = ["explain", "amazon.nova-pro-v1:0", "--input-tokens", "10"]
    assert document(capsys, *nova, "--batch")["cost_nano_usd"] == 10 * 400
    assert document(capsys, *nova, "--tier", "priority")["cost_nano_usd"] == 10 * 1_400
    assert document(capsys, *nova, "--region", "eu-west-1")["cost_nano_usd"] == 10 * 1_050
    assert document(capsys, "explain", SONNET, "--input-tokens", "1", "--routing", "global")["cost_nano_usd"] == 3_000


def test_an_unpriced_call_says_why_and_costs_nothing_but_null(capsys: pytest.CaptureFixture[str]) -> None:
    said = document(capsys, "explain", "-", "--input-tokens", "1")
    assert (said["cost_nano_usd"], said["cost_usd"]) == (None, None)
    assert said["unpriced"]
    text = run(capsys, "explain", SONNET, "--tier", "flex", "--input-tokens", "1")[0]
    assert "unpriced: no price for tier flex" in text
    assert "cost:" not in text


def test_a_file_is_applied_once_and_its_rows_count(
    capsys: pytest.CaptureFixture[str], store: MemoryOverrideStore, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("overrides: [{tenant: acme, markup: 12.5%}, {model: x.y, prices: {input: 4}}]")
    out, notes = run(capsys, "apply", str(file))
    assert out.startswith("version 1: 2 rows")
    assert "x.y is not in the price book" in notes
    assert run(capsys, "apply", str(file))[0] == "version 1: as it was\n"

    after = "2999-01-01"
    ask = ["explain", SONNET, "--input-tokens", "1000", "--stack", "local", "--at", after]
    assert document(capsys, *ask, "--tenant", "acme")["cost_nano_usd"] == 3_712_500
    assert document(capsys, *ask)["cost_nano_usd"] == 3_300_000
    text = run(capsys, *ask, "--tenant", "acme")[0]
    assert "markup 12.5% on the sum" in text
    own = run(capsys, "explain", "x.y", "--input-tokens", "1", "--stack", "local", "--at", after)[0]
    assert "4.00 (yours)" in own

    shown = document(capsys, "overrides", "--at", after)
    assert [row["says"] for row in shown["overrides"]] == ["markup 12.5%", {"default": {"input": "4.00"}}]
    assert [row["holds"] for row in shown["overrides"]] == [True, True]
    assert [(one["version"], one["by"]) for one in shown["changes"]] == [(1, "arn:aws:iam::111122223333:user/ada")]
    assert "user/ada" in run(capsys, "overrides")[0]


def test_a_row_in_the_past_is_applied_with_a_warning(
    capsys: pytest.CaptureFixture[str], store: MemoryOverrideStore, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("overrides: [{markup: 1%, from: 2026-01-01}]")
    out, notes = run(capsys, "apply", str(file), "--output", "json")
    assert json.loads(out)["changed"] is True
    assert "keeps its cost" in notes


def test_a_change_in_between_is_told(
    capsys: pytest.CaptureFixture[str], store: MemoryOverrideStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("overrides: [{markup: 1%}]")
    monkeypatch.setattr(store, "read", lambda: NONE)
    store.held = OverrideSet(1, (Override(0, percent_e6=1),))
    assert "somebody else" in run(capsys, "apply", str(file), code=1)[1]
    assert store.held.version == 1
