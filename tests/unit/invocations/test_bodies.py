"""What a body says about its price: read at fixed places, checked against the record's own counts, never kept."""

import json
from typing import Any

import pytest
from msgspec import Raw

from bedrock_meter.invocations.bodies import NO_BODY, UNKNOWN, details_of
from tests.unit.invocations.messages import counts, invocation, record, text


def output(body: Any, tokens: int = 5) -> dict[str, Any]:
    return {"outputTokenCount": tokens, "outputBodyJson": body}


def converse(*details: tuple[object, object], **other: Any) -> dict[str, Any]:
    usage = {"inputTokens": 10, "cacheDetails": [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in details]}
    return {"output": {"message": {"content": [{"text": "CANARY"}]}}, "usage": usage, **other}


def anthropic(short: object, hour: object) -> dict[str, Any]:
    creation = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": hour}
    return {"type": "message", "usage": {"input_tokens": 10, "cache_creation": creation}}


def of(body: object, *, written: int = 100, tokens: int = 5) -> Any:
    return invocation(record(input=counts(cacheWriteInputTokenCount=written), output=output(body, tokens)))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(converse(("5m", 60), ("1h", 40)), id="Converse"),
        pytest.param(converse(("1h", 15), ("5m", 60), ("1h", 25)), id="several entries of one kind add up"),
        pytest.param(anthropic(60, 40), id="Anthropic InvokeModel"),
        pytest.param(
            [{"type": "message_start", "message": anthropic(60, 40)}, {"type": "message_stop"}, "[DONE]"],
            id="Anthropic chunks",
        ),
        pytest.param(
            [{"messageStart": {"role": "assistant"}}, {"metadata": converse(("5m", 60), ("1h", 40))}],
            id="Converse chunks",
        ),
        pytest.param([{"message": anthropic(60, 40)}, anthropic(60, 40)], id="said twice, the same"),
        pytest.param([{"message": anthropic(0, 1)}, anthropic(60, 40)], id="a first guess that does not add up"),
    ],
)
def test_the_hour_part_of_cache_writes_is_read_where_its_structure_has_it(body: object) -> None:
    assert of(body).cache_write_1h == 40


def test_no_hour_part_is_a_known_nothing() -> None:
    assert of(converse(("5m", 100))).cache_write_1h == 0
    assert of(anthropic(100, 0)).cache_write_1h == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(converse(("5m", 60), ("1h", 41)), id="adds up to more than the record's count"),
        pytest.param(anthropic(60, 39), id="adds up to less"),
        pytest.param(converse(("5m", 60), ("24h", 40)), id="a lifetime that nobody knows"),
        pytest.param(converse(("5m", 140), ("1h", -40)), id="a negative part"),
        pytest.param(anthropic(-40, 140), id="a negative part of Anthropic's"),
        pytest.param(converse(("5m", "60"), ("1h", 40)), id="text for a number"),
        pytest.param(converse(("5m", 60.0), ("1h", 40)), id="a fraction"),
        pytest.param(anthropic(True, 99), id="true for a number"),
        pytest.param({"usage": {"cacheDetails": {}}}, id="no list"),
        pytest.param({"usage": [converse(("1h", 100))]}, id="usage is a list"),
        pytest.param([anthropic(60, 40), {"message": anthropic(40, 60)}], id="two that contradict each other"),
        pytest.param({"output": converse(("5m", 60), ("1h", 40))}, id="at another place"),
        pytest.param({"content": [{"input": anthropic(60, 40)}]}, id="in a tool's arguments"),
        pytest.param(json.dumps(converse(("5m", 60), ("1h", 40))), id="JSON in a text"),
        pytest.param({"usage": {"inputTokens": 10}}, id="not said"),
        pytest.param([[converse(("5m", 60), ("1h", 40))]], id="a list in the list"),
    ],
)
def test_what_is_absent_odd_or_in_contradiction_is_unknown_and_rejects_nothing(body: object) -> None:
    read = of(body)
    assert read.cache_write_1h is None
    assert read.tokens.cache_write == 100


def test_without_cache_writes_there_is_nothing_to_split() -> None:
    assert of(converse(("5m", 0), ("1h", 0)), written=0).cache_write_1h is None


@pytest.mark.parametrize("tier", ["default", "flex", "priority", "reserved"])
def test_the_tier_of_converse_is_read(tier: str) -> None:
    assert of(converse(serviceTier={"type": tier})).tier == tier
    assert of([{"metadata": {"serviceTier": {"type": tier}}}]).tier == tier


@pytest.mark.parametrize(
    "body",
    [
        converse(serviceTier="flex"),
        converse(serviceTier={"type": "gold"}),
        converse(serviceTier={"type": None}),
        converse(serviceTier={}),
        {"output": {"serviceTier": {"type": "flex"}}},
        {"output": {"message": {"content": [{"text": '"serviceTier":{"type":"flex"}'}]}}},
        {"service_tier": "flex"},
        converse(),
    ],
)
def test_any_other_tier_is_unknown(body: object) -> None:
    assert of(body).tier is None


@pytest.mark.parametrize(
    ("body", "images"),
    [
        pytest.param({"images": ["aGk=", "aGk="]}, 2, id="Amazon and Stability"),
        pytest.param({"images": ["aGk=", None], "finish_reasons": [None, "Filter reason: prompt"]}, 1, id="withheld"),
        pytest.param({"images": []}, 0, id="none made"),
        pytest.param({"artifacts": [{"base64": "aGk="}]}, 1, id="older Stability"),
        pytest.param({"images": 3}, None, id="no list"),
        pytest.param({"result": {"images": ["aGk="]}}, None, id="at another place"),
    ],
)
def test_images_are_counted_where_the_answer_has_no_tokens(body: object, images: int | None) -> None:
    assert of(body, written=0, tokens=0).images == images
    assert of(body, written=0, tokens=7).images is None


def test_a_key_that_is_repeated_counts_last_and_escapes_make_it_unknown() -> None:
    flex = '{"serviceTier":{"type":"priority"},"serviceTier":{"type":"flex"}}'
    assert details_of(Raw(flex.encode()), cache_write=0, output_tokens=1).tier == "flex"
    hidden = rb'{"service\u0054ier":{"type":"flex"}}'
    assert details_of(Raw(hidden), cache_write=0, output_tokens=1) == UNKNOWN


def test_no_body_says_nothing() -> None:
    assert details_of(NO_BODY, cache_write=9, output_tokens=0) == UNKNOWN
    assert of(None).tier is None


@pytest.mark.parametrize("ascii_only", [True, False])
def test_characters_and_half_characters_around_it_do_no_harm(ascii_only: bool) -> None:
    body = converse(("5m", 60), ("1h", 40), serviceTier={"type": "flex"}, note="é\ud83d" if ascii_only else "é漢")
    value = record(input=counts(cacheWriteInputTokenCount=100), output=output(body))
    read = invocation(text(value, ascii_only=ascii_only))
    assert (read.cache_write_1h, read.tier) == (40, "flex")


def test_nothing_of_a_body_is_kept() -> None:
    assert "CANARY" not in repr(of(converse(("5m", 60), ("1h", 40), serviceTier={"type": "CANARY"})))
