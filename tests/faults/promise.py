"""What is promised to honest callers, looked at after every write, counted without our code.

*Exact* is what calls that are recorded really added to a limit within its exact window, by ``facts.py``.

1. No strict limit is exceeded: exact is at most the maximum, but for E, what calls used that were reserved before the
   limit was there, D, what boosts had added that have ended, and what stood above it when its maximum was lowered.
2. What a strict limit says is used is never less than exact.
3. A hold is committed only where used + reserved, its own amount included, is at most the maximum.
4. What a limit on some models or profiles holds is what open reservations hold of it: nothing when it is new, nothing
   when all is over.
5. A reservation is settled with a successful call that names it, released by its holder, and ended by nothing else.
6. An answer says what the contract says (``Honest.wrong_turns``), and the ledger what a call cost.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bedrock_meter.limits.gauge import read
from bedrock_meter.storage.gauges import gauge_of
from tests.faults.facts import CANVAS, UNKNOWN, counts, price
from tests.faults.honest import Honest, Made
from tests.faults.installed import Installed, layout
from tests.faults.reservations import PRODUCT, Design
from tests.faults.scheduler import Livelock
from tests.faults.schedules import DAY_MS
from tests.faults.table import Write
from tests.faults.theorem import BLURRED_MS, held_of, number, reserved, used
from tests.faults.values import Item
from tests.faults.wire import isolate

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass
class _Limit:
    """A limit since it got its slot.

    Attributes:
        since_ms: When that was.
        tolerated: What may stand above its maximum, and was not let in by it.
        base: Its maximum without boosts, as it was seen last.
        seen_ms: When it was looked at last.
    """

    since_ms: int
    tolerated: int = 0
    base: int = 0
    seen_ms: int = 0
    late: set[str] = field(default_factory=set)


class Seen(NamedTuple):
    """What one seed showed."""

    findings: list[str]
    admitted: int
    denied: int
    closest: float
    asked: dict[str, int]


@dataclass
class Promise:
    """Watches every write of one market.

    Attributes:
        findings: What is not as it is promised.
        closest: The most that exact ever was, in percent of a maximum.
    """

    market: Honest
    findings: list[str] = field(default_factory=list)
    closest: float = 0
    _recorded: dict[str, Made] = field(default_factory=dict)
    _recorded_ms: dict[str, int] = field(default_factory=dict)
    _limits: dict[tuple[str, int], _Limit] = field(default_factory=dict)
    _settling: set[str] = field(default_factory=set)
    _gauge: Item | None = None

    def __post_init__(self) -> None:
        item = self.market.world.rows("quotas").get(("acme", "GAUGE"))
        if item is not None:
            self._look(item, self.market.schedule.start_ms)
        self.market.world.double.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        if write.table == "ledger" and write.after is not None:
            self._entry(write.after, write.at_ms)
        elif write.table == "quotas" and write.after is not None and write.key[0] == "acme":
            if write.key[1].startswith("RESERVATION#"):
                self._reservation(write)
            elif write.key[1] == "GAUGE":
                self._write(write)

    def _entry(self, item: Item, now_ms: int) -> None:
        request = item["pk"]["S"].rpartition("#")[2]
        made = self.market.made.get(request)
        if made is None or "error" in item:
            return
        self._recorded[request] = made
        self._recorded_ms[request] = now_ms
        self._settling.add(made.reservation)
        cost = price(made.profile.model, made.profile.routing or "in-region", made.profile.id, made.used)
        if number(item, "cost_nano_usd") != (cost or 0):
            self.findings.append(f"cost: {request} is {number(item, 'cost_nano_usd')}, not {cost}")

    def _reservation(self, write: Write) -> None:
        assert write.after is not None
        identity = write.key[1].removeprefix("RESERVATION#")
        if write.after["status"]["S"] == "settled" and identity not in self._settling:
            self.findings.append(f"settlement: {identity} was settled by no successful call")
        if write.after["status"]["S"] == "settled":
            by = self.market.made.get(write.after["settled_by"]["S"].rpartition("#")[2])
            if by is None or by.reservation != identity:
                self.findings.append(f"settlement: {identity} says that another call settled it")
        if write.after["status"]["S"] == "released" and identity not in self.market.given_back:
            self.findings.append(f"settlement: {identity} was released, and not by its holder")

    def _write(self, write: Write) -> None:
        before, after, now_ms = write.before, write.after, write.at_ms
        assert after is not None
        charged = any(number(after, name) > number(before, name) for name in after if name[0] == "c")
        if charged and number(after, "rev") == number(before, "rev"):
            for one in layout(after):
                total = used(after, one, now_ms) + reserved(after, one.hold_key, now_ms)
                if one.hard and not one.shadow and _grew(before, after, one) and total > one.maximum_at(now_ms):
                    self.findings.append(f"hold: {_name(one)} is at {total} of {one.maximum_at(now_ms)} after a hold")
        self._look(after, now_ms)

    def _look(self, gauge: Item, now_ms: int) -> None:
        self._gauge = gauge
        for one in layout(gauge):
            if not one.hard or one.shadow:
                continue
            key = one.slot, one.slot_version
            exact, held = self._exact(one, now_ms), reserved(gauge, one.hold_key, now_ms)
            state = self._limits.get(key)
            if state is None:
                state = self._limits[key] = _Limit(now_ms, max(0, exact - one.maximum_at(now_ms)), one.base, now_ms)
                said = _says_reserved(gauge, one, now_ms) if one.scope != ((), ()) else 0
                if said:
                    self.findings.append(f"holds: {_name(one)} is new and says that {said} is reserved")
            if state.base != one.base:
                state.tolerated = max(state.tolerated, used(gauge, one, now_ms) + held - one.maximum_at(now_ms))
                state.base = one.base
            state.tolerated += one.ended(state.seen_ms, now_ms)
            state.seen_ms = now_ms
            self._bound(gauge, one, state, exact, now_ms)

    def _bound(self, gauge: Item, one: Installed, state: _Limit, exact: int, now_ms: int) -> None:
        maximum, said = one.maximum_at(now_ms), used(gauge, one, now_ms)
        earlier = 0
        if state.since_ms > self.market.schedule.start_ms:
            calls = [made for made in self._recorded.values() if made.held_ms <= state.since_ms]
            earlier = sum(self._amount(one, made) for made in calls)
        if maximum and not state.tolerated and not earlier:
            self.closest = max(self.closest, 100 * exact / maximum)
        if exact > maximum + state.tolerated + earlier:
            self.findings.append(
                f"bound: {_name(one)} is at {exact} of {maximum}; {state.tolerated} tolerated, {earlier} before it"
            )
        if said < exact and self._counts_all(one):
            self.findings.append(f"used: {_name(one)} says {said}, exact is {exact}")

    def _exact(self, one: Installed, now_ms: int) -> int:
        """What recorded calls added within the exact window; a call dated ahead is in it."""
        label = one.window.text
        if label[:-1].isdigit():
            from_ms = now_ms - int(label[:-1]) * _UNITS_MS[label[-1]] + 1
        else:
            from_ms = one.window.start_ms(now_ms)
        to_ms = one.window.end_ms(now_ms) if not one.window.sub_ms else now_ms + DAY_MS
        return sum(self._amount(one, made) for made in self._recorded.values() if from_ms <= made.event_ms < to_ms)

    @staticmethod
    def _amount(one: Installed, made: Made) -> int:
        if made.profile.model == UNKNOWN and one.meter in ("weighted_tokens", "cost_usd"):
            return 0  # It is not known: the limit's mark does.
        return counts(one.meter, one.scope, made.profile, made.used)

    @staticmethod
    def _counts_all(one: Installed) -> bool:
        """Whether usage from before the limit is counted: short windows count from their installation."""
        return not one.window.sub_ms or one.window.sub_ms * 12 >= 900_000

    def finish(self) -> None:
        """Look at what is left when all is recorded and every reservation is over."""
        world = self.market.world
        self.findings += [f"answer: {what}" for what in self.market.wrong_turns]
        self.findings += self._unsettled()
        missing = self.market.made.keys() - self._recorded.keys()
        if missing:
            self.findings.append(f"{len(missing)} calls were never recorded")
        gauge = world.rows("quotas").get(("acme", "GAUGE"))
        if gauge is None:
            return
        open_holds: Counter[str] = Counter()
        for (tenant, sort_key), item in world.rows("quotas").items():
            if tenant == "acme" and sort_key.startswith("RESERVATION#") and item["status"]["S"] == "open":
                bucket = -(-(number(item, "expires_ms") + 30_000) // 300_000)
                for key, amount in {"n": 1, **held_of(item)}.items():
                    open_holds[f"{key} {bucket}"] += amount
        if not self.market.is_faulty:
            self._compare(gauge, open_holds)
        self._look_ahead(gauge)

    def _unsettled(self) -> Iterator[str]:
        """Calls whose record came in time and bore their usage, in tokens or in what their model is billed by."""
        for request, made in self._recorded.items():
            held = self.market.world.rows("quotas").get(("acme", f"RESERVATION#{made.reservation}"))
            is_complete = made.used.tokens or made.profile.model == CANVAS
            if held is None or not is_complete or held["status"]["S"] != "open":
                continue
            if self._recorded_ms[request] + BLURRED_MS < number(held, "expires_ms"):
                yield f"settlement: {request} of {made.profile.model} left {made.reservation} open"

    def _look_ahead(self, gauge: Item) -> None:
        """Nothing more happens but time: until a call leaves its exact window, a strict limit counts it."""
        for one in layout(gauge):
            if not one.hard or not one.window.sub_ms or not self._counts_all(one):
                continue
            for made in self._recorded.values():
                at_ms = made.event_ms + one.window.sub_ms * 12 - 1
                if at_ms >= self.market.world.scheduler.now_ms:
                    said, exact = used(gauge, one, at_ms), self._exact(one, at_ms)
                    if said < exact:
                        self.findings.append(f"used: {_name(one)} will say {said}, exact is {exact}")

    def _compare(self, gauge: Item, expected: Counter[str]) -> None:
        for name in gauge:
            if name[0] == "x" and "." in name:
                key, _, bucket = name[1:].partition(".")
                if number(gauge, name) != expected[f"{key} {int(bucket, 36)}"]:
                    held = expected[f"{key} {int(bucket, 36)}"]
                    self.findings.append(f"holds: {name} is {number(gauge, name)}, reservations hold {held}")


def _says_reserved(gauge: Item, one: Installed, now_ms: int) -> int:
    """What the product says that is held of a limit."""
    readings = read(gauge_of(gauge), now_ms)
    return next(reading.reserved for reading in readings if reading.limit.slot == one.slot)


def _grew(before: Item | None, after: Item, one: Installed) -> bool:
    """Whether a hold took something of a limit."""
    return number(after, f"c{one.slot}") > number(before, f"c{one.slot}")


def _name(one: Installed) -> str:
    return f"{one.meter} {one.window.text} {[*one.scope[0], *one.scope[1]] or ''}".rstrip()


def chunk(seeds: tuple[int, ...]) -> list[tuple[int, Seen]]:
    """Run some seeds in a process of their own."""
    isolate()
    return [(seed, watch(seed)) for seed in seeds]


def show(outcomes: Iterable[tuple[int, Seen]]) -> bool:
    """Print what seeds showed; whether the promise was kept."""
    kept, count, admitted, denied, closest = True, 0, 0, 0, 0.0
    asked: Counter[str] = Counter()
    for seed, one in outcomes:
        count, admitted, denied = count + 1, admitted + one.admitted, denied + one.denied
        closest = max(closest, one.closest)
        asked.update(one.asked)
        if one.findings:
            kept = False
            print(f"  honest {seed}: {one.findings[0]}")
    print(f"{count} markets of honest callers: {admitted} calls admitted, {denied} requests denied")
    print(f"  a strict limit was used at most {closest:.1f} % of its maximum, where nothing excuses more")
    print("  ways to name a model: " + ", ".join(f"{how} {many}" for how, many in sorted(asked.items())))
    return kept


def watch(seed: int, design: Design = PRODUCT) -> Seen:
    """Run a seed and return what it showed."""
    market = Honest(seed, design)
    promise = Promise(market)
    try:
        market.run()
        promise.finish()
    except Livelock as endless:
        promise.findings.append(f"it does not end: {endless}")
    return Seen(promise.findings, market.admitted, market.denied, promise.closest, market.asked)
