"""Tenants, their audit trail and Bedrock's control plane, in memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bedrock_meter.errors import InvalidPosition, ProfileQuotaFull
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.directory import Answer, Question
from bedrock_meter.tenants.erasing import ERASED, Caller
from bedrock_meter.tenants.ownership import PrincipalMapping, ProfileMapping, is_past, nameless
from bedrock_meter.tenants.plans import Plan
from bedrock_meter.tenants.profiles import InferenceProfile, system_profile_id
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import NO_TRUST, Trust
from tests.doubles.records import ACCOUNT, REGION

HERE = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:"
HAIKU = f"arn:aws:bedrock:{REGION}::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET = f"{HERE}inference-profile/us.anthropic.claude-sonnet-4-6"
GLOBAL_SONNET = f"{HERE}inference-profile/global.anthropic.claude-sonnet-4-6"
SONNET_ID = "anthropic.claude-sonnet-4-6"
HAIKU_ID = "anthropic.claude-haiku-4-5-20251001-v1:0"


class Killed(Exception):
    """The process ends here."""


class MemoryPlans:
    """The plans of a ``TenantStore``."""

    plans_by_name: dict[str, Plan]

    def plans(self) -> Sequence[Plan]:
        return [self.plans_by_name[name] for name in sorted(self.plans_by_name)]

    def put_plan(self, plan: Plan, now_ms: int) -> bool:
        held = self.plans_by_name.get(plan.name)
        if (held.revision if held else 0) != plan.revision:
            return False
        self.plans_by_name[plan.name] = replace(plan, revision=plan.revision + 1)
        return True

    def remove_plan(self, plan: Plan) -> bool:
        held = self.plans_by_name.get(plan.name)
        if held is None or held.revision != plan.revision:
            return False
        del self.plans_by_name[plan.name]
        return True


class MemoryTenantStore(MemoryPlans):
    """``TenantStore`` and ``DirectoryStore``; ``before_write`` runs before each write and may raise, or write first."""

    def __init__(self) -> None:
        self.plans_by_name = {}
        self.definitions: dict[str, TenantDefinition] = {}
        self.mappings_by_id: dict[str, tuple[int, tuple[MappingPeriod, ...]]] = {}
        self.principals_by_name: dict[str, tuple[int, tuple[MappingPeriod, ...]]] = {}
        self.forgotten: dict[str, int] = {}
        self.trusted = NO_TRUST
        self.before_write: Callable[[str], None] = lambda what: None
        self.writes = 0

    def tenant(self, tenant: str) -> TenantDefinition | None:
        return self.definitions.get(tenant)

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> bool:
        self.before_write("definition")
        held = self.definitions.get(definition.id)
        if (held.revision if held else 0) != definition.revision:
            return False
        self.writes += 1
        self.definitions[definition.id] = replace(definition, revision=definition.revision + 1)
        return True

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        return self.mappings_by_id.get(profile, (0, ()))

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        self.before_write("mapping")
        if self.periods(profile)[0] != version:
            return False
        self.writes += 1
        self.mappings_by_id[profile] = (version + 1, tuple(periods))
        return True

    def all_tenants(self) -> Iterator[TenantDefinition]:
        yield from list(self.definitions.values())

    def everything(self) -> Iterator[TenantDefinition | ProfileMapping]:
        yield from list(self.definitions.values())
        for profile, (version, periods) in list(self.mappings_by_id.items()):
            yield ProfileMapping(profile, version, periods)

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        version, periods = self.principals_by_name.get(principal, (0, ()))
        forgotten = [nameless(self.forgotten[principal])] if principal in self.forgotten else []
        return version, periods or forgotten

    def put_principal_periods(self, principal: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        self.before_write("mapping")
        if self.principal_periods(principal)[0] != version:
            return False
        self.writes += 1
        self.principals_by_name[principal] = (version + 1, tuple(periods))
        return True

    def owned(self) -> Iterator[ProfileMapping | PrincipalMapping]:
        for profile, (version, periods) in list(self.mappings_by_id.items()):
            yield ProfileMapping(profile, version, periods)
        for principal, (_, periods) in list(self.principals_by_name.items()):
            yield PrincipalMapping(principal, principal, periods)

    def mapping_key(self, principal: str) -> str:
        return principal

    def trust(self) -> Trust:
        return self.trusted

    def forget_principal(self, key: str, tenant: str | None, now_ms: int) -> bool:
        self.before_write("mapping")
        version, periods = self.principals_by_name.get(key, (0, ()))
        gone = [one for one in periods if tenant in (None, one.tenant) and is_past(one, now_ms)]
        if not gone:
            return False
        self.writes += 1
        self.forgotten[key] = max(self.forgotten.get(key, 0), *(one.to_ms or 0 for one in gone))
        kept = tuple(one for one in periods if one not in gone)
        self.principals_by_name[key] = (version + 1, kept)
        if not kept:
            del self.principals_by_name[key]
        return True

    def ask(self, question: Question) -> Answer:
        return Answer(
            profiles={one: self.periods(one)[1] for one in question.profiles if one in self.mappings_by_id},
            principals={one: self.principal_periods(one)[1] for one in question.principals},
            tenants={one for one in question.tenants if one in self.definitions},
        )


class MemoryAudit:
    """``ForgettingTrail``."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.error: Exception | None = None

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def history(self, tenant: str, limit: int | None = None) -> Iterator[AuditEntry]:
        found = [one for one in reversed(self.entries) if one.tenant == tenant]
        yield from found[:limit]

    def page(
        self, tenant: str, after: tuple[str, ...] | None, limit: int
    ) -> tuple[Sequence[AuditEntry], tuple[str, ...] | None]:
        if self.error is not None:
            raise self.error
        found = list(self.history(tenant))
        if after is not None and not after[0].isdigit():
            raise InvalidPosition
        start = int(after[0]) if after is not None else 0
        return found[start : start + limit], (str(start + limit),) if len(found) > start + limit else None

    def forget(self, tenant: str, names: frozenset[str], until_ms: int, still: Callable[[], None]) -> int:
        changed = 0
        still()
        for index, entry in enumerate(self.entries):
            if entry.tenant == tenant and entry.at_ms <= until_ms:
                kept = [
                    None if side is None else {name: value for name, value in side.items() if name not in names}
                    for side in (entry.before, entry.after)
                ]
                if kept != [entry.before, entry.after]:
                    self.entries[index] = replace(entry, before=kept[0], after=kept[1])
                    changed += 1
        return changed


class MemoryHistory:
    """``HistoryStore`` over one trail: who did it, and no word of what."""

    def __init__(self, audit: MemoryAudit) -> None:
        self.audit = audit

    def forget_name(self, caller: Caller, *, dry_run: bool) -> int:
        changed = 0
        for index, entry in enumerate(self.audit.entries):
            if caller.is_named(entry.by):
                changed += 1
                if not dry_run:
                    self.audit.entries[index] = replace(entry, by=ERASED)
        return changed


@dataclass
class MemoryControlPlane:
    """``ControlPlane``; system profiles of one model, idempotent by token, with a quota.

    Attributes:
        quota: How many application profiles there may be.
        forgets_tokens: Whether the same token makes another profile.
        after_create: Runs after a profile was made and before its maker hears of it.
    """

    quota: int = 1000
    forgets_tokens: bool = False
    after_create: Callable[[InferenceProfile], None] = lambda profile: None
    profiles: dict[str, InferenceProfile] = field(default_factory=dict)
    tags_by_arn: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, InferenceProfile] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, identifier: str, *models: str, name: str = "made elsewhere", **tags: str) -> InferenceProfile:
        """Put a profile there as somebody else would."""
        profile = InferenceProfile(identifier, f"{HERE}application-inference-profile/{identifier}", name, models)
        self.profiles[identifier] = profile
        self.tags_by_arn[profile.arn] = dict(tags)
        return profile

    def application_profiles(self) -> Iterator[InferenceProfile]:
        self.asked.append("list")
        yield from list(self.profiles.values())

    def profile(self, identifier: str) -> InferenceProfile | None:
        self.asked.append("get")
        if identifier in self.profiles:
            return self.profiles[identifier]
        prefix, _, model = identifier.partition(".")
        if prefix == "us" and model.startswith("anthropic."):
            models = [f"arn:aws:bedrock:us-{place}::foundation-model/{model}" for place in ("east-1", "west-2")]
        elif prefix == "global":
            models = [f"arn:aws:bedrock:{place}::foundation-model/{model}" for place in ("", REGION)]
        else:
            return None
        return InferenceProfile(identifier, f"{HERE}inference-profile/{identifier}", identifier, tuple(models))

    def tags(self, arn: str) -> Mapping[str, str] | None:
        self.asked.append("tags")
        return self.tags_by_arn.get(arn)

    def create(self, name: str, source: str, tags: Mapping[str, str], token: str) -> InferenceProfile:
        self.asked.append("create")
        if token in self.tokens and not self.forgets_tokens:
            return self.tokens[token]
        if len(self.profiles) >= self.quota:
            raise ProfileQuotaFull("used up")
        system = system_profile_id(source)
        found = self.profile(system) if system else None
        made = self.add(f"made{len(self.tokens):08}", *(found.models if found else (source,)), name=name, **tags)
        self.tokens[token] = made
        self.after_create(made)
        return made

    def delete(self, identifier: str) -> bool:
        self.asked.append("delete")
        found = self.profiles.pop(identifier, None)
        if found is not None:
            del self.tags_by_arn[found.arn]
        return found is not None


class MemoryPrincipals:
    """``PrincipalStore``: pages of entries by key, each with (tenant, principal)."""

    def __init__(self, entries: dict[str, tuple[str, str | None]], page: int = 2) -> None:
        self.entries = entries
        self.page = page
        self.die_at: str | None = None

    def pages(self, whose: str | Caller, position: str | None) -> Iterator[tuple[Iterable[str], int, str | None]]:
        keys = sorted(self.entries)
        if position is not None and not position.isdigit():
            raise InvalidPosition
        start = int(position or 0)
        while start < len(keys):
            page = keys[start : start + self.page]
            start += self.page
            wanted = [key for key in page if self._is_meant(whose, key)]
            yield wanted, len(page), str(start) if start < len(keys) else None

    def forget(self, whose: str | Caller, key: str) -> bool:
        if key == self.die_at:
            raise Killed
        if not self._is_meant(whose, key):
            return False
        self.entries[key] = (self.entries[key][0], None)
        return True

    def _is_meant(self, whose: str | Caller, key: str) -> bool:
        owner, principal = self.entries[key]
        if principal is None:
            return False
        return whose.is_named(principal) if isinstance(whose, Caller) else owner == whose
