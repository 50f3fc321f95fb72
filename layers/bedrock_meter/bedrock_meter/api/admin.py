"""The admin API: tenants, their limits, boosts and plans, and who changed what. A function and a role of its own.

Whoever comes in sees all tenants. A change names the version that it was made from (``If-Match``, or
``If-None-Match: *`` for a tenant that is new), so that nobody overwrites what they have not seen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter import clock
from bedrock_meter.api.admin_boosts import add_boosts
from bedrock_meter.api.admin_ending import add_ending
from bedrock_meter.api.admin_overview import add_overviews
from bedrock_meter.api.admin_plans import add_plans
from bedrock_meter.api.admin_protocol import (
    MAX_BODY_BYTES,
    carry_out,
    change_document,
    json_answer,
    no_content,
    page_of,
    precondition,
    storage_down,
)
from bedrock_meter.api.cursors import write_key
from bedrock_meter.api.problems import invalid, tenant_not_found
from bedrock_meter.api.published import add_document
from bedrock_meter.api.requests import body_bytes, json_object, query, refuse_unknown
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.clock import iso
from bedrock_meter.limits.suspension import MAXIMUM_REASON
from bedrock_meter.storage.administration import FAILURES
from bedrock_meter.tenants.administration import APPLIED, EFFECTIVE, KEYS, Administration, Described
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.tenants.forgetting import Forgetting
from bedrock_meter.tenants.leaving import Leaving
from bedrock_meter.tenants.overview import Overviews

BASE = "/v1/admin/tenants"


def admin_api(
    administration: Administration,
    overviews: Overviews,
    leaving: Leaving,
    forgetting: Forgetting,
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
        forgetting: Forgets persons by name.
        telling: Who is told what went wrong.
        tenant_claim: Claim of a token that names its tenant; an administrator needs none.
        now: Current time in milliseconds.
    """
    api = Resolver(tenant_claim=tenant_claim, unexpected=telling.unexpected, is_admin=True)
    _add_tenants(api, administration, telling)
    _add_audit(api, administration, telling)
    _add_suspensions(api, administration, telling)
    add_boosts(api, administration, telling, f"{BASE}/<tenant>/boosts")
    add_plans(api, administration, telling)
    add_overviews(api, overviews, telling)
    add_ending(api, leaving, forgetting, telling)
    add_document(api, "/v1/admin/openapi.json", "bedrock_meter.api.admin_openapi")
    return api


def _add_tenants(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(BASE)
    def tenants() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        limit, after = page_of(api, ("tenants",), 2)
        found, last = carry_out(lambda: administration.store.page(after, limit), telling)
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
        by, is_expected = api.caller.name, precondition(api.event)
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
        by, is_expected = api.caller.name, precondition(api.event)
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        refuse_unknown("", document, ("limits", EFFECTIVE))
        wanted = document.get("limits")
        if not isinstance(wanted, list):
            raise invalid("limits", "must be a list")
        made = carry_out(lambda: administration.put_limits(tenant, wanted, is_expected, by), telling)
        return _limits(made)


def _add_audit(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(f"{BASE}/<tenant>/audit")
    def audit(tenant: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        # Persons are forgotten in no tenant's name, and that is noted there.
        tenant = tenant if tenant == UNATTRIBUTED else api.tenant(tenant)
        limit, after = page_of(api, ("audit", tenant), 1)
        found, last = carry_out(lambda: administration.audit.page(tenant, after, limit), telling)
        following = write_key(last, ("audit", tenant)) if last else None
        return json_answer({"tenant": tenant, "changes": [change_document(one) for one in found], "next": following})


def _add_suspensions(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.put(f"{BASE}/<tenant>/suspension")
    def suspend(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        refuse_unknown("", document, ("reason", "public_reason"))
        reason, shown = _reason("reason", document), None
        if document.get("public_reason") is not None:
            shown = _reason("public_reason", document)
        found = carry_out(lambda: administration.suspend(tenant, reason, by, shown), telling)
        return json_answer({"tenant": tenant, "suspended": found})

    @api.routes.delete(f"{BASE}/<tenant>/suspension")
    def resume(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        carry_out(lambda: administration.resume(tenant, by) or None, telling)
        return no_content()


def _reason(name: str, document: Mapping[str, Any]) -> str:
    text = document.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= MAXIMUM_REASON or not text.isprintable():
        raise invalid(name, f"must be 1 to {MAXIMUM_REASON} printable characters")
    return text


def _found(administration: Administration, tenant: str, telling: Telling) -> Described:
    try:
        found = administration.tenant(tenant)
    except FAILURES as error:
        storage_down(error, telling)
    if found is None:
        raise tenant_not_found()
    return found


def _described(found: Described) -> Response:  # type: ignore[type-arg]
    applied = found.applied
    said = {APPLIED: {"changed": list(applied.changed), "effective": iso(applied.effective_ms)}} if applied else {}
    return json_answer({**found.document, **said}, {"ETag": f'"{found.version}"'})


def _limits(found: Described) -> Response:  # type: ignore[type-arg]
    document = {name: found.document[name] for name in ("limits", EFFECTIVE)}
    return json_answer(document, {"ETag": f'"{found.version}"'})
