"""A log group that no subscription ever delivered, read again through the recorder."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.reconciliation.backfill import SLICE_MS, backfill
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage.invocation_log import CloudWatchInvocationLog
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.wiring import ingestion
from tests.doubles.records import NOW_MS, invocation
from tests.doubles.subscription import record_of, subscription_event

FROM_MS = NOW_MS - NOW_MS % SLICE_MS
TO_MS = FROM_MS + 4 * SLICE_MS
STREAMS = ("aws/bedrock/modelinvocations", "another")
_numbers = itertools.count()


class World:
    """A log group and everything to record it with."""

    def __init__(self, endpoint: Endpoint, tables: Tables) -> None:
        number = next(_numbers)
        self.dynamodb, self.s3, self.logs = (endpoint.client(name) for name in ("dynamodb", "s3", "logs"))
        self.tables, self.bucket, self.group = tables, f"backfill-{number}", f"/backfill/{number}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.logs.create_log_group(logGroupName=self.group)
        for stream in STREAMS:
            self.logs.create_log_stream(logGroupName=self.group, logStreamName=stream)

    def put(self, stream: str, lines: list[tuple[int, Invocation | str]]) -> None:
        self.logs.put_log_events(
            logGroupName=self.group,
            logStreamName=stream,
            logEvents=[
                {"timestamp": at_ms, "message": line if isinstance(line, str) else json.dumps(record_of(line))}
                for at_ms, line in sorted(lines, key=lambda pair: pair[0])
            ],
        )

    def run(self, from_ms: int = FROM_MS, to_ms: int = TO_MS, done: Callable[[int], None] = lambda _: None) -> Ingested:
        report = Ingested()
        meter = ingestion(
            self.dynamodb,
            lambda: self.s3,
            self.tables,
            self.bucket,
            retention_ms=400 * DAY_MS,
            now=lambda: TO_MS + DAY_MS,
        )
        log = CloudWatchInvocationLog(self.logs, self.group, page_events=7)
        backfill(log, from_ms, to_ms, ingest=lambda one: meter.ingest(one, report, lambda: 60_000), done=done)
        return report

    def contents(self) -> list[Any]:
        tables = (self.tables.ledger, self.tables.usage, self.tables.quotas)
        found = [sorted(self.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"], key=str) for table in tables]
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [*found, sorted(item["Key"] for item in listed)]


@pytest.fixture
def world(endpoint: Endpoint, tables: Tables) -> World:
    """30 calls in two streams over an hour, a twin, a failure, a line that is no record; one call before, one after."""
    world = World(endpoint, tables)
    calls = [(FROM_MS + number * 119_000, invocation(f"r{number}")) for number in range(30)]
    odd: list[tuple[int, Invocation | str]] = [
        (FROM_MS, invocation("first")),
        (FROM_MS - 1, invocation("before")),
        (TO_MS, invocation("after")),
        (TO_MS - 1, invocation("last", error_code="ThrottlingException")),
        (FROM_MS + 5_000, invocation("r3")),
        (FROM_MS + 6_000, "no record"),
        (FROM_MS + 7_000, "Permissions are correctly set for Amazon Bedrock logs."),
    ]
    world.put(STREAMS[0], [*calls[::2]])
    world.put(STREAMS[1], [*calls[1::2], *odd])
    return world


def test_a_range_is_recorded_whole_and_twice_changes_nothing(world: World) -> None:
    report = world.run()
    assert (report.read, report.usage.recorded, report.usage.errors) == (34, 31, 1)
    assert (report.usage.duplicates, report.quarantined) == (1, 1)
    once = world.contents()
    names = {item["pk"]["S"].rpartition("#")[2] for item in once[0]}
    assert names == {"first", "last", *(f"r{number}" for number in range(30))}
    again = world.run()
    assert (again.read, again.usage.recorded, again.usage.errors, again.quarantined) == (34, 0, 0, 1)
    assert again.usage.duplicates == 33
    assert world.contents() == once


def test_what_was_delivered_meanwhile_counts_once(world: World) -> None:
    meter = ingestion(
        world.dynamodb,
        lambda: world.s3,
        world.tables,
        world.bucket,
        retention_ms=400 * DAY_MS,
        now=lambda: TO_MS + DAY_MS,
    )
    delivered = [invocation(f"r{number}") for number in range(10, 20)]
    meter.ingest(subscription_event(delivered, logged_ms=NOW_MS), Ingested(), lambda: 60_000)
    report = world.run()
    assert (report.usage.recorded, report.usage.duplicates) == (21, 11)


class Stopped(Exception):
    pass


def test_it_goes_on_where_it_was_stopped(world: World) -> None:
    done: list[int] = []

    def stop(until_ms: int) -> None:
        done.append(until_ms)
        if len(done) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        world.run(done=stop)
    assert done == [FROM_MS + SLICE_MS, FROM_MS + 2 * SLICE_MS]
    rest = world.run(from_ms=done[-1])
    assert rest.usage.recorded + rest.usage.errors < 32
    assert rest.usage.duplicates == 0
    assert len(world.contents()[0]) == 32
