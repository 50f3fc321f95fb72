"""Loading a tenants file into a deployed stack: a local one, or one on AWS."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from bedrock_meter.cli.deployed import tables_of
from bedrock_meter.clock import now_ms
from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.local.failures import BadInput, NotAgreed
from bedrock_meter.tenants.audit import AuditTrail
from bedrock_meter.tenants.onboarding import Applied, apply
from bedrock_meter.tenants.planning import Planning
from bedrock_meter.tenants.plans import Plan
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


def load_plans(path: Path) -> tuple[Plan, ...]:
    """Read the plans of a tenants file, none where it mentions none; raises as ``load_tenants`` does."""
    from bedrock_meter.tenants.file import load_plans as load

    try:
        return load(path)
    except InvalidDefinition as problem:
        raise BadInput(str(problem)) from problem


def plan_trail(outputs: Mapping[str, str]) -> AuditTrail:
    """Return where changes of plans are noted."""
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.keys import plan_key

    return DynamoDBAuditTrail(client("dynamodb"), tables_of(outputs), plan_key)


def planning(outputs: Mapping[str, str], by: str) -> Planning:
    """Return what changes plans in the stack with these outputs, in the name of ``by``."""
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    tables, dynamodb = tables_of(outputs), client("dynamodb")
    return Planning(
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(dynamodb, tables),
        plan_trail(outputs),
        DynamoDBAuditTrail(dynamodb, tables),
        by=by,
        clock=now_ms,
        new_id=lambda: uuid4().hex,
    )


def apply_gateways(
    gateways: GatewayDefinition, outputs: Mapping[str, str], seen: GatewayDefinition | None = None
) -> bool:
    """Make these the gateways of a stack, and no others. Doing it again changes nothing.

    Args:
        gateways: As they are to be.
        outputs: Of the stack.
        seen: As they were when this was agreed to; others that are there by now stay. None = whatever they are.

    Returns:
        Whether anything changed.

    Raises:
        NotAgreed: They are others than those that were seen; nothing was changed.
        LeaseLost: Another writer keeps changing them.
    """
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    tables = tables_of(outputs)
    store = PynamoDBTenantStore(tables)
    before = store.trust()
    present = GatewayDefinition(before.gateways, before.metadata_key)
    if present == gateways:
        return False
    if seen is not None and present != seen:
        raise NotAgreed("the gateways were changed by another writer meanwhile: run it again to see the difference")
    if not store.put_gateways(gateways):
        raise LeaseLost("the gateways were changed by others several times meanwhile; nothing was changed here")
    return True


def apply_tenants(
    definitions: Sequence[TenantDefinition], outputs: Mapping[str, str], by: str, plans: Sequence[Plan] = ()
) -> Iterator[Applied]:
    """Apply plans and definitions to the stack with these outputs, in the name of ``by``.

    Plans are written down first, then the definitions are applied, then the plans are installed for whoever else has
    them; of those only the ones that changed are yielded.
    """
    work = planning(outputs, by)
    if plans:
        work.put(plans, redefined={one.id for one in definitions})
    yield from _apply_definitions(definitions, outputs, by)
    for settled in work.settle({plan.name for plan in plans}):
        if settled.problem:
            raise LeaseLost(f"tenant {settled.tenant}: {settled.problem}")
        if settled.is_changed:
            yield Applied(settled.tenant, ("limits",), now_ms())


def _apply_definitions(
    definitions: Sequence[TenantDefinition], outputs: Mapping[str, str], by: str
) -> Iterator[Applied]:
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    tables = tables_of(outputs)
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
