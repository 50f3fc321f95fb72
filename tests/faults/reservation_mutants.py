"""Wrong ways to reserve and to settle, kept alive so that the theorem proves that it would notice.

In peace, where callers take turns, tell the truth, hold no leases and nothing is boosted, each of them is right.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bedrock_meter.limits.boosts import Boost, Boosts, maximum_at
from bedrock_meter.limits.gauge import Gauge, read
from bedrock_meter.limits.holding import Hold
from bedrock_meter.limits.reservations import Reservation, moved_holds
from bedrock_meter.storage.reservations import DynamoDBReservationStore, change_request, holds_request
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ledger import Change
from bedrock_meter.usage.settlement import ReservationKey, Settlements
from tests.faults import killing
from tests.faults.reservations import Design
from tests.faults.theorem import watch
from tests.faults.wire import isolate
from tests.faults.workloads import CALM, Workload, without_boosts, workload
from tests.faults.world import TABLES

SEEDS = 200


class StaleImage(DynamoDBReservationStore):
    """Believes the image that it decided on: holds without a condition."""

    def hold(self, hold: Hold) -> tuple[bool, Gauge | None]:
        return super().hold(replace(hold, ceilings={}))


class UndoInsteadOfCondition(DynamoDBReservationStore):
    """Holds first, looks at what came of it, and takes it back."""

    def hold(self, hold: Hold) -> tuple[bool, Gauge | None]:
        is_held, gauge = super().hold(replace(hold, ceilings={}))
        if is_held and gauge is not None:
            now_ms = hold.reservation.expires_ms - 1_000
            if any(one.used + one.reserved > one.limit.maximum for one in read(gauge, now_ms)):
                self.give_back(hold.reservation)
                return False, gauge
        return is_held, gauge


class GivesBackApart(DynamoDBReservationStore):
    """Closes or shrinks a reservation, then gives back what it held by an update, which botocore may repeat."""

    def change(self, before: Reservation, after: Reservation, now_ms: int) -> Reservation | None:
        moved = moved_holds(before, after) if before.is_open(now_ms) else {}
        if self._transact(change_request(TABLES.quotas, before, after)):
            return self.find(before.tenant, before.id)
        if moved:
            self._client.update_item(**holds_request(TABLES.quotas, before.tenant, moved))
        return after


def _named_by_a_twin(change: Change) -> ReservationKey | None:
    """Any success settles, also one without tokens."""
    entry = change.entry
    if not change.reservation or entry.tenant == UNATTRIBUTED or entry.error_code is not None:
        return None
    return (entry.tenant, change.reservation) if change.held is None else None


@contextmanager
def _twins_settle() -> Iterator[None]:
    with (
        patch("bedrock_meter.usage.settlement.named_by", _named_by_a_twin),
        patch("bedrock_meter.usage.recorder.named_by", _named_by_a_twin),
    ):
        yield


@contextmanager
def _records_free_leases() -> Iterator[None]:
    def of(self: Settlements, change: Change, now_ms: int) -> Reservation | None:
        key = (change.entry.tenant, change.reservation)
        found = self._seen.get(key)
        bears = change.entry.tokens.total and not (change.held is not None and change.held.tokens.total)
        return found if found is not None and bears and found.is_open(now_ms) else None

    with patch.object(Settlements, "of", of):
        yield


@contextmanager
def _records_charge_nothing() -> Iterator[None]:
    with patch("bedrock_meter.storage.gauges.charges", lambda _: {}):
        yield


@contextmanager
def _maximum_of_the_moment() -> Iterator[None]:
    """Admits what fits now, however long it is held."""

    def now(base: int, boosts: Boosts, from_ms: int, to_ms: int) -> int:
        return maximum_at(base, boosts, from_ms)

    with patch("bedrock_meter.limits.reservations.least_maximum", now):
        yield


@contextmanager
def _counts_at_its_end() -> Iterator[None]:
    """The end of a boost is inclusive."""

    def is_in_force(self: Boost, at_ms: int) -> bool:
        return self.from_ms <= at_ms <= self.to_ms

    with patch.object(Boost, "is_in_force", is_in_force):
        yield


def _made(store: type[DynamoDBReservationStore]) -> Any:
    return lambda client: store(client, TABLES)


MUTANTS = (
    Design("a twin without tokens settles", patched=_twins_settle),
    Design("a record frees a lease", patched=_records_free_leases),
    Design("undo instead of a condition", store=_made(UndoInsteadOfCondition)),
    Design("a stale image admits", store=_made(StaleImage)),
    Design("what is recorded is not charged", patched=_records_charge_nothing),
    Design("given back apart from the reservation", store=_made(GivesBackApart)),
    Design("admission by the maximum of the moment", patched=_maximum_of_the_moment),
    Design("a boost counts at its end", patched=_counts_at_its_end),
)


def in_peace(seed: int) -> Workload:
    """A workload in which every one of them is right."""
    plan = without_boosts(workload(seed))
    return replace(plan, callers=1, kinds=(*CALM, "shrinks", "failed"), recorders=1, fault_rate=0.0, changes=())


def death(design: Design, seeds: Iterable[int] = range(SEEDS)) -> killing.Death | None:
    """Return the first seed under which a wrong design is noticed, and what is noticed."""
    return killing.death(lambda seed: watch(workload(seed), design).findings, seeds)


def _killed(number: int) -> killing.Death | None:
    isolate()
    return death(MUTANTS[number])


def show(pool: Executor) -> bool:
    """Run each wrong design until it dies; whether all did."""
    return killing.show(pool, MUTANTS, _killed)
