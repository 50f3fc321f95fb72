"""The two ways to what a stack holds of its tenants, for commands that look first and change then.

Straight on the tables, or over the admin API. Both read the same state, change a tenant only in the version that was
read, and say the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bedrock_meter.cli.administering import AdminApi, Outdated
from bedrock_meter.cli.deployed import tables_of
from bedrock_meter.cli.office import office_of
from bedrock_meter.clock import iso
from bedrock_meter.local.failures import BadInput, NotAgreed
from bedrock_meter.tenants.administration import Administration, Changed, definition_of, document_of
from bedrock_meter.tenants.difference import NO_GATEWAYS, Desired, Held
from bedrock_meter.tenants.onboarding import TenantStore
from bedrock_meter.tenants.ownership import owner_of
from bedrock_meter.tenants.planning import plan_changes
from bedrock_meter.tenants.plans import Plan, Plans, by_name, parse_plan
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import GatewayDefinition, Trust


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant as it is stored.

    Attributes:
        definition: Whole, with ``reserves``; None = there is no such tenant.
        version: What a change names; None = there is no such tenant.
    """

    definition: TenantDefinition | None = None
    version: str | None = None


class Way(Protocol):
    """One of the two."""

    def tenant(self, tenant: str) -> Standing:
        """Read a tenant."""

    def ids(self) -> Sequence[str]:
        """Return the ids of all tenants that are not removed, sorted. Reads all of them."""

    def plans(self) -> Plans:
        """Read all plans."""

    def gateways(self) -> GatewayDefinition | None:
        """Read the stack's gateways; None where this way cannot."""

    def owners(self, profiles: Sequence[str], principals: Sequence[str]) -> Mapping[str, str]:
        """Return who owns these without an end in sight; those without an owner are missing."""

    def having(self) -> Mapping[str | None, int]:
        """Count the tenants that are not removed by the plan that they name. Reads all of them."""

    def put(self, definition: TenantDefinition, version: str | None) -> tuple[Sequence[str], str]:
        """Make a tenant of this version what ``definition`` says; returns what changed, and from when it holds.

        Raises:
            NotAgreed: It has another version.
        """


class TrustingStore(TenantStore, Protocol):
    """The Tenants table with what the stack trusts."""

    def trust(self) -> Trust:
        """Read it."""


class TableWay:
    """Straight on the tables, in the name of ``by``."""

    def __init__(self, office: Administration, tenants: TrustingStore, by: str = "") -> None:
        self._office = office
        self._tenants = tenants
        self._by = by

    def tenant(self, tenant: str) -> Standing:
        """See ``Way``."""
        found = self._office.tenant(tenant)
        return Standing() if found is None else Standing(found.definition, found.version)

    def ids(self) -> Sequence[str]:
        """See ``Way``."""
        return sorted(one.id for one in self._tenants.all_tenants() if one.removed_ms is None)

    def plans(self) -> Plans:
        """See ``Way``."""
        return by_name(self._tenants.plans())

    def gateways(self) -> GatewayDefinition | None:
        """See ``Way``."""
        trust = self._tenants.trust()
        return GatewayDefinition(trust.gateways, trust.metadata_key)

    def owners(self, profiles: Sequence[str], principals: Sequence[str]) -> Mapping[str, str]:
        """See ``Way``."""
        found = {one: owner_of(self._tenants.periods(one)[1]) for one in profiles}
        found |= {one: owner_of(self._tenants.principal_periods(one)[1]) for one in principals}
        return {name: owner for name, owner in found.items() if owner is not None}

    def having(self) -> Mapping[str | None, int]:
        """See ``Way``."""
        return Counter(one.plan for one in self._tenants.all_tenants() if one.removed_ms is None)

    def put(self, definition: TenantDefinition, version: str | None) -> tuple[Sequence[str], str]:
        """See ``Way``."""
        try:
            made = self._office.put(
                definition.id, document_of(definition), lambda present: present == version, self._by, "apply"
            )
        except Changed as problem:
            raise outdated(definition.id) from problem
        if made.applied is None:
            raise outdated(definition.id)
        return made.applied.changed, str(iso(made.applied.effective_ms))


def table_way(outputs: Mapping[str, str], by: str = "") -> TableWay:
    """Return the way to the tables of the stack with these outputs."""
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    return TableWay(office_of(outputs), PynamoDBTenantStore(tables_of(outputs)), by)


class ApiWay:
    """Over the admin API. It knows of no gateways."""

    def __init__(self, api: AdminApi) -> None:
        self.api = api

    def tenant(self, tenant: str) -> Standing:
        """See ``Way``. The version is read first: what changes until the second answer is refused with it."""
        found = self.api.known(tenant)
        if found is None:
            return Standing()
        document, version = found
        is_removed = self.api.overview(tenant)["removed"] is not None
        definition = definition_of(document, is_stored=True)
        # When it was removed is not asked here, only whether it was.
        return Standing(replace(definition, removed_ms=0 if is_removed else None), version)

    def ids(self) -> Sequence[str]:
        """See ``Way``."""
        return sorted(one["id"] for one in self.api.tenants() if one["removed_at"] is None)

    def plans(self) -> Plans:
        """See ``Way``."""
        return by_name(parse_plan(one) for one in self.api.plans())

    def gateways(self) -> GatewayDefinition | None:
        """See ``Way``."""
        return None

    def owners(self, profiles: Sequence[str], principals: Sequence[str]) -> Mapping[str, str]:
        """See ``Way``."""
        found = {**self.api.periods(profiles), **self.api.principal_periods(principals)}
        return {name: periods[-1]["tenant"] for name, periods in found.items() if periods[-1]["to"] is None}

    def having(self) -> Mapping[str | None, int]:
        """See ``Way``."""
        return Counter(one["plan"] for one in self.api.tenants() if one["removed_at"] is None)

    def put(self, definition: TenantDefinition, version: str | None) -> tuple[Sequence[str], str]:
        """See ``Way``."""
        try:
            _, applied = self.api.put_over(definition.id, document_of(definition), version)
        except Outdated as problem:
            raise outdated(definition.id) from problem
        return applied["changed"], applied["effective"]


def outdated(tenant: str) -> NotAgreed:
    """Return the refusal of a tenant that is another one now than when the difference was made."""
    return NotAgreed(
        f"tenant {tenant} was changed by another writer meanwhile: it stays as it is now, and so do the tenants after"
        " it; run it again to see the difference"
    )


def held_of(way: Way, desired: Desired) -> Held:
    """Read what a stack holds of what a file says.

    Raises:
        BadInput: The file says something of gateways, and this way knows of none.
    """
    gateways = None if desired.gateways is None else way.gateways()
    if desired.gateways is not None and gateways is None:
        raise BadInput("gateways are the stack's, and no route of the admin API changes them: use --stack")
    tenants = {one.id: way.tenant(one.id).definition for one in desired.definitions}
    plans = way.plans()
    return Held(
        tenants={name: one for name, one in tenants.items() if one is not None},
        plans=plans,
        owners=_owners(way, [*desired.definitions, *tenants.values()]),
        having=way.having() if plan_changes(desired.plans, plans) else {},
        gateways=gateways or NO_GATEWAYS,
    )


def held_again(way: Way, definition: TenantDefinition, present: TenantDefinition | None, seen: Held) -> Held:
    """Return what a stack holds of one tenant now, but for what other tenants of the same file had.

    Those may have given it away by now, as the file says.
    """
    now = _owners(way, [definition, present])
    from_file = {name: owner for name, owner in seen.owners.items() if owner in seen.tenants}
    return replace(seen, tenants={} if present is None else {definition.id: present}, owners={**now, **from_file})


def _owners(way: Way, definitions: Iterable[TenantDefinition | None]) -> Mapping[str, str]:
    known = [one for one in definitions if one is not None]
    profiles = sorted({profile.id for one in known for profile in one.profiles})
    principals = sorted({principal for one in known for principal in one.principals})
    return way.owners(profiles, principals)


def same_plan(name: str, seen: Plans, present: Mapping[str, Any] | Plan | None) -> bool:
    """Whether a plan is still the one that was seen."""
    document = present.document() if isinstance(present, Plan) else present
    before = seen[name].document() if name in seen else None
    return before == document
