"""Which part of a tenant's usage a limit counts: all of it, or that of some models or profiles.

A model is matched without the prefix of a system profile (``us.``, ``global.``), so that one pattern holds for all ways
to reach it. Usage of a profile whose base model nobody named can be in the scope or not: the answer is then *unknown*,
and readings of the limit say that they are not complete.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.pricing.models import base_model

MOST = 10
"""Patterns, and profiles, of one limit: they stand in the gauge, which is to stay small."""

NO_MODEL = "-"
"""Stands for the base model of a profile where nobody named it (``tenants/attribution.py``)."""

_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9.:_*?-]{0,127}")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a limit looks at; where both are named, both must fit.

    Attributes:
        models: Patterns of base models with ``*`` and ``?``; empty = all models.
        profiles: Ids of profiles (last segment of the ARN); empty = all profiles.

    Raises:
        InvalidDefinition: There are too many, one of them twice, or one that can fit nothing.
    """

    models: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("models", self.models, _PATTERN, "a model's id, with * and ? for any letters: anthropic.claude-*")
        _check("profiles", self.profiles, _PROFILE, "the id of a profile, the last part of its ARN: a1c3m5e7k9q2")
        for pattern in self.models:
            if base_model(pattern).prefix:
                raise InvalidDefinition(
                    "models", f"{pattern!r}: leave out the prefix of the system profile: {base_model(pattern).model!r}"
                )

    def covers(self, profile: str, model: str) -> bool | None:
        """Return whether usage of ``model`` through ``profile`` is meant; None where nobody knows the model."""
        if self.profiles and profile not in self.profiles:
            return False
        if not self.models:
            return True
        if model == NO_MODEL:
            return None
        name = base_model(model).model
        return any(fnmatchcase(name, pattern) for pattern in self.models)

    def may_cover(self, profile: str, model: str) -> bool:
        """Return whether usage can be meant of which not all may be known: no profile (empty), no model (``-``)."""
        known = self if profile else Scope(self.models)
        return known.covers(profile, model) is not False

    def document(self) -> dict[str, list[str]]:
        """Return the scope as events and the API show it; empty for all of the usage."""
        named = {"models": list(self.models), "profiles": list(self.profiles)}
        return {name: values for name, values in named.items() if values}


def parse_scope(definition: Mapping[object, object]) -> Scope:
    """Read the scope of a limit as people write it: ``models: [anthropic.claude-*]``, ``profiles: [id or ARN]``.

    Raises:
        InvalidDefinition: Says which of them is wrong and what would be right.
    """
    profiles = tuple(one.rpartition("/")[2] for one in _texts(definition, "profiles"))
    return Scope(_texts(definition, "models"), profiles)


def _texts(definition: Mapping[object, object], key: str) -> tuple[str, ...]:
    if key not in definition:
        return ()
    values = definition[key]
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list | tuple) or not values or not all(isinstance(one, str) for one in values):
        raise InvalidDefinition(key, f"{values!r}: write a list of texts, or leave it out to mean all {key}")
    return tuple(values)


def _check(where: str, values: Sequence[str], form: re.Pattern[str], right: str) -> None:
    if len(values) > MOST:
        raise InvalidDefinition(where, f"{len(values)} of them: a limit names at most {MOST}")
    for value in values:
        if not form.fullmatch(value):
            raise InvalidDefinition(where, f"{value!r}: write {right}")
        if values.count(value) > 1:
            raise InvalidDefinition(where, f"{value!r} is named twice")


WHOLE = Scope()
"""All of a tenant's usage."""
