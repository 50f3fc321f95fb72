"""A tenant on one page, as ``tenants show`` prints it and the admin API answers it: the only place that composes it.

What a person defined, what that comes to now, and who owned its profiles when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.status import quota_status
from bedrock_meter.limits.suspension import suspension_document
from bedrock_meter.pricing.models import base_model
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.boosting import boosts_not_over
from bedrock_meter.tenants.directory import DirectoryStore, Question
from bedrock_meter.tenants.plans import source_of
from bedrock_meter.tenants.profiles import named_route
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition

BY_TAG_WORD, BY_PERSON_WORD = "tag", "person"


class OverviewStore(Protocol):
    """The part of ``TenantStore`` that this reads."""

    def tenant(self, tenant: str) -> TenantDefinition | None:
        """Read a tenant's definition."""

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping."""

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a principal's or a pattern's mapping."""


@dataclass(frozen=True, slots=True)
class Overviews:
    """Reads overviews, and whose profiles are.

    Attributes:
        tenants: Definitions and mappings.
        gauge_of: Reads a tenant's gauge; None if there is none.
        directory: Reads many mappings at once.
        clock: Current time in milliseconds.
    """

    tenants: OverviewStore
    gauge_of: Callable[[str], Gauge | None]
    directory: DirectoryStore
    clock: Callable[[], int]

    def overview(self, tenant: str) -> dict[str, Any] | None:
        """Return a tenant's document; None if there is no such tenant. Reads each of its profiles' mappings."""
        definition = self.tenants.tenant(tenant)
        if definition is None:
            return None
        gauge = self.gauge_of(tenant)
        now_ms = self.clock()
        status = quota_status(gauge, now_ms) if gauge is not None else {}
        installed = [one.limit for one in gauge.layout.limits] if gauge is not None else []
        return {
            **summary(definition),
            "suspended": None if gauge is None else suspension_document(gauge.suspension),
            "allowed": status.get("allowed"),
            "limits": [{**one, "source": source_of(definition, one["name"])} for one in status.get("limits", [])],
            "removed_limits": list(definition.removes),
            "boosts": boosts_not_over(definition, installed, now_ms),
            "profiles": [self._profile(one) for one in definition.profiles],
        }

    def mappings(self, profiles: Sequence[str]) -> list[dict[str, Any]]:
        """Return the mappings of those profiles that have one, in the order of ``profiles``; one batch read."""
        found = self.directory.ask(Question(profiles=profiles)).profiles
        return [{"id": one, "periods": periods_document(found[one])} for one in profiles if found.get(one)]

    def principal_mappings(self, principals: Sequence[str]) -> list[dict[str, Any]]:
        """Return the mappings of those principals and patterns that have one, in their order; one read each."""
        found = {one: self.tenants.principal_periods(one)[1] for one in principals}
        return [{"principal": one, "periods": periods_document(found[one])} for one in principals if found[one]]

    def _profile(self, profile: ProfileReference) -> dict[str, Any]:
        """Return a profile; what the prefix of its model says of the way is known, though it was not written down."""
        named = named_route(profile.model) if base_model(profile.model).prefix else None
        return {
            "id": profile.id,
            "arn": profile.arn,
            "model": profile.model,
            "routing": profile.routing or (named.routing if named else None),
            "geography": profile.geography or (named.geography if named else None),
            "by": BY_TAG_WORD if profile.tagged else BY_PERSON_WORD,
            "periods": periods_document(self.tenants.periods(profile.id)[1]),
        }


def summary(definition: TenantDefinition) -> dict[str, Any]:
    """Return what a list says of a tenant."""
    return {
        "tenant": definition.id,
        "name": definition.name,
        "timezone": definition.timezone,
        "plan": definition.plan,
        "removed": iso(definition.removed_ms),
    }


def periods_document(periods: Sequence[MappingPeriod]) -> list[dict[str, Any]]:
    """Return who owned a profile when: half-open, ``to`` is null while nobody knows an end."""
    return [{"tenant": one.tenant, "from": iso(one.from_ms), "to": iso(one.to_ms)} for one in periods]
