"""Application inference profiles in Bedrock as ``tenants add`` looks for them, takes them and makes them.

What is there already is found in three ways, the cheap ones first: a mapping of the tenant with the same model and
routing; the profile's name, which follows from tenant and source (a creation that was never registered); the tag of a
profile that nobody owns yet (made by somebody else, adopted). Only then one is made, under a token that Bedrock knows
again. A profile that is tagged for another tenant is never taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bedrock_meter.errors import InvalidDefinition, ProfileRefused
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL
from bedrock_meter.tenants.directory import DirectoryStore, Question
from bedrock_meter.tenants.ownership import owner_of
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
from bedrock_meter.tenants.tenant import ProfileReference

GENERATIONS = 5
"""How often a token is changed when Bedrock answers it with a profile that this tenant has had before."""

HAD, ADOPTED, CREATED = "had", "adopted", "created"


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
    geography: str | None = None

    @property
    def reference(self) -> ProfileReference:
        """As a definition names it, once it is there."""
        return ProfileReference(
            self.arn.rpartition("/")[2], self.arn, self.model, self.routing, geography=self.geography
        )


@dataclass(slots=True)
class _Offers:
    """Profiles of one model, routing and geography.

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
                route = replace(route_of([source]), model=route_of(found.models).model)
            if route.model == UNKNOWN_MODEL:
                raise InvalidDefinition("copy_from", f"{source} stands for no single model")
            self._routes[source] = route
        return self._routes[source]

    def find(self, tenant: str, source: str, route: Route, registered: Sequence[ProfileReference]) -> Provided:
        """Say how a tenant gets its profile of a source. Changes nothing.

        Args:
            tenant: Whose it will be.
            source: ARN that it is made from.
            route: What that stands for.
            registered: Profiles that the tenant's definition names.

        Raises:
            ProfileRefused: Another one has its name and is not the tenant's.
        """
        name = profile_name(tenant, source)
        for reference in registered:
            held = self.owned(reference.id, tenant)
            if held is not None and (held.name == name or route_of(held.models) == route):
                # What a tag alone has brought becomes a person's decision now.
                how = ADOPTED if reference.tagged else HAD
                return Provided(source, how, route.model, route.routing, held.arn, route.geography)
        offers, key = self.offers(route), self.tag_key
        # Owned, and missing in the definition: somebody stopped in between.
        for profile in (*offers.by_owner.get(tenant, ()), *offers.by_tag.get(tenant, ())):
            return Provided(source, ADOPTED, route.model, route.routing, profile.arn, route.geography)
        namesake = offers.by_name.get(name)
        if namesake is not None:
            raise ProfileRefused(
                f"profile {namesake.arn} has the name of {tenant}'s profile ({name}), but its tag {key} does not name"
                f" {tenant}, or it is somebody else's: tag it {key}={tenant} or delete it, then run this again"
            )
        return Provided(source, CREATED, route.model, route.routing, "", route.geography)

    def make(self, tenant: str, source: str, extra_tags: Mapping[str, str]) -> InferenceProfile:
        """Make a profile with the tenant's tag and further ones.

        A token may be answered with a profile that is gone meanwhile; then another one is used.

        Raises:
            ProfileRefused: Bedrock refuses it, or answers with deleted profiles only.
            ProfileQuotaFull: The service quota of profiles is used up.
        """
        tags = {**extra_tags, self.tag_key: tenant}
        for generation in range(GENERATIONS):
            token = client_token(tenant, source, self.tag_key, generation)
            made = self.control.create(profile_name(tenant, source), source, tags, token)
            is_new = not self._directory.ask(Question(profiles=[made.id])).profiles.get(made.id)
            if is_new or self.control.profile(made.id) is not None:
                return made
        raise ProfileRefused(f"Bedrock answers with profiles of {tenant} that were deleted; try again tomorrow")
