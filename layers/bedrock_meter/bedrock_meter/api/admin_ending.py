"""The admin API's routes that end a tenant, or forget a person: remove, and erase in steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_protocol import carry_out, json_answer
from bedrock_meter.api.cursors import read_key, write_key
from bedrock_meter.api.problems import Problem, invalid
from bedrock_meter.api.requests import body_bytes, json_object, query, refuse_unknown
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.clock import iso
from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.tenants.erasing import NotErasable
from bedrock_meter.tenants.forgetting import Forgetting
from bedrock_meter.tenants.leaving import Leaving, Step

TENANT = "/v1/admin/tenants/<tenant>"
PRINCIPAL_ERASURE = "/v1/admin/principals/erasure"
MOST_PROFILES = 100
_MAX_BODY_BYTES = 65_536
_MAX_DETAIL = 500


def add_ending(api: Resolver, leaving: Leaving, forgetting: Forgetting, telling: Telling) -> None:
    """Add the routes."""

    @api.routes.delete(TENANT)
    def remove(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        announced = profile_ids(query(api.event, ("delete_profiles",)).get("delete_profiles"), "delete_profiles")
        by = api.caller.name
        removed = carry_out(lambda: leaving.remove(tenant, by, announced), telling)
        return json_answer(
            {
                "tenant": tenant,
                "changed": removed.changed,
                "ended": list(removed.ended),
                "effective": iso(removed.effective_ms),
            }
        )

    @api.routes.post(f"{TENANT}/erasure")
    def erase(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        document = json_object(body_bytes(api.event, _MAX_BODY_BYTES))
        refuse_unknown("", document, ("cursor",))
        position = _position(document, ("erasure", tenant))
        done = carry_out(lambda: _erased(lambda: leaving.erase(tenant, by, position), "Not removed"), telling)
        return json_answer({"tenant": tenant, **_step_document(done, ("erasure", tenant))})

    @api.routes.post(PRINCIPAL_ERASURE)
    def erase_principal() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        by = api.caller.name
        document = json_object(body_bytes(api.event, _MAX_BODY_BYTES))
        refuse_unknown("", document, ("principal", "cursor", "dry_run"))
        name, dry_run = document.get("principal"), document.get("dry_run", False)
        if not isinstance(name, str):
            raise invalid("principal", "must be an ARN or another name, as text")
        if not isinstance(dry_run, bool):
            raise invalid("dry_run", "must be true or false")
        bound_to = ("erasure of a principal", name, str(dry_run))
        position = _position(document, bound_to)
        done = carry_out(
            lambda: _erased(lambda: forgetting.erase(name, by, position, dry_run=dry_run), "Still mapped"), telling
        )
        return json_answer({"dry_run": dry_run, **_step_document(done, bound_to)})


def _position(document: Mapping[str, Any], bound_to: Sequence[str]) -> str | None:
    """Return where a step begins, as the body's cursor says it."""
    cursor = document.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise invalid("cursor", "must be the cursor of the step before, or missing")
    return None if cursor is None else read_key(cursor, 1, bound_to)[0]


def _step_document(done: Step, bound_to: Sequence[str]) -> dict[str, Any]:
    return {
        "history_entries_changed": done.words,
        "ledger_entries_read": done.read,
        "principals_forgotten": done.principals,
        "next": None if done.position is None else write_key((done.position,), bound_to),
    }


def _erased(step: Callable[[], Step | None], title: str) -> Step | None:
    try:
        return step()
    except NotErasable as problem:
        raise Problem(409, title, problem.problem[:_MAX_DETAIL]) from problem


def profile_ids(text: str | None, field: str) -> list[str]:
    """Return the profile ids of a query parameter, which stand apart by commas; none where it is missing.

    Raises:
        Problem: 400, one is no id, or there are more than ``MOST_PROFILES``.
    """
    ids = [] if text is None else text.split(",")
    if len(ids) > MOST_PROFILES or any(one.startswith("arn:") or profile_candidate(one) is None for one in ids):
        raise invalid(field, f"must be 1 to {MOST_PROFILES} ids of profiles, apart by commas")
    return list(dict.fromkeys(ids))
