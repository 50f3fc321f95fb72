"""The reservation routes over what really holds: keys, kinds and meters, limits by name, profiles, throttles."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.api.holding import Holding
from bedrock_meter.clock import iso
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reserving import ATTEMPTS, REMEMBER_MS, Busy, Reservations
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.money import NANO
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.http import Answer, World, gauge
from tests.doubles.memory import MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.reservations import MemoryReservationStore

RESERVATIONS = "/v1/tenants/acme/reservations"
CLAUDE = "anthropic.claude-sonnet-4-6"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1"
PROFILES = (ProfileReference("a1", ARN, f"us.{CLAUDE}"), ProfileReference("a2", "a2", "meta.llama3-8b-instruct-v1:0"))
ESTIMATE = {"input_tokens": 300, "output_tokens": 100}
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")


class BusyStore(MemoryReservationStore):
    """Meets ``reason`` each time once it is set: another writer (no cause) or what the storage said."""

    is_blocked = False
    reason: Exception | None = None

    def _meet(self, request: str) -> None:
        super()._meet(request)
        if self.is_blocked:
            raise Busy from self.reason


class Desk:
    """The quota API over reservations in memory."""

    def __init__(self, *limits: Limit, fail_policy: str | None = None) -> None:
        self.tables = MemoryTables()
        self.tables.gauges["acme"] = gauge("acme", *(limits or (limit("1h", 1000),)), fail_policy=fail_policy)
        self.store = BusyStore(self.tables)
        self.now_ms = NOW_MS
        self.looked_up: list[str] = []
        self.made = 0
        ids = itertools.count(1)

        def reserving() -> Reservations:
            self.made += 1
            return Reservations(
                self.store,
                clock=lambda: self.now_ms,
                sleep_ms=lambda _: None,
                uniform=lambda: 0.5,
                new_id=lambda: f"{next(ids):032x}",
            )

        def profiles_of(tenant: str) -> tuple[ProfileReference, ...]:
            self.looked_up.append(tenant)
            return PROFILES

        self.world = World(self.tables.gauges, reservations=Holding(reserving, profiles_of))

    @property
    def gauge(self) -> Gauge:
        return self.tables.gauges["acme"]

    def ask(self, path: str = "", method: str = "GET", **more: Any) -> Answer:
        self.world.now_ms = self.now_ms
        return self.world.ask(f"{RESERVATIONS}{path}", method, **more)

    def reserve(self, estimate: Mapping[str, object] = ESTIMATE, key: str = "k1", **more: Any) -> Answer:
        return self.ask("", "POST", body={"key": key, "estimate": dict(estimate), **more})

    def reserved(self) -> list[int]:
        return [one.reserved for one in read(self.gauge, self.now_ms)]

    def use(self, amount: int) -> None:
        (first, *_) = self.gauge.layout.limits
        self.tables.change_gauge("acme", adds={bucket_name(first.slot, first.window, self.now_ms): amount})


def amounts(answer: Answer) -> dict[str, object]:
    return {one["limit"]: one["amount"] for one in answer.document["amounts"]}


def test_what_is_held_is_named_by_limit_and_shown_as_it_was_asked_for() -> None:
    desk = Desk(limit("1h", 1000), limit("day", 5000), limit("1h", 5, meter=Meter.REQUESTS))
    made = desk.reserve(model=CLAUDE, ttl_seconds=60)
    assert made.status == 201
    document = made.document
    assert document["amounts"] == [
        {"limit": "requests-1h", "meter": "requests", "amount": 1},
        {"limit": "total_tokens-1h", "meter": "total_tokens", "amount": 400},
        {"limit": "total_tokens-day", "meter": "total_tokens", "amount": 400},
    ]
    assert document["metadata"] == {RESERVATION_KEY: document["id"]}
    assert (document["key"], document["kind"], document["model"]) == ("k1", "call", CLAUDE)
    assert (document["profile"], document["estimate"]) == ({"id": "a1", "arn": ARN}, {"requests": 1, **ESTIMATE})
    assert (document["created_at"], document["expires_at"]) == (iso(NOW_MS), iso(NOW_MS + 60_000))
    assert desk.reserved() == [400, 400, 1]
    desk.now_ms += 1_000
    shown = desk.ask(f"/{document['id']}").document
    document.pop("estimate_source")
    assert shown == document


def test_nothing_is_made_before_the_first_reservation() -> None:
    desk = Desk()
    assert desk.world.ask("/v1/tenants/acme/quota").status == 200
    assert desk.made == 0
    desk.reserve()
    desk.reserve(key="k2")
    assert (desk.made, desk.looked_up) == (1, [])


def test_the_same_key_with_the_same_content_is_the_same_reservation_later_too() -> None:
    desk = Desk()
    first = desk.reserve(model=CLAUDE)
    desk.now_ms += 5_000
    again = desk.reserve(model=CLAUDE)
    assert (again.status, again.document) == (200, first.document)
    assert desk.reserved() == [400]
    # Also after it became smaller.
    desk.ask(f"/{first.document['id']}/settlement", "POST", body={"usage": {"output_tokens": 1}})
    smaller = desk.reserve(model=CLAUDE)
    assert (smaller.status, smaller.document["amounts"][0]["amount"]) == (200, 301)


@pytest.mark.parametrize(
    "other",
    [{"estimate": {"input_tokens": 301}}, {"kind": "lease"}, {"model": CLAUDE}, {"profile": "a1"}],
)
def test_the_same_key_with_another_content_is_refused(other: dict[str, Any]) -> None:
    desk = Desk()
    desk.reserve()
    answer = desk.reserve(**other)
    assert (answer.status, answer.document["reservation"]) == (409, "open")
    assert desk.reserved() == [400]
    desk.now_ms += 600_000
    assert desk.reserve(**other).document["reservation"] == "expired"


def test_the_key_of_a_reservation_that_is_over_is_refused() -> None:
    desk = Desk()
    made = desk.reserve().document
    assert desk.ask(f"/{made['id']}", "DELETE").status == 204
    assert desk.reserve().document["reservation"] == "released"
    desk.reserve(key="k2", ttl_seconds=10)
    desk.now_ms += 10_000
    assert desk.reserve(key="k2", ttl_seconds=10).document["reservation"] == "expired"


def test_no_room_names_the_limit_and_the_wait() -> None:
    desk = Desk(limit("1h", 1000, hard=True))
    desk.use(700)
    answer = desk.reserve()
    assert answer.status == 429
    document = answer.document
    assert (document["limit"]["name"], document["requested"]) == ("total_tokens-1h", 400)
    assert (document["limit"]["used"], document["limit"]["reserved"], document["limit"]["remaining"]) == (700, 0, 300)
    assert int(answer.headers["Retry-After"]) == document["retry_after_seconds"] > 3_000
    assert answer.headers["RateLimit"].startswith('"total_tokens-1h";r=300')
    assert desk.reserved() == [0]
    never = desk.reserve({"input_tokens": 1001})
    assert (never.status, never.document["retry_after_seconds"]) == (429, None)
    assert "Retry-After" not in never.headers


def test_what_others_reserved_may_come_back_at_any_moment() -> None:
    desk = Desk()
    desk.reserve({"input_tokens": 900})
    answer = desk.reserve({"input_tokens": 101}, key="k2")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.document["limit"]["reserved"] == 900


def test_money_and_weighted_tokens_are_held_where_they_are_known() -> None:
    desk = Desk(limit("1h", 5 * NANO, meter=Meter.COST_USD), limit("1h", 10_000, meter=Meter.WEIGHTED_TOKENS))
    made = desk.reserve({**ESTIMATE, "cost_usd": "0.25"}, profile="a1")
    assert amounts(made) == {"cost_usd-1h": "0.25", "weighted_tokens-1h": 300 + 100 * 5}
    assert (made.document["model"], made.document["estimate"]["cost_usd"]) == (f"us.{CLAUDE}", "0.25")
    settled = desk.ask(f"/{made.document['id']}/settlement", "POST", body={"usage": {"output_tokens": 10}})
    assert amounts(settled) == {"cost_usd-1h": "0.25", "weighted_tokens-1h": 300 + 10 * 5}
    # Without a cost nothing is held under a soft limit; there must be something left.
    assert amounts(desk.reserve(key="k2", model=CLAUDE)) == {"weighted_tokens-1h": 800}
    dear = desk.reserve({"cost_usd": "4.80"}, key="k3")
    assert (dear.status, dear.document["requested"], dear.document["limit"]["max"]) == (429, "4.80", "5.00")


def test_a_hard_limit_in_dollars_asks_for_a_cost_where_there_is_no_price() -> None:
    desk = Desk(limit("1h", 5 * NANO, meter=Meter.COST_USD, hard=True))
    answer = desk.reserve(model=CLAUDE)
    assert (answer.status, answer.document["field"]) == (400, "estimate.cost_usd")
    assert desk.reserved() == [0]
    assert desk.reserve({**ESTIMATE, "cost_usd": "0.25"}, model=CLAUDE).status == 201


def test_a_limit_on_other_models_is_not_touched() -> None:
    desk = Desk(limit("1h", 0, scope=Scope(models=("meta.*",))), limit("day", 1000))
    assert amounts(desk.reserve(model=CLAUDE)) == {"total_tokens-day": 400}
    assert amounts(desk.reserve(key="k2", profile=ARN)) == {"total_tokens-day": 400}
    assert desk.reserve(key="k3", profile="a2").document["limit"]["name"] == "total_tokens-1h"
    assert desk.reserve(key="k4").status == 429


def test_a_settlement_counts_what_it_leaves_out_as_it_was_estimated() -> None:
    desk = Desk()
    made = desk.reserve({**ESTIMATE, "cache_read_tokens": 50}).document
    assert desk.reserved() == [450]
    path = f"/{made['id']}/settlement"
    first = desk.ask(path, "POST", body={"usage": {"input_tokens": 30}, "extend_seconds": 3600})
    assert (first.document["amounts"][0]["amount"], desk.reserved()) == (180, [180])
    assert first.document["expires_at"] == iso(NOW_MS + 3_600_000)
    assert desk.ask(path, "POST", body={"usage": {"input_tokens": 10_000}}).document["amounts"][0]["amount"] == 180
    everything = {"input_tokens": 30, "output_tokens": 1, "cache_read_tokens": 0}
    assert desk.ask(path, "POST", body={"usage": everything}).document["amounts"][0]["amount"] == 31
    assert desk.reserved() == [31]


def test_one_that_is_over_stays_as_it_is() -> None:
    desk = Desk()
    made = desk.reserve(ttl_seconds=10).document
    desk.now_ms += 10_000
    assert desk.ask(f"/{made['id']}").document["status"] == "expired"
    assert desk.ask(f"/{made['id']}", "DELETE").status == 204
    assert desk.ask(f"/{made['id']}").document["status"] == "expired"


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [("/nope", "GET", None), ("/nope", "DELETE", None), ("/nope/settlement", "POST", {"usage": {"requests": 1}})],
)
@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_what_is_not_there_is_not_found(path: str, method: str, body: object, tenant: str) -> None:
    answer = Desk().world.ask(f"/v1/tenants/{tenant}/reservations{path}", method, body=body)
    assert (answer.status, answer.document["title"]) == (404, "Reservation not found")


def test_no_tenant_no_reservation() -> None:
    body = {"key": "k", "estimate": ESTIMATE}
    answer = Desk().world.ask("/v1/tenants/globex/reservations", "POST", body=body)
    assert (answer.status, answer.document["title"]) == (404, "Tenant not found")


def test_one_that_was_made_in_a_process_of_its_own_is_shown_as_well() -> None:
    desk = Desk()
    others = Reservations(
        desk.store, clock=lambda: NOW_MS, sleep_ms=lambda _: None, uniform=lambda: 0.5, new_id=lambda: "f" * 32
    )
    held = others.reserve("acme", Estimate(input_tokens=5)).reservation
    assert held is not None
    document = desk.ask(f"/{held.id}").document
    assert (document["key"], document["model"], document["profile"]) == (None, None, None)
    assert (document["estimate"], document["created_at"]) == ({"requests": 1, "input_tokens": 5}, iso(NOW_MS))


@pytest.mark.parametrize(
    ("model", "profile", "expected"),
    [
        (CLAUDE, None, {"id": "a1", "arn": ARN}),
        (f"global.{CLAUDE}", None, {"id": "a1", "arn": ARN}),
        (None, ARN, {"id": "a1", "arn": ARN}),
        (CLAUDE, "a2", {"id": "a2", "arn": None}),
        (CLAUDE, "foreign", None),
        ("amazon.nova-lite-v1:0", None, None),
        (None, None, None),
    ],
)
def test_the_profile_that_a_call_goes_through(model: str | None, profile: str | None, expected: object) -> None:
    assert Desk().reserve(model=model, profile=profile).document["profile"] == expected


def test_a_suspended_tenant_holds_nothing_however_old_what_is_remembered_of_it_is() -> None:
    desk = Desk()
    desk.reserve()
    desk.tables.change_gauge("acme", suspension=Suspension(1, "unpaid", NOW_MS, "arn:aws:iam::123456789012:user/a"))
    answer = desk.reserve({"input_tokens": 10}, key="k2")
    assert (answer.status, answer.document["title"]) == (429, "Tenant suspended")
    assert "Retry-After" not in answer.headers
    assert desk.reserved() == [400]
    assert desk.reserve({"input_tokens": 9_000}, key="k3").document["title"] == "Tenant suspended"
    assert desk.reserve().status == 200, "what was reserved before may still be used"
    assert desk.reserved() == [400]
    suspension = Suspension(2, "unpaid", NOW_MS, "a", NOW_MS, "b")
    desk.tables.change_gauge("acme", suspension=suspension)
    desk.now_ms += REMEMBER_MS + 1
    assert desk.reserve({"input_tokens": 10}, key="k4").status == 201


def test_other_writers_open_nothing_and_a_throttle_that_lasts_is_an_outage() -> None:
    desk = Desk()
    desk.reserve()
    desk.store.is_blocked = True
    answer = desk.reserve(key="k2")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "degraded" not in answer.document
    assert desk.world.told == ["Contended"]
    assert desk.ask("/x").status == 503
    desk.store.reason = THROTTLED
    degraded = desk.reserve(key="k2")
    assert (degraded.status, degraded.document["degraded"], degraded.document["id"]) == (201, True, None)
    assert desk.world.told[-2:] == ["ThrottlingException", "degraded"]
    assert desk.ask("/x").status == 503


def test_the_policy_is_learned_from_reservations_too() -> None:
    desk = Desk(fail_policy="closed")
    desk.reserve()
    desk.store.is_blocked, desk.store.reason = True, THROTTLED
    answer = desk.reserve(key="k2")
    assert (answer.status, answer.document["degraded"]) == (503, True)
    assert len(desk.store.requests) > ATTEMPTS
