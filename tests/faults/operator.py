"""What people do meanwhile: they change limits, give boosts and end them, map profiles, and rate calls anew.

The decision: a person repeats a command that failed. One that rates anew goes on where its position file says, or from
the beginning, as people do.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.ledger_range import DynamoDBLedgerRange
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.usage.rerating import Page, Rerated, Rerating
from tests.faults.designs import Design
from tests.faults.faults import ENDINGS
from tests.faults.prices import DatedPrices
from tests.faults.scheduler import Livelock
from tests.faults.schedules import Ceiling, LimitChange, Rerate, Schedule
from tests.faults.world import TABLES, RatedAnew, World, limit_of

MOST_ATTEMPTS = 120
Planned = LimitChange | tuple[int, str, str]


@dataclass
class Operator:
    """Somebody with the operator's command."""

    world: World
    schedule: Schedule
    design: Design
    chance: random.Random

    def install(self, tenant: str, ceilings: tuple[Ceiling, ...], install: Callable[..., bool] | None = None) -> None:
        """Change a tenant's limits, as the design does unless ``install`` says otherwise."""

        def clock() -> int:
            self.world.installer_ms = self.world.scheduler.clock()
            return self.world.installer_ms

        (install or self.design.install)(
            DynamoDBInstallationStore(self.world.client("dynamodb"), TABLES),
            tenant,
            [limit_of(one, self.schedule.zone) for one in ceilings],
            clock=clock,
            new_id=lambda: f"change{self.chance.randrange(10**9)}",
        )

    def work(self) -> None:
        """Do what is planned, in order of time; the body of a worker."""
        scheduler = self.world.scheduler
        planned: list[Planned] = [*self.schedule.changes, *self.schedule.mappings]
        for one in sorted(planned, key=_at):
            scheduler.sleep(max(1, _at(one) - scheduler.now_ms))
            if isinstance(one, LimitChange):
                self._patiently(partial(self.install, one.tenant, one.limits))
            else:
                self.world.map_profile(one[1], one[2])

    def rate_meanwhile(self) -> None:
        """Rate anew what is planned beside recorders; the body of a worker."""
        for one in self.schedule.rerates[:-1]:
            self.world.scheduler.sleep(max(1, one.at_ms - self.world.scheduler.now_ms))
            self.rate(one)

    def rate_all(self) -> None:
        """Rate everything anew when all is recorded; the body of a worker."""
        self.rate(self.schedule.rerates[-1])

    def rate(self, planned: Rerate) -> None:
        """Rate anew until it is done, whatever stops it."""
        began, position = len(self.world.double.trace), _Position()

        def run() -> None:
            client = self.world.client("dynamodb")
            made = Rerating(
                DynamoDBRecordingStore(client, TABLES),
                DatedPrices(planned.book),
                clock=self.world.scheduler.clock,
                sleep_ms=self.world.scheduler.sleep,
                uniform=self.chance.random,
            )
            ledger = DynamoDBLedgerRange(client, TABLES, planned.from_ms, planned.to_ms)
            if self.chance.random() >= 0.3:
                after, refused = position.after, position.refused
            else:
                after, refused = None, 0
            report = Rerated(refused=refused)

            def note(page: Page) -> None:
                position.after, position.refused = page.after, report.refused

            self.design.rerating(made, self.world).run(ledger.pages(after), report, done=note)
            if report.refused:  # The command says so, and is repeated from the beginning.
                position.after, position.refused = None, 0
                raise _NotAll

        self._patiently(run)
        self.world.rated.append(RatedAnew(began, len(self.world.double.trace), self.world.scheduler.now_ms, planned))

    def _patiently(self, command: Callable[[], None]) -> None:
        for attempt in range(MOST_ATTEMPTS):
            try:
                return command()
            except _STOPS:  # The person repeats the command.
                self.world.scheduler.sleep(min(5_000 * (attempt + 1), 60_000))
        raise Livelock("a command could not be done")


@dataclass
class _Position:
    """What the command's file holds: everything up to this key is right, but for so many entries."""

    after: str | None = None
    refused: int = 0


class _NotAll(Exception):
    """Other writers kept the command from some entries."""


_STOPS: tuple[type[BaseException], ...] = (*ENDINGS, _NotAll)


def _at(planned: Planned) -> int:
    return planned[0] if isinstance(planned, tuple) else planned.at_ms
