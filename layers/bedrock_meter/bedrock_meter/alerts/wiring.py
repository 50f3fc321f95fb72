"""Which parts talk to which in ``evaluate_quotas`` and ``sweep``.

Tests build the same graph with their own clients and clock.
"""

from collections.abc import Callable
from typing import Any

from bedrock_meter import clock
from bedrock_meter.alerts.evaluator import Evaluator
from bedrock_meter.alerts.publisher import EventBridgeBus
from bedrock_meter.alerts.review import Review
from bedrock_meter.alerts.sweep import Worklist
from bedrock_meter.settings import Tables
from bedrock_meter.storage.keys import GAUGE
from bedrock_meter.storage.outboxes import DynamoDBOutboxStore, is_outbox
from bedrock_meter.storage.states import DynamoDBEvaluationStore


def worklist(
    dynamodb: Any, events: Callable[[], Any], tables: Tables, bus_name: str, *, now: Callable[[], int] = clock.now_ms
) -> Worklist:
    """Return the list that both functions work through; ``events`` makes the EventBridge client when it is needed."""
    bus = EventBridgeBus(events, bus_name)
    evaluator = Evaluator(DynamoDBEvaluationStore(dynamodb, tables), bus, clock=now)
    return Worklist(evaluator, DynamoDBOutboxStore(dynamodb, tables), bus, is_outbox=is_outbox, clock=now)


def review(dynamodb: Any, judging: Worklist, tables: Tables, *, now: Callable[[], int] = clock.now_ms) -> Review:
    """Return what looks, part by part, for tenants that nobody judged, and gives them to ``judging``."""
    return Review(DynamoDBEvaluationStore(dynamodb, tables), judging, gauge_key=GAUGE, clock=now)
