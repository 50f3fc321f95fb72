"""One hot tenant: what its transactions do to each other and to everybody else, under the double's conflict rules.

Batches arrive at a steady rate, each with records of the hot tenant and of a quiet one. Unlike in the schedules, calls
really overlap here: each takes its own time, and a transaction holds its items while it lasts. How long that is on AWS
only AWS can tell; ``HOLD_MS`` is an assumption, stated with the result. ``python -m tests.faults.contention`` prints.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from bedrock_meter.errors import DeliverAgain
from bedrock_meter.usage.ingestion import Ingested
from tests.faults.environments import FUNCTION_MS
from tests.faults.faults import NoFaults
from tests.faults.scheduler import Worker
from tests.faults.schedules import EPOCH_MS, Ceiling, Line, Schedule
from tests.faults.simulation import Simulation
from tests.faults.table import Write
from tests.faults.wire import isolate
from tests.faults.world import World, simulated_sleep, subscription_event

RATES = (20, 111, 400)
CEILING = 111
"""Transactions a second of one tenant up to which the direct mode is documented: nothing is given up."""

HOLD_MS = 6
LENGTH_MS = 5_000
CONCURRENCY = 100
QUIET = 100
"""Quiet tenants; each batch holds a record of the hot tenant and of one of them."""


class Overlapping(World):
    """A world in which calls overlap."""

    hold_ms = HOLD_MS

    def _pause(self) -> None:
        if self.scheduler.current is not None:
            self.scheduler.sleep(1 + self.chance.randrange(2 * self.hold_ms - 1))


@dataclass
class Outcome:
    """What became of the batches.

    Attributes:
        tries: Transactions that each batch took, given-up ones too.
        given_up: Batches that ran out of time and would be delivered again.
        quiet_ms: How long the quiet tenant's record took, by batch.
        hot_ms: The same for all of the batch.
    """

    batches: int = 0
    conflicts: int = 0
    given_up: int = 0
    tries: list[int] = field(default_factory=list)
    hot_ms: list[int] = field(default_factory=list)
    quiet_ms: list[int] = field(default_factory=list)


def _line(call: str, profile: str) -> Line:
    return Line(call, call, profile, EPOCH_MS, (10, 5, 0, 0))


def measure(rate: int, *, length_ms: int = LENGTH_MS) -> Outcome:
    """Send ``rate`` batches a second for a while."""
    quiet_tenants = {f"quiet{at}": (f"quietprofile{at}",) for at in range(QUIET)}
    schedule = Schedule(
        seed=0,
        start_ms=EPOCH_MS,
        zone="UTC",
        tenants={"hot": ("hotprofile",), **quiet_tenants},
        limits={tenant: (Ceiling("total_tokens", "1h", 10**9),) for tenant in ("hot", *quiet_tenants)},
        deliveries=(),
    )
    world = Overlapping(schedule, NoFaults())
    simulation = Simulation(schedule, within=world)
    world.scheduler.stickiness = 0.0
    outcome = Outcome(batches=rate * length_ms // 1000)
    arrivals = [EPOCH_MS + at * length_ms // outcome.batches for at in range(outcome.batches)]
    quiet: dict[str, int] = {}

    def note(write: Write) -> None:
        quiet.setdefault(write.key[0], write.at_ms)

    world.double.observers.append(note)
    waiting = list(enumerate(arrivals))

    def work() -> None:
        meter = simulation.environments.ingestion()
        while waiting:
            number, at_ms = waiting.pop(0)
            world.scheduler.sleep(max(1, at_ms - world.scheduler.now_ms))
            began_ms = world.scheduler.now_ms
            report = Ingested()
            hot = [_line(f"h{number}-{no}", "hotprofile") for no in range(3)]
            lines = (*hot, _line(f"q{number}", f"quietprofile{number % QUIET}"))
            try:
                meter.ingest(subscription_event(lines), report, Remaining(world, began_ms))
                outcome.hot_ms.append(world.scheduler.now_ms - began_ms)
            except DeliverAgain:
                outcome.given_up += 1
            outcome.tries.append(report.usage.transactions)
            outcome.conflicts += report.usage.conflicts
            seen_ms = quiet.get(f"123456789012#us-east-1#q{number}")
            if seen_ms is not None:
                outcome.quiet_ms.append(seen_ms - began_ms)

    with simulated_sleep(world.scheduler.sleep):
        for number in range(CONCURRENCY):
            world.scheduler.add(Worker(f"recorder {number}", work, EPOCH_MS))
        world.scheduler.run()
    return outcome


@dataclass(frozen=True)
class Remaining:
    """What is left of a function's time."""

    world: World
    began_ms: int

    def __call__(self) -> int:
        return FUNCTION_MS - (self.world.scheduler.now_ms - self.began_ms)


def percentile(values: list[int], percent: int) -> int:
    """Return the value that ``percent`` of the values do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else 0


def table(found: Mapping[int, Outcome]) -> bool:
    """Print what was measured, by rate; False if something was given up at or below the ceiling."""
    print(
        f"contention: batches of one hot tenant and a quiet one, up to {CONCURRENCY} at once; a transaction holds its "
        f"items for {HOLD_MS} ms on average (assumed)"
    )
    print("  rate/s  batches  conflicts  given up  p99 tries  p50/p99 ms hot  p50/p99 ms quiet")
    for rate, one in found.items():
        hot = f"{percentile(one.hot_ms, 50)}/{percentile(one.hot_ms, 99)}"
        quiet = f"{percentile(one.quiet_ms, 50)}/{percentile(one.quiet_ms, 99)}"
        print(
            f"  {rate:>6}  {one.batches:>7}  {one.conflicts:>9}  {one.given_up:>8}  {percentile(one.tries, 99):>9}  "
            f"{hot:>14}  {quiet:>16}"
        )
    given_up = sum(one.given_up for rate, one in found.items() if rate <= CEILING)
    print(f"contention: {given_up} given up inside the documented range of {CEILING} transactions a second")
    return given_up == 0


def main() -> int:
    """Measure, and print the table."""
    isolate()
    return 0 if table({rate: measure(rate) for rate in RATES}) else 1


if __name__ == "__main__":
    sys.exit(main())
