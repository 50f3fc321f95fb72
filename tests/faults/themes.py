"""Limits that honest callers' tenant is given: strict ones of every meter, some of them on some models or profiles."""

import random
from dataclasses import replace

from tests.faults.facts import Profile
from tests.faults.schedules import EPOCH_MS, Boosted, Ceiling

_SUMS = (
    Ceiling("total_tokens", "1h", 60_000, hard=True),
    Ceiling("total_tokens", "15m", 30_000, hard=True),
    Ceiling("weighted_tokens", "1h", 60_000, hard=True),
    Ceiling("input_tokens", "1h", 30_000, hard=True),
    Ceiling("output_tokens", "1h", 4_500, hard=True),
    Ceiling("cache_read_tokens", "1h", 20_000, hard=True),
    Ceiling("cache_write_tokens", "1h", 20_000, hard=True),
    Ceiling("requests", "1h", 9, hard=True),
)
_DOLLARS = (
    Ceiling("cost_usd", "1h", 400_000, hard=True),
    Ceiling("cost_usd", "day", 900_000, hard=True),
    Ceiling("cost_usd", "1h", 300_000, hard=True, models=("anthropic.*",), name="claude-usd"),
    Ceiling("cost_usd", "15m", 120_000, hard=True, models=("amazon.nova-pro*",), name="nova-usd"),
    Ceiling("cost_usd", "1d", 100, hard=True, shadow=True, name="trial"),
)
_SCOPED = (
    Ceiling("requests", "1h", 4, hard=True, models=("anthropic.*",), name="claude"),
    Ceiling("total_tokens", "1h", 30_000, hard=True, models=("amazon.nova-*",), name="nova"),
    Ceiling("weighted_tokens", "1h", 25_000, hard=True, models=("amazon.*",), name="amazon"),
    Ceiling("total_tokens", "1h", 20_000, hard=True, profiles=("sonnetregion", "novaregion00"), name="two"),
    Ceiling("output_tokens", "1h", 2_000, hard=True, models=("anthropic.*",), name="words"),
)
THEMES = {"sums": _SUMS, "dollars": _DOLLARS, "scoped": _SCOPED, "all": (*_SUMS, *_DOLLARS, *_SCOPED)}
"""Which limits a tenant is given: what one kind of them hides, another shows."""


def ceilings(
    chance: random.Random, theme: str, owned: list[Profile], before: tuple[Ceiling, ...] = ()
) -> tuple[Ceiling, ...]:
    """Draw limits; some of those before stay, with another maximum or as they were, and at most one is boosted."""
    ids = {one.id for one in owned}
    fitting = [one for one in THEMES[theme] if set(one.profiles) <= ids]
    kept = [one for one in before if chance.random() < 0.4]
    kept = [replace(one, maximum=one.maximum * 3 // 2) if chance.random() < 0.3 else one for one in kept]
    drawn = chance.sample(fitting, min(len(fitting), chance.choice((1, 2, 4))))
    found = list({(one.name, one.meter, one.window): one for one in (*drawn, *kept)}.values())
    if chance.random() < 0.3:
        boosted = chance.randrange(len(found))
        begins_ms = EPOCH_MS + chance.randrange(900_000)
        boost = Boosted(begins_ms, begins_ms + chance.choice((5_000, 60_000, 2_000_000)), permille=500)
        found[boosted] = replace(found[boosted], boosts=(boost,))
    return tuple(found)
