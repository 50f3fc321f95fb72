"""Errors of the HTTP API as RFC 9457 problem documents.

The same answer for a tenant that does not exist and for one that the caller may not see: an API that tells them
apart lists tenants.
"""

import json
from typing import Any

from aws_lambda_powertools.event_handler import Response

CONTENT_TYPE = "application/problem+json"


def problem(status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> Response:  # type: ignore[type-arg]
    """Return a problem document.

    Args:
        status: HTTP status.
        title: The kind of problem, the same for all its occurrences.
        detail: What happened here and what to do.
        headers: Further headers.
        members: Extension members.
    """
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return Response(status_code=status, content_type=CONTENT_TYPE, body=json.dumps(body), headers=headers or {})


def tenant_not_found() -> Response:  # type: ignore[type-arg]
    """Return the answer for every tenant that the caller cannot see."""
    return problem(404, "Tenant not found", "There is no such tenant, or it is not yours to see.")
