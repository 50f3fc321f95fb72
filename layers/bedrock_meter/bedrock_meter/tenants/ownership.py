"""Who owned a profile when: how a list of periods changes hands. Pure.

Two rules meet here. A change is dated ``HANDOVER_MS`` ahead, when no recorder can hold an answer from before; only the
first owner of a profile owns it from the beginning of time. A principal whose owners were all forgotten has no first
owner any more: a *nameless* period says until when it was owned. And what a person decided stands: a period carries who
made it, and a tag never changes, ends or reopens one that a person made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.directory import KNOWN_FOR_MS

HANDOVER_MS = KNOWN_FOR_MS + 10_000
"""A profile that changes hands does so this far ahead, when no recorder can hold an answer from before."""

NAMELESS = ""
"""Stands for the forgotten owner of a period. No tenant has this id, and no mapping keeps such a period."""

Periods = tuple[MappingPeriod, ...]


@dataclass(frozen=True, slots=True)
class PrincipalMapping:
    """All that is known of who owned one principal, or one pattern of principals.

    Attributes:
        key: What the store finds it by; holds its name.
        name: The principal or the pattern, cut where it is very long.
        periods: In order.
    """

    key: str
    name: str
    periods: Sequence[MappingPeriod]


@dataclass(frozen=True, slots=True)
class ProfileMapping:
    """All that is known of who owned one profile.

    Attributes:
        profile: Its id.
        version: Of the stored mapping; 0 = none yet.
        periods: In order.
    """

    profile: str
    version: int
    periods: Sequence[MappingPeriod]


def give(
    periods: Sequence[MappingPeriod],
    tenant: str,
    now_ms: int,
    *,
    model: str,
    routing: str | None,
    by: str,
    geography: str | None = None,
) -> tuple[Periods, int] | None:
    """Give a profile to a tenant.

    Args:
        periods: All periods so far, in order; a nameless one decides from when on, and is not kept.
        tenant: The new owner.
        now_ms: When that was decided.
        model: Base model, or ``-`` to keep what is known of it.
        routing: Routing, or None to keep what is known of it.
        by: Who decides: ``person`` or ``tag``.
        geography: Of geo routing, or None to keep what is known of it.

    Returns:
        The new periods and from when on the profile is the tenant's (never before ``now_ms``); None if all of it is
        so already.
    """
    last = periods[-1] if periods else None
    if last is None:
        # Whatever used the profile before anybody owned it can only have been its first owner.
        return (MappingPeriod(tenant, 0, None, model, routing, by, geography),), now_ms
    model = last.model if model == UNKNOWN_MODEL else model
    geography = last.geography if geography is None and routing in (None, last.routing) else geography
    routing = last.routing if routing is None else routing
    if last.tenant == tenant and last.to_ms is None:
        # Once a person has said it, a tag that says the same does not make it the tag's.
        kept = replace(last, model=model, routing=routing, by=last.by if by == BY_TAG else by, geography=geography)
        return None if kept == last else ((*periods[:-1], kept), now_ms)
    start_ms = max(now_ms + HANDOVER_MS, last.to_ms or 0 if last.tenant == NAMELESS else 0)
    # An end that is still ahead moves to the new beginning: nobody's minute in between.
    to_ms = start_ms if last.to_ms is None or last.to_ms > now_ms else last.to_ms
    before = tuple(one for one in (*periods[:-1], replace(last, to_ms=to_ms)) if one.tenant != NAMELESS)
    return (*before, MappingPeriod(tenant, start_ms, None, model, routing, by, geography)), start_ms


def end(periods: Sequence[MappingPeriod], tenant: str, now_ms: int, *, by: str) -> tuple[Periods, int] | None:
    """Take a profile from a tenant.

    Returns:
        The new periods and the first instant that is not the tenant's any more; None if nothing changes. A person who
        ends what has ended makes that end a person's, so that no tag reopens it.
    """
    last = periods[-1] if periods else None
    if last is None or last.tenant != tenant:
        return None
    if last.to_ms is not None:
        if by == BY_TAG or last.by == BY_PERSON:
            return None
        return (*periods[:-1], replace(last, by=by)), last.to_ms
    to_ms = now_ms + HANDOVER_MS
    return (*periods[:-1], replace(last, to_ms=to_ms, by=by)), to_ms


def nameless(until_ms: int) -> MappingPeriod:
    """Return what is left of all forgotten periods of a principal: it was somebody's until ``until_ms``."""
    return MappingPeriod(NAMELESS, 0, until_ms)


def is_past(period: MappingPeriod, now_ms: int) -> bool:
    """Whether a period has ended for good: no change of hands can move that end any more."""
    return period.to_ms is not None and period.to_ms <= now_ms


def owner_of(periods: Sequence[MappingPeriod]) -> str | None:
    """Return who owns the profile without an end in sight, or None."""
    return periods[-1].tenant if periods and periods[-1].to_ms is None else None
