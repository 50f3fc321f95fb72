"""From a seed to a workload: how many callers, what they do, how late it is logged, and limits with their boosts.

What is drawn of boosts is drawn apart, so that a seed keeps its callers when that changes.
"""

import random
from dataclasses import dataclass, replace

from tests.faults.schedules import EPOCH_MS, Boosted, Ceiling

CEILINGS = (Ceiling("total_tokens", "1d", 10_000, hard=True), Ceiling("requests", "month", 40))
SHORT = (Ceiling("total_tokens", "1m", 4_000, hard=True), Ceiling("total_tokens", "1h", 12_000, hard=True))
IN_DOLLARS = (Ceiling("cost_usd", "1d", 60_000, hard=True), Ceiling("requests", "month", 40))
"""Nano-USD: ten calls of the maximum at first; they grow dearer every 20 seconds."""


@dataclass(frozen=True)
class Workload:
    """What callers do, drawn from a seed.

    Attributes:
        callers: How many at a time.
        calls: How many each makes.
        kinds: Kinds of calls, to draw from.
        lags_ms: How late calls are logged, to draw from.
        fault_rate: How often a request goes wrong.
        changes: Limits that the tenant is given meanwhile.
        steady: Whether prices stay as they are, so that an estimate in dollars can be the truth.
    """

    seed: int
    callers: int
    calls: int
    kinds: tuple[str, ...]
    lags_ms: tuple[int, ...]
    fault_rate: float
    fault_budget: int
    recorders: int = 2
    ceilings: tuple[Ceiling, ...] = CEILINGS
    changes: tuple[tuple[Ceiling, ...], ...] = ()
    steady: bool = False


CALM = ("plain",)
KINDS: tuple[str, ...] = (
    *("plain", "plain", "plain", "shrinks", "exceeds", "unreserved", "overdue", "shared", "failed", "twin", "vanishes"),
    *("released", "lease", "forgets"),
)


def workload(seed: int) -> Workload:
    """Return the workload of a seed; the same one each time."""
    chance = random.Random(seed)
    kinds = CALM if chance.random() < 0.1 else tuple(chance.choices(KINDS, k=chance.choice((2, 5, 14))))
    raised = (Ceiling("total_tokens", "1d", 14_000, hard=True), Ceiling("total_tokens", "1h", 9_000, hard=True))
    made = Workload(
        seed=seed,
        callers=chance.choice((1, 3, 6, 12)),
        calls=chance.choice((2, 4, 6)),
        kinds=kinds,
        lags_ms=chance.choice(((200,), (2_000, 15_000), (15_000, 90_000), (100, 400_000))),
        fault_rate=chance.choice((0.0, 0.02, 0.08, 0.2)),
        fault_budget=chance.choice((3, 10, 30)),
        recorders=chance.choice((1, 2, 3)),
        changes=(raised,) if chance.random() < 0.25 else (),
        ceilings=chance.choice((CEILINGS, CEILINGS, SHORT, IN_DOLLARS)),
    )
    boosting = random.Random(f"boosts {seed}")
    return with_boosts(boosting, made) if boosting.random() < 0.3 else made


def with_boosts(chance: random.Random, plan: Workload) -> Workload:
    """Give limits boosts that begin and end while callers are at work; sometimes one ends early, or comes meanwhile."""
    given = _boosted(chance, plan.ceilings)
    changes = tuple(_boosted(chance, one) if chance.random() < 0.5 else one for one in plan.changes)
    if chance.random() < 0.5:
        meanwhile = tuple(replace(one, boosts=one.boosts[1:]) for one in given)
        changes = (*changes, meanwhile if chance.random() < 0.5 else _boosted(chance, given))
    return replace(plan, kinds=(*plan.kinds, "brief"), ceilings=given, changes=changes)


def _boosted(chance: random.Random, ceilings: tuple[Ceiling, ...]) -> tuple[Ceiling, ...]:
    return tuple(
        replace(one, boosts=tuple(_boost(chance, one) for _ in range(chance.choice((0, 1, 2, 3))))) for one in ceilings
    )


def _boost(chance: random.Random, ceiling: Ceiling) -> Boosted:
    from_ms = EPOCH_MS + chance.choice((-1_000, 0, 2_000, 20_000))
    to_ms = from_ms + chance.choice((1, 1_500, 6_000, 30_000, 130_000, 500_000))
    if chance.random() < 0.5:
        return Boosted(from_ms, to_ms, permille=chance.choice((100, 500, 1_000)))
    return Boosted(from_ms, to_ms, amount=max(1, ceiling.maximum // chance.choice((1, 3))))


def without_boosts(plan: Workload) -> Workload:
    """Return the same workload with limits that stay as they are."""
    return replace(
        plan,
        ceilings=tuple(replace(one, boosts=()) for one in plan.ceilings),
        changes=tuple(tuple(replace(one, boosts=()) for one in ceilings) for ceilings in plan.changes),
    )
