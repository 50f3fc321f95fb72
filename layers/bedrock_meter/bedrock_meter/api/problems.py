"""Errors of the HTTP API as RFC 9457 problem documents.

The same answer for a tenant that does not exist and for one that the caller may not see: an API that tells them
apart lists tenants.
"""

import json
from typing import Any

from aws_lambda_powertools.event_handler import Response

CONTENT_TYPE = "application/problem+json"
FOREIGN_PROFILE = "urn:bedrock-meter:foreign-profile"
TENANT_BUSY = "urn:bedrock-meter:tenant-busy"
TOO_MANY_OPEN = "urn:bedrock-meter:too-many-open"
TRY_AGAIN = {"Retry-After": "1"}


class Problem(Exception):
    """Ends a request with a problem document.

    Attributes:
        status: HTTP status.
        type: A URI that clients tell this kind of problem by; ``about:blank`` where the status says enough.
        title: The kind of problem, the same for all its occurrences.
        detail: What happened here and what to do. Never holds what the request held, but names of its fields.
        headers: Further headers.
        members: Extension members.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        type: str = "about:blank",
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def response(self) -> Response:  # type: ignore[type-arg]
        """Return the answer."""
        document = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(self.status, CONTENT_TYPE, json.dumps(document), headers=headers)


def invalid(field: str, problem: str) -> Problem:
    """Return the problem of a value that cannot be taken.

    Args:
        field: Where it is: the name of a query parameter, or a path such as ``estimate.input_tokens``.
        problem: What would be right. Does not repeat the value: it may be a prompt.
    """
    return Problem(400, "Invalid request", f"{field}: {problem}", field=field)


def tenant_not_found() -> Problem:
    """Return the answer for every tenant that the caller cannot see."""
    return Problem(404, "Tenant not found", "There is no such tenant, or it is not yours to see.")


def foreign_profile() -> Problem:
    """Return the answer for a call that names another tenant's profile: its usage would be counted there."""
    return Problem(
        403,
        "Foreign profile",
        "The profile that is named belongs to another tenant. Name a profile of this tenant, or its model.",
        type=FOREIGN_PROFILE,
    )


def too_many_open(tenant: str, most: int, retry_after_s: int) -> Problem:
    """Return the answer for a tenant that has as many reservations open as one may have."""
    return Problem(
        429,
        "Too many open reservations",
        f"The tenant has {most} reservations open, and may have no more. Settle or release those whose calls are over,"
        " reserve for less time, or take one lease for many calls.",
        type=TOO_MANY_OPEN,
        headers={"Retry-After": str(retry_after_s)},
        tenant=tenant,
        retry_after_seconds=retry_after_s,
    )


def unavailable(detail: str) -> Problem:
    """Return the answer when the storage cannot be asked."""
    return Problem(503, "Storage unavailable", detail, headers=TRY_AGAIN)
