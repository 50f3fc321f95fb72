"""What both OpenAPI documents say of a limit."""

from bedrock_meter.api.contract import AMOUNT, INSTANT, MEASURED, Schema, answered, array, nullable, string
from bedrock_meter.limits.limit import UNPRICED_POLICIES
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.unpriced import MOST_NAMED

METER = string(enum=[str(meter) for meter in Meter])
SCOPE: Schema = {
    **answered({"models": array(string()), "profiles": array(string())}, optional=("models", "profiles")),
    "description": "the models and profiles that the limit looks at; missing: all",
}
UNPRICED: Schema = {
    **answered(
        {
            "models": array(
                answered({"model": nullable(string()), "profile": string("whose model is not known")}, ("profile",)),
                maxItems=MOST_NAMED,
            ),
            "complete": {"type": "boolean", "description": "false: there may be others"},
            "commands": array(string("what an operator does about it, in this order")),
        }
    ),
    "description": "there where usage without a price denies: what has none, the latest first",
}
_SAID_WHERE_SO = (
    "base_max",
    "boosts",
    "when_unpriced",
    "scope",
    "shadow",
    "would_allow",
    "uncounted_requests",
    "denied_because",
)

SUSPENDED: Schema = {
    **answered({"public_reason": nullable(string("what the provider says of it; null: nothing")), "since": INSTANT}),
    "description": "a person stopped the tenant; null: nobody did",
}


def limit_schema() -> Schema:
    """Return the schema of what a limit says now."""
    return answered(
        {
            "name": string(),
            "meter": METER,
            "unit": string(enum=sorted({meter.unit for meter in Meter})),
            "window": string("1h, 7d (rolling) or day, week@3, month@15 (calendar)"),
            "max": MEASURED,
            "base_max": {**MEASURED, "description": "without the boosts that are in force; missing: the same"},
            "boosts": array(answered({"adds": MEASURED, "from": INSTANT, "to": INSTANT})),
            "hard": {"type": "boolean"},
            "when_unpriced": string(
                "of cost_usd alone: whether usage without a price denies", enum=list(UNPRICED_POLICIES)
            ),
            "version": AMOUNT,
            "scope": SCOPE,
            "shadow": {"const": True, "description": "evaluated and reported, never denies"},
            "would_allow": {"type": "boolean", "description": "of a shadow limit: whether it would let a call through"},
            "used": MEASURED,
            "reserved": MEASURED,
            "remaining": MEASURED,
            "overage": MEASURED,
            "complete": {"type": "boolean", "description": "false: what some calls add to 'used' is not known"},
            "uncounted_requests": {**AMOUNT, "description": "how many; only where not complete"},
            "allowed": {"type": "boolean"},
            "denied_because": {
                **array(string(enum=["used", "reserved", "unpriced"])),
                "description": "only where not allowed: by what is used, what is reserved, usage without a price",
            },
            "window_start": INSTANT,
            "window_end": INSTANT,
            "frees_at": nullable(INSTANT),
            "throttled_until": nullable(INSTANT),
            "counting_since": nullable(INSTANT),
        },
        optional=_SAID_WHERE_SO,
    )
