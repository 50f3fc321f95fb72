"""How fast a tenant may ask, learned from the refusals of the quota API's gateway. Pure; instants are passed in.

The gateway takes so many requests a second of all tenants and processes together, and says no more than "too many". A
tenant that was never refused is not slowed. One that is refused asks at most at a pace, which each refusal multiplies
and each answer adds to: all that share a gateway see the same part of their requests refused, so that those who ask
most are slowed most, and the paces come close to equal shares, without a word between processes.
"""

import math
from dataclasses import dataclass
from typing import Final

DECREASE: Final = 0.85
"""What is left of a pace after a refusal: little is taken, since those who ask most are refused most often."""

INCREASE: Final = 15.0
"""Requests a second by which a pace grows in a second of asking at that pace."""

SLOWEST: Final = 1.0
"""Requests a second that no refusal takes away."""

AVERAGE_SECONDS: Final = 1.0
"""Over how long the rate of asking is averaged."""

AT_ONCE: Final = 50.0
AT_ONCE_SECONDS: Final = 1.0
"""So many requests, or so much of a pace, may be asked at once, whichever is more. It carries those who ask unevenly
over a pace that fell for a moment; who asks too much all the time never has it."""

FORGOTTEN_SECONDS: Final = 60.0
"""A tenant without a refusal for so long is not slowed any more."""

CAPACITY: Final = 10_000


@dataclass(slots=True)
class _Flow:
    """One tenant's requests.

    Attributes:
        rate: Requests a second, averaged.
        asked_at: Instant of ``rate``.
        since: Instant of its first request: the average begins at 0.
        limit: Its pace in requests a second; None while it was not refused.
        room: Requests that it may send at once under its pace.
        room_at: Instant of ``room``.
        refused_at: Instant of the last refusal.
    """

    rate: float
    asked_at: float
    since: float
    limit: float | None = None
    room: float = 0.0
    room_at: float = 0.0
    refused_at: float = -math.inf


class Paces:
    """Paces by tenant. Not safe for threads by itself: its owner holds a lock. At most 10,000 tenants are known."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow] = {}

    def wait(self, tenant: str, now: float) -> float:
        """Return for how many seconds a tenant has to wait before it asks; 0 where it may ask now."""
        flow = self._flows.get(tenant)
        if flow is None or flow.limit is None:
            return 0.0
        if now - flow.refused_at >= FORGOTTEN_SECONDS:
            flow.limit = None
            return 0.0
        room = self._room(flow, flow.limit, now)
        return 0.0 if room >= 1 else (1 - room) / flow.limit

    def sent(self, tenant: str, now: float) -> None:
        """Count a request of a tenant, whatever its kind."""
        flow = self._flows.get(tenant)
        if flow is None:
            if len(self._flows) >= CAPACITY:
                self._flows.clear()
            flow = self._flows[tenant] = _Flow(0.0, now, now)
        flow.rate = _decayed(flow, now) + 1 / AVERAGE_SECONDS
        flow.asked_at = now
        if flow.limit is not None:
            flow.room = self._room(flow, flow.limit, now) - 1
            flow.room_at = now

    def refused(self, tenant: str, now: float) -> None:
        """Slow a tenant down: the gateway did not take its request."""
        flow = self._flows.get(tenant)
        if flow is None:
            return
        if flow.limit is None:
            known_for = -math.expm1(-(now - flow.since) / AVERAGE_SECONDS)
            flow.limit = max(SLOWEST, _decayed(flow, now) / max(known_for, 0.1))
            flow.room, flow.room_at = AT_ONCE, now  # what a flood may still send before its pace holds
        flow.limit = max(SLOWEST, flow.limit * DECREASE)
        flow.room = min(flow.room, _most(flow.limit))
        flow.refused_at = now

    def answered(self, tenant: str, now: float) -> None:
        """Let a tenant ask a little faster, up to twice of what it asks: its request was taken."""
        flow = self._flows.get(tenant)
        if flow is not None and flow.limit is not None:
            flow.limit = min(flow.limit + INCREASE / flow.limit, max(flow.limit, 2 * _decayed(flow, now)))

    @staticmethod
    def _room(flow: _Flow, limit: float, now: float) -> float:
        return min(_most(limit), flow.room + max(0.0, now - flow.room_at) * limit)


def _decayed(flow: _Flow, now: float) -> float:
    return flow.rate * math.exp(-max(0.0, now - flow.asked_at) / AVERAGE_SECONDS)


def _most(limit: float) -> float:
    return max(AT_ONCE, limit * AT_ONCE_SECONDS)


class RetryBudget:
    """How many requests of a process may be repeated: one for ten first ones, and so many saved at most.

    Not safe for threads by itself: its owner holds a lock.
    """

    FIRST_TRIES_FOR_ONE: Final = 10
    SAVED: Final = 10

    def __init__(self) -> None:
        self._tenths = 0

    def earn(self) -> None:
        """Count a first try."""
        self._tenths = min(self._tenths + 1, self.SAVED * self.FIRST_TRIES_FOR_ONE)

    def spend(self) -> bool:
        """Take one repetition; False if there is none left."""
        if self._tenths < self.FIRST_TRIES_FOR_ONE:
            return False
        self._tenths -= self.FIRST_TRIES_FOR_ONE
        return True
