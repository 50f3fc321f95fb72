"""From a delivery of log records to recorded usage: read, doubt, admit, quarantine, record.

One record may fail, never its batch. What cannot be read, is not believed or may not be admitted goes to quarantine by
itself; everything else is recorded first, so that a quarantine that is out of order costs a redelivery and nothing
more. Notes are bounded, since whoever may write to the log can fill a delivery with lines: ``MAXIMUM_NOTES`` lines get
one each, and one note stands for the rest.

Two sources, one way in: deliveries of CloudWatch Logs, and objects of the log in S3. Where both are on, a call comes
twice under one request id, and the second record is a duplicate.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from bedrock_meter.errors import DeliverAgain, OutOfTime, UnreadablePayload
from bedrock_meter.invocations.admission import inadmissible
from bedrock_meter.invocations.doubt import EVERYTHING, Origin, Origins
from bedrock_meter.invocations.objects import LogObject
from bedrock_meter.invocations.parser import LogLine, decode_subscription, probe_of, read, reject, reject_payload
from bedrock_meter.invocations.quarantine import Overflow, Reason, Rejected
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.usage.recorder import Recorded, Recorder

RECORDS_AT_ONCE = 500
"""How many records of an object are held, without their bodies, before they are recorded."""

ROOM_MS = 10_000
"""Time that the next records of an object may need; with less left, another invocation goes on."""

MAXIMUM_NOTES = 100
"""Rejected lines of a delivery, or of an object in one invocation, that get a note each: about a second of writing."""

NOTE_ROOM_MS = 5_000
"""With less time left no more lines get a note each."""

MAXIMUM_PROBES = 3
"""Test lines of one delivery that are noted; a person sends one."""


class Quarantine(Protocol):
    """Where unreadable and inadmissible records are noted, without their content."""

    def keep(self, rejected: Rejected, now_ms: int) -> bool:
        """Note one; the same one again changes nothing. False if the store is busy."""


class Probes(Protocol):
    """Where test lines are noted."""

    def acknowledge(self, nonce: str, now_ms: int) -> None:
        """Note that one was read. Never fails: a test must not cost a delivery."""


class Ingested(Struct):
    """What became of one delivery.

    Unless it has to be delivered again, ``read = recorded + duplicates + errors + quarantined``.

    Attributes:
        read: Records and unreadable payloads.
        quarantined: How many of them were noted, each or in one note for many.
        doubted: How many of those were readable, and may not be Bedrock's.
        lag_ms: Time from a call to now, of the call for which it was longest.
        drifted: How many were read although their schema has a major version that we do not know.
        reasons: How many were noted why.
        usage: What became of the others.
        lines: How many lines are done: recorded, noted, or none. Of an object, from its beginning.
    """

    read: int = 0
    quarantined: int = 0
    doubted: int = 0
    lag_ms: int = 0
    drifted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    usage: Recorded = field(default_factory=Recorded)
    lines: int = 0


class _Sorted(Struct):
    """Records on their way: to be recorded, and to be noted."""

    invocations: list[Invocation] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)
    lines: int = 0


class _Notes:
    """The notes of one delivery, or of an object in one invocation."""

    def __init__(
        self,
        quarantine: Quarantine,
        report: Ingested,
        now_ms: int,
        remaining_ms: Callable[[], int],
        most: int | None,
    ) -> None:
        self._quarantine = quarantine
        self._report = report
        self._now_ms = now_ms
        self._remaining_ms = remaining_ms
        self._most = most
        self._written = 0
        self._open: list[Rejected] = []
        self._overflow = Overflow()
        self._overflowing: Counter[Reason] = Counter()

    def keep(self, rejected: Iterable[Rejected]) -> None:
        """Note what may have a note of its own, and remember the rest."""
        missed = 0
        for one in rejected:
            if self._is_full():
                self._open.append(one)
            elif self._quarantine.keep(one, self._now_ms):
                self._written += 1
                self._count(one.reason, 1)
            else:
                missed += 1
        _deliver_again(missed)

    def settled(self) -> None:
        """Say that what was kept until now does not come again, so that ``close`` has to note what is left of it."""
        for one in self._open:
            self._overflow.add(one)
            self._overflowing[one.reason] += 1
        self._open = []

    def close(self) -> None:
        """Note how many more there are of those that do not come again, where there are."""
        note = self._overflow.note
        if note is None:
            return
        _deliver_again(0 if self._quarantine.keep(note, self._now_ms) else note.records)
        for reason, lines in self._overflowing.items():
            self._count(reason, lines)
        self._overflow, self._overflowing = Overflow(), Counter()

    def _is_full(self) -> bool:
        return self._most is not None and (self._written >= self._most or self._remaining_ms() < NOTE_ROOM_MS)

    def _count(self, reason: Reason, lines: int) -> None:
        report = self._report
        report.quarantined += lines
        report.doubted += lines if reason.is_doubt else 0
        report.reasons[reason] = report.reasons.get(reason, 0) + lines


def _deliver_again(missed: int) -> None:
    if missed:
        raise DeliverAgain(f"{missed} rejected records could not be noted in quarantine yet")


class Ingestion:
    """Takes deliveries in. One instance lives as long as the function's environment."""

    def __init__(
        self,
        recorder: Recorder,
        quarantine: Quarantine,
        *,
        retention_ms: int,
        clock: Callable[[], int],
        origins: Origins = EVERYTHING,
        probes: Probes | None = None,
        most_notes: int | None = MAXIMUM_NOTES,
    ) -> None:
        """Set up.

        Args:
            recorder: Records what is admitted.
            quarantine: Notes the rest.
            retention_ms: How long ledger entries are kept.
            clock: Current time in milliseconds.
            origins: Which records are believed.
            probes: Notes test lines.
            most_notes: Rejected lines of a delivery that get a note each; None = all, for whoever has the time.
        """
        self._recorder = recorder
        self._quarantine = quarantine
        self._probes = probes
        self._origins = origins
        self._most_notes = most_notes
        self._retention_ms = retention_ms
        self._clock = clock

    def ingest(self, event: Mapping[str, Any], report: Ingested, remaining_ms: Callable[[], int]) -> None:
        """Take in one CloudWatch Logs subscription event. The same one again changes nothing.

        Args:
            event: The event as Lambda hands it over.
            report: Filled with what happened, also when this raises.
            remaining_ms: How much time the caller has left.

        Raises:
            DeliverAgain: Something is not recorded or not noted yet.
        """
        now_ms = self._clock()
        notes = self._notes(report, now_ms, remaining_ms)
        try:
            batch = decode_subscription(event)
        except UnreadablePayload as problem:
            report.read += 1
            notes.keep([reject_payload(event, problem.reason)])
            notes.close()
            return
        if batch.control:  # it only probes whether we can be reached
            return
        origin = self._origins.of_delivery(batch.owner, batch.log_stream)
        found = _Sorted()
        for line in batch.lines:
            self._sort(line, origin, found, report, now_ms)
        self._settle(found, notes, report, now_ms, remaining_ms)
        notes.close()

    def ingest_object(
        self, source: LogObject, report: Ingested, remaining_ms: Callable[[], int], *, after: int = 0
    ) -> None:
        """Take in one object of the log, however large. The same one again changes nothing.

        An object that cannot be read to its end is noted as a whole; its records up to there count.

        Args:
            source: The object, not read yet.
            report: Filled with what happened, also when this raises; ``lines`` says from where to go on.
            remaining_ms: How much time the caller has left.
            after: How many of its first records are done already.

        Raises:
            OutOfTime: The time is nearly used up. ``report.lines`` records are done.
            DeliverAgain: Something is not recorded or not noted yet.
        """
        now_ms = self._clock()
        report.lines = after
        notes = self._notes(report, now_ms, remaining_ms)
        try:
            self._read_on(source, after, notes, report, now_ms, remaining_ms)
        except OutOfTime:
            notes.close()  # The next invocation begins behind what is settled.
            raise
        notes.close()

    def _read_on(
        self,
        source: LogObject,
        after: int,
        notes: _Notes,
        report: Ingested,
        now_ms: int,
        remaining_ms: Callable[[], int],
    ) -> None:
        """Settle the records of an object, some hundred at once."""
        origin = self._origins.of_object(source.location.log_stream)
        found = _Sorted()
        try:
            for line in source.lines(after):
                self._sort(line, origin, found, report, now_ms)
                if found.lines == RECORDS_AT_ONCE:
                    self._settle(found, notes, report, now_ms, remaining_ms)
                    found = _Sorted()
                    if remaining_ms() < ROOM_MS:
                        raise OutOfTime(f"{report.lines} records of an object are done, and there are more")
        except UnreadablePayload as problem:
            report.read += 1
            found.rejected.append(source.reject(problem.reason))
        self._settle(found, notes, report, now_ms, remaining_ms)

    def _notes(self, report: Ingested, now_ms: int, remaining_ms: Callable[[], int]) -> _Notes:
        return _Notes(self._quarantine, report, now_ms, remaining_ms, self._most_notes)

    def _sort(self, line: LogLine | Rejected, origin: Origin, found: _Sorted, report: Ingested, now_ms: int) -> None:
        """Read one line and put it where it goes; its text is not kept."""
        found.lines += 1
        record = line if isinstance(line, Rejected) else self._admitted(line, origin, now_ms)
        if record is None:
            nonce = probe_of(line) if isinstance(line, LogLine) else None
            if nonce is not None:
                found.probes.append(nonce)
            return
        report.read += 1
        if isinstance(record, Rejected):
            found.rejected.append(record)
        else:
            report.lag_ms = max(report.lag_ms, now_ms - record.event_ms)
            report.drifted += record.schema_drift
            found.invocations.append(record)

    def _admitted(self, line: LogLine, origin: Origin, now_ms: int) -> Invocation | Rejected | None:
        record = read(line)
        if not isinstance(record, Invocation):
            return record
        reason = origin.doubt_of(record) or inadmissible(record.event_ms, now_ms, self._retention_ms)
        return record if reason is None else reject(line, reason, record.event_ms)

    def _settle(
        self, found: _Sorted, notes: _Notes, report: Ingested, now_ms: int, remaining_ms: Callable[[], int]
    ) -> None:
        """Record, then note; when ``notes`` are closed as well, everything is done.

        Where this raises, the same lines come again: what has no note of its own yet gets none.
        """
        try:
            self._recorder.record(found.invocations, report.usage, remaining_ms)
        finally:
            notes.keep(found.rejected)
        if self._probes is not None:
            for nonce in found.probes[:MAXIMUM_PROBES]:
                self._probes.acknowledge(nonce, now_ms)
        report.lines += found.lines
        notes.settled()
