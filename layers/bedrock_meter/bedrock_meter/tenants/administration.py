"""Tenants as an administrator changes them over an API: read with a version, changed under it, and noted.

Three facts: a change names the version that it was made from, and is refused if that is not the present one; a change
first *claims* the tenant, in one transaction with its note in the audit log, so that of two changes from one version
one is refused before anything has happened, and no change is without a note; what is claimed is then made true by
``onboarding.apply``, whose steps can be repeated, so that a change that died halfway is finished by sending it again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.definition import spelled
from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.limits.limit import NO_LIMITS, Layout
from bedrock_meter.limits.suspension import suspension_document
from bedrock_meter.tenants.attribution import UNKNOWN_MODEL
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.boosting import WantedBoost, boost_limit, boosts_not_over, end_boost
from bedrock_meter.tenants.file import TENANT_KEYS, parse
from bedrock_meter.tenants.offboarding import Actor, SuspensionStore, resume_tenant, suspend_tenant
from bedrock_meter.tenants.onboarding import Applied, TenantStore, apply, planned
from bedrock_meter.tenants.planning import Planning
from bedrock_meter.tenants.plans import Plan, by_name, completed, own_limits, source_of
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition

EFFECTIVE, BOOSTS, APPLIED = "effective", "boosts", "applied"
READ_ONLY = (EFFECTIVE, BOOSTS, APPLIED)
"""What an answer says beside the definition. It means nothing in a change, so that what was read can be sent back."""

KEYS = (*TENANT_KEYS, *READ_ONLY)


class Changed(Exception):
    """The tenant is not, or no longer, what the change was made from. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A tenant in a list: its definition without limits, and when it was last changed."""

    definition: TenantDefinition
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Described:
    """A tenant with its limits.

    Attributes:
        document: As an entry of a tenants file.
        version: Names this state of it; another one after each change.
        updated_ms: When its definition was last changed.
        definition: The same as ``document``, with its own limits and whether it was removed.
        applied: What the change that led here changed, and from when on it holds; None where it was only read.
    """

    document: Mapping[str, Any]
    version: str
    updated_ms: int
    definition: TenantDefinition
    applied: Applied | None = None


class AdministrationStore(Protocol):
    """What administration asks of the Tenants table beyond ``TenantStore``."""

    def page(self, after: tuple[str, ...] | None, limit: int) -> tuple[Sequence[Listed], tuple[str, ...] | None]:
        """Return some tenants, at most ``limit``, in no order but a fixed one, and the key to go on behind.

        None at the end. Fewer than ``limit``, also none, say nothing about the end.
        """

    def updated_ms(self, tenant: str) -> int | None:
        """Return when a tenant's definition was last changed; None if there is none."""

    def claim(self, seen_ms: int | None, timezone: str, entry: AuditEntry) -> bool:
        """Note a change and make it the last one of its tenant, both or neither; None = there must be no such tenant.

        False if the tenant is not as seen; nothing was written.
        """


class Administration:
    """Reads and changes tenants for people who may see all of them."""

    def __init__(
        self,
        store: AdministrationStore,
        tenants: TenantStore,
        installation: InstallationStore,
        suspensions: SuspensionStore,
        audit: AuditTrail,
        plan_audit: AuditTrail,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.store = store
        self.audit = audit
        self.plan_audit = plan_audit
        self._suspensions = suspensions
        self._tenants = tenants
        self._installation = installation
        self._clock = clock
        self._new_id = new_id

    def tenant(self, tenant: str) -> Described | None:
        """Return a tenant; None if there is none."""
        state = self._state(tenant)
        return None if state is None else state.described

    def plans(self) -> Sequence[Plan]:
        """Return all plans, by name."""
        return self._tenants.plans()

    def planning(self, by: str) -> Planning:
        """Return what changes plans in somebody's name."""
        stores = self._tenants, self._installation, self.plan_audit, self.audit
        return Planning(*stores, by=by, clock=self._clock, new_id=self._new_id)

    def boosts(self, tenant: str) -> Sequence[Mapping[str, Any]] | None:
        """Return a tenant's boosts that are not over, in the order of giving; None if there is no such tenant."""
        state = self._state(tenant)
        return None if state is None else state.described.document[BOOSTS]

    def boost(self, tenant: str, wanted: WantedBoost) -> tuple[Mapping[str, Any], bool]:
        """Give a tenant a boost; returns its document, and whether it is new. See ``boost_limit``."""
        stores = self._tenants, self._installation, self.audit
        grant, is_new = boost_limit(*stores, tenant, wanted, clock=self._clock, new_id=self._new_id)
        return grant.document(tenant), is_new

    def end_boost(self, tenant: str, identity: str, by: str) -> bool:
        """End a boost now; returns whether it was not over yet. See ``end_boost``."""
        stores = self._tenants, self._installation, self.audit
        return end_boost(*stores, tenant, identity, by, clock=self._clock, new_id=self._new_id)

    def put(
        self,
        tenant: str,
        document: Mapping[str, Any],
        is_expected: Callable[[str | None], bool],
        by: str,
        what: str = "put",
    ) -> Described:
        """Make a tenant what ``document`` says; what it leaves out gets its default, but a name stays. Twice is once.

        Args:
            tenant: Which.
            document: An entry of a tenants file; its ``id`` may be missing. What is ``READ_ONLY`` means nothing here.
            is_expected: Whether the present version (None = no such tenant) is one that the caller made this from.
            by: Who changes it.
            what: The change in a word, for the history.

        Raises:
            InvalidDefinition: Something in the document is wrong.
            Changed: The present version is another one.
            LeaseLost: Somebody else keeps changing the limits; sending it again finishes the change.
        """
        definition = definition_of({"id": tenant, **document})
        return self._put(definition, is_expected, by, what)

    def put_limits(
        self, tenant: str, limits: Sequence[Any], is_expected: Callable[[str | None], bool], by: str
    ) -> Described | None:
        """Replace a tenant's own limits, and nothing else; None if there is no such tenant. See ``put``.

        A removed tenant is refused: its callers would be its own again.
        """
        state = self._state(tenant)
        if state is None:
            return None
        if state.definition.removed_ms is not None:
            raise InvalidDefinition("limits", f"{tenant} was removed: put the tenant itself to bring it back")
        definition = definition_of({**state.described.document, "limits": list(limits)})
        return self._put(definition, is_expected, by, "put limits")

    def _put(
        self, definition: TenantDefinition, is_expected: Callable[[str | None], bool], by: str, what: str
    ) -> Described:
        state = self._state(definition.id)
        if not is_expected(None if state is None else state.described.version):
            raise Changed
        known, layout = (None, NO_LIMITS) if state is None else (state.definition, state.layout)
        before, after = planned(definition, known, by_name(self._tenants.plans()), layout)
        if after is not None:
            entry = AuditEntry(definition.id, self._clock(), by, what, before, after)
            seen_ms = None if state is None else state.described.updated_ms
            if not self.store.claim(seen_ms, definition.timezone, entry):
                raise Changed
        # Also where nothing differs: an earlier attempt may have stopped before its profiles were mapped.
        (applied,) = apply(
            [definition],
            self._tenants,
            self._installation,
            clock=self._clock,
            new_id=self._new_id,
            revisions={definition.id: 0 if known is None else known.revision},
        )
        if state is None and "tenant" not in applied.changed:
            # The claim had made all of it that there is.
            applied = replace(applied, changed=(*applied.changed, "tenant"))
        made = self.tenant(definition.id)
        if made is None:
            raise Changed
        return replace(made, applied=applied)

    def suspend(self, tenant: str, reason: str, by: str, public_reason: str | None = None) -> Mapping[str, Any] | None:
        """Suspend a tenant and note it; returns ``suspension_document`` of the suspension in force.

        One that is suspended already keeps its reasons. None if there is no such tenant.

        Raises:
            InvalidDefinition: A reason is no text of 1 to 200 printable characters.
            LeaseLost: Others kept changing it, or ended it at once.
        """
        if not self._suspensions.suspension(tenant)[0]:
            return None
        suspend_tenant(self._suspensions, tenant, reason, self._actor(by), public_reason)
        document = suspension_document(self._suspensions.suspension(tenant)[1])
        if document is None:
            raise LeaseLost(f"the suspension of {tenant} was ended by somebody else meanwhile")
        return document

    def resume(self, tenant: str, by: str) -> bool:
        """End a suspension and note it, if there is one; False if there is no such tenant.

        Raises:
            LeaseLost: Others kept changing it.
        """
        if not self._suspensions.suspension(tenant)[0]:
            return False
        resume_tenant(self._suspensions, tenant, self._actor(by))
        return True

    def _actor(self, by: str) -> Actor:
        return Actor(by, self._clock(), self.audit)

    def _state(self, tenant: str) -> "_State | None":
        updated_ms = self.store.updated_ms(tenant)
        definition = self._tenants.tenant(tenant) if updated_ms is not None else None
        gauge = self._installation.gauge(tenant)
        if definition is None or updated_ms is None:
            return None
        layout = gauge.layout if gauge is not None else NO_LIMITS
        installed = [one.limit for one in layout.limits]
        whole = replace(completed(definition, installed), reserves=layout.reserves)
        effective = [{**spelled(one, whole.timezone), "source": source_of(whole, one.name)} for one in installed]
        boosts = boosts_not_over(whole, installed, self._clock())
        document = {**document_of(whole), EFFECTIVE: effective, BOOSTS: boosts}
        return _State(definition, layout, Described(document, f"{updated_ms}-{layout.version}", updated_ms, whole))


@dataclass(frozen=True, slots=True)
class _State:
    """A tenant as it was read: what is stored, what is installed, and both for people."""

    definition: TenantDefinition
    layout: Layout
    described: Described


def document_of(definition: TenantDefinition) -> dict[str, Any]:
    """Return a definition as an entry of a tenants file, which ``file.parse`` reads to the same definition."""
    return {
        "id": definition.id,
        **({"name": definition.name} if definition.name is not None else {}),
        "timezone": definition.timezone,
        "plan": definition.plan,
        "fail": definition.fail_policy,
        "profiles": [_profile(one) for one in definition.profiles],
        "principals": list(definition.principals),
        "limits": own_limits(definition),
        "reserves": definition.reserves,
    }


def definition_of(document: Mapping[str, Any], *, is_stored: bool = False) -> TenantDefinition:
    """Return the definition that a document holds; what else an answer says beside it is left out.

    Args:
        document: As an answer or a change has it.
        is_stored: It is an answer, see ``file.parse``.

    Raises:
        InvalidDefinition: Something in it is wrong.
    """
    entry = {name: one for name, one in document.items() if name in TENANT_KEYS}
    (definition,) = parse({"tenants": [entry]}, is_stored=is_stored)
    return definition


def _profile(profile: ProfileReference) -> dict[str, Any]:
    model = None if profile.model == UNKNOWN_MODEL else profile.model
    tagged = True if profile.tagged else None
    facts = {"model": model, "routing": profile.routing, "geography": profile.geography, "tagged": tagged}
    return {"id": profile.arn, **{name: value for name, value in facts.items() if value is not None}}
