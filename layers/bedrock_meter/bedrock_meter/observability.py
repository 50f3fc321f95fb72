"""Logs and metrics, as Powertools writes them: JSON lines and embedded metrics, one dimension (the service).

A tenant, model or profile is never a metric dimension: those are chosen by callers and each value would cost money.
Events are never logged: they carry prompts.
"""

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit, single_metric

COUNT = MetricUnit.Count
MILLISECONDS = MetricUnit.Milliseconds

logger = Logger()
metrics = Metrics()
"""Service and namespace come from ``POWERTOOLS_SERVICE_NAME`` and ``POWERTOOLS_METRICS_NAMESPACE``."""


def count(name: str, amount: int) -> None:
    """Add to a counter of this invocation; zeros are written too, so that a metric that stands still is a metric."""
    metrics.add_metric(name=name, unit=COUNT, value=amount)


def count_once(name: str) -> None:
    """Write a counter at once: for functions that normally have nothing to count and need no metric line each time."""
    with single_metric(name=name, unit=COUNT, value=1):
        pass
