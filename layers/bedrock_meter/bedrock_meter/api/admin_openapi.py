"""The admin API as OpenAPI 3.1; see ``openapi.py``.

``python -m bedrock_meter.api.admin_openapi`` prints the document, which is committed as ``docs/openapi-admin.json``.
"""

import json
from typing import Any

from bedrock_meter.api import admin, admin_contract
from bedrock_meter.api.contract import (
    AMOUNT,
    COMMON,
    INSTANT,
    TENANT,
    Schema,
    answer,
    answered,
    array,
    nullable,
    openapi,
    operation,
    parameter,
    reference,
    strict,
    string,
)
from bedrock_meter.limits.limit import FAIL_POLICIES
from bedrock_meter.limits.scope import MOST
from bedrock_meter.limits.suspension import MAXIMUM_REASON
from bedrock_meter.tenants.administration import APPLIED, EFFECTIVE
from bedrock_meter.tenants.plans import PLAN
from bedrock_meter.tenants.plans import TENANT as TENANT_LIMIT

_PATH = [parameter("tenant", "path", TENANT, "Tenant id")]
_TAG = {"ETag": "version of the tenant; a change names it"}
_PRECONDITIONS = [
    parameter("If-Match", "header", string(), "ETag that the change was made from, or *"),
    parameter("If-None-Match", "header", string(), "*: the tenant is new"),
]
_PAGES = [
    parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": admin.MOST}, "Items, at most"),
    parameter("cursor", "query", string(), "Where to go on, from the answer before"),
]
_READ_ONLY: Schema = {
    "type": "array",
    "items": {"type": "object"},
    "description": "what a reading says of the limits in force; means nothing in a change",
}
_WRITING = (*COMMON, 409, 412, 413, 428)
_FAIL: Schema = {"enum": [*FAIL_POLICIES, None], "description": "what the quota API answers while the tables are down"}


def document() -> dict[str, Any]:
    """Return the document."""
    return openapi(
        "bedrock-meter admin API",
        "Tenants, their limits and who changed what. Its address is not the quota API's.",
        _paths(),
        _schemas(),
        ("signature", "token"),
    )


def _paths() -> dict[str, Any]:
    one = f"{admin.BASE}/{{tenant}}"
    described = answer("The tenant", reference("Tenant"), _TAG)
    limits = answer("All limits of the tenant, in order", reference("Limits"), _TAG)
    suspended = answered({"tenant": TENANT, "suspended": reference("Suspension")})
    return {
        admin.BASE: {
            "get": operation(
                "listTenants",
                "Tenants in a fixed order; a page may be short and still not be the last",
                {200: answer("A page", reference("TenantPage"))},
                parameters=_PAGES,
                statuses=tuple(status for status in COMMON if status != 404),
            )
        },
        one: {
            "get": operation("readTenant", "A tenant with its limits", {200: described}, parameters=_PATH),
            "put": operation(
                "putTenant",
                "Make a tenant what the body says; what it leaves out gets its default",
                {200: described},
                parameters=[*_PATH, *_PRECONDITIONS],
                body=reference("TenantChange"),
                statuses=_WRITING,
            ),
            "delete": admin_contract.removal(),
        },
        f"{one}/limits": {
            "get": operation("readLimits", "The limits of a tenant", {200: limits}, parameters=_PATH),
            "put": operation(
                "putLimits",
                "Replace the own limits of a tenant; new windows start with what they already hold",
                {200: limits},
                parameters=[*_PATH, *_PRECONDITIONS],
                body=strict({"limits": array(reference("OwnLimit")), EFFECTIVE: _READ_ONLY}, ["limits"]),
                statuses=_WRITING,
            ),
        },
        f"{one}/suspension": {
            "put": operation(
                "suspendTenant",
                "Stop a tenant, whatever its limits say; one that is stopped keeps its reason",
                {200: answer("Stopped", suspended)},
                parameters=_PATH,
                body=strict({"reason": string(minLength=1, maxLength=MAXIMUM_REASON)}, ["reason"]),
                statuses=(*COMMON, 409, 413),
            ),
            "delete": operation(
                "resumeTenant",
                "Let a tenant go on; also one that is not stopped",
                {204: answer("Not stopped any more", None)},
                parameters=_PATH,
                statuses=(*COMMON, 409),
            ),
        },
        f"{one}/audit": {
            "get": operation(
                "readAudit",
                "Changes of a tenant, newest first; also of one that is gone",
                {200: answer("A page", reference("ChangePage"))},
                parameters=[*_PATH, *_PAGES],
            )
        },
        admin.PLANS: {
            "get": operation(
                "listPlans",
                "All plans; they are changed by the command `bedrock-meter plans apply`",
                {200: answer("Plans", answered({"plans": array(reference("Plan"))}))},
                statuses=tuple(status for status in COMMON if status != 404),
            )
        },
        f"{admin.PLANS}/{{name}}": {
            "get": operation(
                "readPlan",
                "A plan",
                {200: answer("The plan", reference("Plan"), {"ETag": "version of the plan"})},
                parameters=[parameter("name", "path", string(), "Name of the plan")],
            )
        },
        **admin_contract.paths(),
        "/v1/admin/openapi.json": {
            "get": operation("readDocument", "This document", {200: answer("OpenAPI 3.1", {"type": "object"})})
        },
    }


def _schemas() -> dict[str, Schema]:
    text, following = string(), nullable(string("cursor of the next page"))
    profile_id = string("id or ARN of an application inference profile")
    profile = strict({"id": profile_id, "model": string(minLength=1), "routing": admin_contract.ROUTING}, ["id"])
    window: Schema = {
        "description": "1h, 7d (rolling), day, week@3, month@15 (calendar, in the tenant's zone), or an object",
        "type": ["string", "object"],
    }
    limit = {
        "name": text,
        "meter": text,
        "window": window,
        "max": {"type": ["number", "string"], "minimum": 0, "description": "of cost_usd in US dollars"},
        "hard": {"type": "boolean"},
        "thresholds": array({"type": "integer"}),
        "models": array(string("pattern with * and ?, without a system profile's prefix"), minItems=1, maxItems=MOST),
        "profiles": array(profile_id, minItems=1, maxItems=MOST),
        "shadow": {"type": "boolean", "description": "evaluated and reported, never denies"},
        "fail": {"enum": [*FAIL_POLICIES, None]},
    }
    change: dict[str, Schema] = {
        "id": TENANT,
        "name": string("what people call it; one that is left out stays"),
        "timezone": string("IANA name"),
        "plan": nullable(text),
        "fail": _FAIL,
        "profiles": array({"anyOf": [text, profile]}),
        "principals": array(string("IAM role, user or federated user, or a pattern of ARNs that ends in *")),
        "limits": array(reference("OwnLimit")),
        "reserves": {"type": "boolean", "description": "whether usage without a reservation is announced"},
        EFFECTIVE: _READ_ONLY,
        APPLIED: {"type": "object", "description": "what an answer says of a change; means nothing in the next one"},
    }
    removal = strict({"name": text, "remove": {"const": True}}, ["name", "remove"])
    in_force = array(answered({**limit, "source": {"enum": [PLAN, TENANT_LIMIT]}}))
    known = {name: change[name] for name in ("id", "timezone", "plan", "fail")}
    times = {"updated_at": INSTANT, "removed_at": nullable(INSTANT)}
    listed = answered({**known, "name": nullable(text), "profiles": AMOUNT, **times})
    noted = {"type": ["object", "null"]}
    changes = answered({"at": INSTANT, "by": string("ARN or subject"), "what": text, "before": noted, "after": noted})
    return {
        "LimitChange": strict(limit, ["meter", "window", "max"]),
        "TenantChange": strict(change),
        "OwnLimit": {"anyOf": [reference("LimitChange"), removal]},
        "Tenant": answered({**change, EFFECTIVE: in_force, APPLIED: reference("Applied")}, optional=["name", APPLIED]),
        "Limits": answered({"limits": array(reference("OwnLimit")), EFFECTIVE: in_force}),
        "Plan": answered({"name": text, "default": {"type": "boolean"}, "limits": array(reference("LimitChange"))}),
        "TenantPage": answered({"tenants": array(listed), "next": following}),
        "ChangePage": answered({"tenant": TENANT, "changes": array(changes), "next": following}),
        "Suspension": answered({"reason": text, "since": INSTANT, "by": text}),
        **admin_contract.schemas(),
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
