"""Objects of the invocation log in S3: opened as streams, and the queue that says which ones there are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bedrock_meter.invocations.objects import LogObject
from bedrock_meter.invocations.parser import Location

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class OpenedObject:
    """An object that can be read.

    Attributes:
        version: Its ETag: the same content has the same one.
        content: What is in it.
    """

    version: str
    content: LogObject


class S3LogObjects:
    """Opens objects. A connection that breaks in the middle raises, and never looks like the end of an object."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = cache(connect)

    def open(self, bucket: str, key: str) -> OpenedObject:
        """Begin to read one object."""
        found = self._connect().get_object(Bucket=bucket, Key=key)
        chunks = found["Body"].iter_chunks(_CHUNK_BYTES)
        return OpenedObject(found["ETag"], LogObject(Location(bucket, key), chunks))


class SQSLater:
    """Puts what is left of an object back into the queue that it came from."""

    def __init__(self, connect: Callable[[], Any], queue_url: str) -> None:
        self._connect = cache(connect)
        self._queue_url = queue_url

    def send(self, body: str) -> None:
        """Queue a message."""
        self._connect().send_message(QueueUrl=self._queue_url, MessageBody=body)
