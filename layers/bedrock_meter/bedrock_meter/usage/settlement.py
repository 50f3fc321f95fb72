"""Which reservations a batch of records settles.

Three facts. The first record of a call that bears tokens settles the reservation that it names, in the transaction that
records its usage: the reserved amount goes and the used one comes at once, or neither. A twin without tokens, a failed
call and a call that was recorded before settle nothing. A reservation is settled once, by one call, and only by a call
of its own tenant; a lease by none.

What a reservation looks like is learned from one read for each batch, and from the transactions that are refused.
"""

from collections.abc import Iterable, Mapping

from bedrock_meter.limits.reservations import KEPT_MS, Reservation
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change

ReservationKey = tuple[str, str]
"""Tenant and id."""


def named_by(change: Change) -> ReservationKey | None:
    """Return the reservation that a change would settle: None where it names none, or adds no first tokens."""
    entry, held = change.entry, change.held
    if not change.reservation or entry.tenant == UNATTRIBUTED or entry.error_code is not None:
        return None
    if not entry.tokens.total or (held is not None and held.tokens.total):
        return None
    return entry.tenant, change.reservation


class Settlements:
    """The reservations that the records of one batch name, as last seen."""

    def __init__(self, seen: Mapping[ReservationKey, Reservation]) -> None:
        self._seen = dict(seen)

    def of(self, change: Change, now_ms: int) -> Reservation | None:
        """Return the reservation that a change settles at ``now_ms``; None where there is none that is open."""
        key = named_by(change) if self._seen else None
        reservation = self._seen.get(key) if key is not None else None
        if reservation is None or reservation.is_lease or not reservation.is_open(now_ms):
            return None
        return reservation

    def uncovered(self, change: Change, now_ms: int) -> str:
        """Return why nothing was reserved for the usage of a change: ``none``, ``unknown``, ``expired``, ``released``.

        Empty where something was, and where that cannot be told: a settled reservation may have been settled by this
        very call, delivered before; one that is not there any more may have been forgotten; and as long as no record of
        a call bears tokens, another one may.
        """
        if not change.reservation:
            return "none" if change.sums.requests > 0 else ""
        key = named_by(change)
        if key is None:
            return ""
        reservation = self._seen.get(key)
        if reservation is None:
            return "unknown" if now_ms < change.entry.event_ms + KEPT_MS else ""
        if reservation.status == "open":
            return "" if reservation.is_open(now_ms) else "expired"
        return "released" if reservation.status == "released" else ""

    def of_all(self, changes: Iterable[Change], now_ms: int) -> tuple[Reservation, ...]:
        """Return the reservations that changes settle together, each once."""
        found = {one.id: one for change in changes if (one := self.of(change, now_ms)) is not None}
        return tuple(found.values())

    def learn(self, key: ReservationKey, reservation: Reservation | None) -> None:
        """Take in what a reservation looks like now; None = it is not there."""
        if reservation is None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = reservation


NO_SETTLEMENTS = Settlements({})
