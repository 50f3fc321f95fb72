"""One application inference profile, as Bedrock's control plane tells it: ``ProfileLookup``.

Asked as everybody else asks (``inference_profiles.py``), but once and for a second or two, because a delivery waits.
Client and reader are loaded by the first question: the service model is large, and most environments never ask.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, failure_name, session
from bedrock_meter.tenants.lookup import FoundProfile, LookupFailed

if TYPE_CHECKING:
    from bedrock_meter.storage.inference_profiles import BedrockControlPlane

_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
_APPLICATION = ":application-inference-profile/"


def bedrock_client() -> Any:
    """Return a client that does not keep a delivery waiting."""
    return session().create_client("bedrock", config=_CONFIG)


class BedrockProfileLookup:
    """``ProfileLookup`` over ``GetInferenceProfile`` and ``ListTagsForResource``."""

    def __init__(self, client: Callable[[], Any] = bedrock_client) -> None:
        self._new_client = client
        self._control: BedrockControlPlane | None = None

    def look_up(self, profile: str) -> FoundProfile | None:
        """Return the profile with its tags; see ``ProfileLookup.look_up``."""
        from bedrock_meter.tenants.profiles import route_of

        control = self._control = self._control or self._asking_once()
        try:
            found = control.profile(profile)
            tags = control.tags(found.arn) if found is not None and _APPLICATION in found.arn else None
        except AWS_ERRORS as error:
            if error_code(error) == "ValidationException":
                return None
            raise LookupFailed(failure_name(error)) from error
        if found is None or tags is None:
            return None
        route = route_of(found.models)
        return FoundProfile(tags, route.model, route.routing, route.geography)

    def _asking_once(self) -> "BedrockControlPlane":
        from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace

        return BedrockControlPlane(self._new_client(), Pace(may_wait=lambda _: False))
