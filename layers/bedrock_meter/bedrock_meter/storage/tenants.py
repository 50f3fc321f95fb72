"""Tenants and what they own as people change them, in the Tenants table; functions read it in ``directory.py``."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.settings import Tables
from bedrock_meter.storage.directory import periods_of
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, text
from bedrock_meter.storage.keys import (
    FORGOTTEN,
    MAPPING,
    TENANT,
    TRUST,
    forgotten_key,
    principal_key,
    profile_key,
    tenant_key,
)
from bedrock_meter.storage.patience import patiently
from bedrock_meter.storage.plans import PynamoDBPlans, boosts_of, boosts_text
from bedrock_meter.storage.versions import deleted, saved
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.ownership import PrincipalMapping, ProfileMapping, is_past, nameless, owner_of
from bedrock_meter.tenants.principals import is_pattern
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from bedrock_meter.tenants.trust import (
    MAXIMUM_PAST_PATTERNS,
    MAXIMUM_PATTERNS,
    NO_TRUST,
    GatewayDefinition,
    Trust,
)

MAPPING_SCHEMA = 1
_ATTEMPTS = 5


def _period(period: Any) -> MappingPeriod:
    to_ms = None if period.to_ms is None else int(period.to_ms)
    return MappingPeriod(
        period.tenant, int(period.from_ms), to_ms, period.model, period.routing, period.by, period.geography
    )


class PynamoDBTenantStore(PynamoDBPlans):
    """``TenantStore``: definitions, mappings and trust as people change them."""

    def __init__(self, tables: Tables) -> None:
        # Not at the top: pynamodb is for commands and the admin API.
        from bedrock_meter.storage.tables import (
            ForgottenModel,
            MappingModel,
            PatternMap,
            PeriodMap,
            ProfileMap,
            TenantModel,
            TrustModel,
            bound,
        )

        self._table = tables.tenants
        self._tenants = bound(TenantModel, tables.tenants)
        self._mappings = bound(MappingModel, tables.tenants)
        self._trusts = bound(TrustModel, tables.tenants)
        self._forgotten = bound(ForgottenModel, tables.tenants)
        super().__init__(tables)
        self._pattern_map = PatternMap
        self._profile_map = ProfileMap
        self._period_map = PeriodMap

    def tenant(self, tenant: str) -> TenantDefinition | None:
        """Read a tenant's definition with its own limits."""
        try:
            found = self._tenants.get(tenant_key(tenant), TENANT, consistent_read=True)
        except self._tenants.DoesNotExist:
            return None
        return _definition(found)

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> bool:
        """Write a tenant's definition over that of ``definition.revision``; False if it changed meanwhile."""
        from bedrock_meter.tenants.plans import own_limits

        new_profile: Any = self._profile_map
        tenant = self._tenants(
            tenant_key(definition.id),
            TENANT,
            tenant=definition.id,
            timezone=definition.timezone,
            plan=definition.plan,
            profiles=[
                new_profile(
                    id=one.id,
                    arn=one.arn,
                    model=one.model,
                    routing=one.routing,
                    geography=one.geography,
                    tagged=True if one.tagged else None,
                )
                for one in definition.profiles
            ],
            principals=list(definition.principals) or None,
            updated_ms=now_ms,
            fail_policy=definition.fail_policy,
            name=definition.name,
            removed_ms=definition.removed_ms,
            limits=json.dumps(own_limits(definition), separators=(",", ":")) if definition.is_whole else None,
            boosts=boosts_text(definition.boosts) if definition.boosts else None,
        )
        if definition.revision:
            tenant.revision = definition.revision
        return saved(tenant)

    def all_tenants(self) -> Iterator[TenantDefinition]:
        """Yield all definitions, consistently, in no order. Reads the whole table, and answers with them alone."""
        wanted = {"FilterExpression": "sk = :tenant", "ExpressionAttributeValues": {":tenant": text(TENANT)}}
        yield from map(definition_of, self._scan(wanted))

    def everything(self) -> Iterator[TenantDefinition | ProfileMapping]:
        """Yield all definitions and all mappings, consistently, in no order.

        Reads the whole table, audit entries included: one read unit for each 4 KB.
        """
        for item in self._scan({}):
            if get_text(item, "sk") == TENANT:
                yield definition_of(item)
            elif get_text(item, "sk") == MAPPING and get_text(item, "pk").startswith(profile_key("")):
                profile = get_text(item, "pk").removeprefix(profile_key(""))
                yield ProfileMapping(profile, get_number(item, "version"), periods_of(item))

    def owned(self) -> Iterator[ProfileMapping | PrincipalMapping]:
        """Yield all mappings of profiles, principals and patterns, consistently, in no order."""
        wanted = {"FilterExpression": "sk = :mapping", "ExpressionAttributeValues": {":mapping": text(MAPPING)}}
        for item in self._scan(wanted):
            kind, _, name = get_text(item, "pk").partition("#")
            if f"{kind}#" == profile_key(""):
                yield ProfileMapping(name, get_number(item, "version"), periods_of(item))
            else:
                yield PrincipalMapping(get_text(item, "pk"), unquote(name), periods_of(item))
        for pattern, periods in self.trust().patterns.items():
            yield PrincipalMapping(pattern, pattern, periods)

    def _scan(self, wanted: dict[str, Any]) -> Iterator[Item]:
        from bedrock_meter.storage.dynamodb import client

        scanning, request = client("dynamodb"), {"TableName": self._table, "ConsistentRead": True, **wanted}
        while True:
            page = patiently(partial(scanning.scan, **request))
            yield from page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping."""
        return self._read(profile_key(profile))

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write a mapping over the one of ``version``; False if it changed meanwhile."""
        return self._write(profile_key(profile), version, periods)

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a principal's or a pattern's mapping; a nameless one where all were forgotten."""
        if is_pattern(principal):
            trust = self.trust()
            version, periods = trust.version, trust.patterns.get(principal, ())
        else:
            version, periods = self._read(principal_key(principal))
        # After the mapping: what is forgotten is noted before it goes.
        return version, periods or self._forgotten_periods(principal_key(principal))

    def put_principal_periods(self, principal: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write the mapping of a principal or a pattern; False if it changed meanwhile.

        Raises:
            InvalidDefinition: There are too many patterns.
        """
        if is_pattern(principal):
            trust = self.trust()
            if trust.version != version:
                return False
            patterns = {**trust.patterns, principal: tuple(periods)}
            owned = sum(owner_of(one) is not None for one in patterns.values())
            if owned > MAXIMUM_PATTERNS or len(patterns) - owned > MAXIMUM_PAST_PATTERNS:
                raise InvalidDefinition(
                    "principals",
                    f"a stack knows at most {MAXIMUM_PATTERNS} patterns that have an owner, and {MAXIMUM_PAST_PATTERNS}"
                    " that had one: name roles instead",
                )
            return self._put_trust(replace(trust, patterns=patterns))
        # First, so that no recorder can be without the question while there is an answer.
        return self._change_trust(lambda trust: replace(trust, names_principals=True)) and self._write(
            principal_key(principal), version, periods
        )

    def mapping_key(self, principal: str) -> str:
        """Return the ``PrincipalMapping.key`` of a principal or a pattern."""
        return principal if is_pattern(principal) else principal_key(principal)

    def forget_principal(self, key: str, tenant: str | None, now_ms: int) -> bool:
        """Take periods that ended out of the mapping of a principal or a pattern; see ``ErasureStore``."""
        for _ in range(_ATTEMPTS):
            trust = self.trust() if is_pattern(key) else None
            version, periods = self._read(key) if trust is None else (trust.version, trust.patterns.get(key, ()))
            gone = [one for one in periods if tenant in (None, one.tenant) and is_past(one, now_ms)]
            if not gone:
                return False
            self._note_forgotten(principal_key(key) if trust else key, max(one.to_ms or 0 for one in gone))
            if self._keep(key, version, [one for one in periods if one not in gone], trust):
                return True
        raise LeaseLost(f"the mapping of principal {key} was changed by others {_ATTEMPTS} times meanwhile")

    def _keep(self, key: str, version: int, kept: Sequence[MappingPeriod], trust: Trust | None) -> bool:
        """Write what is kept over the mapping of ``version``, or take it away; False if it changed meanwhile."""
        if trust is not None:
            patterns = {name: periods for name, periods in trust.patterns.items() if name != key}
            return self._put_trust(replace(trust, patterns={**patterns, **({key: tuple(kept)} if kept else {})}))
        if kept:
            return self._write(key, version, kept)
        return deleted(self._mappings(key, MAPPING, periods=[], version=version))

    def _forgotten_periods(self, partition: str) -> Sequence[MappingPeriod]:
        try:
            found = self._forgotten.get(forgotten_key(partition), FORGOTTEN, consistent_read=True)
        except self._forgotten.DoesNotExist:
            return ()
        return (nameless(int(found.until_ms)),)

    def _note_forgotten(self, partition: str, until_ms: int) -> None:
        """Keep until when a principal was owned, under a hash of its name; the latest end stays."""
        held: Any = self._forgotten.until_ms
        saved(
            self._forgotten(forgotten_key(partition), FORGOTTEN, until_ms=until_ms),
            held.does_not_exist() | (held < until_ms),
        )

    def trust(self) -> Trust:
        """Read what the stack trusts."""
        try:
            found = self._trusts.get(TRUST, TRUST, consistent_read=True)
        except self._trusts.DoesNotExist:
            return NO_TRUST
        return Trust(
            tuple(found.gateways),
            found.metadata_key,
            {one.pattern: tuple(_period(period) for period in one.periods) for one in found.patterns},
            bool(found.names_principals),
            int(found.version),
        )

    def put_gateways(self, wanted: GatewayDefinition) -> bool:
        """Make ``wanted`` the gateways of the stack; False if others kept changing them."""
        return self._change_trust(
            lambda trust: replace(trust, gateways=wanted.principals, metadata_key=wanted.metadata_key)
        )

    def _change_trust(self, change: Callable[[Trust], Trust]) -> bool:
        for _ in range(_ATTEMPTS):
            trust = self.trust()
            changed = change(trust)
            if changed == trust or self._put_trust(changed):
                return True
        return False

    def _put_trust(self, trust: Trust) -> bool:
        new_pattern: Any = self._pattern_map
        item = self._trusts(
            TRUST,
            TRUST,
            gateways=list(trust.gateways),
            metadata_key=trust.metadata_key,
            patterns=[
                new_pattern(pattern=pattern, periods=self._period_maps(periods))
                for pattern, periods in sorted(trust.patterns.items())
            ],
            names_principals=trust.names_principals,
        )
        return self._save(item, trust.version)

    def _read(self, key: str) -> tuple[int, Sequence[MappingPeriod]]:
        try:
            found = self._mappings.get(key, MAPPING, consistent_read=True)
        except self._mappings.DoesNotExist:
            return 0, ()
        return int(found.version), tuple(_period(one) for one in found.periods)

    def _write(self, key: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        return self._save(self._mappings(key, MAPPING, periods=self._period_maps(periods)), version)

    def _period_maps(self, periods: Sequence[MappingPeriod]) -> list[Any]:
        new_period: Any = self._period_map
        return [
            new_period(
                tenant=one.tenant,
                from_ms=one.from_ms,
                to_ms=one.to_ms,
                model=one.model,
                routing=one.routing,
                geography=one.geography,
                by=one.by,
            )
            for one in periods
        ]

    @staticmethod
    def _save(item: Any, version: int) -> bool:
        """Write an item over the one of ``version``, 0 = none; False if it changed meanwhile."""
        if version:
            item.version = version
        return saved(item)


def definition_of(item: Item) -> TenantDefinition:
    """Read a tenant's item."""
    from bedrock_meter.storage.tables import TenantModel

    return _definition(TenantModel.from_raw_data(item))


def _definition(found: Any) -> TenantDefinition:
    from bedrock_meter.tenants.plans import parse_own_limits

    profiles = tuple(
        ProfileReference(one.id, one.arn, one.model, one.routing, bool(one.tagged), one.geography)
        for one in found.profiles
    )
    removed_ms = None if found.removed_ms is None else int(found.removed_ms)
    revision = int(found.revision or 0)
    limits, removes = parse_own_limits(json.loads(found.limits or "[]"), found.timezone)
    return TenantDefinition(
        found.tenant,
        found.timezone,
        found.plan,
        profiles,
        principals=tuple(found.principals or ()),
        fail_policy=found.fail_policy,
        name=found.name,
        removed_ms=removed_ms,
        limits=limits,
        removes=removes,
        boosts=boosts_of(found.boosts) if found.boosts else (),
        is_whole=found.limits is not None,
        revision=revision,
    )
