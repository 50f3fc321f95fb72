"""A difference as people read it: a line for each change, in 80 columns; ids and ARNs stay whole."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_meter.tenants.attribution import UNKNOWN_MODEL

WIDTH = 80
_SIGNS = {"added": "+", "removed": "-"}
_DEFAULTS = {"timezone": "UTC", "plan": None, "fail": None, "reserves": False, "metadata_key": "tenantId"}
_NAMES = {"fail": "fail policy", "metadata_key": "metadata key"}


def difference_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a difference (``tenants/difference.py``) that is not empty, its digest last."""
    for entry in document["plans"]:
        yield f"plan {entry['plan']}: {'new, ' if entry['is_new'] else ''}{_count(entry['tenants'], 'tenant')} with it"
        yield from _changes(entry["changes"])
    for entry in document["tenants"]:
        yield f"tenant {entry['tenant']}{': new' if entry['is_new'] else ''}"
        yield from _changes(entry["changes"])
        if not entry["can_deny"]:
            yield from _wrapped("!", "no limit of it denies: it is metered only")
        if not entry["is_attributed"]:
            yield from _wrapped("!", "it has no profile and no principal: no call is attributed to it by them")
    if document["gateways"]:
        yield "gateways"
        yield from _changes(document["gateways"])
    changes = [one for entry in (*document["plans"], *document["tenants"]) for one in entry["changes"]]
    changes += document["gateways"]
    gone = sum(one["change"] == "removed" for one in changes)
    taken = sum("taken_from" in one for one in changes)
    yield (
        f"difference {document['digest']}: {_count(len(changes), 'change')}, {gone} removed,"
        f" {taken} taken from other tenants"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _changes(changes: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in changes:
        yield from _wrapped(_SIGNS.get(one["change"], "~"), _words(one))


def _wrapped(sign: str, words: str) -> list[str]:
    return textwrap.wrap(
        words,
        WIDTH,
        initial_indent=f"  {sign} ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _words(change: Mapping[str, Any]) -> str:
    kind, name, before, after = (change[key] for key in ("kind", "name", "before", "after"))
    if kind == "field":
        named = _NAMES.get(name, name)
        is_default = name in _DEFAULTS and after == _DEFAULTS[name]
        return f"{named}: {_value(before)} -> {_value(after)}{', the default' if is_default else ''}"
    if kind == "removed limit":
        return f"limit {name} of its plan: {'taken out' if after else 'no longer taken out'}"
    subject = f"{kind} {name}"
    if kind == "limit":
        return f"{subject}: {_limits(before, after)}"
    return f"{subject}{_owned(change)}"


def _owned(change: Mapping[str, Any]) -> str:
    """Say what becomes of a profile or a principal."""
    when = f" {change['in_seconds']} s later" if "in_seconds" in change else ""
    details = _details(change["name"], change["before"], change["after"])
    if change["change"] == "removed":
        return f" goes{when}{details}"
    if "taken_from" in change:
        return f": taken from {change['taken_from']}{when}{details}"
    if change["change"] == "given again":
        return f": given again{when}, it belongs to no tenant now{details}"
    return details


def _details(name: str, before: Any, after: Any) -> str:
    """Say what is known of a profile, or what of that changes; principals have nothing to say."""
    nothing = (None, False, UNKNOWN_MODEL, name)
    sides = [one if isinstance(one, Mapping) else {} for one in (before, after)]
    if all(sides):
        changed = [key for key in sides[1] if sides[0].get(key) != sides[1][key]]
        said = [f"{key} {_value(sides[0].get(key))} -> {_value(sides[1][key])}" for key in changed]
    else:
        said = [f"{key} {_value(value)}" for side in sides for key, value in side.items() if value not in nothing]
    return f" ({', '.join(said)})" if said else ""


def _limits(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if before is not None and after is not None:
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return ", ".join(f"{name} {_value(before.get(name))} -> {_value(after.get(name))}" for name in names)
    limit = before or after or {}
    flags = [name for name in ("hard", "shadow") if limit.get(name)]
    scopes = [f"{name} {_value(limit[name])}" for name in ("models", "profiles") if limit.get(name)]
    source = ["of its plan"] if limit.get("source") == "plan" else []
    window = _value(limit.get("window"))
    return ", ".join([f"{limit.get('max')} {limit.get('meter')} in {window}", *flags, *scopes, *source])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "+".join(str(one) for one in value)
    if isinstance(value, Mapping):
        return " ".join(str(one) for one in value.values())
    return str(value)
