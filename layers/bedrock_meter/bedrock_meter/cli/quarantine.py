"""``quarantine list`` and ``quarantine redrive``: notes about records that are not counted, and those records again."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, recorder_of, tables_of
from bedrock_meter.cli.options import Output, Stack
from bedrock_meter.cli.terminal import print_table

if TYPE_CHECKING:
    from bedrock_meter.reconciliation.notes import Note, Outcome
    from bedrock_meter.usage.ingestion import Ingested

RECORD_MS = 600_000
"""How long one record or object may take: the recorder waits for busy tables as long as that."""

_WIDTH_ELSEWHERE = 200
"""Columns where stdout is no terminal: a note's hash and stream are long."""

Chosen = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="Notes of this reason only.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option(metavar="ISO", help="Notes about records of this day or later.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    quarantine = typer.Typer(help="Records that are not counted: why, where they are.", rich_markup_mode=None)
    quarantine.command(
        "list",
        short_help="List notes about records that are not counted.",
        help="List notes about records that are not counted: why, where they are, how long. They hold no content.",
        epilog="Example: bedrock-meter quarantine list --reason not_json --stack bedrock-meter",
    )(list_notes)
    quarantine.command(
        "redrive",
        short_help="Read records in quarantine again, and record what can be counted now.",
        help="Read the records behind the notes again where the log keeps them, and record what can be counted now. "
        "Notes about records that count are removed.",
        epilog="Example: bedrock-meter quarantine redrive --reason too_old --stack bedrock-meter",
    )(redrive_notes)
    app.add_typer(quarantine, name="quarantine")


def list_notes(stack: Stack = LOCAL, reason: Chosen = None, since: Since = None, output: Output = "table") -> None:
    """List notes."""
    filters = _filters(reason, since)
    notes = _notes(outputs_of_stack(stack), *filters)[1]
    _print([_document(note) for note in notes], output)


def redrive_notes(stack: Stack = LOCAL, reason: Chosen = None, since: Since = None, output: Output = "table") -> None:
    """Read records again."""
    from bedrock_meter.reconciliation.notes import redrive

    filters = _filters(reason, since)
    outputs = outputs_of_stack(stack)
    store, notes = _notes(outputs, *filters)
    outcomes: list[Outcome] = []
    for outcome in redrive(notes, **_taking_in(outputs)):
        if outcome.is_settled:
            store.forget(outcome.note)
        outcomes.append(outcome)
    counts = Counter(one.what for one in outcomes)
    said = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    rows = [{**_document(one.note), "outcome": one.what, "now": one.reason} for one in outcomes]
    _print(rows, output, f": {said}" if said else "")


def _filters(reason: str | None, since: str | None) -> tuple[str | None, int | None]:
    """Check both before anything is read.

    Raises:
        BadInput: There is no such reason, or ``since`` is no instant.
    """
    from bedrock_meter.invocations.quarantine import Reason
    from bedrock_meter.invocations.timestamps import parse_timestamp
    from bedrock_meter.local.failures import BadInput

    if reason is not None and reason not in set(Reason):
        raise BadInput(f"--reason {reason}: it is one of {', '.join(Reason)}")
    since_ms = None if since is None else parse_timestamp(f"{since}T00:00Z" if "T" not in since else since)
    if since is not None and since_ms is None:
        raise BadInput(f"--since {since}: write a day or an instant, for example 2026-11-24")
    return reason, since_ms


def _notes(outputs: Mapping[str, str], reason: str | None, since_ms: int | None) -> tuple[Any, "list[Note]"]:
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.notes import S3Notes

    store = S3Notes(client("s3"), outputs["FailureBucket"])
    return store, list(store.find(reason=reason, since_ms=since_ms))


def _taking_in(outputs: Mapping[str, str]) -> dict[str, Any]:
    """Return how records are read and recorded, as ``redrive`` wants it."""
    from bedrock_meter.storage.dynamodb import AWS_ERRORS, client, error_code
    from bedrock_meter.storage.invocation_log import CloudWatchInvocationLog
    from bedrock_meter.storage.log_objects import S3LogObjects
    from bedrock_meter.usage.ingestion import Ingested
    from bedrock_meter.usage.wiring import ingestion

    s3 = client("s3")
    recorder = recorder_of(outputs)
    meter = ingestion(
        client("dynamodb"),
        lambda: s3,
        tables_of(outputs),
        outputs["FailureBucket"],
        retention_ms=recorder.retention_ms,
        origins=recorder.origins,
        most_notes=None,
        keeps_sessions=recorder.keeps_sessions,
    )
    objects = S3LogObjects(lambda: s3)

    def remaining_ms(ends_s: float) -> int:
        return round((ends_s - time.monotonic()) * 1000)

    def take_event(delivery: Mapping[str, object]) -> "Ingested":
        report, ends_s = Ingested(), time.monotonic() + RECORD_MS / 1000
        meter.ingest(delivery, report, lambda: remaining_ms(ends_s))
        return report

    def take_object(bucket: str, key: str) -> "Ingested | None":
        report, ends_s = Ingested(), time.monotonic() + RECORD_MS / 1000
        try:
            opened = objects.open(bucket, key)
        except AWS_ERRORS as error:
            if error_code(error) in ("NoSuchKey", "NoSuchBucket"):
                return None
            raise
        meter.ingest_object(opened.content, report, lambda: remaining_ms(ends_s))
        return report

    return {
        "log": lambda group: CloudWatchInvocationLog(client("logs"), group),
        "take_event": take_event,
        "take_object": take_object,
        "owner": recorder.account,
    }


def _document(note: "Note") -> dict[str, Any]:
    from bedrock_meter.clock import iso

    return {
        "reason": note.reason,
        "event_time": iso(note.event_ms),
        "noted": iso(note.noted_ms),
        "log_group": note.log_group,
        "log_stream": note.log_stream,
        "log_event_id": note.log_event_id,
        "records": note.records,
        "size_bytes": note.size_bytes,
        "sha256": note.sha256,
    }


def _print(rows: Sequence[Mapping[str, Any]], output: str, more: str = "") -> None:
    if output == "json":
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows, f"{len(rows):,} notes{more}", _WIDTH_ELSEWHERE)
