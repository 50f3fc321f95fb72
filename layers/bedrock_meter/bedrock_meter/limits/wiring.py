"""Which parts talk to which where calls are reserved: behind a route, or in a caller's own process.

Tests build the same graph with their own client, clock and chance.
"""

import random
import secrets
from collections.abc import Callable
from typing import Any

from bedrock_meter import clock
from bedrock_meter.limits.costs import Costs, Rater
from bedrock_meter.limits.destination import Destinations
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.settings import Tables
from bedrock_meter.storage.reservations import DynamoDBReservationStore


def _new_id() -> str:
    return secrets.token_hex(16)


def reservations(
    dynamodb: Any,
    tables: Tables,
    *,
    now: Callable[[], int] = clock.now_ms,
    sleep_ms: Callable[[int], None] = clock.sleep_ms,
    uniform: Callable[[], float] = random.random,
    new_id: Callable[[], str] = _new_id,
    rater: Rater | None = None,
    region: str = "",
    destinations: Destinations | None = None,
) -> Reservations:
    """Return what reserves for callers; of the tables it needs Quotas only. Keep it: it remembers gauges.

    With a rater (``pricing/wiring.py``) and the Region of the calls, estimates need no cost of their own. With
    ``destinations`` (``tenants/selection.py``) callers' words are taken for the call.
    """
    store = DynamoDBReservationStore(dynamodb, tables)
    return Reservations(
        store,
        clock=now,
        sleep_ms=sleep_ms,
        uniform=uniform,
        new_id=new_id,
        costs=Costs(rater, region),
        destinations=destinations,
    )
