"""The rater that a running function uses: the book, and the operator's overrides as they were a minute ago at most.

A change of overrides without a day begins 70 s after it was made (``overrides.py``), so that no cached set is wrong
about it. A set that cannot be read is an error: a call that is rated without its overrides would look like one that has
none.
"""

from collections.abc import Callable
from typing import Protocol

from bedrock_meter.pricing.book import Book
from bedrock_meter.pricing.overrides import OverrideSet
from bedrock_meter.pricing.rating import Call, Rated, Rater

FRESH_FOR_MS = 60_000


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
        self._until_ms = 0

    def current(self) -> Rater:
        """Return the rater of this moment. Take it once for calls that belong together."""
        now_ms = self._clock()
        if self._rater is None or now_ms >= self._until_ms:
            found = self._store.read()
            if self._rater is None or found.version != self._held.version:
                self._rater, self._held = Rater(self._book, found), found
            self._until_ms = now_ms + self._fresh_for_ms
        return self._rater

    def rate(self, call: Call) -> Rated:
        """Return what a call cost."""
        return self.current().rate(call)
