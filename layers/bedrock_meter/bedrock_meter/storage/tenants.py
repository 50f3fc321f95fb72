"""Tenants and the profiles that they own, in the Tenants table.

Two ways in: people's changes go through the pynamodb models; the recorder's question "whose profile is this?" is one
batch read.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, text
from bedrock_meter.storage.gauges import read_batch
from bedrock_meter.storage.keys import MAPPING, TENANT, profile_key, tenant_key
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, ProfileReference, TenantDefinition


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


def timezone_of(client: Any, table: str, tenant: str) -> str | None:
    """Read a tenant's time zone consistently, in one request; None if there is no such tenant."""
    key = {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}
    found = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return get_text(found, "timezone", DEFAULT_TIMEZONE) if found else None


def _periods(item: Item) -> tuple[MappingPeriod, ...]:
    return tuple(
        MappingPeriod(
            tenant=get_text(period, "tenant"),
            from_ms=get_number(period, "from_ms"),
            to_ms=get_number(period, "to_ms") if "to_ms" in period else None,
            model=get_text(period, "model", UNKNOWN_MODEL),
            routing=get_text(period, "routing") or None,
        )
        for period in (entry["M"] for entry in item["periods"]["L"])
    )


def _period(period: Any) -> MappingPeriod:
    to_ms = None if period.to_ms is None else int(period.to_ms)
    return MappingPeriod(period.tenant, int(period.from_ms), to_ms, period.model, period.routing)


class PynamoDBTenantStore:
    """``TenantStore``: definitions and mappings as people change them."""

    def __init__(self, tables: Tables) -> None:
        # Not at the top: the recorder imports this module for its directory and never changes a tenant.
        from bedrock_meter.storage.tables import MappingModel, PeriodMap, ProfileMap, TenantModel, bound

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
        profiles = tuple(ProfileReference(one.id, one.arn, one.model) for one in found.profiles)
        return TenantDefinition(found.tenant, found.timezone, found.plan, profiles, fail_policy=found.fail_policy)

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> None:
        """Write a tenant's definition."""
        new_profile: Any = self._profile_map
        self._tenants(
            tenant_key(definition.id),
            TENANT,
            tenant=definition.id,
            timezone=definition.timezone,
            plan=definition.plan,
            profiles=[new_profile(id=one.id, arn=one.arn, model=one.model) for one in definition.profiles],
            updated_ms=now_ms,
            fail_policy=definition.fail_policy,
        ).save()

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        """Read (version, periods) of a profile's mapping."""
        try:
            found = self._mappings.get(profile_key(profile), MAPPING, consistent_read=True)
        except self._mappings.DoesNotExist:
            return 0, ()
        return int(found.version), tuple(_period(one) for one in found.periods)

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        """Write a mapping over the one of ``version``; False if it changed meanwhile."""
        from pynamodb.exceptions import PutError

        new_period: Any = self._period_map
        mapping = self._mappings(
            profile_key(profile),
            MAPPING,
            periods=[
                new_period(
                    tenant=one.tenant, from_ms=one.from_ms, to_ms=one.to_ms, model=one.model, routing=one.routing
                )
                for one in periods
            ],
        )
        if version:
            mapping.version = version
        try:
            mapping.save()
        except PutError as error:
            if error.cause_response_code == "ConditionalCheckFailedException":
                return False
            raise
        return True
