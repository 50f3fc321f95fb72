"""What only a response's body says and a price depends on: the 1-hour part of cache writes, the service tier, images.

Three facts: a body is read at fixed places of its structure, never searched, so that a prompt, an answer or a tool's
arguments that hold the same keys say nothing; what is not there, not of the expected kind or in contradiction to the
record's own counts is *unknown* (None), never guessed and never a reason to reject the record; and nothing of a body
but three small values leaves this module.

Places (source: botocore's ``TokenUsage`` and ``ServiceTier``; Anthropic's and Amazon's response bodies):

* ``Converse``, ``ConverseStream``: ``usage.cacheDetails[{ttl, inputTokens}]``, ``serviceTier.type``.
* ``InvokeModel``, Anthropic: ``usage.cache_creation{ephemeral_5m_input_tokens, ephemeral_1h_input_tokens}``.
* Streams kept as a list of chunks: the same under a chunk's ``message`` (Anthropic), ``metadata`` (Converse) or itself.
* ``InvokeModel``, image models: one element of ``images`` or ``artifacts`` for each image.

Most bodies say none of it. Whether one may is asked of its bytes before it is decoded: a key that is not in them is not
in the structure. A key in other characters (JSON escapes) is missed, which makes the value unknown and nothing worse.
"""

from typing import Any

import msgspec
from msgspec import Raw

from bedrock_meter.invocations.decoding import decode
from bedrock_meter.invocations.quarantine import Reason

TIERS = frozenset({"default", "flex", "priority", "reserved"})
"""Service tiers that Bedrock names (botocore ``ServiceTierType``)."""

NO_BODY = Raw()
_SPLIT_KEYS = (b'"cacheDetails"', b'"cache_creation"')
_TIER_KEY = b'"serviceTier"'
_IMAGE_KEYS = (b'"images"', b'"artifacts"')


class Details(msgspec.Struct, frozen=True):
    """What a body says beside the record's counts; None = it cannot be told.

    Attributes:
        cache_write_1h: How many of the call's cache-write tokens are written for an hour.
        tier: Service tier that served the call.
        images: Images produced.
    """

    cache_write_1h: int | None = None
    tier: str | None = None
    images: int | None = None


UNKNOWN = Details()


class _Part(msgspec.Struct, rename="camel", gc=False):
    """A body, or a chunk of one, or the part of a chunk that holds the same."""

    usage: Raw = NO_BODY
    service_tier: Raw = NO_BODY
    metadata: Raw = NO_BODY
    message: Raw = NO_BODY
    images: Raw = NO_BODY
    artifacts: Raw = NO_BODY


class _Usage(msgspec.Struct, gc=False):
    cache_details: Raw = msgspec.field(default=NO_BODY, name="cacheDetails")
    cache_creation: Raw = NO_BODY


class _CacheDetail(msgspec.Struct, rename="camel", gc=False):
    ttl: str
    input_tokens: int


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Tier(msgspec.Struct, gc=False):
    type: str


_decode_part = msgspec.json.Decoder(_Part).decode
_decode_parts = msgspec.json.Decoder(list[Raw]).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_details = msgspec.json.Decoder(list[_CacheDetail]).decode
_decode_creation = msgspec.json.Decoder(_CacheCreation).decode
_decode_tier = msgspec.json.Decoder(_Tier).decode
_decode_images = msgspec.json.Decoder(list[Any]).decode


def details_of(body: Raw, *, cache_write: int, output_tokens: int) -> Details:
    """Return what a response's body says about its price.

    Args:
        body: JSON of ``outputBodyJson``; empty where the log holds none.
        cache_write: The record's own count of cache-write tokens; a split that does not add up to it is ignored.
        output_tokens: The record's own count. Images are looked for only where the answer has no tokens.
    """
    content = bytes(body)
    wants_split = cache_write > 0 and any(key in content for key in _SPLIT_KEYS)
    wants_tier = _TIER_KEY in content
    wants_images = output_tokens == 0 and any(key in content for key in _IMAGE_KEYS)
    if not (wants_split or wants_tier or wants_images):
        return UNKNOWN
    parts = _parts(content)
    return Details(
        _agreed([_split(part, cache_write) for part in parts]) if wants_split else None,
        _agreed([_tier(part) for part in parts]) if wants_tier else None,
        _agreed([_images(part) for part in parts]) if wants_images else None,
    )


def _parts(content: bytes) -> list[_Part]:
    """Return the body, or each of its chunks, and what a chunk wraps; nothing where it is neither."""
    chunks = [Raw(content)] if content.lstrip()[:1] == b"{" else _read(_decode_parts, content) or []
    found: list[_Part] = []
    for chunk in chunks:
        part: _Part | None = _read(_decode_part, chunk)
        if part is not None:
            wrapped = [_read(_decode_part, one) for one in (part.metadata, part.message)]
            found += [part, *(one for one in wrapped if one is not None)]
    return found


def _split(part: _Part, cache_write: int) -> int | None:
    """Return the tokens written for an hour, if the part splits all of ``cache_write``."""
    usage: _Usage | None = _read(_decode_usage, part.usage)
    if usage is None:
        return None
    details = _read(_decode_details, usage.cache_details)
    if details is not None:
        if any(one.ttl not in ("5m", "1h") or one.input_tokens < 0 for one in details):
            return None
        hour = sum(one.input_tokens for one in details if one.ttl == "1h")
        return hour if sum(one.input_tokens for one in details) == cache_write else None
    creation = _read(_decode_creation, usage.cache_creation)
    if creation is None:
        return None
    short, hour = creation.ephemeral_5m_input_tokens, creation.ephemeral_1h_input_tokens
    return hour if short >= 0 and hour >= 0 and short + hour == cache_write else None


def _tier(part: _Part) -> str | None:
    tier = _read(_decode_tier, part.service_tier)
    return tier.type if tier is not None and tier.type in TIERS else None


def _images(part: _Part) -> int | None:
    """Return how many images there are; an image that was withheld is null and none."""
    for images in (part.images, part.artifacts):
        found: list[Any] | None = _read(_decode_images, images)
        if found is not None:
            return sum(one is not None for one in found)
    return None


def _agreed(values: list[Any]) -> Any:
    """Return the one value that is said, or None where nothing is or two contradict each other."""
    said = {value for value in values if value is not None}
    return said.pop() if len(said) == 1 else None


def _read(decoder: Any, raw: Raw | bytes) -> Any:
    """Return what a decoder makes of a part, None where it is absent or of another kind."""
    content = bytes(raw)
    if not content:
        return None
    found = decode(decoder, content)
    return None if isinstance(found, Reason) else found
