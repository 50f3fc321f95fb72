"""``tenants add``: a tenant, its limits, and an application inference profile for each of its models.

Every step may be the last one, and doing it again ends in the same place: one profile for each tenant and source.
What is there already is found in three ways, the cheap ones first: a mapping of the tenant with the same model and
routing; the profile's name, which follows from tenant and source (a creation that was never registered); the tag of a
profile that nobody owns yet (made by somebody else, adopted). Only then one is made, under a token that Bedrock knows
again. A profile that is tagged for another tenant is never taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bedrock_meter.errors import InvalidDefinition, ProfileRefused
from bedrock_meter.limits.installation import InstallationStore, install_limits
from bedrock_meter.limits.limit import Limit, plan_change
from bedrock_meter.limits.windows import CalendarWindow
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail, definition_document, difference
from bedrock_meter.tenants.directory import DirectoryStore, Question
from bedrock_meter.tenants.onboarding import TenantStore, keep_own_limits, map_profile, settle_limits, update_definition
from bedrock_meter.tenants.ownership import owner_of
from bedrock_meter.tenants.plans import by_name, completed, effective_limits
from bedrock_meter.tenants.profiles import (
    ControlPlane,
    InferenceProfile,
    Route,
    client_token,
    foundation_route,
    profile_name,
    route_of,
    system_profile_id,
)
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, ProfileReference, TenantDefinition

GENERATIONS = 5
"""How often a token is changed when Bedrock answers it with a profile that this tenant has had before."""

HAD, ADOPTED, CREATED = "had", "adopted", "created"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for; None leaves a known tenant's value as it is.

    Attributes:
        tenant: Its id.
        sources: ARNs to make profiles from.
        models: Base models that the sources must stand for, where the person named both; empty = not checked.
        timezone: IANA zone.
        plan: Name of a plan.
        name: What people call it.
        limits: All limits of its own that it is to have, beside those of its plan.
    """

    tenant: str
    sources: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    timezone: str | None = None
    plan: str | None = None
    name: str | None = None
    limits: tuple[Limit, ...] | None = None


@dataclass(frozen=True, slots=True)
class Provided:
    """A profile that the tenant has now, and how it came to it: ``had``, ``adopted`` or ``created``.

    In a dry run a profile that would be created has no ARN.
    """

    source: str
    how: str
    model: str
    routing: str | None
    arn: str


@dataclass(frozen=True, slots=True)
class Added:
    """What adding one tenant changed.

    Attributes:
        tenant: The tenant.
        changed: What changed (or would), in words; empty if all was as wanted.
        profiles: A profile for each source.
        effective_ms: From when on all of it holds.
    """

    tenant: str
    changed: tuple[str, ...]
    profiles: tuple[Provided, ...]
    effective_ms: int


@dataclass(slots=True)
class _Offers:
    """Profiles of one model and routing.

    Attributes:
        by_name: All of them, by name.
        by_owner: Those with an owner.
        by_tag: Those without one, by the tenant that their tag names; None = no tag.
    """

    by_name: dict[str, InferenceProfile]
    by_owner: dict[str, list[InferenceProfile]]
    by_tag: dict[str | None, list[InferenceProfile]]


class ProfileCatalog:
    """The Region's application profiles, listed once, and what is learnt of them meanwhile.

    Tags are asked for profiles only that nobody owns, so that a second run over a thousand tenants asks none.
    """

    def __init__(self, control: ControlPlane, directory: DirectoryStore, tag_key: str) -> None:
        self.control = control
        self.tag_key = tag_key
        self._directory = directory
        self._profiles: dict[str, InferenceProfile] | None = None
        self._owners: dict[str, str | None] = {}
        self._routes: dict[str, Route] = {}
        self._offers: dict[Route, _Offers] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._listed())

    def _listed(self) -> dict[str, InferenceProfile]:
        if self._profiles is None:
            self._profiles = {one.id: one for one in self.control.application_profiles()}
            mappings = self._directory.ask(Question(profiles=list(self._profiles))).profiles
            self._owners = {profile: owner_of(periods) for profile, periods in mappings.items()}
        return self._profiles

    def owned(self, profile: str, tenant: str) -> InferenceProfile | None:
        """Return a profile that is there and the tenant's, or None."""
        found = self._listed().get(profile)
        return found if self._owners.get(profile) == tenant else None

    def gave(self, profile: InferenceProfile, tenant: str) -> None:
        """Remember whose a profile is now."""
        self._listed().setdefault(profile.id, profile)
        self._owners[profile.id] = tenant

    def offers(self, route: Route) -> _Offers:
        """Return the profiles of a model and routing by name, and those that nobody owns by their tag."""
        if route not in self._offers:
            alike = [one for one in self._listed().values() if route_of(one.models) == route]
            found = _Offers({one.name: one for one in alike}, {}, {})
            for profile in alike:
                owner = self._owners.get(profile.id)
                if owner is not None:
                    found.by_owner.setdefault(owner, []).append(profile)
                else:
                    tags = self.control.tags(profile.arn) or {}
                    found.by_tag.setdefault(tags.get(self.tag_key), []).append(profile)
            self._offers[route] = found
        return self._offers[route]

    def route(self, source: str) -> Route:
        """Return what a profile from this source stands for.

        Raises:
            InvalidDefinition: The source is no foundation model and no system profile of this Region.
        """
        if source not in self._routes:
            route = foundation_route(source)
            if route is None:
                identifier = system_profile_id(source)
                found = self.control.profile(identifier) if identifier else None
                if found is None:
                    raise InvalidDefinition(
                        "copy_from",
                        f"{source} is neither a foundation model nor a system-defined profile of this Region;"
                        " `aws bedrock list-inference-profiles` shows the latter",
                    )
                # Its prefix says how it routes, also where it reaches one Region only.
                route = Route(route_of(found.models).model, route_of([source]).routing)
            if route.model == UNKNOWN_MODEL:
                raise InvalidDefinition("copy_from", f"{source} stands for no single model")
            self._routes[source] = route
        return self._routes[source]


class Provisioner:
    """Adds tenants one by one.

    Args:
        tenants: Definitions and mappings.
        installation: Gauges and limits.
        catalog: Profiles in Bedrock.
        audit: Where each change is noted first.
        by: Who adds.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.
        extra_tags: Further tags on each profile that is made.
    """

    def __init__(
        self,
        tenants: TenantStore,
        installation: InstallationStore,
        catalog: ProfileCatalog,
        audit: AuditTrail,
        *,
        by: str,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        extra_tags: Mapping[str, str] | None = None,
    ) -> None:
        self._tenants = tenants
        self._installation = installation
        self._catalog = catalog
        self._audit = audit
        self._by = by
        self._clock = clock
        self._new_id = new_id
        self._extra_tags = dict(extra_tags or {})

    def add(self, wanted: Wanted, *, dry_run: bool = False) -> Added:
        """Make what is wanted true. Doing it twice changes nothing the second time.

        Raises:
            InvalidDefinition: A source, limit or time zone cannot be; nothing was changed.
            ProfileRefused: A profile cannot be made or taken. What was made before it stays, and is found again.
            LeaseLost: Somebody else keeps changing the same tenant.
        """
        now_ms = self._clock()
        routes = self._routes(wanted)
        stored = self._tenants.tenant(wanted.tenant)
        gauge = self._installation.gauge(wanted.tenant)
        present = tuple(one.limit for one in gauge.layout.limits) if gauge is not None else ()
        known = completed(stored, present) if stored is not None else None
        definition = _merged(wanted, known, installed=present)
        limits = effective_limits(definition, by_name(self._tenants.plans()))
        moves = known is not None and definition.timezone != known.timezone
        own = known.limits if known is not None else ()
        if moves and wanted.limits is None and any(isinstance(one.window, CalendarWindow) for one in own):
            raise InvalidDefinition(
                "timezone", f"{wanted.tenant} has calendar limits in another zone: give limits as well"
            )
        if gauge is not None:
            plan_change(gauge.layout, limits)  # refuses what could not be installed
        plans = {source: self._find(wanted.tenant, source, route, known) for source, route in routes.items()}
        changed = [] if gauge is not None and limits == present else ["limits"] if limits else ["gauge"]
        changed += [f"{plan.how} {plan.model}" for plan in plans.values() if plan.how != HAD]
        if known != definition:
            changed.append("tenant")
        if dry_run or not changed:
            return Added(wanted.tenant, tuple(changed), tuple(plans.values()), now_ms)
        before, after = difference(definition_document(known, present), definition_document(definition, limits))
        wishes = [{"source": one.source, "how": one.how} for one in plans.values() if one.how != HAD]
        after = {**(after or {}), **({"new_profiles": wishes} if wishes else {})}
        self._audit.record(AuditEntry(wanted.tenant, now_ms, self._by, "add", before, after))
        keep_own_limits(self._tenants, self._installation, stored, now_ms)
        install_limits(self._installation, wanted.tenant, limits, clock=self._clock, new_id=self._new_id)
        effective_ms, references = now_ms, []
        for source, plan in plans.items():
            arn = plan.arn or self._made(wanted.tenant, source).arn
            reference = ProfileReference(arn.rpartition("/")[2], arn, plan.model, plan.routing)
            from_ms = map_profile(self._tenants, reference, wanted.tenant, now_ms)
            self._catalog.gave(InferenceProfile(reference.id, arn, "", (source,)), wanted.tenant)
            effective_ms = max(effective_ms, from_ms or 0)
            references.append(reference)
            plans[source] = replace(plan, arn=arn)
        update_definition(
            self._tenants, wanted.tenant, now_ms, lambda held: _merged(wanted, held, references, installed=present)
        )
        settle_limits(self._tenants, self._installation, wanted.tenant, clock=self._clock, new_id=self._new_id)
        return Added(wanted.tenant, tuple(changed), tuple(plans.values()), effective_ms)

    def _routes(self, wanted: Wanted) -> dict[str, Route]:
        routes = {source: self._catalog.route(source) for source in wanted.sources}
        by_route: dict[Route, str] = {}
        for source, route in routes.items():
            if route in by_route:
                raise InvalidDefinition("copy_from", f"{by_route[route]} and {source} are the same model and routing")
            by_route[route] = source
            if wanted.models and route.model not in wanted.models:
                raise InvalidDefinition(
                    "copy_from", f"{source} is {route.model}, which is not among the models: {', '.join(wanted.models)}"
                )
        return routes

    def _find(self, tenant: str, source: str, route: Route, known: TenantDefinition | None) -> Provided:
        """Say how the tenant gets its profile. Changes nothing."""
        name = profile_name(tenant, source)
        for reference in known.profiles if known is not None else ():
            held = self._catalog.owned(reference.id, tenant)
            if held is not None and (held.name == name or route_of(held.models) == route):
                # What a tag alone has brought becomes a person's decision now.
                how = ADOPTED if reference.tagged else HAD
                return Provided(source, how, route.model, route.routing, held.arn)
        offers, key = self._catalog.offers(route), self._catalog.tag_key
        # Owned, and missing in the definition: somebody stopped in between.
        for profile in (*offers.by_owner.get(tenant, ()), *offers.by_tag.get(tenant, ())):
            return Provided(source, ADOPTED, route.model, route.routing, profile.arn)
        namesake = offers.by_name.get(name)
        if namesake is not None:
            raise ProfileRefused(
                f"profile {namesake.arn} has the name of {tenant}'s profile ({name}), but its tag {key} does not name"
                f" {tenant}, or it is somebody else's: tag it {key}={tenant} or delete it, then run this again"
            )
        return Provided(source, CREATED, route.model, route.routing, "")

    def _made(self, tenant: str, source: str) -> InferenceProfile:
        """Make a profile. A token may be answered with a profile that is gone meanwhile; then another one is used."""
        key = self._catalog.tag_key
        tags = {**self._extra_tags, key: tenant}
        for generation in range(GENERATIONS):
            token = client_token(tenant, source, key, generation)
            made = self._catalog.control.create(profile_name(tenant, source), source, tags, token)
            if not self._tenants.periods(made.id)[1] or self._catalog.control.profile(made.id) is not None:
                return made
        raise ProfileRefused(f"Bedrock answers with profiles of {tenant} that were deleted; try again tomorrow")


def _merged(
    wanted: Wanted,
    known: TenantDefinition | None,
    references: Sequence[ProfileReference] = (),
    *,
    installed: Sequence[Limit],
) -> TenantDefinition:
    """Return the definition with what is wanted, everything else as it was. A removed tenant comes back.

    A gauge without a definition is what a first attempt left that was stopped: its limits are none of anybody's.
    """
    base = completed(known, installed) if known is not None else TenantDefinition(wanted.tenant)
    profiles = {one.id: one for one in base.profiles} | {one.id: one for one in references}
    return replace(
        base,
        timezone=wanted.timezone or base.timezone or DEFAULT_TIMEZONE,
        plan=base.plan if wanted.plan is None else wanted.plan,
        name=base.name if wanted.name is None else wanted.name,
        limits=base.limits if wanted.limits is None else wanted.limits,
        profiles=tuple(profiles.values()),
        removed_ms=None,
    )
