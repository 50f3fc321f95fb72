from bedrock_meter.client import Denial, Profile
from bedrock_meter.client import memory as module
from bedrock_meter.client.memory import Memory
from tests.unit.client.conftest import Clock

SUBJECT = ("acme", "model")


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


def test_dollars_are_amounts_too(clock: Clock) -> None:
    held = memory(clock)
    held.denied(SUBJECT, denial(3, used="4.9999", maximum="5.00"))
    assert held.denial(SUBJECT) is None
    held.denied(SUBJECT, denial(3, used="5.00", maximum="5.00"))
    assert held.denial(SUBJECT) is not None
    assert held.denial(("acme", "other")) is None


def test_an_outage_ends_by_time_or_by_an_answer(clock: Clock) -> None:
    held = memory(clock)
    held.out_of_order()
    clock.go_on(4.9)
    assert held.is_out_of_order
    clock.go_on(0.1)
    assert not held.is_out_of_order
    held.out_of_order()
    held.answered()
    assert not held.is_out_of_order


def test_what_callers_choose_cannot_fill_the_memory(clock: Clock) -> None:
    held = memory(clock)
    for number in range(module.CAPACITY + 10):
        held.denied(("acme", str(number)), denial(3))
        held.learned(("acme", str(number)), Profile("p", "arn"))
    assert len(held._denials) <= module.CAPACITY
    assert len(held._profiles) <= module.CAPACITY
