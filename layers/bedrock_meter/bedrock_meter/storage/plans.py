"""Plans and boosts as items of the Tenants table: limits as people write them, in JSON."""

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.meters import Meter
from bedrock_meter.settings import Tables
from bedrock_meter.storage.keys import PLANS, plan_key
from bedrock_meter.storage.versions import deleted, saved
from bedrock_meter.tenants.tenant import BoostGrant

if TYPE_CHECKING:  # the recorder has no use for what reads limits as people write them
    from bedrock_meter.tenants.plans import Plan


class PynamoDBPlans:
    """The plans of a ``TenantStore``; one partition, so that all of them are one query."""

    def __init__(self, tables: Tables) -> None:
        from bedrock_meter.storage.tables import PlanModel, bound

        self._plans = bound(PlanModel, tables.tenants)

    def plans(self) -> "tuple[Plan, ...]":
        """Read all plans, consistently."""
        from bedrock_meter.tenants.plans import Plan

        return tuple(
            Plan(one.name, tuple(json.loads(one.limits)), bool(one.is_default), int(one.revision))
            for one in self._plans.query(PLANS, consistent_read=True)
        )

    def put_plan(self, plan: "Plan", now_ms: int) -> bool:
        """Write a plan over that of ``plan.revision``; False if it changed meanwhile."""
        return saved(self._plan_item(plan, updated_ms=now_ms))

    def remove_plan(self, plan: "Plan") -> bool:
        """Take away the plan of ``plan.revision``; False if it changed meanwhile."""
        return deleted(self._plan_item(plan))

    def _plan_item(self, plan: "Plan", **more: Any) -> Any:
        limits = json.dumps(plan.limits, separators=(",", ":"))
        item = self._plans(
            PLANS, plan_key(plan.name), name=plan.name, limits=limits, is_default=plan.is_default, **more
        )
        if plan.revision:
            item.revision = plan.revision
        return item


def boosts_text(boosts: Sequence[BoostGrant]) -> str:
    """Return boosts as the item holds them."""
    rows = [[one.limit, *astuple(one.boost), one.reason, one.by, one.meter, one.ended_ms] for one in boosts]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def boosts_of(stored: str) -> tuple[BoostGrant, ...]:
    """Inverse of ``boosts_text``; what earlier versions wrote lacks the last two values."""
    return tuple(_boost(*row) for row in json.loads(stored))


def _boost(
    limit: str,
    from_ms: int,
    to_ms: int,
    amount: int,
    permille: int,
    reason: str,
    by: str,
    meter: str | None = None,
    ended_ms: int | None = None,
) -> BoostGrant:
    added = Boost(from_ms, to_ms, amount, permille)
    return BoostGrant(limit, added, reason, by, None if meter is None else Meter(meter), ended_ms)
