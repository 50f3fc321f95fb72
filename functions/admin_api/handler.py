"""Reads and changes tenants and plans, for administrators."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bedrock_meter.api.admin import admin_api
from bedrock_meter.api.telling import out_loud
from bedrock_meter.clock import now_ms
from bedrock_meter.observability import logger
from bedrock_meter.settings import Tables, required
from bedrock_meter.storage.administration import DynamoDBAdministrationStore
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import plan_key
from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.administration import Administration

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_tables = Tables.from_environment("usage", "quotas", "tenants")
_client = connection()
_api = admin_api(
    Administration(
        DynamoDBAdministrationStore(_client, _tables),
        PynamoDBTenantStore(_tables),
        DynamoDBInstallationStore(_client, _tables),
        DynamoDBSuspensionStore(_client, _tables),
        DynamoDBAuditTrail(_client, _tables),
        DynamoDBAuditTrail(_client, _tables, plan_key),
        clock=now_ms,
        new_id=lambda: uuid4().hex,
    ),
    telling=out_loud(),
    tenant_claim=required("JWT_TENANT_CLAIM"),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Route one request."""
    return _api.resolve(event, context)


coldstart.ready()
