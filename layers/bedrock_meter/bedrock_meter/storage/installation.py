"""The limits of a tenant in DynamoDB: ``InstallationStore`` over the Quotas and Usage tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedrock_meter.limits.gauge import Gauge, Lease
from bedrock_meter.limits.limit import Layout
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.rollups import read_rollups
from bedrock_meter.usage.rollup import RollupKey, Sums


class DynamoDBInstallationStore:
    """See ``InstallationStore`` for what each call promises."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def gauge(self, tenant: str) -> Gauge | None:
        """Read the gauge consistently."""
        return gauges.load_one(self._client, self._tables.quotas, tenant)

    def create_gauge(self, tenant: str) -> None:
        """Create an empty gauge unless there is one."""
        gauges.create(self._client, self._tables.quotas, tenant)

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        """Hold recorders off."""
        return gauges.begin_change(self._client, self._tables.quotas, tenant, layout, lease, seen)

    def renew(self, tenant: str, lease: Lease, renewed: Lease, seeded: Mapping[str, int]) -> bool:
        """Extend the lease and set buckets."""
        return gauges.renew_lease(self._client, self._tables.quotas, tenant, lease, renewed, seeded)

    def clear(self, tenant: str, lease: Lease, buckets: Sequence[str]) -> bool:
        """Remove leftover buckets."""
        return gauges.clear_buckets(self._client, self._tables.quotas, tenant, lease, buckets)

    def finish(self, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]) -> bool:
        """Install and let recorders go on."""
        return gauges.finish_change(self._client, self._tables.quotas, tenant, layout, lease, seeded)

    def set_fail_policy(self, tenant: str, policy: str | None) -> None:
        """Write the policy."""
        gauges.put_fail_policy(self._client, self._tables.quotas, tenant, policy)

    def rollups(self, tenant: str, from_ms: int) -> Iterator[Sequence[tuple[RollupKey, Sums]]]:
        """Roll-up rows since ``from_ms``, consistently, in pages."""
        yield from read_rollups(self._client, self._tables.usage, tenant, from_ms=from_ms)
