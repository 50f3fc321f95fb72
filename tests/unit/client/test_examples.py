"""What the example of a service answers its own caller."""

from typing import Any

import pytest

from bedrock_meter.client import QuotaBusy, QuotaUnavailable, TenantGuard, TenantThrottled
from examples.guarded_service import respond
from tests.doubles.bedrock import CONVERSED, Bedrock, client, ok
from tests.doubles.quota import MemoryTransport, QuotaService
from tests.unit.client.calls import CALL


@pytest.mark.parametrize(
    ("failure", "status", "headers"),
    [
        (None, 200, {}),
        (QuotaBusy("asked too fast", 7), 503, {"Retry-After": "7"}),
        (TenantThrottled("acme", {}, None, remembered=False), 429, {}),
        (TenantThrottled("acme", {"limit": {"name": "x"}}, 90, remembered=False), 429, {"Retry-After": "90"}),
    ],
)
def test_each_end_of_a_call_is_an_answer(
    guard: TenantGuard, transport: MemoryTransport, failure: Exception | None, status: int, headers: dict[str, str]
) -> None:
    transport.failure = failure
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")

    def ask() -> Any:
        return guarded.converse(**CALL)

    answered, said, document = respond(ask)
    assert (answered, said) == (status, headers)
    assert status == 200 or document["status"] == status


def test_an_outage_is_for_the_service_to_decide(guard: TenantGuard, quota: QuotaService) -> None:
    def ask() -> Any:
        raise QuotaUnavailable("closed", closed=True)

    with pytest.raises(QuotaUnavailable):
        respond(ask)
