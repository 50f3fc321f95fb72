"""Loading a tenants file into a deployed stack: a local one, or one on AWS."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from bedrock_meter.clock import now_ms
from bedrock_meter.errors import ConfigurationError, InvalidDefinition, LeaseLost
from bedrock_meter.local.failures import BadInput
from bedrock_meter.settings import Tables
from bedrock_meter.tenants.onboarding import Applied, apply
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import GatewayDefinition


def load_tenants(path: Path) -> tuple[TenantDefinition, ...]:
    """Read a tenants file.

    Raises:
        BadInput: It cannot be read, or something in it is wrong.
    """
    from bedrock_meter.tenants.file import load

    try:
        return load(path)
    except InvalidDefinition as problem:
        raise BadInput(str(problem)) from problem


def load_gateways(path: Path) -> GatewayDefinition | None:
    """Read the gateways of a tenants file, None where it mentions none; raises as ``load_tenants`` does."""
    from bedrock_meter.tenants.file import load_gateways as load

    try:
        return load(path)
    except InvalidDefinition as problem:
        raise BadInput(str(problem)) from problem


def apply_gateways(gateways: GatewayDefinition, outputs: Mapping[str, str]) -> bool:
    """Make these the gateways of a stack, and no others. Doing it again changes nothing.

    Returns:
        Whether anything changed.

    Raises:
        LeaseLost: Somebody else keeps changing them.
    """
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    tables = Tables(*(outputs[f"{name}Table"] for name in ("Ledger", "Usage", "Quotas", "Tenants")))
    store = PynamoDBTenantStore(tables)
    before = store.trust()
    if (before.gateways, before.metadata_key) == (gateways.principals, gateways.metadata_key):
        return False
    if not store.put_gateways(gateways):
        raise LeaseLost("the gateways were changed by others several times meanwhile; nothing was changed here")
    return True


def apply_tenants(definitions: Sequence[TenantDefinition], outputs: Mapping[str, str], by: str) -> Iterator[Applied]:
    """Apply definitions to the stack with these outputs, with this process's AWS settings, in the name of ``by``."""
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    tables = Tables(*(outputs[f"{name}Table"] for name in ("Ledger", "Usage", "Quotas", "Tenants")))
    dynamodb = client("dynamodb")
    return apply(
        definitions,
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(dynamodb, tables),
        clock=now_ms,
        new_id=lambda: uuid4().hex,
        audit=DynamoDBAuditTrail(dynamodb, tables),
        by=by,
    )


def outputs_on_aws(stack_name: str) -> dict[str, str]:
    """Return the outputs of a stack on AWS.

    Raises:
        ConfigurationError: There is no such stack, or it is not one of ours.
    """
    from bedrock_meter.local.deployment import outputs_of
    from bedrock_meter.storage.dynamodb import session

    cloudformation: Any = session().create_client("cloudformation")
    try:
        stacks = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except cloudformation.exceptions.ClientError as refusal:
        raise ConfigurationError(f"stack {stack_name}: {refusal.response['Error']['Message']}") from refusal
    outputs = outputs_of(stacks[0])
    if "TenantsTable" not in outputs:
        raise ConfigurationError(f"stack {stack_name} is no bedrock-meter: it has no output TenantsTable")
    return outputs
