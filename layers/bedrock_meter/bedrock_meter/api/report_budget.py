"""How much one tenant's reports may take of what all tenants' reports share.

A bucket for each tenant, filled by time and emptied by what was read: a report costs one, and one more for each page of
roll-ups, so that many small ones and a few large ones are bounded alike. A report that has begun is finished; the next
one waits until the bucket is no longer below one. Each process of the function has buckets of its own: what a tenant
gets in all is this, times the function's concurrency, which is bounded too.
"""

from collections import OrderedDict

from bedrock_meter.api.outage import busy
from bedrock_meter.api.problems import Problem

AT_ONCE = 100
"""What a tenant that was quiet may take at once: ten of the largest reports, or fifty small ones."""

A_SECOND = 1
"""What a tenant gets back in a second. The largest report costs ten and takes about three seconds of this function."""

TENANTS = 10_000
"""Buckets that are kept; the one used longest ago is forgotten, which is a full one after 100 seconds."""


class ReportBudget:
    """The buckets, for the life of this process."""

    def __init__(self, *, at_once: int = AT_ONCE, a_second: int = A_SECOND, tenants: int = TENANTS) -> None:
        """Begin with full buckets.

        Args:
            at_once: What one holds.
            a_second: What flows into it.
            tenants: How many are kept.
        """
        self._at_once = at_once * 1_000
        self._a_millisecond = a_second
        self._tenants = tenants
        self._levels: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def admit(self, tenant: str, now_ms: int) -> None:
        """Begin a report.

        Raises:
            Problem: 429 with the seconds to wait; the client takes it for "busy".
        """
        missing = 1_000 - self._level(tenant, now_ms)
        if missing > 0:
            raise _too_many(-(-missing // (1_000 * self._a_millisecond)))
        self.take(tenant, 1, now_ms)

    def take(self, tenant: str, amount: int, now_ms: int) -> None:
        """Count what a report has read."""
        self._levels[tenant] = self._level(tenant, now_ms) - amount * 1_000, now_ms
        self._levels.move_to_end(tenant)
        if len(self._levels) > self._tenants:
            self._levels.popitem(last=False)

    def _level(self, tenant: str, now_ms: int) -> int:
        """Return what is left, in thousandths; a clock that goes back fills nothing."""
        level, since_ms = self._levels.get(tenant, (self._at_once, now_ms))
        return min(self._at_once, level + max(0, now_ms - since_ms) * self._a_millisecond)


def _too_many(wait_s: int) -> Problem:
    return busy("This tenant has asked for more reports than are made for one at a time. Send them slower.", wait_s)
