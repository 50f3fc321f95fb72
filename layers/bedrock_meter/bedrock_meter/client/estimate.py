"""What a call may use at most, from its parameters alone. Numbers leave the process, the prompt does not.

A token of a byte-level vocabulary stands for at least one byte, so the bytes of a text bound its tokens,
about four times too high for English (the quota API bounds a Converse body in the same way); the output is bounded by
what the caller allows the model to write, and reserved in full; what is held too much is given back as soon as the
answer says what was used.

Unconfirmed: that the vocabularies of all models are byte-level, and that providers add no more than the margins. Bytes
do not bound media: what is taken for them is an assumption. Who knows better gives the guard an estimator of their own,
or ``functools.partial(estimate, bytes_per_token=3)``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bedrock_meter.client.bodies import content_of, document_of
from bedrock_meter.client.quota import Amounts

Estimator = Callable[[str, Mapping[str, Any]], Amounts]
"""From an operation's name, such as ``Converse``, and its parameters. Called once a call, in the caller's thread."""

MARGIN_TOKENS = 64
TOOL_MARGIN_TOKENS = 1_024
"""What a provider's template may add around the messages, and in order to explain tools to the model."""

OUTPUT_TOKENS = 4_096
"""Reserved where the call sets no maximum: the model's own may be higher. Set one, and the reservation is a bound."""

IMAGE_TOKENS = 5_000
MEDIA_TOKENS = 50_000
"""A picture; a document, video or sound, whose tokens its size does not tell. Texts inside of it count as texts."""

AGENT_INPUT_TOKENS = 8_000
"""What a knowledge base or an agent adds to the question: passages, instructions, its own steps."""

_CONVERSE_INPUT = (
    "messages",
    "system",
    "toolConfig",
    "promptVariables",
    "additionalModelRequestFields",
    "outputConfig",
)
_TOOLS = ("toolConfig", "outputConfig", "tools")
_MAXIMA = frozenset(
    {
        "maxTokenCount",
        "maxTokens",
        "max_completion_tokens",
        "max_gen_len",
        "max_new_tokens",
        "max_tokens",
        "max_tokens_to_sample",
    }
)
_SETTINGS = ("inferenceConfig", "textGenerationConfig", "additionalModelRequestFields")
_MEDIA = ("document", "video", "audio")
_CONTENT = ("bytes", "data")
"""Members that hold the content of a medium, in its block."""

_ANSWERS = ("n", "num_generations", "numResults", "best_of")
"""How many answers a provider's body asks for, each of the whole output."""
_CACHE_POINTS = ("cachePoint", "cache_control")
"""Converse's block, and the member of Anthropic's bodies: what is read may be written to a cache, or come from one."""

_WRITES_NOTHING = ("embed", "rerank")
"""Part of the name of a model that writes no text."""

_PICTURE_SETTINGS = ("aspect_ratio", "mode", "output_format")
"""Beside ``prompt``, in the bodies of Stability's models."""


def estimate(operation: str, params: Mapping[str, Any], *, bytes_per_token: int = 1) -> Amounts:
    """Return upper bounds for one call of any operation that the guard knows.

    Args:
        operation: Name of the operation, such as ``Converse``.
        params: Its parameters.
        bytes_per_token: How many bytes of text a token stands for at least; above 1 it is a guess and no bound.
    """
    if operation in {"Converse", "ConverseStream"}:
        content: Any = {name: params[name] for name in _CONVERSE_INPUT if name in params}
        return _bound(content, _maximum(params), bytes_per_token)
    if operation in {"InvokeModel", "InvokeModelWithResponseStream"}:
        return _of_body(params.get("body"), str(params.get("modelId", "")), bytes_per_token)
    question = _bound(params.get("input") or params.get("inputText"), _anywhere(params), bytes_per_token)
    return replace(question, input_tokens=AGENT_INPUT_TOKENS + question.input_tokens)


def _of_body(body: object, model_id: str, bytes_per_token: int) -> Amounts:
    """Bound a provider's own request body. One that cannot be looked at may hold anything, a cache point too."""
    default = 0 if any(word in model_id for word in _WRITES_NOTHING) else OUTPUT_TOKENS
    content = content_of(body)
    if content is None:
        return Amounts(1, MEDIA_TOKENS, default, may_cache=default > 0)
    document = document_of(content)
    if document is None:
        may_cache = any(name.encode() in content for name in _CACHE_POINTS)
        return Amounts(1, MARGIN_TOKENS + -(-len(content) // bytes_per_token), default, may_cache=may_cache)
    maximum = _maximum(document) if isinstance(document, dict) else None
    bound = _bound(document, default if maximum is None else maximum, bytes_per_token)
    return replace(bound, images=_pictures(document) if isinstance(document, dict) else 0)


def _pictures(body: Mapping[str, Any]) -> int:
    """Return how many pictures a request body asks a model to make; 0 where it asks for text."""
    settings = body.get("imageGenerationConfig")
    if isinstance(settings, Mapping):
        return max(1, _count(settings.get("numberOfImages")) or 1)
    if isinstance(body.get("text_prompts"), list):
        return max(1, _count(body.get("samples")) or 1)
    is_picture = isinstance(body.get("prompt"), str) and any(name in body for name in _PICTURE_SETTINGS)
    return 1 if is_picture or body.get("taskType") == "BACKGROUND_REMOVAL" else 0


def _bound(content: object, maximum: int | None, bytes_per_token: int) -> Amounts:
    size, media, may_cache = _size(content)
    explained = isinstance(content, Mapping) and any(content.get(name) for name in _TOOLS)
    read = -(-size // bytes_per_token) + media + (TOOL_MARGIN_TOKENS if explained else MARGIN_TOKENS)
    written = (OUTPUT_TOKENS if maximum is None else maximum) * _answers(content)
    return Amounts(1, read, written, may_cache=may_cache)


def _maximum(document: Mapping[str, Any]) -> int | None:
    """Return the largest maximum of output that a request sets, at its top or in its settings."""
    found = [count for name in _MAXIMA if (count := _count(document.get(name))) is not None]
    for name in _SETTINGS:
        if isinstance(inner := document.get(name), Mapping) and (deeper := _maximum(inner)) is not None:
            found.append(deeper)
    return max(found, default=None)


def _answers(content: object) -> int:
    """Return how many answers a request asks for, at its top or among the fields that Converse passes on."""
    if not isinstance(content, Mapping):
        return 1
    places = [content, content.get("additionalModelRequestFields")]
    counts = [_count(place.get(name)) or 1 for place in places if isinstance(place, Mapping) for name in _ANSWERS]
    return max(counts)


def _anywhere(params: object) -> int | None:
    """Return the largest maximum of output anywhere in a request: agents and knowledge bases hold it deep inside."""
    found, waiting = [], [params]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            found += [count for name in _MAXIMA if (count := _count(one.get(name))) is not None]
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
    return max(found, default=None)


def _size(content: object) -> tuple[int, int, bool]:
    """Return (bytes of text, tokens of media, whether there is a cache point); names and punctuation count as text.

    A block that looks like a medium may be JSON of the caller's own, such as what a tool returned: it counts as the
    medium and as its text.
    """
    size, media, may_cache = 0, 0, False
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        one, is_inside = waiting.pop()
        if isinstance(one, str):
            size += _length(one) + 3
        elif isinstance(one, Mapping):
            may_cache = may_cache or any(one.get(name) is not None for name in _CACHE_POINTS)
            if (tokens := _media_tokens(one)) is not None:
                media += tokens
                is_inside = True
            size += 3
            waiting.extend((name, False) for name in one)
            waiting.extend((part, is_inside) for name, part in one.items() if not (is_inside and name in _CONTENT))
        elif isinstance(one, list | tuple):
            size += 3
            waiting.extend((part, is_inside) for part in one)
        elif isinstance(one, bytes | bytearray):
            media += MEDIA_TOKENS
        else:
            size += len(str(one)) + 2
    return size, media, may_cache


def _media_tokens(block: Mapping[str, Any]) -> int | None:
    """Tokens of a content block that is a medium, None if it is none: Converse's blocks, and base64 in bodies."""
    if isinstance(block.get("image"), Mapping):
        return IMAGE_TOKENS
    if any(isinstance(block.get(name), Mapping) for name in _MEDIA):
        return MEDIA_TOKENS
    if block.get("type") == "base64" and isinstance(block.get("data"), str):
        return IMAGE_TOKENS if str(block.get("media_type", "")).startswith("image/") else MEDIA_TOKENS
    return None


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
