"""The admin API: tenants, their limits, and who changed what. A function, a role and an address of its own.

Whoever comes in sees all tenants. A change names the version that it was made from (``If-Match``, or
``If-None-Match: *`` for a tenant that is new), so that nobody overwrites what they have not seen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter import clock
from bedrock_meter.api.admin_ending import add_ending
from bedrock_meter.api.admin_overview import add_overviews
from bedrock_meter.api.admin_protocol import carry_out, json_answer, storage_down
from bedrock_meter.api.cursors import read_key, write_key
from bedrock_meter.api.problems import Problem, invalid
from bedrock_meter.api.published import add_document
from bedrock_meter.api.requests import body_bytes, json_object, query, refuse_unknown
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.clock import iso
from bedrock_meter.limits.suspension import MAXIMUM_REASON
from bedrock_meter.storage.administration import FAILURES
from bedrock_meter.tenants.administration import APPLIED, EFFECTIVE, KEYS, Administration, Described
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.leaving import Leaving
from bedrock_meter.tenants.overview import Overviews
from bedrock_meter.tenants.plans import Plan

BASE = "/v1/admin/tenants"
PLANS = "/v1/admin/plans"
MOST = 200
DEFAULT = 50
MAX_BODY_BYTES = 65_536
"""A definition is an item of at most 400 KB, and a note about it two more."""
_TAGS = re.compile(r'"[\x21\x23-\x7e]{1,64}"(?:\s*,\s*"[\x21\x23-\x7e]{1,64}")*')


def admin_api(
    administration: Administration,
    overviews: Overviews,
    leaving: Leaving,
    *,
    telling: Telling,
    tenant_claim: str,
    now: Callable[[], int] = clock.now_ms,
) -> Resolver:
    """Return the admin API.

    Args:
        administration: Reads and changes tenants.
        overviews: Shows them with what they use now.
        leaving: Ends them.
        telling: Who is told what went wrong.
        tenant_claim: Claim of a token that names its tenant; an administrator needs none.
        now: Current time in milliseconds.
    """
    api = Resolver(tenant_claim=tenant_claim, unexpected=telling.unexpected, is_admin=True)
    _add_tenants(api, administration, telling)
    _add_audit(api, administration, telling)
    _add_plans(api, administration, telling)
    _add_suspensions(api, administration, telling)
    add_overviews(api, overviews, telling)
    add_ending(api, leaving, telling)
    add_document(api, "/v1/admin/openapi.json", "bedrock_meter.api.admin_openapi")
    return api


def _add_tenants(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(BASE)
    def tenants() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        limit, after = _page(api, ("tenants",), 2)
        try:
            found, last = administration.store.page(after, limit)
        except FAILURES as error:
            storage_down(error, telling)
        listed = [
            {
                "id": one.definition.id,
                "name": one.definition.name,
                "timezone": one.definition.timezone,
                "plan": one.definition.plan,
                "fail": one.definition.fail_policy,
                "profiles": len(one.definition.profiles),
                "updated_at": iso(one.updated_ms),
                "removed_at": iso(one.definition.removed_ms),
            }
            for one in found
        ]
        return json_answer({"tenants": listed, "next": write_key(last, ("tenants",)) if last else None})

    @api.routes.get(f"{BASE}/<tenant>")
    def tenant(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        return _described(_found(administration, tenant, telling))

    @api.routes.put(f"{BASE}/<tenant>")
    def put(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by, is_expected = api.caller.name, _precondition(api.event)
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        refuse_unknown("", document, KEYS)
        if document.get("id", tenant) != tenant:
            raise invalid("id", "must be the tenant of the path, or missing")
        made = carry_out(lambda: administration.put(tenant, document, is_expected, by), telling)
        return _described(made)

    @api.routes.get(f"{BASE}/<tenant>/limits")
    def limits(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        found = _found(administration, tenant, telling)
        return _limits(found)

    @api.routes.put(f"{BASE}/<tenant>/limits")
    def put_limits(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by, is_expected = api.caller.name, _precondition(api.event)
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        refuse_unknown("", document, ("limits",))
        wanted = document.get("limits")
        if not isinstance(wanted, list):
            raise invalid("limits", "must be a list")
        made = carry_out(lambda: administration.put_limits(tenant, wanted, is_expected, by), telling)
        return _limits(made)


def _add_audit(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(f"{BASE}/<tenant>/audit")
    def audit(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        limit, after = _page(api, ("audit", tenant), 1)
        try:
            found, last = administration.audit.page(tenant, after, limit)
        except FAILURES as error:
            storage_down(error, telling)
        following = write_key(last, ("audit", tenant)) if last else None
        return json_answer({"tenant": tenant, "changes": [_change(one) for one in found], "next": following})


def _add_plans(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(PLANS)
    def plans() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        return json_answer({"plans": [plan.document() for plan in _plans(administration, telling)]})

    @api.routes.get(f"{PLANS}/<name>")
    def plan(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        found = next((plan for plan in _plans(administration, telling) if plan.name == name), None)
        if found is None:
            raise Problem(404, "Not found", "There is no such plan.")
        return json_answer(found.document(), {"ETag": f'"{found.revision}"'})


def _plans(administration: Administration, telling: Telling) -> Sequence[Plan]:
    try:
        return administration.plans()
    except FAILURES as error:
        storage_down(error, telling)


def _add_suspensions(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.put(f"{BASE}/<tenant>/suspension")
    def suspend(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        refuse_unknown("", document, ("reason",))
        reason = document.get("reason")
        if not isinstance(reason, str) or not 1 <= len(reason) <= MAXIMUM_REASON or not reason.isprintable():
            raise invalid("reason", f"must be 1 to {MAXIMUM_REASON} printable characters")
        found = carry_out(lambda: administration.suspend(tenant, reason, by), telling)
        return json_answer({"tenant": tenant, "suspended": found})

    @api.routes.delete(f"{BASE}/<tenant>/suspension")
    def resume(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        carry_out(lambda: administration.resume(tenant, by) or None, telling)
        return Response(204, None, "", headers={"Cache-Control": "no-store"})


def _page(api: Resolver, bound_to: Sequence[str], parts: int) -> tuple[int, tuple[str, ...] | None]:
    parameters = query(api.event, ("limit", "cursor"))
    text = parameters.get("limit", str(DEFAULT))
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= MOST:
        raise invalid("limit", f"must be a whole number from 1 to {MOST}")
    cursor = parameters.get("cursor")
    return int(text), None if cursor is None else read_key(cursor, parts, bound_to)


def _precondition(event: Mapping[str, Any]) -> Callable[[str | None], bool]:
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
        "Send If-Match with the ETag that this change was made from, or If-None-Match: * for a new tenant.",
    )


def _found(administration: Administration, tenant: str, telling: Telling) -> Described:
    return carry_out(lambda: administration.tenant(tenant), telling)


def _described(found: Described) -> Response:  # type: ignore[type-arg]
    applied = found.applied
    said = {APPLIED: {"changed": list(applied.changed), "effective": iso(applied.effective_ms)}} if applied else {}
    return json_answer({**found.document, **said}, {"ETag": f'"{found.version}"'})


def _limits(found: Described) -> Response:  # type: ignore[type-arg]
    document = {name: found.document[name] for name in ("limits", EFFECTIVE)}
    return json_answer(document, {"ETag": f'"{found.version}"'})


def _change(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": iso(entry.at_ms),
        "by": entry.by,
        "what": entry.what,
        "before": entry.before,
        "after": entry.after,
    }
