"""``GET /v1/tenants/{tenant}/explanation``: which limit decides, in which window, and who used it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.answers import json_answer
from bedrock_meter.api.outage import storage_failed
from bedrock_meter.api.problems import Problem, tenant_not_found
from bedrock_meter.api.reports import Reports
from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Gauge, Reading, read
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.status import denied_by, limit_status
from bedrock_meter.limits.suspension import public_suspension_document
from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.storage.dynamodb import AWS_ERRORS

if TYPE_CHECKING:
    from bedrock_meter.limits.explanation import Share

PAGES = 4
"""Pages of roll-ups that one limit's explanation reads, of at most 1 MB each."""

DENYING = 3
"""Limits that are explained at once; more are asked for by name."""


def add_explanation(
    api: Resolver,
    gauge_of: Callable[[str], Gauge | None],
    reports: Reports,
    *,
    admit: Callable[[str], None],
    failed: Callable[[str], None],
    now: Callable[[], int],
) -> None:
    """Add the route.

    Args:
        api: Gets it.
        gauge_of: Reads a tenant's gauge; None if there is no such tenant.
        reports: Reads its roll-ups.
        admit: Raises the answer for a tenant that has asked for too many.
        failed: Told the error code when the storage could not be read.
        now: Current time in milliseconds.
    """

    @api.routes.get("/v1/tenants/<tenant>/explanation")
    def explanation(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        name = query(api.event, ("limit",)).get("limit")
        admit(tenant)
        try:
            gauge = gauge_of(tenant)
            if gauge is None:
                raise tenant_not_found()
            document = _document(gauge, reports, name, now())
        except AWS_ERRORS as error:
            raise storage_failed(error, failed, "The usage cannot be read at the moment. Try again.") from error
        return json_answer(document)


def _document(gauge: Gauge, reports: Reports, name: str | None, now_ms: int) -> dict[str, Any]:
    from bedrock_meter.limits.explanation import decisive

    readings = read(gauge, now_ms)
    first = decisive(readings)
    chosen = [one for one in readings if one.limit.name == name]
    if name is not None and not chosen:
        raise Problem(404, "Limit not found", "The tenant has no limit of this name; GET .../quota lists them.")
    if name is None and first is not None:
        others = [one for one in readings if not one.allowed and one is not first]
        chosen = [first, *others][:DENYING]
    suspended = public_suspension_document(gauge.suspension)
    return {
        "tenant": gauge.tenant,
        "allowed": suspended is None and all(one.allowed for one in readings),
        "suspended": suspended,
        "as_of": iso(now_ms),
        "version": gauge.layout.version,
        "denied_by": denied_by(readings),
        "decisive": None if first is None else first.limit.name,
        "limits": [_explained(gauge.tenant, one, reports, now_ms) for one in chosen],
    }


def _explained(tenant: str, reading: Reading, reports: Reports, now_ms: int) -> dict[str, Any]:
    from bedrock_meter.limits.explanation import explain, range_of

    # Consistently: the sums are promised never to be below what the limit itself says is used.
    pages = reports.pages(tenant, *range_of(reading, now_ms))
    found = explain(reading, pages, now_ms, max_pages=PAGES)
    meter = reading.limit.meter
    return {
        **limit_status(reading, now_ms),
        "explained": {
            "from": iso(found.from_ms),
            "to": iso(found.to_ms),
            "exact": found.is_exact,
            "complete": found.is_complete,
            "granularity_seconds": QUARTER_MS // 1_000,
            "total": meter.shown(found.total),
            "uncounted_requests": found.uncounted,
            "models": _shares("model", found.models, found.total, meter),
            "profiles": _shares("profile", found.profiles, found.total, meter),
        },
    }


def _shares(kind: str, shares: "tuple[Share, ...]", total: int, meter: Meter) -> list[dict[str, Any]]:
    return [
        {
            kind: share.name or None,
            "amount": meter.shown(share.amount),
            "requests": share.requests,
            "uncounted_requests": share.uncounted,
            "percent": round(100 * share.amount / total, 1) if total > 0 else 0.0,
        }
        for share in shares
    ]
