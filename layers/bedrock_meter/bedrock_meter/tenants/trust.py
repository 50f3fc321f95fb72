"""What a stack believes beside profiles: who may say in a record's metadata for whom it calls, and who belongs to whom.

One small item for the whole stack, which the recorder reads along with its other questions. Patterns of principals are
part of it, because a pattern cannot be found by a key; exact principals have items of their own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.attribution import MappingPeriod

DEFAULT_METADATA_KEY = "tenantId"

MAXIMUM_GATEWAYS = 50
MAXIMUM_PATTERNS = 200
"""Those that have an owner. Each is compared with each new principal. More of them are a sign that roles should be
named one by one."""

MAXIMUM_PAST_PATTERNS = 800
"""Those that had one: late records are still theirs. All of them stand in one item."""

_METADATA_KEY = re.compile(r"[A-Za-z0-9\s:_@$#=/+,.-]{1,256}", re.ASCII)
"""As Bedrock allows it in a request's metadata (user guide, request metadata)."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a stack believes.

    Attributes:
        gateways: Principals and patterns, canonical, whose ``requestMetadata`` names the tenant that they call for.
        metadata_key: The key under which they do.
        patterns: Owners of patterns of principals, by pattern.
        names_principals: Whether any exact principal was ever mapped. Until then none is asked for.
        version: Grows with each change; 0 = nothing is stored.
    """

    gateways: tuple[str, ...] = ()
    metadata_key: str = DEFAULT_METADATA_KEY
    patterns: Mapping[str, Sequence[MappingPeriod]] = field(default_factory=dict)
    names_principals: bool = False
    version: int = 0


NO_TRUST = Trust()


@dataclass(frozen=True, slots=True)
class GatewayDefinition:
    """The part of ``Trust`` that a person writes as ``gateways`` in the tenants file.

    Attributes:
        principals: Canonical principals and patterns.
        metadata_key: Key of the tenant's id in ``requestMetadata``.
    """

    principals: tuple[str, ...]
    metadata_key: str = DEFAULT_METADATA_KEY


def checked_metadata_key(value: object, where: str) -> str:
    """Return ``value`` if it can be a key of ``requestMetadata``.

    Raises:
        InvalidDefinition: It cannot.
    """
    if not isinstance(value, str) or not _METADATA_KEY.fullmatch(value):
        raise InvalidDefinition(
            where, f"{value!r} cannot be a key of requestMetadata: 1 to 256 letters, digits and signs"
        )
    return value
