"""What OpenAPI says of the routes in ``admin_overview.py`` and ``admin_ending.py``; see ``admin_openapi.py``."""

from typing import Any

from bedrock_meter.api.admin_ending import MOST_PROFILES
from bedrock_meter.api.admin_overview import MOST_PRINCIPALS
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
    operation,
    parameter,
    reference,
    strict,
    string,
)
from bedrock_meter.api.limit_contract import limit_schema
from bedrock_meter.api.requests import MAX_QUERY_CHARACTERS
from bedrock_meter.pricing.models import GEOGRAPHIES, ROUTINGS
from bedrock_meter.tenants.plans import PLAN
from bedrock_meter.tenants.plans import TENANT as TENANT_LIMIT
from bedrock_meter.tenants.principals import MAXIMUM_PRINCIPAL_LENGTH

ROUTING: Schema = {"enum": [*ROUTINGS, None], "description": "how the profile reaches its model; prices depend on it"}
GEOGRAPHY: Schema = {
    "enum": [*sorted(GEOGRAPHIES), None],
    "description": "where calls of geo routing stay; null: not known, or another routing",
}
_STEP: dict[str, Schema] = {
    "history_entries_changed": AMOUNT,
    "ledger_entries_read": AMOUNT,
    "principals_forgotten": AMOUNT,
    "next": nullable(string("cursor of the next step; null: the erasure is complete")),
}
_PATH = [parameter("tenant", "path", TENANT, "Tenant id")]
_ID = "[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}"
_IDS: Schema = {
    "type": "string",
    "pattern": f"^{_ID}(,{_ID}){{0,{MOST_PROFILES - 1}}}$",
    "maxLength": MAX_QUERY_CHARACTERS,
    "description": f"1 to {MOST_PROFILES} ids, apart by commas",
}
_IAM_NAME = "[A-Za-z0-9_+=,.@-]{1,64}"
_ARN = (
    f"arn:aws[a-z-]{{0,16}}:(iam::[0-9]{{12}}:(role|user)/({_IAM_NAME}/){{0,8}}{_IAM_NAME}"
    f"|sts::[0-9]{{12}}:(assumed-role/{_IAM_NAME}/{_IAM_NAME}|federated-user/{_IAM_NAME}))[*]?"
)
_ARNS: Schema = {
    "type": "string",
    "pattern": f"^{_ARN}( {_ARN}){{0,{MOST_PRINCIPALS - 1}}}$",
    "maxLength": MAX_QUERY_CHARACTERS,
    "description": f"1 to {MOST_PRINCIPALS} IAM principals or patterns, apart by spaces",
}


def removal() -> Schema:
    """Return the operation that removes a tenant."""
    return operation(
        "removeTenant",
        "End a tenant's mappings; usage, limits and history stay. Can be repeated",
        {200: answer("Removed", reference("Removed"))},
        parameters=[
            *_PATH,
            parameter(
                "delete_profiles", "query", _IDS, "Profiles that the caller is about to delete in Bedrock; noted"
            ),
        ],
        statuses=(*COMMON, 409),
    )


def paths() -> dict[str, Any]:
    """Return the paths of these routes, but for ``removal``, whose path has other operations."""
    return {
        "/v1/admin/tenants/{tenant}/overview": {
            "get": operation(
                "readOverview",
                "A tenant on one page: definition, what is used of its limits now, periods of its profiles",
                {200: answer("The tenant", reference("Overview"))},
                parameters=_PATH,
            )
        },
        "/v1/admin/tenants/{tenant}/erasure": {
            "post": operation(
                "eraseTenant",
                "A step of forgetting the persons behind a removed tenant; send `next` as `cursor` until it is null",
                {200: answer("What this step did", reference("Erased"))},
                parameters=_PATH,
                body=strict({"cursor": nullable(string("`next` of the step before; missing in the first"))}),
                statuses=(*COMMON, 409, 413),
            )
        },
        "/v1/admin/principals/erasure": {
            "post": operation(
                "erasePrincipal",
                "A step of forgetting one person by name; send `next` as `cursor` with the same rest until it is null",
                {200: answer("What this step did, or would do", reference("PrincipalErased"))},
                body=strict(
                    {
                        "principal": string(
                            "ARN of a caller, a role's for all its sessions; or another name in the history",
                            minLength=1,
                            maxLength=MAXIMUM_PRINCIPAL_LENGTH,
                        ),
                        "cursor": nullable(string("`next` of the step before; missing in the first")),
                        "dry_run": {"type": "boolean", "description": "count, and change nothing"},
                    },
                    ["principal"],
                ),
                statuses=(*(status for status in COMMON if status != 404), 409, 413),
            )
        },
        "/v1/admin/profiles": {
            "get": operation(
                "readProfiles",
                "Who owned profiles when; one that was never anybody's is missing in the answer",
                {200: answer("Those that are known", reference("Profiles"))},
                parameters=[{**parameter("ids", "query", _IDS, "Which"), "required": True}],
                statuses=tuple(status for status in COMMON if status != 404),
            )
        },
        "/v1/admin/principals": {
            "get": operation(
                "readPrincipals",
                "Whom principals called for when; one that was never anybody's is missing in the answer",
                {200: answer("Those that are known", reference("Principals"))},
                parameters=[{**parameter("arns", "query", _ARNS, "Which"), "required": True}],
                statuses=tuple(status for status in COMMON if status != 404),
            )
        },
    }


def schemas() -> dict[str, Schema]:
    """Return the schemas that these routes and the answer of a change speak of."""
    text = string()
    periods = array(reference("Period"))
    profile = answered(
        {
            "id": text,
            "arn": string("its id where nobody gave an ARN"),
            "model": text,
            "routing": ROUTING,
            "geography": GEOGRAPHY,
            "by": {"enum": ["person", "tag"], "description": "who made it the tenant's"},
            "periods": periods,
        }
    )
    limit = {"allOf": [limit_schema(), answered({"source": {"enum": [PLAN, TENANT_LIMIT]}})]}
    return {
        "Period": answered({"tenant": TENANT, "from": INSTANT, "to": nullable(INSTANT)}),
        "Overview": answered(
            {
                "tenant": TENANT,
                "name": nullable(text),
                "timezone": text,
                "plan": nullable(text),
                "removed": nullable(INSTANT),
                "suspended": {"anyOf": [reference("Suspension"), {"type": "null"}]},
                "allowed": {"type": ["boolean", "null"], "description": "null: nothing of it is counted yet"},
                "limits": array(limit),
                "removed_limits": array(string("name of a limit of the plan that the tenant does not have")),
                "boosts": array(reference("Boost")),
                "profiles": array(profile),
            }
        ),
        "Profiles": answered({"profiles": array(answered({"id": text, "periods": periods}))}),
        "Principals": answered({"principals": array(answered({"principal": text, "periods": periods}))}),
        "Removed": answered(
            {
                "tenant": TENANT,
                "changed": {"type": "boolean"},
                "ended": array(string("profile or principal whose mapping ends")),
                "effective": {**INSTANT, "description": "from when on nothing is attributed to the tenant"},
            }
        ),
        "PrincipalErased": answered({"dry_run": {"type": "boolean"}, **_STEP}),
        "Erased": answered({"tenant": TENANT, **_STEP}),
        "Applied": answered(
            {
                "changed": array(string("what this change changed, in words; empty: all was so")),
                "effective": {**INSTANT, "description": "from when on all of it holds"},
            }
        ),
    }
