"""What a model identifier and a Region say about the price: base model, routing, and where cards are looked for.

Three facts: a system profile's id is a base model's id with a prefix in front (``us.``, ``global.``), so that the
prefix says the routing; a call that is routed within a geo is priced as the model in the Region *from which* it was
made (AWS user guide, inference profiles), so that in-Region and geo calls share their cards; ``global`` has prices of
its own.

Which Regions belong to which geo is taken from the names of the system profiles' Regions. Where a Region could belong
to two geos, the narrower one comes first.
"""

import re
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

PREFIXES = frozenset({GLOBAL, GOV, *(geo for _, geos in GEOS_OF for geo in geos)})
"""Prefixes of system profiles (ids seen in records)."""

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
    geos = next((geos for begin, geos in GEOS_OF if region.startswith(begin)), ())
    named = (prefix,) if prefix and prefix != GLOBAL else ()
    return tuple(dict.fromkeys((region, *named, *geos, LIST)))


def is_listed_region(region: str) -> bool:
    """Whether the list's prices are known to be those of this Region."""
    return region.startswith("us-")
