"""Records that went to quarantine, read again where the log keeps them: after the reader or the clock was put right.

A note holds no content, only where the record is. It is looked for around the time of its call and before the time of
its note, and taken in like any delivery: what counts by now counts once, what is still rejected is noted again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bedrock_meter.invocations.objects import is_log_object
from bedrock_meter.reconciliation.backfill import InvocationLog, LogEvent, deliveries
from bedrock_meter.usage.ingestion import Ingested

AROUND_MS = 15 * 60_000
"""How far from its call, and from its note, a record is looked for."""


@dataclass(frozen=True, slots=True)
class Note:
    """What quarantine says of a record.

    Attributes:
        key: Name of the note.
        reason: Why the record is not counted.
        sha256: Of its text.
        size_bytes: How long that is.
        log_group: Where it is: a log group, or a bucket; empty where that is unknown.
        log_stream: A log stream, or the key of an object.
        log_event_id: Id of the log event, or number in the object; empty for a whole one.
        event_ms: When the call happened, if that is known.
        noted_ms: When the note was written.
    """

    key: str
    reason: str
    sha256: str
    size_bytes: int
    log_group: str
    log_stream: str
    log_event_id: str
    event_ms: int | None
    noted_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a record that was read again.

    Attributes:
        note: About it.
        what: ``recorded``, ``duplicate``, ``failed_call``, ``rejected``, ``not_found``, or ``no_location`` for a
            payload of which nobody knows where it came from.
        reason: Why it is still rejected.
    """

    note: Note
    what: str
    reason: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether the note says nothing any more: the record counts, or another note speaks of it."""
        if self.what == "rejected":
            return self.reason != self.note.reason
        return self.what in ("recorded", "duplicate", "failed_call")


def redrive(
    notes: Iterable[Note],
    log: Callable[[str], InvocationLog],
    *,
    take_event: Callable[[Mapping[str, object]], Ingested],
    take_object: Callable[[str, str], Ingested | None],
) -> Iterator[Outcome]:
    """Read the records of notes again and take them in. Doing it twice changes nothing.

    Args:
        notes: About which records.
        log: Opens a log group.
        take_event: Takes in one delivery.
        take_object: Takes in a whole object of the log, by bucket and key; None if it is gone.

    Yields:
        An outcome for each note.
    """
    groups: dict[str, list[Note]] = {}
    objects: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        if is_log_object(note.log_stream):
            objects.setdefault((note.log_group, note.log_stream), []).append(note)
        elif note.log_group and note.log_event_id:
            groups.setdefault(note.log_group, []).append(note)
        else:
            yield Outcome(note, "no_location")
    for group, wanted in groups.items():
        opened = log(group)
        found = _find(opened, wanted)
        for note in wanted:
            event = found.get((note.log_stream, note.log_event_id))
            if event is None:
                yield Outcome(note, "not_found")
                continue
            (delivery,) = deliveries(group, [event])
            yield _outcome(note, take_event(delivery))
    for place, wanted in objects.items():
        report = take_object(*place)
        for note in wanted:
            yield Outcome(note, "not_found") if report is None else _outcome(note, report)


def _find(log: InvocationLog, notes: Sequence[Note]) -> dict[tuple[str, str], LogEvent]:
    """Read each stretch of time once, and keep only what is looked for."""
    wanted = {(note.log_stream, note.log_event_id) for note in notes}
    found = {}
    for from_ms, to_ms in _stretches(notes):
        for page in log.pages(from_ms, to_ms):
            found.update({place: event for event in page if (place := (event.stream, event.id)) in wanted})
    return found


def _stretches(notes: Sequence[Note]) -> list[tuple[int, int]]:
    """Return the times to read, half-open, without overlaps."""
    around = {note.noted_ms for note in notes} | {note.event_ms for note in notes if note.event_ms is not None}
    stretches: list[tuple[int, int]] = []
    for at_ms in sorted(around):
        from_ms, to_ms = max(0, at_ms - AROUND_MS), max(0, at_ms) + AROUND_MS
        if stretches and from_ms <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], to_ms)
        else:
            stretches.append((from_ms, to_ms))
    return stretches


def _outcome(note: Note, report: Ingested) -> Outcome:
    """Say what became of a record; of an object, the worst that happened to any of its records."""
    if report.reasons:
        return Outcome(note, "rejected", note.reason if note.reason in report.reasons else min(report.reasons))
    if report.usage.recorded > 0:
        return Outcome(note, "recorded")
    return Outcome(note, "failed_call" if report.usage.errors > 0 else "duplicate")
