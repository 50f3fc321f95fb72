"""A limit, the set of a tenant's limits as the gauge holds it, and what a change of that set does.

Three facts: a *limit* is what a person defined; an *installed* limit has in addition a slot, the letter that names its
buckets; a *layout* is the versioned set of installed limits, stored as text inside the gauge, so that whoever reads the
gauge can read its buckets.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.windows import CalendarWindow, Window, parse_window

SLOTS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LIMITS = len(SLOTS) // 2
"""Half of the slots: all limits can be replaced at once without giving a new limit the slot of an old one."""

MAX_AMOUNT = 10**18 - 1
MAX_THRESHOLDS = 20
DEFAULT_THRESHOLDS = (50, 80, 100)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_KEYS = ("name", "meter", "window", "max", "hard", "thresholds")
_METER_ALIASES = {"tokens": Meter.TOTAL_TOKENS, "calls": Meter.REQUESTS, "invocations": Meter.REQUESTS} | {
    meter.removesuffix("_tokens"): meter for meter in Meter
}
_AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,18}))?\s*(?:e\+?([0-9]{1,2})|([kmgb]))?", re.IGNORECASE)
_POWERS = {"k": 3, "m": 6, "g": 9, "b": 9}
_METER_CODES = {
    Meter.REQUESTS: "r",
    Meter.INPUT_TOKENS: "i",
    Meter.OUTPUT_TOKENS: "o",
    Meter.TOTAL_TOKENS: "t",
    Meter.CACHE_READ_TOKENS: "c",
    Meter.CACHE_WRITE_TOKENS: "w",
}
_EMPTY = "[]"
_UNWRITTEN: tuple[Any, ...] = (0, 0, 0, None)
_METERS_BY_CODE = {code: meter for meter, code in _METER_CODES.items()}


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling for one meter in one window.

    Attributes:
        name: Unique among the limits of a tenant; 1 to 32 of ``A-Za-z0-9._-``, the first a letter or digit.
        meter: What is counted.
        window: When.
        maximum: A call is allowed while used < maximum; 0 allows nothing. At most 18 digits.
        hard: Count the oldest sub-bucket of a rolling window whole, so that a call is never allowed by mistake.
        thresholds: Percentages of ``maximum``, ascending, that are worth an event. 100 is always judged, listed or not.

    Raises:
        InvalidDefinition: A value is outside these bounds; ``where`` names the attribute as people write it.
    """

    name: str
    meter: Meter
    window: Window
    maximum: int
    hard: bool = False
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidDefinition(
                "name", f"{self.name!r}: write 1 to 32 letters, digits, '.', '_' or '-', first a letter or digit"
            )
        if not 0 <= self.maximum <= MAX_AMOUNT:
            raise InvalidDefinition("max", f"{self.maximum} is outside 0 to {MAX_AMOUNT}")
        if len(self.thresholds) > MAX_THRESHOLDS:
            raise InvalidDefinition("thresholds", f"{len(self.thresholds)} thresholds: at most {MAX_THRESHOLDS}")
        if list(self.thresholds) != sorted({level for level in self.thresholds if 1 <= level <= 1000}):
            raise InvalidDefinition(
                "thresholds",
                f"{list(self.thresholds)}: write percentages from 1 to 1000, ascending, each once: [50, 80, 100]",
            )


@dataclass(frozen=True, slots=True)
class InstalledLimit:
    """A limit with its place in a tenant's gauge.

    Attributes:
        limit: What was defined.
        slot: First character of the names of its buckets: one of ``0-9A-Z``.
        version: Layout version at which this limit was installed or last changed.
        since_ms: Usage before this instant may be missing from the buckets; None when they are complete.
    """

    limit: Limit
    slot: str
    version: int
    since_ms: int | None = None

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
        """The ceiling."""
        return self.limit.maximum

    @property
    def hard(self) -> bool:
        """Whether the oldest sub-bucket counts whole."""
        return self.limit.hard

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Percentages that are worth an event."""
        return self.limit.thresholds


def _refuse_repeated_names(limits: Sequence[Limit]) -> None:
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

    Raises:
        InvalidDefinition: There are too many limits, or two have the same name or slot.
    """

    version: int
    limits: tuple[InstalledLimit, ...]

    def __post_init__(self) -> None:
        if len(self.limits) > MAX_LIMITS:
            raise InvalidDefinition("limits", f"{len(self.limits)} limits: a tenant has at most {MAX_LIMITS}")
        _refuse_repeated_names([installed.limit for installed in self.limits])
        slots = [installed.slot for installed in self.limits]
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


def plan_change(current: Layout, wanted: Sequence[Limit]) -> LayoutChange:
    """Plan the change from ``current`` to exactly the ``wanted`` limits.

    A wanted limit with the meter and window (zone and anchor included) of a current one keeps that one's slot and
    buckets, whatever its name; where several would fit, the one of the same name. It keeps its version as well when
    nothing about it differs. Any other gets the lowest slot that the current layout does not use, the new version, and
    has to be seeded.

    Planning twice gives the same change. Planning the next layout's own limits again keeps all slots and only bumps the
    version.

    Raises:
        InvalidDefinition: There are too many wanted limits, or two have the same name.
    """
    if len(wanted) > MAX_LIMITS:
        raise InvalidDefinition("limits", f"{len(wanted)} limits: a tenant has at most {MAX_LIMITS}")
    _refuse_repeated_names(wanted)
    version = current.version + 1
    held = {installed.slot: installed for installed in current.limits}
    matches: dict[str, InstalledLimit] = {}
    for same_name in (True, False):
        for limit in wanted:
            if limit.name in matches:
                continue
            for installed in held.values():
                same_buckets = (installed.meter, installed.window) == (limit.meter, limit.window)
                if same_buckets and (installed.name == limit.name or not same_name):
                    matches[limit.name] = held.pop(installed.slot)
                    break
    used = {installed.slot for installed in current.limits}
    free = iter([slot for slot in SLOTS if slot not in used])
    limits = []
    for limit in wanted:
        match = matches.get(limit.name)
        if match is None:
            limits.append(InstalledLimit(limit, next(free), version))
        elif match.limit == limit:
            limits.append(match)
        else:
            limits.append(replace(match, limit=limit, version=version))
    return LayoutChange(
        next=Layout(version, tuple(limits)),
        kept=tuple(installed.slot for installed in limits if installed.slot in used),
        seeded=tuple(installed for installed in limits if installed.slot not in used),
        dropped_slots=tuple(held),
    )


def encode_layout(layout: Layout) -> str:
    """Return the layout as compact JSON, without its version, which the gauge holds as a number of its own.

    ``[zone, [slot, version, meter, window, maximum, hard, name, thresholds, since], ...]`` where defaults are cut off
    from the end of each limit. A window carries its own zone only where that differs from the first one. Three limits
    take about 100 bytes.
    """
    if not layout.limits:
        return _EMPTY
    zones = [installed.window.timezone for installed in layout.limits if isinstance(installed.window, CalendarWindow)]
    shared = zones[0] if zones else ""
    return json.dumps([shared, *(_pack(installed, shared) for installed in layout.limits)], separators=(",", ":"))


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
        return Layout(version, tuple(_unpack(values, shared) for values in packed))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
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
    ]
    if optional[-1] is None:
        optional.pop()
        while optional and optional[-1] == 0:
            optional.pop()
    return [*required, *optional]


def _unpack(values: Sequence[Any], shared: str) -> InstalledLimit:
    slot, version, code, spelled, maximum = values[:5]
    hard, name, thresholds, since_ms = [*values[5:], *_UNWRITTEN[len(values) - 5 :]]
    label, _, zone = spelled.partition(" ")
    meter, window = _METERS_BY_CODE[code], parse_window(label, zone or shared)
    levels = DEFAULT_THRESHOLDS if thresholds == 0 else tuple(thresholds)
    limit = Limit(name or default_name(meter, window), meter, window, maximum, bool(hard), levels)
    return InstalledLimit(limit, slot, version, since_ms)


def parse_limit(definition: object, timezone: str, where: str) -> Limit:
    """Read a limit as people write it: ``{name?, meter, window, max, hard?, thresholds?}``.

    Args:
        definition: The mapping. ``meter`` may drop its ``_tokens`` (``tokens`` alone is the total); ``max`` may be
            ``'300k'``, ``'2M'``, ``'1_000_000'`` or ``1e6``; ``thresholds`` may come in any order.
        timezone: The tenant's IANA zone, for calendar windows.
        where: Path to the mapping, for example ``tenants[2].limits[0]``.

    Raises:
        InvalidDefinition: Says which value is wrong and what would be right.
    """
    try:
        if not isinstance(definition, Mapping):
            raise InvalidDefinition(
                "", f"{definition!r} is not a limit: write {{meter: total_tokens, window: 1h, max: 300k}}"
            )
        for key in definition:
            if key not in _KEYS:
                raise InvalidDefinition("", f"unknown key {key!r}, {_did_you_mean(key, _KEYS)}")
        for key in ("meter", "window", "max"):
            if key not in definition:
                raise InvalidDefinition("", f"{key} is missing: write {{meter: total_tokens, window: 1h, max: 300k}}")
        meter = _parse_meter(definition["meter"])
        try:
            window = parse_window(definition["window"], timezone)
        except InvalidDefinition as problem:
            raise problem.under("window") from None
        name = definition.get("name")
        if name is not None and not isinstance(name, str):
            raise InvalidDefinition("name", f"{name!r} is not text: put it in quotes")
        hard = definition.get("hard", False)
        if not isinstance(hard, bool):
            raise InvalidDefinition("hard", f"{hard!r}: write true or false")
        maximum = _parse_amount(definition["max"])
        thresholds = _parse_thresholds(definition.get("thresholds"))
        return Limit(default_name(meter, window) if name is None else name, meter, window, maximum, hard, thresholds)
    except InvalidDefinition as problem:
        raise (problem.under(where) if where else problem) from None


def _parse_meter(spelling: object) -> Meter:
    text = str(spelling).strip().lower().replace("-", "_").replace(" ", "_")
    if text in _METER_ALIASES:
        return _METER_ALIASES[text]
    try:
        return Meter(text)
    except ValueError:
        raise InvalidDefinition("meter", f"{spelling!r} is not a meter, {_did_you_mean(text, list(Meter))}") from None


def _parse_amount(spelling: object) -> int:
    if isinstance(spelling, float) and spelling.is_integer():
        return int(spelling)
    if isinstance(spelling, int) and not isinstance(spelling, bool):
        return spelling
    if isinstance(spelling, str):
        number = _AMOUNT.fullmatch(spelling.strip().replace("_", ""))
        if number:
            whole, fraction, exponent, suffix = number[1], number[2] or "", number[3], number[4]
            power = int(exponent or 0) + (_POWERS[suffix.lower()] if suffix else 0)
            scaled, rest = divmod(int(whole + fraction) * int(10**power), int(10 ** len(fraction)))
            if not rest:
                return scaled
    raise InvalidDefinition(
        "max", f"{spelling!r} is not a whole number: write for example 300000, 300k, 2M or 1_000_000"
    )


def _parse_thresholds(spelling: object) -> tuple[int, ...]:
    if spelling is None:
        return DEFAULT_THRESHOLDS
    example = "write percentages from 1 to 1000, for example [50, 80, 100]"
    if not isinstance(spelling, list | tuple):
        raise InvalidDefinition("thresholds", f"{spelling!r} is not a list: {example}")
    levels = []
    for level in spelling:
        if isinstance(level, bool) or not isinstance(level, int | float) or level % 1 != 0:
            raise InvalidDefinition("thresholds", f"{level!r} is not a whole number: {example}")
        levels.append(int(level))
    return tuple(sorted(set(levels)))


def _did_you_mean(text: object, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(str(text).lower(), known, n=1, cutoff=0.5)
    choice = f"one of {', '.join(known)}"
    return f"did you mean '{near[0]}'? It is {choice}" if near else f"it is {choice}"
