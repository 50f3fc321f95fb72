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
from bedrock_meter.storage.audit import DynamoDBAuditTrail, DynamoDBHistory
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import plan_key
from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.administration import Administration
from bedrock_meter.tenants.forgetting import Forgetting
from bedrock_meter.tenants.leaving import Leaving
from bedrock_meter.tenants.overview import Overviews

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


ERASURE_PAGE = 500
"""Ledger entries between two looks at the clock: changing all of them takes seconds, and a request has 29."""

_tables = Tables.from_environment("ledger", "usage", "quotas", "tenants")
_client = connection()
_tenants = PynamoDBTenantStore(_tables)
_installation = DynamoDBInstallationStore(_client, _tables)
_suspensions = DynamoDBSuspensionStore(_client, _tables)
_trail = DynamoDBAuditTrail(_client, _tables)
_callers = DynamoDBPrincipalStore(_client, _tables, page=ERASURE_PAGE)
_api = admin_api(
    Administration(
        DynamoDBAdministrationStore(_client, _tables),
        _tenants,
        _installation,
        _suspensions,
        _trail,
        DynamoDBAuditTrail(_client, _tables, plan_key),
        clock=now_ms,
        new_id=lambda: uuid4().hex,
    ),
    Overviews(_tenants, _installation.gauge, DynamoDBDirectoryStore(_client, _tables), now_ms),
    Leaving(_tenants, _suspensions, _trail, _callers, clock=now_ms, installation=_installation),
    Forgetting(_tenants, _suspensions, _trail, DynamoDBHistory(_client, _tables), _callers, clock=now_ms),
    telling=out_loud(),
    tenant_claim=required("JWT_TENANT_CLAIM"),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Route one request."""
    return _api.resolve(event, context)


coldstart.ready()
