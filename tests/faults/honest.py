"""Honest callers, with everything varied that the world varies, under one seed.

The decision: a caller here does what `docs/client.md` asks for and no more. It reserves a bound of what its call may
use, calls through the profile that the answer names, tells what Bedrock's answer says was used, and lets the log say
the rest. What varies is the world: every token kind, tiers, steps, routings, prices of a profile, every way to name a
model, limits on some models that come and go while something is held, boosts of some of the limits, clocks that are
ahead, attempts that are refused and their records. What must be true meanwhile is in ``promise.py``.
"""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.errors import Contended, ForeignProfile, UnknownCost
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.answers import Answer
from bedrock_meter.limits.destination import Called
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.dynamodb import AWS_ERRORS
from bedrock_meter.tenants.selection import ProfileSelection
from tests.faults.facts import (
    ACCOUNT,
    CANVAS,
    EMBED,
    FOREIGN,
    PROFILES,
    REGION,
    SONNET,
    UNKNOWN,
    Profile,
    Used,
    base_of,
    price,
)
from tests.faults.faults import FUNCTION_ERRORS, NoFaults, RandomFaults
from tests.faults.late_log import LateLog
from tests.faults.names import draw_name
from tests.faults.reservations import PRODUCT, Design, made_process, run_to_the_end
from tests.faults.scheduler import Killed, Worker
from tests.faults.schedules import EPOCH_MS, Schedule
from tests.faults.simulation import Simulation
from tests.faults.themes import THEMES, ceilings
from tests.faults.world import TABLES, World

ASKED_AGAIN = 6
AHEAD_MS = 290_000
OUTPUT = 400
EMBED_OUTPUT = 4_096
"""What a caller bounds the output by who cannot see from the name that the model writes none."""


class Prices:
    """The prices of ``facts.py``, for those that ask with the product's words."""

    def rate(self, call: Call) -> Rated:
        """Return what a call costs."""
        model, prefix = base_of(call.model.rpartition("/")[2])
        routing = call.routing or ("global" if prefix == "global" else "geo" if prefix else "in-region")
        tokens = call.tokens
        hour = call.cache_write_1h or 0
        used = Used(
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_write,
            hour,
            call.images or 0,
            call.tier or "default",
        )
        if model == CANVAS and call.images is None:
            return Rated(None, "steady", counts_tokens=False)
        return Rated(price(model, routing, call.profile, used), "steady", counts_tokens=model != CANVAS)


@dataclass(frozen=True)
class Made:
    """A call that was made.

    Attributes:
        request: Its request id.
        reservation: Id of what was held for it.
        held_ms: When that was held.
        profile: What it went through.
        used: What it used.
        event_ms: When Bedrock says that it was.
    """

    request: str
    reservation: str
    held_ms: int
    profile: Profile
    used: Used
    event_ms: int


@dataclass
class Honest:
    """One seed, run once.

    Attributes:
        made: Calls that were made, by request id.
        wrong_turns: What an answer said that the contract does not.
        asked: How often each way to name a model was tried.
        given_back: Reservations that their holders released, and may.
    """

    seed: int
    design: Design = PRODUCT
    made: dict[str, Made] = field(default_factory=dict)
    wrong_turns: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    given_back: set[str] = field(default_factory=set)
    admitted: int = 0
    denied: int = 0
    _busy: int = 0

    def __post_init__(self) -> None:
        self.chance = chance = random.Random(f"honest {self.seed}")
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self.owned = [one for one in PROFILES if chance.random() < 0.75] or [PROFILES[0]]
        self.theme = chance.choice(sorted(THEMES))
        self.ceilings = ceilings(chance, self.theme, self.owned)
        changes = chance.choice((2, 4, 6)) if self.theme == "scoped" else chance.choice((0, 0, 1, 3))
        self.changes = [ceilings(chance, self.theme, self.owned, self.ceilings) for _ in range(changes)]
        self.is_faulty = chance.random() < 0.4
        self.schedule = Schedule(
            seed=self.seed,
            start_ms=EPOCH_MS + chance.randrange(900_000),
            zone="UTC",
            tenants={"acme": tuple(one.id for one in self.owned), "globex": (FOREIGN.id,)},
            limits={"acme": self.ceilings, "globex": ()},
            deliveries=(),
        )
        self.pauses_ms = chance.choice(((1, 40), (1, 3_000, 40_000), (3_000, 250_000)))
        self._simulation = Simulation(self.schedule, wrong=NoFaults())
        self._simulation.environments.prices = Prices()
        self.world: World = self._simulation.world
        self._log = LateLog(self.world, self._simulation.environments, self.chance, lambda: self._busy > 0)
        self._write_directory()

    def _write_directory(self) -> None:
        """Let definition and mappings say what the tenant has; half of what is known only the mapping knows."""
        rows = self.world.rows("tenants")
        listed = []
        for one in self.owned:
            facts = {"model": one.model, "routing": one.routing, "geography": one.geography}
            known = {name: {"S": value} for name, value in facts.items() if value is not None}
            period = {"tenant": {"S": "acme"}, "from_ms": {"N": "0"}, **known}
            rows[f"PROFILE#{one.id}", "MAPPING"]["periods"] = {"L": [{"M": period}]}
            said = known if self.chance.random() < 0.5 else {}
            listed.append({"M": {"id": {"S": one.id}, "arn": {"S": one.arn}, **said}})
        self.chance.shuffle(listed)
        key = {"pk": {"S": "TENANT#acme"}, "sk": {"S": "TENANT"}}
        rows["TENANT#acme", "TENANT"] = {**key, "tenant": {"S": "acme"}, "profiles": {"L": listed}}

    def run(self) -> World:
        """Run everything to its end."""
        world, chance = self.world, self.chance
        world.wrong = RandomFaults(random.Random(self.seed + 2), 0.05, 8) if self.is_faulty else NoFaults()
        for number in range(chance.choice((1, 3, 8, 12))):
            self._busy += 1
            world.scheduler.add(Worker(f"caller {number}", self._until_done(number), self.schedule.start_ms))
        for number in range(chance.choice((1, 2))):
            world.scheduler.add(Worker(f"recorder {number}", self._log.record_all, self.schedule.start_ms))
        if self.changes:
            world.scheduler.add(Worker("operator", self._operate, self.schedule.start_ms))
        run_to_the_end(world, self.design)
        return world

    def process(self) -> Reservations:
        """A caller's process that has just started."""
        destinations = ProfileSelection(lambda: DynamoDBDirectoryStore(self.world.client("dynamodb"), TABLES))
        return made_process(
            self.world, self.design, self.chance, self._ids, Prices(), region=REGION, destinations=destinations
        )

    # --- callers

    def _until_done(self, number: int) -> Callable[[], None]:
        def work() -> None:
            process = self.process()
            for call in range(self.chance.choice((3, 8))):
                self.world.scheduler.sleep(self.chance.choice(self.pauses_ms))
                try:
                    self._call(process, f"caller {number} call {call}")
                except Killed:
                    process = self.process()
            self._busy -= 1

        return work

    def _call(self, process: Reservations, key: str) -> None:
        called, expected, how = draw_name(self.chance, self.owned)
        self.asked[how] = self.asked.get(how, 0) + 1
        bound, estimate = self._bound(expected)
        asked_ms = self.world.scheduler.now_ms
        answer = self._reserve(process, called, estimate, key, expected, how)
        if answer is None or answer.reservation is None:
            return
        held = answer.reservation
        through = held.through.rpartition("/")[2]
        if through != ("" if expected is None else expected.id):
            self.wrong_turns.append(f"{how} {called} goes through {through!r}, not {expected}")
        if expected is None or through != expected.id:
            self._give_back(process, held)
            return
        self.admitted += 1
        if expected.model == EMBED and any(one.meter == "output_tokens" and one.amount for one in held.held):
            self.wrong_turns.append(f"{how} {called} holds output of a model that writes none")
        if self.chance.random() < 0.05:
            return  # The caller dies before it calls.
        self._make(process, held, expected, bound, asked_ms)

    def _make(self, process: Reservations, held: Reservation, profile: Profile, bound: Used, asked_ms: int) -> None:
        """Call Bedrock: some attempts are refused before one runs, each with a record of its own."""
        scheduler, chance = self.world.scheduler, self.chance
        for _ in range(chance.choice((0, 0, 1, 2))):
            self._log_record(f"r{next(self._numbers)}", held.id, profile, None, scheduler.now_ms)
            scheduler.sleep(chance.choice((5, 800)))
        if chance.random() < 0.05:  # Every attempt was refused: nothing ran.
            self._give_back(process, held)
            return
        scheduler.sleep(chance.choice((1, 2_000, 9_000)))
        used, request = self._used(profile, bound), f"r{next(self._numbers)}"
        ahead_ms = chance.choice((0, 0, 0, 1_000, AHEAD_MS))
        event_ms = scheduler.now_ms + ahead_ms
        self.made[request] = Made(request, held.id, asked_ms, profile, used, event_ms)
        self._log_record(request, held.id, profile, used, event_ms)
        if chance.random() < 0.8:
            usage = {
                "requests": 1,
                "input_tokens": used.input,
                "output_tokens": used.output,
                "cache_read_tokens": used.cache_read,
                "cache_write_tokens": used.cache_write,
            }
            if chance.random() < 0.3:  # An answer that does not say all of it.
                usage = {kind: usage[kind] for kind in chance.sample(sorted(usage), chance.randrange(1, 5))}
            known = held if chance.random() < 0.5 else None
            self._change(lambda: process.shrink("acme", held.id, usage, lifetime_ms=600_000, known=known))

    def _bound(self, profile: Profile | None) -> tuple[Used, Estimate]:
        """Draw what a call may use at most, and say it as an estimate: by kind, or all that is read together."""
        chance = self.chance
        reads = chance.choice((300, 900, 4_000, 24_000))
        tier = chance.choice((None, None, "flex", "priority"))
        served = tier or "default"
        model = SONNET if profile is None else profile.model
        if model == CANVAS:
            images = chance.choice((1, 4))
            return Used(images=images, tier=served), Estimate(images=images, tier=tier)
        if model == EMBED:
            return Used(reads, 0, tier=served), Estimate(input_tokens=reads, output_tokens=EMBED_OUTPUT, tier=tier)
        output = chance.choice((10, OUTPUT))
        if chance.random() < 0.5:
            estimate = Estimate(input_tokens=reads, output_tokens=output, tier=tier, may_cache=True)
            return Used(reads, output, tier=served), estimate
        kinds = [chance.randrange(reads + 1) for _ in range(3)]
        estimate = Estimate(1, kinds[0], output, kinds[1], kinds[2], tier=tier)
        return Used(kinds[0], output, kinds[1], kinds[2], -1, tier=served), estimate

    def _used(self, profile: Profile, bound: Used) -> Used:
        """Draw what a call used within its bound; ``hour`` -1 marks a bound by kind."""
        chance = self.chance
        served = "default" if bound.tier == "flex" and chance.random() < 0.2 else bound.tier
        if profile.model == CANVAS:
            return Used(images=chance.randrange(bound.images + 1), tier=served)
        output = chance.randrange(bound.output + 1)
        if profile.model == EMBED:
            return Used(chance.randrange(1, bound.input + 1), tier=served)
        if bound.hour < 0:
            read = [chance.randrange(most + 1) for most in (bound.input, bound.cache_read, bound.cache_write)]
        else:
            left = bound.input if chance.random() < 0.5 else chance.randrange(bound.input + 1)
            cuts = sorted(chance.randrange(left + 1) for _ in range(2))
            read = [cuts[0], cuts[1] - cuts[0], left - cuts[1]]
            chance.shuffle(read)
            if chance.random() < 0.4:  # All of it is one kind.
                read = [0, 0, 0]
                read[chance.randrange(3)] = left
        hour = chance.choice((0, read[2], read[2] // 2))
        return Used(read[0], output, read[1], read[2], hour, tier=served)

    def _reserve(
        self, process: Reservations, called: Called, estimate: Estimate, key: str, expected: Profile | None, how: str
    ) -> Answer | None:
        for _ in range(ASKED_AGAIN):
            try:
                answer = process.reserve("acme", estimate, called=called, key=key, lifetime_ms=600_000)
            except (Contended, *AWS_ERRORS):
                self.world.scheduler.sleep(200)
                continue
            except ForeignProfile:
                if not how.startswith("foreign"):
                    self.wrong_turns.append(f"{how} {called} is refused as another tenant's")
                return None
            except UnknownCost:
                self.denied += 1
                if expected is not None and expected.model != UNKNOWN:
                    self.wrong_turns.append(f"{how} {called} has no price, says a limit, and {expected} has one")
                if not self._some_limit_asks_for_a_price():
                    self.wrong_turns.append(f"{how} {called} is refused without a price, and no limit may ask for one")
                return None
            if how.startswith("foreign"):
                self.wrong_turns.append(f"{how} {called} is not refused")
            if answer.reservation is None:
                self.denied += 1
                reading = answer.denied_by
                if reading is not None and reading.limit.shadow:
                    self.wrong_turns.append(f"shadow limit {reading.limit.name} denies")
            return answer
        return None

    def _some_limit_asks_for_a_price(self) -> bool:
        """Whether a limit in dollars that denies calls without a price was there at any time."""
        every = [*self.ceilings, *itertools.chain.from_iterable(self.changes)]
        return any(one.meter == "cost_usd" and one.hard and not one.shadow for one in every)

    def _give_back(self, process: Reservations, held: Reservation) -> None:
        self.given_back.add(held.id)
        self._change(lambda: process.release("acme", held.id))

    def _change(self, change: Callable[[], Reservation]) -> None:
        for _ in range(ASKED_AGAIN):
            try:
                change()
                return
            except (Contended, *AWS_ERRORS):
                self.world.scheduler.sleep(200)

    # --- the log and what reads it

    def _log_record(self, request: str, reservation: str, profile: Profile, used: Used | None, event_ms: int) -> None:
        record: dict[str, Any] = {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": event_ms,
            "accountId": ACCOUNT,
            "region": REGION,
            "requestId": request,
            "operation": "InvokeModel" if profile.model == CANVAS else "Converse",
            "modelId": profile.arn if self.chance.random() < 0.7 else profile.id,
            "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/service/session"},
            "requestMetadata": {RESERVATION_KEY: reservation},
        }
        if used is None:
            record["errorCode"] = "ThrottlingException"
        else:
            body: dict[str, Any] = {"serviceTier": {"type": used.tier}}
            if used.cache_write:
                short = used.cache_write - used.hour
                details = [{"ttl": "5m", "inputTokens": short}, {"ttl": "1h", "inputTokens": used.hour}]
                body["usage"] = {"cacheDetails": details}
            if profile.model == CANVAS:
                body["images"] = ["x"] * used.images
            record["input"] = {
                "inputTokenCount": used.input,
                "cacheReadInputTokenCount": used.cache_read,
                "cacheWriteInputTokenCount": used.cache_write,
            }
            record["output"] = {"outputTokenCount": used.output, "outputBodyJson": body}
        ready_ms = max(self.world.scheduler.now_ms, event_ms - AHEAD_MS) + self.chance.choice((200, 5_000, 90_000))
        self._log.add(ready_ms, json.dumps(record))

    def _operate(self) -> None:
        for limits in self.changes:
            self.world.scheduler.sleep(self.chance.choice((500, 9_000, 60_000)))
            for _ in range(ASKED_AGAIN):
                try:
                    self._simulation.operator.install("acme", limits, install_limits)
                    break
                except Killed:
                    return
                except FUNCTION_ERRORS:  # The person repeats the command.
                    self.world.scheduler.sleep(20_000)
