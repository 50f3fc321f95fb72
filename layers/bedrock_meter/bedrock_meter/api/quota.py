"""``GET /v1/tenants/{tenant}/quota``: one consistent read, a decision out, and the headers that clients obey."""

from collections.abc import Callable

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.answers import json_answer
from bedrock_meter.api.outage import FailPolicies, tenant_busy
from bedrock_meter.api.problems import TRY_AGAIN, Problem, tenant_not_found
from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.unpriced import UnpricedUsage
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.storage.dynamodb import AWS_ERRORS, failure_name


def add_quota(
    api: Resolver,
    gauge_of: Callable[[str], Gauge | None],
    policies: FailPolicies,
    unpriced: UnpricedUsage,
    *,
    failed: Callable[[str], None],
    degraded: Callable[[], None],
    now: Callable[[], int],
) -> None:
    """Add the route.

    Args:
        api: Gets it.
        gauge_of: Reads a tenant's gauge; None if there is no such tenant.
        policies: What to answer when that fails.
        unpriced: Says which models have no price, where a limit denies for that.
        failed: Told the error code when it failed.
        degraded: Told when a call was allowed without a look at the quota.
        now: Current time in milliseconds.
    """

    @api.routes.get("/v1/tenants/<tenant>/quota")
    def quota(tenant: str) -> Response:  # type: ignore[type-arg]
        """Answer whether a call of this tenant may be made now."""
        tenant = api.tenant(tenant)
        query(api.event, ())
        try:
            gauge = gauge_of(tenant)
        except AWS_ERRORS as error:
            busy = tenant_busy(error)
            if busy is not None:
                raise busy from error
            failed(failure_name(error))
            if not policies.allows(tenant, error):
                raise quota_unknown() from error
            degraded()
            document = {"tenant": tenant, "allowed": True, "as_of": iso(now()), "degraded": True, "limits": []}
            return json_answer(document)
        if gauge is None:
            policies.forget(tenant)
            raise tenant_not_found()
        policies.remember(tenant, gauge.fail_policy)
        now_ms = now()
        document = {**quota_status(gauge, now_ms), "fail": policies.effective(gauge), "degraded": False}
        without_price = unpriced.document(gauge, now_ms)
        if without_price is not None:
            document["unpriced"] = without_price
        return json_answer(document, headers=rate_limit_headers(gauge, now_ms))


def quota_unknown() -> Problem:
    """Return the answer when the gauge cannot be read and nothing allows the call all the same."""
    return Problem(
        503,
        "Quota unknown",
        "The quota cannot be read at the moment. Try again; what to do meanwhile is the caller's policy.",
        headers=TRY_AGAIN,
        degraded=True,
    )
