"""A limit as people write it, read strictly and explained when it is wrong."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.limit import DEFAULT_THRESHOLDS, Limit, default_name
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import parse_scope
from bedrock_meter.limits.windows import CalendarWindow, parse_window
from bedrock_meter.money import NANO, parse_usd

_KEYS = (
    "name",
    "meter",
    "window",
    "max",
    "hard",
    "thresholds",
    "models",
    "profiles",
    "shadow",
    "fail",
    "when_unpriced",
)
_METER_ALIASES = (
    {"calls": Meter.REQUESTS, "invocations": Meter.REQUESTS, "usd": Meter.COST_USD}
    | {meter.removesuffix("_tokens").removesuffix("_usd"): meter for meter in Meter}
    | {"tokens": Meter.TOTAL_TOKENS}
)
_AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,18}))?\s*(?:e\+?([0-9]{1,2})|([kmgb]))?", re.IGNORECASE)
_POWERS = {"k": 3, "m": 6, "g": 9, "b": 9}


def parse_limit(definition: object, timezone: str, where: str) -> Limit:
    """Read a limit as people write it.

    ``{name?, meter, window, max, hard?, thresholds?, models?, profiles?, shadow?, fail?, when_unpriced?}``

    Args:
        definition: The mapping. ``meter`` may drop its ``_tokens`` (``tokens`` alone is the total); ``max`` may be
            ``'300k'``, ``'2M'``, ``'1_000_000'`` or ``1e6``, and of ``cost_usd`` ``5``, ``12.50`` or ``$5``;
            ``thresholds`` may come in any order; ``models`` are patterns, ``profiles`` ids or ARNs.
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
        hard, shadow = _parse_flag(definition, "hard"), _parse_flag(definition, "shadow")
        fail = definition.get("fail")
        if fail is not None and not isinstance(fail, str):
            raise InvalidDefinition("fail", f"{fail!r}: write open or closed")
        unpriced = definition.get("when_unpriced")
        if unpriced is not None and not isinstance(unpriced, str):
            raise InvalidDefinition("when_unpriced", f"{unpriced!r}: write allow or deny")
        maximum = parse_maximum(meter, definition["max"])
        thresholds = _parse_thresholds(definition.get("thresholds"))
        scope = parse_scope(definition)
        named = default_name(meter, window) if name is None else name
        return Limit(named, meter, window, maximum, hard, thresholds, scope, shadow, fail, when_unpriced=unpriced)
    except InvalidDefinition as problem:
        raise (problem.under(where) if where else problem) from None


def spelled(limit: Limit, timezone: str) -> dict[str, Any]:
    """Return a limit as people write it: what ``parse_limit`` reads to the same limit in the same ``timezone``."""
    window: str | dict[str, Any] = str(limit.window)
    if isinstance(limit.window, CalendarWindow) and limit.window.timezone != timezone:
        window = {"calendar": str(limit.window), "timezone": limit.window.timezone}
    return {
        "name": limit.name,
        "meter": str(limit.meter),
        "window": window,
        "max": limit.meter.shown(limit.maximum),
        "hard": limit.hard,
        "thresholds": list(limit.thresholds),
        **limit.scope.document(),
        **({"shadow": True} if limit.shadow else {}),
        **({"fail": limit.fail} if limit.fail is not None else {}),
        **({"when_unpriced": limit.when_unpriced} if limit.when_unpriced is not None else {}),
    }


def parse_maximum(meter: Meter, spelling: object) -> int:
    """Read an amount of a meter as people write it; nano-USD of ``cost_usd``.

    Raises:
        InvalidDefinition: It is none; ``where`` is ``max``.
    """
    return _parse_dollars(spelling) if meter is Meter.COST_USD else _parse_amount(spelling)


def _parse_flag(definition: Mapping[object, object], key: str) -> bool:
    value = definition.get(key, False)
    if not isinstance(value, bool):
        raise InvalidDefinition(key, f"{value!r}: write true or false")
    return value


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


def _parse_dollars(spelling: object) -> int:
    """Return nano-USD. A number of YAML that has a point is taken as it was written, never as a binary fraction."""
    if isinstance(spelling, int) and not isinstance(spelling, bool) and spelling >= 0:
        return spelling * NANO
    try:
        return parse_usd(repr(spelling) if isinstance(spelling, float) else str(spelling))
    except ValueError as problem:
        raise InvalidDefinition("max", str(problem)) from None


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
