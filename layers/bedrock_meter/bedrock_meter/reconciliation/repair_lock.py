"""The repair lock: of the commands that rewrite entries or sums, one works at a time.

Three facts. It is one item with an end, renewed while its holder works: who was killed needs nobody to clean up. The
holder looks before each write whether it still has it, with time to spare for that write, so that a process that stood
still for minutes stops instead of going on. Who only compares takes nothing, but reads before and after whether, and
how often, the lock was taken: a comparison that somebody rewrote under says nothing.

It guards comparisons, not counting: each write has a condition of its own, so that a clock that is wrong by minutes,
which can end a lock early, doubles and loses nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.clock import iso
from bedrock_meter.errors import RepairLost, RepairUnderWay

LOCK_MS = 120_000
"""After this long a holder that was killed is in nobody's way."""

RENEW_MS = LOCK_MS // 4
SPARE_MS = LOCK_MS // 4
"""What must be left of it before a write: longer than a request with all its repetitions lasts."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock.

    Attributes:
        id: Random, of this run.
        command: What it does, as it was typed.
        by: The caller's ARN.
        since_ms: When it began.
        expires_ms: First instant at which the lock is free, unless it is renewed.
    """

    id: str
    command: str
    by: str
    since_ms: int
    expires_ms: int

    def __str__(self) -> str:
        return (
            f"`{self.command}` of {self.by} has been at work since {iso(self.since_ms)} and holds the repair lock until"
            f" {iso(self.expires_ms)}"
        )


@dataclass(frozen=True, slots=True)
class LockState:
    """What the item says.

    Attributes:
        holder: Who took it last and has not given it back; it may have expired.
        taken: How often it was ever taken.
    """

    holder: Holder | None = None
    taken: int = 0


class RepairLockStore(Protocol):
    """The item."""

    def take(self, holder: Holder, now_ms: int) -> Holder | None:
        """Take the lock if it is free at ``now_ms`` or ``holder``'s already; returns who is in the way, or None."""

    def renew(self, holder: Holder, expires_ms: int) -> bool:
        """Move its end, provided that ``holder`` has it; False if somebody else took it, or nobody has it."""

    def release(self, holder: Holder) -> None:
        """Give it back; nothing happens if it is lost. Does not raise: it runs out by itself."""

    def state(self) -> LockState:
        """Read it consistently."""


class HeldLock:
    """A lock that we took."""

    def __init__(self, store: RepairLockStore, holder: Holder, clock: Callable[[], int]) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._expires_ms = holder.expires_ms
        self._is_lost = False

    def renew(self) -> None:
        """Move its end. What the store raises changes nothing: it is tried again, while it lasts."""
        expires_ms = self._clock() + LOCK_MS
        if self._store.renew(self._holder, expires_ms):
            self._expires_ms = expires_ms
        else:
            self._is_lost = True

    def check(self) -> None:
        """Make sure that there is time for a write. Costs no request.

        Raises:
            RepairLost: Somebody else took the lock, or it could not be renewed in time.
        """
        if self._is_lost or self._clock() + SPARE_MS > self._expires_ms:
            raise RepairLost(
                "the repair lock was lost: it could not be renewed in time, or somebody else took it. What was written"
                " is right; run the command again"
            )


class RepairLock:
    """Takes the lock, or watches it."""

    def __init__(
        self,
        store: RepairLockStore,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        renew_s: float = RENEW_MS / 1000,
    ) -> None:
        """Set up.

        Args:
            store: The item.
            clock: Current time in milliseconds.
            new_id: Makes ids of runs.
            renew_s: How often a held lock is renewed, in seconds of the wall clock.
        """
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._renew_s = renew_s

    @contextmanager
    def hold(self, command: str, by: str) -> Iterator[HeldLock]:
        """Hold the lock for the ``with`` block, renewed by a thread; it is given back at the end, whatever it is.

        Args:
            command: What is done, for whoever is refused meanwhile.
            by: By whom.

        Raises:
            RepairUnderWay: Somebody else has it.
        """
        now_ms = self._clock()
        holder = Holder(self._new_id(), command, by, now_ms, now_ms + LOCK_MS)
        other = self._store.take(holder, now_ms)
        if other is not None:
            raise RepairUnderWay(f"{other}: nothing was done; try again when it is through")
        held, is_over = HeldLock(self._store, holder, self._clock), threading.Event()
        renewing = threading.Thread(target=self._renew, args=(held, is_over), daemon=True)
        renewing.start()
        try:
            yield held
        finally:
            is_over.set()
            renewing.join()
            self._store.release(holder)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Make sure that nobody has the lock in the ``with`` block, without taking it.

        Raises:
            RepairUnderWay: Somebody has it, at the beginning or at the end, or has had it meanwhile.
        """
        before = self._free_state()
        yield
        if self._free_state().taken != before.taken:
            raise RepairUnderWay(
                "another command rewrote entries or sums meanwhile: what was compared says nothing; compare again"
            )

    def _free_state(self) -> LockState:
        state = self._store.state()
        if state.holder is not None and self._clock() < state.holder.expires_ms:
            raise RepairUnderWay(f"{state.holder}: sums cannot be compared meanwhile; try again when it is through")
        return state

    def _renew(self, held: HeldLock, is_over: threading.Event) -> None:
        while not is_over.wait(self._renew_s):
            with suppress(Exception):  # Tried again in a moment; ``check`` knows when it is too late.
                held.renew()
