"""The committed book is what its recorded inputs make, and upstream's slice is what the pin says. No network."""

import hashlib
import json
import re
from typing import Any

import pytest

from bedrock_meter.pricing.book import FILE, load_book, read_book
from bedrock_meter.pricing.models import PREFIXES
from bedrock_meter.pricing.rating import ASSUMPTIONS
from prices import generate, upstream
from prices.generate import GEOS, book_of, card_of, complete, correct, nano_usd_per_million, place_of, snapshot


def test_the_committed_book_is_what_the_committed_inputs_make() -> None:
    assert FILE.read_text(encoding="utf-8") == generate.made(), "run `make prices`"


def test_the_slice_is_of_the_pinned_wheel() -> None:
    document, pin = upstream.read(), upstream.pinned()
    assert (document["version"], document["wheel_sha256"], document["day"]) == pin
    head = {key: value for key, value in document.items() if key != "rows"}
    assert upstream.SLICE.read_text(encoding="utf-8") == upstream.written(head, document["rows"])


def test_the_book_says_where_it_comes_from() -> None:
    book: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    assert (book["source"]["version"], book["source"]["wheel_sha256"], book["source"]["day"]) == upstream.pinned()
    for key, file in (("upstream_sha256", upstream.SLICE), ("corrections_sha256", generate.CORRECTIONS)):
        assert book[key] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "MIT License" in book["licence"]
    assert "Permission is hereby granted" in book["licence"]


def test_every_price_is_a_whole_number_and_every_place_one_that_calls_come_from() -> None:
    book = load_book()
    for model, scopes in book.cards.items():
        assert re.fullmatch(r"[a-z0-9]+\.[A-Za-z0-9.:_-]+", model), model
        assert not model.startswith(tuple(f"{prefix}." for prefix in PREFIXES)), model
        for scope, cards in scopes.items():
            assert scope in {"list", *PREFIXES} or re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", scope), scope
            assert [card.from_ms for card in cards] == sorted({card.from_ms for card in cards})
            assert cards[0].from_ms == 0
            for card in cards:
                assert set(card.assumes) <= set(ASSUMPTIONS)
                assert bool(card.above) == bool(card.step), (model, scope)
                for kinds in (*card.tiers.values(), *card.step.values()):
                    assert kinds
                    for kind, price in kinds.items():
                        assert type(price) is int
                        assert price > 0 or (kind, price) == ("output", 0), (model, scope, kind)


def test_no_rate_is_far_from_its_kin() -> None:
    """A price that is off by a power of ten shows here before it shows on a bill."""
    for model, scopes in load_book().cards.items():
        for scope, cards in scopes.items():
            default = cards[-1].tiers["default"]
            for tier, kinds in cards[-1].tiers.items():
                for kind in kinds.keys() & default.keys():
                    low, high = (1, 10) if tier == "ultrafast" else (0.4, 2)
                    assert low * default[kind] <= kinds[kind] <= high * default[kind], (model, scope, tier, kind)
            if "cache_read" in default and "input" in default:
                assert default["cache_read"] <= default["input"], (model, scope)


def test_geos_of_the_generator_are_those_of_the_rater() -> None:
    assert {*GEOS, "global"} == PREFIXES


# --- upstream's keys and fields


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("anthropic.claude-sonnet-4-6", ("anthropic.claude-sonnet-4-6", "list")),
        ("us.anthropic.claude-sonnet-4-6", ("anthropic.claude-sonnet-4-6", "us")),
        ("us-gov.openai.gpt-oss-20b-1:0", ("openai.gpt-oss-20b-1:0", "us-gov")),
        ("global.cohere.embed-v4:0", ("cohere.embed-v4:0", "global")),
        ("bedrock/eu-west-3/mistral.mistral-7b-instruct-v0:2", ("mistral.mistral-7b-instruct-v0:2", "eu-west-3")),
        ("bedrock/us-gov-east-1/amazon.nova-pro-v1:0", ("amazon.nova-pro-v1:0", "us-gov-east-1")),
        ("bedrock/moonshotai.kimi-k2.5", ("moonshotai.kimi-k2.5", "list")),
        ("bedrock/invoke/anthropic.claude-3-5-sonnet-20240620-v1:0", None),
        ("bedrock/claude_platform/claude-opus-5", None),
        ("bedrock/us-gov-east-1/claude-sonnet-4-5-20250929-v1:0", None),
        ("anthropic.claude-haiku-4-5@20251001", None),
        ("1024-x-1024/50-steps/stability.stable-diffusion-xl-v1", None),
    ],
)
def test_a_key_of_upstream_names_a_model_and_a_place(key: str, place: tuple[str, str] | None) -> None:
    assert place_of(key) == place


def test_us_dollars_per_token_become_nano_usd_per_million_exactly() -> None:
    assert nano_usd_per_million("3e-06") == 3_000_000_000
    assert nano_usd_per_million("8.75e-09") == 8_750_000
    assert nano_usd_per_million("0.06") == 60_000_000_000_000
    for wrong in ("1e-16", "-1e-06"):
        with pytest.raises(ValueError, match="no whole number"):
            nano_usd_per_million(wrong)


def test_a_row_becomes_a_card_with_tiers_and_step() -> None:
    row = {
        "mode": "chat",
        "input_cost_per_token": "1e-06",
        "input_cost_per_token_batches": "5e-07",
        "input_cost_per_token_above_200k_tokens": "2e-06",
        "input_cost_per_token_above_200k_tokens_priority": "4e-06",
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": "3e-06",
        "input_cost_per_token_somehow": "9e-06",
        "search_context_cost_per_query": "0.01",
    }
    assert card_of(row) == {
        "tiers": {"default": {"input": 1_000_000_000}, "batch": {"input": 500_000_000}},
        "above": 200_000,
        "step": {
            "default": {"input": 2_000_000_000, "cache_write_1h": 3_000_000_000},
            "priority": {"input": 4_000_000_000},
        },
    }


@pytest.mark.parametrize(
    "row",
    [
        {"mode": "chat"},
        {"mode": "chat", "input_cost_per_token": "0", "output_cost_per_token": "0"},
        {"mode": "chat", "input_cost_per_video_per_second": "0.0005", "output_cost_per_token": "7.5e-06"},
        {"mode": "embedding", "input_cost_per_query": "0.00007", "output_cost_per_token": "0"},
    ],
)
def test_what_the_record_does_not_count_gets_no_card(row: dict[str, str]) -> None:
    assert card_of(row) is None


# --- history


def test_changed_prices_begin_on_the_day_of_the_list_and_the_old_ones_stay() -> None:
    old, new = {"mode": "chat", "input_cost_per_token": "2e-06"}, {"mode": "chat", "input_cost_per_token": "1e-06"}
    first = upstream.merged({}, {"a.b": old, "a.c": old}, "2026-11-25")
    assert first == {"a.b": {"1970-01-01": old}, "a.c": {"1970-01-01": old}}
    second = upstream.merged(first, {"a.b": new, "a.d": new}, "2026-12-01")
    assert second == {
        "a.b": {"1970-01-01": old, "2026-12-01": new},
        "a.c": {"1970-01-01": old},
        "a.d": {"1970-01-01": new},
    }
    assert upstream.merged(second, {"a.b": new, "a.d": new}, "2026-12-01") == second
    assert upstream.merged(second, {"a.b": new, "a.d": new}, "2026-12-09") == second

    book = book_of({"rows": second, "day": "2026-12-01", "licence": "", **dict.fromkeys(SOURCE, "")}, [])
    begin_ms = 1_796_083_200_000
    assert [(card["from_ms"], card["tiers"]["default"]["input"]) for card in book["cards"]["a.b"]["list"]] == [
        (0, 2_000_000_000),
        (begin_ms, 1_000_000_000),
    ]
    assert [card["from_ms"] for card in book["cards"]["a.d"]["list"]] == [0]
    assert read_book(generate.text_of(book).encode()).cards["a.b"]["list"][1].from_ms == begin_ms


SOURCE = ("version", "wheel_sha256", "file", "file_sha256")


def test_a_version_is_of_the_content() -> None:
    versions = set()
    for price in ("1e-06", "2e-06"):
        rows = {"a.b": {"1970-01-01": {"mode": "chat", "input_cost_per_token": price}}}
        versions.add(
            book_of({"rows": rows, "day": "2026-12-01", "licence": "", **dict.fromkeys(SOURCE, "")}, [])["version"]
        )
    assert len(versions) == 2


# --- corrections and completion


def test_every_correction_says_why_and_from_where() -> None:
    corrections = json.loads(generate.CORRECTIONS.read_text(encoding="utf-8"))
    assert len({one["id"] for one in corrections}) == len(corrections)
    for one in corrections:
        assert one["why"]
        assert one["source"]
        assert one["confidence"]


def test_a_correction_that_has_outlived_its_cause_stops_the_making() -> None:
    price = {"tiers": {"default": {"input": 2}}}
    outlived: list[dict[str, Any]] = [
        {"do": "list-is-global", "models": ["a.b"]},
        {"do": "set", "model": "a.b", "scopes": ["us"], "prices": {"default": {"input": "1"}}},
    ]
    for correction in outlived:
        with pytest.raises(ValueError, match=r"not below|has such a card"):
            correct({"a.b": {"list": price, "us": price}}, correction)
    rows = {"a.b": {"1970-01-01": {"mode": "chat", "input_cost_per_token": "1e-06"}}}
    misplaced: list[dict[str, Any]] = [
        {"id": "x", "do": "drop", "model": "a.b", "scope": "us"},
        {"id": "x", "do": "assume", "models": ["a.c"], "codes": ["one-request"]},
        {"id": "x", "do": "hope"},
    ]
    for correction in misplaced:
        with pytest.raises(ValueError, match="correction x no longer fits"):
            snapshot(rows, "2026-12-01", [correction])


def test_a_card_takes_from_a_neighbour_with_the_same_prices_only() -> None:
    def card(price: int, **tiers: dict[str, int]) -> dict[str, Any]:
        return {"tiers": {"default": {"input": price, "output": price}, **tiers}}

    scopes = {"list": card(1, flex={"input": 5}), "us": card(1), "eu": card(2)}
    complete(scopes)
    assert scopes["us"]["tiers"]["flex"] == {"input": 5}
    assert "flex" not in scopes["eu"]["tiers"]

    contradicting = {"list": card(1, flex={"input": 5}), "us": card(1), "jp": card(1, flex={"input": 6})}
    complete(contradicting)
    assert "flex" not in contradicting["us"]["tiers"]
    assert contradicting["jp"]["tiers"]["flex"] == {"input": 6}
