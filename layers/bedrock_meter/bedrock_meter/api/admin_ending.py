"""The admin API's routes that end a tenant: remove, and erase in steps."""

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_protocol import carry_out, json_answer
from bedrock_meter.api.cursors import read_key, write_key
from bedrock_meter.api.problems import Problem, invalid
from bedrock_meter.api.requests import body_bytes, json_object, query, refuse_unknown
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.clock import iso
from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.tenants.leaving import Leaving, NotErasable, Step

TENANT = "/v1/admin/tenants/<tenant>"
MOST_PROFILES = 100
_MAX_BODY_BYTES = 65_536
_MAX_DETAIL = 500


def add_ending(api: Resolver, leaving: Leaving, telling: Telling) -> None:
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
        cursor = document.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise invalid("cursor", "must be the cursor of the step before, or missing")
        position = None if cursor is None else read_key(cursor, 1, ("erasure", tenant))[0]
        done = carry_out(lambda: _step(leaving, tenant, by, position), telling)
        return json_answer(
            {
                "tenant": tenant,
                "history_entries_changed": done.words,
                "ledger_entries_read": done.read,
                "principals_forgotten": done.principals,
                "next": None if done.position is None else write_key((done.position,), ("erasure", tenant)),
            }
        )


def _step(leaving: Leaving, tenant: str, by: str, position: str | None) -> Step | None:
    try:
        return leaving.erase(tenant, by, position)
    except NotErasable as problem:
        raise Problem(409, "Not removed", str(problem)[:_MAX_DETAIL]) from problem


def profile_ids(text: str | None, field: str) -> list[str]:
    """Return the profile ids of a query parameter, which stand apart by commas; none where it is missing.

    Raises:
        Problem: 400, one is no id, or there are more than ``MOST_PROFILES``.
    """
    ids = [] if text is None else text.split(",")
    if len(ids) > MOST_PROFILES or any(one.startswith("arn:") or profile_candidate(one) is None for one in ids):
        raise invalid(field, f"must be 1 to {MOST_PROFILES} ids of profiles, apart by commas")
    return list(dict.fromkeys(ids))
