"""The admin API's routes that only read: a tenant with what it uses now, and whose profiles are."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_ending import profile_ids
from bedrock_meter.api.admin_protocol import carry_out, json_answer
from bedrock_meter.api.problems import invalid
from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.tenants.overview import Overviews

OVERVIEW = "/v1/admin/tenants/<tenant>/overview"
PROFILES = "/v1/admin/profiles"


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
