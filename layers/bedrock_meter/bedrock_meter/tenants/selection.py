"""Which call will be made: what a caller names, and the profiles that its tenant has.

Routing is part of the name. Who names a system profile (``eu.``, ``global.``) gets a profile of that routing and
geography or none, because another one would send data elsewhere and cost something else. Who names a base model gets
the tenant's in-Region profile of it, else its only one; where several are left, none is chosen, so that no order in a
file decides. Who names a profile keeps it, if it is the tenant's; one of another tenant is refused, because its usage
would be counted there.

Whose a profile is, and what it stands for, is the mapping's word, as for records (``attribution.py``), at the instant
of the question; where a profile changes hands, both owners have it during the handover, and no remembered mapping
refuses the new one. An ARN is compared with account and Region where the directory knows them: records join on its last
segment.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.errors import ForeignProfile, InvalidDefinition
from bedrock_meter.limits.destination import NOTHING_CALLED, Called, Choice, Destination
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.pricing.models import GEO, IN_REGION, base_model, geographies_in, is_model, routing_of
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.directory import KNOWN_FOR_MS, UNKNOWN_FOR_MS
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.profiles import named_route
from bedrock_meter.tenants.tenant import ProfileReference

CAPACITY = 10_000
"""Mappings that are remembered: which profiles are asked for is chosen by callers."""

MOST_CHOICES = 20
"""A reservation keeps so many ways that its call may take."""

_PLACE = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]*):([0-9]*):.+")
_PROFILE_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]*):([0-9]*):(?:application-)?inference-profile/([^/]+)")

Periods = Sequence[MappingPeriod]


class SelectionStore(Protocol):
    """Reads the directory."""

    def profiles_of(self, tenant: str) -> Sequence[ProfileReference]:
        """Return the profiles that a tenant's definition names; none for a tenant that is not there."""

    def mappings(self, profiles: Iterable[str]) -> Mapping[str, Periods]:
        """Return the periods of each profile; those without a mapping are missing."""


@dataclass(frozen=True, slots=True)
class _Named:
    """What a caller names: either, both, or neither where it names no known model.

    Attributes:
        model: Base model or system profile.
        profile: Id or ARN of an application inference profile.
    """

    model: str = ""
    profile: str = ""


class ProfileSelection:
    """``Destinations`` over the directory. Mappings are remembered as long as recorders remember them."""

    def __init__(self, store: Callable[[], SelectionStore], *, capacity: int = CAPACITY) -> None:
        """Load nothing yet.

        Args:
            store: Makes the store; called once, with the first caller that names something.
            capacity: Mappings that are remembered.
        """
        self._make = store
        self._store: SelectionStore | None = None
        self._capacity = capacity
        self._known: dict[str, tuple[int, Periods]] = {}

    def of(self, tenant: str, called: Called, now_ms: int) -> Destination:
        """See ``Destinations``: one read, and one more where mappings are asked for that are not remembered.

        A profile that is another tenant's by what is remembered is read again before it is refused: it may have been
        given to this one since.
        """
        if not called.names_something:
            return Destination(region=called.region)
        if self._store is None:
            self._store = self._make()
        profiles = self._store.profiles_of(tenant)
        named = {_last(one) for one in (called.model, called.profile) if one and not is_model(one)}
        asked = {one.id for one in profiles} | named
        try:
            return select(tenant, called, profiles, self._mappings(self._store, asked, now_ms), now_ms)
        except ForeignProfile:
            for one in named:
                self._known.pop(one, None)
            return select(tenant, called, profiles, self._mappings(self._store, asked, now_ms), now_ms)

    def _mappings(self, store: SelectionStore, profiles: Iterable[str], now_ms: int) -> dict[str, Periods]:
        remembered = {one: self._known.get(one, (0, ())) for one in profiles}
        mappings = {one: periods for one, (until_ms, periods) in remembered.items() if now_ms < until_ms}
        missing = sorted(remembered.keys() - mappings.keys())
        if missing:
            found = store.mappings(missing)
            if len(self._known) + len(missing) > self._capacity:
                self._known.clear()
            for one in missing:
                mappings[one] = periods = found.get(one, ())
                self._known[one] = now_ms + (KNOWN_FOR_MS if periods else UNKNOWN_FOR_MS), periods
        return mappings


def select(
    tenant: str,
    called: Called,
    profiles: Sequence[ProfileReference],
    mappings: Mapping[str, Periods],
    now_ms: int,
) -> Destination:
    """Return the call that will be made. Pure.

    Args:
        tenant: Who calls.
        called: The caller's words.
        profiles: What the tenant's definition names.
        mappings: Periods of those profiles, and of the one that the caller names; a missing key = no mapping.
        now_ms: The instant.

    Raises:
        ForeignProfile: The profile that is named is another tenant's.
        InvalidDefinition: The caller names a profile and a model that it is not of, or two different ones.
    """
    if called == NOTHING_CALLED:
        return Destination()
    named = _named(called)
    owned = _owned(tenant, profiles, mappings, now_ms)
    if named.profile:
        return _by_profile(tenant, named, called, owned, mappings, now_ms)
    through = _chosen(named.model, [one for one in owned if _is_callable(one, called)])
    if through is not None:
        return _through(through, called)
    model = named.model or NO_MODEL
    base = base_model(model).model
    choices = tuple((one.id, one.routing, one.region) for one in owned if one.model == base)
    return Destination(model, None, _region(called), None, "", tuple(owned), choices[:MOST_CHOICES])


def _named(called: Called) -> _Named:
    """Tell what is named, in whichever field it stands; a profile says more than a model, a prefix more than none."""
    both = [one for one in (called.profile, called.model) if one]
    models = [_last(one) for one in both if is_model(one)]
    profiles = [one for one in both if _is_profile(one)]
    if len(models) + len(profiles) < len(both) and len(set(both)) > 1:  # Such as a provisioned model, and its model.
        raise InvalidDefinition("model", "names another resource than 'profile'; leave one of them out")
    if len({base_model(one).model for one in models}) > 1 or len({base_model(one).prefix for one in models} - {""}) > 1:
        raise InvalidDefinition("model", "is another one than 'profile' names; leave one of them out")
    if len(profiles) > 1 and not (_last(profiles[0]) == _last(profiles[1]) and _is_same_place(*profiles)):
        raise InvalidDefinition("model", "names another profile than 'profile'; leave one of them out")
    model = max(models, key=lambda one: bool(base_model(one).prefix), default="")
    return _Named(model, max(profiles, key=len, default=""))


def _is_profile(text: str) -> bool:
    """Whether it can be an application profile: its ARN, or an id without a dot, which every model's id has."""
    if text.startswith("arn:"):
        return _PROFILE_ARN.fullmatch(text) is not None and not is_model(text)
    return "." not in text


def _owned(
    tenant: str, profiles: Sequence[ProfileReference], mappings: Mapping[str, Periods], now_ms: int
) -> list[Choice]:
    """Return the tenant's profiles with what their mappings say of them, in the definition's order."""
    return [
        _choice(one, _held_by(tenant, mappings.get(one.id, ()), now_ms))
        for one in profiles
        if not mappings.get(one.id) or _held_by(tenant, mappings[one.id], now_ms) is not None
    ]


def _held_by(tenant: str, periods: Periods, now_ms: int) -> MappingPeriod | None:
    """Return the period in which a profile is the tenant's, now or within the handover."""
    return next((one for one in _around(periods, now_ms) if one.tenant == tenant), None)


def _around(periods: Periods, now_ms: int) -> list[MappingPeriod]:
    """Return the periods that hold now, or will within the handover."""
    return [one for one in periods if one.from_ms <= now_ms + HANDOVER_MS and (one.to_ms is None or now_ms < one.to_ms)]


def _choice(profile: ProfileReference, period: MappingPeriod | None) -> Choice:
    """Join what a definition and a mapping say; the mapping's word is what records are priced by."""
    model = profile.model if period is None or period.model == NO_MODEL else period.model
    named = named_route(model)
    routing = (period.routing if period is not None else None) or profile.routing
    if routing is None and base_model(model).prefix:
        routing = named.routing
    place = _PROFILE_ARN.fullmatch(profile.arn)
    region = place[1] if place else ""
    geography = (period.geography if period is not None else None) or profile.geography or named.geography
    if geography is None and routing == GEO:
        geographies = geographies_in(region)
        geography = geographies[0] if len(geographies) == 1 else None
    return Choice(profile.id, profile.arn, named.model, routing, geography if routing == GEO else None, region)


def _by_profile(
    tenant: str,
    named: _Named,
    called: Called,
    owned: Sequence[Choice],
    mappings: Mapping[str, Periods],
    now_ms: int,
) -> Destination:
    identity = _last(named.profile)
    found = next((one for one in owned if one.id == identity), None)
    if found is None:
        periods = _around(mappings.get(identity, ()), now_ms)
        mine = next((one for one in periods if one.tenant == tenant), None)
        if mine is not None:  # mapped, and not in the definition yet
            found = _choice(ProfileReference(identity, named.profile), mine)
        elif periods:
            raise ForeignProfile("the profile that is named belongs to another tenant")
    if found is None or not _is_callable(found, called):
        return Destination(NO_MODEL, None, _region(called), None, named.profile, tuple(owned))
    if named.model and not _can_be(found, named.model):
        raise InvalidDefinition("model", "is not the model of the profile that is named; leave one of them out")
    return _through(found, called)


def _can_be(choice: Choice, model: str) -> bool:
    """Whether a profile can be of a model, routed as its prefix says, as far as the directory knows."""
    base, prefix = base_model(model)
    if choice.model not in (NO_MODEL, base):
        return False
    if not prefix or choice.routing is None:
        return True
    return choice.routing == routing_of(prefix) and (choice.routing != GEO or choice.geography in (None, prefix))


def _chosen(model: str, owned: Sequence[Choice]) -> Choice | None:
    """Return the profile through which a model is called; None where there is none, or no only one."""
    if not model:
        return None
    base, prefix = base_model(model)
    fitting = [one for one in owned if one.model == base]
    if prefix:
        routing = routing_of(prefix)
        fitting = [one for one in fitting if one.routing == routing and (routing != GEO or one.geography == prefix)]
    else:
        fitting = [one for one in fitting if one.routing == IN_REGION] or fitting
    return fitting[0] if len(fitting) == 1 else None


def _through(choice: Choice, called: Called) -> Destination:
    return Destination(choice.model, choice.routing, choice.region or _region(called), choice, choice.arn)


def _is_callable(choice: Choice, called: Called) -> bool:
    """Whether a profile can be what is called: its Region is the client's, and no ARN that is named is elsewhere."""
    is_near = not called.region or not choice.region or choice.region == called.region
    return is_near and all(_is_same_place(one, choice.arn) for one in (called.profile, called.model))


def _is_same_place(first: str, second: str) -> bool:
    """Whether two names can be of one account and Region: they agree where both say them."""
    one, other = _PLACE.fullmatch(first), _PLACE.fullmatch(second)
    pairs = () if one is None or other is None else zip(one.groups(), other.groups(), strict=True)
    return all(not mine or not yours or mine == yours for mine, yours in pairs)


def _region(called: Called) -> str:
    """Return the Region of the client, else that of an ARN that is named, else an empty text."""
    places = (_PLACE.fullmatch(one) for one in (called.profile, called.model))
    return called.region or next((place[1] for place in places if place is not None and place[1]), "")


def _last(name: str) -> str:
    return name.rpartition("/")[2]
