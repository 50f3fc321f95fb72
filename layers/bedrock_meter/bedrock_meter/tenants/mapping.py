"""Giving profiles and principals to tenants, and taking them away: read the periods, change them, write them back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.errors import LeaseLost
from bedrock_meter.tenants.attribution import BY_PERSON, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.ownership import end, give
from bedrock_meter.tenants.tenant import ProfileReference

ATTEMPTS = 5


class MappingStore(Protocol):
    """The mappings of the Tenants table."""

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping; version 0 = none yet."""

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write a mapping over the one of ``version``; False if it changed meanwhile."""

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a principal's or a pattern's mapping; version 0 = none yet."""

    def put_principal_periods(self, principal: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write such a mapping over the one of ``version``; False if it changed meanwhile."""


@dataclass(frozen=True, slots=True)
class _Owned:
    """What can change hands: a profile or a principal, and how its periods are read and written."""

    kind: str
    name: str
    read: Callable[[str], tuple[int, Sequence[MappingPeriod]]]
    write: Callable[[str, int, Sequence[MappingPeriod]], bool]


def map_profile(
    mappings: MappingStore, profile: ProfileReference, tenant: str, now_ms: int, by: str = BY_PERSON
) -> int | None:
    """Give a profile to a tenant; returns from when on, or None if it is the tenant's already."""
    return _map(_profile(mappings, profile.id), tenant, now_ms, profile=profile, by=by)


def unmap_profile(mappings: MappingStore, profile: str, tenant: str, now_ms: int, by: str = BY_PERSON) -> int | None:
    """Take a profile from a tenant; returns from when on, or None if it is not the tenant's any more."""
    return _unmap(_profile(mappings, profile), tenant, now_ms, by)


def unmap_principal(mappings: MappingStore, principal: str, tenant: str, now_ms: int) -> int | None:
    """Take a principal or pattern from a tenant; returns from when on, or None if it is not the tenant's any more."""
    return _unmap(_principal(mappings, principal), tenant, now_ms, BY_PERSON)


def map_principal(mappings: MappingStore, principal: str, tenant: str, now_ms: int) -> int | None:
    """Give a principal or pattern to a tenant; returns from when on, or None if it is the tenant's already."""
    return _map(_principal(mappings, principal), tenant, now_ms, profile=None, by=BY_PERSON)


def _profile(mappings: MappingStore, profile: str) -> _Owned:
    return _Owned("profile", profile, mappings.periods, mappings.put_periods)


def _principal(mappings: MappingStore, principal: str) -> _Owned:
    return _Owned("principal", principal, mappings.principal_periods, mappings.put_principal_periods)


def _map(owned: _Owned, tenant: str, now_ms: int, *, profile: ProfileReference | None, by: str) -> int | None:
    model, routing, geography = UNKNOWN_MODEL, None, None
    if profile is not None:
        model, routing, geography = profile.model, profile.routing, profile.geography
    for _ in range(ATTEMPTS):
        version, periods = owned.read(owned.name)
        given = give(periods, tenant, now_ms, model=model, routing=routing, by=by, geography=geography)
        if given is None:
            return None
        if owned.write(owned.name, version, given[0]):
            return given[1]
    raise LeaseLost(f"the mapping of {owned.kind} {owned.name} was changed by others {ATTEMPTS} times meanwhile")


def _unmap(owned: _Owned, tenant: str, now_ms: int, by: str) -> int | None:
    for _ in range(ATTEMPTS):
        version, periods = owned.read(owned.name)
        ended = end(periods, tenant, now_ms, by=by)
        if ended is None:
            return None
        if owned.write(owned.name, version, ended[0]):
            return ended[1]
    raise LeaseLost(f"the mapping of {owned.kind} {owned.name} was changed by others {ATTEMPTS} times meanwhile")
