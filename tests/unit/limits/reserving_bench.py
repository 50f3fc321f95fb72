"""Reserving on a bench: a store in memory that tells which requests were made, and a clock."""

import itertools
from collections.abc import Callable

from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import MOST_OPEN, Reservation
from bedrock_meter.limits.reserving import Reservations
from tests.doubles.memory import MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.reservations import MemoryReservationStore

TOKENS = Meter.TOTAL_TOKENS


class Bench:
    """A tenant with 1,000 tokens an hour, and a clock."""

    most_open = MOST_OPEN

    def __init__(self) -> None:
        self.tables = MemoryTables()
        self.store = MemoryReservationStore(self.tables)
        self.now_ms = NOW_MS
        self.slept_ms: list[int] = []
        self._numbers = itertools.count(1)
        installed = InstalledLimit(limit("1h", 1000, hard=True), "0", 1)
        self.tables.gauges["acme"] = Gauge("acme", 1, Layout(1, (installed,)), {})
        self.reservations = self.process()

    def process(self) -> Reservations:
        return Reservations(
            self.store,
            clock=lambda: self.now_ms,
            sleep_ms=self.slept_ms.append,
            uniform=lambda: 0.5,
            new_id=lambda: f"{next(self._numbers):032x}",
            most_open=self.most_open,
        )

    def use(self, amount: int) -> None:
        installed = self.tables.gauges["acme"].layout.limits[0]
        self.tables.change_gauge("acme", adds={bucket_name("0", installed.window, self.now_ms): amount})

    def reserve(self, amount: int, **options: object) -> Reservation | None:
        return self.reservations.reserve("acme", Estimate(input_tokens=amount), **options).reservation  # type: ignore[arg-type]

    @property
    def reserved(self) -> int:
        return read(self.tables.gauges["acme"], self.now_ms)[0].reserved

    def requests(self, work: Callable[[], object]) -> list[str]:
        self.store.requests.clear()
        work()
        return self.store.requests
