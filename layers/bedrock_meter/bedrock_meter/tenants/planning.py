"""Changing plans: written down first, then made true for each tenant that has them.

The decision: a plan's limits are installed on each tenant's gauge, and not looked up when a call is decided. So a
decision stays one read, and a new window of a plan is seeded exactly, as a tenant's own would be. The price is that a
change takes as long as its tenants are many. It can be stopped and repeated: a tenant that is as wanted is left alone.
Who has little time installs for as many tenants as it allows, in the order of their ids, and goes on behind the last.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bedrock_meter.errors import InvalidDefinition, LeaseLost, PlanUsed, UnknownPlan
from bedrock_meter.limits.installation import InstallationStore
from bedrock_meter.limits.limit import Limit
from bedrock_meter.tenants.audit import AuditEntry, AuditTrail, difference, limit_words
from bedrock_meter.tenants.onboarding import TenantStore, installed_limits, settle_limits
from bedrock_meter.tenants.plans import MOST_PLANS, Plan, by_name, completed, effective_limits, plan_of
from bedrock_meter.tenants.tenant import TenantDefinition

MOST_NAMED = 20
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Settled:
    """What a change of plans did to one tenant.

    Attributes:
        tenant: Which.
        number: The how many-th it was, from 1.
        of: How many there are.
        is_changed: Whether its limits changed.
        problem: Why they could not be; empty if they are as wanted.
    """

    tenant: str
    number: int
    of: int
    is_changed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """How far the installation of a plan is.

    Attributes:
        after: Id of the tenant that was reached last; empty before the first.
        of: How many tenants there are: those that have the plan, and those that name none.
        settled: How many of them have the limits that they are to have.
        changed: How many of those had others before.
        failures: How many could not be changed; they have their former limits.
        failed: Who, of those that were reached last, and why; at most 20.
        is_through: Whether all of them were reached.
    """

    after: str = ""
    of: int = 0
    settled: int = 0
    changed: int = 0
    failures: int = 0
    failed: tuple[Settled, ...] = ()
    is_through: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do. If all were reached and some failed, begin again."""
        return self.is_through and not self.failures

    def behind(self, one: Settled) -> "Installed":
        """Return how far it is behind one more tenant."""
        return Installed(
            one.tenant,
            one.of,
            self.settled + (not one.problem),
            self.changed + one.is_changed,
            self.failures + bool(one.problem),
            (*self.failed, one)[:MOST_NAMED] if one.problem else self.failed,
            one.number == one.of,
        )


def plan_changes(wanted: Sequence[Plan], held: Mapping[str, Plan]) -> dict[str, Plan]:
    """Return the plans that change where ``wanted`` are put over ``held``, as they are to be, by name.

    A plan that becomes the default one takes over from the one that was, which comes first: there are never two.
    """
    changes = {plan.name: plan for plan in wanted if held.get(plan.name) != plan}
    if any(plan.is_default for plan in wanted):
        named = {plan.name for plan in wanted}
        former = [plan for plan in held.values() if plan.is_default and plan.name not in named]
        changes = {**{plan.name: replace(plan, is_default=False) for plan in former}, **changes}
    return changes


class Planning:
    """Changes plans, and the limits of who has them.

    Args:
        tenants: Definitions and plans.
        installation: Gauges and limits.
        plan_audit: Where each change of a plan is noted first.
        audit: Where each change of a tenant's limits is noted first.
        by: Who changes.
        clock: Current time in milliseconds.
        new_id: Makes ids of leases.
    """

    def __init__(
        self,
        tenants: TenantStore,
        installation: InstallationStore,
        plan_audit: AuditTrail,
        audit: AuditTrail,
        *,
        by: str,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._tenants = tenants
        self._installation = installation
        self._plan_audit = plan_audit
        self._audit = audit
        self._by = by
        self._clock = clock
        self._new_id = new_id

    def put(
        self,
        wanted: Sequence[Plan],
        *,
        redefined: Collection[str] = (),
        check: Callable[[Mapping[str, Plan]], None] = lambda held: None,
    ) -> tuple[str, ...]:
        """Write plans down; others stay. Checked first against every tenant that has one. Call ``settle`` after it.

        A plan that becomes the default one takes over from the one that was.

        Args:
            wanted: Plans as they are to be.
            redefined: Tenants that are about to be defined anew, and are checked there.
            check: Gets the plans that are there; what it raises ends the change before anything has happened.

        Returns:
            Names of those that changed.

        Raises:
            InvalidDefinition: The limits of a tenant could not stand together; nothing was changed.
            LeaseLost: Somebody else keeps changing the same plan.
        """
        held = by_name(self._tenants.plans())
        check(held)
        changes = plan_changes(wanted, held)
        after = {**held, **changes}
        if len(after) > MOST_PLANS:
            raise InvalidDefinition("plans", f"{len(after)} plans: a stack has at most {MOST_PLANS}")
        self._check([one for one in self._having(changes) if one.id not in redefined], after)
        for plan in sorted(changes.values(), key=lambda one: one.is_default):
            self._write(plan, held.get(plan.name))
        return tuple(changes)

    def settle(self, names: Collection[str], *, after: str = "") -> Iterator[Settled]:
        """Make the limits of all tenants with these plans, or without any, what they are to be; yields each.

        In the order of their ids; one that fails does not stop the others. Doing it again does what is left.

        Args:
            names: Of the plans.
            after: Begin behind the tenant of this id.
        """
        having = self._having(names)
        for number, definition in enumerate(having, 1):
            if definition.id <= after:
                continue
            problem, is_changed = "", False
            try:
                is_changed = settle_limits(
                    self._tenants,
                    self._installation,
                    definition.id,
                    clock=self._clock,
                    new_id=self._new_id,
                    before=self._noting(definition),
                )
            except (LeaseLost, InvalidDefinition) as error:
                problem = str(error)
            yield Settled(definition.id, number, len(having), is_changed, problem)

    def install(self, name: str, done: Installed, has_time: Callable[[], bool]) -> Installed:
        """Go on with ``settle`` for one plan as long as there is time, but for one tenant at least.

        Args:
            name: Of the plan.
            done: How far it is; ``Installed()`` to begin.
            has_time: Asked before each further tenant.

        Returns:
            How far it is now. ``failed`` is of this part alone, all counts are of the whole.
        """
        work, now = self.settle((name,), after=done.after), replace(done, failed=())
        while not now.is_through and (now.after == done.after or has_time()):
            one = next(work, None)
            if one is None:
                return replace(now, is_through=True)
            now = now.behind(one)
        return now

    def remove(self, name: str, *, check: Callable[[Mapping[str, Plan]], None] = lambda held: None) -> None:
        """Take a plan away that no tenant has.

        Args:
            name: Of the plan.
            check: As of ``put``.

        Raises:
            UnknownPlan: There is no such plan.
            PlanUsed: A tenant has it; it stays.
            LeaseLost: Somebody else changed it.
        """
        plans = by_name(self._tenants.plans())
        check(plans)
        plan = plans.get(name)
        if plan is None:
            raise UnknownPlan("plan", f"there is no plan {name}")
        self._refuse_used(plan, plans)
        self._plan_audit.record(AuditEntry(name, self._clock(), self._by, "remove", plan.document(), None))
        if not self._tenants.remove_plan(plan):
            raise LeaseLost(f"plan {name} was changed by somebody else meanwhile; it was not removed")
        try:
            self._refuse_used(plan, plans)  # A tenant may have been given it since.
        except PlanUsed:
            self._tenants.put_plan(replace(plan, revision=0), self._clock())
            raise

    def having(self, name: str) -> tuple[str, ...]:
        """Return the ids of the tenants that have a plan, sorted. Reads the whole table of tenants."""
        plans = by_name(self._tenants.plans())
        return self._users(plans[name], plans) if name in plans else ()

    def _write(self, plan: Plan, held: Plan | None) -> None:
        before, after = difference(held.document() if held is not None else None, plan.document())
        self._plan_audit.record(AuditEntry(plan.name, self._clock(), self._by, "apply", before, after))
        if not self._tenants.put_plan(replace(plan, revision=held.revision if held else 0), self._clock()):
            raise LeaseLost(f"plan {plan.name} was changed by somebody else meanwhile; try again")

    def _noting(self, definition: TenantDefinition) -> Callable[[Sequence[Limit], Sequence[Limit]], None]:
        def note(before: Sequence[Limit], after: Sequence[Limit]) -> None:
            what = f"plan {definition.plan}" if definition.plan is not None else "default plan"
            sides = [_words(before), _words(after)]
            self._audit.record(AuditEntry(definition.id, self._clock(), self._by, what, *sides))

        return note

    def _check(self, having: Sequence[TenantDefinition], plans: Mapping[str, Plan]) -> None:
        problems = []
        for definition in having:
            try:
                installed = () if definition.is_whole else installed_limits(self._installation, definition.id)
                effective_limits(completed(definition, installed), plans)
            except InvalidDefinition as problem:
                problems.append(f"tenant {definition.id}: {problem}")
        if problems:
            more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
            raise InvalidDefinition("plans", "; ".join(problems[:_NAMED]) + more)

    def _refuse_used(self, plan: Plan, plans: Mapping[str, Plan]) -> None:
        users = self._users(plan, plans)
        if users:
            more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
            raise PlanUsed("plan", f"{plan.name} is the plan of {', '.join(users[:_NAMED])}{more}: it stays")

    def _users(self, plan: Plan, plans: Mapping[str, Plan]) -> tuple[str, ...]:
        return tuple(one.id for one in self._having((plan.name,)) if plan_of(one, plans) == plan)

    def _having(self, names: Collection[str]) -> list[TenantDefinition]:
        """Return who has one of these plans or names none, and is not removed, sorted."""
        if not names:
            return []
        having = [
            one
            for one in self._tenants.all_tenants()
            if one.removed_ms is None and (one.plan is None or one.plan in names)
        ]
        return sorted(having, key=lambda one: one.id)


def _words(limits: Sequence[Limit]) -> dict[str, Any]:
    return {"limits": [limit_words(limit) for limit in limits]}
