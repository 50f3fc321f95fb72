"""A stored definition against one that was looked at before: what is another one, and what only looks like it. Pure."""

from dataclasses import replace

from bedrock_meter.tenants.tenant import TenantDefinition


def is_as_seen(held: TenantDefinition, seen: TenantDefinition) -> bool:
    """Whether a person says the same of a tenant in both: tags and boosts do not count.

    Limits are compared where both definitions hold them; that they are written down for the first time is no change.
    """
    sides = []
    for one in (held, seen):
        by_person = tuple(profile for profile in one.profiles if not profile.tagged)
        side = replace(one, profiles=by_person, boosts=())
        sides.append(side if held.is_whole and seen.is_whole else replace(side, limits=(), removes=(), is_whole=False))
    return sides[0] == sides[1]


def in_stored_order(wanted: tuple[str, ...], stored: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in the order in which they are stored, which means nothing, where they are the same ones."""
    return stored if set(wanted) == set(stored) else wanted
