"""What reserving costs: requests, capacity units and client CPU, at 0, 50 and 500 open reservations.

As in ``capacity``: identifiers of maximum length, three limits, every bucket full of twelve-digit sums. Side by side
with zae-limiter on the same backend. The log settles a reservation inside the recorder's transaction; what it adds
there is measured per record of a batch. *Held only* is what a signed id instead of an item would still need (ADR 0023).
"""

import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bedrock_meter import clock
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits import wiring
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import read
from bedrock_meter.limits.holding import Hold
from bedrock_meter.limits.reservations import (
    LONGEST_LIFETIME_MS,
    Reservation,
    admitting_charges,
    charged_for,
    decide,
)
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.project import find_project
from bedrock_meter.local.server import serving
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import dynamodb, gauges
from bedrock_meter.storage.dynamodb import Item, text
from bedrock_meter.storage.keys import GAUGE
from bedrock_meter.storage.reservations import DynamoDBReservationStore
from bedrock_meter.usage.recorder import Recorded
from bedrock_meter.usage.wiring import ingestion
from tests.bench.capacity import FULL, Counting, invocation, item_size, longest, prepare
from tests.contract.conftest import make_tables

NOW_MS = clock.now_ms()
"""The machine's own time, because the backend forgets what has expired."""

OPEN = (0, 50, 500)
CALLS = 100
ROUNDS = 5
RECORDS = 40
ESTIMATE = Estimate(input_tokens=64_000)
USED = {"input_tokens": 12_345}
PEER = Path(".venv-peer/bin/python")
TENANT = longest("tenant", 0, 64)
TARGETS = {"reserve": (2, 2.0), "status": (1, 0.0), "denied, remembered": (0, 0.0)}
"""Requests and write units to reach at most."""


class Priced:
    """Counts requests and capacity units of single requests and transactions, by the items before and after them."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests = 0
        self.write_units = 0.0
        self.read_units = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(**request: Any) -> Any:
            self.requests += 1
            if name == "transact_write_items":
                parts, factor = [one["Update"] for one in request["TransactItems"]], 2
            else:
                parts, factor = [request], 1
            if name == "batch_get_item":
                keys = [key for one in request["RequestItems"].values() for key in one["Keys"]]
                (table,) = request["RequestItems"]
                self.read_units += sum(max(1, -(-self._size(table, key) // 4096)) for key in keys)
                return real(**request)
            targets = [(one["TableName"], one.get("Key") or _key(one["Item"])) for one in parts]
            before = [self._size(*target) for target in targets]
            if name == "get_item":
                self.read_units += max(1, -(-before[0] // 4096))
                return real(**request)
            answer = real(**request)
            for target, size in zip(targets, before, strict=True):
                self.write_units += factor * max(1, -(-max(size, self._size(*target)) // 1024))
            return answer

        return call

    def _size(self, table: str, key: Item) -> int:
        return item_size(self._client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def _key(item: Item) -> Item:
    return {"pk": item["pk"], "sk": item["sk"]}


def reservations(client: Any, tables: Tables) -> Reservations:
    """A caller's process."""
    return wiring.reservations(client, tables, now=lambda: NOW_MS)


def made(process: Reservations, lifetime_ms: int = 600_000) -> Reservation:
    """Reserve, which must succeed."""
    reservation = process.reserve(TENANT, ESTIMATE, lifetime_ms=lifetime_ms).reservation
    assert reservation is not None
    return reservation


@dataclass
class Scene:
    """A tenant with full buckets and some open reservations."""

    client: Any
    tables: Tables

    @property
    def gauge_bytes(self) -> int:
        """Size of the gauge: a write unit for each started 1,024."""
        key = {"pk": text(TENANT), "sk": text(GAUGE)}
        answer = self.client.get_item(TableName=self.tables.quotas, Key=key, ConsistentRead=True)
        return item_size(answer["Item"])

    def operations(self, client: Any) -> dict[str, Callable[[], object]]:
        """What is measured; each is warm, as a process that serves a tenant is."""
        warm, remembers = reservations(client, self.tables), reservations(client, self.tables)
        store = DynamoDBReservationStore(client, self.tables)
        too_much = Estimate(input_tokens=FULL * 100)

        def settled() -> None:
            reservation = made(warm)
            warm.shrink(TENANT, reservation.id, USED, known=reservation)

        def status() -> None:
            gauge = gauges.load_one(client, self.tables.quotas, TENANT)
            assert gauge is not None
            read(gauge, NOW_MS)

        def denied() -> None:
            assert reservations(client, self.tables).reserve(TENANT, too_much).reservation is None

        def denied_again() -> None:
            assert remembers.reserve(TENANT, too_much).reservation is None

        def held_only() -> None:
            gauge = warm._images[TENANT].gauge
            decision = decide(gauge, ESTIMATE, NOW_MS, NOW_MS)
            charges = charged_for(gauge.layout, ESTIMATE)
            held = Reservation(TENANT, uuid.uuid4().hex, LAST.held, NOW_MS + 600_000)
            assert store.hold(Hold(held, gauge.layout.version, admitting_charges(gauge, decision), charges, ()))[0]

        LAST = made(warm)  # noqa: N806 - what each hold looks like
        made(warm)
        denied_again()
        return {
            "reserve": lambda: made(warm),
            "reserve and shrink": settled,
            "status": status,
            "denied": denied,
            "denied, remembered": denied_again,
            "held only": held_only,
        }


def opened(count: int) -> Scene:
    """Make the tenant, and so many open reservations in as many expiry buckets as there can be."""
    tables, client = make_tables(), dynamodb.connection()
    prepare(client, tables, [TENANT], NOW_MS)
    process = reservations(client, tables)
    for number in range(count):
        made(process, LONGEST_LIFETIME_MS * (1 + number % 12) // 12)
    return Scene(client, tables)


def costs(scene: Scene) -> dict[str, tuple[float, float, float]]:
    """Requests, write units and read units of each operation, counted once."""
    priced = Priced(scene.client)
    found = {}
    for name, operation in scene.operations(priced).items():
        priced.requests, priced.write_units, priced.read_units = 0, 0.0, 0.0
        operation()
        found[name] = (float(priced.requests), priced.write_units, priced.read_units)
    return found


def cpu(scene: Scene) -> dict[str, float]:
    """Client CPU in microseconds, median of rounds."""
    found = {}
    for name, operation in scene.operations(scene.client).items():
        spent = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(CALLS):
                operation()
            spent.append((time.process_time() - started) / CALLS * 1e6)
        found[name] = median(spent)
    return found


@dataclass
class Settling:
    """What a batch costs in which every record settles a reservation, beyond one that settles nothing.

    Attributes:
        reads: Batch reads more.
        units: Write units a record more.
        microseconds: CPU of the recorder a record more.
    """

    reads: int
    units: float
    microseconds: float


def recorded(scene: Scene, first: int, *, settles: bool, counting: Any = None) -> float:
    """Record a batch; returns its CPU in microseconds a record."""
    process = reservations(scene.client, scene.tables)
    client = counting or scene.client
    meter = ingestion(client, lambda: None, scene.tables, "", retention_ms=400 * DAY_MS, now=lambda: NOW_MS)
    batch = []
    for number in range(RECORDS):
        metadata = ((RESERVATION_KEY, made(process).id),) if settles else ()
        one = invocation(first + number, TENANT)
        batch.append(msgspec.structs.replace(one, metadata=metadata, event_ms=NOW_MS))
    report = Recorded()
    started = time.process_time()
    meter._recorder.record(batch, report, lambda: 60_000)
    spent = time.process_time() - started
    assert (report.recorded, report.settled) == (RECORDS, RECORDS * settles), report
    return spent / RECORDS * 1e6


def settlement(scene: Scene) -> Settling:
    """Compare batches that settle with batches that do not."""
    counted = {}
    for settles in (False, True):
        counting = Counting(scene.client)
        recorded(scene, 1_000 * settles, settles=settles, counting=counting)
        counted[settles] = counting
    spent = {
        settles: median(
            recorded(scene, 10_000 + 2_000 * round_ + 1_000 * settles, settles=settles) for round_ in range(ROUNDS)
        )
        for settles in (False, True)
    }
    return Settling(
        reads=counted[True].requests["batch_get_item"] - counted[False].requests["batch_get_item"],
        units=(sum(counted[True].units.values()) - sum(counted[False].units.values())) / RECORDS,
        microseconds=spent[True] - spent[False],
    )


def peer(endpoint: Endpoint) -> dict[str, tuple[float, float]]:
    """What zae-limiter takes on the same backend."""
    environment = {**os.environ, **endpoint.environment()}
    command = [str(PEER), "tests/bench/peer.py", environment["AWS_ENDPOINT_URL"]]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found: dict[str, tuple[float, float]] = json.loads(shown)
    return found


def main() -> int:
    """Print the tables; return 0 if the targets are reached, else 1."""
    reached = True
    print("Reserving: identifiers of maximum length, three limits, full buckets")
    print(f"{'open':>6}  {'':<22}{'requests':>9}{'write units':>12}{'read units':>11}{'CPU us':>8}")
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with serving(find_project().stack_python(), place / "stack.log", place / "scratch") as (endpoint, _):
            endpoint.adopt()
            scenes = [opened(count) for count in OPEN]
            for count, scene in zip(OPEN, scenes, strict=True):
                spent, taken = cpu(scene), costs(scene)
                print(f"{count:>6}  the gauge has {scene.gauge_bytes} bytes")
                for name, (requests, writes, reads) in taken.items():
                    print(f"{count:>6}  {name:<22}{requests:>9.0f}{writes:>12.0f}{reads:>11.0f}{spent[name]:>8.0f}")
                    most = TARGETS.get(name, (requests, writes))
                    reached &= requests <= most[0] and writes <= most[1]
            settling = settlement(scenes[-1])
            theirs = peer(endpoint)
    print(
        f"settled by the log, a batch of {RECORDS}: {settling.reads} more read,"
        f" {settling.units:.2f} write units and {settling.microseconds:.0f} us of the recorder a record more"
    )
    reached &= settling.reads <= 1
    ours = {
        "reserve": spent["reserve"],
        "reserve and settle": spent["reserve"] + settling.microseconds,
        "status": spent["status"],
        "denied": spent["denied"],
    }
    print(
        f"beside zae-limiter 0.17{'':<9}{'requests':>9}{'CPU us':>9}{'ours':>9}   (with {OPEN[-1]} open reservations)"
    )
    for name, (requests, microseconds) in theirs.items():
        print(f"        {name:<24}{requests:>9.1f}{microseconds:>9.0f}{ours[name]:>9.0f}")
    faster = ours["reserve and settle"] < theirs["reserve and settle"][1]
    print(
        f"reserve and settle: {'less' if faster else 'MORE'} CPU than zae-limiter; shrinking in between is extra, above"
    )
    return 0 if reached and faster else 1
