"""Boosts in the admin API: more of one limit for a while, given, listed and ended early."""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_protocol import (
    MAX_BODY_BYTES,
    boost_not_found,
    carry_out,
    json_answer,
    no_content,
)
from bedrock_meter.api.problems import invalid
from bedrock_meter.api.requests import body_bytes, instant, json_object, query, refuse_unknown
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.tenants.administration import Administration
from bedrock_meter.tenants.boosting import ID, WantedBoost

MEMBERS = ("limit", "from", "to", "amount", "factor", "reason")


def add_boosts(api: Resolver, administration: Administration, telling: Telling, path: str) -> None:
    """Add the routes.

    Args:
        api: Gets them.
        administration: Reads and changes tenants.
        telling: Who is told what went wrong.
        path: Where a tenant's boosts are.
    """

    @api.routes.get(path)
    def boosts(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        found = carry_out(lambda: administration.boosts(tenant), telling)
        return json_answer({"tenant": tenant, "boosts": found})

    @api.routes.post(path)
    def boost(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        wanted = _wanted(json_object(body_bytes(api.event, MAX_BODY_BYTES)), api.caller.name)
        made, is_new = carry_out(lambda: administration.boost(tenant, wanted), telling)
        place = {"Location": f"{path.replace('<tenant>', tenant)}/{made['id']}"}
        return json_answer(made, place, 201) if is_new else json_answer(made)

    @api.routes.delete(f"{path}/<boost>")
    def end_boost(tenant: str, boost: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        by = api.caller.name
        if not ID.fullmatch(boost):
            raise boost_not_found()
        carry_out(lambda: administration.end_boost(tenant, boost, by), telling)
        return no_content()


def _wanted(document: Mapping[str, Any], by: str) -> WantedBoost:
    refuse_unknown("", document, MEMBERS)
    for name in ("limit", "reason"):
        if not isinstance(document.get(name), str):
            raise invalid(name, "must be text")
    if document.get("to") is None:
        raise invalid("to", "must be there: a boost ends")
    from_ms = None if document.get("from") is None else _instant_ms("from", document["from"])
    return WantedBoost(
        document["limit"],
        _instant_ms("to", document["to"]),
        document["reason"],
        by,
        from_ms,
        document.get("amount"),
        document.get("factor"),
    )


def _instant_ms(name: str, value: object) -> int:
    found = instant(name, value) if isinstance(value, str) else None
    if not isinstance(found, int):
        raise invalid(name, "must be an instant with its offset, such as 2026-12-01T00:00:00Z")
    return found
