"""What still has to happen after usage is recorded: judgements that would say something new, and events that wait.

The evaluator does not note that it found nothing new. So this asks the same pure judge: where it would announce
nothing, the evaluator has said all there is to say.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bedrock_meter.alerts.evaluator import TenantState
from bedrock_meter.limits.gauge import Gauge, late_buckets
from bedrock_meter.limits.levels import judge
from bedrock_meter.storage.dynamodb import Item, get_text
from bedrock_meter.storage.gauges import gauge_of
from bedrock_meter.storage.keys import GAUGE, STATE
from bedrock_meter.storage.outboxes import pending_of
from bedrock_meter.storage.states import state_of

LIFTED = "lifted"
"""Comes with time alone, at the next sweep: nothing to wait for."""


def read_quotas(dynamodb: Any, table: str) -> dict[str, dict[str, Item]]:
    """Return all items of the Quotas table by partition and sort key."""
    items: dict[str, dict[str, Item]] = defaultdict(dict)
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            items[get_text(item, "pk")][get_text(item, "sk")] = item
    return items


def outstanding(quotas: Mapping[str, Mapping[str, Item]], now_ms: int) -> list[str]:
    """Return what is still to come, one line each; empty when everything has settled."""
    found: list[str] = []
    for partition, items in quotas.items():
        waiting = sum(len(pending_of(item)) for item in items.values())
        if waiting:
            found.append(f"{waiting} events of {partition} wait to be published")
        if GAUGE in items:
            gauge = gauge_of(items[GAUGE])
            state = state_of(items[STATE]) if STATE in items else TenantState()
            if is_unjudged(gauge, state, now_ms):
                found.append(f"tenant {partition} is not evaluated yet")
    return found


def is_unjudged(gauge: Gauge, state: TenantState, now_ms: int) -> bool:
    """Whether the evaluator would announce something new about this gauge."""
    if late_buckets(gauge.layout, gauge.buckets):
        return True
    verdict = judge(gauge.layout, gauge.buckets, state.levels, now_ms)
    return any(transition.kind != LIFTED for transition in verdict.transitions)
