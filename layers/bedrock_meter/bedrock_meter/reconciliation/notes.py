"""Records that went to quarantine, read again where the log keeps them: after the reader or the clock was put right.

A note holds no content, only where the record is. It is looked for where it was logged, and taken in like any delivery:
what counts by now counts once, what is still rejected is noted again. Where a note says when its record was logged, no
later note of the same record says otherwise, so that any number of attempts leaves the next one what it needs.

A note that stands for many lines of a delivery is unfolded: all that was logged in its stream meanwhile is taken in, a
few lines at a time, so that each line that is still rejected gets a note of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bedrock_meter.invocations.objects import is_log_object
from bedrock_meter.reconciliation.backfill import InvocationLog, LogEvent, deliveries
from bedrock_meter.usage.ingestion import Ingested

AROUND_MS = 15 * 60_000
"""How far from its call, and from its note, a record is looked for of which nobody knows when it was logged."""

NEAR_MS = 60_000
"""Stretches that are nearer than this are read as one: a request costs more than the events between."""

LINES_AT_ONCE = 500
"""Of a note that stands for many, in one delivery."""


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
        noted_ms: When the note was written, the last time.
        logged_ms: When the record was logged; None for objects, and where that is unknown.
        records: How many lines it stands for.
        logged_until_ms: When the last of them was logged, if it stands for many.
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
    logged_ms: int | None = None
    records: int = 1
    logged_until_ms: int | None = None

    @property
    def is_of_object(self) -> bool:
        """Whether it lies in an object. A log stream may be named like one, but its lines say when they were logged."""
        return self.logged_ms is None and is_log_object(self.log_stream)

    @property
    def stretch(self) -> tuple[int, int]:
        """Times, half-open, between which its lines were logged; only where ``logged_ms`` says so."""
        from_ms = self.logged_ms or 0
        return from_ms, max(from_ms, self.logged_until_ms or 0) + 1


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
        if self.note.records > 1:
            return self.what not in ("not_found", "no_location")
        if self.what == "rejected":
            return self.reason != self.note.reason
        return self.what in ("recorded", "duplicate", "failed_call")


def redrive(
    notes: Iterable[Note],
    log: Callable[[str], InvocationLog],
    *,
    take_event: Callable[[Mapping[str, object]], Ingested],
    take_object: Callable[[str, str], Ingested | None],
    owner: str = "",
) -> Iterator[Outcome]:
    """Read the records of notes again and take them in. Doing it twice changes nothing.

    Args:
        notes: About which records.
        log: Opens a log group.
        take_event: Takes in one delivery, and notes each line that it rejects.
        take_object: Takes in a whole object of the log, by bucket and key; None if it is gone.
        owner: Account of the log groups, as a delivery's envelope names it.

    Yields:
        An outcome for each note.
    """
    groups: dict[str, list[Note]] = {}
    objects: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        if note.is_of_object:
            objects.setdefault((note.log_group, note.log_stream), []).append(note)
        elif note.log_group and note.log_event_id:
            groups.setdefault(note.log_group, []).append(note)
        else:
            yield Outcome(note, "no_location")
    for group, wanted in groups.items():
        opened = log(group)
        found = _find(opened, [note for note in wanted if note.records == 1])
        for note in wanted:
            if note.records > 1:
                yield _unfolded(note, opened, owner, take_event)
                continue
            event = found.get((note.log_stream, note.log_event_id))
            if event is None:
                yield Outcome(note, "not_found")
                continue
            (delivery,) = deliveries(group, [event], owner)
            yield _outcome(note, take_event(delivery))
    for place, wanted in objects.items():
        report = take_object(*place)
        for note in wanted:
            yield Outcome(note, "not_found") if report is None else _outcome(note, report)


def _unfolded(
    note: Note, log: InvocationLog, owner: str, take_event: Callable[[Mapping[str, object]], Ingested]
) -> Outcome:
    """Take in all that was logged in a note's stream from its first line to its last one.

    Where that is less than the note stands for, some of it is gone from the log, and the note stays.
    """
    outcomes: list[Outcome] = []
    seen: set[str] = set()
    from_ms, to_ms = note.stretch if note.logged_ms is not None else (max(0, note.noted_ms - AROUND_MS), note.noted_ms)
    for page in log.pages(from_ms, to_ms):
        lines = [event for event in page if event.stream == note.log_stream]
        seen.update(event.id for event in lines)
        for start in range(0, len(lines), LINES_AT_ONCE):
            (delivery,) = deliveries(log.name, lines[start : start + LINES_AT_ONCE], owner)
            outcomes.append(_outcome(note, take_event(delivery)))
    if len(seen) < note.records:
        return Outcome(note, "not_found")
    return min(outcomes, key=lambda outcome: (outcome.what != "rejected", outcome.what != "recorded", outcome.reason))


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
    known = [note.stretch for note in notes if note.logged_ms is not None]
    for note in notes:
        if note.logged_ms is None:
            around = [at_ms for at_ms in (note.noted_ms, note.event_ms) if at_ms is not None]
            known += [(max(0, at_ms - AROUND_MS), max(0, at_ms) + AROUND_MS) for at_ms in around]
    stretches: list[tuple[int, int]] = []
    for from_ms, to_ms in sorted(known):
        if stretches and from_ms <= stretches[-1][1] + NEAR_MS:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], to_ms))
        else:
            stretches.append((from_ms, to_ms))
    return stretches


def _outcome(note: Note, report: Ingested) -> Outcome:
    """Say what became of a record; of many, the worst that happened to any of them."""
    if report.reasons:
        return Outcome(note, "rejected", note.reason if note.reason in report.reasons else min(report.reasons))
    if report.usage.recorded > 0:
        return Outcome(note, "recorded")
    return Outcome(note, "failed_call" if report.usage.errors > 0 else "duplicate")
