"""Answers what a tenant has used and which limit decides: the reports of the quota API."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from typing import TYPE_CHECKING, Any

from bedrock_meter.api.callers import demands_scopes
from bedrock_meter.api.report_wiring import report_api
from bedrock_meter.api.reports import over_dynamodb
from bedrock_meter.api.telling import out_loud
from bedrock_meter.observability import logger
from bedrock_meter.settings import required
from bedrock_meter.storage.dynamodb import connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_gauge_of, _reports = over_dynamodb(
    connection(is_quick=True),
    quotas_table=required("QUOTAS_TABLE"),
    usage_table=required("USAGE_TABLE"),
    tenants_table=required("TENANTS_TABLE"),
)
_api = report_api(
    _gauge_of,
    _reports,
    telling=out_loud(),
    tenant_claim=required("JWT_TENANT_CLAIM"),
    demands_scopes=demands_scopes(required("JWT_SCOPES")),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Route one request."""
    return _api.resolve(event, context)


coldstart.ready()
