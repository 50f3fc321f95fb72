"""Deliveries that Lambda gave up on, as it leaves them in the failure bucket.

Lambda names them ``aws/lambda/async/<function>/<yyyy>/<mm>/<dd>/<time>-<uuid>`` and writes ``requestContext`` with the
function's ARN and ``requestPayload`` with the event (AWS Lambda Developer Guide, "Capturing records of Lambda
asynchronous invocations").

Attempts are counted in a tag of the object: a tag leaves content and age alone, so that the object still expires when
the operator said. Two runs at once may count one attempt instead of two, which only means one more try. Parked
objects move to ``aws/lambda/parked/``, which the same rule of expiry covers, from the day on which they were parked.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, is_passing
from bedrock_meter.usage.redrive import Failure

WAITING_PREFIX = "aws/lambda/async/"
PARKED_PREFIX = "aws/lambda/parked/"
ATTEMPTS_TAG = "attempts"

_PAGE = 1_000
_GONE_CODES = frozenset({"NoSuchKey", "404"})


class S3FailureStore:
    """``FailureStore`` of one function in one bucket."""

    def __init__(self, connect: Callable[[], Any], bucket: str, function: str) -> None:
        self._connect = cache(connect)
        self._bucket = bucket
        self._prefix = f"{WAITING_PREFIX}{function}/"

    def waiting(self, maximum: int) -> Sequence[Failure]:
        """List the oldest first: names begin with the day."""
        page = self._connect().list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=min(maximum, _PAGE))
        return [Failure(one["Key"], one["Size"]) for one in page.get("Contents", [])]

    def read(self, failure: Failure) -> bytes | None:
        """Return the content, None if it is gone."""
        found = self._unless_gone(lambda s3: s3.get_object(Bucket=self._bucket, Key=failure.key))
        if found is None:
            return None
        with found["Body"] as body:
            return bytes(body.read())

    def delete(self, failure: Failure) -> None:
        """Remove it; one that is gone stays gone."""
        self._connect().delete_object(Bucket=self._bucket, Key=failure.key)

    def attempt(self, failure: Failure) -> int | None:
        """Add one to the tag; None if the object is gone."""
        found = self._unless_gone(lambda s3: s3.get_object_tagging(Bucket=self._bucket, Key=failure.key))
        if found is None:
            return None
        tags = {tag["Key"]: tag["Value"] for tag in found["TagSet"]}
        held = tags.get(ATTEMPTS_TAG, "")
        attempts = 1 + (int(held) if held.isascii() and held.isdigit() else 0)
        return attempts if self._tag(failure, attempts) else None

    def attempted(self, failure: Failure, attempts: int) -> None:
        """Write the tag anew."""
        self._tag(failure, attempts)

    def park(self, failure: Failure, reason: str) -> None:
        """Copy it under the other prefix, then delete it here; a crash in between leaves both, and parks it again."""
        parked = PARKED_PREFIX + failure.key.removeprefix(WAITING_PREFIX)
        copied = self._unless_gone(
            lambda s3: s3.copy_object(
                Bucket=self._bucket,
                Key=parked,
                CopySource={"Bucket": self._bucket, "Key": failure.key},
                Metadata={"reason": reason},
                MetadataDirective="REPLACE",
                TaggingDirective="REPLACE",
            )
        )
        if copied is not None:
            self.delete(failure)

    def is_passing(self, error: Exception) -> bool:
        """See ``storage.dynamodb``."""
        return is_passing(error)

    def _tag(self, failure: Failure, attempts: int) -> bool:
        tagging = {"TagSet": [{"Key": ATTEMPTS_TAG, "Value": str(attempts)}]}
        target = {"Bucket": self._bucket, "Key": failure.key}
        return self._unless_gone(lambda s3: s3.put_object_tagging(**target, Tagging=tagging)) is not None

    def _unless_gone(self, request: Callable[[Any], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return request(self._connect())
        except AWS_ERRORS as error:
            if error_code(error) in _GONE_CODES:
                return None
            raise
