"""The admin API as OpenAPI 3.1; see ``openapi.py``.

``python -m bedrock_meter.api.admin_openapi`` prints the document, which is committed as ``docs/openapi-admin.json``.
"""

import json
from typing import Any

from bedrock_meter.api import admin, admin_contract, admin_plans
from bedrock_meter.api.admin_protocol import MOST as MOST_LISTED
from bedrock_meter.api.contract import (
    AMOUNT,
    COMMON,
    INSTANT,
    MEASURED,
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
from bedrock_meter.limits.limit import FAIL_POLICIES, MAX_LIMITS, UNPRICED_POLICIES
from bedrock_meter.limits.scope import MOST
from bedrock_meter.limits.suspension import MAXIMUM_REASON
from bedrock_meter.tenants.administration import APPLIED, BOOSTS, EFFECTIVE
from bedrock_meter.tenants.boosting import ID, MAXIMUM_NUMBER
from bedrock_meter.tenants.boosting import MAXIMUM_REASON as MAXIMUM_BOOST_REASON
from bedrock_meter.tenants.planning import MOST_NAMED
from bedrock_meter.tenants.plans import NAME as PLAN_NAME
from bedrock_meter.tenants.plans import PLAN
from bedrock_meter.tenants.plans import TENANT as TENANT_LIMIT

_PATH = [parameter("tenant", "path", TENANT, "Tenant id")]
_TAG = {"ETag": "version of the tenant; a change names it"}
_PLAN_TAG = {"ETag": "version of the plan; a change names it"}
_PLAN_PATH = [parameter("name", "path", string(pattern=f"^{PLAN_NAME}$"), "Name of the plan")]
_PRECONDITIONS = [
    parameter("If-Match", "header", string(), "ETag that the change was made from, or *"),
    parameter("If-None-Match", "header", string(), "*: it is new"),
]
_PAGES = [
    parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED}, "Items, at most"),
    parameter("cursor", "query", string(), "Where to go on, from the answer before"),
]
_READ_ONLY: Schema = {
    "type": "array",
    "items": {"type": "object"},
    "description": "what a reading says beside the definition; means nothing in a change",
}
_WRITING = (*COMMON, 409, 412, 413, 428)
_FAIL: Schema = {"enum": [*FAIL_POLICIES, None], "description": "what the quota API answers while the tables are down"}


def document() -> dict[str, Any]:
    """Return the document."""
    return openapi(
        "bedrock-meter admin API",
        "Tenants, their limits, boosts and plans, and who changed what. Its address is not the quota API's.",
        _paths(),
        _schemas(),
        ("signature", "token"),
    )


def _paths() -> dict[str, Any]:
    one = f"{admin.BASE}/{{tenant}}"
    described = answer("The tenant", reference("Tenant"), _TAG)
    limits = answer("All limits of the tenant, in order", reference("Limits"), _TAG)
    suspended = answered({"tenant": TENANT, "suspended": reference("Suspension")})
    reason = {"minLength": 1, "maxLength": MAXIMUM_REASON}
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
        **admin_contract.paths(),
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
                "Stop a tenant, whatever its limits say; one that is stopped keeps its reasons",
                {200: answer("Stopped", suspended)},
                parameters=_PATH,
                body=strict(
                    {
                        "reason": string("for administrators", **reason),
                        "public_reason": nullable(string("for the tenant's callers, and in events", **reason)),
                    },
                    ["reason"],
                ),
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
        **_boost_paths(f"{one}/boosts"),
        **_plan_paths(admin_plans.PLANS),
        "/v1/admin/openapi.json": {
            "get": operation("readDocument", "This document", {200: answer("OpenAPI 3.1", {"type": "object"})})
        },
    }


def _boost_paths(path: str) -> dict[str, Any]:
    headers = {"Location": "of the boost"}
    return {
        path: {
            "get": operation(
                "listBoosts",
                "Boosts of a tenant that are in force or still to begin, in the order of giving",
                {200: answer("Boosts", answered({"tenant": TENANT, "boosts": array(reference("Boost"))}))},
                parameters=_PATH,
            ),
            "post": operation(
                "boostLimit",
                "Add to one limit for a while, by an amount or a factor; the same one again is one",
                {201: answer("Given", reference("Boost"), headers), 200: answer("It is there", reference("Boost"))},
                parameters=_PATH,
                body=reference("BoostRequest"),
                statuses=(*COMMON, 409, 413),
            ),
        },
        f"{path}/{{boost}}": {
            "delete": operation(
                "endBoost",
                "End a boost now, or take it away before it begins; also one that is over",
                {204: answer("Over", None)},
                parameters=[*_PATH, parameter("boost", "path", string(pattern=f"^{ID.pattern}$"), "Id of the boost")],
                statuses=(*COMMON, 409),
            )
        },
    }


def _plan_paths(path: str) -> dict[str, Any]:
    finished = answer("All tenants have its limits", reference("InstalledPlan"), _PLAN_TAG)
    unfinished = answer("Written; some tenants have their former limits still", reference("InstalledPlan"), _PLAN_TAG)
    cursor = parameter("cursor", "query", string(), "Where to go on, from the answer before; else from the beginning")
    return {
        path: {
            "get": operation(
                "listPlans",
                "All plans",
                {200: answer("Plans", answered({"plans": array(reference("Plan"))}))},
                statuses=tuple(status for status in COMMON if status != 404),
            )
        },
        f"{path}/{{name}}": {
            "get": operation(
                "readPlan", "A plan", {200: answer("The plan", reference("Plan"), _PLAN_TAG)}, parameters=_PLAN_PATH
            ),
            "put": operation(
                "putPlan",
                "Make a plan what the body says, and install its limits for as many tenants as there is time for",
                {200: finished, 202: unfinished},
                parameters=[*_PLAN_PATH, *_PRECONDITIONS],
                body=reference("PlanChange"),
                statuses=_WRITING,
            ),
            "delete": operation(
                "removePlan",
                "Take a plan away that no tenant has",
                {204: answer("Gone", None)},
                parameters=[*_PLAN_PATH, *_PRECONDITIONS],
                statuses=(*COMMON, 409, 412, 428),
            ),
        },
        f"{path}/{{name}}/installation": {
            "post": operation(
                "installPlan",
                "Go on with the installation of a plan's limits, or begin it again",
                {200: finished, 202: unfinished},
                parameters=[*_PLAN_PATH, cursor],
                statuses=(*COMMON, 409, 412),
            )
        },
        f"{path}/{{name}}/audit": {
            "get": operation(
                "readPlanAudit",
                "Changes of a plan, newest first; also of one that is gone",
                {200: answer("A page", reference("PlanChangePage"))},
                parameters=[*_PLAN_PATH, *_PAGES],
            )
        },
    }


def _schemas() -> dict[str, Schema]:
    text, following = string(), nullable(string("cursor of the next page"))
    profile_id = string("id or ARN of an application inference profile")
    tagged = {"type": "boolean", "description": "a tag in Bedrock gives and takes it; a change does neither"}
    profile = strict(
        {
            "id": profile_id,
            "model": string(minLength=1),
            "routing": admin_contract.ROUTING,
            "geography": admin_contract.GEOGRAPHY,
            "tagged": tagged,
        },
        ["id"],
    )
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
        "when_unpriced": {
            "enum": [*UNPRICED_POLICIES, None],
            "description": "of cost_usd: whether usage without a price denies; default: deny where hard, else allow",
        },
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
        BOOSTS: _READ_ONLY,
        APPLIED: {"type": "object", "description": "what an answer says of a change; means nothing in the next one"},
    }
    removal = strict({"name": text, "remove": {"const": True}}, ["name", "remove"])
    number: Schema = {"type": ["number", "string"], "minimum": 1, "maxLength": MAXIMUM_NUMBER}
    plan: dict[str, Schema] = {
        "name": text,
        "default": {"type": "boolean", "description": "whether tenants without a plan have it"},
        "limits": array(reference("LimitChange"), maxItems=MAX_LIMITS),
    }
    installation = {
        "tenants": {**AMOUNT, "description": "that have the plan, or name none"},
        "settled": {**AMOUNT, "description": "of them, with the limits that they are to have"},
        "changed": {**AMOUNT, "description": "of those, which had others before"},
        "failures": {**AMOUNT, "description": "of them, which could not be changed"},
        "failed": array(answered({"tenant": TENANT, "problem": text}), maxItems=MOST_NAMED),
        "finished": {"type": "boolean", "description": "nothing is left to do"},
        "next": nullable(string("where to go on; null where all were reached: if it is not finished, begin again")),
    }
    said_where_set = ["models", "profiles", "shadow", "fail", "when_unpriced"]
    in_force = array(answered({**limit, "source": {"enum": [PLAN, TENANT_LIMIT]}}, optional=said_where_set))
    known = {name: change[name] for name in ("id", "timezone", "plan", "fail")}
    times = {"updated_at": INSTANT, "removed_at": nullable(INSTANT)}
    listed = answered({**known, "name": nullable(text), "profiles": AMOUNT, **times})
    noted = {"type": ["object", "null"]}
    changes = answered({"at": INSTANT, "by": string("ARN or subject"), "what": text, "before": noted, "after": noted})
    return {
        "LimitChange": strict(limit, ["meter", "window", "max"]),
        "TenantChange": strict(change),
        "OwnLimit": {"anyOf": [reference("LimitChange"), removal]},
        "Tenant": answered(
            {**change, EFFECTIVE: in_force, BOOSTS: array(reference("Boost")), APPLIED: reference("Applied")},
            optional=["name", APPLIED],
        ),
        "Limits": answered({"limits": array(reference("OwnLimit")), EFFECTIVE: in_force}),
        "Plan": answered(plan),
        "PlanChange": strict(plan),
        "InstalledPlan": answered({"plan": reference("Plan"), "installation": answered(installation)}),
        "PlanChangePage": answered({"plan": text, "changes": array(changes), "next": following}),
        "Boost": answered(
            {
                "id": string(pattern=f"^{ID.pattern}$"),
                "limit": text,
                "amount": {**MEASURED, "description": "what is added, in `unit`; US dollars as an exact decimal text"},
                "unit": nullable(string("of the amount")),
                "factor": string("what the maximum is multiplied by, where no amount is added"),
                "from": INSTANT,
                "to": INSTANT,
                "reason": text,
                "by": string("ARN or subject"),
            },
            optional=["amount", "unit", "factor"],
        ),
        "BoostRequest": strict(
            {
                "limit": string("name of a limit in force", maxLength=32),
                "amount": {**number, "description": "of cost_usd in US dollars; or a factor"},
                "factor": {**number, "description": "above 1 to 1001, at most 3 decimal places; or an amount"},
                "from": {**INSTANT, "description": "with an offset; now, unless it says something else"},
                "to": {**INSTANT, "description": "with an offset; first instant at which it is over"},
                "reason": string(minLength=1, maxLength=MAXIMUM_BOOST_REASON),
            },
            ["limit", "to", "reason"],
            oneOf=[{"required": ["amount"]}, {"required": ["factor"]}],
        ),
        "TenantPage": answered({"tenants": array(listed), "next": following}),
        "ChangePage": answered({"tenant": TENANT, "changes": array(changes), "next": following}),
        "Suspension": answered({"reason": text, "public_reason": nullable(text), "since": INSTANT, "by": text}),
        **admin_contract.schemas(),
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
