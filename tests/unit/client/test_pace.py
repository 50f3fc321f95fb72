import pytest

from bedrock_meter.client import pace
from bedrock_meter.client.pace import Paces, RetryBudget


def asking(paces: Paces, rate: float, seconds: float, *, start: float = 0.0, tenant: str = "acme") -> int:
    """Ask at a rate as far as the pace lets it; every question is answered. Return how many were sent."""
    sent = 0
    for number in range(round(rate * seconds)):
        now = start + number / rate
        if paces.wait(tenant, now) == 0:
            paces.sent(tenant, now)
            paces.answered(tenant, now)
            sent += 1
    return sent


def test_a_tenant_that_was_never_refused_is_not_slowed() -> None:
    paces = Paces()
    assert asking(paces, 1_000, 5) == 5_000


def test_a_refusal_lowers_what_was_asked_and_only_of_that_tenant() -> None:
    paces = Paces()
    asking(paces, 100, 10)
    asking(paces, 100, 10, tenant="globex")
    paces.refused("acme", 10.0)
    limit = 100 * pace.DECREASE
    within = asking(paces, 1_000, 2, start=10.0) - pace.AT_ONCE
    assert 2 * limit <= within <= 2 * (limit + 2 * pace.INCREASE)
    assert asking(paces, 100, 2, start=10.0, tenant="globex") == 200


def test_each_refusal_multiplies() -> None:
    """Those of one moment too: who asks most is refused most often, and has to come down furthest."""
    limits = []
    for refusals in (1, 2, 5):
        paces = Paces()
        asking(paces, 100, 10)
        for _ in range(refusals):
            paces.refused("acme", 10.0)
        limits.append(paces._flows["acme"].limit)
    assert limits == pytest.approx([100 * pace.DECREASE**refusals for refusals in (1, 2, 5)], rel=0.02)


def test_a_tenant_that_began_a_moment_ago_is_not_taken_for_slow() -> None:
    paces = Paces()
    asking(paces, 100, 0.5)
    paces.refused("acme", 0.5)
    assert paces._flows["acme"].limit == pytest.approx(100 * pace.DECREASE, rel=0.05)


def test_a_pace_grows_by_so_much_a_second_and_not_beyond_twice_what_is_asked() -> None:
    paces = Paces()
    asking(paces, 100, 10)
    paces.refused("acme", 10.0)
    asking(paces, 1_000, 10, start=10.0)
    flow = paces._flows["acme"]
    assert flow.limit is not None
    assert flow.limit == pytest.approx(100 * pace.DECREASE + 10 * pace.INCREASE, rel=0.1)
    asking(paces, 10, 40, start=20.0)
    before = flow.limit
    asking(paces, 10, 10, start=60.0)
    assert flow.limit == before, "it asks for less than half of it"


def test_a_pace_is_never_nothing() -> None:
    paces = Paces()
    paces.sent("acme", 0.0)
    for second in range(1, 100):
        paces.refused("acme", float(second))
    for _ in range(round(pace.AT_ONCE)):
        assert paces.wait("acme", 101.0) == 0
        paces.sent("acme", 101.0)
    assert paces.wait("acme", 101.0) == pytest.approx(1 / pace.SLOWEST)


def test_a_tenant_that_was_not_refused_for_long_is_not_slowed_any_more() -> None:
    paces = Paces()
    asking(paces, 100, 10)
    paces.refused("acme", 10.0)
    assert asking(paces, 1_000, 1, start=10.0 + pace.FORGOTTEN_SECONDS) == 1_000


def test_who_was_not_asked_for_cannot_be_refused() -> None:
    paces = Paces()
    paces.refused("acme", 1.0)
    paces.answered("acme", 1.0)
    assert paces.wait("acme", 1.0) == 0


def test_tenants_cannot_fill_it() -> None:
    paces = Paces()
    for number in range(pace.CAPACITY + 10):
        paces.sent(str(number), 0.0)
    assert len(paces._flows) <= pace.CAPACITY


def test_a_budget_begins_empty_and_saves_so_many() -> None:
    budget = RetryBudget()
    assert not budget.spend()
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]
    for _ in range(10_000):
        budget.earn()
    assert [budget.spend() for _ in range(RetryBudget.SAVED + 1)] == [True] * RetryBudget.SAVED + [False]
