"""The tenants file: YAML that people write, read strictly and explained when it is wrong.

::

    tenants:
      - id: acme
        timezone: Europe/Berlin            # optional, UTC by default
        name: Acme Limited                 # optional, for lists only
        fail: closed                       # optional: what the API answers while the tables are down
        profiles:
          - 053a3ulue40l
          - {id: 44suuwn3n98t, model: anthropic.claude-sonnet-4-6, routing: geo}
          - {id: 6hxh2nu2q6l4, tagged: true}   # its own by a tag in Bedrock: nothing here gives it or takes it
        principals: [arn:aws:iam::123456789012:role/acme-worker]
        limits:
          - {meter: total_tokens, window: 1h, max: 200k, hard: true}
          - {meter: requests, window: month, max: 1000000, thresholds: [80, 100]}
          - {meter: cost_usd, window: month, max: $500, models: [anthropic.claude-*]}
          - {name: trial, remove: true}    # not this one of its plan
    plans:                                 # optional: limits that tenants share
      - {name: gold, default: true, limits: [{name: trial, meter: requests, window: 7d, max: 100}]}
    gateways:                              # optional: whose requestMetadata names the tenant
      principals: [arn:aws:iam::123456789012:role/llm-gateway]
      metadata_key: tenantId               # optional
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from bedrock_meter.definitions import read_definitions, refuse_unknown_keys
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.limits.limit import FAIL_POLICIES, Limit
from bedrock_meter.pricing.models import GEO, GEOGRAPHIES, ROUTINGS
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL
from bedrock_meter.tenants.plans import Plan, parse_own_limits, parse_plan
from bedrock_meter.tenants.principals import checked_principal
from bedrock_meter.tenants.tenant import (
    DEFAULT_TIMEZONE,
    ProfileReference,
    TenantDefinition,
    checked_tenant_id,
)
from bedrock_meter.tenants.trust import (
    DEFAULT_METADATA_KEY,
    MAXIMUM_GATEWAYS,
    GatewayDefinition,
    checked_metadata_key,
)

_FILE_KEYS = ("tenants", "plans", "gateways")
_GATEWAY_KEYS = ("principals", "metadata_key")
TENANT_KEYS = ("id", "name", "timezone", "plan", "profiles", "principals", "limits", "fail", "reserves")
MAXIMUM_NAME = 200
_PROFILE_KEYS = ("id", "model", "routing", "geography", "tagged")


def load(path: Path) -> tuple[TenantDefinition, ...]:
    """Read the tenants of a tenants file.

    Raises:
        InvalidDefinition: It cannot be read, is not YAML, or a value is wrong; says which and what would be right.
    """
    return read_definitions(path, parse)


def load_gateways(path: Path) -> GatewayDefinition | None:
    """Read the gateways of a tenants file; None where it does not mention them. Raises as ``load`` does."""
    return read_definitions(path, parse_gateways)


def parse(document: object, *, is_stored: bool = False) -> tuple[TenantDefinition, ...]:
    """Read the parsed content of a tenants file; see ``load``.

    Args:
        document: The content.
        is_stored: It is what a stack holds, and not what a person wants: a limit may be left there of a profile that
            the tenant has no more.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("tenants"), list):
        raise InvalidDefinition("", "must be a mapping with a list 'tenants', for example: tenants: [{id: acme}]")
    refuse_unknown_keys("", document, _FILE_KEYS)
    parse_gateways(document)
    parse_plans(document)
    definitions: list[TenantDefinition] = []
    owners: dict[str, str] = {}
    for index, entry in enumerate(document["tenants"]):
        try:
            definition = _tenant(entry, is_stored=is_stored)
            for profile in definition.profiles:
                if profile.id in owners:
                    raise InvalidDefinition("profiles", f"{profile.id} belongs to tenant {owners[profile.id]} already")
                owners[profile.id] = definition.id
            for principal in definition.principals:
                if principal in owners:
                    raise InvalidDefinition("principals", f"{principal} belongs to tenant {owners[principal]} already")
                owners[principal] = definition.id
            if any(definition.id == other.id for other in definitions):
                raise InvalidDefinition("id", f"tenant {definition.id} is defined twice")
        except InvalidDefinition as problem:
            raise problem.under(f"tenants[{index}]") from problem
        definitions.append(definition)
    return tuple(definitions)


def parse_gateways(document: object) -> GatewayDefinition | None:
    """Read ``gateways`` of a parsed tenants file; see ``load_gateways``."""
    entry = document.get("gateways") if isinstance(document, Mapping) else None
    if entry is None:
        return None
    try:
        if not isinstance(entry, Mapping):
            raise InvalidDefinition("", "must be a mapping with a list 'principals'")
        refuse_unknown_keys("", entry, _GATEWAY_KEYS)
        principals = _principals(entry)
        if len(principals) > MAXIMUM_GATEWAYS:
            raise InvalidDefinition("principals", f"at most {MAXIMUM_GATEWAYS} gateways are trusted")
        key = checked_metadata_key(entry.get("metadata_key", DEFAULT_METADATA_KEY), "metadata_key")
        return GatewayDefinition(principals, key)
    except InvalidDefinition as problem:
        raise problem.under("gateways") from problem


def load_plans(path: Path) -> tuple[Plan, ...]:
    """Read the plans of a tenants file; none where it does not mention them. Raises as ``load`` does."""
    return read_definitions(path, parse_plans)


def parse_plans(document: object) -> tuple[Plan, ...]:
    """Read ``plans`` of a parsed tenants file; see ``load_plans``."""
    if not isinstance(document, Mapping) or "plans" not in document:
        return ()
    plans: list[Plan] = []
    for index, entry in enumerate(_list(document, "plans")):
        try:
            plan = parse_plan(entry)
            if any(plan.name == other.name for other in plans):
                raise InvalidDefinition("name", f"plan {plan.name} is defined twice")
            if plan.is_default and any(other.is_default for other in plans):
                raise InvalidDefinition("default", "two plans are the default one")
        except InvalidDefinition as problem:
            raise problem.under(f"plans[{index}]") from problem
        plans.append(plan)
    return tuple(plans)


def _principals(entry: Mapping[object, object]) -> tuple[str, ...]:
    listed = [checked_principal(one, f"principals[{index}]") for index, one in enumerate(_list(entry, "principals"))]
    return tuple(dict.fromkeys(listed))


def _tenant(entry: object, *, is_stored: bool) -> TenantDefinition:
    if not isinstance(entry, Mapping):
        raise InvalidDefinition("", "must be a mapping with at least an 'id'")
    refuse_unknown_keys("", entry, TENANT_KEYS)
    tenant = checked_tenant_id(entry.get("id"))
    timezone = entry.get("timezone", DEFAULT_TIMEZONE)
    check_timezone(timezone)
    plan, name = entry.get("plan"), entry.get("name")
    if plan is not None and not isinstance(plan, str):
        raise InvalidDefinition("plan", "must be the name of a plan")
    if name is not None:
        check_name(name)
    profiles = tuple(_profile(one, f"profiles[{index}]") for index, one in enumerate(_list(entry, "profiles")))
    limits, removes = parse_own_limits(_list(entry, "limits"), timezone)
    if not is_stored:
        _check_scopes(profiles, limits)
    fail_policy = entry.get("fail")
    if fail_policy is not None and fail_policy not in FAIL_POLICIES:
        raise InvalidDefinition("fail", "must be open or closed: what the API answers while the tables are down")
    reserves = entry.get("reserves", False)
    if not isinstance(reserves, bool):
        raise InvalidDefinition("reserves", f"{reserves!r}: write true or false")
    return TenantDefinition(
        tenant,
        timezone,
        plan,
        profiles,
        limits,
        _principals(entry),
        name,
        fail_policy,
        reserves=reserves,
        removes=removes,
    )


def _check_scopes(profiles: Sequence[ProfileReference], limits: Sequence[Limit]) -> None:
    """Refuse a limit on a profile that is not the tenant's: it would never count anything."""
    owned = {profile.id for profile in profiles}
    for index, limit in enumerate(limits):
        for profile in limit.scope.profiles:
            if profile not in owned:
                raise InvalidDefinition(
                    f"limits[{index}].profiles", f"{profile!r} is none of this tenant's profiles: list it there, too"
                )


def _profile(entry: object, where: str) -> ProfileReference:
    identifier: object = entry
    model: object = UNKNOWN_MODEL
    routing: object = None
    geography: object = None
    tagged: object = False
    if isinstance(entry, Mapping):
        refuse_unknown_keys(where, entry, _PROFILE_KEYS)
        identifier = entry.get("id")
        model = entry.get("model", UNKNOWN_MODEL)
        routing = entry.get("routing")
        geography = entry.get("geography")
        tagged = entry.get("tagged", False)
    # An id of digits only, or one like 12e4, is a number to YAML and would lose its zeros: it has to be quoted.
    if not isinstance(identifier, str):
        raise InvalidDefinition(where, "must be a profile's id or ARN as text; quote an id that looks like a number")
    profile = profile_candidate(identifier)
    if profile is None:
        raise InvalidDefinition(where, f"{identifier!r} is not the id or ARN of an application inference profile")
    if not isinstance(model, str) or not model:
        raise InvalidDefinition(f"{where}.model", "must be the id of the base model")
    if routing is not None and routing not in ROUTINGS:
        raise InvalidDefinition(f"{where}.routing", f"must be one of {', '.join(ROUTINGS)}")
    is_fine = isinstance(geography, str) and geography in GEOGRAPHIES and routing in (None, GEO)
    if geography is not None and not is_fine:
        raise InvalidDefinition(
            f"{where}.geography", f"must be one of {', '.join(sorted(GEOGRAPHIES))}, of a profile of geo routing"
        )
    if not isinstance(tagged, bool):
        raise InvalidDefinition(
            f"{where}.tagged", f"{tagged!r}: write true where a tag in Bedrock gives it, or nothing"
        )
    return ProfileReference(
        profile,
        identifier,
        model,
        routing if isinstance(routing, str) else None if geography is None else GEO,
        tagged,
        geography if isinstance(geography, str) else None,
    )


def _list(entry: Mapping[object, object], key: str) -> list[object]:
    value = entry.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidDefinition(key, "must be a list")
    return value


def check_name(name: object) -> None:
    """Check what people call a tenant.

    Raises:
        InvalidDefinition: It is no text of 1 to 200 printable characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= MAXIMUM_NAME or not name.isprintable():
        raise InvalidDefinition("name", f"must be 1 to {MAXIMUM_NAME} printable characters")


def check_timezone(timezone: object) -> None:
    """Check a time zone.

    Raises:
        InvalidDefinition: It is no zone of the IANA database.
    """
    try:
        ZoneInfo(timezone if isinstance(timezone, str) else "")
    except (KeyError, ValueError, OSError) as problem:
        raise InvalidDefinition("timezone", f"{timezone!r} is not an IANA time zone such as Europe/Berlin") from problem
