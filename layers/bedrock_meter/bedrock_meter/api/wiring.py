"""The quota API: which routes decide, and what they read. Its reports are wired apart, in ``report_wiring.py``."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bedrock_meter import clock
from bedrock_meter.api.outage import FailPolicies
from bedrock_meter.api.quota import add_quota
from bedrock_meter.api.reports import Reports
from bedrock_meter.api.reservations import Desk, add_reservations
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.api.unpriced import UnpricedUsage
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.settings import Tables

if TYPE_CHECKING:
    from bedrock_meter.limits.costs import Rater
    from bedrock_meter.limits.reserving import Reservations
    from bedrock_meter.pricing.rating import Call, Rated
    from bedrock_meter.tenants.selection import SelectionStore


def quota_api(
    gauge_of: Callable[[str], Gauge | None],
    reports: Reports,
    reservations: "Callable[[], Reservations] | None",
    *,
    telling: Telling,
    tenant_claim: str,
    fail_policy: str,
    demands_scopes: bool = True,
    now: Callable[[], int] = clock.now_ms,
) -> Resolver:
    """Return the quota API but for its reports.

    Args:
        gauge_of: Reads a tenant's gauge; None if there is no such tenant.
        reports: Reads roll-ups, of those models that have no price where a limit denies for that.
        reservations: Makes the service that holds amounts, with the first request; None leaves their routes out.
        telling: Who is told what went wrong.
        tenant_claim: Claim of a token that names its tenant.
        fail_policy: ``open`` or ``closed``, for tenants without one of their own.
        demands_scopes: Whether a token needs a scope, see ``callers.READ_SCOPE``.
        now: Current time in milliseconds.
    """
    api = Resolver(tenant_claim=tenant_claim, unexpected=telling.unexpected, demands_scopes=demands_scopes)
    policies = FailPolicies(fail_policy, unexplained=telling.unexplained)
    unpriced = UnpricedUsage(reports, failed=telling.failed)
    add_quota(api, gauge_of, policies, unpriced, failed=telling.failed, degraded=telling.degraded, now=now)
    if reservations is not None:
        desk = Desk(reservations, policies, unpriced, failed=telling.failed, degraded=telling.degraded, now=now)
        add_reservations(api, desk)
    return api


class _LateRater:
    """A rater that loads the price book when a limit in US dollars asks for the first price."""

    def __init__(self, dynamodb: Any, tables: Tables) -> None:
        self._client = dynamodb
        self._tables = tables

    @cached_property
    def _rater(self) -> "Rater":
        from bedrock_meter.pricing.wiring import rater_for

        return rater_for(self._client, self._tables)

    def rate(self, call: "Call") -> "Rated":
        return self._rater.rate(call)


def reservations_over_dynamodb(dynamodb: Any, *, quotas_table: str, tenants_table: str) -> "Callable[[], Reservations]":
    """Return what makes the reservation service; prices are loaded with the first limit that asks for one.

    Args:
        dynamodb: Client; its Region is the one that calls are made from, where nothing says another one.
        quotas_table: Gauges and reservations.
        tenants_table: Profiles of tenants, and the operator's prices.
    """

    def make() -> "Reservations":
        from bedrock_meter.limits.wiring import reservations
        from bedrock_meter.tenants.selection import ProfileSelection

        tables = Tables(ledger="", usage="", quotas=quotas_table, tenants=tenants_table)

        def directory() -> "SelectionStore":
            from bedrock_meter.storage.directory import DynamoDBDirectoryStore

            return DynamoDBDirectoryStore(dynamodb, tables)

        return reservations(
            dynamodb,
            tables,
            rater=_LateRater(dynamodb, tables),
            region=dynamodb.meta.region_name,
            destinations=ProfileSelection(directory),
        )

    return make
