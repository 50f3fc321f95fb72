"""Tenants and the profiles that they own, in the Tenants table.

Two ways in: people's changes go through the pynamodb models; the recorder's question "whose profile is this?" is one
batch read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, text
from bedrock_meter.storage.gauges import read_batch
from bedrock_meter.storage.keys import MAPPING, TENANT, profile_key, tenant_key
from bedrock_meter.storage.patience import patiently
from bedrock_meter.tenants.attribution import BY_PERSON, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.ownership import ProfileMapping
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition


class DynamoDBDirectoryStore:
    """``DirectoryStore``: consistent batch reads of mappings."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def mappings(self, profiles: Iterable[str]) -> Mapping[str, Sequence[MappingPeriod]]:
        """Read the periods of each profile; unknown ones are missing in the answer."""
        keys = {profile_key(profile): profile for profile in profiles}
        items = read_batch(self._client, self._tables.tenants, [{"pk": text(key), "sk": text(MAPPING)} for key in keys])
        return {keys[get_text(item, "pk")]: _periods(item) for item in items}


def _periods(item: Item) -> tuple[MappingPeriod, ...]:
    return tuple(
        MappingPeriod(
            tenant=get_text(period, "tenant"),
            from_ms=get_number(period, "from_ms"),
            to_ms=get_number(period, "to_ms") if "to_ms" in period else None,
            model=get_text(period, "model", UNKNOWN_MODEL),
            routing=get_text(period, "routing") or None,
            by=get_text(period, "by", BY_PERSON),
        )
        for period in (entry["M"] for entry in item["periods"]["L"])
    )


def _period(period: Any) -> MappingPeriod:
    to_ms = None if period.to_ms is None else int(period.to_ms)
    return MappingPeriod(period.tenant, int(period.from_ms), to_ms, period.model, period.routing, period.by)


class PynamoDBTenantStore:
    """``TenantStore``: definitions and mappings as people change them."""

    def __init__(self, tables: Tables) -> None:
        # Not at the top: the recorder imports this module for its directory and never changes a tenant.
        from bedrock_meter.storage.tables import MappingModel, PeriodMap, ProfileMap, TenantModel, bound

        self._table = tables.tenants
        self._tenants = bound(TenantModel, tables.tenants)
        self._mappings = bound(MappingModel, tables.tenants)
        self._profile_map = ProfileMap
        self._period_map = PeriodMap

    def tenant(self, tenant: str) -> TenantDefinition | None:
        """Read a tenant's definition without its limits."""
        try:
            found = self._tenants.get(tenant_key(tenant), TENANT, consistent_read=True)
        except self._tenants.DoesNotExist:
            return None
        return _definition(found)

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> bool:
        """Write a tenant's definition over that of ``definition.revision``; False if it changed meanwhile."""
        new_profile: Any = self._profile_map
        tenant = self._tenants(
            tenant_key(definition.id),
            TENANT,
            tenant=definition.id,
            timezone=definition.timezone,
            plan=definition.plan,
            profiles=[
                new_profile(
                    id=one.id, arn=one.arn, model=one.model, routing=one.routing, tagged=True if one.tagged else None
                )
                for one in definition.profiles
            ],
            updated_ms=now_ms,
            name=definition.name,
            removed_ms=definition.removed_ms,
        )
        if definition.revision:
            tenant.revision = definition.revision
        return _saved(tenant)

    def everything(self) -> Iterator[TenantDefinition | ProfileMapping]:
        """Yield all definitions and all mappings, consistently, in no order.

        Reads the whole table, audit entries included: one read unit for each 4 KB.
        """
        from bedrock_meter.storage.dynamodb import client

        scanning, request = client("dynamodb"), {"TableName": self._table, "ConsistentRead": True}
        while True:
            page = patiently(partial(scanning.scan, **request))
            for item in page.get("Items", []):
                if get_text(item, "sk") == TENANT:
                    yield _definition(self._tenants.from_raw_data(item))
                elif get_text(item, "sk") == MAPPING:
                    profile = get_text(item, "pk").removeprefix(profile_key(""))
                    yield ProfileMapping(profile, get_number(item, "version"), _periods(item))
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping."""
        try:
            found = self._mappings.get(profile_key(profile), MAPPING, consistent_read=True)
        except self._mappings.DoesNotExist:
            return 0, ()
        return int(found.version), tuple(_period(one) for one in found.periods)

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write a mapping over the one of ``version``; False if it changed meanwhile."""
        new_period: Any = self._period_map
        mapping = self._mappings(
            profile_key(profile),
            MAPPING,
            periods=[
                new_period(
                    tenant=one.tenant,
                    from_ms=one.from_ms,
                    to_ms=one.to_ms,
                    model=one.model,
                    routing=one.routing,
                    by=one.by,
                )
                for one in periods
            ],
        )
        if version:
            mapping.version = version
        return _saved(mapping)


def _definition(found: Any) -> TenantDefinition:
    profiles = tuple(
        ProfileReference(one.id, one.arn, one.model, one.routing, bool(one.tagged)) for one in found.profiles
    )
    removed_ms = None if found.removed_ms is None else int(found.removed_ms)
    revision = int(found.revision or 0)
    return TenantDefinition(found.tenant, found.timezone, found.plan, profiles, (), found.name, removed_ms, revision)


def _saved(item: Any) -> bool:
    """Write an item over its own version; False if it changed meanwhile."""
    from pynamodb.exceptions import PutError

    try:
        item.save()
    except PutError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise
    return True
