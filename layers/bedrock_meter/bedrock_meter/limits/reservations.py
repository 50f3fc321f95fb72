"""A reservation: what a call may use at most, held before it is made. Pure; instants are passed in.

Three facts: it holds one amount for each meter that the tenant's limits count, and one for each limit on some models or
profiles that the call may touch; it is *open* until the log's record settles it, its holder releases it, or it expires,
and it is closed once; while it is open it can only become smaller, though it may be held for longer. A *lease* is a
reservation for many calls: records do not settle it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, NamedTuple

from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.boosts import least_maximum
from bedrock_meter.limits.destination import NOTHING_CALLED, Called, Destination
from bedrock_meter.limits.estimates import NOTHING_SAID, Estimate, amount_of, amount_under, is_touched
from bedrock_meter.limits.gauge import Gauge, Reading, read
from bedrock_meter.limits.holds import (
    NO_HOLDS,
    OPEN_KEY,
    charged_name,
    expiry_bucket,
    held_name,
    hold_key,
    marked_name,
    reserved,
)
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.room import Need, have_room_from_ms
from bedrock_meter.limits.suspension import Suspension

DEFAULT_LIFETIME_MS = 300_000
"""Longer than the log's lag (usually less than three minutes) and a call of two minutes together."""

LONGEST_LIFETIME_MS = 3_600_000

LONGEST_HELD_MS = 86_400_000
"""From when it was made, however often it is held for longer."""

MOST_OPEN = 100_000
"""Reservations that a tenant has open at once. More than one range of keys in DynamoDB can serve: it takes 1,000 write
units a second, a call about four, and 250 calls a second held for five and a half minutes are 82,500. A limit of
``open_reservations`` sets fewer.
"""

KEPT_MS = 86_400_000
"""For how long it is known, open or closed, after it expired."""

_FOREVER_MS = 10**18

_is_id = re.compile(r"[0-9a-f]{32}").fullmatch

Status = Literal["open", "settled", "released"]


class Held(NamedTuple):
    """One amount that a reservation holds.

    Attributes:
        key: Letter under which the gauge holds it.
        meter: What is held.
        amount: How much, at least 0.
        limits: Names of the limits that it stood under when it was made.
    """

    key: str
    meter: Meter
    amount: int
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount held before a call.

    Attributes:
        tenant: Whose.
        id: What travels in the call's metadata: 32 hexadecimal digits.
        held: What it holds, by key.
        expires_ms: From this instant on it holds nothing, as far as its holder may rely on it.
        generation: Grows by one with each change; changes are conditioned on it.
        nonce: Of the attempt that made it: tells one's own write from another's.
        status: ``settled`` and ``released`` are final. An expired one stays ``open`` and holds nothing.
        is_lease: Held for many calls.
        estimate: What it was asked for with, for the call that will be made; stays as it is.
        called: The caller's words for that call.
        through: Id or ARN of the tenant's profile that the call goes through; empty = none.
        key: The caller's own name of it; empty = none.
        created_ms: When it was made.
        settled_by: The call that settled it, ``account#region#requestId``; empty = none did.
    """

    tenant: str
    id: str
    held: tuple[Held, ...]
    expires_ms: int
    generation: int = 1
    nonce: str = ""
    status: Status = "open"
    is_lease: bool = False
    estimate: Estimate = NOTHING_SAID
    called: Called = NOTHING_CALLED
    through: str = ""
    key: str = ""
    created_ms: int = 0
    settled_by: str = ""

    def is_open(self, now_ms: int) -> bool:
        """Whether it still holds something."""
        return self.status == "open" and now_ms < self.expires_ms

    def status_at(self, now_ms: int) -> str:
        """``open``, ``settled``, ``released``, or ``expired`` where its time is over and nothing closed it."""
        return "expired" if self.status == "open" and not self.is_open(now_ms) else self.status

    @property
    def holds(self) -> dict[str, int]:
        """What it adds to the gauge's holds, by name: its amounts, and itself as one that is open."""
        bucket = expiry_bucket(self.expires_ms)
        amounts = {held_name(one.key, bucket): one.amount for one in self.held if one.amount}
        return {held_name(OPEN_KEY, bucket): 1, **amounts}

    @property
    def amounts(self) -> dict[Meter, int]:
        """What it holds, by meter: the most of those limits that count one."""
        found: dict[Meter, int] = {}
        for one in self.held:
            found[one.meter] = max(one.amount, found.get(one.meter, 0))
        return found

    def shrunk(self, used: Estimate, expires_ms: int) -> "Reservation":
        """Return it with at most what was used, held at least until then; equal where nothing changes.

        Each amount shrinks to its own meter's amount of what was used: a meter that is a sum of kinds is capped as a
        sum. A cost that is not known stays as it is held, nothing grows, and nothing expires earlier.
        """
        held = tuple(one._replace(amount=_smaller(one, amount_of(one.meter, used))) for one in self.held)
        expires_ms = max(self.expires_ms, expires_ms)
        if (held, expires_ms) == (self.held, self.expires_ms):
            return self
        return replace(self, held=held, expires_ms=expires_ms, generation=self.generation + 1)

    def released(self) -> "Reservation":
        """Return it given back."""
        return replace(self, status="released", generation=self.generation + 1)

    def settled(self, call: str) -> "Reservation":
        """Return it settled by a call."""
        return replace(self, status="settled", settled_by=call, generation=self.generation + 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call with some amounts may be made.

    Attributes:
        allowed: Whether every limit has room for it.
        denied_by: The limit that stands longest in its way by what is used; None when allowed, or suspended.
        retry_after_ms: How long to wait until all limits have room if nothing more is used and nothing is given back,
            in whole seconds. 0 when allowed, None when there is no such instant: the amount is larger than the maximum,
            or a person has stopped the tenant.
        by_used: Whether what is used denies it alone, or usage without a price, so that it will be denied until then,
            whatever is given back.
        readings: What each limit says.
        room: How much more may be charged to each touched limit, by the name of the charge; below 0 where that denies.
            Where usage without a price denies, no mark more. Shadow limits are not among them.
        needs: Room that ``denied_by`` must have, in its meter; 0 when allowed.
        suspended: The suspension in force, with its reason; it denies whatever the limits say.
        soonest_ms: Like ``retry_after_ms`` if all that is reserved is given back at once: 0 where only reservations are
            in the way.
    """

    allowed: bool
    denied_by: Reading | None
    retry_after_ms: int | None
    by_used: bool
    readings: tuple[Reading, ...]
    room: Mapping[str, int]
    needs: int = 0
    suspended: Suspension | None = None
    soonest_ms: int | None = 0


def is_same_question(held: "Reservation", estimate: Estimate, called: Called | None, *, is_lease: bool) -> bool:
    """Whether a request is the one that a reservation was made for, whatever the directory says by now."""
    if (held.called, held.is_lease) != (called or NOTHING_CALLED, is_lease):
        return False
    if called is None:
        return held.estimate == estimate
    asked = held.estimate
    where = Destination(asked.model, asked.routing, asked.region, profile=asked.profile, choices=asked.choices)
    return estimate.towards(where) == asked


def reservation_id(tenant: str, key: str) -> str:
    """Return the id of the reservation that a tenant's caller asks for under a key of its own."""
    return sha256(f"{tenant}\n{key}".encode()).hexdigest()[:32]


def named_in(metadata: Iterable[tuple[str, str]]) -> str:
    """Return the reservation that a call names in its metadata; empty where it names none.

    Its caller chose it, so it is no proof of anything: it can only name a reservation of the tenant that the call
    belongs to.
    """
    return next((value for name, value in metadata if name == RESERVATION_KEY and _is_id(value)), "")


def needed(installed: InstalledLimit, estimate: Estimate) -> int:
    """Return the room that a touched limit must have: at least 1, because a call is made while something is left."""
    return max(1, amount_under(installed, estimate))


def held_for(layout: Layout, estimate: Estimate) -> tuple[Held, ...]:
    """Return what a reservation of this estimate holds under a tenant's limits, once for each key."""
    held: dict[str, Held] = {}
    for installed in layout.limits:
        if amount := amount_under(installed, estimate):
            key = hold_key(installed)
            others = held[key].limits if key in held else ()
            held[key] = Held(key, installed.meter, amount, (*others, installed.name))
    return tuple(held[key] for key in sorted(held))


def charged_for(layout: Layout, estimate: Estimate) -> dict[str, int]:
    """Return what such a reservation charges to each limit, by the charge's name."""
    return {
        charged_name(installed.slot): amount
        for installed in layout.limits
        if (amount := amount_under(installed, estimate))
    }


def moved_holds(before: Reservation, after: Reservation) -> dict[str, int]:
    """Return what a change of an open reservation adds to the gauge's holds, by name; below zero is given back."""
    old, new = before.holds, after.holds if after.status == "open" else {}
    moves = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return {name: amount for name, amount in moves.items() if amount}


def decide(gauge: Gauge, estimate: Estimate, now_ms: int, image_ms: int, lifetime_ms: int = 0) -> Decision:
    """Decide on one image of the gauge; nothing is held by it. A limit that the call cannot touch denies nothing.

    Args:
        gauge: The image.
        estimate: What the call uses at most.
        now_ms: The instant; what is used is what the image says of it.
        image_ms: When the image was taken. What was reserved then counts, also what has expired since: it may have been
            renewed in time.
        lifetime_ms: For how long it is held. It has to fit the smallest maximum of that time: what is admitted shortly
            before a boost ends would else stand above the limit after it.
    """
    readings = read(gauge, now_ms)
    needs: list[Need] = []
    denying: list[tuple[int, Reading, Need]] = []
    room: dict[str, int] = {}
    by_used = False
    for reading in readings:
        limit = reading.limit
        if limit.shadow or not is_touched(limit, estimate):
            continue
        need = Need(limit, needed(limit, estimate))
        needs.append(need)
        least = least_maximum(limit.maximum, limit.boosts, now_ms, now_ms + lifetime_ms)
        free = least - reading.used - need.amount
        left = free - reserved(gauge.holds, hold_key(limit), min(image_ms, now_ms))
        room[charged_name(limit.slot)] = left
        if limit.denies_unpriced:
            room[marked_name(limit.slot)] = 0
        if left >= 0 and not reading.is_denied_by_unpriced:
            continue
        until_ms: int | None = now_ms
        if free < 0 or reading.is_denied_by_unpriced:
            by_used = True
            until_ms = have_room_from_ms(gauge, [need], now_ms, lifetime_ms)
        denying.append((_FOREVER_MS if until_ms is None else until_ms, reading, need))
    if gauge.suspension is not None and gauge.suspension.is_in_force:
        return Decision(False, None, None, False, readings, room, suspended=gauge.suspension, soonest_ms=None)
    if not denying:
        return Decision(True, None, 0, False, readings, room)
    _, denied_by, denied = max(denying, key=lambda one: one[0])
    instants = (have_room_from_ms(gauge, needs, now_ms, lifetime_ms, holds) for holds in (gauge.holds, NO_HOLDS))
    retry_after_ms, soonest_ms = (None if one is None else one - now_ms for one in instants)
    return Decision(False, denied_by, retry_after_ms, by_used, readings, room, denied.amount, soonest_ms=soonest_ms)


def admitting_charges(gauge: Gauge, decision: Decision) -> dict[str, int]:
    """Return up to which charge of each limit an allowed call still fits, by the charge's name.

    While the gauge's charges are not above these, everything that was used or held since the image still left room.
    """
    return {name: gauge.holds.get(name, 0) + room for name, room in decision.room.items()}


def _smaller(held: Held, used: int | None) -> int:
    return held.amount if used is None else min(held.amount, used)
