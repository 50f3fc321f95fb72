"""Failed deliveries taken in again: what is deleted, what stays, what is given up."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bedrock_meter.errors import DeliverAgain, OutOfTime
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.redrive import LAST_CALL_MS, MAXIMUM_ATTEMPTS, MAXIMUM_BYTES, OBJECT_MS, Redrive, Redriven
from tests.doubles.failures import FUNCTION, MemoryFailureStore, failed_delivery, failure_key, function_arn, outage

PLENTY_MS = 240_000


class Taking:
    """Stands for the ingestion: remembers payloads; ``problem`` says what a payload ends with."""

    def __init__(self, problem: Callable[[Mapping[str, Any]], Exception | None] = lambda _: None) -> None:
        self.problem = problem
        self.taken: list[Any] = []
        self.given_ms: list[int] = []

    def ingest(self, event: Mapping[str, Any], report: Ingested, remaining_ms: Callable[[], int]) -> None:
        self.given_ms.append(remaining_ms())
        report.read += 1
        problem = self.problem(event)
        if problem is not None:
            raise problem
        self.taken.append(event["number"])


def stored(numbers: int) -> dict[str, bytes]:
    return {failure_key(number): failed_delivery({"number": number}) for number in range(numbers)}


def run(store: MemoryFailureStore, taking: Taking, remaining_ms: Callable[[], int] = lambda: PLENTY_MS) -> Redriven:
    report = Redriven()
    redrive = Redrive(store, taking, FUNCTION, clock=lambda: 0, shuffle=lambda _: None)  # type: ignore[arg-type]
    redrive.run(report, remaining_ms)
    return report


def test_every_event_is_taken_in_and_its_object_deleted() -> None:
    store, taking = MemoryFailureStore(stored(3)), Taking()
    report = run(store, taking)
    assert taking.taken == [0, 1, 2]
    assert (report.redriven, report.parked, report.waiting, report.ingested.read) == (3, 0, 0, 3)
    assert store.objects == {}


def test_an_empty_store_is_no_work() -> None:
    assert run(MemoryFailureStore({}), Taking()) == Redriven()


def test_an_object_that_fails_stays_and_does_not_hold_up_the_others() -> None:
    store = MemoryFailureStore(stored(3))
    taking = Taking(lambda event: ValueError("CANARY-prompt") if event["number"] == 1 else None)
    report = run(store, taking)
    assert taking.taken == [0, 2]
    assert list(store.objects) == [failure_key(1)]
    assert (report.redriven, report.waiting, report.failures) == (2, 1, {"ValueError": 1})
    assert "CANARY" not in repr(report)


def test_an_object_is_parked_after_its_last_attempt_and_not_before() -> None:
    store = MemoryFailureStore(stored(1))
    taking = Taking(lambda _: ValueError())
    for _ in range(MAXIMUM_ATTEMPTS - 1):
        assert run(store, taking).waiting == 1
    report = run(store, taking)
    assert (report.parked, report.waiting) == (1, 0)
    assert store.parked == {failure_key(0): "attempts"}
    assert run(store, taking) == Redriven()


@pytest.mark.parametrize("problem", [DeliverAgain("busy"), OutOfTime("late"), outage()])
def test_a_store_that_is_out_parks_nothing_however_long(problem: Exception) -> None:
    store = MemoryFailureStore(stored(5))
    for _ in range(3 * MAXIMUM_ATTEMPTS):
        report = run(store, Taking(lambda _: problem))
        assert (report.waiting, report.parked, sum(report.failures.values())) == (5, 0, 3)
    assert set(store.attempts.values()) <= {0}
    assert run(store, Taking()).redriven == 5


def test_a_success_in_between_shows_that_the_fault_is_the_objects() -> None:
    taking = Taking(lambda event: ValueError() if event["number"] % 3 else None)
    assert sum(run(MemoryFailureStore(stored(9)), taking).failures.values()) == 6


def test_a_run_ends_in_time_and_the_next_goes_on() -> None:
    left = iter([PLENTY_MS, PLENTY_MS, PLENTY_MS, PLENTY_MS, LAST_CALL_MS - 1])
    store, taking = MemoryFailureStore(stored(4)), Taking()
    report = run(store, taking, lambda: next(left))
    assert (taking.taken, report.redriven, report.waiting) == ([0, 1], 2, 2)
    assert run(store, taking).redriven == 2
    assert sorted(taking.taken) == [0, 1, 2, 3]


def test_one_object_gets_a_part_of_the_run_only() -> None:
    taking = Taking()
    run(MemoryFailureStore(stored(1)), taking)
    run(MemoryFailureStore(stored(1)), taking, lambda: OBJECT_MS // 2)
    assert taking.given_ms == [OBJECT_MS, OBJECT_MS // 2]


def test_what_another_run_has_taken_in_meanwhile_is_nobodys_fault() -> None:
    store = MemoryFailureStore(stored(2))

    def taken_by_another(event: Mapping[str, Any]) -> None:
        store.objects.clear()

    report = run(store, Taking(taken_by_another))
    assert (report.redriven, report.waiting, report.failures, store.parked) == (1, 0, {}, {})


def nested(depth: int) -> bytes:
    return failed_delivery({}).replace(b'"requestPayload": {}', b'"requestPayload": ' + b"[" * depth + b"]" * depth)


HOSTILE = {
    "nothing": b"",
    "no JSON": b"\x1f\x8b\x00",
    "half of it": failed_delivery({"number": 1})[:-1],
    "another shape": b"[]",
    "no context": json.dumps({"requestPayload": {}}).encode(),
    "no ARN": failed_delivery({}).replace(b"functionArn", b"function"),
    "an ARN that is none": failed_delivery({}, arn="arn:aws:lambda"),
    "an ARN that is a number": failed_delivery({}, arn=7),  # type: ignore[arg-type]
    "a layer": failed_delivery({}, arn=function_arn().replace(":function:", ":layer:")),
    "another function": failed_delivery({"number": 1}, arn=function_arn("somebody-elses")),
    "a longer name": failed_delivery({"number": 1}, arn=function_arn(f"{FUNCTION}-2")),
    "our name as qualifier": failed_delivery({"number": 1}, arn=function_arn("other", f":{FUNCTION}")),
    "payload dropped": failed_delivery(None),
    "payload as text": failed_delivery("CANARY-prompt"),
    "payload as list": failed_delivery([{"number": 1}]),
    "deep": nested(100_000),
    "not UTF-8": failed_delivery({"number": 1}).replace(b"Unhandled", b"\xff\xfe"),
}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "not UTF-8"])
def test_what_is_no_record_of_ours_is_parked_at_once_and_never_taken_in(name: str) -> None:
    store = MemoryFailureStore({failure_key(0): HOSTILE[name], failure_key(1): failed_delivery({"number": 1})})
    taking = Taking()
    report = run(store, taking)
    assert (taking.taken, report.redriven, report.parked, report.waiting) == ([1], 1, 1, 0)
    assert set(store.parked) == {failure_key(0)}
    assert "CANARY" not in repr(report)


def test_bad_bytes_beside_the_event_do_not_lose_it() -> None:
    taking = Taking()
    assert run(MemoryFailureStore({failure_key(0): HOSTILE["not UTF-8"]}), taking).redriven == 1
    assert taking.taken == [1]


def test_what_is_larger_than_lambda_writes_is_not_even_read() -> None:
    store = MemoryFailureStore({failure_key(0): b" " * (MAXIMUM_BYTES + 1)})
    assert run(store, Taking()).parked == 1
    assert (store.read_keys, store.parked) == ([], {failure_key(0): "too_large"})


class Killed(BaseException):
    """The function's time or memory is used up: nothing that it would have done comes after this."""


def killed() -> Exception:
    raise Killed


def test_a_delivery_that_ends_the_function_each_time_is_parked_and_the_others_come_through() -> None:
    store = MemoryFailureStore(stored(1))
    for attempt in range(MAXIMUM_ATTEMPTS):
        with pytest.raises(Killed):
            run(store, Taking(lambda _: killed()))
        assert (store.parked, store.attempts) == ({}, {failure_key(0): attempt + 1})
    store.objects[failure_key(1)] = failed_delivery({"number": 1})
    taking = Taking()
    report = run(store, taking)
    assert (store.parked, taking.taken) == ({failure_key(0): "attempts"}, [1])
    assert (report.parked, report.redriven, report.waiting) == (1, 1, 0)


@pytest.mark.parametrize("qualifier", ["", ":$LATEST", ":7", ":live"])
def test_the_function_is_known_under_every_qualifier(qualifier: str) -> None:
    content = failed_delivery({"number": 1}, arn=function_arn(qualifier=qualifier))
    assert run(MemoryFailureStore({failure_key(0): content}), Taking()).redriven == 1
