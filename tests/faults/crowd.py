"""A crowd at one limit: what a thousand callers spend, and what those who fit pay for those who do not.

Callers share a few processes, as they do in production; recorders write all the time. ``make theorem`` prints.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.errors import Contended
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.money import NANO, usd_text
from bedrock_meter.pricing.rating import Call, Rated
from tests.faults.contention import percentile
from tests.faults.faults import NoFaults
from tests.faults.reservations import Market
from tests.faults.scheduler import Scheduler
from tests.faults.schedules import Ceiling
from tests.faults.theorem import Theorem
from tests.faults.wire import isolate
from tests.faults.workloads import Workload

LIMIT = 5_000_000
MOST = 20_000
CALLERS = 1_000
DOLLARS = 5 * NANO
NANO_USD_PER_TOKEN = 1_000
"""A dollar for a million tokens: the maximum of a call is two cents."""

PROCESSES = 20
_TURNS = 2_000


class SteadyPrices:
    """A price for each token of input, whatever the model."""

    def rate(self, call: Call) -> Rated:
        """Return what a call costs."""
        return Rated(call.tokens.input * NANO_USD_PER_TOKEN, "steady")


class _Counted:
    """A client that counts requests by worker."""

    def __init__(self, client: Any, scheduler: Scheduler) -> None:
        self._client, self._scheduler = client, scheduler
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            worker = self._scheduler.current
            self.requests[worker.name if worker else ""] += 1
            return real(**request)

        return call


@dataclass
class Crowd(Market):
    """Callers who reserve their maximum until nothing is left, and others who want more than there is.

    Attributes:
        greedy: How many callers ask for what never fits, again and again.
        spent: What admitted calls used.
        requests: Requests to DynamoDB that each admitted reservation took, denials before it included.
    """

    greedy: int = 0
    most: int = MOST
    spent: int = 0
    admitted: int = 0
    contended: int = 0
    requests: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._simulation.environments.prices = SteadyPrices()
        self._shared = [self._process() for _ in range(PROCESSES)]

    @property
    def cost_nano_usd(self) -> int:
        """What the ledger says that all calls cost."""
        return sum(int(item["cost_nano_usd"]["N"]) for item in self.world.rows("ledger").values())

    def _process(self) -> tuple[Reservations, _Counted]:
        counted = _Counted(self.world.client("dynamodb"), self.world.scheduler)
        made = self.process()
        made._store._client = counted  # type: ignore[attr-defined]
        return made, counted

    def _until_done(self, number: int) -> Callable[[], None]:
        def work() -> None:
            is_greedy = number < self.greedy
            for call in range(1 if is_greedy else self.workload.calls):
                self._ask(number, f"{number}-{call}", is_greedy=is_greedy)
            self._busy -= 1

        return work

    def _ask(self, number: int, key: str, *, is_greedy: bool) -> None:
        process, counted = self._shared[number % PROCESSES]
        amount = LIMIT if is_greedy else self.most
        taken = 0
        for turn in range(_TURNS):
            if is_greedy:
                if self._busy <= self.greedy:
                    return
                if self.admitted:  # It looks at the tables each time, and there is never enough.
                    self._reserve_once(self.process(), amount, f"{key}-{turn}")
                self.world.scheduler.sleep(self.chance.randrange(10, 400))
                continue
            before = counted.requests[f"caller {number}"]
            held, is_final = self._reserve_once(process, amount, f"{key}-{turn}")
            taken += counted.requests[f"caller {number}"] - before
            if held is not None:
                self.admitted += 1
                self.requests.append(taken)
                self.world.scheduler.sleep(self.chance.randrange(1, 3_000))
                used = self.chance.randrange(1, amount + 1)
                self.spent += used
                self.log("acme", held.id, used)
                return
            if is_final:
                return
            self.world.scheduler.sleep(self.chance.randrange(100, 4_000))

    def _reserve_once(self, process: Reservations, amount: int, key: str) -> tuple[Reservation | None, bool]:
        estimate = Estimate(input_tokens=amount)
        try:
            answer = process.reserve("acme", estimate, key=key, is_first=True)
        except Contended:
            self.contended += 1
            return None, False
        return answer.reservation, answer.decision is not None and answer.decision.by_used


def plan(callers: int, calls: int, lags_ms: tuple[int, ...], ceiling: int) -> Workload:
    """A workload of one kind, without faults."""
    return plan_under(Ceiling("total_tokens", "1d", ceiling, hard=True), callers, calls, lags_ms)


def plan_under(ceiling: Ceiling, callers: int, calls: int, lags_ms: tuple[int, ...]) -> Workload:
    """The same under any limit."""
    ceilings = (ceiling,)
    return Workload(0, callers, calls, ("plain",), lags_ms, 0.0, 0, ceilings=ceilings)


def spend(callers: int = CALLERS) -> tuple[Crowd, Theorem]:
    """Let a crowd spend one limit of tokens; callers over and over, until nothing fits any more."""
    return _spent(plan(callers, 1, (2_000, 15_000), LIMIT))


def spend_dollars(callers: int = CALLERS) -> tuple[Crowd, Theorem]:
    """The same with five dollars; callers estimate tokens, which are rated before the call and after it."""
    return _spent(plan_under(Ceiling("cost_usd", "1d", DOLLARS, hard=True), callers, 1, (2_000, 15_000)))


def _spent(workload: Workload) -> tuple[Crowd, Theorem]:
    crowd = Crowd(workload, wrong=NoFaults())
    theorem = Theorem(crowd)
    crowd.run()
    theorem.finish()
    return crowd, theorem


def fairness(greedy: int, callers: int = 20, calls: int = 10) -> Crowd:
    """Callers who fit, beside ``greedy`` ones who never do, while recorders write all the time."""
    crowd = Crowd(plan(callers + greedy, calls, (100, 1_000), LIMIT), wrong=NoFaults(), greedy=greedy, most=100)
    crowd.run()
    return crowd


def main() -> bool:
    """Print both; whether the limit held and nobody was starved."""
    crowd, theorem = spend()
    print(f"{CALLERS} callers who reserve their maximum of {MOST} each: {crowd.admitted} admitted")
    print(f"  spent {crowd.spent} of {LIMIT}; used + reserved after a hold at most {theorem.closest:.1f} %")
    good = crowd.spent <= LIMIT and not theorem.findings
    crowd, theorem = spend_dollars()
    most, spent = usd_text(MOST * NANO_USD_PER_TOKEN), usd_text(crowd.cost_nano_usd)
    print(f"{CALLERS} callers who reserve their maximum of ${most} each: {crowd.admitted} admitted")
    print(f"  spent ${spent} of ${usd_text(DOLLARS)}; used + reserved after a hold at most {theorem.closest:.1f} %")
    good = good and crowd.cost_nano_usd <= DOLLARS and not theorem.findings
    print("requests for a reservation that fits, beside callers who do not fit (median, 99 %, most):")
    for greedy in (0, 20, 60):
        calm = fairness(greedy)
        shown = ", ".join(
            str(value) for value in (percentile(calm.requests, 50), percentile(calm.requests, 99), max(calm.requests))
        )
        print(f"  {greedy:>3} greedy callers: {shown}; {calm.admitted} admitted, {calm.contended} gave up")
        good = good and calm.admitted == 200
    return good


if __name__ == "__main__":
    isolate()
    sys.exit(0 if main() else 1)
