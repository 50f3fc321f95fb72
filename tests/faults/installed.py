"""Limits as the gauge holds them, read by hand, and what their buckets must hold, from the ledger's changes."""

import json
from collections import defaultdict
from dataclasses import dataclass

from tests.faults.naive import QUARTER_MS, Segment, Window, least, maximum_at
from tests.faults.schedules import KINDS
from tests.faults.values import Item
from tests.faults.world import World

_CODES = {"t": "total_tokens", "r": "requests", "i": "input_tokens", "o": "output_tokens", "u": "cost_usd"}
_BOOSTS_AT = 12
"""Where a packed limit has its boosts; what is nothing at its end is cut off."""

SUMS = (*KINDS, "requests", "errors", "cost_nano_usd", "priced")
Sums = dict[str, int]


@dataclass(frozen=True)
class Installed:
    """A limit as the gauge holds it; ``base`` is its maximum without boosts."""

    slot: str
    version: int
    meter: str
    window: Window
    base: int
    hard: bool
    boosts: tuple[Segment, ...] = ()

    def maximum_at(self, at_ms: int) -> int:
        """The maximum at an instant."""
        return maximum_at(self.base, self.boosts, at_ms)

    def least(self, from_ms: int, to_ms: int) -> int:
        """The smallest maximum in [from_ms, to_ms]."""
        return least(self.base, self.boosts, from_ms, to_ms)

    def ended(self, from_ms: int, to_ms: int) -> int:
        """What boosts had added that ended in (from_ms, to_ms]."""
        return sum(more for _, ends_ms, more in self.boosts if from_ms < ends_ms <= to_ms)


def layout(item: Item) -> list[Installed]:
    """Read the limits that a gauge holds."""
    text = json.loads(item["limits"]["S"])
    found = []
    for packed in text[1:]:
        slot, version, code, spelled, base, *rest = packed
        label, _, zone = spelled.partition(" ")
        rolling = label[:-1].isdigit()
        window = Window(label, "" if rolling else zone or text[0])
        boosts = packed[_BOOSTS_AT] or () if len(packed) > _BOOSTS_AT else ()
        segments = tuple((begins, ends, more + base * permille // 1000) for begins, ends, more, permille in boosts)
        found.append(Installed(slot, version, _CODES[code], window, base, bool(rest and rest[0]), segments))
    return found


def sums_of(item: Item | None) -> Sums:
    """What an entry adds to its roll-up."""
    if item is None:
        return dict.fromkeys(SUMS, 0)
    failed = "error" in item
    tokens = {name: 0 if failed else int(item[name]["N"]) for name in KINDS}
    cost = {"cost_nano_usd": 0, "priced": 0}
    if "cost_nano_usd" in item:
        cost = {"cost_nano_usd": int(item["cost_nano_usd"]["N"]), "priced": 1}
    return {**tokens, "requests": int(not failed), "errors": int(failed), **cost}


def _amount(sums: Sums, meter: str) -> int:
    if meter == "requests":
        return sums["requests"]
    if meter == "cost_usd":
        return sums["cost_nano_usd"]
    if meter == "uncounted":
        return sums["requests"] - sums["priced"]
    if meter == "total_tokens":
        return sum(sums[name] for name in KINDS)
    return sums[meter.removesuffix("_tokens")]


def origin(world: World, tenant: str, installed: Installed) -> tuple[int, int, int]:
    """Return when a limit got its slot: (sequence of the write, clock of whoever installed it, its version then)."""
    wanted = installed.meter, installed.window
    found = -1, 0, 0
    held: dict[str, tuple[str, Window]] = {}
    for sequence, at_ms, whose, limits in world.installed:
        if whose == tenant:
            now = {one.slot: one for one in layout({"limits": {"S": limits}})}
            windows = {slot: (one.meter, one.window) for slot, one in now.items()}
            if windows.get(installed.slot) == wanted and held.get(installed.slot) != wanted:
                found = sequence, at_ms, now[installed.slot].version
            held = windows
    return found


def buckets_of(world: World, tenant: str, installed: Installed, meter: str = "") -> dict[int, int]:
    """Return what the buckets of a limit must hold, from the ledger's changes and the moment it was installed.

    ``meter`` says what to count instead of the limit's own meter.
    """
    meter = meter or installed.meter
    began, seeded_ms, _ = origin(world, tenant, installed)
    buckets: dict[int, int] = defaultdict(int)
    first_ms = installed.window.first_seeded_ms(seeded_ms)
    for write in world.double.trace:
        if write.table != "ledger" or write.after is None or write.after["tenant"]["S"] != tenant:
            continue
        amount = _amount(sums_of(write.after), meter) - _amount(sums_of(write.before), meter)
        at_ms = int(write.after["event_ms"]["N"])
        if write.sequence < began:
            quarter_ms = at_ms // QUARTER_MS * QUARTER_MS
            if first_ms is None or quarter_ms < first_ms:
                continue
            at_ms = min(quarter_ms + QUARTER_MS - 1, max(seeded_ms, quarter_ms) + 300_000)
        buckets[installed.window.bucket(at_ms)] += amount
    return buckets
