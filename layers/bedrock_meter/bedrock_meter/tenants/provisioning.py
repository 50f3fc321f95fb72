"""``tenants add``: a tenant, its limits, and an application inference profile for each of its models.

Every step may be the last one, and doing it again ends in the same place: one profile for each tenant and source
(``catalog.py``). What there is to do is decided in one place, ``plan_addition``, whoever then carries it out: the
tables (``Provisioner``), or the admin API for somebody who may not touch them (``cli/adding_over.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.installation import InstallationStore, install_limits
from bedrock_meter.limits.limit import Limit, plan_change
from bedrock_meter.limits.windows import CalendarWindow
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail, definition_document, difference, limit_words
from bedrock_meter.tenants.catalog import HAD, ProfileCatalog, Provided
from bedrock_meter.tenants.mapping import map_profile
from bedrock_meter.tenants.onboarding import TenantStore, keep_own_limits, settle_limits, update_definition
from bedrock_meter.tenants.plans import Plans, by_name, completed, effective_limits
from bedrock_meter.tenants.profiles import InferenceProfile, Route
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, ProfileReference, TenantDefinition


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
class Added:
    """What adding one tenant changed.

    Attributes:
        tenant: The tenant.
        changed: What changed (or would), in words; empty if all was as wanted.
        profiles: A profile for each source.
        effective_ms: From when on all of it holds.
        lost: Limits that it had and has no more, or has in another form, as ``--limit`` takes them.
        can_deny: Whether any of its limits can deny a call.
        is_attributed: Whether it has a profile or a principal, so that calls can be its own.
    """

    tenant: str
    changed: tuple[str, ...]
    profiles: tuple[Provided, ...]
    effective_ms: int
    lost: tuple[str, ...] = ()
    can_deny: bool = True
    is_attributed: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant as it stands before it is added.

    Attributes:
        known: Its definition with its own limits; None = there is none.
        installed: The limits on its gauge, in order; None = there is no gauge.
        plans: All plans of the stack.
    """

    known: TenantDefinition | None
    installed: tuple[Limit, ...] | None
    plans: Plans


@dataclass(frozen=True, slots=True)
class Addition:
    """What there is to do.

    Attributes:
        definition: What the tenant's is to be, but for profiles that are new to it.
        limits: All limits that it is to have.
        profiles: How it gets its profile, by source.
        changed: What that changes, in words; empty = nothing.
        lost: As of ``Added``.
    """

    definition: TenantDefinition
    limits: tuple[Limit, ...]
    profiles: Mapping[str, Provided]
    changed: tuple[str, ...]
    lost: tuple[str, ...]

    def added(self, profiles: Iterable[Provided], effective_ms: int) -> Added:
        """Return what it comes to, with these profiles and from this instant on."""
        provided = tuple(profiles)
        return Added(
            self.definition.id,
            self.changed,
            provided,
            effective_ms,
            self.lost,
            can_deny=any(not one.shadow for one in self.limits),
            is_attributed=bool(provided or self.definition.profiles or self.definition.principals),
        )


def plan_addition(wanted: Wanted, standing: Standing, catalog: ProfileCatalog) -> Addition:
    """Say what there is to do to make what is wanted true. Changes nothing.

    Raises:
        InvalidDefinition: A source, limit or time zone cannot be.
        ProfileRefused: A profile has the name of one that is wanted, and is not the tenant's.
    """
    routes = _routes(wanted, catalog)
    known, installed = standing.known, standing.installed or ()
    definition = merged(wanted, known, installed=installed)
    limits = effective_limits(definition, standing.plans)
    moves = known is not None and definition.timezone != known.timezone
    own = known.limits if known is not None else ()
    if moves and wanted.limits is None and any(isinstance(one.window, CalendarWindow) for one in own):
        raise InvalidDefinition("timezone", f"{wanted.tenant} has calendar limits in another zone: give limits as well")
    registered = known.profiles if known is not None else ()
    profiles = {source: catalog.find(wanted.tenant, source, route, registered) for source, route in routes.items()}
    is_there = standing.installed is not None
    changed = [] if is_there and limits == installed else ["limits"] if limits else ["gauge"]
    changed += [f"{one.how} {one.model}" for one in profiles.values() if one.how != HAD]
    if known != definition:
        changed.append("tenant")
    after = {limit_words(one) for one in limits}
    lost = tuple(words for words in map(limit_words, installed) if words not in after)
    return Addition(definition, limits, profiles, tuple(changed), lost)


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
        stored = self._tenants.tenant(wanted.tenant)
        gauge = self._installation.gauge(wanted.tenant)
        present = tuple(one.limit for one in gauge.layout.limits) if gauge is not None else ()
        known = completed(stored, present) if stored is not None else None
        standing = Standing(known, present if gauge is not None else None, by_name(self._tenants.plans()))
        addition = plan_addition(wanted, standing, self._catalog)
        limits, profiles = addition.limits, dict(addition.profiles)
        if gauge is not None:
            plan_change(gauge.layout, limits)  # refuses what could not be installed
        if dry_run or not addition.changed:
            return addition.added(profiles.values(), now_ms)
        before, after = difference(
            definition_document(known, present), definition_document(addition.definition, limits)
        )
        wishes = [{"source": one.source, "how": one.how} for one in profiles.values() if one.how != HAD]
        after = {**(after or {}), **({"new_profiles": wishes} if wishes else {})}
        self._audit.record(AuditEntry(wanted.tenant, now_ms, self._by, "add", before, after))
        keep_own_limits(self._tenants, self._installation, stored, now_ms)
        install_limits(self._installation, wanted.tenant, limits, clock=self._clock, new_id=self._new_id)
        effective_ms, references = now_ms, []
        for source, one in profiles.items():
            arn = one.arn or self._catalog.make(wanted.tenant, source, self._extra_tags).arn
            profiles[source] = replace(one, arn=arn)
            reference = profiles[source].reference
            from_ms = map_profile(self._tenants, reference, wanted.tenant, now_ms)
            self._catalog.gave(InferenceProfile(reference.id, arn, "", (source,)), wanted.tenant)
            effective_ms = max(effective_ms, from_ms or 0)
            references.append(reference)
        update_definition(
            self._tenants, wanted.tenant, now_ms, lambda held: merged(wanted, held, references, installed=present)
        )
        settle_limits(self._tenants, self._installation, wanted.tenant, clock=self._clock, new_id=self._new_id)
        return addition.added(profiles.values(), effective_ms)


def _routes(wanted: Wanted, catalog: ProfileCatalog) -> dict[str, Route]:
    routes = {source: catalog.route(source) for source in wanted.sources}
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


def merged(
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
