"""The quota API: HTTP in, one consistent read, a decision out.

Who may ask is decided before: the routes require IAM signatures (SigV4). What is left here is the alphabet of a
tenant's id, one ``GetItem``, and the headers that clients obey.
"""

import json
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from bedrock_meter import clock
from bedrock_meter.api.problems import problem, tenant_not_found
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code
from bedrock_meter.tenants.tenant import checked_tenant_id


def quota_api(
    dynamodb: Any, quotas_table: str, *, failed: Callable[[str], None], now: Callable[[], int] = clock.now_ms
) -> APIGatewayHttpResolver:
    """Return the resolver of the quota API.

    Args:
        dynamodb: Low-level client.
        quotas_table: Name of the Quotas table.
        failed: Told the error code when the storage could not be read.
        now: Current time in milliseconds.
    """
    api = APIGatewayHttpResolver()

    @api.get("/v1/tenants/<tenant>/quota")
    def quota(tenant: str) -> Response:  # type: ignore[type-arg]
        """Answer whether a call of this tenant may be made now."""
        try:
            checked_tenant_id(tenant)
        except InvalidDefinition:
            return tenant_not_found()
        try:
            gauge = gauges.load_one(dynamodb, quotas_table, tenant)
        except AWS_ERRORS as error:
            failed(error_code(error) or type(error).__name__)
            return problem(
                503,
                "Quota unknown",
                "The quota cannot be read at the moment. Try again; what to do meanwhile is the caller's policy.",
                headers={"Retry-After": "1"},
            )
        if gauge is None:
            return tenant_not_found()
        now_ms = now()
        headers = {"Cache-Control": "no-store", **rate_limit_headers(gauge, now_ms)}
        return Response(200, "application/json", json.dumps(quota_status(gauge, now_ms)), headers=headers)

    @api.not_found
    def no_route(_: NotFoundError) -> Response:  # type: ignore[type-arg]
        return problem(404, "No such resource", "Ask GET /v1/tenants/{tenant}/quota.")

    return api
