"""Objects of the log on S3, EventBridge, SQS and DynamoDB: from the upload to the sums."""

import gzip
import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import rollups
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.ingestion import RECORDS_AT_ONCE, ROOM_MS, Ingested
from bedrock_meter.usage.objects import ObjectReport
from bedrock_meter.usage.rollup import NOTHING, Sums
from bedrock_meter.usage.wiring import ingestion, object_intake
from tests.doubles.records import NOW_MS, invocation, sums
from tests.doubles.subscription import record_of, subscription_event
from tests.template.reading import properties

FOLDER = "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/24/01"
PLENTY_MS = 300_000
_numbers = itertools.count()


class World:
    """Tables, a log bucket that tells EventBridge, and a queue behind a rule as in the template."""

    def __init__(self, endpoint: Endpoint, tables: Tables) -> None:
        self.tables, number = tables, next(_numbers)
        self.dynamodb, self.s3, self.sqs, events = (
            endpoint.client(service) for service in ("dynamodb", "s3", "sqs", "events")
        )
        self.logs, self.failures = f"logs-{number}", f"object-failures-{number}"
        for bucket in (self.logs, self.failures):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_notification_configuration(
            Bucket=self.logs, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        self.queue = self.sqs.create_queue(QueueName=f"objects-{number}")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = properties("LogObjectRule")["EventPattern"]
        pattern = {**pattern, "detail": {"bucket": {"name": [self.logs]}}}
        events.put_rule(Name=f"objects-{number}", EventPattern=json.dumps(pattern))
        events.put_targets(Rule=f"objects-{number}", Targets=[{"Id": "queue", "Arn": arn}])
        self.intake = object_intake(
            self.dynamodb,
            lambda: self.s3,
            lambda: self.sqs,
            tables,
            self.failures,
            self.queue,
            retention_ms=400 * DAY_MS,
            now=lambda: NOW_MS,
        )

    def upload(self, name: str, records: Iterable[str]) -> None:
        content = gzip.compress("\n".join(records).encode())
        self.s3.put_object(Bucket=self.logs, Key=f"{FOLDER}/{name}", Body=content)

    def take_in(self, remaining_ms: int = PLENTY_MS) -> tuple[str, ObjectReport]:
        """Take in the next message; returns it as well."""
        message = self.next_message()
        report = ObjectReport()
        self.intake.take_in(message["Body"], report, lambda: remaining_ms)
        self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return message["Body"], report

    def next_message(self) -> Any:
        for _ in range(50):
            if found := self.sqs.receive_message(QueueUrl=self.queue).get("Messages"):
                return found[0]
            time.sleep(0.1)
        raise AssertionError("no message came")

    def used(self) -> Sums:
        pages = rollups.read_rollups(self.dynamodb, self.tables.usage, UNATTRIBUTED, from_ms=0)
        return sum((one for page in pages for _, one in page), NOTHING)


@pytest.fixture
def world(endpoint: Endpoint, tables: Tables) -> World:
    return World(endpoint, tables)


def calls(numbers: Iterable[int]) -> list[str]:
    return [json.dumps(record_of(invocation(f"r{number}"))) for number in numbers]


def test_an_upload_is_counted_once_beside_the_same_calls_from_the_log_group(world: World) -> None:
    report = Ingested()
    taking_in = ingestion(
        world.dynamodb, lambda: world.s3, world.tables, world.failures, retention_ms=400 * DAY_MS, now=lambda: NOW_MS
    )
    taking_in.ingest(subscription_event(calls(range(20, 40)), logged_ms=NOW_MS), report, lambda: PLENTY_MS)
    world.upload("x y+z é.json.gz", [*calls(range(30)), "CANARY-broken"])
    message, found = world.take_in()
    assert (found.read, found.ingested.usage.recorded, found.ingested.usage.duplicates) == (1, 20, 10)
    again = ObjectReport()
    world.intake.take_in(message, again, lambda: PLENTY_MS)
    assert (again.ingested.usage.recorded, again.ingested.usage.duplicates) == (0, 30)
    assert world.used() == sums(requests=40, unpriced=40, input=400, output=200)
    notes = world.s3.list_objects_v2(Bucket=world.failures)["Contents"]
    assert len(notes) == 1
    note = world.s3.get_object(Bucket=world.failures, Key=notes[0]["Key"])["Body"].read().decode()
    assert json.loads(note)["log_stream"] == f"{FOLDER}/x y+z é.json.gz"
    assert "CANARY" not in note


def test_bodies_beside_the_log_are_not_read(world: World) -> None:
    world.upload("data/0b4c_input.json.gz", calls(range(3)))
    _, found = world.take_in()
    assert (found.skipped, found.read) == (1, 0)
    assert world.used() == NOTHING


def test_an_object_that_takes_longer_comes_back_through_the_queue(world: World) -> None:
    world.upload("huge.json.gz", calls(range(RECORDS_AT_ONCE + 20)))
    first, found = world.take_in(ROOM_MS - 1)
    assert (found.continued, found.read, found.ingested.usage.recorded) == (1, 0, RECORDS_AT_ONCE)
    rest, found = world.take_in()
    assert rest != first
    assert (found.continued, found.read, found.ingested.usage.recorded) == (0, 1, 20)
    assert found.ingested.usage.duplicates == 0
    assert world.used().requests == RECORDS_AT_ONCE + 20


def test_an_object_that_is_gone_is_not_passed_over(world: World) -> None:
    world.upload("x.json.gz", calls(range(1)))
    message = world.next_message()
    world.s3.delete_object(Bucket=world.logs, Key=f"{FOLDER}/x.json.gz")
    with pytest.raises(ClientError, match="NoSuchKey"):
        world.intake.take_in(message["Body"], ObjectReport(), lambda: PLENTY_MS)
