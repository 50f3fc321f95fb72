"""How much a call may use: stated, or bounded by the bytes of a Converse body."""

import json
from typing import Any

import pytest

from bedrock_meter.api.estimates import MARGIN_TOKENS, TOOL_MARGIN_TOKENS, from_converse, stated
from bedrock_meter.api.problems import Problem


def converse(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = blocks or ({"text": "Hello"},)
    return {
        "messages": [{"role": "user", "content": list(content)}],
        "inferenceConfig": {"maxTokens": 500},
        **more,
    }


def field_of(document: Any) -> str:
    with pytest.raises(Problem) as found:
        from_converse(document, 10)
    assert found.value.status == 400
    return str(found.value.members["field"])


def test_a_stated_estimate() -> None:
    assert stated({"input_tokens": 7, "cost_usd": "0.01"}, "e") == {
        "requests": 1,
        "input_tokens": 7,
        "cost_nano_usd": 10_000_000,
    }
    assert stated({"output_tokens": 0}, "usage", is_usage=True) == {"output_tokens": 0}


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"tokens": 1}, {"input_tokens": -1}, {"input_tokens": 1.0}, {"input_tokens": True},
        {"input_tokens": "1"}, {"input_tokens": 2**53 + 1}, {"cost_usd": 0.01}, {"cost_usd": "-1"},
        {"cost_usd": "1e9"}, {"cost_usd": "1000001"}, {"cost_usd": "NaN"}, {"cost_usd": ""}, {"cost_usd": "9" * 100},
    ],
)  # fmt: skip
def test_an_estimate_is_read_strictly(document: Any) -> None:
    with pytest.raises(Problem) as found:
        stated(document, "estimate")
    assert found.value.members["field"].startswith("estimate")


def test_bytes_bound_the_input_and_max_tokens_the_output() -> None:
    found = from_converse(converse(), 120)
    assert found == {"requests": 1, "input_tokens": 120 + MARGIN_TOKENS, "output_tokens": 500}


@pytest.mark.parametrize("text", ["a" * 300, "漢字" * 50, "🙂" * 40, '\n\t"\\' * 30, "a b " * 60])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_the_bytes_of_json_are_never_fewer_than_those_of_the_text(text: str, is_ascii: bool) -> None:
    body = converse({"text": text})
    size = len(json.dumps(body, ensure_ascii=is_ascii, separators=(",", ":")).encode())
    assert from_converse(body, size)["input_tokens"] > len(text.encode())


def test_tools_get_a_larger_margin() -> None:
    tools = converse(toolConfig={"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"image": {}}}}}]})
    assert from_converse(tools, 100)["input_tokens"] == 100 + TOOL_MARGIN_TOKENS


def test_the_largest_bound_of_the_output_counts() -> None:
    assert from_converse(converse(additionalModelRequestFields={"max_tokens": 900}), 1)["output_tokens"] == 900
    assert from_converse(converse(additionalModelRequestFields={"max_tokens": 9}), 1)["output_tokens"] == 500


def test_what_nothing_bounds_is_refused_and_the_caller_told_what_to_do() -> None:
    assert field_of(converse(inferenceConfig={})) == "converse.inferenceConfig.maxTokens"
    assert field_of(converse(inferenceConfig=None)) == "converse.inferenceConfig.maxTokens"
    assert field_of(converse(promptVariables={"a": {"text": "b"}})) == "converse.promptVariables"
    for kind in ("image", "document", "video", "audio"):
        assert field_of(converse({kind: {"source": {"bytes": "AAAA"}}})) == "converse.messages"
    assert field_of(converse({"toolResult": {"content": [{"image": {}}]}})) == "converse.messages"
    assert field_of(converse(system=[{"guardContent": {"image": {}}}])) == "converse.messages"


def test_names_inside_the_callers_own_json_are_no_media() -> None:
    blocks = ({"toolUse": {"name": "t", "input": {"image": 1}}}, {"toolResult": {"content": [{"json": {"video": 1}}]}})
    assert from_converse(converse(*blocks), 10)["output_tokens"] == 500


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "converse"),
        ([], "converse"),
        ({}, "converse.messages"),
        ({"messages": {}}, "converse.messages"),
        ({"messages": []}, "converse.messages"),
        (converse(modelId="m"), "converse"),
        (converse(inferenceConfig={"maxTokens": 0}), "converse.inferenceConfig.maxTokens"),
        (converse(inferenceConfig={"maxTokens": "1"}), "converse.inferenceConfig.maxTokens"),
        (
            converse(additionalModelRequestFields={"max_tokens": 1.5}),
            "converse.additionalModelRequestFields.max_tokens",
        ),
    ],
)
def test_a_converse_body_is_read_strictly(document: Any, field: str) -> None:
    assert field_of(document) == field


def test_depth_is_no_danger() -> None:
    deep: Any = {"text": "x"}
    for _ in range(50_000):
        deep = [deep]
    assert from_converse(converse(deep), 10)["output_tokens"] == 500
