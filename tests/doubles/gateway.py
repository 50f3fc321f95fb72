"""The quota API behind its gateway, in simulated time: many processes ask, and the gateway takes so many a second.

Nothing waits here and nothing depends on the machine: the clock is a number, arrivals and jitter come from one seed,
and one thread runs at a time. A guard that waits hands the loop on to another thread until its time has come.
"""

import heapq
import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any


class Simulation:
    """Work at instants, in order.

    Attributes:
        now: Seconds.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._waiting: list[tuple[float, int, Callable[[], None] | threading.Semaphore]] = []
        self._number = itertools.count()
        self._done = threading.Event()
        self._failure: BaseException | None = None

    def clock(self) -> float:
        return self.now

    def at(self, instant: float, work: Callable[[], None] | threading.Semaphore) -> None:
        """Do something at an instant."""
        heapq.heappush(self._waiting, (instant, next(self._number), work))

    def sleep(self, seconds: float) -> None:
        """Let others go on until so many seconds have passed."""
        gate = threading.Semaphore(0)
        self.at(self.now + seconds, gate)
        threading.Thread(target=self._loop, daemon=True).start()
        gate.acquire()

    def run(self) -> None:
        """Do everything that there is to do."""
        threading.Thread(target=self._loop, daemon=True).start()
        assert self._done.wait(300), "the simulation stands still"
        if self._failure is not None:
            raise self._failure

    def _loop(self) -> None:
        try:
            while self._waiting:
                self.now, _, work = heapq.heappop(self._waiting)
                if isinstance(work, threading.Semaphore):
                    work.release()  # whose thread goes on with this loop
                    return
                work()
        except BaseException as failure:  # noqa: BLE001 - for the thread that waits for the end
            self._failure = failure
        self._done.set()


class Gateway:
    """A token bucket in front of an API that gives each tenant so many calls and then denies.

    Attributes:
        most: Calls that the strict limit of each tenant has room for.
        requests: What came, by what became of it: ``taken`` or ``refused``.
        keys: How often each question came.
        held: Calls that were reserved, by tenant.
    """

    def __init__(self, simulation: Simulation, *, rate: float, burst: float, most: Mapping[str, int]) -> None:
        self._simulation = simulation
        self._rate, self._burst = rate, burst
        self._room, self._room_at = burst, 0.0
        self.most = most
        self.requests: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.held: Counter[str] = Counter()

    def send(self, request: Any) -> SimpleNamespace:
        """Answer as ``URLLib3Session.send`` does."""
        now = self._simulation.now
        self._room = min(self._burst, self._room + (now - self._room_at) * self._rate)
        self._room_at = now
        body = json.loads(request.body)
        self.keys[body.get("key", request.url)] += 1
        if self._room < 1:
            self.requests["refused"] += 1
            return _answer(429, {"message": "Too Many Requests"}, "application/json")
        self._room -= 1
        self.requests["taken"] += 1
        if request.url.endswith("/settlement"):
            return _answer(200, {}, "application/json")
        tenant = request.url.split("/")[-2]
        if self.held[tenant] >= self.most[tenant]:
            # Denied because of what is held: the guard remembers no such denial, and asks again and again.
            limit = {"name": "strict", "meter": "requests", "max": self.most[tenant], "used": 0, "remaining": 0}
            document = {"limit": limit, "requested": 1, "retry_after_seconds": 60, "fail": "closed"}
            return _answer(429, document, "application/problem+json")
        self.held[tenant] += 1
        profile = {"id": "a1c3m5e7k9q2", "arn": None}
        document = {"id": body["key"], "profile": profile, "metadata": {}, "degraded": False, "fail": "closed"}
        return _answer(201, document, "application/json")

    def close(self) -> None:
        """Nothing is kept here."""


def _answer(status: int, document: Mapping[str, Any], kind: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, content=json.dumps(document).encode(), headers={"Content-Type": kind})
