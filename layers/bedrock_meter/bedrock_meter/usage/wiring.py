"""Which parts talk to which in ``record_usage``, ``redrive_failures`` and ``record_objects``.

Tests build the same graph with their own clients, clock and chance.
"""

import random
from collections.abc import Callable
from typing import Any

from bedrock_meter import clock
from bedrock_meter.invocations.doubt import EVERYTHING, Origins
from bedrock_meter.pricing.wiring import rater_for
from bedrock_meter.settings import Tables
from bedrock_meter.storage.announcements import DynamoDBAnnouncer
from bedrock_meter.storage.directory import DynamoDBDirectoryStore
from bedrock_meter.storage.failures import S3FailureStore
from bedrock_meter.storage.log_objects import S3LogObjects, SQSLater
from bedrock_meter.storage.probes import DynamoDBProbes
from bedrock_meter.storage.profile_lookup import BedrockProfileLookup
from bedrock_meter.storage.quarantine import S3Quarantine
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.tenants.directory import CachedDirectory
from bedrock_meter.tenants.lookup import LiveLookup
from bedrock_meter.usage.ingestion import MAXIMUM_NOTES, Ingestion
from bedrock_meter.usage.ledger import Rater
from bedrock_meter.usage.objects import ObjectIntake
from bedrock_meter.usage.recorder import Recorder
from bedrock_meter.usage.redrive import Redrive


def ingestion(
    dynamodb: Any,
    s3: Callable[[], Any],
    tables: Tables,
    bucket: str,
    *,
    retention_ms: int,
    origins: Origins = EVERYTHING,
    tag_key: str = "",
    keeps_sessions: bool = True,
    now: Callable[[], int] = clock.now_ms,
    sleep_ms: Callable[[int], None] = clock.sleep_ms,
    uniform: Callable[[], float] = random.random,
    rater: Rater | None = None,
    most_notes: int | None = MAXIMUM_NOTES,
) -> Ingestion:
    """Return what takes in deliveries of log records.

    ``s3`` makes the client when a record is rejected; ``rater`` is that of the price book unless one is given.
    ``origins`` says which records are believed; whoever serves a stack takes them from its settings. ``tag_key`` is the
    tag by which Bedrock is asked for profiles without a mapping; empty asks nobody.
    ``keeps_sessions`` says whether the ledger keeps the names of callers' sessions.
    """
    directory = DynamoDBDirectoryStore(dynamodb, tables)
    lookup = LiveLookup(BedrockProfileLookup(), directory, tag_key=tag_key, clock=now) if tag_key else None
    recorder = Recorder(
        DynamoDBRecordingStore(dynamodb, tables),
        CachedDirectory(directory, lookup=lookup),
        DynamoDBAnnouncer(dynamodb, tables),
        rater if rater is not None else rater_for(dynamodb, tables, now),
        retention_ms=retention_ms,
        keeps_sessions=keeps_sessions,
        clock=now,
        sleep_ms=sleep_ms,
        uniform=uniform,
    )
    probes = DynamoDBProbes(dynamodb, tables)
    return Ingestion(
        recorder,
        S3Quarantine(s3, bucket),
        retention_ms=retention_ms,
        clock=now,
        origins=origins,
        probes=probes,
        most_notes=most_notes,
    )


def redrive(
    dynamodb: Any,
    s3: Callable[[], Any],
    tables: Tables,
    bucket: str,
    function: str,
    *,
    retention_ms: int,
    origins: Origins = EVERYTHING,
    tag_key: str = "",
    keeps_sessions: bool = True,
    now: Callable[[], int] = clock.now_ms,
    sleep_ms: Callable[[int], None] = clock.sleep_ms,
    uniform: Callable[[], float] = random.random,
    rater: Rater | None = None,
) -> Redrive:
    """Return what takes in again the failed deliveries of ``function`` that lie in ``bucket``."""
    taking_in = ingestion(
        dynamodb,
        s3,
        tables,
        bucket,
        retention_ms=retention_ms,
        origins=origins,
        tag_key=tag_key,
        keeps_sessions=keeps_sessions,
        now=now,
        sleep_ms=sleep_ms,
        uniform=uniform,
        rater=rater,
    )
    return Redrive(S3FailureStore(s3, bucket, function), taking_in, function, clock=now, shuffle=random.shuffle)


def object_intake(
    dynamodb: Any,
    s3: Callable[[], Any],
    sqs: Callable[[], Any],
    tables: Tables,
    bucket: str,
    queue_url: str,
    *,
    retention_ms: int,
    origins: Origins = EVERYTHING,
    tag_key: str = "",
    keeps_sessions: bool = True,
    now: Callable[[], int] = clock.now_ms,
) -> ObjectIntake:
    """Return what takes in objects of the log; ``bucket`` is the failure store, ``queue_url`` tells of the objects."""
    taking_in = ingestion(
        dynamodb,
        s3,
        tables,
        bucket,
        retention_ms=retention_ms,
        origins=origins,
        tag_key=tag_key,
        keeps_sessions=keeps_sessions,
        now=now,
    )
    return ObjectIntake(S3LogObjects(s3), taking_in, SQSLater(sqs, queue_url))
