"""What a call used, read from Bedrock's answer: only to hold less until the log says it. It is never counted.

Where the counts stand:

* ``Converse``: member ``usage`` of the answer; ``ConverseStream``: the same in the event ``metadata``, its last.
* ``InvokeModel``: response headers; they are in no service model, and not every model's answer has them.
* ``InvokeModelWithResponseStream``: ``amazon-bedrock-invocationMetrics`` of the last chunk.

An answer without counts is no error: the reservation then holds its estimate until the log settles it. So it is with
each count by itself: one that is missing is *unsaid*, and not 0.
"""

import json
from collections.abc import Mapping
from typing import Any

from bedrock_meter.client.quota import Amounts

METRICS = "amazon-bedrock-invocationMetrics"

_KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_IN_DOCUMENTS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_IN_HEADERS = (
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
)
_IN_CHUNKS = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")


def of_document(usage: object) -> Amounts | None:
    """Read Converse's ``usage`` (``TokenUsage`` of the service model)."""
    return _amounts(usage, _IN_DOCUMENTS)


def of_headers(headers: Mapping[str, str]) -> Amounts | None:
    """Read InvokeModel's response headers; names in lower case, as botocore gives them."""
    found = {name: int(value) for name in _IN_HEADERS if (value := headers.get(name, "")).isascii() and value.isdigit()}
    return _amounts(found, _IN_HEADERS)


def of_event(event: Mapping[str, Any]) -> Amounts | None:
    """Read an event of a stream; None for every event but the one that says what was used.

    The model's own text may hold the name of the metrics: what is read is the chunk's top level, not its text.
    """
    metadata = event.get("metadata")
    if isinstance(metadata, Mapping):
        return of_document(metadata.get("usage"))
    content = event.get("chunk", {}).get("bytes", b"") if isinstance(event.get("chunk"), Mapping) else b""
    if METRICS.encode() not in content:
        return None
    try:
        chunk = json.loads(content)
    except ValueError:
        return None
    return _amounts(chunk.get(METRICS), _IN_CHUNKS) if isinstance(chunk, dict) else None


def _amounts(source: object, names: tuple[str, str, str, str]) -> Amounts | None:
    """Return the counts under four names, in the order of ``_KINDS``; None without any of the first two."""
    if not isinstance(source, Mapping):
        return None
    counts = [source.get(name) for name in names]
    whole = [one if isinstance(one, int) and not isinstance(one, bool) and one >= 0 else None for one in counts]
    if whole[0] is None and whole[1] is None:
        return None
    unsaid = frozenset(kind for kind, count in zip(_KINDS, whole, strict=True) if count is None)
    return Amounts(1, *(one or 0 for one in whole), unsaid=unsaid)
