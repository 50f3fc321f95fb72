"""``backfill``: a range of the invocation log once more through the recorder."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, recorder_of, tables_of
from bedrock_meter.cli.options import Output, Resume, Stack
from bedrock_meter.cli.positions import position_file, read_range, write_position

if TYPE_CHECKING:
    from bedrock_meter.usage.ingestion import Ingested

PAGE_MS = 600_000
"""How long one page of the log may take: the recorder waits for busy tables as long as that."""


@dataclass(slots=True)
class Position:
    """How far a backfill is: everything logged in [from_ms, done_ms) is recorded.

    Attributes:
        log_group: What is read.
        from_ms: Start of the range.
        to_ms: End of the range, exclusive.
        done_ms: Up to where.
        read: Records read until then. The other counts are of these.
        recorded: Calls that were not counted before.
        duplicates: Records of calls that were.
        errors: Failed calls that were not counted before.
        quarantined: Records that cannot be read or may not be counted.
    """

    log_group: str
    from_ms: int
    to_ms: int
    done_ms: int
    read: int = 0
    recorded: int = 0
    duplicates: int = 0
    errors: int = 0
    quarantined: int = 0

    def counted(self, report: "Ingested") -> "Position":
        """Return this position with the counts of ``report`` added."""
        return Position(
            self.log_group,
            self.from_ms,
            self.to_ms,
            self.done_ms,
            self.read + report.read,
            self.recorded + report.usage.recorded,
            self.duplicates + report.usage.duplicates,
            self.errors + report.usage.errors,
            self.quarantined + report.quarantined,
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Record a range of the invocation log once more.",
        help="Read the invocation log group again for a range of time, through the recorder, with your own AWS "
        "settings. What was recorded before changes nothing. A backfill that was stopped goes on where it was.",
        epilog="Example: bedrock-meter backfill --from 2026-11-24T01:00Z --to 2026-11-24T04:30Z --stack bedrock-meter",
    )(backfill)


def backfill(
    start: Annotated[str, typer.Option("--from", metavar="ISO", help="Logged at or after this instant.")],
    end: Annotated[str, typer.Option("--to", metavar="ISO", help="Logged before this instant.")],
    stack: Stack = LOCAL,
    resume: Resume = None,
    output: Output = "table",
) -> None:
    """Record a range of the invocation log once more."""
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.clock import iso, now_ms

    from_ms, to_ms = read_range(start, end, now_ms())
    with Progress() as progress:
        outputs = outputs_of_stack(stack)
        fresh = Position(outputs["InvocationLogGroup"], from_ms, to_ms, from_ms)
        file = resume or position_file("backfill", stack, start, end)
        position = load(file, fresh)
        if position.done_ms > from_ms:
            progress.note(f"going on at {iso(position.done_ms)}, as {file} says")
        position = _run(outputs, position, file, progress.tell)
        file.unlink(missing_ok=True)
        progress.pause()
    document = {"from": iso(from_ms), "to": iso(to_ms), **_counts(position)}
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{position.read:,} records read = {position.recorded:,} recorded + {position.duplicates:,} duplicates"
            f" + {position.errors:,} errors + {position.quarantined:,} quarantined"
        )


def _run(outputs: dict[str, str], position: Position, file: Path, tell: Any) -> Position:
    from bedrock_meter.clock import iso
    from bedrock_meter.reconciliation import backfill as reading
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.invocation_log import CloudWatchInvocationLog
    from bedrock_meter.usage.ingestion import Ingested
    from bedrock_meter.usage.wiring import ingestion

    recorder = recorder_of(outputs)
    meter = ingestion(
        client("dynamodb"),
        lambda: client("s3"),
        tables_of(outputs),
        outputs["FailureBucket"],
        retention_ms=recorder.retention_ms,
        origins=recorder.origins,
        keeps_sessions=recorder.keeps_sessions,
    )
    report = Ingested()
    begun = position

    def quarantined() -> str:
        number = begun.quarantined + report.quarantined
        return f", {number:,} in quarantine" if number else ""

    def ingest(delivery: dict[str, Any]) -> None:
        ends_s = time.monotonic() + PAGE_MS / 1000
        meter.ingest(delivery, report, lambda: round((ends_s - time.monotonic()) * 1000))
        tell(f"read {begun.read + report.read} records{quarantined()}; done until {iso(begun.done_ms)}")

    def done(until_ms: int) -> None:
        begun.done_ms = until_ms
        save(file, begun.counted(report))
        tell(f"read {begun.read + report.read} records{quarantined()}; done until {iso(until_ms)}")

    log = CloudWatchInvocationLog(client("logs"), position.log_group)
    reading.backfill(log, position.done_ms, position.to_ms, ingest=ingest, done=done, owner=recorder.account)
    return begun.counted(report)


def load(file: Path, fresh: Position) -> Position:
    """Return the position that the file holds, or ``fresh`` where there is none.

    Raises:
        BadInput: The file is about another backfill, or about none.
    """
    from bedrock_meter.local.failures import BadInput

    if not file.exists():
        return fresh
    try:
        found = Position(**json.loads(file.read_text(encoding="utf-8")))
        same = (found.log_group, found.from_ms, found.to_ms) == (fresh.log_group, fresh.from_ms, fresh.to_ms)
    except (OSError, ValueError, TypeError) as problem:
        raise BadInput(f"{file} holds no position of a backfill") from problem
    if not same or not fresh.from_ms <= found.done_ms <= fresh.to_ms:
        raise BadInput(f"{file} is about another range or log group: remove it, or name another file with --resume")
    return found


def save(file: Path, position: Position) -> None:
    """Write the position, whole or not at all."""
    write_position(file, json.dumps(asdict(position), indent=1).encode())


def _counts(position: Position) -> dict[str, int]:
    return {name: getattr(position, name) for name in ("read", "recorded", "duplicates", "errors", "quarantined")}
