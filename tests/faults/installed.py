"""Limits as the gauge holds them, read by hand, and what their buckets must hold, from the ledger's changes."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.faults.naive import QUARTER_MS, Segment, Window, attribute, least, maximum_at
from tests.faults.schedules import KINDS
from tests.faults.values import Item
from tests.faults.world import World

_CODES = {
    "t": "total_tokens",
    "r": "requests",
    "i": "input_tokens",
    "o": "output_tokens",
    "c": "cache_read_tokens",
    "w": "cache_write_tokens",
    "x": "weighted_tokens",
    "u": "cost_usd",
}
_LETTERS = {meter: code for code, meter in _CODES.items()}
_SCOPE_AT, _SHADOW_AT = 9, 10
_BOOSTS_AT = 12
_CHANGED_AT = 14
"""Where a packed limit has its boosts, and how far its version is above that of its slot; nothing at the end is cut."""

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
    scope: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    shadow: bool = False
    slot_version: int = 0

    @property
    def hold_key(self) -> str:
        """Under which reservations hold what it counts: its meter's letter, or its slot and that slot's version."""
        return _LETTERS[self.meter] if self.scope == ((), ()) else attribute(self.slot, self.slot_version)

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
    """Read the limits that a gauge holds; those that are only closing are a list at the end."""
    text = json.loads(item["limits"]["S"])
    found = []
    for packed in [one for one in text[1:] if not isinstance(one[0], list)]:
        slot, version, code, spelled, base, *rest = packed
        label, _, zone = spelled.partition(" ")
        rolling = label[:-1].isdigit()
        window = Window(label, "" if rolling else zone or text[0])
        boosts: Any = packed[_BOOSTS_AT] if len(packed) > _BOOSTS_AT else []
        segments = tuple(
            (begins, ends, more + base * permille // 1000) for begins, ends, more, permille in boosts or ()
        )
        scope: Any = packed[_SCOPE_AT] if len(packed) > _SCOPE_AT else 0
        models, profiles = scope or ((), ())
        shadow = bool(packed[_SHADOW_AT]) if len(packed) > _SHADOW_AT else False
        changed = packed[_CHANGED_AT] if len(packed) > _CHANGED_AT else 0
        found.append(
            Installed(
                slot,
                version,
                _CODES[code],
                window,
                base,
                bool(rest and rest[0]),
                segments,
                (tuple(models), tuple(profiles)),
                shadow,
                version - changed,
            )
        )
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
