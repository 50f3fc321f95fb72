"""Objects of the log, taken in message by message: resumed, repeated, mixed with deliveries of CloudWatch Logs."""

import gzip
import json
from collections.abc import Callable, Iterable

import pytest

from bedrock_meter.errors import DeliverAgain, OutOfTime
from bedrock_meter.invocations.objects import LogObject
from bedrock_meter.invocations.parser import Location
from bedrock_meter.invocations.quarantine import Rejected
from bedrock_meter.settings import DAY_MS
from bedrock_meter.storage.log_objects import OpenedObject
from bedrock_meter.usage.ingestion import RECORDS_AT_ONCE, ROOM_MS, Ingested, Ingestion
from bedrock_meter.usage.objects import ObjectIntake, ObjectReport, UnknownMessage
from bedrock_meter.usage.rollup import Sums
from tests.doubles.records import NOW_MS, invocation, priced
from tests.doubles.subscription import record_of, subscription_event
from tests.unit.usage.recording_bench import Bench

KEY = "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/24/01/x.json.gz"
PLENTY_MS = 300_000


class Notes:
    """Quarantine in memory; ``is_busy`` refuses all."""

    def __init__(self) -> None:
        self.kept: set[Rejected] = set()
        self.is_busy = False

    def keep(self, rejected: Rejected, now_ms: int) -> bool:
        if not self.is_busy:
            self.kept.add(rejected)
        return not self.is_busy


class World:
    """A bucket and a queue around a recorder in memory."""

    def __init__(self) -> None:
        self.bench, self.notes = Bench(), Notes()
        self.bench.tenant("acme")
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.queued: list[str] = []
        self.ingestion = Ingestion(
            self.bench.recorder, self.notes, retention_ms=400 * DAY_MS, clock=lambda: self.bench.now_ms
        )
        self.intake = ObjectIntake(self, self.ingestion, self)

    def open(self, bucket: str, key: str) -> OpenedObject:
        version, content = self.objects[key]
        chunks = (content[start : start + 1000] for start in range(0, len(content), 1000))
        return OpenedObject(version, LogObject(Location(bucket, key), chunks))

    def send(self, body: str) -> None:
        self.queued.append(body)

    def put(self, records: Iterable[str], version: str = '"v1"') -> None:
        self.objects[KEY] = (version, gzip.compress("\n".join(records).encode()))

    def take_in(self, body: str, remaining_ms: Callable[[], int] = lambda: PLENTY_MS) -> ObjectReport:
        report = ObjectReport()
        self.intake.take_in(body, report, remaining_ms)
        return report

    def used(self) -> Sums:
        return self.bench.total("acme")


@pytest.fixture
def world() -> World:
    return World()


def created(key: str = KEY) -> str:
    """What EventBridge puts into the queue."""
    document = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {"bucket": {"name": "logs"}, "object": {"key": key, "size": 1, "etag": "v1"}, "reason": "PutObject"},
    }
    return json.dumps(document)


def calls(numbers: Iterable[int]) -> list[str]:
    return [json.dumps(record_of(invocation(f"r{number}", profile="acmeprofile"))) for number in numbers]


def test_an_object_counts_once_however_often_it_comes(world: World) -> None:
    world.put([*calls(range(30)), "CANARY-broken"])
    reports = [world.take_in(created()) for _ in range(3)]
    assert [(one.read, one.continued, one.skipped) for one in reports] == [(1, 0, 0)] * 3
    assert [one.ingested.usage.recorded for one in reports] == [30, 0, 0]
    assert [one.ingested.usage.duplicates for one in reports] == [0, 30, 30]
    assert world.used() == priced(30, input=300, output=150)
    (note,) = world.notes.kept
    assert (note.log_group, note.log_stream, note.log_event_id) == ("logs", KEY, "31")
    assert "CANARY" not in repr(note)


@pytest.mark.parametrize("logs_first", [True, False])
def test_both_sources_count_once(world: World, logs_first: bool) -> None:
    world.put(calls(range(20)))
    report = Ingested()

    def from_logs() -> None:
        delivery = subscription_event(calls(range(10, 30)), logged_ms=NOW_MS)
        world.ingestion.ingest(delivery, report, lambda: PLENTY_MS)

    if logs_first:
        from_logs()
    found = world.take_in(created()).ingested.usage
    if not logs_first:
        from_logs()
    assert found.recorded + report.usage.recorded == 30
    assert found.duplicates + report.usage.duplicates == 10
    assert world.used() == priced(30, input=300, output=150)


def test_a_huge_object_gets_further_with_every_invocation(world: World) -> None:
    total = 4 * RECORDS_AT_ONCE + 7
    world.put(calls(range(total)))
    messages, recorded, rounds = [created()], [], 0
    while messages:
        report = world.take_in(messages.pop(), lambda: ROOM_MS - 1)
        recorded.append(report.ingested.usage.recorded)
        assert report.ingested.usage.duplicates == 0
        messages, world.queued = messages + world.queued, []
        rounds += 1
    assert recorded == [RECORDS_AT_ONCE] * 4 + [7]
    assert world.used().requests == total
    assert rounds == 5


def test_an_object_that_gets_no_further_keeps_its_message(world: World) -> None:
    world.put(calls(range(3)))
    with pytest.raises(OutOfTime):
        world.take_in(created(), lambda: 0)
    assert world.queued == []


def test_the_rest_of_another_content_begins_anew(world: World) -> None:
    world.put(calls(range(RECORDS_AT_ONCE + 1)))
    world.take_in(created(), lambda: ROOM_MS - 1)
    (rest,) = world.queued
    world.put(calls(range(5000, 5010)), version='"v2"')
    assert world.take_in(rest).ingested.usage.recorded == 10


def test_a_crash_before_the_old_message_goes_counts_nothing_twice(world: World) -> None:
    world.put(calls(range(RECORDS_AT_ONCE + 5)))
    world.take_in(created(), lambda: ROOM_MS - 1)
    for message in [*world.queued, created(), *world.queued]:
        world.take_in(message)
    assert world.used().requests == RECORDS_AT_ONCE + 5


def test_what_stands_before_damage_counts(world: World) -> None:
    world.put(calls(range(2000)))
    version, content = world.objects[KEY]
    world.objects[KEY] = (version, content[: len(content) // 2])
    reports = [world.take_in(created()) for _ in range(2)]
    assert 100 < world.used().requests < 2000
    assert [one.ingested.reasons.get("truncated_gzip") for one in reports] == [1, 1]
    found = reports[0].ingested
    assert found.read == found.usage.recorded + found.usage.duplicates + found.quarantined
    whole = [one for one in world.notes.kept if not one.log_event_id]
    assert len(whole) == 1


def test_what_cannot_be_noted_comes_again_and_what_counts_is_recorded(world: World) -> None:
    world.put([*calls(range(3)), "broken"])
    world.notes.is_busy = True
    with pytest.raises(DeliverAgain):
        world.take_in(created())
    assert world.used().requests == 3
    world.notes.is_busy = False
    assert world.take_in(created()).ingested.usage.duplicates == 3


def test_records_of_any_time_are_admitted_as_ever(world: World) -> None:
    old = json.dumps(record_of(invocation("old", event_ms=NOW_MS - 394 * DAY_MS)))
    ahead = json.dumps(record_of(invocation("ahead", event_ms=NOW_MS + 600_000)))
    timeless = json.dumps({**record_of(invocation("timeless")), "timestamp": None})
    world.put([old, ahead, timeless, *calls(range(2))])
    found = world.take_in(created()).ingested
    assert found.reasons == {"too_old": 1, "in_the_future": 1, "time": 1}
    assert found.usage.recorded == 2


def test_other_objects_are_left_alone(world: World) -> None:
    for key in (KEY.replace("/x.json.gz", "/data/x.json.gz"), "amazon-bedrock-logs-permission-check", "x"):
        assert world.take_in(created(key)).skipped == 1


def test_a_missing_object_keeps_its_message(world: World) -> None:
    with pytest.raises(KeyError):
        world.take_in(created())


NO_OBJECTS = [
    "",
    "{",
    "[]",
    "{}",
    "null",
    "1",
    "[" * 100_000,
    "\ud800",
    '{"detail": {}}',
    '{"bucket": "b"}',
    '{"bucket": 1, "key": 2}',
    '{"bucket": "b", "key": "k", "after": "1"}',
    '{"detail": {"bucket": {"name": 1}, "object": {"key": 2}}}',
]


@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_message_about_nothing_is_kept_for_people_to_see(world: World, body: str) -> None:
    with pytest.raises(UnknownMessage) as problem:
        world.take_in(body)
    assert str(len(body)) in str(problem.value)
