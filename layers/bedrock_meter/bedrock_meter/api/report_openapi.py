"""What OpenAPI says of the reports of the quota API, which are a function of their own; see ``openapi.py``."""

from typing import Any

from bedrock_meter.api import usage
from bedrock_meter.api.contract import (
    AMOUNT,
    INSTANT,
    MEASURED,
    TENANT,
    USD,
    Schema,
    answer,
    answered,
    array,
    content,
    nullable,
    operation,
    parameter,
    reference,
    string,
)
from bedrock_meter.api.limit_contract import SUSPENDED
from bedrock_meter.api.problems import CONTENT_TYPE, TENANT_BUSY

_PATH = [parameter("tenant", "path", TENANT, "Tenant id")]
_TOO_MANY: Schema = {
    "description": "The tenant asks for more reports than are made for one at a time, or its part of the tables is "
    f"asked too often (`{TENANT_BUSY}`): wait for `Retry-After`; or API Gateway's own throttle, which is no problem "
    "document",
    "content": content(reference("Problem"), CONTENT_TYPE) | content(reference("GatewayError")),
}


def paths() -> dict[str, Any]:
    """Return the paths of the reports."""
    base = "/v1/tenants/{tenant}"
    return {
        f"{base}/usage": {
            "get": operation(
                "readUsage",
                "Usage by period of the tenant's own clock",
                {200: _report(), 429: _TOO_MANY},
                parameters=[*_PATH, *_usage_parameters()],
            )
        },
        f"{base}/explanation": {
            "get": operation(
                "explain",
                "Which limit decides, and which models and profiles used its window",
                {
                    200: answer("The limits that deny, else the one nearest to its end", reference("Explanation")),
                    429: _TOO_MANY,
                },
                parameters=[*_PATH, parameter("limit", "query", string(maxLength=64), "Explain this limit")],
            )
        },
        "/v1/openapi.json": {
            "get": operation("readDocument", "This document", {200: answer("OpenAPI 3.1", {"type": "object"})})
        },
    }


def schemas() -> dict[str, Schema]:
    """Return the schemas that only the reports speak of."""
    text = string()
    return {
        "Explanation": answered(
            {
                "tenant": TENANT,
                "allowed": {"type": "boolean"},
                "suspended": nullable(SUSPENDED),
                "as_of": INSTANT,
                "version": AMOUNT,
                "denied_by": array(text),
                "decisive": nullable(text),
                "limits": array(_explained()),
            }
        ),
        "UsageReport": answered(
            {
                "tenant": TENANT,
                "timezone": text,
                "from": INSTANT,
                "to": INSTANT,
                "by": string(enum=list(usage.BY)),
                "group": string(enum=list(usage.GROUPS)),
                "usage": array(_line()),
                "next": nullable(string("cursor of the next page")),
            }
        ),
    }


def _report() -> Schema:
    found = answer(
        "Lines by period, then by group", reference("UsageReport"), {"X-Next-Cursor": "cursor of the next page, if any"}
    )
    found["content"] |= {"text/csv": {"schema": {"type": "string"}}}
    return found


def _usage_parameters() -> list[Schema]:
    bound = "a date of the tenant's clock, or an instant with an offset, on a quarter-hour"
    return [
        parameter("from", "query", string(), f"First instant: {bound}. Default: the month of the end"),
        parameter("to", "query", string(), f"End, exclusive: {bound}. Default: now"),
        parameter("by", "query", string(enum=list(usage.BY), default="day"), "Length of a period"),
        parameter("group", "query", string(enum=list(usage.GROUPS), default="none"), "What a line is about"),
        parameter("format", "query", string(enum=list(usage.FORMATS), default="json"), "JSON or CSV"),
        parameter("cursor", "query", string(), "Where to go on, from the answer before; all else stays as it was"),
    ]


def _explained() -> Schema:
    def share(kind: str) -> Schema:
        name = nullable(string("null: all that are not named"))
        return answered(
            {
                kind: name,
                "amount": MEASURED,
                "requests": AMOUNT,
                "uncounted_requests": AMOUNT,
                "percent": {"type": "number"},
            }
        )

    found = answered(
        {
            "from": INSTANT,
            "to": INSTANT,
            "exact": {"type": "boolean", "description": "false: a rolling window, by whole quarter-hours"},
            "complete": {"type": "boolean", "description": "false: too many rows; read until 'to'"},
            "granularity_seconds": AMOUNT,
            "total": MEASURED,
            "uncounted_requests": {**AMOUNT, "description": "calls of which nobody can say what they add"},
            "models": array(share("model")),
            "profiles": array(share("profile")),
        }
    )
    return {"allOf": [reference("Limit"), answered({"explained": found})]}


def _line() -> Schema:
    return answered(
        {
            "period": string("2026-11, 2026-11-24 or 2026-11-24T14:00+01:00"),
            "start": INSTANT,
            "end": INSTANT,
            "model": string(),
            "profile": string(),
            "complete": {"type": "boolean", "description": "false: a part of its period; parts add up"},
            **dict.fromkeys(usage.SUMS, AMOUNT),
            "cost_usd": {**USD, "description": "US dollars that the priced calls cost"},
            "unpriced": {**AMOUNT, "description": "calls that are missing in the cost"},
        },
        optional=("model", "profile"),
    )
