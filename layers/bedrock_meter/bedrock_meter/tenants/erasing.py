"""Forgetting the persons behind a removed tenant. Sums stay under its id, and so does until when what was owned.

Three rules make it safe beside everybody else. It begins when no call can be recorded for the tenant any more. What it
changes it has read while the tenant was removed, by the same removal, and it looks at that again between reading and
writing: a tenant that comes back keeps what is written for it from then on. And all of it can be repeated, from the
beginning or from any step; words that an evaluation in flight brought back go with the last step.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import uuid4

from bedrock_meter.errors import InvalidDefinition, LeaseLost
from bedrock_meter.limits.installation import InstallationStore, install_limits
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail
from bedrock_meter.tenants.mapping import ATTEMPTS
from bedrock_meter.tenants.offboarding import SuspensionStore
from bedrock_meter.tenants.onboarding import TenantStore, installed_limits, settle_limits, update_definition
from bedrock_meter.tenants.ownership import HANDOVER_MS, PrincipalMapping, is_past
from bedrock_meter.tenants.principals import names_of
from bedrock_meter.tenants.tenant import TenantDefinition

PERSONAL = frozenset({"name", "reason", "public_reason", "principals", "boosts"})
"""What of audit entries can be a person's words or name; boosts have their reasons in them."""

ERASED = "erased"


class NotErasable(InvalidDefinition):
    """A tenant or a caller cannot be forgotten yet, or not any more; says why."""

    def __init__(self, problem: str) -> None:
        super().__init__("", problem)


class ForgettingTrail(AuditTrail, Protocol):
    """An audit trail that can lose people's words."""

    def forget(self, tenant: str, names: frozenset[str], until_ms: int, still: Callable[[], None]) -> int:
        """Take the values called ``names`` out of a tenant's entries; returns how many entries held one.

        Args:
            tenant: Whose.
            names: Which values.
            until_ms: Later entries are left alone.
            still: Called after the entries were read and before the first is changed; raises where they are to stay.
        """


class WordStore(SuspensionStore, Protocol):
    """People's words in the Quotas table: the last suspension, events that wait or were refused, reservations."""

    def forget_words(self, tenant: str, until_ms: int, still: Callable[[], None]) -> int:
        """Take all but the suspension's out; returns how many items held some.

        ``until_ms`` and ``still`` are as in ``ForgettingTrail``.
        """


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody as the ledger names callers, and as the history names who changed something.

    Attributes:
        name: A session, a user, a role (with all its sessions), or another name that stands where a caller's would.
    """

    name: str

    def is_named(self, text: str) -> bool:
        """Whether ``text`` names this caller."""
        return text == self.name or self.name in names_of(text)

    @property
    def sessions(self) -> str | None:
        """How the names of a role's sessions begin; None for everybody else."""
        arn, kind, role = self.name.partition(":role/")
        return f"{arn.replace(':iam:', ':sts:')}:assumed-role/{role}" if kind else None


class PrincipalStore(Protocol):
    """Callers' identities in the ledger."""

    def pages(self, whose: str | Caller, position: str | None) -> Iterator[tuple[Iterable[str], int, str | None]]:
        """Read the whole ledger from a position on.

        Args:
            whose: A tenant, of whose entries any caller is meant; or a caller, whose entries are any tenant's.
            position: As a page before said; None = the beginning.

        Yields (keys of entries that name a caller who is meant, entries read, position after the page or None at the
        end).
        """

    def forget(self, whose: str | Caller, key: str) -> bool:
        """Take the caller out of an entry if it is still meant; False if there was none."""


@dataclass(frozen=True, slots=True)
class Persons:
    """Where a tenant's persons are.

    Attributes:
        tenants: Definitions and mappings.
        words: What stands in Quotas.
        trail: Where each change is noted first.
        clock: Current time in milliseconds.
        installation: Gauges, from which boosts go; None = they stay there, numbers without words.
        new_id: Makes ids of leases.
    """

    tenants: TenantStore
    words: WordStore
    trail: ForgettingTrail
    clock: Callable[[], int]
    installation: InstallationStore | None = None
    new_id: Callable[[], str] = lambda: uuid4().hex


@dataclass(frozen=True, slots=True)
class Erasable:
    """A removed tenant of whom nothing is recorded any more.

    Attributes:
        id: Which.
        removed_ms: The removal that it is: one that came back and was removed again has another.
        principals: Keys of all mappings of principals and patterns that were ever its own.
    """

    id: str
    removed_ms: int
    principals: tuple[str, ...]


def check_erasable(tenants: TenantStore, tenant: str, now_ms: int) -> Erasable:
    """Return a tenant whose persons can be forgotten for good. Reads the whole Tenants table.

    Raises:
        NotErasable: There is no such tenant, it is not removed, or calls could still be recorded for it.
    """
    known = tenants.tenant(tenant)
    if known is None:
        raise NotErasable(f"there is no tenant {tenant}")
    if known.removed_ms is None:
        raise NotErasable(f"{tenant} is still there: `bedrock-meter tenants remove {tenant}` first")
    if now_ms < known.removed_ms + HANDOVER_MS:
        raise NotErasable(f"calls can be {tenant}'s for another minute at least: wait, run this again")
    principals = []
    for found in tenants.owned():
        theirs = [one for one in found.periods if one.tenant == tenant]
        if any(not is_past(one, now_ms) for one in theirs):
            what = f"principal {found.name}" if isinstance(found, PrincipalMapping) else f"profile {found.profile}"
            raise NotErasable(f"{what} is {tenant}'s for another minute at least: remove it, wait, run this again")
        if theirs and isinstance(found, PrincipalMapping):
            principals.append(found.key)
    return Erasable(tenant, known.removed_ms, tuple(principals))


def check_still_removed(tenants: TenantStore, tenant: str, removed_ms: int) -> None:
    """Look whether a tenant is still removed, by the removal that was seen.

    Raises:
        NotErasable: It came back.
    """
    _check_removed(tenants.tenant(tenant), removed_ms)


def _check_removed(held: TenantDefinition | None, removed_ms: int) -> TenantDefinition:
    if held is None or held.removed_ms != removed_ms:
        raise NotErasable(f"{held.id if held else 'the tenant'} was added again meanwhile: it keeps what it has now")
    return held


def forget_persons(persons: Persons, erasable: Erasable, by: str) -> int:
    """Forget all persons of a tenant but the callers in the ledger. Safe to repeat.

    Returns:
        How many entries of its history changed.

    Raises:
        NotErasable: The tenant was added again meanwhile; what it has from then on was not touched.
        LeaseLost: Others kept changing it; run it again.
    """
    now_ms = persons.clock()
    persons.trail.record(AuditEntry(erasable.id, now_ms, by, "erase", None, {"erased": True}))
    forget_definition(persons, erasable)
    for key in erasable.principals:
        check_still_removed(persons.tenants, erasable.id, erasable.removed_ms)
        persons.tenants.forget_principal(key, erasable.id, now_ms)
    return forget_words(persons, erasable.id, erasable.removed_ms)


def forget_definition(persons: Persons, erasable: Erasable) -> None:
    """Take name, principals and boosts out of the definition, and the boosts off the gauge. Safe to repeat.

    Raises:
        NotErasable: The tenant was added again meanwhile; its gauge is what its definition says.
        LeaseLost: Others kept changing it.
    """
    tenants, installation = persons.tenants, persons.installation

    def without_persons(held: TenantDefinition | None) -> TenantDefinition | None:
        return replace(_check_removed(held, erasable.removed_ms), name=None, principals=(), boosts=())

    update_definition(tenants, erasable.id, persons.clock(), without_persons)
    if installation is None:
        return
    present = installed_limits(installation, erasable.id)
    unboosted = tuple(replace(one, boosts=()) for one in present)
    if unboosted != present:
        install_limits(installation, erasable.id, unboosted, clock=persons.clock, new_id=persons.new_id)
        # Whoever brought it back meanwhile may have settled its limits before ours were installed.
        settle_limits(tenants, installation, erasable.id, clock=persons.clock, new_id=persons.new_id)


def forget_words(persons: Persons, tenant: str, removed_ms: int) -> int:
    """Forget what people wrote about a removed tenant; returns how many entries of its history changed.

    The last suspension stays without its words: its ordinal keeps events apart.

    Raises:
        NotErasable: The tenant was added again meanwhile.
        LeaseLost: Others kept changing it.
    """
    now_ms = persons.clock()

    def still() -> None:
        check_still_removed(persons.tenants, tenant, removed_ms)

    for _ in range(ATTEMPTS):
        _, held = persons.words.suspension(tenant)
        still()
        wanted = _wordless(held)
        if held is None or wanted is None or wanted == held or held.since_ms > now_ms:
            break
        if persons.words.put_suspension(tenant, wanted, held):
            break
    else:
        raise LeaseLost(f"the gauge of {tenant} was changed by others {ATTEMPTS} times meanwhile")
    persons.words.forget_words(tenant, now_ms, still)
    return persons.trail.forget(tenant, PERSONAL, now_ms, still)


def _wordless(held: Suspension | None) -> Suspension | None:
    if held is None:
        return None
    return replace(held, reason=ERASED, public_reason="", by=ERASED, resumed_by=ERASED if held.resumed_by else "")
