"""A reservation: what a call may use at most, held before it is made. Pure; instants are passed in.

Three facts: it holds one amount for each meter that the tenant's limits count; it is *open* until the log's record
settles it, its holder releases it, or it expires, and it is closed once; while it is open it can only become smaller,
though it may be held for longer. A *lease* is a reservation for many calls: records do not settle it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

from bedrock_meter.limits.boosts import least_maximum
from bedrock_meter.limits.counting import amount
from bedrock_meter.limits.gauge import Gauge, Reading, has_room_from_ms, read
from bedrock_meter.limits.holds import RETRY_RESERVED_MS, charged_name, expiry_bucket, held_name, hold_key, reserved
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter

if TYPE_CHECKING:  # as in ``meters``: who only looks need not load what reads records
    from bedrock_meter.invocations.record import TokenCounts

METADATA_KEY = "bedrock-meter-reservation"
"""Entry of a call's ``requestMetadata`` that names its reservation; Bedrock writes it into the log."""

DEFAULT_LIFETIME_MS = 600_000
"""Longer than the log's lag (usually less than three minutes) and a long call together."""

LONGEST_LIFETIME_MS = 3_600_000
MOST_AMOUNT = 10**18 - 1

Amounts = Mapping[Meter, int]
"""What a call uses, or may use at most, by meter. A meter that is missing is not held."""

_OTHERWISE = (Meter.COST_USD, Meter.WEIGHTED_TOKENS)
_is_id = re.compile(r"[0-9a-f]{32}").fullmatch

Status = Literal["open", "settled", "released"]


class Held(NamedTuple):
    """One amount that a reservation holds.

    Attributes:
        key: Letter under which the gauge holds it.
        meter: What is held.
        amount: How much, at least 0.
    """

    key: str
    meter: Meter
    amount: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount held before a call.

    Attributes:
        tenant: Whose.
        id: What travels in the call's metadata: 32 hexadecimal digits.
        held: What it holds, by meter.
        expires_ms: From this instant on it holds nothing, as far as its holder may rely on it.
        generation: Grows by one with each change; changes are conditioned on it.
        nonce: Of the attempt that made it: tells one's own write from another's.
        status: ``settled`` and ``released`` are final. An expired one stays ``open`` and holds nothing.
        is_lease: Held for many calls.
    """

    tenant: str
    id: str
    held: tuple[Held, ...]
    expires_ms: int
    generation: int = 1
    nonce: str = ""
    status: Status = "open"
    is_lease: bool = False

    def is_open(self, now_ms: int) -> bool:
        """Whether it still holds something."""
        return self.status == "open" and now_ms < self.expires_ms

    @property
    def holds(self) -> dict[str, int]:
        """What it adds to the gauge's holds, by name."""
        bucket = expiry_bucket(self.expires_ms)
        return {held_name(one.key, bucket): one.amount for one in self.held if one.amount}

    @property
    def amounts(self) -> dict[Meter, int]:
        """What it holds, by meter."""
        return {one.meter: one.amount for one in self.held}

    def shrunk(self, amounts: Amounts, expires_ms: int) -> "Reservation":
        """Return it with at most these amounts, held at least until then; equal where nothing changes.

        A meter that ``amounts`` does not name keeps what it holds, nothing grows, and nothing expires earlier.
        """
        held = tuple(one._replace(amount=min(one.amount, amounts.get(one.meter, one.amount))) for one in self.held)
        expires_ms = max(self.expires_ms, expires_ms)
        if (held, expires_ms) == (self.held, self.expires_ms):
            return self
        return replace(self, held=held, expires_ms=expires_ms, generation=self.generation + 1)

    def closed(self, status: Status) -> "Reservation":
        """Return it settled or released."""
        return replace(self, status=status, generation=self.generation + 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call with some amounts may be made.

    Attributes:
        allowed: Whether every limit has room for it.
        denied_by: The limit that stands longest in its way; None when allowed.
        retry_after_ms: How long to wait until all limits have room if nothing more is used. 0 when allowed, None when
            waiting does not help: the amount is larger than the maximum.
        by_used: Whether what is used denies it alone, so that it will be denied until then, whatever is given back.
        readings: What each limit says.
        room: How much more each limit could take, by its charge's name; below 0 where it denies. Shadow limits are
            not among them.
    """

    allowed: bool
    denied_by: Reading | None
    retry_after_ms: int | None
    by_used: bool
    readings: tuple[Reading, ...]
    room: Mapping[str, int]


def amounts_of(tokens: "TokenCounts", requests: int = 1) -> dict[Meter, int]:
    """Return what so many calls with these tokens in sum use of each meter."""
    return {
        **{meter: amount(meter, requests, tokens) for meter in Meter if meter not in _OTHERWISE},
        Meter.OPEN_RESERVATIONS: 1,
    }


def reservation_id(tenant: str, key: str) -> str:
    """Return the id of the reservation that a tenant's caller asks for under a key of its own."""
    return sha256(f"{tenant}\n{key}".encode()).hexdigest()[:32]


def named_in(metadata: Iterable[tuple[str, str]]) -> str:
    """Return the reservation that a call names in its metadata; empty where it names none.

    Its caller chose it, so it is no proof of anything: it can only name a reservation of the tenant that the call
    belongs to.
    """
    return next((value for name, value in metadata if name == METADATA_KEY and _is_id(value)), "")


def amount_under(installed: InstalledLimit, amounts: Amounts) -> int:
    """Return what a call of these amounts adds to one limit: the one place that knows which limits it touches."""
    return amounts.get(installed.meter, 0)


def needed(installed: InstalledLimit, amounts: Amounts) -> int:
    """Return the room that a limit must have: at least 1, because a call is made while something is left."""
    return max(1, amount_under(installed, amounts))


def held_for(layout: Layout, amounts: Amounts) -> tuple[Held, ...]:
    """Return what a reservation of these amounts holds under a tenant's limits, once for each meter."""
    held = {}
    for installed in layout.limits:
        if amount := amount_under(installed, amounts):
            held[hold_key(installed)] = Held(hold_key(installed), installed.meter, amount)
    return tuple(held[key] for key in sorted(held))


def charged_for(layout: Layout, amounts: Amounts) -> dict[str, int]:
    """Return what such a reservation charges to each limit, by the charge's name."""
    return {
        charged_name(installed.slot): amount
        for installed in layout.limits
        if (amount := amount_under(installed, amounts))
    }


def moved_holds(before: Reservation, after: Reservation) -> dict[str, int]:
    """Return what a change of an open reservation adds to the gauge's holds, by name; below zero is given back."""
    old, new = before.holds, after.holds if after.status == "open" else {}
    moves = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return {name: amount for name, amount in moves.items() if amount}


def decide(gauge: Gauge, amounts: Amounts, now_ms: int, image_ms: int, lifetime_ms: int = 0) -> Decision:
    """Decide on one image of the gauge; nothing is held by it.

    Args:
        gauge: The image.
        amounts: What the call uses at most.
        now_ms: The instant; what is used is what the image says of it.
        image_ms: When the image was taken. What was reserved then counts, also what has expired since: it may have been
            renewed in time.
        lifetime_ms: For how long it is held. It has to fit the smallest maximum of that time: what is admitted shortly
            before a boost ends would else stand above the limit after it.
    """
    readings = read(gauge, now_ms)
    denying: list[tuple[float, Reading]] = []
    room: dict[str, int] = {}
    by_used = False
    for reading in readings:
        limit, need = reading.limit, needed(reading.limit, amounts)
        if limit.shadow:
            continue
        least = least_maximum(limit.maximum, limit.boosts, now_ms, now_ms + lifetime_ms)
        free = least - reading.used - need
        room[charged_name(limit.slot)] = free - reserved(gauge.holds, hold_key(limit), min(image_ms, now_ms))
        if room[charged_name(limit.slot)] >= 0:
            continue
        wait_ms: float = RETRY_RESERVED_MS
        if free < 0:
            by_used = True
            free_ms = has_room_from_ms(limit, gauge.buckets, need, now_ms, lifetime_ms)
            wait_ms = math.inf if free_ms is None else free_ms - now_ms
        denying.append((wait_ms, reading))
    if not denying:
        return Decision(True, None, 0, False, readings, room)
    wait_ms, denied_by = max(denying, key=lambda one: one[0])
    return Decision(False, denied_by, None if wait_ms == math.inf else int(wait_ms), by_used, readings, room)


def admitting_charges(gauge: Gauge, decision: Decision) -> dict[str, int]:
    """Return up to which charge of each limit an allowed call still fits, by the charge's name.

    While the gauge's charges are not above these, everything that was used or held since the image still left room.
    """
    return {name: gauge.holds.get(name, 0) + room for name, room in decision.room.items()}
