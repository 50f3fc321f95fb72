"""The quota API as OpenAPI 3.1. Bounds and patterns are those that the code checks; a test holds both together.

``python -m bedrock_meter.api.openapi`` prints the document, which is committed as ``docs/openapi.json``.
"""

import json
from typing import Any

from bedrock_meter.api import estimates, report_openapi, reservations
from bedrock_meter.api.callers import scopes_for
from bedrock_meter.api.contract import (
    AMOUNT,
    COMMON,
    INSTANT,
    MEASURED,
    STATUSES,
    TENANT,
    USD,
    Schema,
    answer,
    answered,
    array,
    content,
    nullable,
    openapi,
    operation,
    parameter,
    reference,
    strict,
    string,
)
from bedrock_meter.api.holdings import MOST_LISTED
from bedrock_meter.api.limit_contract import METER, SUSPENDED, UNPRICED, limit_schema
from bedrock_meter.api.problems import CONTENT_TYPE, FOREIGN_PROFILE, TENANT_BUSY, TOO_MANY_OPEN
from bedrock_meter.api.requests import MAX_COUNT
from bedrock_meter.limits.limit import FAIL_POLICIES
from bedrock_meter.pricing.models import GEOGRAPHIES, ROUTINGS

_PATH = [parameter("tenant", "path", TENANT, "Tenant id")]
_RESERVATION = [
    *_PATH,
    parameter("reservation", "path", string(pattern=f"^{reservations.ID.pattern}$"), "Reservation id"),
]
_LIMIT_HEADERS = {
    "RateLimit": "each limit: what remains, and seconds until something frees (IETF draft)",
    "RateLimit-Policy": "each limit: its maximum, and its window in seconds",
    "Retry-After": "seconds until the tenant may call again, where waiting helps",
}
_MAY_CACHE: Schema = {
    "type": "boolean",
    "default": False,
    "description": "`input_tokens` may turn out to be input, read from the cache or written to it: the number bounds "
    "each of the three, counts once in sums, and costs what the dearest of them costs",
}
_DEGRADED: Schema = {"type": "boolean", "description": "true: the tables are down, and nobody looked at the quota"}
_FAIL = string(
    "what the tenant's calls are to do while its quota cannot be told, for clients to remember: `closed` where a "
    "strict limit can deny them, else the tenant's own policy, else the stack's",
    enum=list(FAIL_POLICIES),
)
_WRITING = (*COMMON, 413)


def document() -> dict[str, Any]:
    """Return the document."""
    return openapi(
        "bedrock-meter quota API",
        "What a tenant of Amazon Bedrock may still use, and what it has used. Unknown query parameters and members of "
        "bodies are refused. Clients must tolerate members of answers that they do not know.",
        _secured({**_paths(), **report_openapi.paths()}),
        {**_schemas(), **report_openapi.schemas()},
        ("signature", "token"),
    )


def _secured(paths: dict[str, Any]) -> dict[str, Any]:
    """Say by which scopes of a token each operation is allowed: one of them is enough. A signature needs none."""
    for methods in paths.values():
        for method, one in methods.items():
            one["security"] = [{"signature": []}, *({"token": [scope]} for scope in scopes_for(method.upper()))]
    return paths


def _paths() -> dict[str, Any]:
    base = "/v1/tenants/{tenant}"
    held = answer("The reservation", reference("Reservation"))
    return {
        f"{base}/quota": {
            "get": operation(
                "readQuota",
                "Whether a call may be made now",
                {200: answer("Allowed or not", reference("Quota"), _LIMIT_HEADERS)},
                parameters=_PATH,
            )
        },
        f"{base}/reservations": {
            "post": operation(
                "reserve",
                "Hold an amount before a call",
                {
                    201: answer("Held", reference("Reservation"), {"Location": "address of the reservation"}),
                    200: answer("Held before, by the same request", reference("Reservation")),
                    409: {
                        "description": "The key was used with another content, or its reservation is over",
                        "content": content(reference("Problem"), CONTENT_TYPE),
                    },
                    403: {
                        "description": f"`{FOREIGN_PROFILE}`: the profile that is named belongs to another tenant. "
                        f"{STATUSES[403]}",
                        "content": content(reference("Problem"), CONTENT_TYPE) | content(reference("GatewayError")),
                    },
                    429: {
                        **answer(
                            f"No room, or suspended; `{TOO_MANY_OPEN}`: as many reservations are open as a tenant may "
                            f"have; `{TENANT_BUSY}`: the tenant's part of the tables is asked too often; or API "
                            "Gateway's own throttle",
                            None,
                            _LIMIT_HEADERS,
                        ),
                        "content": content(reference("Denial"), CONTENT_TYPE) | content(reference("GatewayError")),
                    },
                },
                parameters=_PATH,
                body=reference("ReservationRequest"),
                statuses=_WRITING,
            )
        },
        f"{base}/reservations/{{reservation}}": {
            "get": operation("readReservation", "A reservation, open or over", {200: held}, parameters=_RESERVATION),
            "delete": operation(
                "releaseReservation",
                "Give back what is held; also when it is over already",
                {204: answer("Holds nothing any more", None)},
                parameters=_RESERVATION,
            ),
        },
        f"{base}/reservations/{{reservation}}/settlement": {
            "post": operation(
                "settleReservation",
                "Shrink an open reservation to what was used; never raises it, never writes usage",
                {200: held},
                parameters=_RESERVATION,
                body=reference("Settlement"),
                statuses=_WRITING,
            )
        },
    }


def _schemas() -> dict[str, Schema]:
    text = string()
    return {
        "Limit": limit_schema(),
        "Quota": answered(
            {
                "tenant": TENANT,
                "allowed": {"type": "boolean"},
                "denied_by": {**array(text), "description": "the limits that deny, the longest first"},
                "as_of": INSTANT,
                "version": AMOUNT,
                "suspended": nullable(SUSPENDED),
                "fail": _FAIL,
                "degraded": _DEGRADED,
                "unpriced": UNPRICED,
                "limits": array(reference("Limit")),
            },
            optional=("version", "suspended", "denied_by", "fail", "unpriced"),
        ),
        "Estimate": strict({**_kinds(), estimates.MAY_CACHE: _MAY_CACHE}, anyOf=_any_kind()),
        "Usage": strict(_kinds(), anyOf=_any_kind()),
        "ReservationRequest": _request(),
        "Settlement": strict(
            {"usage": reference("Usage"), "extend_seconds": _seconds("live at least so long from now on")}, ["usage"]
        ),
        "Reservation": _reservation(),
        "Denial": _denial(),
    }


def _kinds() -> dict[str, Schema]:
    count = {**AMOUNT, "maximum": MAX_COUNT}
    return {kind: USD if kind == "cost_usd" else count for kind in estimates.KINDS}


def _any_kind() -> list[Schema]:
    return [{"required": [kind]} for kind in estimates.KINDS]


def _seconds(description: str, **more: Any) -> Schema:
    bounds = {"minimum": reservations.SHORTEST_S, "maximum": reservations.LONGEST_S}
    return {"type": "integer", "description": description, **bounds, **more}


def _request() -> Schema:
    name = f"^{reservations.NAME.pattern}$"
    return strict(
        {
            "key": string("the client's idempotency key", pattern=f"^{reservations.KEY.pattern}$"),
            "model": string("id or ARN of a base model, a system profile or a profile of the tenant", pattern=name),
            "profile": string("id or ARN of an application inference profile", pattern=name),
            "region": string("Region of the client that makes the call", pattern=f"^{reservations.REGION.pattern}$"),
            "tier": string("service tier that is asked for", enum=list(reservations.TIERS)),
            "estimate": reference("Estimate"),
            "converse": {
                "type": "object",
                "description": "a Converse request without modelId and without media: its bytes bound the input, its "
                "maxTokens is reserved in full",
                "required": ["messages", "inferenceConfig"],
            },
            "ttl_seconds": _seconds("for how long", default=reservations.DEFAULT_S),
            "kind": string(enum=list(reservations.KINDS), default="call"),
        },
        ["key"],
        oneOf=[{"required": ["estimate"]}, {"required": ["converse"]}],
    )


def _reservation() -> Schema:
    named = {"id": string(), "arn": nullable(string("null: its definition names the id alone"))}
    profile = {
        **answered(named),
        "type": ["object", "null"],
        "description": "the tenant's profile that the call goes through; null: none of its profiles is what was named",
    }
    available = answered(
        {
            **named,
            "model": nullable(string("null: not known")),
            "routing": {"enum": [*ROUTINGS, None]},
            "geography": {"enum": [*sorted(GEOGRAPHIES), None], "description": "of geo routing; null: not known"},
            "region": nullable(string("that it is called in; null: not known")),
        }
    )
    return answered(
        {
            "id": nullable(string("null: degraded, nothing is held")),
            "tenant": TENANT,
            "key": nullable(string("null: its maker had none")),
            "kind": string(enum=list(reservations.KINDS)),
            "status": string(enum=["open", "settled", "released", "expired"]),
            "model": nullable(string()),
            "profile": profile,
            "available_profiles": array(
                available,
                maxItems=MOST_LISTED,
                description="which profiles the tenant has; only where something was named and `profile` is null",
            ),
            "estimate": {"type": "object", "properties": {**_kinds(), estimates.MAY_CACHE: _MAY_CACHE}},
            "estimate_source": string(enum=[estimates.STATED, estimates.FROM_BYTES]),
            "amounts": array(answered({"limit": string(), "meter": METER, "amount": MEASURED})),
            "created_at": INSTANT,
            "expires_at": INSTANT,
            "allowed": {"type": "boolean", "description": "only with degraded"},
            "fail": _FAIL,
            "degraded": _DEGRADED,
            "metadata": {
                "type": "object",
                "description": "goes into Bedrock's requestMetadata as it is",
                "additionalProperties": {"type": "string"},
            },
        },
        optional=("available_profiles", "estimate_source", "allowed", "fail"),
    )


def _denial() -> Schema:
    return {
        "allOf": [
            reference("Problem"),
            {
                "type": "object",
                "properties": {
                    "tenant": TENANT,
                    "limit": {"type": "object", "description": "the most restrictive one"},
                    "requested": MEASURED,
                    "retry_after_seconds": {"type": ["integer", "null"]},
                    "throttled_until": nullable(INSTANT),
                    "unpriced": UNPRICED,
                    "suspended": SUSPENDED,
                    "fail": _FAIL,
                },
            },
        ]
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
