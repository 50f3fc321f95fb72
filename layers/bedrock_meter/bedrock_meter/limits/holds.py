"""What open reservations hold, as numbers beside the buckets of a gauge.

Three facts. A reservation's amount lies under the name of its meter and its *expiry bucket*, five minutes wide: the
gauge does not grow with open reservations, and an expiry needs no event, a bucket that has passed is not counted any
more. Each limit has a *charge*, a running total of everything that was ever used or held under it; nothing lowers it.
A reservation is admitted on condition of the charges: since the image that it was decided on, no more was charged than
still fits. So neither recorders nor other reservations disturb it, only the limit itself does.

Why that is sound: what is used and reserved grows by nothing but charges. Time, expiry, settlement and release only
lower it, and an older image then merely refuses what a newer one would admit.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bedrock_meter.limits.limit import InstalledLimit, meter_code
from bedrock_meter.limits.scope import WHOLE
from bedrock_meter.limits.windows import base36

NO_HOLDS: Mapping[str, int] = MappingProxyType({})

EXPIRY_BUCKET_MS = 300_000
MARGIN_MS = 30_000
"""A hold counts for at least this long after its reservation expired: clocks differ, and a renewal takes time."""

RETRY_RESERVED_MS = 1_000
"""When to ask again where only reservations are in the way: any of them may be given back at any moment."""

_HELD = "x"
_CHARGED = "c"


def is_hold(name: str) -> bool:
    """Whether an attribute of the gauge is a hold or a charge."""
    return name[:1] in (_HELD, _CHARGED)


def hold_key(installed: InstalledLimit) -> str:
    """Return the letter under which reservations hold what this limit counts.

    Limits of one meter share the meter's; one that counts only some models or profiles has its slot.
    """
    return meter_code(installed.meter) if installed.scope == WHOLE else installed.slot


def expiry_bucket(expires_ms: int) -> int:
    """Return the number of the expiry bucket in which a reservation that expires then is held."""
    return -(-(expires_ms + MARGIN_MS) // EXPIRY_BUCKET_MS)


def bucket_end_ms(number: int) -> int:
    """Return the instant from which an expiry bucket holds nothing any more."""
    return number * EXPIRY_BUCKET_MS


def held_name(key: str, number: int) -> str:
    """Return the name of what is held of a meter in an expiry bucket."""
    return f"{_HELD}{key}{base36(number)}"


def charged_name(slot: str) -> str:
    """Return the name of a limit's charge."""
    return f"{_CHARGED}{slot}"


def reserved(holds: Mapping[str, int], key: str, now_ms: int) -> int:
    """Return what is held of a meter at ``now_ms``.

    A bucket below zero (something was given back after it had been pruned) takes nothing from the others.
    """
    prefix = _HELD + key
    return sum(
        max(0, amount)
        for name, amount in holds.items()
        if name.startswith(prefix) and now_ms < bucket_end_ms(int(name[2:], 36))
    )


def passed(holds: Iterable[str], now_ms: int) -> tuple[str, ...]:
    """Return the names of the holds that passed a whole expiry bucket ago: nobody's clock counts them any more."""
    return tuple(
        name
        for name in holds
        if name.startswith(_HELD) and bucket_end_ms(int(name[2:], 36)) + EXPIRY_BUCKET_MS <= now_ms
    )


def charges(adds: Mapping[str, int]) -> dict[str, int]:
    """Return what adding these amounts to buckets charges to each limit; a correction downwards charges nothing.

    Neither does what lies beside the buckets and is in no reading: late buckets, marks of what cannot be counted.
    """
    charged: dict[str, int] = {}
    for name, amount in adds.items():
        if amount > 0 and name.isalnum() and not is_hold(name):
            charged[charged_name(name[0])] = charged.get(charged_name(name[0]), 0) + amount
    return charged
