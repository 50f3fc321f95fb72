"""The operations that the guard knows: where each names its model, where metadata go, where its usage stands.

Parameters are never changed in place below their top level: what is nested belongs to the caller.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bedrock_meter.client.errors import InvalidMetadata

MAXIMUM_METADATA = 16
"""Entries of a request's metadata (service model of bedrock-runtime)."""

METADATA_HEADER = "X-Amzn-Bedrock-Request-Metadata"

_RAG = "retrieveAndGenerateConfiguration"
_RAG_KINDS = {"KNOWLEDGE_BASE": "knowledgeBaseConfiguration", "EXTERNAL_SOURCES": "externalSourcesConfiguration"}
"""By ``type`` of the configuration, which says which of them Bedrock uses."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the service model.

    Attributes:
        metadata: ``map`` as in Converse, ``json`` for the text that InvokeModel puts into a header, None where the
            operation takes none.
        stream: Member of the answer that is an event stream with usage in it; None if there is none.
        usage: Whether the answer can say what was used: in its document, its headers or its stream.
    """

    metadata: Literal["map", "json"] | None
    stream: str | None = None
    usage: Literal["document", "headers", "stream"] | None = None


RUNTIME = {
    "Converse": Operation("map", usage="document"),
    "ConverseStream": Operation("map", stream="stream", usage="stream"),
    "InvokeModel": Operation("json", usage="headers"),
    "InvokeModelWithResponseStream": Operation("json", stream="body", usage="stream"),
}
AGENT_RUNTIME = {
    "RetrieveAndGenerate": Operation(None),
    "RetrieveAndGenerateStream": Operation(None),
    "InvokeInlineAgent": Operation(None),
}
GUARDED: Mapping[str, Mapping[str, Operation]] = {
    "bedrock-runtime": RUNTIME,
    "bedrock-agent-runtime": AGENT_RUNTIME,
}
"""By service, then by operation. Whatever is not here passes a guarded client untouched."""


def model_of(operation: str, params: Mapping[str, Any]) -> str | None:
    """Return the model identifier that a call names, None if it names none."""
    if operation in RUNTIME:
        return params.get("modelId")
    if operation == "InvokeInlineAgent":
        return params.get("foundationModel")
    configuration = params.get(_RAG) or {}
    return (configuration.get(_rag_kind(configuration)) or {}).get("modelArn")


def use_profile(operation: str, params: dict[str, Any], profile: str, input_shape: Any) -> bool:
    """Make the call go through a profile; False where the operation's own model refuses one.

    ``InvokeInlineAgent`` does: the pattern of its ``foundationModel`` allows system-defined profiles and no application
    profiles (botocore 1.44.5). The pattern of the installed botocore is asked, so that the day it allows them, they
    are used.
    """
    if operation in RUNTIME:
        params["modelId"] = profile
    elif operation == "InvokeInlineAgent":
        if not _allows(input_shape.members["foundationModel"], profile):
            return False
        params["foundationModel"] = profile
    else:
        configuration = params.get(_RAG) or {}
        kind = _rag_kind(configuration)
        if "modelArn" not in (configuration.get(kind) or {}):
            return False
        params[_RAG] = {**configuration, kind: {**configuration[kind], "modelArn": profile}}
    return True


def add_metadata(
    operation: Operation, params: dict[str, Any], entries: Mapping[str, str], *, known: bool
) -> str | None:
    """Write entries beside the caller's own into a call's request metadata.

    Args:
        operation: The call's.
        params: Its parameters; gets a new ``requestMetadata``, the caller's object stays as it is.
        entries: What has to travel.
        known: Whether the installed botocore's model has the member.

    Returns:
        The text that has to become a header of the request, where botocore has no parameter for it; else None.

    Raises:
        InvalidMetadata: See ``own_metadata``, or there would be more than 16 entries.
    """
    if operation.metadata is None or not entries:
        return None
    merged = {**own_metadata(operation, params), **entries}
    if len(merged) > MAXIMUM_METADATA:
        raise InvalidMetadata(
            f"Bedrock takes {MAXIMUM_METADATA} entries of request metadata, and {len(entries)} of them "
            f"{'is' if len(entries) == 1 else 'are'} the guard's: pass at most {MAXIMUM_METADATA - len(entries)} of "
            f"your own (there are {len(merged) - len(entries)})"
        )
    if operation.metadata == "map":
        params["requestMetadata"] = merged
        return None
    text = json.dumps(merged, separators=(",", ":"))
    if not known:
        return text
    params["requestMetadata"] = text
    return None


def own_metadata(operation: Operation, params: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the metadata that the caller passed.

    Raises:
        InvalidMetadata: They are no JSON object of texts, as InvokeModel wants them.
    """
    given = params.get("requestMetadata")
    if operation.metadata == "json" and isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = given or None
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str) for pair in given.items() for one in pair):
        raise InvalidMetadata('requestMetadata must be a JSON object of texts, for example \'{"team": "search"}\'')
    return given


def _rag_kind(configuration: Mapping[str, Any]) -> str:
    """Return the member that Bedrock uses; a type that is not known is that of the first one that is there."""
    there = next((kind for kind in _RAG_KINDS.values() if configuration.get(kind)), _RAG)
    return _RAG_KINDS.get(str(configuration.get("type")), there)


def _allows(shape: Any, value: str) -> bool:
    pattern = shape.metadata.get("pattern")
    try:
        return pattern is None or re.fullmatch(pattern, value) is not None
    except re.error:
        return False
