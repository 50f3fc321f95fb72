"""The directory as functions read it: whose a profile or principal is, what a tenant has, in batch reads.

No pynamodb here: the recorder and the quota API import this module, and never change a tenant.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import AWS_ERRORS, Item, error_code, get_number, get_text, is_passing, number, text
from bedrock_meter.storage.gauges import read_batch
from bedrock_meter.storage.keys import MAPPING, TENANT, TRUST, principal_key, profile_key, tenant_key
from bedrock_meter.tenants.attribution import BY_PERSON, UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.directory import Answer, Question
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, ProfileReference
from bedrock_meter.tenants.trust import (
    DEFAULT_METADATA_KEY,
    NO_TRUST,
    Trust,
)

MAPPING_SCHEMA = 1
_ATTEMPTS = 5


class DynamoDBDirectoryStore:
    """``DirectoryStore``, ``SelectionStore`` and ``LookupStore``.

    Batch reads are consistent; the one mapping that a recorder may write is a profile's that has none.
    """

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def ask(self, question: Question) -> Answer:
        """Read all of it in one batch; DynamoDB takes a hundred keys in a request."""
        profiles = {profile_key(one): one for one in question.profiles}
        principals = {principal_key(one): one for one in question.principals}
        tenants = {tenant_key(one): one for one in question.tenants}
        keys = [(pk, MAPPING) for pk in (*profiles, *principals)] + [(pk, TENANT) for pk in tenants]
        keys += [(TRUST, TRUST)] if question.trust else []
        found = read_batch(
            self._client, self._tables.tenants, [{"pk": text(pk), "sk": text(sort_key)} for pk, sort_key in keys]
        )
        items = {get_text(item, "pk"): item for item in found}
        trust = items.get(TRUST)
        return Answer(
            {name: periods_of(items[pk]) for pk, name in profiles.items() if pk in items},
            {name: periods_of(items[pk]) for pk, name in principals.items() if pk in items},
            {name for pk, name in tenants.items() if pk in items and "removed_ms" not in items[pk]},
            (NO_TRUST if trust is None else _trust(trust)) if question.trust else None,
        )

    def mappings(self, profiles: Iterable[str]) -> Mapping[str, Sequence[MappingPeriod]]:
        """Read the periods of each profile; unknown ones are missing in the answer."""
        return self.ask(Question(profiles=list(profiles))).profiles

    def profiles_of(self, tenant: str) -> tuple[ProfileReference, ...]:
        """Read the profiles of a tenant in one request, as they were a moment ago; none if there is no such tenant."""
        key = {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}
        item = self._client.get_item(TableName=self._tables.tenants, Key=key).get("Item", {})
        return tuple(_reference(one["M"]) for one in item.get("profiles", {}).get("L", []))

    def registered(self, tenants: Iterable[str]) -> Collection[str]:
        """Return those tenants that are registered."""
        return self.ask(Question(tenants=list(tenants))).tenants

    def adopt(self, profile: str, period: MappingPeriod) -> Sequence[MappingPeriod]:
        """Map a profile that has no mapping; see ``LookupStore.adopt``."""
        item = {
            "pk": text(profile_key(profile)),
            "sk": text(MAPPING),
            "schema": number(MAPPING_SCHEMA),
            "periods": {"L": [{"M": _period_item(period)}]},
            "version": number(1),
        }
        try:
            self._client.put_item(
                TableName=self._tables.tenants, Item=item, ConditionExpression="attribute_not_exists(pk)"
            )
        except AWS_ERRORS as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return self.mappings([profile]).get(profile, ())
            if is_passing(error):
                return ()
            raise
        return (period,)


def _period_item(period: MappingPeriod) -> Item:
    item = {"tenant": text(period.tenant), "from_ms": number(period.from_ms), "model": text(period.model)}
    if period.to_ms is not None:
        item["to_ms"] = number(period.to_ms)
    for name in ("routing", "geography"):
        if (value := getattr(period, name)) is not None:
            item[name] = text(value)
    item["by"] = text(period.by)
    return item


def timezone_of(client: Any, table: str, tenant: str) -> str | None:
    """Read a tenant's time zone consistently, in one request; None if there is no such tenant."""
    key = {"pk": text(tenant_key(tenant)), "sk": text(TENANT)}
    found = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return get_text(found, "timezone", DEFAULT_TIMEZONE) if found else None


def _reference(item: Item) -> ProfileReference:
    return ProfileReference(
        get_text(item, "id"),
        get_text(item, "arn"),
        get_text(item, "model", UNKNOWN_MODEL),
        get_text(item, "routing") or None,
        bool(item.get("tagged", {}).get("BOOL", False)),
        get_text(item, "geography") or None,
    )


def periods_of(item: Item) -> tuple[MappingPeriod, ...]:
    """Read the periods of a mapping's item, in order."""
    return tuple(
        MappingPeriod(
            tenant=get_text(period, "tenant"),
            from_ms=get_number(period, "from_ms"),
            to_ms=get_number(period, "to_ms") if "to_ms" in period else None,
            model=get_text(period, "model", UNKNOWN_MODEL),
            routing=get_text(period, "routing") or None,
            by=get_text(period, "by", BY_PERSON),
            geography=get_text(period, "geography") or None,
        )
        for period in (entry["M"] for entry in item["periods"]["L"])
    )


def _trust(item: Item) -> Trust:
    patterns = [entry["M"] for entry in item.get("patterns", {}).get("L", [])]
    return Trust(
        gateways=tuple(entry["S"] for entry in item.get("gateways", {}).get("L", [])),
        metadata_key=get_text(item, "metadata_key", DEFAULT_METADATA_KEY),
        patterns={get_text(one, "pattern"): periods_of(one) for one in patterns},
        names_principals=bool(item.get("names_principals", {}).get("BOOL", False)),
        version=get_number(item, "version"),
    )
