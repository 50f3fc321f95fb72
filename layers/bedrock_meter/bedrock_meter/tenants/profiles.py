"""What Bedrock's control plane says of application inference profiles, and what follows from it. Pure.

Three facts (the Bedrock user guide and the service model of botocore): a profile is made from one source and cannot be
changed but for its tags; what it was made from is not told afterwards, only the models that it reaches, and from their
ARNs follow the routing that a price depends on and the geography that its calls stay in; a list of profiles carries no
tags.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.pricing.models import GEO, GLOBAL, IN_REGION, base_model, geography_of, routing_of
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL

DEFAULT_TAG_KEY = "tenantId"

_MODEL_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]*):[0-9]*:foundation-model/([A-Za-z0-9.:_-]+)")
_SYSTEM_PROFILE_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]*:inference-profile/([A-Za-z0-9.:_-]+)")
_TAG_KEY = re.compile(r"[a-zA-Z0-9\s._:/=+@-]{1,128}")

NAME_LENGTH = 64
"""Longest name of a profile (service model of botocore); letters and digits, with single separators between them."""


@dataclass(frozen=True, slots=True)
class InferenceProfile:
    """A profile as the control plane describes it.

    Attributes:
        id: Last segment of the ARN.
        arn: Its ARN.
        name: What its maker called it.
        models: ARNs of the models that it reaches.
    """

    id: str
    arn: str
    name: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What a profile stands for.

    Attributes:
        model: Base model id, without a prefix of a system profile; ``-`` where its models disagree or are of no known
            form.
        routing: ``in-region``, ``geo`` or ``global``; None where the models do not say.
        geography: Where calls stay that are routed by ``geo``: ``eu``, ``us``, ``apac``, ``jp`` ...; None where that is
            not known, and for any other routing.
    """

    model: str
    routing: str | None
    geography: str | None = None


def route_of(models: Iterable[str]) -> Route:
    """Return base model, routing and geography of a profile from the ARNs of its models.

    An ARN without a Region: global. Models of several Regions: geo, in the narrowest geography that holds them all.
    One: in-region. An ARN of a system profile (an emulator's short cut) is read by its prefix.
    """
    names, regions, by_prefix = set(), set(), set()
    for arn in models:
        if found := _MODEL_ARN.fullmatch(arn):
            regions.add(found[1])
            names.add(found[2])
        elif system := _SYSTEM_PROFILE_ARN.fullmatch(arn):
            named = named_route(system[1])
            names.add(named.model)
            by_prefix.add((named.routing, named.geography))
        else:
            return Route(UNKNOWN_MODEL, None)
    model = names.pop() if len(names) == 1 else UNKNOWN_MODEL
    if by_prefix:
        return Route(model, *by_prefix.pop()) if len(by_prefix) == 1 and not regions else Route(model, None)
    if "" in regions:
        return Route(model, GLOBAL)
    if len(regions) > 1:
        return Route(model, GEO, geography_of(sorted(regions)))
    return Route(model, IN_REGION if regions else None)


def named_route(model: str) -> Route:
    """Return what a model's id stands for, which may be a system profile's: ``us.``, ``eu.``, ``global.`` ..."""
    named = base_model(model)
    routing = routing_of(named.prefix)
    return Route(named.model, routing, named.prefix if routing == GEO else None)


def is_source(arn: str) -> bool:
    """Whether a profile can be made from this ARN: a foundation model's or a system profile's."""
    return bool(_MODEL_ARN.fullmatch(arn) or _SYSTEM_PROFILE_ARN.fullmatch(arn))


def source_of_model(model: str, *, partition: str, region: str, account: str) -> str:
    """Return the ARN to copy from for a model id, or for a system profile's id."""
    if base_model(model).prefix:
        return f"arn:{partition}:bedrock:{region}:{account}:inference-profile/{model}"
    return f"arn:{partition}:bedrock:{region}::foundation-model/{model}"


def system_profile_id(arn: str) -> str | None:
    """Return the id of the system profile that an ARN names, or None for any other ARN."""
    found = _SYSTEM_PROFILE_ARN.fullmatch(arn)
    return found[1] if found else None


def foundation_route(arn: str) -> Route | None:
    """Return the route of a profile that is copied from this foundation model; None for any other ARN."""
    return route_of([arn]) if _MODEL_ARN.fullmatch(arn) else None


def is_tag_key(key: str) -> bool:
    """Whether Bedrock takes this as the key of a tag; AWS keeps those that begin with ``aws:``."""
    return bool(_TAG_KEY.fullmatch(key)) and not key.lower().startswith("aws:")


def invocation_policy(profile: InferenceProfile) -> list[dict[str, object]]:
    """Return the IAM statements with which a role may call through a profile, and not around it.

    The models may be called through this profile only (condition key ``bedrock:InferenceProfileArn``, Bedrock user
    guide). A Region-less ARN of a model is part of a globally routed profile.
    """
    actions = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
    return [
        {"Effect": "Allow", "Action": actions, "Resource": profile.arn},
        {
            "Effect": "Allow",
            "Action": actions,
            "Resource": sorted(profile.models),
            "Condition": {"StringEquals": {"bedrock:InferenceProfileArn": profile.arn}},
        },
    ]


def profile_name(tenant: str, source: str) -> str:
    """Return the name of the profile that is made for a tenant from a source: always the same, and no two alike.

    It is how a profile is found again whose creation was answered to nobody. The hash tells apart what Bedrock's
    narrow alphabet makes equal.
    """
    model = (system_profile_id(source) or source.rpartition("/")[2]).replace(":", "-")
    digest = hashlib.sha256(f"{tenant}\n{source}".encode()).hexdigest()[:10]
    words = [re.sub(r"[^0-9a-zA-Z]+", "-", one).strip("-") for one in (tenant, model)]
    room = NAME_LENGTH - len(digest) - 2
    first = words[0][:24].strip("-")
    second = words[1][: room - len(first)].strip("-")
    return "-".join(one for one in (first, second, digest) if one)


def client_token(tenant: str, source: str, tag_key: str, generation: int) -> str:
    """Return the idempotency token of a creation. ``generation`` counts how often it had to be made anew."""
    return hashlib.sha256(f"{tenant}\n{source}\n{tag_key}\n{generation}".encode()).hexdigest()


class ControlPlane(Protocol):
    """Bedrock's control plane in one account and Region. What is throttled is tried again inside."""

    def application_profiles(self) -> Iterable[InferenceProfile]:
        """All application inference profiles."""

    def profile(self, identifier: str) -> InferenceProfile | None:
        """One profile by id, application or system; None if there is none."""

    def tags(self, arn: str) -> Mapping[str, str] | None:
        """Tags of a profile; None if it is gone."""

    def create(self, name: str, source: str, tags: Mapping[str, str], token: str) -> InferenceProfile:
        """Make an application inference profile. The same token again gives the same one.

        Raises:
            ProfileQuotaFull: The service quota of profiles is used up.
            ProfileRefused: Bedrock refuses it for another reason, which is said.
        """

    def delete(self, identifier: str) -> bool:
        """Delete a profile; False if it was gone already."""
