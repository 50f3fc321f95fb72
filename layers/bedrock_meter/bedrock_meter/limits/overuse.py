"""Whether a call used far more than was held for it. Pure.

What is held bounds a call from above, so an honest estimate is met or undercut. Twice as much is no rounding and no
margin of a template; what a template adds to a small call is.
"""

from typing import NamedTuple

from bedrock_meter.limits.counting import counted
from bedrock_meter.limits.estimates import amount_of, is_touched
from bedrock_meter.limits.holds import hold_key
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.money import NANO
from bedrock_meter.usage.rollup import Sums

FAR = 2
"""Usage above so many times the held amount is far above it ..."""

SPARE_TOKENS = 2_048
"""... if it is above it by more tokens than these: what a provider adds to explain tools, and then some ..."""

SPARE_NANO_USD = NANO // 100
"""... or by more than a cent."""

_UNCOMPARED = (Meter.REQUESTS, Meter.OPEN_RESERVATIONS)
"""A call is one of each, whatever was held."""


class Overuse(NamedTuple):
    """The limit under which usage is farthest above what was held.

    Attributes:
        limit: That limit.
        held: What was held, or estimated where nothing was, in its meter.
        used: What the call used.
    """

    limit: InstalledLimit
    held: int
    used: int


def overuse(layout: Layout, reservation: Reservation, sums: Sums, profile: str, model: str) -> Overuse | None:
    """Return what a call used far above what was held for it, under its tenant's limits; None if it did not.

    A limit that is newer than the reservation is compared with the estimate; a cost that nobody knew is not compared.
    """
    held_by_key = {one.key: one.amount for one in reservation.held}
    found: list[Overuse] = []
    for installed in layout.limits:
        if installed.meter in _UNCOMPARED:
            continue
        used = counted(installed.limit, sums, profile, model).amount
        held = held_by_key.get(hold_key(installed))
        if held is None:
            held = (
                amount_of(installed.meter, reservation.estimate) if is_touched(installed, reservation.estimate) else 0
            )
        if held is not None and used > FAR * held and used > held + _spare(installed.meter):
            found.append(Overuse(installed, held, used))
    return max(found, key=lambda one: one.used / max(1, one.held), default=None)


def _spare(meter: Meter) -> int:
    return SPARE_NANO_USD if meter is Meter.COST_USD else SPARE_TOKENS
