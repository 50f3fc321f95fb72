"""Application inference profiles in Bedrock's control plane, and the service quota that bounds them: ``ControlPlane``.

How many requests a second the control plane takes is not documented, so nothing is assumed: each throttle doubles the
pause before every further request, each success shortens it. botocore's own retries are off, so that there is one place
that decides; a creation whose answer got lost is looked for by its name before it is sent again.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from botocore.config import Config

from bedrock_meter.errors import ProfileQuotaFull, ProfileRefused
from bedrock_meter.storage.dynamodb import AWS_ERRORS, client, error_code, failure_name, is_passing
from bedrock_meter.tenants.profiles import InferenceProfile

ATTEMPTS = 9
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 8.0
PAGE = 1000
QUOTA_CODE = "L-40EC9882"
"""Service quota "Inference profiles per account" of each Region (AWS General Reference)."""

_CONFIG = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 1})
_THROTTLES = frozenset({"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})
_APPLICATION = ":application-inference-profile/"
_NOT_FOUND = "ResourceNotFoundException"
_REFUSALS = frozenset(
    {"AccessDeniedException", "ConflictException", "TooManyTagsException", "ValidationException", _NOT_FOUND}
)

T = TypeVar("T")


def control_plane_client() -> Any:
    """Return a client of Bedrock's control plane that does not retry by itself."""
    return client("bedrock", _CONFIG)


def service_quotas_client() -> Any:
    """Return a client of Service Quotas that does not retry by itself."""
    return client("service-quotas", _CONFIG)


class Pace:
    """Sends requests no faster than the service lets them through.

    Args:
        sleep: Waits for seconds.
        may_wait: Whether there is time to wait for that many seconds; a function with an end says no.
    """

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        may_wait: Callable[[float], bool] = lambda seconds: True,
    ) -> None:
        self._sleep = sleep
        self._may_wait = may_wait
        self.gap_s = 0.0
        self.throttles = 0

    def send(self, call: Callable[[], T], *, lost: Callable[[], T | None] = lambda: None) -> T:
        """Send a request until it is answered, at most nine times; the last failure is raised.

        Args:
            call: The request.
            lost: Asked after a failure that may have been a success; what it returns is the answer.
        """
        for attempt in range(ATTEMPTS):
            if self.gap_s:
                self._sleep(self.gap_s)
            try:
                answer = call()
            except AWS_ERRORS as error:
                is_throttle = error_code(error) in _THROTTLES
                pause_s = random.uniform(0.5, 1) * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
                if not (is_throttle or is_passing(error)) or attempt == ATTEMPTS - 1 or not self._may_wait(pause_s):
                    raise
                if is_throttle:
                    self.throttles += 1
                    self.gap_s = min(2.0, max(0.05, 2 * self.gap_s))
                self._sleep(pause_s)
                if not is_throttle and (found := lost()) is not None:
                    return found
            else:
                self.gap_s = self.gap_s * 0.9 if self.gap_s > 0.01 else 0.0
                return answer
        raise AssertionError("the last attempt returns or raises")


class BedrockControlPlane:
    """See ``ControlPlane`` for what each call promises."""

    def __init__(self, bedrock: Any, pace: Pace) -> None:
        self._bedrock = bedrock
        self._pace = pace

    def application_profiles(self) -> Iterator[InferenceProfile]:
        """Yield all application profiles.

        Without ``typeEquals`` Bedrock would list the system's only; an emulator that ignores it lists both kinds.
        """
        request: dict[str, Any] = {"typeEquals": "APPLICATION", "maxResults": PAGE}
        while True:
            page = self._pace.send(lambda: self._bedrock.list_inference_profiles(**request))
            for summary in page.get("inferenceProfileSummaries", []):
                if _APPLICATION in summary["inferenceProfileArn"]:
                    yield _profile(summary)
            if not page.get("nextToken"):
                return
            request["nextToken"] = page["nextToken"]

    def profile(self, identifier: str) -> InferenceProfile | None:
        """Return one profile by its id, which is what every endpoint understands, or None."""
        try:
            answer = self._pace.send(lambda: self._bedrock.get_inference_profile(inferenceProfileIdentifier=identifier))
        except AWS_ERRORS as error:
            if error_code(error) == _NOT_FOUND:
                return None
            raise
        return _profile(answer)

    def tags(self, arn: str) -> Mapping[str, str] | None:
        """Return the tags of a profile, or None if it is gone."""
        try:
            answer = self._pace.send(lambda: self._bedrock.list_tags_for_resource(resourceARN=arn))
        except AWS_ERRORS as error:
            if error_code(error) == _NOT_FOUND:
                return None
            raise
        return {tag["key"]: tag["value"] for tag in answer.get("tags", [])}

    def create(self, name: str, source: str, tags: Mapping[str, str], token: str) -> InferenceProfile:
        """Make a profile, under a token: sent twice, it is made once."""
        request = {
            "inferenceProfileName": name,
            "modelSource": {"copyFrom": source},
            "clientRequestToken": token,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }

        def make() -> InferenceProfile:
            arn = self._bedrock.create_inference_profile(**request)["inferenceProfileArn"]
            return InferenceProfile(arn.rpartition("/")[2], arn, name, (source,))

        def already_made() -> InferenceProfile | None:
            return next((one for one in self.application_profiles() if one.name == name), None)

        try:
            return self._pace.send(make, lost=already_made)
        except AWS_ERRORS as error:
            code = error_code(error)
            said = getattr(error, "response", {}).get("Error", {}).get("Message", "")
            if code == "ServiceQuotaExceededException":
                raise ProfileQuotaFull(
                    f"the service quota of inference profiles in this Region is used up ({said}): ask for more"
                    f" (Service Quotas, bedrock, {QUOTA_CODE}) or delete profiles, then run this again"
                ) from error
            if code in _REFUSALS:
                raise ProfileRefused(f"Bedrock refuses a profile from {source}: {code}: {said}") from error
            raise

    def delete(self, identifier: str) -> bool:
        """Delete a profile; False if it was gone already."""
        try:
            self._pace.send(lambda: self._bedrock.delete_inference_profile(inferenceProfileIdentifier=identifier))
        except AWS_ERRORS as error:
            if error_code(error) == _NOT_FOUND:
                return False
            raise
        return True


class ServiceQuota:
    """How many inference profiles the account may have in this Region, as Service Quotas says."""

    def __init__(self, quotas: Any, pace: Pace) -> None:
        self._quotas = quotas
        self._pace = pace

    def maximum(self) -> tuple[int | None, str]:
        """Return (the quota, empty) or (None, why it cannot be read).

        The applied quota; where none is kept for this account, the default one of AWS.
        """
        request = {"ServiceCode": "bedrock", "QuotaCode": QUOTA_CODE}
        try:
            try:
                answer = self._pace.send(lambda: self._quotas.get_service_quota(**request))
            except AWS_ERRORS as error:
                if error_code(error) != "NoSuchResourceException":
                    raise
                answer = self._pace.send(lambda: self._quotas.get_aws_default_service_quota(**request))
        except AWS_ERRORS as error:
            return None, failure_name(error)
        value = answer.get("Quota", {}).get("Value")
        return (int(value), "") if value is not None else (None, "no value in the answer")


def _profile(answer: Mapping[str, Any]) -> InferenceProfile:
    arn = answer["inferenceProfileArn"]
    models = tuple(model.get("modelArn", "") for model in answer.get("models", []))
    return InferenceProfile(arn.rpartition("/")[2], arn, answer.get("inferenceProfileName", ""), models)
