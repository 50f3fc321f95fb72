"""The reports of the quota API: usage, explanations and the API's own document, in a function of their own.

They read up to a thousand times what a decision reads. Beside the decisions, one tenant's reports would take their
concurrency; see ADR 0037.
"""

from collections.abc import Callable

from bedrock_meter import clock
from bedrock_meter.api.explanation import add_explanation
from bedrock_meter.api.published import add_document
from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.api.reports import CountedReports, Reports
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.api.usage import add_usage
from bedrock_meter.limits.gauge import Gauge


def report_api(
    gauge_of: Callable[[str], Gauge | None],
    reports: Reports,
    *,
    telling: Telling,
    tenant_claim: str,
    demands_scopes: bool = True,
    budget: ReportBudget | None = None,
    now: Callable[[], int] = clock.now_ms,
) -> Resolver:
    """Return the reports of the quota API.

    Args:
        gauge_of: Reads a tenant's gauge; None if there is no such tenant.
        reports: Reads roll-ups.
        telling: Who is told what went wrong.
        tenant_claim: Claim of a token that names its tenant.
        demands_scopes: Whether a token needs a scope, see ``callers.READ_SCOPE``.
        budget: What each tenant may read; None = the usual one.
        now: Current time in milliseconds.
    """
    budget = budget or ReportBudget()
    counted = CountedReports(reports, budget, now)

    def admit(tenant: str) -> None:
        budget.admit(tenant, now())

    api = Resolver(tenant_claim=tenant_claim, unexpected=telling.unexpected, demands_scopes=demands_scopes)
    add_usage(api, counted, admit=admit, failed=telling.failed, now=now)
    add_explanation(api, gauge_of, counted, admit=admit, failed=telling.failed, now=now)
    add_document(api, "/v1/openapi.json", "bedrock_meter.api.openapi")
    return api
