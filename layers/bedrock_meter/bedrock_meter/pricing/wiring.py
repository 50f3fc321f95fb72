"""The rater of a deployed stack. Without a stack, ``Rater(load_book())`` is all there is to it."""

from collections.abc import Callable
from typing import Any

from bedrock_meter import clock
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.cached import CachedRater
from bedrock_meter.settings import Tables
from bedrock_meter.storage.prices import DynamoDBOverrideStore


def rater_for(dynamodb: Any, tables: Tables, now: Callable[[], int] = clock.now_ms) -> CachedRater:
    """Return a rater with the overrides of these tables; nothing is read before the first call."""
    return CachedRater(DynamoDBOverrideStore(dynamodb, tables), load_book(), clock=now)
