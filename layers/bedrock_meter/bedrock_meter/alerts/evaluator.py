"""From what is used to what is announced.

The stream is only a hint that a tenant changed. The verdict is made from a consistent read of the gauge, and written
together with its pending events under the version of the state that it was derived from: an old delivery, or a slow
twin of this worker, can never overwrite a newer verdict or lose a transition. Only then is anything published; what
the bus accepted is cleared, the rest stays due.

A verdict that changes nothing is not written. That is safe, because within one version of the limits usage only
grows, and everything that can fall by itself (a throttle, a threshold that re-arms) carries the instant at which the
sweep looks again. Only rating anew (``usage/rerating.py``) and taking back (``usage/removal.py``) lower it: a slow
worker that saw the higher sum can then announce what has passed by. It was true when it was read, and ends with the
tenant's next usage, or when the sweep looks again at the latest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from bedrock_meter.alerts.contracts import Event, adjustment_event, suspension_event, transition_event
from bedrock_meter.alerts.outbox import Pending, PublishOutcome, settle
from bedrock_meter.errors import DeliverAgain
from bedrock_meter.limits.gauge import Gauge, late_buckets, stale_buckets
from bedrock_meter.limits.levels import States, Transition, Verdict, judge
from bedrock_meter.limits.limit import InstalledLimit
from bedrock_meter.limits.suspension import SuspensionTransition, unannounced

ATTEMPTS = 5
REPUBLISH_AFTER_MS = 60_000
MOST_EVENTS = 50
"""Transitions, and late buckets, that one write takes; those of a limit stay together. What is left is judged next."""

PRUNE_FROM = 6
"""Stale buckets that are worth a write of their own; below that they wait, and the gauge stays under a kilobyte."""

Late = tuple[InstalledLimit, str, int, int]


@dataclass(frozen=True, slots=True)
class TenantState:
    """The stored verdict on a tenant.

    Attributes:
        version: Of this item; 0 = not written yet.
        evaluated_rev: Revision of the gauge that the verdict is about.
        layout_version: Version of the limits that the verdict is about.
        levels: What has fired, by limit.
        pending: Events that the bus has not accepted yet.
        next_due_ms: When the sweep looks again; None = no need.
        suspension: Ordinal of the last suspension or end of one that was announced.
    """

    version: int = 0
    evaluated_rev: int = 0
    layout_version: int = 0
    levels: States = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()
    next_due_ms: int | None = None
    suspension: int = 0


class EvaluationStore(Protocol):
    """Gauges and states."""

    def load(self, tenant: str) -> tuple[Gauge, TenantState] | None:
        """Read both consistently; None where the tenant has no gauge."""

    def profiles(self, tenant: str) -> Sequence[str]:
        """ARNs (or ids) of the profiles that the tenant owns now."""

    def save(
        self, tenant: str, state: TenantState, *, before: TenantState, events: Sequence[Event], late: Mapping[str, int]
    ) -> bool:
        """Write a verdict with its new events, provided that the state is still ``before``.

        ``late`` are late buckets with the amounts seen: they leave the gauge in the same transaction, or nothing is
        written. False means that something changed meanwhile.
        """

    def cleared(
        self,
        tenant: str,
        state: TenantState,
        outcome: PublishOutcome,
        pending: Sequence[Pending],
        next_due_ms: int | None,
    ) -> None:
        """Take accepted events out of the outbox, keep the others with their attempts, and set when to look again."""

    def prune(self, tenant: str, layout_version: int, buckets: Sequence[str]) -> None:
        """Remove buckets that no window reaches any more."""


class Bus(Protocol):
    """Where events go."""

    def publish(self, events: Sequence[Pending], now_ms: int) -> PublishOutcome:
        """Put events; says for each whether the bus took it. Does not raise for what the bus refuses."""


@dataclass(slots=True)
class Evaluated:
    """What evaluating some tenants did.

    Attributes:
        tenants: How many were judged.
        published: Events that the bus accepted.
        refused: Events that still wait.
        parked: Events that were given up until somebody looks.
        reasons: The bus's error codes, and how many events each of them kept back.
    """

    tenants: int = 0
    published: int = 0
    refused: int = 0
    parked: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def note(self, outcome: PublishOutcome, left: Sequence[Pending]) -> list[Pending]:
        """Count an answer of the bus; returns what is still to be published of ``left``."""
        waiting = [one for one in left if not one.is_parked]
        self.published += len(outcome.accepted)
        self.refused += len(waiting)
        self.parked += len(left) - len(waiting)
        for code in (*outcome.refused.values(), *outcome.failed.values()):
            self.reasons[code] = self.reasons.get(code, 0) + 1
        return waiting


class Evaluator:
    """Judges tenants and publishes what follows."""

    def __init__(self, store: EvaluationStore, bus: Bus, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock

    def evaluate(self, tenant: str, report: Evaluated) -> None:
        """Judge one tenant as it is now. Doing it twice publishes nothing new.

        Raises:
            DeliverAgain: Others changed the tenant's state each time; try again.
        """
        while self._evaluate_part(tenant, report):
            pass

    def _evaluate_part(self, tenant: str, report: Evaluated) -> bool:
        """Judge a tenant as far as one write goes; returns whether something is left, which is due at once."""
        for _ in range(ATTEMPTS):
            loaded = self._store.load(tenant)
            if loaded is None:
                return False
            gauge, before = loaded
            if gauge.rev < before.evaluated_rev:
                continue
            now_ms = self._clock()
            whole = judge(gauge.layout, gauge.buckets, before.levels, now_ms)
            verdict = _part(whole, before.levels)
            all_late = late_buckets(gauge.layout, gauge.buckets)
            late = all_late[:MOST_EVENTS]
            is_part = verdict is not whole or len(late) < len(all_late)
            next_due_ms = now_ms if is_part else verdict.next_due_ms
            stopped = unannounced(before.suspension, gauge.suspension)
            if late or stopped or _is_news(gauge, before, verdict, now_ms):
                events = self._events(gauge, verdict, late, stopped, now_ms)
                pending = before.pending + tuple(Pending(event) for event in events)
                state = TenantState(
                    version=before.version + 1,
                    evaluated_rev=gauge.rev,
                    layout_version=gauge.layout.version,
                    levels=verdict.states,
                    pending=pending,
                    next_due_ms=_earliest(next_due_ms, now_ms + REPUBLISH_AFTER_MS if pending else None),
                    suspension=stopped[-1].ordinal if stopped else before.suspension,
                )
                seen = {name: amount for _, name, _, amount in late}
                if not self._store.save(tenant, state, before=before, events=events, late=seen):
                    continue
            else:
                state = before
            self._publish(tenant, state, next_due_ms, now_ms, report)
            if is_part:
                return True
            report.tenants += 1
            stale = stale_buckets(gauge.layout, gauge.buckets, now_ms)
            if len(stale) >= PRUNE_FROM:
                self._store.prune(tenant, gauge.layout.version, stale)
            return False
        raise DeliverAgain(f"the state of tenant {tenant} was changed by others {ATTEMPTS} times meanwhile")

    def _events(
        self,
        gauge: Gauge,
        verdict: Verdict,
        late: Sequence[Late],
        stopped: Sequence[SuspensionTransition],
        now_ms: int,
    ) -> list[Event]:
        if not verdict.transitions and not late and not stopped:
            return []
        profiles = self._store.profiles(gauge.tenant)
        events = [suspension_event(gauge.tenant, profiles, one, now_ms=now_ms) for one in stopped]
        events += [transition_event(gauge.tenant, profiles, one, now_ms=now_ms) for one in verdict.transitions]
        for installed, _, window_start_ms, amount in late:
            if not amount:  # what was added and what was taken away since are the same: the period has not changed
                continue
            events.append(
                adjustment_event(
                    gauge.tenant,
                    profiles,
                    installed,
                    window_start_ms=window_start_ms,
                    amount=amount,
                    rev=gauge.rev,
                    now_ms=now_ms,
                )
            )
        return events

    def _publish(
        self, tenant: str, state: TenantState, next_due_ms: int | None, now_ms: int, report: Evaluated
    ) -> None:
        if not state.pending:
            return
        outcome = self._bus.publish(state.pending, now_ms)
        pending = settle(state.pending, outcome)
        waiting = report.note(outcome, pending)
        due_ms = _earliest(next_due_ms, now_ms + REPUBLISH_AFTER_MS if waiting else None)
        self._store.cleared(tenant, state, outcome, pending, due_ms)


def _part(verdict: Verdict, before: States) -> Verdict:
    """Return what of a verdict one write takes: transitions and states of some limits, of others the states before."""
    if len(verdict.transitions) <= MOST_EVENTS:
        return verdict
    transitions: list[Transition] = []
    chosen: set[str] = set()
    for name in dict.fromkeys(one.name for one in verdict.transitions):
        more = [one for one in verdict.transitions if one.name == name]
        if transitions and len(transitions) + len(more) > MOST_EVENTS:
            break
        transitions += more
        chosen.add(name)
    states = {name: state for name, state in before.items() if name not in chosen}
    states |= {name: state for name, state in verdict.states.items() if name in chosen}
    return replace(verdict, states=states, transitions=tuple(transitions))


def is_unjudged(gauge: Gauge, before: TenantState, now_ms: int) -> bool:
    """Whether judging ``gauge`` now would write something, given the last verdict. Pure; doing it changes nothing."""
    if late_buckets(gauge.layout, gauge.buckets):
        return True
    return _is_news(gauge, before, judge(gauge.layout, gauge.buckets, before.levels, now_ms), now_ms)


def _is_news(gauge: Gauge, before: TenantState, verdict: Verdict, now_ms: int) -> bool:
    if verdict.changed or gauge.layout.version != before.layout_version:
        return True
    if before.next_due_ms is None:
        return verdict.next_due_ms is not None
    # An earlier look than needed costs one evaluation; a later one would announce a lift too late.
    return before.next_due_ms <= now_ms or (
        verdict.next_due_ms is not None and verdict.next_due_ms < before.next_due_ms
    )


def _earliest(*instants: int | None) -> int | None:
    known = [instant for instant in instants if instant is not None]
    return min(known) if known else None
