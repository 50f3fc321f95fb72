"""``make faults``: schedules, crash matrix, wrong designs, drills: resumable, bounded, red if anything is not exact.

``SEEDS`` (1,000) schedules from seed ``FROM`` (0) on, over all processors. What is done is remembered in
``.local/faults.json`` under the content of the code that decides a schedule, so that an interrupted long run goes on
where it was. Everything else takes a few minutes and is run each time.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults import canary, contention, drill, matrix, storm
from tests.faults.mutants import MUTANTS
from tests.faults.running import GENERIC_SEEDS, Death, Verdict, death, verdict
from tests.faults.seeds import make
from tests.faults.wire import isolate

DELIVERY_EVERY_MS = 10_000
"""In the outage drill."""

STORM_TENANTS = 10_000
STATE = Path(".local/faults.json")
CHUNK = 20
_SHOWN = 10


DECIDES = (
    "belief",
    "designs",
    "dynamodb",
    "environments",
    "evaluation",
    "expressions",
    "faults",
    "installed",
    "naive",
    "operator",
    "oracle",
    "prices",
    "ratings",
    "running",
    "scheduler",
    "schedules",
    "seeds",
    "simulation",
    "table",
    "values",
    "wire",
    "world",
)
"""Modules of the simulator that decide how a schedule ends; the rest of it only asks."""


def _fingerprint() -> str:
    digest = hashlib.sha256()
    product = Path("layers/bedrock_meter/bedrock_meter").rglob("*.py")
    simulator = [Path("tests/doubles/failures.py"), *(Path(f"tests/faults/{name}.py") for name in DECIDES)]
    for file in sorted([*product, *simulator]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _load() -> dict[str, Any]:
    fresh: dict[str, Any] = {"code": _fingerprint(), "done": {}, "failed": {}}
    if not STATE.exists():
        return fresh
    held: dict[str, Any] = json.loads(STATE.read_text())
    return held if held.get("code") == fresh["code"] else fresh


def _save(state: dict[str, Any]) -> None:
    STATE.parent.mkdir(exist_ok=True)
    part = STATE.with_suffix(".part")
    part.write_text(json.dumps(state))
    part.replace(STATE)


def _chunk(seeds: tuple[int, ...]) -> dict[str, Verdict]:
    isolate()
    found: dict[str, Verdict] = {}
    for seed in seeds:
        try:
            found[str(seed)] = verdict(make(seed))
        except Exception as problem:  # noqa: BLE001 - a finding too: the seed tells which schedule shows it
            found[str(seed)] = Verdict((f"it ended with {problem!r}",))
    return found


def killed(number: int) -> Death | None:
    """Return how a wrong design dies; runs in a process of its own."""
    isolate()
    return death(MUTANTS[number])


def _cell(planned: tuple[int, str, str]) -> matrix.Cell:
    isolate()
    return matrix.run(planned)


def _chunks(seeds: list[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds), CHUNK):
        yield tuple(seeds[start : start + CHUNK])


def schedules(pool: ProcessPoolExecutor, first: int, count: int) -> bool:
    """Run the schedules that are not done yet; prints how many were exact, and what rebuilding all of them found."""
    state = _load()
    done = state["done"]
    wanted = [seed for seed in range(first, first + count) if str(seed) not in done]
    began, finished = time.monotonic(), 0
    chunks = list(_chunks(wanted))
    for chunk, found in zip(chunks, pool.map(_chunk, chunks), strict=True):
        done |= {seed: [one.rows, one.limits, one.differing] for seed, one in found.items()}
        state["failed"] |= {seed: one.findings for seed, one in found.items() if one.findings}
        _save(state)
        finished += len(chunk)
        rate = finished / (time.monotonic() - began)
        if sys.stderr.isatty():
            print(f"\r{finished}/{len(wanted)} schedules, {rate:.0f}/s", end="", file=sys.stderr, flush=True)
    failed = {int(seed): why for seed, why in state["failed"].items() if first <= int(seed) < first + count}
    rate_shown = f", {finished / (time.monotonic() - began):.1f} a second" if finished else ", all done before"
    print(f"schedules: {count - len(failed)} of {count} exact, from seed {first}{rate_shown}")
    for seed, problems in sorted(failed.items())[:_SHOWN]:
        print(f"  seed {seed}: {problems[0]}")
    rows, limits, differing = map(sum, zip(*(done[str(seed)] for seed in range(first, first + count)), strict=True))
    print(
        f"rebuild: {rows} roll-ups and {limits} limits of these histories made anew, {differing} differ from the live"
    )
    return not failed


def crash_matrix(pool: ProcessPoolExecutor) -> bool:
    """Run the matrix; prints its size and what is wrong."""
    calls, _ = matrix.undisturbed()
    cells = list(pool.map(_cell, matrix.plan(), chunksize=CHUNK))
    wrong = [cell for cell in cells if cell.findings]
    print(f"crash matrix: {len(calls)} calls, {len(cells)} cells, {len(cells) - len(wrong)} exact")
    for cell in wrong[:_SHOWN]:
        print(f"  call {cell.at} {cell.call} {cell.disturbance}: {cell.findings[0]}")
    return not wrong


def mutants(pool: ProcessPoolExecutor) -> bool:
    """Run each wrong design until it dies; prints the seeds."""
    alive = 0
    print(f"mutants: each must die within {GENERIC_SEEDS} seeds")
    for mutant, ended in zip(MUTANTS, pool.map(killed, range(len(MUTANTS))), strict=True):
        alive += ended is None
        verdict = "ALIVE" if ended is None else f"seed {ended.seed:<4} {ended.finding}"
        print(f"  {mutant.name:<46} {verdict}"[:150])
    print(f"mutants: {len(MUTANTS) - alive} of {len(MUTANTS)} killed")
    return alive == 0


def _drilled() -> drill.Drilled:
    isolate()
    return drill.drill(DELIVERY_EVERY_MS)


def _weathered() -> storm.Weathered:
    isolate()
    return storm.weather(STORM_TENANTS)


def _contended(rate: int) -> contention.Outcome:
    isolate()
    return contention.measure(rate)


def outage(drilled: drill.Drilled) -> bool:
    """Print how the outage drill ended."""
    print(
        f"outage drill: DynamoDB out for {drill.OUTAGE_MS // 3_600_000} h, {drilled.records} calls, "
        f"{drilled.given_up} deliveries given up and redriven {drill.REDRIVES} times: {drilled.lost} lost, "
        f"{drilled.doubled} doubled, drained {drilled.drained_ms / 1000:.0f} s after the end of the outage"
    )
    for finding in drilled.findings[:_SHOWN]:
        print(f"  {finding}")
    return not (drilled.findings or drilled.lost or drilled.doubled)


def crossings(weathered: storm.Weathered) -> bool:
    """Print how the storm ended."""
    print(
        f"storm: the limits of {STORM_TENANTS} tenants crossed at once, a bus of {storm.BUS_RATE} requests a second: "
        f"{weathered.ids} of {weathered.expected} events came, {weathered.copies - weathered.ids} twice, "
        f"{weathered.mixed} ids of two events, {weathered.waiting} left, {weathered.refused} requests refused, "
        f"the last after {weathered.lasted_ms / 1000:.0f} s"
    )
    return weathered.is_exact


def searched(found: canary.Searched) -> bool:
    """Print where the canary was looked for."""
    places = ", ".join(f"{hits} of {size} {place}" for place, (size, hits) in found.places.items())
    print(
        f"canary: in {places}; in {found.kept[1]} of {found.kept[0]} objects of the failure store; "
        f"{found.counted} of {found.good} sound records counted among the poison"
    )
    for problem in found.problems:
        print(f"  {problem}")
    return not found.problems


def main() -> int:
    """Run everything; 0 if all is exact and every mutant is dead."""
    first, count = int(os.environ.get("FROM", "0")), int(os.environ.get("SEEDS", "1000"))
    isolate()
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        good = [schedules(pool, first, count)]
        storming, drilling = pool.submit(_weathered), pool.submit(_drilled)
        good += [crash_matrix(pool), mutants(pool), outage(drilling.result()), crossings(storming.result())]
        good.append(contention.table(dict(zip(contention.RATES, pool.map(_contended, contention.RATES), strict=True))))
        good.append(searched(canary.search()))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
