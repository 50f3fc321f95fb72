"""``tenants add --api``, ``remove --api``: profiles with the caller's rights in Bedrock, all else over the admin API.

Nothing here touches a table. What there is to do is ``provisioning.plan_addition``'s to say, as with ``--stack``. A new
profile is made after the tenant and its limits are there, and registered by a second change: what the API refuses is
refused before anything is made in Bedrock, and a profile whose registration failed is found again by its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bedrock_meter.cli.administering import AdminApi
from bedrock_meter.cli.deployed import Caller
from bedrock_meter.limits.limit import Limit
from bedrock_meter.local.failures import BadInput
from bedrock_meter.tenants.administration import EFFECTIVE, definition_of, document_of
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL, MappingPeriod
from bedrock_meter.tenants.catalog import CREATED, ProfileCatalog
from bedrock_meter.tenants.directory import Answer, Question
from bedrock_meter.tenants.plans import Plans, by_name, parse_plan
from bedrock_meter.tenants.profiles import InferenceProfile
from bedrock_meter.tenants.provisioning import Added, Standing, Wanted, plan_addition
from bedrock_meter.tenants.tenant import TenantDefinition


class ApiDirectory:
    """``DirectoryStore`` over the admin API, for profiles only: who owned them when."""

    def __init__(self, api: AdminApi) -> None:
        self._api = api

    def ask(self, question: Question) -> Answer:
        """Ask for the periods of profiles, a hundred a request."""
        found = self._api.periods(list(question.profiles))
        return Answer(profiles={one: [_period(each) for each in periods] for one, periods in found.items()})


class ApiProvisioner:
    """Adds tenants one by one; see ``Provisioner.add`` for what that promises.

    Args:
        api: Where tenants are kept.
        catalog: Profiles in Bedrock.
        extra_tags: Further tags on each profile that is made.
    """

    def __init__(self, api: AdminApi, catalog: ProfileCatalog, extra_tags: Mapping[str, str]) -> None:
        self._api = api
        self._catalog = catalog
        self._extra_tags = dict(extra_tags)
        self._plans: Plans | None = None

    def add(self, wanted: Wanted, *, dry_run: bool = False) -> Added:
        """Make what is wanted true. Doing it twice changes nothing the second time."""
        from bedrock_meter.clock import now_ms

        known, installed, version = self._standing(wanted.tenant)
        addition = plan_addition(wanted, Standing(known, installed, self._stack_plans()), self._catalog)
        profiles = dict(addition.profiles)
        if dry_run or not addition.changed:
            return addition.added(profiles.values(), now_ms())
        definition = addition.definition
        is_made = any(one.how == CREATED for one in profiles.values())
        # Also for a new tenant: its limits are counted before the first call through its profile.
        if is_made and (known != definition or installed is None):
            version, _ = self._put(definition, version)
        for source, one in profiles.items():
            if one.how == CREATED:
                made = self._catalog.make(wanted.tenant, source, self._extra_tags)
                profiles[source] = replace(one, arn=made.arn)
        references = {one.id: one for one in definition.profiles}
        references |= {one.reference.id: one.reference for one in profiles.values()}
        _, effective_ms = self._put(replace(definition, profiles=tuple(references.values())), version)
        for source, one in profiles.items():
            self._catalog.gave(InferenceProfile(one.reference.id, one.arn, "", (source,)), wanted.tenant)
        return addition.added(profiles.values(), effective_ms)

    def _standing(self, tenant: str) -> tuple[TenantDefinition | None, tuple[Limit, ...] | None, str | None]:
        """Return what is known of a tenant, the limits on its gauge, and the version that a change names."""
        found = self._api.known(tenant)
        if found is None:
            return None, None, None
        document, version = found
        overview = self._api.overview(tenant)
        known = definition_of(document, is_stored=True)
        tagged = {one["id"] for one in overview["profiles"] if one["by"] == "tag"}
        profiles = tuple(replace(one, tagged=one.id in tagged) for one in known.profiles)
        removed_ms = None if overview["removed"] is None else _instant_ms(overview["removed"])
        installed = definition_of(
            {"id": tenant, "timezone": known.timezone, "profiles": document["profiles"], "limits": _plain(document)},
            is_stored=True,
        ).limits
        is_counted = overview["allowed"] is not None
        return replace(known, profiles=profiles, removed_ms=removed_ms), installed if is_counted else None, version

    def _stack_plans(self) -> Plans:
        if self._plans is None:
            self._plans = by_name(parse_plan(one) for one in self._api.plans())
        return self._plans

    def _put(self, definition: TenantDefinition, version: str | None) -> tuple[str, int]:
        """Make it so; returns the version that there is now, and from when on it holds.

        What only a tag has brought is left out: the API keeps it, and naming it would make it a person's.
        """
        profiles = tuple(one for one in definition.profiles if not one.tagged)
        sent = document_of(replace(definition, profiles=profiles))
        after, applied = self._api.put_over(definition.id, sent, version)
        return after, _instant_ms(applied["effective"])


def check_region(api: AdminApi, who: Caller) -> None:
    """Refuse to make or delete profiles in another Region than the one that the meter is in.

    Raises:
        BadInput: The API's address names another Region than the AWS settings.
    """
    if api.region is not None and api.region != who.region:
        raise BadInput(
            f"the admin API is in {api.region} and your AWS settings say {who.region}: profiles would be in the wrong"
            f" Region; set AWS_REGION={api.region}"
        )


def _plain(document: Mapping[str, Any]) -> Sequence[Any]:
    return [{name: one for name, one in limit.items() if name != "source"} for limit in document[EFFECTIVE]]


def _period(document: Mapping[str, Any]) -> MappingPeriod:
    to_ms = None if document["to"] is None else _instant_ms(document["to"])
    return MappingPeriod(document["tenant"], _instant_ms(document["from"]), to_ms, UNKNOWN_MODEL)


def _instant_ms(text: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(text).timestamp() * 1000)
