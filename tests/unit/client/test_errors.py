import pickle
from decimal import Decimal
from typing import Any

import pytest

from bedrock_meter.client import (
    ForeignProfile,
    InvalidMetadata,
    NoProfile,
    QuotaBusy,
    QuotaRefused,
    QuotaUnavailable,
    TenantThrottled,
)
from bedrock_meter.client.errors import amount
from bedrock_meter.errors import MeterError

DOCUMENT: dict[str, Any] = {
    "limit": {"name": "spend", "meter": "cost_usd", "max": "5.00", "used": "4.10", "remaining": "0.20"},
    "requested": "0.25",
    "throttled_until": "2026-11-24T12:10:00.000Z",
}


def test_dollars_are_exact() -> None:
    denied = TenantThrottled("acme", DOCUMENT, 312, remembered=False)
    assert (denied.maximum, denied.remaining, denied.requested) == (Decimal("5.00"), Decimal("0.20"), Decimal("0.25"))
    assert str(denied) == "tenant acme: limit spend (cost_usd) has 0.20 of 5.00 left, 0.25 wanted; try again in 312 s"


def test_a_denial_that_is_not_for_what_is_left_says_what_it_is_for() -> None:
    boosted = {**DOCUMENT, "requested": "0.10"}
    assert "0.10 wanted, but less than that when a boost" in str(
        TenantThrottled("acme", boosted, 312, remembered=False)
    )
    limit = {**DOCUMENT["limit"], "denied_because": ["unpriced"]}
    models = [{"model": "vendor.new-v1"}, {"model": None, "profile": "a1c3m5e7k9q2"}]
    unpriced = {**boosted, "limit": limit, "unpriced": {"models": models}}
    assert str(TenantThrottled("acme", unpriced, 312, remembered=False)) == (
        "tenant acme: limit spend (cost_usd) denies while usage without a price (vendor.new-v1, a1c3m5e7k9q2) is in "
        "its window; try again in 312 s"
    )
    bare = {**boosted, "limit": limit}
    assert "without a price is in its window" in str(TenantThrottled("acme", bare, None, remembered=True))


def test_a_suspended_tenant_has_no_limit() -> None:
    denied = TenantThrottled("acme", {}, None, remembered=True)
    assert (denied.suspended, denied.limit, denied.remaining) == (True, None, None)
    assert denied.problem()["title"] == "Tenant suspended"
    assert "limit" not in denied.problem()


@pytest.mark.parametrize(
    "error",
    [
        TenantThrottled("acme", DOCUMENT, 312, remembered=True),
        QuotaUnavailable("why", closed=True, retry_after=7, kind="lost"),
        QuotaBusy("why", 3, remembered=True),
        QuotaRefused(404, "Tenant not found", "so it is"),
        NoProfile("acme", "model"),
        NoProfile("acme", "model", [{"id": "p", "model": "m"}]),
        ForeignProfile("acme", "p"),
        InvalidMetadata("why"),
    ],
)
def test_errors_travel_between_processes(error: MeterError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert {k: v for k, v in vars(copy).items() if k != "_document"} == {
        k: v for k, v in vars(error).items() if k != "_document"
    }


def test_what_a_tenant_has_is_listed_in_one_sentence() -> None:
    available: list[dict[str, Any]] = [
        {"id": "p1", "model": "x.y", "routing": "geographic", "geography": "eu", "region": "eu-west-1"},
        {"id": "p2", "model": "x.y", "routing": "global", "geography": None, "region": "eu-west-1"},
        {"id": "p3"},
    ]
    said = "for eu.x.y (it has p1: x.y eu eu-west-1, p2: x.y global eu-west-1, p3): add one"
    assert said in str(NoProfile("acme", "eu.x.y", available))
    assert "for eu.x.y: add one" in str(NoProfile("acme", "eu.x.y"))


def test_busy_always_says_when_to_ask_again() -> None:
    assert [QuotaBusy("why", seconds).retry_after for seconds in (0, 1, 7)] == [1, 1, 7]
    assert isinstance(QuotaBusy("why"), QuotaUnavailable)


@pytest.mark.parametrize("value", [None, True, 1.5, "x", "NaN", "Infinity", [], {}])
def test_what_is_no_amount(value: object) -> None:
    assert amount(value) is None
