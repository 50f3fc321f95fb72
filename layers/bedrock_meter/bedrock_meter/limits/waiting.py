"""How long to tell a caller to wait that open reservations stand in the way of.

Any of them may be given back at any moment, and none has to be before it expires. So the wait grows: it is as long as
the same holds have stood in the way, at least a second, at most until they have passed. A caller that obeys asks twice
as late each time instead of once a second.

What is remembered is of one process, and only lengthens or shortens a wait: forgetting it does no harm.
"""

from dataclasses import dataclass

from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holds import held_under, hold_key
from bedrock_meter.limits.reservations import Decision

SHORTEST_MS = 1_000
REMEMBERED_TENANTS = 1_000


@dataclass(frozen=True, slots=True)
class _Standing:
    limit: str
    holds: dict[str, int]
    since_ms: int


class Waits:
    """Remembers by tenant since when the same holds have been in the way. Threads may share it."""

    def __init__(self) -> None:
        self._standing: dict[str, _Standing] = {}

    def wait_ms(self, tenant: str, gauge: Gauge, decision: Decision, now_ms: int) -> int | None:
        """Return what to tell of a denial; None where waiting does not help, whatever is given back.

        Args:
            tenant: Whose call was denied.
            gauge: What the decision was made of.
            decision: The denial.
            now_ms: When it was made; not before the last one of this tenant.
        """
        if decision.soonest_ms is None or decision.denied_by is None:
            return None
        limit = decision.denied_by.limit
        holds = held_under(gauge.holds, hold_key(limit), now_ms)
        standing = self._standing.get(tenant)
        if standing is None or (standing.limit, standing.holds) != (limit.name, holds):
            standing = _Standing(limit.name, holds, now_ms)
            if tenant not in self._standing and len(self._standing) >= REMEMBERED_TENANTS:
                self._standing.pop(next(iter(self._standing), ""), None)
            self._standing[tenant] = standing
        longest_ms = now_ms - standing.since_ms
        if decision.retry_after_ms is not None:
            longest_ms = min(longest_ms, decision.retry_after_ms)
        return max(SHORTEST_MS, decision.soonest_ms, longest_ms)
