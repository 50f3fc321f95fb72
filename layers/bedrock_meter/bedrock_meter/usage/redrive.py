"""Deliveries that Lambda gave up on, taken in again: the way back out of the failure store.

Each object holds one delivery with its original event, which goes through the same ingestion as the first time. The
ledger makes that safe at any time, any number of times, and in several runs at once, so nothing here is locked:

* An object is deleted only after everything in it is recorded or noted in quarantine. A crash in between costs a second
  reading of records that are then duplicates.
* One object at a time, in random order: the load is that of one recorder, however much waits, and two runs at once
  mostly work on different objects. One that never succeeds holds up nobody.
* An attempt is noted before it begins, so that one which ends with the function counts as well: a delivery that takes
  a run's time or memory is parked in the end. What tells of a store that is busy or out (``DeliverAgain``, a failed
  request that may pass) is no fault of the object, and its attempt is taken back: an outage of hours parks nothing.
  After ``MAXIMUM_ATTEMPTS`` the object is parked: moved to where no run looks, and told. What is no invocation record
  is parked at once.
* Three failures in a row end a run: what fails is then not the object.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from bedrock_meter.errors import DeliverAgain
from bedrock_meter.usage.ingestion import Ingested, Ingestion

MAXIMUM_ATTEMPTS = 12
"""An hour of runs that reach the object."""

MAXIMUM_OBJECTS = 1_000
"""In one run; the next one goes on."""

MAXIMUM_BYTES = 32 * 1024 * 1024
"""Lambda's events are at most 1 MB; the error beside it is bounded by the largest response, 6 MB."""

OBJECT_MS = 60_000
"""Most that one object may take of a run."""

LAST_CALL_MS = 5_000
_FAILURES_IN_A_ROW = 3


class Failure(Struct, frozen=True):
    """A delivery in the failure store.

    Attributes:
        key: Its name there.
        size_bytes: How long it is.
    """

    key: str
    size_bytes: int


class FailureStore(Protocol):
    """Deliveries of one function that Lambda gave up on. Every method may meet an object that is gone already."""

    def waiting(self, maximum: int) -> Sequence[Failure]:
        """List at most so many that are not parked."""

    def read(self, failure: Failure) -> bytes | None:
        """Return the content, None if it is gone."""

    def delete(self, failure: Failure) -> None:
        """Remove it for good."""

    def attempt(self, failure: Failure) -> int | None:
        """Note one more attempt; returns how many there are now, None if the object is gone."""

    def attempted(self, failure: Failure, attempts: int) -> None:
        """Say how many attempts there were."""

    def park(self, failure: Failure, reason: str) -> None:
        """Move it to where ``waiting`` does not look."""

    def is_passing(self, error: Exception) -> bool:
        """Whether an error of any store tells of a store that may answer later."""


class Redriven(Struct):
    """What one run did.

    Attributes:
        redriven: Objects whose records are all recorded or in quarantine, now deleted.
        parked: Objects that were given up.
        waiting: Objects that are left for the next run, counted up to ``MAXIMUM_OBJECTS``.
        failures: Kinds of errors by name, with how often each came.
        ingested: What became of the records in all of them.
    """

    redriven: int = 0
    parked: int = 0
    waiting: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    ingested: Ingested = field(default_factory=Ingested)


class _Context(Struct, rename="camel"):
    function_arn: str


class _Record(Struct, rename="camel"):
    """Lambda's invocation record, as far as it is needed."""

    request_context: _Context
    request_payload: dict[str, Any]


_decode = msgspec.json.Decoder(_Record).decode


class Redrive:
    """Works through a failure store. One instance lives as long as the function's environment."""

    def __init__(
        self,
        store: FailureStore,
        ingestion: Ingestion,
        function: str,
        *,
        clock: Callable[[], int],
        shuffle: Callable[[list[Failure]], None],
    ) -> None:
        self._store = store
        self._ingestion = ingestion
        self._function = function
        self._clock = clock
        self._shuffle = shuffle

    def run(self, report: Redriven, remaining_ms: Callable[[], int]) -> None:
        """Take in what waits, until nothing does or the time is used up. Running again, or beside another run, is safe.

        Args:
            report: Filled with what happened, also when this raises.
            remaining_ms: How much time the caller has left.
        """
        failures = list(self._store.waiting(MAXIMUM_OBJECTS))
        report.waiting = len(failures)
        self._shuffle(failures)
        in_a_row = 0
        for failure in failures:
            if remaining_ms() < LAST_CALL_MS or in_a_row == _FAILURES_IN_A_ROW:
                break
            in_a_row = 0 if self._settle(failure, report, remaining_ms) else in_a_row + 1
        if failures:
            report.waiting = len(self._store.waiting(MAXIMUM_OBJECTS))

    def _settle(self, failure: Failure, report: Redriven, remaining_ms: Callable[[], int]) -> bool:
        """Take one object in and put it where it belongs then; False if it stays or was given up after an attempt."""
        if failure.size_bytes > MAXIMUM_BYTES:
            self._park(failure, "too_large", report)
            return True
        attempts = self._store.attempt(failure)
        if attempts is None:
            return True
        if attempts > MAXIMUM_ATTEMPTS:
            self._park(failure, "attempts", report)
            return True
        event = self._event_of(failure)
        if event is None:
            return True
        if isinstance(event, str):
            self._park(failure, event, report)
            return True
        ends_ms = self._clock() + OBJECT_MS
        try:
            self._ingestion.ingest(event, report.ingested, lambda: min(remaining_ms(), ends_ms - self._clock()))
        except Exception as error:  # noqa: BLE001 - named in the report; the object stays and is tried again
            kind = type(error).__name__
            report.failures[kind] = report.failures.get(kind, 0) + 1
            if isinstance(error, DeliverAgain) or self._store.is_passing(error):
                self._store.attempted(failure, attempts - 1)
            elif attempts == MAXIMUM_ATTEMPTS:
                self._park(failure, "attempts", report)
            return False
        self._store.delete(failure)
        report.redriven += 1
        return True

    def _park(self, failure: Failure, reason: str, report: Redriven) -> None:
        self._store.park(failure, reason)
        report.parked += 1

    def _event_of(self, failure: Failure) -> Mapping[str, Any] | str | None:
        """Return the original event; or why the object holds none of ours; or None if it is gone."""
        content = self._store.read(failure)
        if content is None:
            return None
        try:
            record = _decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return "not_an_invocation_record"
        return record.request_payload if _function_of(record) == self._function else "of_another_function"


def _function_of(record: _Record) -> str:
    """Return the name in ``arn:aws:lambda:<region>:<account>:function:<name>[:<qualifier>]``."""
    parts = record.request_context.function_arn.split(":")
    return parts[6] if len(parts) in (7, 8) and parts[5] == "function" else ""
