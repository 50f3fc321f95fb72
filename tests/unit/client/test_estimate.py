import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.api import estimates
from bedrock_meter.client import Amounts, bodies, estimate
from bedrock_meter.client.estimate import (
    AGENT_INPUT_TOKENS,
    IMAGE_TOKENS,
    MARGIN_TOKENS,
    MEDIA_TOKENS,
    OUTPUT_TOKENS,
    TOOL_MARGIN_TOKENS,
)


def converse(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"modelId": "m", "messages": [{"role": "user", "content": [{"text": text}]}], **more}


def test_the_output_is_reserved_in_full() -> None:
    assert estimate("Converse", converse(inferenceConfig={"maxTokens": 7})).output_tokens == 7
    assert estimate("ConverseStream", converse()).output_tokens == OUTPUT_TOKENS
    both = converse(inferenceConfig={"maxTokens": 7}, additionalModelRequestFields={"max_tokens": 900})
    assert estimate("Converse", both).output_tokens == 900


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 77},
        {"max_gen_len": 77},
        {"textGenerationConfig": {"maxTokenCount": 77}},
        {"inferenceConfig": {"maxTokens": 77}},
        {"max_completion_tokens": 77, "max_tokens": 5},
    ],
)
def test_each_providers_maximum_is_known(body: dict[str, Any]) -> None:
    assert estimate("InvokeModel", {"modelId": "m", "body": json.dumps(body).encode()}).output_tokens == 77
    assert estimate("InvokeModel", {"modelId": "m", "body": json.dumps(body)}).output_tokens == 77


def test_embeddings_write_nothing() -> None:
    found = estimate("InvokeModel", {"modelId": "amazon.titan-embed-text-v2:0", "body": b'{"inputText": "hello"}'})
    assert found.output_tokens == 0
    assert found.input_tokens > 0
    assert (
        estimate("InvokeModel", {"modelId": "cohere.rerank-v3-5:0", "body": b'{"query": "hello"}'}).output_tokens == 0
    )


CACHE_POINT = {"cachePoint": {"type": "default"}}
CONTROLLED = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "params",
    [
        converse(system=[{"text": "long"}, CACHE_POINT]),
        converse(toolConfig={"tools": [CACHE_POINT]}),
        {"messages": [{"role": "user", "content": [{"text": "long"}, CACHE_POINT]}]},
        {"messages": [{"role": "user", "content": [{"toolResult": {"content": [{"text": "x"}, CACHE_POINT]}}]}]},
        converse(additionalModelRequestFields={"tools": [CONTROLLED]}),
    ],
)
def test_a_cache_point_makes_the_kind_of_what_is_read_unknown(params: dict[str, Any]) -> None:
    assert estimate("Converse", params).may_cache
    assert estimate("ConverseStream", params).estimate()["may_cache"] is True
    assert "may_cache" not in estimate("Converse", converse("cachePoint and cache_control")).estimate()


@pytest.mark.parametrize(
    ("body", "may_cache"),
    [
        ({"system": [CONTROLLED]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}, "cache_control": {}}]}]}, True),
        ({"tools": [{"name": "t", "cache_control": {"type": "ephemeral"}}]}, True),
        ({"system": [CACHE_POINT]}, True),
        ({"messages": [{"role": "user", "content": "cache_control"}]}, False),
        ({"cache_control": None}, False),
    ],
)
def test_a_cache_point_in_a_body(body: dict[str, Any], may_cache: bool) -> None:
    assert estimate("InvokeModel", {"modelId": "m", "body": json.dumps(body)}).may_cache is may_cache


def test_a_cache_point_in_a_body_that_is_no_json() -> None:
    assert estimate("InvokeModel", {"modelId": "m", "body": b"{'cache_control'"}).may_cache


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "cat"}, "imageGenerationConfig": {}}, 1),
        ({"taskType": "TEXT_IMAGE", "imageGenerationConfig": {"numberOfImages": 5, "height": 512}}, 5),
        ({"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {"image": "aGk="}}, 1),
        ({"prompt": "a cat", "mode": "text-to-image", "aspect_ratio": "1:1"}, 1),
        ({"text_prompts": [{"text": "a cat"}], "samples": 3}, 3),
        ({"prompt": "a cat", "max_gen_len": 5}, 0),
        ({"messages": []}, 0),
    ],
)
def test_pictures_that_a_body_asks_for(body: dict[str, Any], images: int) -> None:
    found = estimate("InvokeModel", {"modelId": "m", "body": json.dumps(body)})
    assert found.images == images
    assert found.estimate().get("images", 0) == images


@pytest.mark.parametrize(
    ("operation", "params", "tier"),
    [
        ("Converse", converse(serviceTier={"type": "priority"}), "priority"),
        ("ConverseStream", converse(), None),
        ("InvokeModel", {"serviceTier": "flex", "body": b"{}"}, "flex"),
        ("InvokeModelWithResponseStream", {"body": io.BytesIO(b'{"service_tier": "priority"}')}, "priority"),
        ("InvokeModel", {"body": b'{"prompt": "service_tier"}'}, None),
        ("InvokeModel", {"body": b'{"service_tier": 7}'}, None),
        ("InvokeModel", {"serviceTier": "flex", "body": b'{"service_tier": "priority"}'}, "flex"),
        ("RetrieveAndGenerate", {"input": {"text": "x"}}, None),
    ],
)
def test_the_service_tier_that_a_call_asks_for(operation: str, params: dict[str, Any], tier: str | None) -> None:
    assert bodies.tier_of(operation, params) == tier


class OneWay(io.RawIOBase):
    """A body that can be read once."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("what botocore has to send was taken away")


def test_a_file_is_read_from_where_it_stands_and_put_back_there(tmp_path: Path) -> None:
    content = json.dumps({"max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}).encode()
    expected = estimate("InvokeModel", {"modelId": "m", "body": content})
    assert expected.output_tokens == 5
    path = tmp_path / "body"
    path.write_bytes(b"read already " + content)
    with path.open("rb") as file, path.open(encoding="utf-8") as text:
        for body in (io.BytesIO(b"read already " + content), file, text):
            body.read(13)
            stood = body.tell()
            assert estimate("InvokeModel", {"modelId": "m", "body": body}) == expected
            assert body.tell() == stood


def test_a_file_that_cannot_be_looked_at_may_hold_anything(tmp_path: Path) -> None:
    unknown = Amounts(1, MEDIA_TOKENS, OUTPUT_TOKENS, may_cache=True)
    with (tmp_path / "sparse").open("wb+") as huge:
        huge.truncate(bodies.MAXIMUM_BYTES + 1)
        assert estimate("InvokeModel", {"modelId": "m", "body": huge}) == unknown
        assert huge.tell() == 0
    closed = io.BytesIO(b"{}")
    closed.close()
    for body in (OneWay(), closed, 7):
        assert estimate("InvokeModel", {"modelId": "m", "body": body}) == unknown
    assert not estimate("InvokeModel", {"modelId": "amazon.titan-embed-text-v2:0", "body": OneWay()}).may_cache


def test_a_body_that_is_no_json_counts_by_its_bytes() -> None:
    found = estimate("InvokeModel", {"modelId": "m", "body": b"\xff" * 100})
    assert found == Amounts(1, MARGIN_TOKENS + 100, OUTPUT_TOKENS)


def test_media_count_by_kind_and_not_by_size() -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"x" * 900_000}}}
    document = {"document": {"format": "pdf", "name": "d", "source": {"s3Location": {"uri": "s3://b/k"}}}}
    few = estimate("Converse", {"messages": [{"role": "user", "content": [image, document]}]})
    none = estimate("Converse", {"messages": [{"role": "user", "content": []}]})
    assert 0 <= few.input_tokens - none.input_tokens - (IMAGE_TOKENS + MEDIA_TOKENS) < 200
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"x" * 90_000).decode()}
    body = {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}
    assert estimate("InvokeModel", {"modelId": "m", "body": json.dumps(body)}).input_tokens < IMAGE_TOKENS + 300


@pytest.mark.parametrize("name", ["image", "document", "video", "audio"])
def test_the_text_in_what_looks_like_a_medium_counts(name: str) -> None:
    """A tool may return JSON whose names are those of media; a document may be sent as text."""
    text = "word " * 40_000
    result = {"toolResult": {"toolUseId": "t", "content": [{"json": {name: {"about": [{"said": text}]}}}]}}
    assert estimate("Converse", {"messages": [{"role": "user", "content": [result]}]}).input_tokens > len(text)
    block = {name: {"name": "d", "source": {"text": text}}}
    assert estimate("Converse", {"messages": [{"role": "user", "content": [block]}]}).input_tokens > len(text)


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 77, "n": 3},
        {"max_tokens": 77, "num_generations": 3},
        {"maxTokens": 77, "numResults": 3},
        {"max_tokens": 77, "n": 2, "best_of": 3},
    ],
)
def test_each_answer_that_is_asked_for_may_take_the_whole_output(body: dict[str, Any]) -> None:
    asked = {**body, "prompt": "hello"}
    assert estimate("InvokeModel", {"modelId": "m", "body": json.dumps(asked)}).output_tokens == 231
    more = {key: value for key, value in body.items() if key not in ("max_tokens", "maxTokens")}
    params = converse(inferenceConfig={"maxTokens": 77}, additionalModelRequestFields=more)
    assert estimate("Converse", params).output_tokens == 231


def test_tools_are_explained_to_the_model() -> None:
    tools = {"tools": [{"toolSpec": {"name": "n", "inputSchema": {"json": {"type": "object"}}}}]}
    with_tools = estimate("Converse", converse(toolConfig=tools))
    assert with_tools.input_tokens - estimate("Converse", converse()).input_tokens > TOOL_MARGIN_TOKENS - MARGIN_TOKENS


def test_the_margins_are_those_of_the_quota_api() -> None:
    assert (MARGIN_TOKENS, TOOL_MARGIN_TOKENS) == (estimates.MARGIN_TOKENS, estimates.TOOL_MARGIN_TOKENS)


FIELDS: list[dict[str, Any]] = [
    {"maxTokenCount": 900},
    {"max_new_tokens": 900},
    {"inferenceConfig": {"max_new_tokens": 900}},
    {"textGenerationConfig": {"maxTokenCount": 900}},
    {"n": 3, "max_tokens": 300},
    {"num_generations": 9, "max_tokens": 100},
    {"cache_control": {"type": "ephemeral"}},
]


@pytest.mark.parametrize("more", FIELDS)
def test_the_quota_api_finds_in_a_body_what_the_guard_finds(more: dict[str, Any]) -> None:
    request = converse(inferenceConfig={"maxTokens": 100}, additionalModelRequestFields=more)
    guards = estimate("Converse", request)
    apis = estimates.from_converse({name: part for name, part in request.items() if name != "modelId"}, 1_000)
    assert (apis["output_tokens"], "may_cache" in apis) == (guards.output_tokens, guards.may_cache)
    assert apis["output_tokens"] == (100 if "cache_control" in more else 900)


def test_agents_add_to_the_question() -> None:
    found = estimate("InvokeInlineAgent", {"foundationModel": "m", "inputText": "why"})
    assert found.input_tokens > AGENT_INPUT_TOKENS + 3
    assert found.output_tokens == OUTPUT_TOKENS


def test_who_knows_better_says_how_many_bytes_a_token_has() -> None:
    text = "word " * 10_000
    bound = estimate("Converse", converse(text)).input_tokens
    guess = estimate("Converse", converse(text), bytes_per_token=4).input_tokens
    assert bound > 50_000
    assert guess < bound / 3


TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_the_bytes_of_the_request_bound_its_tokens(content: Any) -> None:
    """As the quota API bounds the same request: a token per byte of its JSON."""
    params = {"additionalModelRequestFields": {"x": content}}
    text = json.dumps(params, ensure_ascii=False, separators=(",", ":"))
    assert estimate("Converse", params).input_tokens >= len(text.encode()) + MARGIN_TOKENS


@given(JSON, JSON)
def test_more_is_never_estimated_lower(content: Any, more: Any) -> None:
    less = estimate("Converse", {"messages": [content]}).input_tokens
    assert estimate("Converse", {"messages": [content, more]}).input_tokens >= less


@given(st.binary() | st.text())
def test_any_body_is_estimated(body: bytes | str) -> None:
    assert estimate("InvokeModel", {"modelId": "m", "body": body}).requests == 1
