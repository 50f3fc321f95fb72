"""What a call may cost where that is not known or beyond all bounds, under a limit in US dollars."""

from typing import Any

import pytest

from bedrock_meter.limits.costs import Costs
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Rater
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.desk import Desk, MemoryDirectory
from tests.doubles.pricebook import MODEL, book
from tests.doubles.records import REGION, limit, profile_arn

ID = "a1c3m5e7k9q2"
READER = ProfileReference(ID, profile_arn(ID), MODEL, "in-region")
SPEND: Limit = limit("1h", 1_000_000_000, name="spend", meter=Meter.COST_USD, hard=True)


def desk() -> Desk:
    directory = MemoryDirectory({"acme": (READER,)})
    return Desk(SPEND, directory=directory, costs=Costs(Rater(book()), REGION))


@pytest.mark.parametrize(
    "named",
    ["n0b0dysprof1", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123def456", "vendor.no-such-model"],
)
def test_a_call_through_no_profile_is_told_which_there_are(named: str) -> None:
    """It has no price, so that it is refused; why it has none is for the caller to know."""
    answer = desk().reserve(model=named)
    assert (answer.status, answer.document["field"]) == (400, "estimate.cost_usd")
    assert [one["id"] for one in answer.document["available_profiles"]] == [ID]
    assert "goes through no profile" in answer.document["detail"]


@pytest.mark.parametrize("named", [{}, {"model": MODEL, "tier": "reserved"}, {"region": REGION}])
def test_a_call_that_names_nothing_or_has_a_profile_is_told_none(named: dict[str, Any]) -> None:
    answer = desk().reserve(**named)
    assert (answer.status, answer.document["field"]) == (400, "estimate.cost_usd")
    assert "available_profiles" not in answer.document


def test_usage_beyond_all_costs_changes_nothing() -> None:
    one = desk()
    held = one.reserve(model=MODEL)
    most = {"requests": 2**53, "input_tokens": 2**53, "output_tokens": 2**53}
    settled = one.settle(held, most)
    assert (settled.status, settled.document["amounts"]) == (200, held.document["amounts"])


def test_an_estimate_beyond_all_costs_is_denied_for_good() -> None:
    answer = desk().reserve({"input_tokens": 2**53, "output_tokens": 2**53}, model=MODEL)
    assert (answer.status, answer.document["retry_after_seconds"]) == (429, None)
