"""What the admin API's routes share: how failures of a change become problems, and how answers are sent."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.problems import TRY_AGAIN, Problem, tenant_not_found, unavailable
from bedrock_meter.api.telling import Telling
from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.storage.administration import FAILURES, failure_code
from bedrock_meter.tenants.administration import Changed

_MAX_DETAIL = 500

T = TypeVar("T")


def carry_out(change: Callable[[], T | None], telling: Telling) -> T:
    """Return what a change or a reading returns.

    Raises:
        Problem: 404, it returns None; 400, 409, 412 or 503 for what it raises.
    """
    try:
        made = change()
    except Changed as problem:
        detail = "The tenant is not in the state that this change was made from. Read it again; nothing was changed."
        raise Problem(412, "Changed meanwhile", detail) from problem
    except InvalidDefinition as wrong:
        where = wrong.where.removeprefix("tenants[0]").lstrip(".") or "body"
        raise Problem(400, "Invalid request", f"{where}: {wrong.problem}"[:_MAX_DETAIL], field=where) from wrong
    except LeaseLost as lost:
        detail = "Somebody else is changing this tenant. Send the change again to finish it."
        raise Problem(409, "Being changed", detail, headers=TRY_AGAIN) from lost
    except FAILURES as error:
        storage_down(error, telling)
    if made is None:
        raise tenant_not_found()
    return made


def storage_down(error: Exception, telling: Telling) -> NoReturn:
    """Answer that the storage cannot be asked, and tell why."""
    telling.failed(failure_code(error))
    raise unavailable("The tenants cannot be read or changed at the moment. Try again.") from error


def json_answer(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:  # type: ignore[type-arg]
    """Return a document as a 200."""
    return Response(
        200, "application/json", json.dumps(document), headers={"Cache-Control": "no-store", **(headers or {})}
    )
