"""What reads and changes a stack's tenants straight on its tables, as the admin API does it behind its address."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bedrock_meter.cli.deployed import tables_of

if TYPE_CHECKING:
    from bedrock_meter.tenants.administration import Administration


def office_of(outputs: Mapping[str, str]) -> "Administration":
    """Return what changes the tenants of the stack with these outputs."""
    from uuid import uuid4

    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.administration import DynamoDBAdministrationStore
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.keys import plan_key
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.administration import Administration

    tables, dynamodb = tables_of(outputs), client("dynamodb")
    return Administration(
        DynamoDBAdministrationStore(dynamodb, tables),
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(dynamodb, tables),
        DynamoDBSuspensionStore(dynamodb, tables),
        DynamoDBAuditTrail(dynamodb, tables),
        DynamoDBAuditTrail(dynamodb, tables, plan_key),
        clock=now_ms,
        new_id=lambda: uuid4().hex,
    )
