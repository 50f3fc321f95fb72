import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.client import Amounts
from bedrock_meter.client.usage import METRICS, of_document, of_event, of_headers


def chunk(document: Any) -> dict[str, Any]:
    return {"chunk": {"bytes": json.dumps(document).encode()}}


def test_converse() -> None:
    usage = {"inputTokens": 3, "outputTokens": 52, "totalTokens": 24_534, "cacheWriteInputTokens": 24_479}
    assert of_document(usage) == Amounts(1, 3, 52, 0, 24_479, unsaid=frozenset({"cache_read_tokens"}))
    assert of_event({"metadata": {"usage": usage}}) == of_document(usage)


def test_headers() -> None:
    headers = {
        "x-amzn-bedrock-input-token-count": "3",
        "x-amzn-bedrock-output-token-count": "52",
        "x-amzn-bedrock-cache-read-input-token-count": "7",
        "x-amzn-bedrock-cache-write-input-token-count": "9",
    }
    assert of_headers(headers) == Amounts(1, 3, 52, 7, 9)


def test_what_an_answer_does_not_count_is_not_told_as_nothing() -> None:
    """What is told is what is held afterwards: a kind that is told as 0 is given back."""
    found = of_headers({"x-amzn-bedrock-input-token-count": "3"})
    assert found is not None
    assert found.usage() == {"requests": 1, "input_tokens": 3}
    counted = of_document({"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 0})
    assert counted is not None
    assert counted.usage() == {"requests": 1, "input_tokens": 3, "output_tokens": 5, "cache_read_tokens": 0}


def test_the_last_chunk() -> None:
    metrics = {"inputTokenCount": 3, "outputTokenCount": 52, "cacheReadInputTokenCount": 7, "firstByteLatency": 1}
    assert of_event(chunk({"type": "message_stop", METRICS: metrics})) == Amounts(
        1, 3, 52, 7, unsaid=frozenset({"cache_write_tokens"})
    )


@pytest.mark.parametrize(
    "usage", [None, [], "x", {}, {"inputTokens": -1}, {"inputTokens": True}, {"outputTokens": 1.5}]
)
def test_what_is_no_usage(usage: Any) -> None:
    assert of_document(usage) is None
    assert of_event({"metadata": {"usage": usage}}) is None
    assert of_event(chunk({METRICS: usage})) is None


@pytest.mark.parametrize("value", ["", "-1", "1.5", "٣", "x"])
def test_what_is_no_count(value: str) -> None:
    assert of_headers({"x-amzn-bedrock-input-token-count": value}) is None


def test_the_models_own_words_are_no_count() -> None:
    said = f'{{"{METRICS}": {{"inputTokenCount": 9}}}}'
    assert of_event(chunk({"delta": {"text": said}})) is None
    assert of_event({"chunk": {"bytes": f"not JSON, but {METRICS}".encode()}}) is None
    assert of_event(chunk([{METRICS: {"inputTokenCount": 9}}])) is None


@given(st.dictionaries(st.sampled_from(["metadata", "chunk", "x"]), st.none() | st.binary() | st.dictionaries(
    st.sampled_from(["usage", "bytes"]), st.none() | st.binary() | st.integers()
).filter(lambda one: isinstance(one.get("bytes", b""), bytes))))  # fmt: skip
def test_any_event_is_looked_at_without_an_error(event: dict[str, Any]) -> None:
    of_event(event)
