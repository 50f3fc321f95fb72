"""One application inference profile, as Bedrock's control plane tells it: ``ProfileLookup``.

The client is made when the first question is asked: its service model is large, and most environments never ask. It
waits for a second or two and tries once, because a delivery waits for it.
"""

from collections.abc import Callable
from typing import Any

from botocore.config import Config

from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, session
from bedrock_meter.tenants.lookup import FoundProfile, LookupFailed, resolve_model

_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
_NO_SUCH = frozenset({"ResourceNotFoundException", "ValidationException"})
_APPLICATION = "APPLICATION"


def bedrock_client() -> Any:
    """Return a client that does not keep a delivery waiting."""
    return session().create_client("bedrock", config=_CONFIG)


class BedrockProfileLookup:
    """``ProfileLookup`` over ``GetInferenceProfile`` and ``ListTagsForResource``."""

    def __init__(self, client: Callable[[], Any] = bedrock_client) -> None:
        self._new_client = client
        self._client: Any = None

    def look_up(self, profile: str) -> FoundProfile | None:
        """Return the profile with its tags; see ``ProfileLookup.look_up``."""
        if self._client is None:
            self._client = self._new_client()
        try:
            found = self._client.get_inference_profile(inferenceProfileIdentifier=profile)
            if found.get("type") != _APPLICATION:
                return None
            tags = self._client.list_tags_for_resource(resourceARN=found["inferenceProfileArn"])["tags"]
        except AWS_ERRORS as error:
            if error_code(error) in _NO_SUCH:
                return None
            raise LookupFailed(error_code(error) or type(error).__name__) from error
        model, routing = resolve_model([str(one.get("modelArn", "")) for one in found.get("models", [])])
        return FoundProfile({str(tag["key"]): str(tag["value"]) for tag in tags}, model, routing)
