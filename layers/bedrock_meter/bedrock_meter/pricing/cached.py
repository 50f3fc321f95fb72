"""The rater that a running function uses: the book, and the operator's overrides as they were a minute ago at most.

A change of overrides without a day begins 70 s after it was made (``overrides.py``), so that no cached set is wrong
about it: a call that is dated more than a minute after the set was read is rated by one that is a second old at most. A
set that cannot be read is an error: a call that is rated without its overrides would look like one that has none.
"""

from collections.abc import Callable
from typing import Protocol

from bedrock_meter.pricing.book import Book
from bedrock_meter.pricing.overrides import OverrideSet
from bedrock_meter.pricing.rating import Call, Rated, Rater

FRESH_FOR_MS = 60_000
FRESH_FOR_DATED_AHEAD_MS = 1_000
"""So that a log whose clock is ahead costs a read a second, and not one a call."""


class OverrideStore(Protocol):
    """Where overrides are kept."""

    def read(self) -> OverrideSet:
        """Read the present set, consistently; the empty set of version 0 if there never was one."""


class CachedRater:
    """Rates calls; asks the store once a minute at most."""

    def __init__(
        self, store: OverrideStore, book: Book, *, clock: Callable[[], int], fresh_for_ms: int = FRESH_FOR_MS
    ) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._fresh_for_ms = fresh_for_ms
        self._rater: Rater | None = None
        self._held = OverrideSet()
        self._read_ms = 0

    def current(self) -> Rater:
        """Return the rater of this moment. Take it once for calls that belong together."""
        return self._for(0)

    def rate(self, call: Call) -> Rated:
        """Return what a call cost."""
        return self._for(call.event_ms).rate(call)

    def _for(self, event_ms: int) -> Rater:
        """Return the rater of this moment that may decide about this event time."""
        now_ms = self._clock()
        age_ms = now_ms - self._read_ms
        is_ahead = event_ms - self._read_ms >= self._fresh_for_ms
        fresh_for_ms = min(self._fresh_for_ms, FRESH_FOR_DATED_AHEAD_MS) if is_ahead else self._fresh_for_ms
        if self._rater is None or not 0 <= age_ms < fresh_for_ms:
            found = self._store.read()
            if self._rater is None or found.version != self._held.version:
                self._rater, self._held = Rater(self._book, found), found
            self._read_ms = now_ms
        return self._rater
