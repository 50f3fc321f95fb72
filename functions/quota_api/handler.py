"""Answers what a tenant may still use, and holds amounts for calls."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from typing import TYPE_CHECKING, Any

from bedrock_meter.api.callers import demands_scopes
from bedrock_meter.api.reports import over_dynamodb
from bedrock_meter.api.telling import out_loud
from bedrock_meter.api.wiring import quota_api, reservations_over_dynamodb
from bedrock_meter.observability import logger
from bedrock_meter.settings import required
from bedrock_meter.storage.dynamodb import connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_dynamodb = connection(is_quick=True)
_gauge_of, _reports = over_dynamodb(
    _dynamodb,
    quotas_table=required("QUOTAS_TABLE"),
    usage_table=required("USAGE_TABLE"),
    tenants_table=required("TENANTS_TABLE"),
)
_api = quota_api(
    _gauge_of,
    _reports,
    reservations_over_dynamodb(
        _dynamodb,
        quotas_table=required("QUOTAS_TABLE"),
        tenants_table=required("TENANTS_TABLE"),
    ),
    telling=out_loud(),
    tenant_claim=required("JWT_TENANT_CLAIM"),
    fail_policy=required("FAIL_POLICY"),
    demands_scopes=demands_scopes(required("JWT_SCOPES")),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Route one request."""
    return _api.resolve(event, context)


coldstart.ready()
