"""What open reservations hold, as numbers beside the buckets of a gauge.

Three facts. A reservation's amount lies under the name of its meter and its *expiry bucket*, five minutes wide: the
gauge does not grow with open reservations, and an expiry needs no event, a bucket that has passed is not counted any
more. Each limit has a *charge*, a running total of everything that was ever used or held under it; nothing lowers it.
A reservation is admitted on condition of the charges: since the image that it was decided on, no more was charged than
still fits, and no mark was set where usage without a price denies. So neither recorders nor other reservations disturb
it, only the limit itself does.

Names outlive limits. A reservation gives back under the name it was held under, for up to an hour after its limit went,
so a limit on some models or profiles names its holds by its slot *and* the layout version at which it got the slot: the
next limit in that slot has other names. Limits of all usage share the name of their meter, which means the same under
any of them. A charge is named by the slot alone: what is compared is how far it rose since the same image, under the
same layout version, so that the total with which a new limit of the slot begins does not matter.

Why that is sound: what is used and reserved grows by nothing but charges. Time, expiry, settlement and release only
lower it, and an older image then merely refuses what a newer one would admit.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType

from bedrock_meter.limits.limit import InstalledLimit, meter_code
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import WHOLE
from bedrock_meter.limits.windows import base36

NO_HOLDS: Mapping[str, int] = MappingProxyType({})

OPEN_KEY = meter_code(Meter.OPEN_RESERVATIONS)
"""Under this key each open reservation holds one, whether or not a limit counts them."""

EXPIRY_BUCKET_MS = 300_000
MARGIN_MS = 30_000
"""A hold counts for at least this long after its reservation expired: clocks differ, and a renewal takes time."""

_MOST_PASSED = 100
_HELD = "x"
_CHARGED = "c"
_APART = "."
"""Stands between the key and the expiry bucket; neither holds one."""


def is_hold(name: str) -> bool:
    """Whether an attribute of the gauge is a hold or a charge."""
    return name[:1] in (_HELD, _CHARGED)


def hold_key(installed: InstalledLimit) -> str:
    """Return the key under which reservations hold what this limit counts.

    Limits of one meter share the meter's letter. One that counts only some models or profiles has a key of its own: its
    slot and, in base 36, the layout version at which it got it.
    """
    return meter_code(installed.meter) if installed.scope == WHOLE else installed.slot + base36(installed.slot_version)


def expiry_bucket(expires_ms: int) -> int:
    """Return the number of the expiry bucket in which a reservation that expires then is held."""
    return -(-(expires_ms + MARGIN_MS) // EXPIRY_BUCKET_MS)


def bucket_end_ms(number: int) -> int:
    """Return the instant from which an expiry bucket holds nothing any more."""
    return number * EXPIRY_BUCKET_MS


def held_name(key: str, number: int) -> str:
    """Return the name of what is held under a key in an expiry bucket."""
    return f"{_HELD}{key}{_APART}{base36(number)}"


def charged_name(slot: str) -> str:
    """Return the name of a limit's charge."""
    return f"{_CHARGED}{slot}"


OPEN_CHARGE = charged_name(OPEN_KEY)
"""Running total of all reservations of the tenant; no slot has such a name."""


def marked_name(slot: str) -> str:
    """Return the name of the running total of a limit's marks."""
    return f"{_CHARGED}{slot}{UNCOUNTED}"


def reserved(holds: Mapping[str, int], key: str, now_ms: int) -> int:
    """Return what is held under a key at ``now_ms``.

    A bucket below zero (something was given back after it had been pruned) takes nothing from the others.
    """
    return sum(held_under(holds, key, now_ms).values())


def held_under(holds: Mapping[str, int], key: str, now_ms: int) -> dict[str, int]:
    """Return those holds under a key that count at ``now_ms``, by name."""
    prefix = _HELD + key + _APART
    return {
        name: amount
        for name, amount in holds.items()
        if amount > 0 and name.startswith(prefix) and now_ms < _ends_ms(name)
    }


def next_end_ms(holds: Mapping[str, int], key: str, now_ms: int) -> int | None:
    """Return the first instant after ``now_ms`` at which less is held under a key if nothing is given back."""
    return min(map(_ends_ms, held_under(holds, key, now_ms)), default=None)


def passed(holds: Iterable[str], now_ms: int) -> tuple[str, ...]:
    """Return the names of holds that passed a whole expiry bucket ago: no clock counts them any more.

    At most 100 of them, so that one update can remove them; the others can wait for the next one.
    """
    found = (name for name in holds if name.startswith(_HELD) and _ends_ms(name) + EXPIRY_BUCKET_MS <= now_ms)
    return tuple(islice(found, _MOST_PASSED))


def charges(adds: Mapping[str, int]) -> dict[str, int]:
    """Return what adding these amounts to buckets charges to each limit; a correction downwards charges nothing.

    Neither does a late bucket, which is in no reading. Marks are added up by themselves.
    """
    charged: dict[str, int] = {}
    for name, amount in adds.items():
        if amount <= 0 or is_hold(name):
            continue
        if name.isalnum() or name.endswith(UNCOUNTED):
            total = charged_name(name[0]) if name.isalnum() else marked_name(name[0])
            charged[total] = charged.get(total, 0) + amount
    return charged


def _ends_ms(name: str) -> int:
    """Return the instant from which a hold of this name counts no more."""
    return bucket_end_ms(int(name.rpartition(_APART)[2], 36))
