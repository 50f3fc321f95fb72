"""The routes of reservations over the real service, a store in memory and a directory in memory; one clock for all."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bedrock_meter.limits.costs import NO_PRICES, Costs
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.holding import Busy
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.selection import ProfileSelection
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.http import Answer, World, gauge
from tests.doubles.memory import MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.reservations import MemoryReservationStore

ESTIMATE = {"input_tokens": 300, "output_tokens": 100}


class MemoryDirectory:
    """``SelectionStore``; ``errors`` are raised by the next reads, ``reads`` holds what was read."""

    def __init__(
        self,
        profiles: Mapping[str, Sequence[ProfileReference]] | None = None,
        periods: Mapping[str, Sequence[MappingPeriod]] | None = None,
    ) -> None:
        self.profiles = dict(profiles or {})
        self.periods = dict(periods or {})
        self.errors: list[Exception] = []
        self.reads: list[str] = []

    def profiles_of(self, tenant: str) -> Sequence[ProfileReference]:
        self._read(f"profiles of {tenant}")
        return self.profiles.get(tenant, ())

    def mappings(self, profiles: Iterable[str]) -> dict[str, Sequence[MappingPeriod]]:
        asked = sorted(profiles)
        self._read(f"mappings of {','.join(asked)}")
        return {one: self.periods[one] for one in asked if one in self.periods}

    def _read(self, what: str) -> None:
        self.reads.append(what)
        if self.errors:
            raise self.errors.pop(0)


class DisturbedStore(MemoryReservationStore):
    """Raises ``errors`` first; meets ``reason`` each time once it is blocked: None is another writer."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.errors: list[Exception] = []
        self.is_blocked = False
        self.reason: Exception | None = None

    def _meet(self, request: str) -> None:
        super()._meet(request)
        if self.errors:
            raise self.errors.pop(0)
        if self.is_blocked:
            raise Busy from self.reason


class Desk:
    """The quota API; ``acme`` has the limits that are given, others the same."""

    def __init__(
        self,
        *limits: Limit,
        tenants: Iterable[str] = ("acme",),
        directory: MemoryDirectory | None = None,
        costs: Costs = NO_PRICES,
        tenant_fail: str | None = None,
        **world: Any,
    ) -> None:
        self.tables = MemoryTables()
        for tenant in tenants:
            held = gauge(tenant, *(limits or (limit("1h", 1000),)), fail_policy=tenant_fail)
            self.tables.gauges[tenant] = held
        self.store = DisturbedStore(self.tables)
        self.directory = MemoryDirectory() if directory is None else directory
        self.costs = costs
        self.now_ms = NOW_MS
        self.made = 0
        self._ids = itertools.count(1)
        self.world = World(self.tables.gauges, reservations=self.service, **world)

    def service(self) -> Reservations:
        """Make the service, as a process of its own does."""
        self.made += 1
        return Reservations(
            self.store,
            clock=lambda: self.now_ms,
            sleep_ms=lambda _: None,
            uniform=lambda: 0.5,
            new_id=lambda: f"{next(self._ids):032x}",
            costs=self.costs,
            destinations=ProfileSelection(lambda: self.directory),
        )

    @property
    def gauge(self) -> Gauge:
        return self.tables.gauges["acme"]

    @property
    def asked(self) -> int:
        """How often the store was asked."""
        return len(self.store.requests)

    def ask(self, path: str = "", method: str = "GET", *, tenant: str = "acme", body: object = None) -> Answer:
        """Send a request to a path below the tenant's reservations."""
        self.world.now_ms = self.now_ms
        return self.world.ask(f"/v1/tenants/{tenant}/reservations{path}", method, body=body)

    def reserve(
        self, estimate: Mapping[str, object] = ESTIMATE, key: str = "k1", *, tenant: str = "acme", **more: Any
    ) -> Answer:
        return self.ask("", "POST", tenant=tenant, body={"key": key, "estimate": dict(estimate), **more})

    def settle(self, made: Answer, usage: Mapping[str, object], **more: Any) -> Answer:
        return self.ask(f"/{made.document['id']}/settlement", "POST", body={"usage": dict(usage), **more})

    def reserved(self) -> list[int]:
        """What is reserved under each limit of ``acme``."""
        return [one.reserved for one in read(self.gauge, self.now_ms)]

    def use(self, amount: int) -> None:
        """Count usage under the first limit of ``acme``."""
        (first, *_) = self.gauge.layout.limits
        self.tables.change_gauge("acme", adds={bucket_name(first.slot, first.window, self.now_ms): amount})


def amounts(answer: Answer) -> dict[str, object]:
    """What is held, by the name of the limit."""
    return {one["limit"]: one["amount"] for one in answer.document["amounts"]}
