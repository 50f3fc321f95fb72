"""Answers that are documents, and never anybody's copy: what was true a second ago is not what is asked for."""

import json
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response

NOT_KEPT = {"Cache-Control": "no-store"}


def json_answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # type: ignore[type-arg]
    """Return a document as JSON that no cache keeps.

    Args:
        document: What is answered.
        status: HTTP status.
        headers: Further headers.
    """
    return Response(status, "application/json", json.dumps(document), headers={**NOT_KEPT, **(headers or {})})


def no_content() -> Response:  # type: ignore[type-arg]
    """Return the answer to what is done and has nothing to show: 204."""
    return Response(204, None, "", headers=dict(NOT_KEPT))
