"""What the documents of reservations and denials say: amounts by limit, what a settlement leaves, and ``fail``."""

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from bedrock_meter.client import RESERVATION_KEY
from bedrock_meter.clock import iso
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import named_in
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.money import NANO
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.desk import ESTIMATE, Desk, MemoryDirectory, amounts
from tests.doubles.records import NOW_MS, limit, profile_arn

CLAUDE = "anthropic.claude-sonnet-4-6"
ARN = profile_arn("a1")


def directory() -> MemoryDirectory:
    mine = (
        ProfileReference("a1", ARN, f"us.{CLAUDE}"),
        ProfileReference("a2", "a2", "meta.llama3-8b-instruct-v1:0", "in-region"),
    )
    return MemoryDirectory({"acme": mine})


def test_a_reservation_says_all_that_its_caller_needs() -> None:
    desk = Desk(limit("1h", 1000), limit("day", 5000), limit("1h", 5, meter=Meter.REQUESTS), directory=directory())
    made = desk.reserve(model=f"us.{CLAUDE}", ttl_seconds=60)
    assert made.status == 201
    document = made.document
    identity = document["id"]
    assert document == {
        "id": identity,
        "tenant": "acme",
        "key": "k1",
        "kind": "call",
        "status": "open",
        "model": CLAUDE,
        "profile": {"id": "a1", "arn": ARN},
        "estimate": {"requests": 1, **ESTIMATE},
        "estimate_source": "stated",
        "amounts": [
            {"limit": "requests-1h", "meter": "requests", "amount": 1},
            {"limit": "total_tokens-1h", "meter": "total_tokens", "amount": 400},
            {"limit": "total_tokens-day", "meter": "total_tokens", "amount": 400},
        ],
        "created_at": iso(NOW_MS),
        "expires_at": iso(NOW_MS + 60_000),
        "fail": "open",
        "degraded": False,
        "metadata": {RESERVATION_KEY: identity},
    }
    assert named_in(document["metadata"].items()) == identity, "a record that carries it names the reservation"
    assert desk.reserved() == [400, 400, 1]
    desk.now_ms += 1_000
    shown = desk.ask(f"/{identity}").document
    assert shown == {name: value for name, value in document.items() if name not in ("estimate_source", "fail")}


@pytest.mark.parametrize(
    ("called", "model"),
    [({"model": f"eu.{CLAUDE}"}, f"eu.{CLAUDE}"), ({"profile": "theirs"}, None), ({"model": "theirs"}, "theirs")],
)
def test_a_degraded_answer_decides_neither_the_profile_nor_whose_it_is_and_says_so(
    called: dict[str, Any], model: str | None
) -> None:
    found = directory()
    found.periods["theirs"] = (MappingPeriod("globex", 0),)
    desk = Desk(directory=found)
    found.errors = [EndpointConnectionError(endpoint_url="x")]
    answer = desk.reserve(**called)
    document = answer.document
    assert (answer.status, document["degraded"], document["allowed"]) == (201, True, True)
    assert (document["model"], document["profile"], document["id"]) == (model, None, None)
    assert not {"available_profiles", "fail"} & document.keys()
    assert desk.reserved() == [0]


def test_money_and_weighted_tokens_are_held_where_they_are_known() -> None:
    limits = limit("1h", 5 * NANO, meter=Meter.COST_USD), limit("1h", 10_000, meter=Meter.WEIGHTED_TOKENS)
    desk = Desk(*limits, directory=directory())
    made = desk.reserve({**ESTIMATE, "cost_usd": "0.25"}, profile="a1")
    assert amounts(made) == {"cost_usd-1h": "0.25", "weighted_tokens-1h": 300 + 100 * 5}
    assert (made.document["model"], made.document["estimate"]["cost_usd"]) == (CLAUDE, "0.25")
    settled = desk.settle(made, {"output_tokens": 10})
    assert amounts(settled) == {"cost_usd-1h": "0.25", "weighted_tokens-1h": 300 + 10 * 5}
    # Without a cost nothing is held under a soft limit; there must be something left.
    assert amounts(desk.reserve(key="k2", model=CLAUDE)) == {"weighted_tokens-1h": 800}
    dear = desk.reserve({"cost_usd": "4.80"}, key="k3")
    assert (dear.status, dear.document["requested"], dear.document["limit"]["max"]) == (429, "4.80", "5.00")


def test_a_limit_on_other_models_is_not_touched() -> None:
    desk = Desk(limit("1h", 0, scope=Scope(models=("meta.*",))), limit("day", 1000), directory=directory())
    assert amounts(desk.reserve(model=CLAUDE)) == {"total_tokens-day": 400}
    assert amounts(desk.reserve(key="k2", profile=ARN)) == {"total_tokens-day": 400}
    assert desk.reserve(key="k3", profile="a2").document["limit"]["name"] == "total_tokens-1h"
    assert desk.reserve(key="k4").status == 429


def test_a_settlement_counts_what_it_leaves_out_as_it_was_estimated() -> None:
    desk = Desk()
    made = desk.reserve({**ESTIMATE, "cache_read_tokens": 50})
    assert desk.reserved() == [450]
    first = desk.settle(made, {"input_tokens": 30}, extend_seconds=3600)
    assert (first.document["amounts"][0]["amount"], desk.reserved()) == (180, [180])
    assert first.document["expires_at"] == iso(NOW_MS + 3_600_000)
    assert desk.settle(made, {"input_tokens": 10_000}).document["amounts"][0]["amount"] == 180
    everything = {"input_tokens": 30, "output_tokens": 1, "cache_read_tokens": 0}
    assert desk.settle(made, everything).document["amounts"][0]["amount"] == 31
    assert desk.reserved() == [31]


def test_a_settlement_holds_a_sum_of_kinds_at_what_was_used_of_all_of_them() -> None:
    """An honest caller with a prompt cache: 300 tokens of input turned out to be 290 that were read from the cache."""
    limits = [limit("1h", 5_000, meter=meter) for meter in (Meter.TOTAL_TOKENS, Meter.INPUT_TOKENS, Meter.REQUESTS)]
    desk = Desk(*limits)
    made = desk.reserve()
    usage = {"input_tokens": 10, "cache_read_tokens": 290, "cache_write_tokens": 0, "output_tokens": 80}
    assert amounts(desk.settle(made, usage)) == {"total_tokens-1h": 380, "input_tokens-1h": 10, "requests-1h": 1}


def test_one_that_is_over_stays_as_it_is() -> None:
    desk = Desk()
    made = desk.reserve(ttl_seconds=10).document
    desk.now_ms += 10_000
    assert desk.ask(f"/{made['id']}").document["status"] == "expired"
    assert desk.ask(f"/{made['id']}", "DELETE").status == 204
    assert desk.ask(f"/{made['id']}").document["status"] == "expired"


def test_what_others_reserved_may_come_back_at_any_moment() -> None:
    desk = Desk()
    desk.reserve({"input_tokens": 900})
    answer = desk.reserve({"input_tokens": 101}, key="k2")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.document["limit"]["reserved"] == 900


def test_one_that_was_made_in_a_process_of_its_own_is_shown_as_well() -> None:
    desk = Desk()
    held = desk.service().reserve("acme", Estimate(input_tokens=5)).reservation
    assert held is not None
    document = desk.ask(f"/{held.id}").document
    assert (document["key"], document["model"], document["profile"]) == (None, None, None)
    assert (document["estimate"], document["created_at"]) == ({"requests": 1, "input_tokens": 5}, iso(NOW_MS))


SOFT, STRICT = limit("1h", 1000), limit("1h", 1000, hard=True)
SHADOW = limit("1h", 1000, hard=True, shadow=True)


@pytest.mark.parametrize(
    ("limits", "own", "default", "effective"),
    [
        ((SOFT,), None, "open", "open"),
        ((SOFT,), None, "closed", "closed"),
        ((SOFT,), "closed", "open", "closed"),
        ((SOFT,), "open", "closed", "open"),
        ((STRICT,), None, "open", "closed"),
        ((STRICT,), "open", "open", "closed"),
        ((SHADOW,), None, "open", "open"),
        ((SHADOW,), "closed", "open", "closed"),
        ((SOFT, limit("day", 10**6, hard=True)), "open", "open", "closed"),
    ],
)
def test_every_answer_says_what_the_tenants_calls_do_while_the_quota_cannot_be_told(
    limits: tuple[Limit, ...], own: str | None, default: str, effective: str
) -> None:
    desk = Desk(*limits, tenant_fail=own, fail_policy=default)
    made, again = desk.reserve(), desk.reserve()
    assert (made.status, made.document["fail"]) == (201, effective)
    assert (again.status, again.document["fail"]) == (200, effective)
    assert desk.world.ask("/v1/tenants/acme/quota").document["fail"] == effective
    desk.tables.change_gauge("acme", suspension=Suspension(1, "unpaid", NOW_MS, "a"))
    stopped = desk.reserve(key="k2")
    assert (stopped.status, stopped.document["title"], stopped.document["fail"]) == (429, "Tenant suspended", effective)


@pytest.mark.parametrize(("one", "effective"), [(SOFT, "open"), (STRICT, "closed")])
def test_a_denial_says_it_too(one: Limit, effective: str) -> None:
    answer: Any = Desk(one).reserve({"input_tokens": 1001})
    assert (answer.status, answer.document["fail"]) == (429, effective)


def test_a_denial_by_the_end_of_a_boost_says_so() -> None:
    """600 are left now, and none after the boost, which ends before the reservation does."""
    boosted = replace(limit("day", 400), boosts=(Boost(NOW_MS, NOW_MS + 60_000, amount=600),))
    desk = Desk(boosted)
    desk.use(400)
    answer = desk.reserve()
    assert (answer.status, answer.document["limit"]["remaining"]) == (429, 600)
    assert answer.document["detail"] == (
        "Limit total_tokens-day has no room for 400 when a boost of it ends, before the reservation does."
    )
    assert desk.reserve(key="k2", ttl_seconds=30).status == 201
