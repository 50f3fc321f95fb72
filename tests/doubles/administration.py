"""``AdministrationStore`` and ``TenantStore`` in memory; the contract suite holds them to the tables' promises."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from bedrock_meter.tenants.administration import Listed
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.tenants.directory import Answer, Question
from bedrock_meter.tenants.ownership import PrincipalMapping, ProfileMapping, is_past
from bedrock_meter.tenants.plans import Plan
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import NO_TRUST, Trust
from tests.doubles.tenants import MemoryAudit, MemoryPlans


@dataclass
class MemoryTenants(MemoryPlans):
    """Definitions with the time of their last change, mappings, and notes."""

    definitions: dict[str, tuple[TenantDefinition, int]] = field(default_factory=dict)
    mappings: dict[str, tuple[int, Sequence[MappingPeriod]]] = field(default_factory=dict)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    plans_by_name: dict[str, Plan] = field(default_factory=dict)
    error: Exception | None = None
    trusted: Trust = NO_TRUST

    @property
    def notes(self) -> list[AuditEntry]:
        """What the audit log holds, oldest first."""
        return self.audit.entries

    def tenant(self, tenant: str) -> TenantDefinition | None:
        self._fail()
        return self.definitions[tenant][0] if tenant in self.definitions else None

    def put_tenant(self, definition: TenantDefinition, now_ms: int) -> bool:
        self._fail()
        held = self.definitions.get(definition.id)
        if held is not None and held[0].revision != definition.revision:
            return False
        self.definitions[definition.id] = replace(definition, revision=definition.revision + 1), now_ms
        return True

    def owned(self) -> Iterator[ProfileMapping | PrincipalMapping]:
        for name, (version, periods) in list(self.mappings.items()):
            is_principal = name.startswith("arn:")
            yield PrincipalMapping(name, name, periods) if is_principal else ProfileMapping(name, version, periods)

    def mapping_key(self, principal: str) -> str:
        return principal

    def forget_principal(self, key: str, tenant: str | None, now_ms: int) -> bool:
        version, periods = self.periods(key)
        kept = tuple(one for one in periods if tenant not in (None, one.tenant) or not is_past(one, now_ms))
        self.mappings[key] = version + 1, kept
        return len(kept) < len(periods)

    def all_tenants(self) -> Iterator[TenantDefinition]:
        yield from [definition for definition, _ in self.definitions.values()]

    def everything(self) -> Iterator[TenantDefinition | ProfileMapping]:
        yield from [definition for definition, _ in self.definitions.values()]
        for profile, (version, periods) in self.mappings.items():
            yield ProfileMapping(profile, version, periods)

    def ask(self, question: Question) -> Answer:
        self._fail()
        return Answer(profiles={one: self.periods(one)[1] for one in question.profiles if one in self.mappings})

    def periods(self, profile: str) -> tuple[int, Sequence[MappingPeriod]]:
        return self.mappings.get(profile, (0, ()))

    def put_periods(self, profile: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        if self.periods(profile)[0] != version:
            return False
        self.mappings[profile] = version + 1, tuple(periods)
        return True

    def principal_periods(self, principal: str) -> tuple[int, Sequence[MappingPeriod]]:
        self._fail()
        return self.periods(principal)

    def put_principal_periods(self, principal: str, version: int, periods: Sequence[MappingPeriod]) -> bool:
        return self.put_periods(principal, version, periods)

    def trust(self) -> Trust:
        return self.trusted

    def page(self, after: tuple[str, ...] | None, limit: int) -> tuple[Sequence[Listed], tuple[str, ...] | None]:
        self._fail()
        names = [name for name in sorted(self.definitions) if after is None or name > after[0]]
        found = [Listed(*self.definitions[name]) for name in names[:limit]]
        return found, (names[limit - 1], "TENANT") if len(names) > limit else None

    def updated_ms(self, tenant: str) -> int | None:
        self._fail()
        return self.definitions[tenant][1] if tenant in self.definitions else None

    def claim(self, seen_ms: int | None, timezone: str, entry: AuditEntry) -> bool:
        self._fail()
        if self.updated_ms(entry.tenant) != seen_ms:
            return False
        self.audit.entries.append(entry)
        if seen_ms is None:
            self.definitions[entry.tenant] = TenantDefinition(entry.tenant, timezone), entry.at_ms
        else:
            present = self.definitions[entry.tenant][0]
            self.definitions[entry.tenant] = present, max(entry.at_ms, seen_ms + 1)
        return True

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
