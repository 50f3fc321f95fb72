"""Reserving, shrinking and releasing, in the order of steps that keeps a limit whatever happens in between.

The decision: hold first, then write the reservation down. The hold is one conditional update of the gauge; a crash
after it leaves something held that nobody settles, until its expiry bucket passes. The other order would leave a
reservation that holds nothing. Who holds a second time for a reservation that exists (the same key again) gives that
back.

Images of gauges are remembered without an age: a hold is conditioned on what was charged since its image and on the
image's suspension, and a refusal brings the current one. Only a denial asks how old it is, because what was reserved
may be given back.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from bedrock_meter.errors import (
    Contended,
    InvalidDefinition,
    TooManyOpen,
    UnknownCost,
    UnknownReservation,
    UnknownTenant,
)
from bedrock_meter.limits.answers import Answer, again, through
from bedrock_meter.limits.costs import NO_PRICES, Costs
from bedrock_meter.limits.destination import NOTHING_CALLED, Called, Destination, Destinations
from bedrock_meter.limits.estimates import NOTHING_SAID, Estimate
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holding import Busy, Hold, ReservationStore
from bedrock_meter.limits.holds import OPEN_CHARGE, OPEN_KEY, next_end_ms, passed, reserved
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import (
    DEFAULT_LIFETIME_MS,
    LONGEST_HELD_MS,
    LONGEST_LIFETIME_MS,
    MOST_OPEN,
    Reservation,
    admitting_charges,
    charged_for,
    decide,
    held_for,
    reservation_id,
)
from bedrock_meter.limits.waiting import Waits

ATTEMPTS = 12
REMEMBER_MS = 3_000
"""For how long a denial needs no request: another limit or a resumed tenant is noticed that much later."""

REMEMBERED_TENANTS = 1_000
MOST_KEY = 200
_PAUSE_MS = 20
_LONGEST_PAUSE_MS = 400

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Image:
    gauge: Gauge
    at_ms: int


class Reservations:
    """Reserves for callers. One instance lives as long as its process; threads may share it."""

    def __init__(
        self,
        store: ReservationStore,
        *,
        clock: Callable[[], int],
        sleep_ms: Callable[[int], None],
        uniform: Callable[[], float],
        new_id: Callable[[], str],
        costs: Costs = NO_PRICES,
        destinations: Destinations | None = None,
        most_open: int = MOST_OPEN,
    ) -> None:
        """Set up.

        Args:
            store: The tables.
            clock: Current time in milliseconds.
            sleep_ms: Waits.
            uniform: A number in [0, 1).
            new_id: Makes ids of 32 hexadecimal digits.
            costs: Says what an estimate without a cost costs, where a tenant has limits in US dollars.
            destinations: Say which call will be made for a caller's words; None takes no words.
            most_open: Reservations that a tenant may have open at once.
        """
        self._most_open = most_open
        self._store = store
        self._clock = clock
        self._sleep_ms = sleep_ms
        self._uniform = uniform
        self._new_id = new_id
        self._costs = costs
        self._destinations = destinations
        self._images: dict[str, _Image] = {}
        self._waits = Waits()

    def reserve(
        self,
        tenant: str,
        estimate: Estimate,
        *,
        called: Called | None = None,
        key: str | None = None,
        is_first: bool = False,
        lifetime_ms: int = DEFAULT_LIFETIME_MS,
        is_lease: bool = False,
    ) -> Answer:
        """Hold what a call is estimated to use at most, or say which limit denies it or who suspended the tenant.

        The same key, estimate and words again return the same reservation, whatever became of it, for at least a day.
        A denial writes nothing.

        Args:
            tenant: Whose limits.
            estimate: What the call uses at most. Without a cost it is rated where the tenant has a limit in US dollars;
                where it has no price, limits in US dollars that allow that must have room left, and nothing of
                them is held.
            called: What the caller says of the call; it is decided for the call that will be made. None: the estimate's
                own model and profile are the call's.
            key: The caller's own name of this reservation. Without one, each call makes another.
            is_first: The caller knows that it has not sent this key before, so a denial need not look for it.
            lifetime_ms: For how long, at most an hour. It should outlast the call and the log's lag.
            is_lease: Whether it stands for many calls, so that no record settles it.

        Raises:
            InvalidDefinition: An amount, the key or the lifetime is out of bounds.
            UnknownTenant: The tenant has no gauge.
            KeyUsed: The key belongs to a reservation of another estimate, or of the other kind.
            UnknownCost: A limit that denies what has no price may be touched, and the cost is not known.
            ForeignProfile: The call names another tenant's profile.
            TooManyOpen: The tenant has as many reservations open as one may have.
            Contended: Others were writing each time, or the store throttled: its cause's cause tells. Nothing is held
                that does not expire by itself.
        """
        _check(key, lifetime_ms)
        destination = None
        if called is not None:
            destination = self._destination(tenant, called)
            asked, estimate = estimate, estimate.towards(destination)
        else:
            asked = estimate
        identity = self._new_id() if key is None else reservation_id(tenant, key)
        looked = is_first or key is None
        image = self._images.get(tenant)
        is_current = False
        in_the_way: Busy | None = None
        for attempt in range(ATTEMPTS):
            if image is None:
                image, existing = self._look(tenant, None if looked else identity)
                looked = is_current = True
                if existing is not None:
                    return again(existing, asked, called, image.gauge, destination, is_lease=is_lease)
            now_ms = self._clock()
            layout = image.gauge.layout
            try:
                priced = self._costs.needed(estimate, layout, tenant, now_ms)
            except UnknownCost as unknown:
                unknown.destination = destination if called is not None and called.names_something else None
                raise
            decision = decide(image.gauge, priced, now_ms, image.at_ms, lifetime_ms)
            if not decision.allowed:
                is_lasting = decision.by_used or decision.suspended is not None
                is_remembered = is_lasting and 0 <= now_ms - image.at_ms <= REMEMBER_MS
                if looked and (is_current or is_remembered):
                    wait_ms = self._waits.wait_ms(tenant, image.gauge, decision, now_ms)
                    denial = replace(decision, retry_after_ms=wait_ms)
                    return Answer(None, denial, gauge=image.gauge, destination=destination)
                image = None
                continue
            open_before = reserved(image.gauge.holds, OPEN_KEY, min(image.at_ms, now_ms))
            if open_before >= self._most_open:
                if looked and is_current:
                    ends_ms = next_end_ms(image.gauge.holds, OPEN_KEY, now_ms) or now_ms
                    raise TooManyOpen(tenant, self._most_open, ends_ms - now_ms)
                image = None
                continue
            reservation = Reservation(
                tenant,
                identity,
                held_for(layout, priced),
                now_ms + lifetime_ms,
                nonce=self._new_id(),
                is_lease=is_lease,
                estimate=estimate,
                called=called or NOTHING_CALLED,
                through=through(destination),
                key=key or "",
                created_ms=now_ms,
            )
            hold = Hold(
                reservation,
                layout.version,
                {
                    **admitting_charges(image.gauge, decision),
                    OPEN_CHARGE: image.gauge.holds.get(OPEN_CHARGE, 0) + self._most_open - open_before - 1,
                },
                {**charged_for(layout, priced), OPEN_CHARGE: 1},
                passed(image.gauge.holds, now_ms),
                image.gauge.suspension,
            )
            try:
                is_held, gauge = self._store.hold(hold)
            except Busy as busy:
                in_the_way = busy
                self._pause(attempt)
                continue
            image, is_current = self._remember(tenant, gauge), True
            if is_held:
                existing = self._written_down(reservation)
                if existing is not None:
                    return again(existing, asked, called, image.gauge, destination, is_lease=is_lease)
                return Answer(reservation, decision, True, image.gauge, destination)
        raise Contended(f"{tenant}: others were writing each time; nothing was reserved, try again") from in_the_way

    def shrink(
        self,
        tenant: str,
        identity: str,
        usage: Mapping[str, int],
        *,
        lifetime_ms: int | None = None,
        known: Reservation | None = None,
    ) -> Reservation:
        """Give back what a call did not use, and hold the rest for longer; nothing grows.

        A reservation that is closed or has expired stays as it is. Doing it twice changes nothing more.

        Args:
            tenant: Whose reservation.
            identity: Its id.
            usage: What was used, by ``estimates.KINDS``; a missing kind counts as estimated, and a missing cost is
                rated where the estimate was. Empty to renew only.
            lifetime_ms: It expires this long from now, or as before if that is later. None = as before.
            known: The reservation as last seen: saves reading it.

        Returns:
            The reservation as it is now.

        Raises:
            InvalidDefinition: An amount or the lifetime is out of bounds, a kind is unknown, or it would be held for
                more than a day from when it was made.
            UnknownReservation: The tenant has no such reservation.
            Contended: Others were writing each time; nothing was changed.
        """
        _check(None, lifetime_ms or DEFAULT_LIFETIME_MS)
        NOTHING_SAID.reported(usage)

        def smaller(held: Reservation, now_ms: int) -> Reservation:
            if not held.is_open(now_ms):
                return held
            expires_ms = max(held.expires_ms, now_ms + (lifetime_ms or 0))
            if expires_ms > max(held.expires_ms, held.created_ms + LONGEST_HELD_MS):
                raise InvalidDefinition(
                    "extend_seconds",
                    f"a reservation is held for at most {LONGEST_HELD_MS // 3_600_000} hours from when it was made;"
                    " make a new one",
                )
            return held.shrunk(self._used(held, usage), expires_ms)

        return self._change(tenant, identity, known, smaller)

    def release(self, tenant: str, identity: str, *, known: Reservation | None = None) -> Reservation:
        """Give back all that a reservation holds: the call was not made, or a lease is over.

        Doing it twice, or when it is closed or has expired already, changes nothing. Raises like ``shrink``.
        """

        def released(held: Reservation, now_ms: int) -> Reservation:
            return held.released() if held.is_open(now_ms) else held

        return self._change(tenant, identity, known, released)

    def load(self, tenant: str, identity: str) -> Reservation:
        """Read a reservation.

        Raises:
            UnknownReservation: The tenant has no such reservation.
            Contended: The store was throttled each time.
        """
        held = self._patiently(lambda: self._store.find(tenant, identity))
        if held is None:
            raise UnknownReservation(f"{tenant} has no reservation {identity}")
        return held

    def _used(self, held: Reservation, usage: Mapping[str, int]) -> Estimate:
        used = held.estimate.reported(usage)
        is_cost_held = any(one.meter is Meter.COST_USD for one in held.held)
        return self._costs.rated(used, held.tenant, held.created_ms) if usage and is_cost_held else used

    def _change(
        self,
        tenant: str,
        identity: str,
        known: Reservation | None,
        plan: Callable[[Reservation, int], Reservation],
    ) -> Reservation:
        held = known or self._patiently(lambda: self._store.find(tenant, identity))
        in_the_way: Busy | None = None
        for attempt in range(ATTEMPTS):
            if held is None:
                raise UnknownReservation(f"{tenant} has no reservation {identity}")
            now_ms = self._clock()
            wanted = plan(held, now_ms)
            if wanted == held:
                return held
            try:
                held = self._store.change(held, wanted, now_ms)
            except Busy as busy:
                in_the_way = busy
                self._pause(attempt)
                continue
            if held == wanted:
                return wanted
        raise Contended(f"{tenant}: others were writing each time; nothing was changed, try again") from in_the_way

    def _look(self, tenant: str, identity: str | None) -> tuple["_Image", Reservation | None]:
        gauge, existing = self._patiently(lambda: self._store.look(tenant, identity))
        return self._remember(tenant, gauge), existing

    def _remember(self, tenant: str, gauge: Gauge | None) -> "_Image":
        if gauge is None:
            self._images.pop(tenant, None)
            raise UnknownTenant(f"there is no tenant {tenant}")
        if tenant not in self._images and len(self._images) >= REMEMBERED_TENANTS:
            self._images.pop(next(iter(self._images), ""), None)
        image = _Image(gauge, self._clock())
        self._images[tenant] = image
        return image

    def _written_down(self, reservation: Reservation) -> Reservation | None:
        """Write a reservation down that is held; returns the one that was there before it, after giving back."""
        existing = self._patiently(lambda: self._store.put(reservation))
        if existing is None or existing.nonce == reservation.nonce:
            return None
        with suppress(Contended):  # It expires; too much is held until then, never too little.
            self._patiently(lambda: self._store.give_back(reservation))
        return existing

    def _destination(self, tenant: str, called: Called) -> Destination:
        if self._destinations is None:
            raise TypeError("without destinations no caller's words are taken")
        return self._destinations.of(tenant, called, self._clock())

    def _patiently(self, send: Callable[[], T]) -> T:
        in_the_way: Busy | None = None
        for attempt in range(ATTEMPTS):
            try:
                return send()
            except Busy as busy:
                in_the_way = busy
                self._pause(attempt)
        raise Contended("others were writing each time, try again") from in_the_way

    def _pause(self, attempt: int) -> None:
        self._sleep_ms(1 + int(self._uniform() * min(_LONGEST_PAUSE_MS, _PAUSE_MS * 2**attempt)))


def _check(key: str | None, lifetime_ms: int) -> None:
    if key is not None and not (0 < len(key) <= MOST_KEY and key.isprintable()):
        raise InvalidDefinition("key", f"write 1 to {MOST_KEY} printable characters")
    if not 1_000 <= lifetime_ms <= LONGEST_LIFETIME_MS:
        raise InvalidDefinition(
            "lifetime", f"{lifetime_ms} ms is outside 1 second to {LONGEST_LIFETIME_MS // 60_000} minutes"
        )
