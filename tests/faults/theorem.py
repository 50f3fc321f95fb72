"""What must be true of reservations after every write, counted without our code; ``make theorem`` prints it.

For each hard limit, with *held over* = what a lease still holds of calls that are recorded already:

1. A hold is committed only where used + reserved, its own amount included, is at most the maximum, and at most the
   least maximum of the time for which it is held, boosts that begin and end included.
2. At any time, used + reserved - held over - maximum is at most A + B + C + D, counted since it was last at most 0:

   * A, what calls used beyond what they had reserved;
   * B, recorded usage that had reserved nothing;
   * C, recorded usage whose reservation had expired, was released, shrunk or settled when it was recorded;
   * D, what boosts that have ended had added.

3. What the gauge holds is never less than what its open reservations hold; with no fault, exactly as much.
4. A reservation is settled by the first record of its tenant that bears tokens while it is open, by nothing else, and
   in the same transaction; a lease by none.
5. The same key never leads to two reservations.
"""

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.installed import Installed, layout
from tests.faults.naive import attribute
from tests.faults.reservations import PRODUCT, Design, Market
from tests.faults.scheduler import Livelock
from tests.faults.schedules import DAY_MS
from tests.faults.table import Write
from tests.faults.values import Item
from tests.faults.wire import isolate
from tests.faults.workloads import Workload, workload

EXPIRY_BUCKET_MS = 300_000
BLURRED_MS = 70_000
"""Around its expiry a reservation may or may not be settled: a recorder has its clock and its minute."""

_LETTERS = {"total_tokens": "t", "requests": "r", "cost_usd": "u"}


def number(item: Item | None, name: str) -> int:
    return int(item[name]["N"]) if item is not None and name in item else 0


def passes_ms(name: str) -> int:
    """When a hold of this name, such as ``xt.3k2a`` or ``x05.3k2a``, counts no more."""
    return int(name.partition(".")[2], 36) * EXPIRY_BUCKET_MS


def reserved(gauge: Item, key: str, now_ms: int) -> int:
    """What a gauge holds under a key, read by hand."""
    return sum(
        max(0, number(gauge, name)) for name in gauge if name.startswith(f"x{key}.") and now_ms < passes_ms(name)
    )


def used(gauge: Item, one: Installed, now_ms: int) -> int:
    buckets = {int(name[1:], 36): number(gauge, name) for name in gauge if name[0] == one.slot and name[-1] not in "+-"}
    return one.window.used(buckets, now_ms, hard=True)


def held_of(item: Item) -> dict[str, int]:
    """What a reservation item holds, by key: the letter of a meter, or a slot with its version."""
    return {key: amount for key, _, amount, _ in json.loads(item["held"]["S"])}


@dataclass
class Excess:
    """How far a limit was exceeded, and by what."""

    limit: str = ""
    most: int = 0
    terms: tuple[int, ...] = (0, 0, 0, 0)


@dataclass
class _Since:
    """Terms since a limit was last within its maximum; what exceeded when it was installed is tolerated."""

    tolerated: int = 0
    terms: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    seen_ms: int | None = None
    """When it was looked at last."""


class _Held(NamedTuple):
    """What a limit was at after a hold."""

    tenant: str
    limit: Installed
    total: int
    at_ms: int


@dataclass
class Theorem:
    """Watches every write of one market.

    Attributes:
        findings: What is not as it must be.
        admitted: Holds that were committed.
        closest: The largest used + reserved after a hold, in percent of a maximum.
        excess: The largest excess seen.
        largest: The largest A, B, C and D seen beside an excess.
    """

    market: Market
    findings: list[str] = field(default_factory=list)
    admitted: int = 0
    closest: float = 0
    excess: Excess = field(default_factory=Excess)
    largest: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    _ledger: list[tuple[Item | None, Item]] = field(default_factory=list)
    _before: dict[tuple[str, str], Item] = field(default_factory=dict)
    _reservations: dict[tuple[str, str], Item] = field(default_factory=dict)
    _first_expiry_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    _since: dict[tuple[str, str, int], _Since] = field(default_factory=lambda: defaultdict(_Since))
    _leased: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _initial: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    _gauges: dict[str, Item] = field(default_factory=dict)
    _unmoved: set[tuple[str, str]] = field(default_factory=set)
    _holds_of: dict[str, list[_Held]] = field(default_factory=dict)
    """What each caller held last, until its reservation is written down and says for how long."""

    def __post_init__(self) -> None:
        for (tenant, sort_key), item in self.market.world.rows("quotas").items():
            if sort_key == "GAUGE":
                self._gauges[tenant] = item
                for one in layout(item):
                    self._since[tenant, one.slot, one.version].seen_ms = self.market.schedule.start_ms
        self.market.world.double.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        self._look_at_ends(write.at_ms)
        if write.table == "ledger" and write.after is not None:
            self._ledger.append((write.before, write.after))
        elif write.table == "quotas" and write.key[1].startswith("RESERVATION#") and write.after is not None:
            self._reservation(write)
        elif write.table == "quotas" and write.key[1] == "GAUGE" and write.after is not None:
            self._gauge(write)

    def _look_at_ends(self, until_ms: int) -> None:
        """Look at every end of a boost that has passed, with what was held just before: an end writes nothing."""
        for tenant, gauge in self._gauges.items():
            for one in layout(gauge):
                seen_ms = self._since[tenant, one.slot, one.version].seen_ms
                for _, ends_ms, _ in sorted(one.boosts, key=lambda boost: boost[1]):
                    if seen_ms is not None and seen_ms < ends_ms <= until_ms:
                        total = used(gauge, one, ends_ms) + reserved(gauge, _LETTERS[one.meter], ends_ms)
                        self._bound(tenant, one, total, [0, 0, 0], ends_ms)

    def _reservation(self, write: Write) -> None:
        key = write.key[0], write.key[1].removeprefix("RESERVATION#")
        assert write.after is not None
        if write.before is None:
            self._first_expiry_ms[key] = number(write.after, "expires_ms")
            self._initial[key] = held_of(write.after)
            self._lasts(number(write.after, "expires_ms"))
        elif write.before["status"]["S"] != "open":
            self.findings.append(f"reservation: {key} was {write.before['status']['S']} and changed again")
        elif write.after["status"]["S"] == "released" and write.at_ms >= number(write.before, "expires_ms"):
            self._unmoved.add(key)
        if write.before is not None:
            self._before[key] = write.before
        self._reservations[key] = write.after

    def _lasts(self, expires_ms: int) -> None:
        """A hold fits the least maximum of its time."""
        for tenant, one, total, at_ms in self._holds_of.pop(self._caller(), []):
            least = one.least(at_ms, expires_ms)
            if total > least:
                self.findings.append(f"hold: {tenant} {one.meter} is at {total}, {least} before what is held expires")

    def _caller(self) -> str:
        current = self.market.world.scheduler.current
        return current.name if current is not None else ""

    def _gauge(self, write: Write) -> None:
        tenant, before, after, now_ms = write.key[0], write.before, write.after, write.at_ms
        assert after is not None
        terms = {letter: [0, 0, 0] for letter in _LETTERS.values()}
        held: list[_Held] = []
        if number(after, "rev") != number(before, "rev"):
            self._settlements(tenant, now_ms, terms)
        charged = any(number(after, name) > number(before, name) for name in after if name[0] == "c")
        is_hold = charged and number(after, "rev") == number(before, "rev")
        self.admitted += is_hold
        for one in layout(after):
            total = used(after, one, now_ms) + reserved(after, _LETTERS[one.meter], now_ms)
            if is_hold:
                maximum = one.maximum_at(now_ms)
                self.closest = max(self.closest, 100 * total / maximum)
                if total > maximum:
                    self.findings.append(f"hold: {tenant} {one.meter} is at {total} of {maximum} after a hold")
                held.append(_Held(tenant, one, total, now_ms))
            self._bound(tenant, one, total, terms[_LETTERS[one.meter]], now_ms)
        if is_hold:
            self._holds_of[self._caller()] = held
        self._holds(tenant, after, now_ms)
        self._before = {}
        self._gauges[tenant] = after

    def _bound(self, tenant: str, one: Installed, total: int, terms: list[int], now_ms: int) -> None:
        key = tenant, one.slot, one.version
        is_new = key not in self._since
        since = self._since[key]
        over = total - self._held_over(tenant, _LETTERS[one.meter]) - one.maximum_at(now_ms)
        ended = one.ended(now_ms if since.seen_ms is None else since.seen_ms, now_ms)
        since.seen_ms = now_ms
        if is_new:
            since.tolerated = max(0, over)
        if over <= 0:
            since.tolerated, since.terms = 0, [0, 0, 0, 0]
            return
        since.terms = [held + new for held, new in zip(since.terms, [*terms, ended], strict=True)]
        self.largest = [max(pair) for pair in zip(self.largest, since.terms, strict=True)]
        if over > since.tolerated + sum(since.terms):
            self.findings.append(f"bound: {tenant} {one.meter} is {over} over, the terms are {since.terms}")
        elif over > self.excess.most:
            self.excess = Excess(f"{one.meter} of {one.base}", over, tuple(since.terms))

    def _held_over(self, tenant: str, letter: str) -> int:
        """What open leases hold of calls that are recorded already."""
        total = 0
        for (whose, identity), item in self._reservations.items():
            if whose == tenant and "lease" in item and item["status"]["S"] == "open":
                total += self._overlap((whose, identity), letter, item)
        return total

    def _overlap(self, key: tuple[str, str], letter: str, item: Item) -> int:
        held = held_of(item).get(letter, 0)
        shrunk = self._initial[key].get(letter, 0) - held
        return max(0, min(held, self._leased[(*key, letter)] - shrunk))

    def _settlements(self, tenant: str, now_ms: int, terms: dict[str, list[int]]) -> None:
        mine = [(before, after) for before, after in self._ledger if after["tenant"]["S"] == tenant]
        self._ledger = [one for one in self._ledger if one[1]["tenant"]["S"] != tenant]
        settled: set[str] = set()
        for before, after in mine:
            if "error" in after:
                continue
            request = after["pk"]["S"].rpartition("#")[2]
            gained = {
                "t": number(after, "input") - number(before, "input"),
                "r": int(before is None or "error" in before),
                "u": number(after, "cost_nano_usd") - number(before, "cost_nano_usd"),
            }
            identity = self.market.calls[request].reservation
            is_first = number(after, "input") > 0 and number(before, "input") == 0
            item = self._state_before(tenant, identity)
            if is_first and identity not in settled and item is not None and self._must_settle(tenant, item, now_ms):
                if self._settles(tenant, identity):
                    settled.add(identity)
                elif abs(self._first_expiry_ms[tenant, identity] - now_ms) > BLURRED_MS and now_ms < number(
                    item, "expires_ms"
                ):
                    self.findings.append(f"settlement: {request} did not settle {identity}")
                if identity in settled:
                    for letter, amount in gained.items():
                        terms[letter][0] += max(0, amount - held_of(item).get(letter, 0))
                    continue
            self._uncovered(tenant, identity, item, gained, terms)
        closed = {
            key[1]
            for key, was in self._before.items()
            if key[0] == tenant and was["status"]["S"] == "open" and self._settles(tenant, key[1])
        }
        if closed - settled:
            self.findings.append(f"settlement: {sorted(closed - settled)} settled by nothing that may settle them")

    def _state_before(self, tenant: str, identity: str) -> Item | None:
        return self._before.get((tenant, identity)) or self._reservations.get((tenant, identity))

    @staticmethod
    def _must_settle(tenant: str, item: Item, now_ms: int) -> bool:
        is_open = item["status"]["S"] == "open" and now_ms < number(item, "expires_ms") + BLURRED_MS
        return is_open and "lease" not in item

    def _settles(self, tenant: str, identity: str) -> bool:
        return self._before.get((tenant, identity), {}).get("status", {}).get("S") == "open" and (
            self._reservations[tenant, identity]["status"]["S"] == "settled"
        )

    def _uncovered(
        self, tenant: str, identity: str, item: Item | None, gained: dict[str, int], terms: dict[str, list[int]]
    ) -> None:
        """Usage that nothing gave way to, but for what a lease still holds of it."""
        for letter, amount in gained.items():
            covered = 0
            if item is not None and "lease" in item:
                key = tenant, identity
                before = self._overlap(key, letter, item) if item["status"]["S"] == "open" else 0
                self._leased[(*key, letter)] += amount
                covered = (self._overlap(key, letter, item) if item["status"]["S"] == "open" else 0) - before
            terms[letter][2 if identity else 1] += amount - covered

    def _holds(self, tenant: str, gauge: Item, now_ms: int) -> None:
        for name, amount in self.written_down(tenant).items():
            if now_ms < passes_ms(name) and number(gauge, name) < amount:
                self.findings.append(f"holds: {tenant} {name} is {number(gauge, name)}, reservations hold {amount}")

    def written_down(self, tenant: str) -> Counter[str]:
        """What reservations that are written down still hold, by attribute of the gauge."""
        total: Counter[str] = Counter()
        for key, item in self._reservations.items():
            if key[0] == tenant and (item["status"]["S"] == "open" or key in self._unmoved):
                bucket = -(-(number(item, "expires_ms") + 30_000) // EXPIRY_BUCKET_MS)
                for key_held, amount in {"n": 1, **held_of(item)}.items():
                    total[attribute(f"x{key_held}.", bucket)] += amount
        return total

    def finish(self) -> None:
        """Look at what is left when everybody is done."""
        world = self.market.world
        self._look_at_ends(world.scheduler.now_ms + DAY_MS)
        self.findings += [f"key: {key} led to two reservations" for key in self.market.double]
        if self.market.workload.fault_rate == 0 and self.market.wrong is None:
            for tenant in self.market.schedule.tenants:
                gauge, expected = world.rows("quotas")[tenant, "GAUGE"], self.written_down(tenant)
                for name in gauge:
                    is_live = name[0] == "x" and world.scheduler.now_ms < passes_ms(name)
                    if is_live and number(gauge, name) != expected[name]:
                        self.findings.append(f"holds: {tenant} {name} is {number(gauge, name)}, not {expected[name]}")


@dataclass
class Outcome:
    """What one workload showed."""

    findings: list[str]
    admitted: int
    denied: int
    closest: float
    excess: Excess
    largest: list[int]


def watch(plan: Workload, design: Design = PRODUCT) -> Outcome:
    """Run a workload under the theorem."""
    market = Market(plan, design)
    theorem = Theorem(market)
    try:
        market.run()
        theorem.finish()
    except Livelock as endless:
        theorem.findings.append(f"it does not end: {endless}")
    return Outcome(theorem.findings, theorem.admitted, market.denied, theorem.closest, theorem.excess, theorem.largest)


def _chunk(seeds: tuple[int, ...]) -> list[tuple[int, Outcome]]:
    isolate()
    return [(seed, watch(workload(seed))) for seed in seeds]


def show(outcomes: Iterable[tuple[int, Outcome]]) -> bool:
    """Print what workloads showed; whether the theorem held."""
    held = True
    count = admitted = denied = 0
    closest, excess, largest = 0.0, Excess(), [0, 0, 0, 0]
    for seed, one in outcomes:
        count, admitted, denied = count + 1, admitted + one.admitted, denied + one.denied
        closest = max(closest, one.closest)
        largest = [max(pair) for pair in zip(largest, one.largest, strict=True)]
        if one.excess.most > excess.most:
            excess = one.excess
        if one.findings:
            held = False
            print(f"  seed {seed}: {one.findings[0]}")
    a, b, c, d = excess.terms
    print(f"{count} workloads: {admitted} holds admitted, {denied} requests denied")
    print(f"  used + reserved after a hold: at most {closest:.1f} % of the maximum")
    print(f"  largest excess: {excess.most} ({excess.limit}) <= {a} beyond the reserved (A)")
    print(f"    + {b} reserved nothing (B) + {c} expired, released or settled before (C)")
    print(f"    + {d} that boosts had added until they ended (D) = {sum(excess.terms)}")
    print("  largest of each term beside an excess: A {}, B {}, C {}, D {}".format(*largest))
    return held


def main() -> int:
    """Run workloads, honest callers, the crowd and the mutants; 0 if all of it holds and every mutant is dead."""
    from tests.faults import crowd, honest_mutants, promise, reservation_mutants

    first, count = int(os.environ.get("FROM", "0")), int(os.environ.get("SEEDS", "1000"))
    isolate()
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        chunks = [tuple(range(at, min(at + 10, first + count))) for at in range(first, first + count, 10)]
        good = [show(one for outcomes in pool.map(_chunk, chunks) for one in outcomes)]
        good.append(reservation_mutants.show(pool))
        good.append(promise.show(one for outcomes in pool.map(promise.chunk, chunks) for one in outcomes))
        good.append(honest_mutants.show(pool))
    return 0 if all([*good, crowd.main()]) else 1


if __name__ == "__main__":
    sys.exit(main())
