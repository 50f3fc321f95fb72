"""The admin API's routes that only read: a tenant with what it uses now, and whose profiles and principals are."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_ending import profile_ids
from bedrock_meter.api.admin_protocol import carry_out, json_answer
from bedrock_meter.api.problems import invalid
from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.overview import Overviews
from bedrock_meter.tenants.principals import checked_principal

OVERVIEW = "/v1/admin/tenants/<tenant>/overview"
PROFILES = "/v1/admin/profiles"
PRINCIPALS = "/v1/admin/principals"
MOST_PRINCIPALS = 20


def add_overviews(api: Resolver, overviews: Overviews, telling: Telling) -> None:
    """Add the routes."""

    @api.routes.get(OVERVIEW)
    def overview(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        found: dict[str, Any] = carry_out(lambda: overviews.overview(tenant), telling)
        return json_answer(found)

    @api.routes.get(PROFILES)
    def profiles() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        ids = profile_ids(query(api.event, ("ids",)).get("ids"), "ids")
        if not ids:
            raise invalid("ids", "is missing: which profiles?")
        return json_answer({"profiles": carry_out(lambda: overviews.mappings(ids), telling)})

    @api.routes.get(PRINCIPALS)
    def principals() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        arns = _principals(query(api.event, ("arns",)).get("arns", ""))
        return json_answer({"principals": carry_out(lambda: overviews.principal_mappings(arns), telling)})


def _principals(text: str) -> list[str]:
    """Return the principals of a query parameter. They stand apart by spaces: a comma can be part of a name."""
    try:
        arns = [checked_principal(one, "arns") for one in text.split()]
    except InvalidDefinition as problem:
        raise invalid("arns", problem.problem) from problem
    if not 1 <= len(arns) <= MOST_PRINCIPALS:
        raise invalid("arns", f"must be 1 to {MOST_PRINCIPALS} principals, apart by spaces")
    return list(dict.fromkeys(arns))
