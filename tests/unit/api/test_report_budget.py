"""What one tenant's reports may take: bounded by what they read, back by time, and nobody else's business."""

from types import SimpleNamespace
from typing import Any

import pytest

from bedrock_meter.api.problems import TENANT_BUSY, Problem
from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.client import HttpTransport, QuotaBusy
from bedrock_meter.usage.rollup import RollupKey
from tests.doubles.http import Answer, World, gauge
from tests.doubles.records import NOW_MS, limit, sums

USAGE, WHY, QUOTA = (f"/v1/tenants/acme/{name}" for name in ("usage", "explanation", "quota"))
QUARTER = NOW_MS - NOW_MS % 900_000


def world(at_once: int, *, a_second: int = 1, rows: int = 1) -> World:
    """Tenants whose rows come one in a page."""
    found = World(page=1, budget=ReportBudget(at_once=at_once, a_second=a_second))
    for tenant in ("acme", "globex"):
        found.gauges[tenant] = gauge(tenant, limit("month", 10), used=50)
        found.timezones[tenant] = "UTC"
        found.rows[tenant] = [
            (RollupKey(tenant, QUARTER - 900_000 * ago, "p", "m"), sums(requests=1)) for ago in range(rows)
        ]
    return found


def is_busy(answer: Answer) -> bool:
    return (answer.status, answer.document["type"]) == (429, TENANT_BUSY) if answer.status != 200 else False


@pytest.mark.parametrize("path", [USAGE, WHY])
def test_small_reports_are_bounded_and_the_wait_is_said(path: str) -> None:
    found = world(6)
    assert [found.ask(path).status for _ in range(3)] == [200] * 3, "one each, and one for its page"
    answer = found.ask(path)
    assert is_busy(answer)
    assert (answer.headers["Retry-After"], answer.document["retry_after_seconds"]) == ("1", 1)
    read = found.pages_read
    found.ask(path)
    assert found.pages_read == read, "nothing is read for who is busy"
    found.now_ms += 1_000
    assert found.ask(path).status == 200


def test_a_large_report_is_finished_and_paid_for_afterwards() -> None:
    found = world(3, rows=7)
    assert found.ask(USAGE).status == 200
    assert found.pages_read == 7
    answer = found.ask(USAGE)
    assert is_busy(answer)
    assert answer.headers["Retry-After"] == "6", "one and seven of three: five below nothing, and one to begin with"
    found.now_ms += 5_999
    assert is_busy(found.ask(USAGE))
    found.now_ms += 1
    assert found.ask(USAGE).status == 200


def test_the_client_takes_it_for_busy_and_waits_as_long() -> None:
    found = world(3, rows=7)
    assert found.ask(USAGE).status == 200
    answer = found.ask(USAGE)

    class Session:
        def send(self, _: Any) -> SimpleNamespace:
            return SimpleNamespace(status_code=answer.status, headers=answer.headers, content=answer.text.encode())

        def close(self) -> None: ...

    transport = HttpTransport("https://api.example.com", bearer=lambda: "token", session=Session)
    with pytest.raises(QuotaBusy) as busy:
        transport.quota("acme")
    assert (busy.value.retry_after, busy.value.remembered) == (6, False)


def test_usage_and_explanations_come_out_of_one_bucket_and_decisions_out_of_none() -> None:
    found = world(2)
    assert found.ask(USAGE).status == 200
    assert is_busy(found.ask(WHY))
    assert [found.ask(QUOTA).status for _ in range(9)] == [200] * 9
    assert found.ask("/v1/openapi.json").status == 200


def test_another_tenant_is_not_concerned() -> None:
    found = world(2)
    while not is_busy(found.ask(USAGE)):
        pass
    assert found.ask("/v1/tenants/globex/usage").status == 200


def test_a_tenant_that_is_not_there_is_bounded_as_well() -> None:
    found = world(2)
    assert [found.ask("/v1/tenants/nobody/usage").status for _ in range(3)] == [404, 404, 429]


def test_a_bucket_holds_no_more_than_it_is_large_and_a_clock_that_goes_back_fills_nothing() -> None:
    budget = ReportBudget(at_once=2, a_second=5)
    budget.admit("acme", 10**9)
    budget.admit("acme", 10**9)
    for now_ms in (10**9, 10**9 - 10**6):
        with pytest.raises(Problem):
            budget.admit("acme", now_ms)
    budget.admit("acme", 2 * 10**9)
    budget.admit("acme", 2 * 10**9)
    with pytest.raises(Problem):
        budget.admit("acme", 2 * 10**9)


def test_the_buckets_of_some_tenants_are_kept() -> None:
    budget = ReportBudget(at_once=1, tenants=2)
    for tenant in ("a", "b", "c"):
        budget.admit(tenant, NOW_MS)
    with pytest.raises(Problem):
        budget.admit("b", NOW_MS)
    budget.admit("a", NOW_MS)


def test_usage_is_read_for_half_and_explanations_consistently() -> None:
    found = world(100)
    assert found.ask(USAGE).status == 200
    assert (found.pages_read, found.consistent_pages) == (1, 0)
    assert found.ask(WHY).status == 200
    assert (found.pages_read, found.consistent_pages) == (2, 1)
