"""How much a call may use, before it is made: stated by the caller, or bounded by the request that is about to be sent.

Three facts: a token of a byte-level vocabulary stands for at least one byte, so the bytes of a Converse body, names and
braces included, are an upper bound of the tokens of its text, cheap and about four times too high for English;
``maxTokens`` is reserved in full, since nothing else bounds the output; what bytes do not bound (images, documents,
video, audio, stored prompts) is refused, and its caller states the tokens. That vocabularies of all models are
byte-level, and that providers add less than the margins below, is unconfirmed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_meter.api.problems import invalid
from bedrock_meter.api.requests import MAX_COUNT, refuse_unknown, whole_number
from bedrock_meter.money import NANO, parse_usd

STATED = "stated"
FROM_BYTES = "converse-bytes"

TOKEN_KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
KINDS = ("requests", *TOKEN_KINDS, "images", "cost_usd")
MAY_CACHE = "may_cache"
MAX_ANSWERS = 1_000
MAX_COST_NANO_USD = 1_000_000 * NANO

MARGIN_TOKENS = 64
"""What a provider's template may add around the messages."""

TOOL_MARGIN_TOKENS = 1_024
"""What a provider may add in order to explain tools or a form of output to the model."""

_CONVERSE = frozenset(
    {
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
        "promptVariables",
    }
)
_MEDIA = ("image", "document", "video", "audio")
_CACHE = ("cachePoint", "cache_control")
_ANY_JSON = ("input", "json")
"""Members of tool blocks that hold JSON of the caller's own: text to a model, whatever its names are."""

_EXPLAINED = ("toolConfig", "outputConfig")
_TOKEN_LIMITS = (
    "maxTokenCount",
    "max_tokens",
    "maxTokens",
    "max_new_tokens",
    "max_gen_len",
    "max_tokens_to_sample",
    "max_completion_tokens",
)
_SETTINGS = ("inferenceConfig", "textGenerationConfig")
"""Where a provider's own fields may set a limit as well."""

_ANSWERS = ("n", "num_generations", "numResults", "best_of")
"""How many answers a provider's own fields ask for, each of the whole output."""

Estimate = dict[str, int]
"""Amounts by kind: ``requests``, the kinds of tokens, ``images``, ``cost_nano_usd``. Kinds of which nothing is said are
missing. ``may_cache`` is a flag: the input tokens may turn out to be of any kind that is read.
"""


def stated(document: object, where: str, *, is_usage: bool = False) -> Estimate:
    """Read an estimate, or the usage of a settlement, as the caller states it.

    Args:
        document: ``{"requests"?, "input_tokens"?, ..., "cost_usd"?}``, whole numbers; dollars as decimal text; an
            estimate may say ``"may_cache": true``.
        where: Path to it.
        is_usage: Whether it is what was used: then nothing has a default, and zeros are fine.

    Raises:
        Problem: 400, says which value is wrong.
    """
    if not isinstance(document, dict):
        raise invalid(where, "must be an object")
    refuse_unknown(where, document, KINDS if is_usage else (*KINDS, MAY_CACHE))
    found: Estimate = {}
    for kind in ("requests", *TOKEN_KINDS, "images"):
        if kind in document:
            found[kind] = whole_number(f"{where}.{kind}", document[kind], 0, MAX_COUNT)
    if "cost_usd" in document:
        found["cost_nano_usd"] = _nano_usd(f"{where}.cost_usd", document["cost_usd"])
    if not found:
        raise invalid(where, f"must say at least one of {', '.join(KINDS)}")
    if not is_usage:
        found.setdefault("requests", 1)
        if not any(found.values()):
            raise invalid(where, "asks for nothing: leave requests out, or say an amount above 0")
        if MAY_CACHE in document:
            if not isinstance(document[MAY_CACHE], bool):
                raise invalid(f"{where}.{MAY_CACHE}", "must be true or false")
            found[MAY_CACHE] = document[MAY_CACHE]
    return found


def from_converse(body: object, size_bytes: int, where: str = "converse") -> Estimate:
    """Bound a call by the body of its Converse request.

    Args:
        body: The request without ``modelId``.
        size_bytes: Bytes of the JSON text that holds it, or of a longer one: what the bound is made of.
        where: Path to it.

    Raises:
        Problem: 400, it is no Converse request, or nothing bounds it: the caller has to state an estimate instead.
    """
    if not isinstance(body, dict):
        raise invalid(where, "must be an object: a Converse request without modelId")
    refuse_unknown(where, body, _CONVERSE)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid(f"{where}.messages", "must be a list of messages")
    if body.get("promptVariables"):
        raise invalid(f"{where}.promptVariables", "a stored prompt has a length unknown here; send an estimate instead")
    if _holds((messages, body.get("system")), _MEDIA):
        raise invalid(f"{where}.messages", "bytes do not bound the tokens of media; send an estimate instead")
    margin = TOOL_MARGIN_TOKENS if any(body.get(name) for name in _EXPLAINED) else MARGIN_TOKENS
    found = {"requests": 1, "input_tokens": size_bytes + margin, "output_tokens": _output(body, where)}
    may_be_cached = (messages, body.get("system"), body.get("toolConfig"), body.get("additionalModelRequestFields"))
    if _holds(may_be_cached, _CACHE):
        found[MAY_CACHE] = True
    return found


def tier_of(body: Mapping[str, Any], known: Sequence[str], where: str = "converse") -> str | None:
    """Return the service tier that a Converse request asks for; None = it does not say.

    Raises:
        Problem: 400, it is none that is known.
    """
    asked = body.get("serviceTier")
    if asked is None:
        return None
    tier = asked.get("type") if isinstance(asked, dict) else None
    if tier not in known:
        raise invalid(f"{where}.serviceTier.type", f"must be one of {', '.join(known)}")
    return str(tier)


def _output(body: Mapping[str, Any], where: str) -> int:
    configuration = body.get("inferenceConfig")
    field = f"{where}.inferenceConfig.maxTokens"
    limits = []
    if isinstance(configuration, dict) and "maxTokens" in configuration:
        limits.append(whole_number(field, configuration["maxTokens"], 1, MAX_COUNT))
    more = body.get("additionalModelRequestFields")
    answers = 1
    if isinstance(more, dict):
        place = f"{where}.additionalModelRequestFields"
        limits += _limits(more, place)
        for name in _SETTINGS:
            limits += _limits(more.get(name), f"{place}.{name}")
        for name in _ANSWERS:
            if name in more:
                answers = max(answers, whole_number(f"{place}.{name}", more[name], 0, MAX_ANSWERS))
    if not limits:
        raise invalid(field, "is missing, and nothing else bounds the output; set it, or send an estimate instead")
    return max(limits) * answers


def _limits(fields: object, where: str) -> list[int]:
    if not isinstance(fields, dict):
        return []
    return [whole_number(f"{where}.{name}", fields[name], 1, MAX_COUNT) for name in _TOKEN_LIMITS if name in fields]


def _holds(value: object, names: Sequence[str]) -> bool:
    """Whether a block of one of these names is anywhere inside, but for JSON of the caller's own.

    Walks without recursion, for the body is a stranger's.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if any(name in one for name in names):
                return True
            waiting += [part for name, part in one.items() if name not in _ANY_JSON and isinstance(part, dict | list)]
        elif isinstance(one, list | tuple):
            waiting += [part for part in one if isinstance(part, dict | list)]
    return False


def _nano_usd(where: str, value: object) -> int:
    try:
        amount = parse_usd(value) if isinstance(value, str) and len(value) <= 32 else -1
    except ValueError:
        amount = -1
    if not 0 <= amount <= MAX_COST_NANO_USD:
        raise invalid(where, 'must be US dollars as text such as "0.01", at most 1000000')
    return amount
