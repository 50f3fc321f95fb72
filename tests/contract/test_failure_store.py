"""What every failure store promises, and the whole redrive over DynamoDB and S3."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import DAY_MS, Tables
from bedrock_meter.storage import rollups
from bedrock_meter.storage.failures import S3FailureStore
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.redrive import Failure, FailureStore, Redriven
from bedrock_meter.usage.rollup import NOTHING, Sums
from bedrock_meter.usage.wiring import redrive
from tests.doubles.failures import FUNCTION, MemoryFailureStore, failed_delivery, failure_key
from tests.doubles.records import NOW_MS, invocation, sums
from tests.doubles.subscription import subscription_event

_numbers = itertools.count()
Made = Callable[[Mapping[str, bytes]], FailureStore]


class Bucket:
    """A bucket of its own with objects."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.s3, self.name = endpoint.client("s3"), f"failed-{next(_numbers)}"
        self.s3.create_bucket(Bucket=self.name)

    def put(self, objects: Mapping[str, bytes]) -> None:
        for key, content in objects.items():
            self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def names(self) -> set[str]:
        return {one["Key"] for one in self.s3.list_objects_v2(Bucket=self.name).get("Contents", [])}


@pytest.fixture
def bucket(endpoint: Endpoint) -> Bucket:
    return Bucket(endpoint)


@pytest.fixture(params=["memory", "s3"])
def make(request: pytest.FixtureRequest) -> Made:
    if request.param == "memory":
        return MemoryFailureStore
    bucket: Bucket = request.getfixturevalue("bucket")

    def over_s3(objects: Mapping[str, bytes]) -> FailureStore:
        bucket.put(objects)
        return S3FailureStore(lambda: bucket.s3, bucket.name, FUNCTION)

    return over_s3


def test_what_waits_is_listed_with_its_size_up_to_a_maximum(make: Made) -> None:
    store = make({failure_key(number): b"x" * number for number in range(3)})
    assert store.waiting(10) == [Failure(failure_key(number), number) for number in range(3)]
    assert len(store.waiting(2)) == 2


def test_content_is_read_and_what_is_deleted_is_gone_for_good(make: Made) -> None:
    store = make({failure_key(0): b"content"})
    (failure,) = store.waiting(10)
    assert store.read(failure) == b"content"
    store.delete(failure)
    store.delete(failure)
    assert store.read(failure) is None
    assert store.waiting(10) == []


def test_attempts_are_counted_for_each_object_and_change_nothing_else(make: Made) -> None:
    store = make({failure_key(0): b"one", failure_key(1): b"two"})
    one, two = store.waiting(10)
    assert [store.attempt(one) for _ in range(3)] == [1, 2, 3]
    assert store.attempt(two) == 1
    store.attempted(one, 1)
    assert store.attempt(one) == 2
    assert store.read(one) == b"one"
    assert store.waiting(10) == [one, two]


def test_what_is_parked_waits_no_more_and_parking_again_is_harmless(make: Made) -> None:
    store = make({failure_key(0): b"one", failure_key(1): b"two"})
    one, two = store.waiting(10)
    store.park(one, "attempts")
    store.park(one, "attempts")
    assert store.waiting(10) == [two]
    assert store.attempt(one) is None
    store.attempted(one, 7)
    assert store.waiting(10) == [two]


def test_parked_content_is_kept_under_the_same_rule_of_expiry(bucket: Bucket) -> None:
    bucket.put({failure_key(0): b"content"})
    store = S3FailureStore(lambda: bucket.s3, bucket.name, FUNCTION)
    (failure,) = store.waiting(1)
    store.attempt(failure)
    store.park(failure, "attempts")
    (key,) = bucket.names()
    assert key == failure_key(0).replace("aws/lambda/async/", "aws/lambda/parked/")
    kept = bucket.s3.get_object(Bucket=bucket.name, Key=key)
    assert (kept["Body"].read(), kept["Metadata"]) == (b"content", {"reason": "attempts"})
    assert bucket.s3.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"] == []


def test_other_functions_failures_and_notes_are_never_seen(bucket: Bucket) -> None:
    others = {
        failure_key(0, "another"): b"x",
        failure_key(0, f"{FUNCTION}-2"): b"x",
        "aws/lambda/00000000-0000/shard/2026/11/24/x": b"x",
        "quarantine/2026/11/24/not_json/x.json": b"x",
    }
    bucket.put(others)
    assert S3FailureStore(lambda: bucket.s3, bucket.name, FUNCTION).waiting(10) == []
    assert bucket.names() == set(others)


class World:
    """Tables and a bucket, and the parts of the functions over them."""

    def __init__(self, endpoint: Endpoint, tables: Tables, bucket: Bucket) -> None:
        self.endpoint, self.tables, self.bucket = endpoint, tables, bucket
        self.dynamodb = endpoint.client("dynamodb")

    def redrive(self) -> Redriven:
        report = Redriven()
        made = redrive(
            self.dynamodb,
            lambda: self.bucket.s3,
            self.tables,
            self.bucket.name,
            FUNCTION,
            retention_ms=400 * DAY_MS,
            now=lambda: NOW_MS,
            sleep_ms=lambda _: None,
        )
        made.run(report, lambda: 240_000)
        return report

    def used(self) -> Sums:
        pages = rollups.read_rollups(self.dynamodb, self.tables.usage, UNATTRIBUTED, from_ms=0)
        return sum((one for page in pages for _, one in page), NOTHING)


@pytest.fixture
def world(endpoint: Endpoint, tables: Tables, bucket: Bucket) -> World:
    return World(endpoint, tables, bucket)


def deliveries(number: int) -> list[dict[str, Any]]:
    """Ten records each, half of them in the next one as well, and something unreadable."""
    return [
        subscription_event(
            [*[invocation(f"r{5 * one + record}") for record in range(10)], "CANARY-broken"], logged_ms=NOW_MS
        )
        for one in range(number)
    ]


def test_failed_deliveries_are_counted_once_however_often_they_are_redriven(world: World) -> None:
    events = deliveries(6)
    objects = {failure_key(number): failed_delivery(event) for number, event in enumerate(events)}
    expected = sums(requests=35, unpriced=35, input=350, output=175)
    reports = []
    for _ in range(3):
        world.bucket.put(objects)
        reports.append(world.redrive())
        assert world.used() == expected
    assert [one.redriven for one in reports] == [6, 6, 6]
    assert [one.ingested.usage.recorded for one in reports] == [35, 0, 0]
    for one in reports:
        found = one.ingested
        assert found.read == 66 == found.usage.recorded + found.usage.duplicates + found.quarantined
    left = world.bucket.names()
    assert {key.split("/")[0] for key in left} == {"quarantine"}
    for key in left:
        assert b"CANARY" not in world.bucket.s3.get_object(Bucket=world.bucket.name, Key=key)["Body"].read()


def test_runs_at_the_same_time_count_once(world: World) -> None:
    objects = {failure_key(number): failed_delivery(event) for number, event in enumerate(deliveries(8))}
    world.bucket.put(objects)
    with ThreadPoolExecutor(3) as pool:
        reports = [one.result() for one in [pool.submit(world.redrive) for _ in range(3)]]
    assert world.used() == sums(requests=45, unpriced=45, input=450, output=225)
    assert sum(one.ingested.usage.recorded for one in reports) == 45
    assert not [one for one in reports if one.failures]
    assert not [key for key in world.bucket.names() if key.startswith("aws/lambda/")]
