"""What a model identifier and a Region say about the price: base model, routing, and where cards are looked for.

Three facts: a system profile's id is a base model's id with a prefix in front (``us.``, ``global.``), so that the
prefix says the routing; a call that is routed within a geo is priced as the model in the Region *from which* it was
made (AWS user guide, inference profiles), so that in-Region and geo calls share their cards; ``global`` has prices of
its own.

Which Regions belong to which geo is taken from the names of the system profiles' Regions. Where a Region could belong
to two geos, the narrower one comes first.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

IN_REGION, GEO, GLOBAL = "in-region", "geo", "global"
ROUTINGS = (IN_REGION, GEO, GLOBAL)
LIST = "list"
"""Scope of prices without a place: those of the US Regions."""

GOV = "us-gov"
OTHER_PARTITIONS = ("us-gov-", "us-iso", "eu-isoe-", "eusc-", "cn-")
"""Beginnings of the names of Regions outside the partition ``aws``."""

GEOS_OF = (
    ("us-", ("us",)),
    ("eu-", ("eu",)),
    ("ca-", ("ca", "us")),
    ("ap-northeast-1", ("jp", "apac")),
    ("ap-northeast-3", ("jp", "apac")),
    ("ap-southeast-2", ("au", "apac")),
    ("ap-southeast-4", ("au", "apac")),
    ("ap-south-", ("in", "apac")),
    ("ap-", ("apac",)),
)
"""Beginning of a Region's name -> geos that it may belong to. The first row that fits counts."""

GEOGRAPHIES = frozenset({GOV, *(geo for _, geos in GEOS_OF for geo in geos)})
"""Where calls can be kept by routing: the prefixes of system profiles but ``global``."""

PREFIXES = GEOGRAPHIES | {GLOBAL}
"""Prefixes of system profiles (ids seen in records)."""

_WRITES_NO_TEXT = ("embed", "rerank")

_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]{0,32}:[0-9]{0,12}:(?:foundation-model|inference-profile)/([^/]+)")


class Named(NamedTuple):
    """A base model, and the prefix that it had, or an empty text."""

    model: str
    prefix: str


def base_model(identifier: str) -> Named:
    """Take ARN and prefix of a system profile off a model identifier.

    An ARN of anything else (a deployment, a provisioned model, a prompt) stays as it is: it names no model, so that no
    card is found for it.
    """
    if identifier.startswith("arn:"):
        arn = _ARN.fullmatch(identifier)
        if arn is None:
            return Named(identifier, "")
        identifier = arn[1]
    prefix, _, rest = identifier.partition(".")
    return Named(rest, prefix) if prefix in PREFIXES and "." in rest else Named(identifier, "")


def is_model(identifier: str) -> bool:
    """Whether an identifier names a model: a base model's or a system profile's id, or the ARN of one.

    A model's id has a dot in it, behind its provider's name. What is left is a profile, or names no known model.
    """
    name = base_model(identifier).model
    return "." in name and not name.startswith("arn:")


def writes_text(model: str) -> bool:
    """Whether a call of the model can have output tokens: one that embeds or ranks has none."""
    name = base_model(model).model
    return not any(word in name for word in _WRITES_NO_TEXT)


def geography_of(regions: Iterable[str]) -> str | None:
    """Return the geography that calls stay in which are routed to these Regions: the narrowest that holds them all.

    None where no geography does, or no Region is given.
    """
    common: tuple[str, ...] | None = None
    for region in regions:
        geos = geographies_in(region)
        common = geos if common is None else tuple(geo for geo in common if geo in geos)
    return common[0] if common else None


def geographies_in(region: str) -> tuple[str, ...]:
    """Return the geographies that a Region may belong to, the narrowest first; none for one that is not known."""
    if region.startswith(f"{GOV}-"):
        return (GOV,)
    return next((geos for begin, geos in GEOS_OF if region.startswith(begin)), ())


def routing_of(prefix: str) -> str:
    """Return the routing that a prefix stands for; in-Region without one."""
    return {"": IN_REGION, GLOBAL: GLOBAL}.get(prefix, GEO)


def scopes_of(region: str, routing: str, prefix: str) -> tuple[str, ...]:
    """Return where cards are looked for, best first.

    A global call has its own prices and no others. Any other is priced by its source Region: that Region's card, the
    card of its geo, the list. Partitions outside ``aws`` have prices of their own or none: GovCloud costs more.
    """
    if prefix == GOV or region.startswith(OTHER_PARTITIONS):
        geo = (GOV,) if prefix == GOV or region.startswith(f"{GOV}-") else ()
        return () if routing == GLOBAL else (region, *geo)
    if routing == GLOBAL:
        return (GLOBAL,)
    geos = geographies_in(region)
    named = (prefix,) if prefix and prefix != GLOBAL else ()
    return tuple(dict.fromkeys((region, *named, *geos, LIST)))


def is_listed_region(region: str) -> bool:
    """Whether the list's prices are known to be those of this Region."""
    return region.startswith("us-")
