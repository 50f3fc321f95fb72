"""What is answered while the storage is down: each tenant's own policy, as far as this process has seen it.

``open`` allows the call without a look at the quota, ``closed`` does not answer. The policy lies on the gauge, which is
what cannot be read then, so every answer of better times is remembered here; a tenant that was not seen yet has the
stack's default. Only what can pass is an outage (throttled, lost on the way, a server error): a table that is gone or
a right that is missing is a mistake of the deployment, and opens nothing. Nor does a throttle of one range of keys: it
is what one tenant makes of its own partition by asking too fast, and would be a way past its own limits.
"""

import random
from collections import OrderedDict
from collections.abc import Callable

from bedrock_meter.api.problems import TENANT_BUSY, Problem, unavailable
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.storage.dynamodb import error_code, failure_name, is_passing, is_throttle, throttled_keys
from bedrock_meter.storage.gauges import CONFLICT

OPEN, CLOSED = "open", "closed"
CAPACITY = 10_000
BUSY_AT_MOST_S = 5
"""Longest ``Retry-After`` of a busy tenant. A partition has room again each second;
callers come back at different times."""


def tenant_busy(error: BaseException) -> Problem | None:
    """Return the answer where DynamoDB throttles the keys of one tenant, with 1 to 5 seconds to wait; None for others.

    Args:
        error: What a request to the tables ended with, or what was raised from that.
    """
    if throttled_keys(error) is not True:
        return None
    return busy(
        "One range of keys in the tables, such as one tenant's, gets more requests than it takes. Send them slower.",
        random.randint(1, BUSY_AT_MOST_S),
    )


def busy(detail: str, wait_s: int) -> Problem:
    """Return the answer to a tenant that asks faster than is answered: no denial, and no outage."""
    return Problem(
        429,
        "Tenant busy",
        detail,
        type=TENANT_BUSY,
        headers={"Retry-After": str(wait_s)},
        retry_after_seconds=wait_s,
    )


def storage_failed(error: Exception, failed: Callable[[str], None], detail: str) -> Problem:
    """Return the answer of a request that is never allowed without the tables: the tenant is busy, or they are down.

    Args:
        error: What the request to them ended with.
        failed: Told the error code where they are down.
        detail: What cannot be done then.
    """
    busy = tenant_busy(error)
    if busy is not None:
        return busy
    failed(failure_name(error))
    return unavailable(detail)


class FailPolicies:
    """The last known policy of each tenant, for the life of this process."""

    def __init__(
        self, default: str, *, capacity: int = CAPACITY, unexplained: Callable[[], None] = lambda: None
    ) -> None:
        """Know nothing yet.

        Args:
            default: Policy of tenants that have none of their own, and of those not seen yet.
            capacity: Tenants that are remembered; the one seen longest ago makes room.
            unexplained: Told of each throttle whose reason is missing: it is taken for an outage, and may be none.
        """
        self._unexplained = unexplained
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
        keys = throttled_keys(error)
        if keys is None and is_throttle(error):
            self._unexplained()
        is_outage = is_passing(error) and error_code(error) != CONFLICT and keys is not True
        return is_outage and self._known.get(tenant, self._default) == OPEN
