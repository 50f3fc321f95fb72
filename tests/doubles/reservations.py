"""``ReservationStore`` in memory: the contract suite holds it and DynamoDB to the same promises."""

from collections.abc import Mapping
from dataclasses import replace

from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holding import Busy, Hold
from bedrock_meter.limits.reservations import Reservation, moved_holds
from tests.doubles.memory import MemoryTables


class MemoryReservationStore:
    """``busy`` is how many of the next requests meet another writer; ``requests`` counts by kind."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.busy = 0
        self.requests: list[str] = []

    def look(self, tenant: str, identity: str | None) -> tuple[Gauge | None, Reservation | None]:
        self._meet("look")
        return self.tables.gauges.get(tenant), self.tables.reservations.get((tenant, identity or ""))

    def find(self, tenant: str, identity: str) -> Reservation | None:
        self._meet("find")
        return self.tables.reservations.get((tenant, identity))

    def hold(self, hold: Hold) -> tuple[bool, Gauge | None]:
        self._meet("hold")
        gauge = self.tables.gauges.get(hold.reservation.tenant)
        if gauge is None:
            return False, None
        over = any(gauge.holds.get(name, 0) > most for name, most in hold.ceilings.items() if name in gauge.holds)
        if (gauge.layout.version, gauge.suspension) != (hold.version, hold.suspension) or over:
            return False, gauge
        self._add(gauge.tenant, {**hold.reservation.holds, **hold.charges})
        kept = {name: amount for name, amount in self._holds(gauge.tenant).items() if name not in hold.passed}
        self.tables.change_gauge(gauge.tenant, holds=kept)
        return True, self.tables.gauges[gauge.tenant]

    def put(self, reservation: Reservation) -> Reservation | None:
        self._meet("put")
        existing = self.tables.reservations.setdefault((reservation.tenant, reservation.id), reservation)
        return None if existing is reservation else existing

    def give_back(self, reservation: Reservation) -> None:
        self._meet("give back")
        self._add(reservation.tenant, {name: -amount for name, amount in reservation.holds.items()})

    def change(self, before: Reservation, after: Reservation, now_ms: int) -> Reservation | None:
        self._meet("change")
        held = self.tables.reservations.get((before.tenant, before.id))
        if held is None or (held.generation, held.nonce) != (before.generation, before.nonce):
            return held
        self.tables.reservations[before.tenant, before.id] = after
        if before.is_open(now_ms):
            self._add(before.tenant, moved_holds(before, after))
        return after

    def _meet(self, request: str) -> None:
        self.requests.append(request)
        if self.busy:
            self.busy -= 1
            raise Busy

    def _holds(self, tenant: str) -> dict[str, int]:
        return dict(self.tables.gauges[tenant].holds)

    def _add(self, tenant: str, adds: Mapping[str, int]) -> None:
        holds = self._holds(tenant)
        for name, amount in adds.items():
            holds[name] = holds.get(name, 0) + amount
        self.tables.gauges[tenant] = replace(self.tables.gauges[tenant], holds=holds)
