"""The notes of quarantine in the failure bucket, read with the operator's own rights."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bedrock_meter.reconciliation.notes import Note

PREFIX = "quarantine/"


class S3Notes:
    """Notes under ``quarantine/<yyyy>/<mm>/<dd>/<reason>/``, by the day of their record."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def find(self, *, reason: str | None = None, since_ms: int | None = None) -> Iterator[Note]:
        """Yield notes by day, oldest first.

        Args:
            reason: Of this reason only.
            since_ms: Only of records from this day (UTC) on.
        """
        request = {"Bucket": self._bucket, "Prefix": PREFIX}
        if since_ms is not None:
            request["StartAfter"] = PREFIX + datetime.fromtimestamp(since_ms // 1000, UTC).strftime("%Y/%m/%d/")
        for page in self._s3.get_paginator("list_objects_v2").paginate(**request):
            for found in page.get("Contents", []):
                folders = found["Key"].split("/")
                if len(folders) == 6 and reason in (None, folders[4]):
                    yield self._read(found["Key"])

    def forget(self, note: Note) -> None:
        """Remove a note that says nothing any more."""
        self._s3.delete_object(Bucket=self._bucket, Key=note.key)

    def _read(self, key: str) -> Note:
        with self._s3.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
            document = json.loads(body.read())
        del document["version"]
        return Note(key, **document)
