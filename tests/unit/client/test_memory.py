import threading

from bedrock_meter.client import Denial, Profile
from bedrock_meter.client import memory as module
from bedrock_meter.client.memory import FAILURES, Memory, Outage
from bedrock_meter.client.quota import Subject
from tests.unit.client.conftest import Clock

SUBJECT = Subject("acme", "x.y", None, "us-east-1")


def memory(clock: Clock) -> Memory:
    return Memory(denial_seconds=10, outage_seconds=5, clock=clock)


def denial(retry_after: int | None, used: object = 100, maximum: object = 100) -> Denial:
    return Denial({"limit": {"used": used, "max": maximum}}, retry_after)


def test_a_denial_is_remembered_until_it_ends_or_the_bound(clock: Clock) -> None:
    for retry_after, seconds in ((3, 3), (600, 10), (None, 10)):
        held = memory(clock)
        held.denied(SUBJECT, denial(retry_after))
        clock.go_on(seconds - 0.5)
        found = held.denial(SUBJECT)
        assert found is not None
        assert found[1] == (None if retry_after is None else retry_after - seconds + 1)
        clock.go_on(0.5)
        assert held.denial(SUBJECT) is None
        assert not held._denials


def test_what_another_call_may_not_meet_is_not_remembered(clock: Clock) -> None:
    held = memory(clock)
    held.denied(SUBJECT, denial(3, used=99))
    held.denied(SUBJECT, denial(3, used=None))
    assert held.denial(SUBJECT) is None


def test_a_denial_by_usage_without_a_price_holds_for_every_call(clock: Clock) -> None:
    held = memory(clock)
    limit = {"used": "0.00", "max": "1.00", "denied_because": ["unpriced"]}
    held.denied(SUBJECT, Denial({"limit": limit}, 600))
    assert held.denial(SUBJECT) is not None


def test_dollars_are_amounts_too(clock: Clock) -> None:
    held = memory(clock)
    held.denied(SUBJECT, denial(3, used="4.9999", maximum="5.00"))
    assert held.denial(SUBJECT) is None
    held.denied(SUBJECT, denial(3, used="5.00", maximum="5.00"))
    assert held.denial(SUBJECT) is not None
    assert held.denial(SUBJECT._replace(region="eu-west-1")) is None


def outage(clock: Clock, failures: int, *, tenant: str = "acme", kind: str = "lost") -> Outage:
    made = Outage(5, clock)
    for _ in range(failures):
        made.failed(tenant, kind)
    return made


def test_one_failure_is_no_outage(clock: Clock) -> None:
    row = outage(clock, FAILURES - 1)
    assert row.lets("acme")
    row.failed("acme", "lost")
    assert not row.lets("acme")


def test_an_answer_to_any_tenant_ends_the_row(clock: Clock) -> None:
    row = outage(clock, FAILURES - 1)
    row.answered()
    row.failed("acme", "lost")
    assert row.lets("acme")


def test_failures_of_different_kinds_are_no_row(clock: Clock) -> None:
    row = Outage(5, clock)
    for number in range(4 * FAILURES):
        row.failed("acme", ("lost", "server error")[number % 2])
    assert row.lets("acme")


def test_the_failures_of_one_tenant_stop_only_that_one(clock: Clock) -> None:
    row = outage(clock, 3 * FAILURES, tenant="slow")
    assert (row.lets("slow"), row.lets("quick")) == (False, True)
    row.failed("quick", "server error")
    assert row.lets("another"), "a failure of another kind says nothing about the first"
    row.failed("quick", "lost")
    assert not row.lets("another")


def test_one_probe_closes_an_outage_or_keeps_it_open(clock: Clock) -> None:
    row = outage(clock, FAILURES)
    clock.go_on(4.9)
    assert not row.lets("acme")
    clock.go_on(0.1)
    assert [row.lets("acme") for _ in range(3)] == [True, False, False]
    row.failed("acme", "lost")
    clock.go_on(4.9)
    assert not row.lets("acme")
    clock.go_on(0.1)
    assert [row.lets("acme") for _ in range(3)] == [True, False, False]
    row.answered()
    assert [row.lets("acme") for _ in range(3)] == [True, True, True]


def test_a_probe_that_never_ends_does_not_keep_others_away_for_ever(clock: Clock) -> None:
    row = outage(clock, FAILURES)
    for _ in range(3):
        clock.go_on(5)
        assert [row.lets("acme") for _ in range(2)] == [True, False]


def test_of_many_threads_one_is_the_probe(clock: Clock) -> None:
    for _ in range(50):
        row = outage(clock, FAILURES)
        clock.go_on(5)
        start = threading.Barrier(8)
        let: list[bool] = []

        def ask(row: Outage = row, start: threading.Barrier = start, let: list[bool] = let) -> None:
            start.wait()
            let.append(row.lets("acme"))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert let.count(True) == 1


def test_a_policy_is_what_was_said_last(clock: Clock) -> None:
    held = memory(clock)
    said = []
    for policy in (None, "open", None, "closed"):
        held.learned_policy("acme", policy)
        said.append(held.policy("acme"))
    assert said == [None, "open", "open", "closed"]
    assert held.policy("globex") is None


def test_what_callers_choose_cannot_fill_the_memory(clock: Clock) -> None:
    held = memory(clock)
    for number in range(module.CAPACITY + 10):
        held.denied(Subject("acme", str(number)), denial(3))
        held.learned(Subject("acme", str(number)), Profile("p", "arn"))
        held.learned_policy(str(number), "open")
    assert len(held._denials) <= module.CAPACITY
    assert len(held._profiles) <= module.CAPACITY
    assert len(held._policies) <= module.CAPACITY
