"""What the routes of the admin API have in common: pages, preconditions, what a change can end with, answers."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.cursors import read_key, refused
from bedrock_meter.api.outage import tenant_busy
from bedrock_meter.api.problems import TRY_AGAIN, Problem, invalid, tenant_not_found, unavailable
from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.clock import iso
from bedrock_meter.errors import (
    InvalidDefinition,
    InvalidPosition,
    LeaseLost,
    PlanUsed,
    UnknownBoost,
    UnknownPlan,
    UnknownTenant,
)
from bedrock_meter.storage.administration import FAILURES, failure_code
from bedrock_meter.tenants.administration import Changed
from bedrock_meter.tenants.audit import AuditEntry

MAX_BODY_BYTES = 65_536
"""A definition is an item of at most 400 KB, and a note about it two more."""

MOST = 200
DEFAULT = 50
_TAGS = re.compile(r'"[\x21\x23-\x7e]{1,64}"(?:\s*,\s*"[\x21\x23-\x7e]{1,64}")*')
_MAX_DETAIL = 500

T = TypeVar("T")


def page_of(api: Resolver, bound_to: Sequence[str], parts: int) -> tuple[int, tuple[str, ...] | None]:
    """Return how many items a list is asked for, and behind which key; ``parts`` is the length of its keys.

    Raises:
        Problem: 400, the number is out of bounds, or the cursor is one of another list than ``bound_to``.
    """
    parameters = query(api.event, ("limit", "cursor"))
    text = parameters.get("limit", str(DEFAULT))
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= MOST:
        raise invalid("limit", f"must be a whole number from 1 to {MOST}")
    cursor = parameters.get("cursor")
    return int(text), None if cursor is None else read_key(cursor, parts, bound_to)


def precondition(event: Mapping[str, Any]) -> Callable[[str | None], bool]:
    """Return what a change was made from, as the request's headers say it.

    Raises:
        Problem: 428, they say nothing; 400, they cannot be understood.
    """
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None and none_match is None:
        if match.strip() == "*":
            return lambda version: version is not None
        if _TAGS.fullmatch(match.strip()):
            tags = {tag.strip().strip('"') for tag in match.split(",")}
            return lambda version: version in tags
        raise invalid("If-Match", 'must be the ETag of an answer, such as "1795000020000-3", or *')
    if none_match is not None and match is None:
        if none_match.strip() == "*":
            return lambda version: version is None
        raise invalid("If-None-Match", "must be *")
    raise Problem(
        428,
        "Precondition required",
        "Send If-Match with the ETag that this change was made from, or If-None-Match: * for what is new.",
    )


def carry_out(
    change: Callable[[], T | None],
    telling: Telling,
    *,
    what: str = "tenant",
    missing: Callable[[], Problem] = tenant_not_found,
) -> T:
    """Carry a change out.

    Args:
        change: Does it; None where it has nothing to change.
        telling: Who is told of a failure of the storage.
        what: What is changed, in a word.
        missing: The answer where it is not there.

    Raises:
        Problem: 400, a value or a cursor is wrong; 404, it is not there; 409, others are changing it, or it is in use;
            412, it is not what the change was made from; 429, the tenant is too busy; 503, the storage fails.
    """
    try:
        made = change()
    except Changed as changed:
        detail = f"The {what} is not in the state that this change was made from. Read it again; nothing was changed."
        raise Problem(412, "Changed meanwhile", detail) from changed
    except InvalidPosition as wrong:
        raise refused() from wrong
    except (UnknownTenant, UnknownPlan) as unknown:
        raise missing() from unknown
    except UnknownBoost as unknown:
        raise boost_not_found() from unknown
    except PlanUsed as used:
        raise Problem(409, "In use", used.problem[:_MAX_DETAIL]) from used
    except InvalidDefinition as wrong:
        where = wrong.where.removeprefix("tenants[0]").lstrip(".")
        where = "body" if where in {"", "plans"} else where
        raise Problem(400, "Invalid request", f"{where}: {wrong.problem}"[:_MAX_DETAIL], field=where) from wrong
    except LeaseLost as lost:
        detail = f"Somebody else is changing this {what}. Send the change again to finish it."
        raise Problem(409, "Being changed", detail, headers=TRY_AGAIN) from lost
    except FAILURES as error:
        storage_down(error, telling)
    if made is None:
        raise missing()
    return made


def boost_not_found() -> Problem:
    """Return the answer for a boost that a tenant has not."""
    return Problem(404, "Boost not found", "The tenant has no such boost.")


def storage_down(error: Exception, telling: Telling) -> NoReturn:
    """Tell of a failure of the storage, and answer it.

    Raises:
        Problem: 429, only this tenant's part of the tables is too busy; 503, the tables cannot be asked.
    """
    busy = tenant_busy(error)
    if busy is not None:
        raise busy from error
    telling.failed(failure_code(error))
    raise unavailable("The tenants cannot be read or changed at the moment. Try again.") from error


def change_document(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry of the log of changes as answers say it."""
    return {
        "at": iso(entry.at_ms),
        "by": entry.by,
        "what": entry.what,
        "before": entry.before,
        "after": entry.after,
    }


def json_answer(document: Mapping[str, Any], headers: Mapping[str, str] | None = None, status: int = 200) -> Response:  # type: ignore[type-arg]
    """Return a document that no cache keeps."""
    named = {"Cache-Control": "no-store", **(headers or {})}
    return Response(status, "application/json", json.dumps(document), headers=named)


def no_content() -> Response:  # type: ignore[type-arg]
    """Return that it is done."""
    return Response(204, None, "", headers={"Cache-Control": "no-store"})
