"""Prices that change while records are on their way."""

from collections.abc import Callable

from bedrock_meter.pricing.rating import Call, Rated
from tests.faults.schedules import Book

PRICES_CHANGE_MS = 20_000
LEARNED_AFTER_MS = 45_000


class ChangingPrices:
    """A price book that is a dearer one every 20 seconds, and learns the model of some profiles after a while.

    Its version says both: ``x3`` are prices three times the first ones, ``x3?`` those that do not know these profiles.
    """

    def __init__(self, clock: Callable[[], int], start_ms: int) -> None:
        self._clock = clock
        self._start_ms = start_ms

    def rate(self, call: Call) -> Rated:
        """Cost by counts, times the factor; none of a profile ``...x1`` that is not known yet."""
        passed_ms = max(0, self._clock() - self._start_ms)
        factor = 1 + passed_ms // PRICES_CHANGE_MS
        unlearned = "?" if passed_ms < LEARNED_AFTER_MS else ""
        is_unknown = unlearned and call.profile.endswith("x1")
        return Rated(None if is_unknown else _cost(call) * factor, f"x{factor}{unlearned}")


class DatedPrices:
    """A book that somebody rates anew by: prices of the event time, whenever they are asked for."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def rate(self, call: Call) -> Rated:
        """Cost by counts, times the factor of the call's time."""
        factor, since_ms, factor_since, knows_all = self._book
        cost = _cost(call) * (factor if call.event_ms < since_ms else factor_since)
        is_unknown = not knows_all and call.profile.endswith("x1")
        return Rated(None if is_unknown else cost, f"{factor}/{since_ms}/{factor_since}/{int(knows_all)}")


def _cost(call: Call) -> int:
    return call.tokens.input * 3 + call.tokens.output * 15 + call.tokens.cache_read + call.tokens.cache_write * 4
