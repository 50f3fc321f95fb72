"""Profiles in Bedrock and the tag that names their tenant, followed into the directory: ``sync_profiles``.

What a person decided stands: a mapping that a person made is neither moved, ended nor reopened by a tag, only told of
where the tag contradicts it. A tag maps a profile that nobody has owned yet, moves and ends what a tag has mapped, and
never makes a tenant: a typing error in a tag must not become a customer. Facts that are nobody's opinion (base model,
routing) are filled in wherever they are missing. A profile that Bedrock says is gone loses its owner, whoever made the
mapping, if the mapping is about a profile of this account and Region.

Bedrock's answer decides, not the event that started a run: run twice, or from an event that was delivered late, it ends
in the same place. A run that ends before it is through begins at another profile the next time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.mapping import ATTEMPTS
from bedrock_meter.tenants.onboarding import TenantStore, update_definition
from bedrock_meter.tenants.ownership import Periods, ProfileMapping, end, give, owner_of
from bedrock_meter.tenants.profiles import ControlPlane, InferenceProfile, Route, route_of
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition, checked_tenant_id

LAST_CALL_MS = 20_000
"""A run stops looking at further profiles when less is left."""

EVENT_SOURCE = "bedrock.amazonaws.com"
"""Who speaks in CloudTrail's events about the control plane."""

_NAMING = ("inferenceProfileArn", "inferenceProfileIdentifier", "resourceARN", "resourceArn")
_APPLICATION = ":application-inference-profile/"

MAXIMUM_FINDINGS = 100

KEPT, MAPPED, MOVED, ENDED, COMPLETED = "kept", "mapped", "moved", "ended", "completed"
CONTRADICTED, UNKNOWN_TENANT = "contradicted", "unknown_tenant"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a mapping.

    Attributes:
        what: ``kept``, ``mapped``, ``moved``, ``ended``, ``completed`` (a fact was filled in), or ``contradicted`` (a
            person's mapping and the tag name different tenants; the person's stands).
        periods: The new periods; None = as they are.
    """

    what: str
    periods: Periods | None = None


def decide(periods: Sequence[MappingPeriod], tenant: str | None, route: Route, now_ms: int) -> Decision:
    """Say what a profile's tag means for its mapping.

    Args:
        periods: The mapping as it is.
        tenant: The known tenant that the tag names, or None.
        route: What the profile stands for.
        now_ms: When this is decided.
    """
    last = periods[-1] if periods else None
    if last is not None and last.by == BY_PERSON:
        holder = owner_of(periods)
        if holder is not None:
            model = route.model if last.model == UNKNOWN_MODEL else last.model
            routing = last.routing or route.routing
            geography = last.geography or (route.geography if routing == route.routing else None)
            filled = replace(last, model=model, routing=routing, geography=geography)
            if filled != last:
                return Decision(COMPLETED, (*periods[:-1], filled))
        return Decision(CONTRADICTED if tenant is not None and tenant != holder else KEPT)
    if tenant is None:
        ended = end(periods, last.tenant, now_ms, by=BY_TAG) if last is not None else None
        return Decision(ENDED, ended[0]) if ended is not None else Decision(KEPT)
    given = give(
        periods, tenant, now_ms, model=route.model, routing=route.routing, by=BY_TAG, geography=route.geography
    )
    if given is None:
        return Decision(KEPT)
    if last is None:
        return Decision(MAPPED, given[0])
    return Decision(COMPLETED if owner_of(periods) == tenant else MOVED, given[0])


@dataclass(slots=True)
class Synchronised:
    """What a run did.

    Attributes:
        listed: Application profiles in this Region; None where the list was not asked for.
        examined: Profiles that were looked at.
        counts: How many ended in which decision, and ``unknown_tenant``.
        findings: What a person should look at, in words; at most a hundred.
        failures: Profiles that could not be handled, and why; the next run tries again.
        is_complete: Whether all were looked at.
    """

    listed: int | None = None
    examined: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True

    def count(self, what: str) -> None:
        """Add to a count."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def find(self, words: str) -> None:
        """Note something to look at."""
        if len(self.findings) < MAXIMUM_FINDINGS:
            self.findings.append(words)


class Synchroniser:
    """Follows profiles and tags.

    Args:
        control: Bedrock's control plane.
        tenants: Definitions and mappings.
        audit: Where each change is noted first.
        tag_key: Key of the tag that names the tenant.
        here: Beginning of the ARNs of this account and Region: ``arn:aws:bedrock:us-east-1:123456789012:``.
        by: Under which name changes are made.
        clock: Current time in milliseconds.
        passing: Errors after which a single profile is left for the next run.
    """

    def __init__(
        self,
        control: ControlPlane,
        tenants: TenantStore,
        audit: AuditTrail,
        *,
        tag_key: str,
        here: str,
        by: str,
        clock: Callable[[], int],
        passing: tuple[type[Exception], ...] = (),
    ) -> None:
        self._control = control
        self._tenants = tenants
        self._audit = audit
        self._tag_key = tag_key
        self._here = here
        self._by = by
        self._clock = clock
        self._passing: tuple[type[Exception], ...] = (*passing, LeaseLost)

    def run(
        self, report: Synchronised, remaining_ms: Callable[[], int], tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """Look at every profile and every mapping."""
        profiles = {one.id: one for one in self._control.application_profiles()}
        definitions: dict[str, TenantDefinition] = {}
        mappings: dict[str, ProfileMapping] = {}
        for found in self._tenants.everything():
            if isinstance(found, TenantDefinition):
                definitions[found.id] = found
            else:
                mappings[found.profile] = found
        report.listed = len(profiles)
        order = sorted(profiles)
        first = (self._clock() // 60_000) % len(order) if order else 0
        for number, profile in enumerate([*order[first:], *order[:first]]):
            if remaining_ms() < LAST_CALL_MS:
                report.is_complete = False
                return
            tell(f"looking at {number + 1} of {len(order)} profiles")
            self._attempt(report, profile, partial(self._follow, report, profiles[profile], definitions))
        for mapping in mappings.values():
            if mapping.profile not in profiles and self._is_followed(mapping, definitions):
                if remaining_ms() < LAST_CALL_MS:
                    report.is_complete = False
                    return
                self._attempt(report, mapping.profile, partial(self._follow_gone, report, mapping.profile))

    def run_one(self, report: Synchronised, profile_id: str) -> None:
        """Look at one profile that an event named. It may have been made, re-tagged or deleted since."""
        profile = self._control.profile(profile_id)
        if profile is not None:
            if _is_application(profile):
                self._attempt(report, profile_id, lambda: self._follow(report, profile, None))
            return
        mapping = ProfileMapping(profile_id, *self._tenants.periods(profile_id))
        holder = owner_of(mapping.periods)
        definition = self._tenants.tenant(holder) if holder is not None else None
        if self._is_followed(mapping, {definition.id: definition} if definition is not None else {}):
            self._attempt(report, profile_id, lambda: self._follow_gone(report, profile_id))

    def _attempt(self, report: Synchronised, profile: str, follow: Callable[[], None]) -> None:
        report.examined += 1
        try:
            follow()
        except self._passing as error:
            report.failures[profile] = f"{type(error).__name__}: {error}"

    def _follow(
        self, report: Synchronised, profile: InferenceProfile, definitions: Mapping[str, TenantDefinition] | None
    ) -> None:
        tags = self._control.tags(profile.arn)
        if tags is None:
            return  # gone between list and look: the next run sees it missing
        tenant = self._tenant_of(report, profile, tags.get(self._tag_key), definitions)
        route = route_of(profile.models)
        for _ in range(ATTEMPTS):
            version, periods = self._tenants.periods(profile.id)
            now_ms = self._clock()
            decision = decide(periods, tenant, route, now_ms)
            if decision.periods is None:
                break
            self._note(profile.id, periods, decision.periods, decision.what, now_ms)
            if self._tenants.put_periods(profile.id, version, decision.periods):
                periods = decision.periods
                break
        else:
            raise LeaseLost(f"the mapping of profile {profile.id} was changed by others {ATTEMPTS} times meanwhile")
        report.count(decision.what)
        if decision.what == CONTRADICTED:
            holder = owner_of(periods) or "nobody"
            report.find(f"{profile.arn} is tagged for {tenant}, and a person has given it to {holder}")
        if decision.periods is not None or definitions is None or not _is_settled(profile, periods, definitions):
            self._settle_definitions(profile, periods)

    def _tenant_of(
        self,
        report: Synchronised,
        profile: InferenceProfile,
        value: str | None,
        definitions: Mapping[str, TenantDefinition] | None,
    ) -> str | None:
        """Return the known tenant that a tag names, or None."""
        if value is None:
            return None
        try:
            tenant = checked_tenant_id(value)
        except InvalidDefinition:
            tenant = ""
        definition = None
        if tenant:
            definition = self._tenants.tenant(tenant) if definitions is None else definitions.get(tenant)
        if definition is None or definition.removed_ms is not None:
            report.count(UNKNOWN_TENANT)
            report.find(
                f"{profile.arn} is tagged {self._tag_key}={value!r}, which is no tenant: add it, or mend the tag"
            )
            return None
        return tenant

    def _follow_gone(self, report: Synchronised, profile: str) -> None:
        if self._control.profile(profile) is not None:
            return  # missing in the list only
        for _ in range(ATTEMPTS):
            version, periods = self._tenants.periods(profile)
            holder = owner_of(periods)
            now_ms = self._clock()
            ended = end(periods, holder, now_ms, by=periods[-1].by) if holder is not None else None
            if holder is None or ended is None:
                return
            self._note(profile, periods, ended[0], ENDED, now_ms)
            if self._tenants.put_periods(profile, version, ended[0]):
                self._forget(holder, profile)
                report.count(ENDED)
                return
        raise LeaseLost(f"the mapping of profile {profile} was changed by others {ATTEMPTS} times meanwhile")

    def _is_followed(self, mapping: ProfileMapping, definitions: Mapping[str, TenantDefinition]) -> bool:
        """Whether the end of a profile is ours to notice: a tag has mapped it, or its ARN is of this place."""
        holder = owner_of(mapping.periods)
        if holder is None:
            return False
        if mapping.periods[-1].by == BY_TAG:
            return True
        definition = definitions.get(holder)
        named = definition.profiles if definition is not None else ()
        return any(one.id == mapping.profile and one.arn.startswith(self._here) for one in named)

    def _note(self, profile: str, periods: Sequence[MappingPeriod], changed: Periods, what: str, now_ms: int) -> None:
        before, after = (periods[-1] if periods else None), changed[-1]
        documents = _document(profile, before), _document(profile, after)
        entry = AuditEntry(after.tenant, now_ms, self._by, f"sync: {what}", *documents)
        self._audit.record(entry)
        if before is not None and before.tenant != after.tenant:
            self._audit.record(replace(entry, tenant=before.tenant))

    def _settle_definitions(self, profile: InferenceProfile, periods: Sequence[MappingPeriod]) -> None:
        """Let the definitions of all tenants that had it say who has it now: also what a crash has left half done."""
        holder = owner_of(periods)
        last = periods[-1] if periods else None
        if last is None or last.by == BY_PERSON:
            return
        if holder is not None:
            reference = ProfileReference(profile.id, profile.arn, last.model, last.routing, True, last.geography)

            def named(held: TenantDefinition | None) -> TenantDefinition | None:
                if held is None:
                    return None
                others = tuple(one for one in held.profiles if one.id != profile.id)
                if reference in held.profiles:
                    return held
                return replace(held, profiles=(*others, reference))

            update_definition(self._tenants, holder, self._clock(), named)
        for tenant in {period.tenant for period in periods[-2:]} - {holder}:
            self._forget(tenant, profile.id)

    def _forget(self, tenant: str, profile: str) -> None:
        def without(held: TenantDefinition | None) -> TenantDefinition | None:
            if held is None:
                return None
            return replace(held, profiles=tuple(one for one in held.profiles if one.id != profile))

        update_definition(self._tenants, tenant, self._clock(), without)


def _is_settled(
    profile: InferenceProfile, periods: Sequence[MappingPeriod], definitions: Mapping[str, TenantDefinition]
) -> bool:
    """Whether exactly the owner's definition names the profile, as far as a reading of all definitions tells."""
    concerned = {period.tenant for period in periods[-2:]}
    naming = {
        tenant
        for tenant in concerned & definitions.keys()
        if any(one.id == profile.id for one in definitions[tenant].profiles)
    }
    holder = owner_of(periods)
    return naming == ({holder} if holder is not None else set())


def _is_application(profile: InferenceProfile) -> bool:
    return _APPLICATION in profile.arn


def _document(profile: str, period: MappingPeriod | None) -> dict[str, object] | None:
    if period is None:
        return None
    return {
        "profile": profile,
        "tenant": period.tenant,
        "from_ms": period.from_ms,
        "to_ms": period.to_ms,
        "model": period.model,
        "routing": period.routing,
        "geography": period.geography,
        "made_by": period.by,
    }


def fullness_percent(listed: int, maximum: int | None) -> int | None:
    """Return how much of the service quota is used, in whole percent; None where the quota is not known."""
    if maximum is None:
        return None
    return 100 if maximum <= 0 else listed * 100 // maximum


def profiles_named(event: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the ids of the application profiles that an event of CloudTrail names; None for any other event.

    Only places are read in which the control plane's requests and answers carry a profile's ARN or id. What has become
    of it is asked of Bedrock, so a forged or late event costs two requests and changes nothing by itself.
    """
    detail = event.get("detail")
    if not isinstance(detail, Mapping) or detail.get("eventSource") != EVENT_SOURCE:
        return None
    found = []
    for part in ("requestParameters", "responseElements"):
        values = detail.get(part)
        if not isinstance(values, Mapping):
            continue
        for name in _NAMING:
            value = values.get(name)
            if isinstance(value, str) and (not value.startswith("arn:") or _APPLICATION in value):
                profile = profile_candidate(value)
                if profile is not None:
                    found.append(profile)
    return tuple(dict.fromkeys(found))
