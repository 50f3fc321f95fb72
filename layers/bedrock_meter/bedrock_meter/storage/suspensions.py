"""Suspensions on the gauges, as people change them: ``SuspensionStore``."""

from functools import partial
from typing import Any

from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.patience import patiently


class DynamoDBSuspensionStore:
    """See ``SuspensionStore``."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._table = tables.quotas

    def suspension(self, tenant: str) -> tuple[bool, Suspension | None]:
        """Read the gauge consistently."""
        gauge = patiently(partial(gauges.load_one, self._client, self._table, tenant))
        return gauge is not None, gauge.suspension if gauge is not None else None

    def put_suspension(self, tenant: str, suspension: Suspension, seen: Suspension | None) -> bool:
        """Write a suspension over the one seen."""
        return patiently(partial(gauges.put_suspension, self._client, self._table, tenant, suspension, seen))
