"""A limit, the set of a tenant's limits as the gauge holds it, and what a change of that set does.

Three facts: a *limit* is what a person defined; an *installed* limit has in addition a slot, the letter that names its
buckets; a *layout* is the versioned set of installed limits, stored as text inside the gauge, so that whoever reads the
gauge can read its buckets.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.boosts import MOST_BOOSTS, Boost, maximum_at
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.scope import WHOLE, Scope
from bedrock_meter.limits.windows import CalendarWindow, Window, parse_window

SLOTS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LIMITS = len(SLOTS) // 2
"""Half of the slots: all limits can be replaced at once without giving a new limit the slot of an old one."""

MAX_THRESHOLDS = 20
DEFAULT_THRESHOLDS = (50, 80, 100)
FAIL_POLICIES = ("open", "closed")
UNPRICED_POLICIES = ("allow", "deny")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_METER_CODES = {
    Meter.REQUESTS: "r",
    Meter.INPUT_TOKENS: "i",
    Meter.OUTPUT_TOKENS: "o",
    Meter.TOTAL_TOKENS: "t",
    Meter.CACHE_READ_TOKENS: "c",
    Meter.CACHE_WRITE_TOKENS: "w",
    Meter.WEIGHTED_TOKENS: "x",
    Meter.COST_USD: "u",
    Meter.OPEN_RESERVATIONS: "n",
}
_EMPTY = "[]"
_UNWRITTEN: tuple[Any, ...] = (0, 0, 0, None, 0, 0, 0, 0, 0, 0)
_METERS_BY_CODE = {code: meter for meter, code in _METER_CODES.items()}


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling for one meter in one window.

    Attributes:
        name: Unique among the limits of a tenant; 1 to 32 of ``A-Za-z0-9._-``, the first a letter or digit.
        meter: What is counted.
        window: When.
        maximum: A call is allowed while used < maximum; 0 allows nothing. At most 18 digits; nano-USD of ``cost_usd``.
        hard: Count the oldest sub-bucket of a rolling window whole, so that a call is never allowed by mistake.
        thresholds: Percentages of ``maximum``, ascending, that are worth an event. 100 is always judged, listed or not.
        scope: Which models and profiles are meant.
        shadow: Evaluated and reported like any other, but never denies.
        fail: What the API answers for the tenant while the tables are down, as far as this limit has a say: ``open``,
            ``closed`` or None. The strictest word decides.
        boosts: What is added to ``maximum`` for a time; at most 4.
        when_unpriced: What a limit of ``cost_usd`` does about calls that have no price, before and after they are made:
            ``deny``, ``allow``, or None for its default: ``deny`` of a hard limit, else ``allow``.

    Raises:
        InvalidDefinition: A value is outside these bounds; ``where`` names the attribute as people write it.
    """

    name: str
    meter: Meter
    window: Window
    maximum: int
    hard: bool = False
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    scope: Scope = WHOLE
    shadow: bool = False
    fail: str | None = None
    boosts: tuple[Boost, ...] = ()
    when_unpriced: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidDefinition(
                "name", f"{self.name!r}: write 1 to 32 letters, digits, '.', '_' or '-', first a letter or digit"
            )
        if not 0 <= self.maximum <= MAX_AMOUNT:
            raise InvalidDefinition("max", f"{self.maximum} is outside 0 to {MAX_AMOUNT}")
        if self.fail is not None and self.fail not in FAIL_POLICIES:
            raise InvalidDefinition("fail", f"{self.fail!r}: write open or closed")
        if self.when_unpriced is not None and self.meter is not Meter.COST_USD:
            raise InvalidDefinition("when_unpriced", f"only a limit of cost_usd asks for prices, not of {self.meter}")
        if self.when_unpriced is not None and self.when_unpriced not in UNPRICED_POLICIES:
            raise InvalidDefinition("when_unpriced", f"{self.when_unpriced!r}: write allow or deny")
        if len(self.boosts) > MOST_BOOSTS:
            raise InvalidDefinition("boosts", f"{len(self.boosts)} boosts: a limit has at most {MOST_BOOSTS}")
        if len(self.thresholds) > MAX_THRESHOLDS:
            raise InvalidDefinition("thresholds", f"{len(self.thresholds)} thresholds: at most {MAX_THRESHOLDS}")
        if list(self.thresholds) != sorted({level for level in self.thresholds if 1 <= level <= 1000}):
            raise InvalidDefinition(
                "thresholds",
                f"{list(self.thresholds)}: write percentages from 1 to 1000, ascending, each once: [50, 80, 100]",
            )

    @property
    def denies_unpriced(self) -> bool:
        """Whether usage without a price stands in the way of calls; of a shadow limit, whether it would."""
        default = "deny" if self.hard else "allow"
        return self.meter is Meter.COST_USD and (self.when_unpriced or default) == "deny"


@dataclass(frozen=True, slots=True)
class InstalledLimit:
    """A limit with its place in a tenant's gauge.

    Attributes:
        limit: What was defined.
        slot: First character of the names of its buckets: one of ``0-9A-Z``.
        version: Layout version at which this limit was installed or last changed.
        since_ms: Usage before this instant may be missing from the buckets; None when they are complete.
        slot_version: Layout version at which it got its slot: no other limit has both. Left out: ``version``.
    """

    limit: Limit
    slot: str
    version: int
    since_ms: int | None = None
    slot_version: int = -1

    def __post_init__(self) -> None:
        if self.slot_version < 0:
            object.__setattr__(self, "slot_version", self.version)

    @property
    def name(self) -> str:
        """Name of the limit."""
        return self.limit.name

    @property
    def meter(self) -> Meter:
        """What is counted."""
        return self.limit.meter

    @property
    def window(self) -> Window:
        """When it is counted."""
        return self.limit.window

    @property
    def maximum(self) -> int:
        """The ceiling without boosts."""
        return self.limit.maximum

    @property
    def boosts(self) -> tuple[Boost, ...]:
        """What is added to the ceiling for a time."""
        return self.limit.boosts

    def maximum_at(self, at_ms: int) -> int:
        """Return the ceiling at an instant, boosts included."""
        return maximum_at(self.limit.maximum, self.limit.boosts, at_ms)

    @property
    def hard(self) -> bool:
        """Whether the oldest sub-bucket counts whole."""
        return self.limit.hard

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Percentages that are worth an event."""
        return self.limit.thresholds

    @property
    def scope(self) -> Scope:
        """Which models and profiles are meant."""
        return self.limit.scope

    @property
    def shadow(self) -> bool:
        """Whether it never denies."""
        return self.limit.shadow

    @property
    def denies_unpriced(self) -> bool:
        """Whether usage without a price stands in the way of calls; of a shadow limit, whether it would."""
        return self.limit.denies_unpriced


def meter_code(meter: Meter) -> str:
    """Return the letter that stands for a meter in layouts and in the names of holds."""
    return _METER_CODES[meter]


def check_together(limits: Sequence[Limit]) -> None:
    """Check that one tenant can have all of these.

    Raises:
        InvalidDefinition: There are too many, or two have the same name.
    """
    if len(limits) > MAX_LIMITS:
        raise InvalidDefinition("limits", f"{len(limits)} limits: a tenant has at most {MAX_LIMITS}")
    names = [limit.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise InvalidDefinition("limits", f"{name!r} is the name of two limits: give each a name of its own")


@dataclass(frozen=True, slots=True)
class Layout:
    """A tenant's installed limits under one version.

    Attributes:
        version: Grows by one with every change; recorders condition their writes on it.
        limits: At most 18, in the order in which they were defined; names and slots are unique.
        reserves: Whether the tenant reserves every call, so that usage without a reservation is worth an event.
        closing: Calendar limits that went, or changed what they count, before the late buckets in their slots were
            reported. Nothing is counted or decided by them; their slots are not given away.

    Raises:
        InvalidDefinition: There are too many limits, or two have the same name or slot.
    """

    version: int
    limits: tuple[InstalledLimit, ...]
    reserves: bool = False
    closing: tuple[InstalledLimit, ...] = ()

    def __post_init__(self) -> None:
        check_together([installed.limit for installed in self.limits])
        slots = [installed.slot for installed in (*self.limits, *self.closing)]
        if len(set(slots)) < len(slots) or not all(len(slot) == 1 and slot in SLOTS for slot in slots):
            raise InvalidDefinition("limits", f"slots {slots}: each must be one of {SLOTS}, used once")


NO_LIMITS = Layout(0, ())


@dataclass(frozen=True, slots=True)
class LayoutChange:
    """What becomes of a layout.

    Attributes:
        next: The layout to install; its version is the current one plus one.
        kept: Slots whose buckets stay as they are.
        seeded: Limits with a slot of their own whose buckets are to be filled from the roll-ups.
        dropped_slots: Slots of the current layout that the next one does not use.
    """

    next: Layout
    kept: tuple[str, ...]
    seeded: tuple[InstalledLimit, ...]
    dropped_slots: tuple[str, ...]


def default_name(meter: Meter, window: Window) -> str:
    """Return the name of a limit that was given none: ``total_tokens-1h``, ``requests-month-15``."""
    return f"{meter}-{window}".replace("@", "-")


def plan_change(current: Layout, wanted: Sequence[Limit], *, reserves: bool | None = None) -> LayoutChange:
    """Plan the change from ``current`` to exactly the ``wanted`` limits; ``reserves`` None stays as it is.

    A wanted limit with the meter, window (zone and anchor included) and scope of a current one keeps that one's slot
    and buckets, whatever its name; where several would fit, the one of the same name. It keeps its version as well when
    nothing about it differs. Any other gets the lowest slot that the current layout does not use, the new version (of
    the slot, too), and has to be seeded. Calendar limits that go are closing: their late buckets may not be reported.

    Planning twice gives the same change. Planning the next layout's own limits again keeps all slots and only bumps the
    version.

    Raises:
        InvalidDefinition: There are too many wanted limits, or two have the same name.
        LeaseLost: So many limits are closing that no slot is left.
    """
    check_together(wanted)
    version = current.version + 1
    held = {installed.slot: installed for installed in current.limits}
    matches: dict[str, InstalledLimit] = {}
    for same_name in (True, False):
        for limit in wanted:
            if limit.name in matches:
                continue
            for installed in held.values():
                same_buckets = _counts(installed.limit) == _counts(limit)
                if same_buckets and (installed.name == limit.name or not same_name):
                    matches[limit.name] = held.pop(installed.slot)
                    break
    used = {installed.slot for installed in current.limits}
    free = [slot for slot in SLOTS if slot not in used | {installed.slot for installed in current.closing}]
    if len(free) < len(wanted) - len(matches):
        raise LeaseLost("late usage of limits that went before is not reported yet: try again in some minutes")
    limits = []
    for limit in wanted:
        match = matches.get(limit.name)
        if match is None:
            limits.append(InstalledLimit(limit, free.pop(0), version))
        elif match.limit == limit:
            limits.append(match)
        else:
            limits.append(replace(match, limit=limit, version=version))
    gone = tuple(one for one in held.values() if isinstance(one.window, CalendarWindow))
    return LayoutChange(
        next=Layout(
            version, tuple(limits), current.reserves if reserves is None else reserves, (*current.closing, *gone)
        ),
        kept=tuple(installed.slot for installed in limits if installed.slot in used),
        seeded=tuple(installed for installed in limits if installed.slot not in used),
        dropped_slots=tuple(held),
    )


def _counts(limit: Limit) -> tuple[object, ...]:
    """What decides about the content of a limit's buckets. The order of a scope's patterns does not."""
    return limit.meter, limit.window, frozenset(limit.scope.models), frozenset(limit.scope.profiles)


def encode_layout(layout: Layout) -> str:
    """Return the layout as compact JSON, without its version, which the gauge holds as a number of its own.

    ``[zone, 1, [slot, version, meter, window, maximum, hard, name, thresholds, since, scope, shadow, fail, boosts,
    when_unpriced, changed], ..., [closing, ...]]`` where the 1 is there only if the tenant reserves every call, a scope
    is ``[models, profiles]``, a boost ``[from, to, amount, permille]``, and ``changed`` by how much ``version`` is
    above the slot's; defaults are cut off from the end of each limit, and the list of closing limits is there only if
    there are any. A window carries its own zone only where that differs from the first one. Three limits take about
    100 bytes.
    """
    if not layout.limits and not layout.reserves and not layout.closing:
        return _EMPTY
    zones = [installed.window.timezone for installed in layout.limits if isinstance(installed.window, CalendarWindow)]
    shared = zones[0] if zones else ""
    marked = [1] if layout.reserves else []
    closing = [[_pack(installed, shared) for installed in layout.closing]] if layout.closing else []
    packed = [_pack(installed, shared) for installed in layout.limits]
    return json.dumps([shared, *marked, *packed, *closing], separators=(",", ":"))


@lru_cache(maxsize=1024)
def decode_layout(text: str, version: int) -> Layout:
    """Return the layout that ``encode_layout`` wrote. Exact; the same text gives the same object.

    Raises:
        InvalidDefinition: The text is not an encoded layout, or this machine does not know its time zone.
    """
    if text == _EMPTY:
        return Layout(version, ())
    try:
        shared, *packed = json.loads(text)
        reserves = packed[:1] == [1]
        closing = packed.pop() if packed and isinstance(packed[-1], list) and isinstance(packed[-1][0], list) else []
        limits, gone = (tuple(_unpack(values, shared) for values in some) for some in (packed[reserves:], closing))
        return Layout(version, limits, reserves, gone)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as problem:
        raise InvalidDefinition("layout", f"version {version} cannot be read: {problem!r}") from problem


def _pack(installed: InstalledLimit, shared: str) -> list[object]:
    limit = installed.limit
    window = str(limit.window)
    if isinstance(limit.window, CalendarWindow) and limit.window.timezone != shared:
        window = f"{window} {limit.window.timezone}"
    required = [installed.slot, installed.version, _METER_CODES[limit.meter], window, limit.maximum]
    optional = [
        int(limit.hard),
        0 if limit.name == default_name(limit.meter, limit.window) else limit.name,
        0 if limit.thresholds == DEFAULT_THRESHOLDS else list(limit.thresholds),
        installed.since_ms,
        [list(limit.scope.models), list(limit.scope.profiles)] if limit.scope != WHOLE else 0,
        int(limit.shadow),
        limit.fail or 0,
        [[one.from_ms, one.to_ms, one.amount, one.permille] for one in limit.boosts] or 0,
        limit.when_unpriced or 0,
        installed.version - installed.slot_version,
    ]
    while optional and optional[-1] == _UNWRITTEN[len(optional) - 1]:
        optional.pop()
    return [*required, *optional]


def _unpack(values: Sequence[Any], shared: str) -> InstalledLimit:
    slot, version, code, spelled, maximum = values[:5]
    optional = [*values[5:], *_UNWRITTEN[len(values) - 5 :]]
    hard, name, thresholds, since_ms, scope, shadow, fail, boosts, unpriced, changed = optional
    label, _, zone = spelled.partition(" ")
    meter, window = _METERS_BY_CODE[code], parse_window(label, zone or shared)
    levels = DEFAULT_THRESHOLDS if thresholds == 0 else tuple(thresholds)
    models, profiles = scope or ((), ())
    looks_at = Scope(tuple(models), tuple(profiles))
    named = name or default_name(meter, window)
    boosted = tuple(Boost(*one) for one in boosts or ())
    flags = bool(shadow), fail or None, boosted, unpriced or None
    limit = Limit(named, meter, window, maximum, bool(hard), levels, looks_at, *flags)
    return InstalledLimit(limit, slot, version, since_ms, version - changed)
