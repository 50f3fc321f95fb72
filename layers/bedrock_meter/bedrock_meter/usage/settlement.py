"""Which reservations a batch of records settles, and which usage nothing was reserved for.

Three facts. The first record of a call that bears its usage settles the reservation that it names, in the transaction
that records it: the reserved amount goes and the used one comes at once, or neither. A failed call and a call that was
recorded before settle nothing, and neither does a record without tokens of a model that counts them, for its twin with
tokens is still to come; images, and calls that are billed by image or request, need no tokens. A reservation is settled
once, by one call, which it remembers, and only by a call of its own tenant; a lease by none.

What a reservation looks like is learned from one read for each batch, and from the transactions that are refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bedrock_meter.limits.limit import Layout
from bedrock_meter.limits.overuse import Overuse, overuse
from bedrock_meter.limits.reservations import KEPT_MS, Reservation
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change, LedgerEntry

ReservationKey = tuple[str, str]
"""Tenant and id."""


class Settlement(NamedTuple):
    """A reservation that a record settles, as it must still be and as it is then."""

    before: Reservation
    after: Reservation


class Uncovered(NamedTuple):
    """Why nothing was reserved for some usage, or not for all of it.

    Attributes:
        reason: ``none``, ``unknown``, ``expired`` or ``released``: nothing was; ``reused``: another call has settled
            what was held; ``above``: far more was used.
        overuse: How far, where it is ``above``.
    """

    reason: str
    overuse: Overuse | None = None


def named_by(change: Change) -> ReservationKey | None:
    """Return the reservation that a change would settle: None where it names none, or brings no first usage."""
    held = change.held
    if not _brings_usage(change) or (held is not None and _has_usage(held)):
        return None
    return change.entry.tenant, change.reservation


def _brings_usage(change: Change) -> bool:
    """Whether a change names a reservation and a record of its call, which succeeded, bears its usage."""
    entry = change.entry
    if not change.reservation or entry.tenant == UNATTRIBUTED or entry.error_code is not None:
        return False
    return _has_usage(entry) or not change.counts_tokens


def _has_usage(entry: LedgerEntry) -> bool:
    return bool(entry.tokens.total or entry.images)


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

    def of_all(self, changes: Iterable[Change], now_ms: int) -> tuple[Settlement, ...]:
        """Return what changes settle together: each reservation once, by the first of them."""
        found: dict[str, Settlement] = {}
        for change in changes:
            before = self.of(change, now_ms)
            if before is not None and before.id not in found:
                found[before.id] = Settlement(before, before.settled(change.entry.key))
        return tuple(found.values())

    def uncovered(self, change: Change, layout: Layout, settled: Sequence[Settlement], now_ms: int) -> Uncovered | None:
        """Return why nothing was reserved for the usage of a change.

        None where something was, and where that cannot be told: one that is not there any more may have been forgotten;
        and as long as no record of a call bears its usage, another one may.

        Args:
            change: The usage.
            layout: The limits of its tenant.
            settled: What the changes of its transaction settle together.
            now_ms: The instant.
        """
        if not change.reservation:
            return Uncovered("none") if change.sums.requests > 0 else None
        if not _brings_usage(change):
            return None
        entry = change.entry
        reservation = self._seen.get((entry.tenant, change.reservation))
        is_first = named_by(change) is not None
        if reservation is None:
            return Uncovered("unknown") if is_first and now_ms < entry.event_ms + KEPT_MS else None
        if reservation.is_lease:
            reason = reservation.status_at(now_ms)
            return Uncovered(reason) if is_first and reason != "open" else None
        settles = next((one.after for one in settled if one.before.id == reservation.id), reservation)
        if settles.status == "settled":
            if settles.settled_by != entry.key:
                return Uncovered("reused") if is_first else None
            used = overuse(layout, reservation, entry.sums, entry.profile, entry.model)
            return Uncovered("above", used) if used is not None else None
        return Uncovered(settles.status_at(now_ms)) if is_first else None

    def learn(self, key: ReservationKey, reservation: Reservation | None) -> None:
        """Take in what a reservation looks like now; None = it is not there."""
        if reservation is None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = reservation


NO_SETTLEMENTS = Settlements({})
