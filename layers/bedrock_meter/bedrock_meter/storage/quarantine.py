"""Quarantine in the failure bucket: a small document for each rejected record, under a name that follows from it."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from bedrock_meter.invocations.quarantine import Rejected, object_key, to_document
from bedrock_meter.storage.dynamodb import AWS_ERRORS, is_passing


class S3Quarantine:
    """``Quarantine`` under the prefix ``quarantine/`` of one bucket.

    Connects when the first record is rejected: an S3 client costs as much CPU as the rest of a cold start.
    """

    def __init__(self, connect: Callable[[], Any], bucket: str) -> None:
        self._connect = cache(connect)
        self._bucket = bucket

    def keep(self, rejected: Rejected, now_ms: int) -> bool:
        """Write the document; the same record again writes the same object."""
        try:
            self._connect().put_object(
                Bucket=self._bucket,
                Key=object_key(rejected, now_ms),
                Body=json.dumps(to_document(rejected, now_ms), indent=1).encode(),
                ContentType="application/json",
            )
        except AWS_ERRORS as error:
            if is_passing(error):
                return False
            raise
        return True
