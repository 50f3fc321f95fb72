"""What is answered while the storage is down: each tenant's own policy, as far as this process has seen it.

``open`` allows the call without a look at the quota, ``closed`` does not answer. The policy lies on the gauge, which is
what cannot be read then, so every answer of better times is remembered here; a tenant that was not seen yet has the
stack's default. Only what can pass is an outage (throttled, lost on the way, a server error): a table that is gone or
a right that is missing is a mistake of the deployment, and opens nothing.
"""

from collections import OrderedDict

from bedrock_meter.api.problems import Problem
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.storage.dynamodb import error_code, is_passing
from bedrock_meter.storage.gauges import CONFLICT

OPEN, CLOSED = "open", "closed"
CAPACITY = 10_000


def tenant_busy(error: Exception) -> Problem | None:
    """Return the answer where a tenant's own requests are too many for its part of a table; None otherwise."""
    return None


class FailPolicies:
    """The last known policy of each tenant, for the life of this process."""

    def __init__(self, default: str, *, capacity: int = CAPACITY) -> None:
        """Know nothing yet.

        Args:
            default: Policy of tenants that have none of their own, and of those not seen yet.
            capacity: Tenants that are remembered; the one seen longest ago makes room.
        """
        self._default = default
        self._capacity = capacity
        self._known: OrderedDict[str, str] = OrderedDict()

    def remember(self, tenant: str, policy: str | None) -> None:
        """Take note of what a gauge says; None is the default."""
        self._known[tenant] = policy or self._default
        self._known.move_to_end(tenant)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)

    def effective(self, gauge: Gauge) -> str:
        """Return what the tenant's calls are to do while its quota cannot be told, for callers to remember.

        ``closed`` where a strict limit can deny them: such a limit cannot be left out by asking too often.
        """
        if any(one.hard and not one.shadow for one in gauge.layout.limits):
            return CLOSED
        return gauge.fail_policy or self._default

    def forget(self, tenant: str) -> None:
        """A tenant that is gone has no policy."""
        self._known.pop(tenant, None)

    def allows(self, tenant: str, error: Exception) -> bool:
        """Return whether a call is allowed although the storage ended with ``error``."""
        is_outage = is_passing(error) and error_code(error) != CONFLICT
        return is_outage and self._known.get(tenant, self._default) == OPEN
