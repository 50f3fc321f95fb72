"""Workers that take turns: real threads, of which exactly one runs, handing over a baton at every AWS call.

The decision: threads, because the code under test is plain blocking code and must not know that it is interleaved;
a baton, because then a seed decides every interleaving and the same seed shows the same one again. Time is simulated:
it moves by what calls cost and jumps when everybody sleeps.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_STEPS = 200_000
_STUCK_S = 120


class Killed(BaseException):
    """The worker's process is gone; nothing in the code under test catches this."""


class Livelock(AssertionError):
    """The workers go on for ever."""


class _Abandoned(BaseException):
    """Another worker has found an error; everybody stops."""


@dataclass
class Worker:
    """One thread that takes turns.

    Attributes:
        wake_ms: It does not run before.
        skew_ms: How far its clock is ahead.
        deadline_ms: Its process is killed then; None = never.
        is_background: It only follows what others do.
    """

    name: str
    work: Callable[[], None]
    wake_ms: int
    skew_ms: int = 0
    deadline_ms: int | None = None
    baton: threading.Lock = field(default_factory=threading.Lock)
    is_background: bool = False


class Scheduler:
    """Interleaves workers under a seed.

    Attributes:
        now_ms: Simulated time.
        current: The worker whose turn it is; None outside of ``run``.
        stickiness: How often a worker goes on although others could.
    """

    def __init__(self, chance: random.Random, now_ms: int) -> None:
        self.now_ms = now_ms
        self.current: Worker | None = None
        self.stickiness = 0.4
        self.steps = 0
        self._chance = chance
        self._workers: list[Worker] = []
        self._failure: BaseException | None = None
        self._finished = threading.Lock()

    def add(self, worker: Worker) -> Worker:
        """Let a worker take part."""
        worker.baton.acquire()
        self._workers.append(worker)
        return worker

    def clock(self) -> int:
        """Return the time as the current worker's machine shows it."""
        return self.now_ms + (self.current.skew_ms if self.current else 0)

    def pause(self, most_ms: int = 0) -> None:
        """Spend up to ``most_ms`` and give everybody else a chance; the process may end meanwhile."""
        if most_ms:
            self.now_ms += self._chance.randrange(most_ms + 1)
        worker = self.current
        if worker is None:
            return
        if self._chance.random() >= self.stickiness:
            self._turn(worker)
        if worker.deadline_ms is not None and self.now_ms >= worker.deadline_ms:
            raise Killed

    def sleep(self, duration_ms: int) -> None:
        """Let the current worker sleep."""
        worker = self.current
        if worker is None:
            self.now_ms += duration_ms
            return
        worker.wake_ms = self.now_ms + max(1, duration_ms)
        self._turn(worker)

    def next_wake_ms(self) -> int | None:
        """Return when the next worker that is no background does something; None if they are all done."""
        wakes = [one.wake_ms for one in self._workers if not one.is_background]
        return max(self.now_ms, min(wakes)) if wakes else None

    def run(self) -> None:
        """Run all workers to their ends.

        Raises:
            Exception: The first that a worker ended with.
        """
        threads = [threading.Thread(target=self._body, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        self._finished.acquire()
        if self._workers:
            self._hand_over(self._pick())
            steps = -1
            while not self._finished.acquire(timeout=_STUCK_S):
                if steps == self.steps:
                    raise Livelock("no worker has given the baton back")
                steps = self.steps
        self._finished.release()
        for thread in threads:
            thread.join()
        self.current = None
        if self._failure is not None:
            raise self._failure

    def _body(self, worker: Worker) -> None:
        worker.baton.acquire()
        try:
            if self._failure is None:
                worker.work()
        except _Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised again by ``run``
            self._failure = self._failure or failure
        self._workers.remove(worker)
        if self._workers:
            self._hand_over(self._pick())
        else:
            self._finished.release()

    def _pick(self) -> Worker:
        ready = [worker for worker in self._workers if worker.wake_ms <= self.now_ms]
        if not ready:
            self.now_ms = min(worker.wake_ms for worker in self._workers)
            ready = [worker for worker in self._workers if worker.wake_ms <= self.now_ms]
        return ready[0] if len(ready) == 1 else self._chance.choice(ready)

    def _turn(self, worker: Worker) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Livelock(f"{self.steps} turns")
        chosen = self._pick()
        if chosen is not worker:
            self._hand_over(chosen)
            worker.baton.acquire()
        self.current = worker
        if self._failure is not None:
            raise _Abandoned

    def _hand_over(self, worker: Worker) -> None:
        self.current = worker
        worker.baton.release()
