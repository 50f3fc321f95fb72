"""How many notes a delivery costs: bounded in number and time, and each line accounted for."""

import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from bedrock_meter.errors import DeliverAgain, OutOfTime
from bedrock_meter.invocations.doubt import Origins
from bedrock_meter.invocations.objects import LogObject
from bedrock_meter.invocations.parser import Location
from bedrock_meter.invocations.quarantine import Reason, Rejected
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.usage.ingestion import (
    MAXIMUM_NOTES,
    NOTE_ROOM_MS,
    RECORDS_AT_ONCE,
    ROOM_MS,
    Ingested,
    Ingestion,
)
from bedrock_meter.usage.recorder import Recorded
from tests.doubles.records import NOW_MS, invocation
from tests.doubles.subscription import subscription_event
from tests.unit.usage.test_reporting import RecordsNothing

PLACE = "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/24/01/x.json.gz"
PLENTY_MS = 60_000


class Quarantine:
    """Remembers notes; ``refuses`` says which it has no time for."""

    def __init__(self, refuses: Callable[[Rejected], bool] = lambda _: False) -> None:
        self.kept: list[Rejected] = []
        self.refuses = refuses

    def keep(self, rejected: Rejected, now_ms: int) -> bool:
        if self.refuses(rejected):
            return False
        self.kept.append(rejected)
        return True

    @property
    def lines(self) -> int:
        return sum(one.records for one in self.kept)


def meter(quarantine: Quarantine, most_notes: int | None = MAXIMUM_NOTES, origins: Origins | None = None) -> Ingestion:
    more = {} if origins is None else {"origins": origins}
    return Ingestion(
        RecordsNothing(),  # type: ignore[arg-type]
        quarantine,
        retention_ms=400 * 86_400_000,
        clock=lambda: NOW_MS,
        most_notes=most_notes,
        **more,  # type: ignore[arg-type]
    )


def garbage(lines: int) -> list[str]:
    return [f"CANARY {number}" for number in range(lines)]


@pytest.mark.parametrize("further", [0, 1, 250])
def test_so_many_lines_get_a_note_each_and_the_rest_share_one(further: int) -> None:
    quarantine, report = Quarantine(), Ingested()
    lines: list[Invocation | str] = [invocation("r1"), *garbage(MAXIMUM_NOTES + further)]
    meter(quarantine).ingest(subscription_event(lines, logged_ms=NOW_MS), report, lambda: PLENTY_MS)
    assert len(quarantine.kept) == MAXIMUM_NOTES + (1 if further else 0)
    assert quarantine.lines == MAXIMUM_NOTES + further
    assert (report.read, report.usage.recorded, report.quarantined) == (len(lines), 1, MAXIMUM_NOTES + further)
    assert report.reasons == {Reason.NOT_JSON: MAXIMUM_NOTES + further}
    assert report.doubted == 0
    assert "CANARY" not in repr(quarantine.kept)


def test_the_same_delivery_makes_the_same_notes() -> None:
    quarantine = Quarantine()
    event = subscription_event(garbage(MAXIMUM_NOTES + 9), logged_ms=NOW_MS)
    for _ in range(2):
        meter(quarantine).ingest(event, Ingested(), lambda: PLENTY_MS)
    assert quarantine.kept[: MAXIMUM_NOTES + 1] == quarantine.kept[MAXIMUM_NOTES + 1 :]


def test_who_has_the_time_notes_each() -> None:
    quarantine = Quarantine()
    event = subscription_event(garbage(MAXIMUM_NOTES + 9), logged_ms=NOW_MS)
    meter(quarantine, None).ingest(event, Ingested(), lambda: 0)
    assert Counter(one.records for one in quarantine.kept) == {1: MAXIMUM_NOTES + 9}


def test_with_little_time_left_one_note_stands_for_all() -> None:
    quarantine, report = Quarantine(), Ingested()
    left = itertools.chain([NOTE_ROOM_MS, NOTE_ROOM_MS], itertools.repeat(NOTE_ROOM_MS - 1))
    event = subscription_event(garbage(20), logged_ms=NOW_MS)
    meter(quarantine).ingest(event, report, lambda: next(left))
    assert [one.records for one in quarantine.kept] == [1, 1, 18]
    assert report.quarantined == 20


class RunsOut(RecordsNothing):
    """A recorder that has time for so many batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def record(self, invocations: list[object], report: Recorded, remaining_ms: object) -> None:
        self.batches -= 1
        if self.batches < 0:
            raise OutOfTime("not recorded yet")


def running_out(quarantine: Quarantine, batches: int) -> Ingestion:
    return Ingestion(RunsOut(batches), quarantine, retention_ms=400 * 86_400_000, clock=lambda: NOW_MS)  # type: ignore[arg-type]


def test_no_note_stands_for_lines_that_come_again() -> None:
    quarantine, report = Quarantine(), Ingested()
    event = subscription_event([invocation("r1"), *garbage(MAXIMUM_NOTES + 5)], logged_ms=NOW_MS)
    with pytest.raises(OutOfTime):
        running_out(quarantine, 0).ingest(event, report, lambda: PLENTY_MS)
    assert [one.records for one in quarantine.kept] == [1] * MAXIMUM_NOTES
    again = Ingested()
    running_out(quarantine, 1).ingest(event, again, lambda: PLENTY_MS)
    assert [one.records for one in quarantine.kept[MAXIMUM_NOTES:]] == [1] * MAXIMUM_NOTES + [5]
    assert again.quarantined == MAXIMUM_NOTES + 5


def test_what_is_done_of_an_object_is_noted_also_where_its_next_part_runs_out_of_time() -> None:
    quarantine, report = Quarantine(), Ingested()
    with pytest.raises(OutOfTime):
        running_out(quarantine, 1).ingest_object(log_object(2 * RECORDS_AT_ONCE), report, lambda: PLENTY_MS)
    assert (report.lines, quarantine.lines, report.quarantined) == (RECORDS_AT_ONCE,) * 3


def test_a_note_for_the_rest_that_cannot_be_written_is_no_note() -> None:
    quarantine, report = Quarantine(lambda one: one.records > 1), Ingested()
    event = subscription_event(garbage(MAXIMUM_NOTES + 5), logged_ms=NOW_MS)
    with pytest.raises(DeliverAgain, match="5 rejected records"):
        meter(quarantine).ingest(event, report, lambda: PLENTY_MS)
    assert (report.quarantined, report.reasons) == (MAXIMUM_NOTES, {Reason.NOT_JSON: MAXIMUM_NOTES})


def log_object(lines: int) -> LogObject:
    return LogObject(Location("logs", PLACE), ["\n".join(garbage(lines)).encode()])


def test_an_object_has_as_many_notes_as_a_delivery() -> None:
    quarantine, report = Quarantine(), Ingested()
    lines = 3 * RECORDS_AT_ONCE + 7
    meter(quarantine).ingest_object(log_object(lines), report, lambda: PLENTY_MS)
    assert (len(quarantine.kept), quarantine.lines, report.quarantined) == (MAXIMUM_NOTES + 1, lines, lines)
    assert report.lines == lines


def test_what_is_done_of_an_object_is_noted_before_another_invocation_goes_on() -> None:
    quarantine, report = Quarantine(), Ingested()
    with pytest.raises(OutOfTime):
        meter(quarantine).ingest_object(log_object(2 * RECORDS_AT_ONCE), report, lambda: ROOM_MS - 1)
    assert (report.lines, quarantine.lines, report.quarantined) == (RECORDS_AT_ONCE,) * 3
    again = Ingested()
    meter(quarantine).ingest_object(log_object(2 * RECORDS_AT_ONCE), again, lambda: PLENTY_MS, after=report.lines)
    assert (again.lines, quarantine.lines) == (2 * RECORDS_AT_ONCE, 2 * RECORDS_AT_ONCE)


def test_doubted_records_are_counted_by_themselves_also_behind_one_note() -> None:
    origins = Origins(frozenset({"999999999999"}), frozenset({"*"}), frozenset({"*"}), 10**7)
    quarantine, report = Quarantine(), Ingested()
    lines: list[Invocation | str] = [*[invocation(f"r{number}") for number in range(MAXIMUM_NOTES + 20)], "garbage"]
    meter(quarantine, origins=origins).ingest(subscription_event(lines, logged_ms=NOW_MS), report, lambda: PLENTY_MS)
    assert report.reasons == {Reason.FOREIGN_ACCOUNT: MAXIMUM_NOTES + 20, Reason.NOT_JSON: 1}
    assert (report.doubted, report.usage.recorded) == (MAXIMUM_NOTES + 20, 0)
    assert report.read == report.quarantined == len(lines)
