"""The parts of ``sync_profiles``, for the function and for the command. Clients are made when a run begins."""

from collections.abc import Callable

from bedrock_meter import clock
from bedrock_meter.settings import Tables
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.dynamodb import AWS_ERRORS, client
from bedrock_meter.storage.inference_profiles import (
    BedrockControlPlane,
    Pace,
    ServiceQuota,
    control_plane_client,
    service_quotas_client,
)
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.synchronisation import Synchroniser


def synchroniser(
    tables: Tables,
    *,
    tag_key: str,
    here: str,
    by: str,
    may_wait: Callable[[float], bool] = lambda seconds: True,
) -> Synchroniser:
    """Return what follows profiles into these tables; see ``Synchroniser`` for the arguments."""
    from pynamodb.exceptions import PynamoDBException

    return Synchroniser(
        BedrockControlPlane(control_plane_client(), Pace(may_wait=may_wait)),
        PynamoDBTenantStore(tables),
        DynamoDBAuditTrail(client("dynamodb"), tables),
        tag_key=tag_key,
        here=here,
        by=by,
        clock=clock.now_ms,
        passing=(*AWS_ERRORS, PynamoDBException),
    )


def service_quota(may_wait: Callable[[float], bool] = lambda seconds: True) -> ServiceQuota:
    """Return the service quota of inference profiles in this Region."""
    return ServiceQuota(service_quotas_client(), Pace(may_wait=may_wait))
