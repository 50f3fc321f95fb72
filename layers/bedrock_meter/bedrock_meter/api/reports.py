"""What reports read: a tenant's zone and its roll-ups. Loaded with the first report, so that a start costs little."""

from collections.abc import Callable
from typing import Any, Protocol

from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.storage import gauges


class Reports(Protocol):
    """What the reports read, so that a test can count pages."""

    def timezone(self, tenant: str) -> str | None:
        """Return the tenant's time zone; None if there is no such tenant."""

    def pages(
        self, tenant: str, from_ms: int, to_ms: int, *, newest_first: bool = False, is_consistent: bool = True
    ) -> Any:
        """Yield the tenant's rows in [from, to), page by page, in the order of time or against it.

        A read that is not consistent costs half, and may lack what was recorded a moment ago.
        """


class DynamoDBReports:
    """``Reports`` over the Tenants and Usage tables."""

    def __init__(self, dynamodb: Any, usage_table: str, tenants_table: str) -> None:
        self._client = dynamodb
        self._usage_table = usage_table
        self._tenants_table = tenants_table

    def timezone(self, tenant: str) -> str | None:
        """See ``Reports``."""
        from bedrock_meter.storage.directory import timezone_of

        return timezone_of(self._client, self._tenants_table, tenant)

    def pages(
        self, tenant: str, from_ms: int, to_ms: int, *, newest_first: bool = False, is_consistent: bool = True
    ) -> Any:
        """See ``Reports``."""
        from bedrock_meter.storage.rollups import read_rollups

        return read_rollups(
            self._client,
            self._usage_table,
            tenant,
            from_ms=from_ms,
            to_ms=to_ms,
            newest_first=newest_first,
            is_consistent=is_consistent,
        )


class CountedReports:
    """``Reports`` whose pages are counted for the tenant that they are read for."""

    def __init__(self, reports: Reports, budget: ReportBudget, now: Callable[[], int]) -> None:
        self._reports = reports
        self._budget = budget
        self._now = now

    def timezone(self, tenant: str) -> str | None:
        """See ``Reports``."""
        return self._reports.timezone(tenant)

    def pages(
        self, tenant: str, from_ms: int, to_ms: int, *, newest_first: bool = False, is_consistent: bool = True
    ) -> Any:
        """See ``Reports``."""
        for page in self._reports.pages(tenant, from_ms, to_ms, newest_first=newest_first, is_consistent=is_consistent):
            self._budget.take(tenant, 1, self._now())
            yield page


def over_dynamodb(
    dynamodb: Any, *, quotas_table: str, usage_table: str, tenants_table: str
) -> tuple[Callable[[str], Gauge | None], Reports]:
    """Return how gauges and roll-ups are read."""
    return (
        lambda tenant: gauges.load_one(dynamodb, quotas_table, tenant),
        DynamoDBReports(dynamodb, usage_table, tenants_table),
    )
