"""Making what is defined true: tenants, their gauges and limits, and the profiles that they own.

The order makes every step safe to be the last one: a tenant's gauge and limits are there before any of its profiles
points to it. All of it can be repeated; what is as wanted already is left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bedrock_meter.errors import LeaseLost
from bedrock_meter.limits.installation import InstallationStore, install_limits
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.directory import KNOWN_FOR_MS
from bedrock_meter.tenants.tenant import TenantDefinition

HANDOVER_MS = KNOWN_FOR_MS + 10_000
"""A profile that changes hands does so this far ahead, when no recorder can hold an answer from before."""

ATTEMPTS = 5


class TenantStore(Protocol):
    """The Tenants table."""

    def tenant(self, tenant: str) -> TenantDefinition | None:
        """Read a tenant's definition; its limits, and whether it reserves, live on the gauge."""

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> None:
        """Write a tenant's definition."""

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping; version 0 = none yet."""

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write a mapping over the one of ``version``; False if it changed meanwhile."""

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a principal's or a pattern's mapping; version 0 = none yet."""

    def put_principal_periods(self, principal: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write such a mapping over the one of ``version``; False if it changed meanwhile."""


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What can change hands: a profile or a principal, and how its periods are read and written."""

    kind: str
    name: str
    model: str
    read: Callable[[str], tuple[int, Sequence[MappingPeriod]]]
    write: Callable[[str, int, Sequence[MappingPeriod]], bool]


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying one definition changed.

    Attributes:
        tenant: The tenant.
        changed: What changed, in words; empty if all was as wanted.
        effective_ms: From when on all of it holds.
    """

    tenant: str
    changed: tuple[str, ...]
    effective_ms: int


def apply(
    definitions: Sequence[TenantDefinition],
    tenants: TenantStore,
    installation: InstallationStore,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
) -> Iterator[Applied]:
    """Apply definitions one by one, yielding what each changed. Applying them again changes nothing.

    Tenants that are not among ``definitions`` are left alone. A profile that a definition no longer names leaves its
    tenant, ``HANDOVER_MS`` from now.

    Raises:
        LeaseLost: Somebody else keeps changing the same tenant.
    """
    for definition in definitions:
        now_ms = clock()
        changed: list[str] = []
        effective_ms = now_ms
        known = tenants.tenant(definition.id)
        if install_limits(
            installation,
            definition.id,
            definition.limits,
            clock=clock,
            new_id=new_id,
            reserves=definition.reserves,
        ):
            changed.append("limits")
        wanted = _mappings(definition, tenants)
        for mapping in wanted:
            from_ms = _map(mapping, definition.id, now_ms)
            if from_ms is not None:
                changed.append(f"{mapping.kind} {mapping.name}")
                effective_ms = max(effective_ms, from_ms)
        named = {(mapping.kind, mapping.name) for mapping in wanted}
        for mapping in _mappings(known, tenants) if known is not None else ():
            to_ms = None if (mapping.kind, mapping.name) in named else _unmap(mapping, definition.id, now_ms)
            if to_ms is not None:
                changed.append(f"{mapping.kind} {mapping.name} removed")
                effective_ms = max(effective_ms, to_ms)
        if known != replace(definition, limits=(), reserves=False):
            tenants.put_tenant(definition, now_ms)
            changed.append("tenant")
        yield Applied(definition.id, tuple(changed), effective_ms)


def _mappings(definition: TenantDefinition, tenants: TenantStore) -> list[_Mapping]:
    profiles = [
        _Mapping("profile", one.id, one.model, tenants.periods, tenants.put_periods) for one in definition.profiles
    ]
    return profiles + [
        _Mapping("principal", one, UNKNOWN_MODEL, tenants.principal_periods, tenants.put_principal_periods)
        for one in definition.principals
    ]


def _map(mapping: _Mapping, tenant: str, now_ms: int) -> int | None:
    """Give a profile or principal to a tenant; returns from when on, or None if it is the tenant's already."""
    for _ in range(ATTEMPTS):
        version, periods = mapping.read(mapping.name)
        last = periods[-1] if periods else None
        start_ms = now_ms + HANDOVER_MS
        kept: tuple[MappingPeriod, ...] = ()
        if last is None:
            # Whatever used it before anybody owned it can only have been its first owner.
            start_ms = 0
        elif last.tenant == tenant and last.to_ms is None:
            if last.model == mapping.model:
                return None
            start_ms, kept = last.from_ms, tuple(periods[:-1])
        else:
            # An end that is still ahead moves to the new beginning: nobody's minute in between.
            to_ms = start_ms if last.to_ms is None or last.to_ms > now_ms else last.to_ms
            kept = (*periods[:-1], replace(last, to_ms=to_ms))
        if mapping.write(mapping.name, version, (*kept, MappingPeriod(tenant, start_ms, None, mapping.model))):
            return max(start_ms, now_ms)
    raise LeaseLost(f"the mapping of {mapping.kind} {mapping.name} was changed by others {ATTEMPTS} times meanwhile")


def _unmap(mapping: _Mapping, tenant: str, now_ms: int) -> int | None:
    """Take a profile or principal from a tenant; returns from when on, or None if it is not the tenant's any more."""
    for _ in range(ATTEMPTS):
        version, periods = mapping.read(mapping.name)
        last = periods[-1] if periods else None
        if last is None or last.tenant != tenant or last.to_ms is not None:
            return None
        to_ms = now_ms + HANDOVER_MS
        ended = replace(last, to_ms=to_ms)
        if mapping.write(mapping.name, version, (*periods[:-1], ended)):
            return to_ms
    raise LeaseLost(f"the mapping of {mapping.kind} {mapping.name} was changed by others {ATTEMPTS} times meanwhile")
