"""The quota API as its function makes it, over tables: a reservation is decided for the call that will be made.

Only events and answers are looked at, so that these tests say the same of any version of what is behind them.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from bedrock_meter.api.reports import over_dynamodb
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.api.wiring import quota_api, reservations_over_dynamodb
from bedrock_meter.clock import now_ms
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.money import NANO
from bedrock_meter.pricing.overrides import NONE, Override, OverrideSet
from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import client, connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.prices import DynamoDBOverrideStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.http import CLAIM, Answer, request
from tests.doubles.records import NOW_MS, limit, profile_arn

SONNET, STEPPED = "anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-5-20250929-v1:0"
EMBEDDING, LLAMA = "amazon.titan-embed-text-v2:0", "meta.llama3-8b-instruct-v1:0"
WORLD = ProfileReference("world1", profile_arn("world1"), SONNET, "global")
EU = ProfileReference("eu1", profile_arn("eu1"), f"eu.{SONNET}", "geo")
HOME = ProfileReference("home1", profile_arn("home1"), STEPPED, "global")
EMBEDDER = ProfileReference("embed1", profile_arn("embed1"), EMBEDDING, "in-region")
PLAIN = ProfileReference("llama1", profile_arn("llama1"), LLAMA, "in-region")
TOKENS = limit("1h", 10**7, name="tokens")


class Api:
    """The API; ``acme`` has some profiles, the first of them with global routing, and ``globex`` has one."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        profiles = (WORLD, EU, HOME, EMBEDDER, PLAIN)
        store = PynamoDBTenantStore(tables)
        store.put_tenant(TenantDefinition("acme", profiles=profiles), NOW_MS)
        for one in profiles:
            store.put_periods(one.id, 0, (MappingPeriod("acme", 0, None, one.model, one.routing),))
        store.put_periods("theirs", 0, (MappingPeriod("globex", 0, None, SONNET, "global"),))
        dynamodb = connection(is_quick=True)
        gauge_of, reports = over_dynamodb(
            dynamodb, quotas_table=tables.quotas, usage_table=tables.usage, tenants_table=tables.tenants
        )
        reservations = reservations_over_dynamodb(dynamodb, quotas_table=tables.quotas, tenants_table=tables.tenants)
        telling = Telling(lambda _: None, lambda: None, lambda _: None)
        self.resolver: Resolver = quota_api(
            gauge_of, reports, reservations, telling=telling, tenant_claim=CLAIM, fail_policy="open"
        )

    def install(self, *limits: Limit) -> None:
        store = DynamoDBInstallationStore(connection(), self.tables)
        install_limits(store, "acme", limits, clock=now_ms, new_id=lambda: "x")

    def ask(self, path: str, body: object) -> Answer:
        answer = self.resolver.resolve(request("POST", f"/v1/tenants/acme/reservations{path}", body=body), None)
        return Answer(answer["statusCode"], answer["headers"], answer["body"] or "")

    def reserve(self, estimate: Mapping[str, Any], key: str = "k1", **called: str) -> Answer:
        return self.ask("", {"key": key, "estimate": dict(estimate), **called})

    def settled(
        self, estimate: Mapping[str, Any], usage: Mapping[str, Any], key: str = "k1", **called: str
    ) -> dict[str, Any]:
        made = self.reserve(estimate, key, **called).document
        return amounts(self.ask(f"/{made['id']}/settlement", {"usage": dict(usage)}))


def amounts(answer: Answer) -> dict[str, Any]:
    return {one["limit"]: one["amount"] for one in answer.document["amounts"]}


@pytest.fixture
def api(endpoint: Endpoint, tables: Tables) -> Api:
    return Api(tables)


CACHED = {"input_tokens": 50, "cache_read_tokens": 5_400, "cache_write_tokens": 0, "output_tokens": 80}


SETTLED = (
    ({"input_tokens": 5_500, "output_tokens": 100}, CACHED, {"tokens": 5_530, "burn": 50 + 5 * 80}),
    (
        {"input_tokens": 5_500, "output_tokens": 100},
        {"input_tokens": 50, "cache_write_tokens": 5_400},
        {"tokens": 5_550, "burn": 5_450 + 5 * 100},
    ),
    (
        {"input_tokens": 1_000, "cache_read_tokens": 4_000},
        {"input_tokens": 4_500, "cache_read_tokens": 100},
        {"tokens": 4_600, "burn": 1_000},
    ),
    ({"input_tokens": 100}, {"input_tokens": 10, "output_tokens": 60}, {"tokens": 70, "burn": 100}),
)


def test_a_sum_of_kinds_shrinks_to_the_sum_of_what_was_used(api: Api) -> None:
    api.install(TOKENS, limit("1h", 10**7, meter=Meter.WEIGHTED_TOKENS, name="burn"))
    for number, (estimate, usage, expected) in enumerate(SETTLED):
        assert api.settled(estimate, usage, f"k{number}", model=f"eu.{SONNET}") == expected


def test_a_cost_shrinks_to_the_cost_of_the_kinds_that_were_used_with_their_step(api: Api) -> None:
    api.install(limit("1h", 100 * NANO, meter=Meter.COST_USD, hard=True, name="spend"))
    # Above 200,000 tokens of context Sonnet 4.5 costs $6 a million, and $0.60 from the cache; until there $3 and $0.30.
    estimate = {"input_tokens": 300_000}
    used = {"input_tokens": 1_000, "cache_read_tokens": 249_000}
    assert api.settled(estimate, used, profile="home1") == {"spend": "0.1554"}
    small = {"input_tokens": 1_000, "cache_read_tokens": 99_000}
    assert api.settled(estimate, small, "k2", profile="home1") == {"spend": "0.0327"}


def test_what_a_profile_costs_instead_of_the_list_is_held(api: Api) -> None:
    rows = (Override(0, model=SONNET, profile="world1", prices={"default": {"input": 30_000_000_000}}),)
    assert DynamoDBOverrideStore(client(), api.tables).replace(NONE, OverrideSet(1, rows), now_ms=0, by="ada")
    api.install(limit("1h", NANO, meter=Meter.COST_USD, hard=True, name="spend"))
    assert amounts(api.reserve({"input_tokens": 1_000}, model=f"global.{SONNET}")) == {"spend": "0.03"}
    assert amounts(api.reserve({"input_tokens": 1_000}, "k2", profile="world1")) == {"spend": "0.03"}


NAMES = [
    (field, name)
    for field in ("model", "profile")
    for name in ("llama1", profile_arn("llama1"), "theirs", profile_arn("theirs"))
]


def test_a_profile_is_a_profile_in_whichever_field_it_stands(api: Api) -> None:
    claude = limit("1h", 1, scope=Scope(models=("anthropic.*",)), hard=True, name="claude")
    llama = limit("1h", 10**6, scope=Scope(models=("meta.*",)), hard=True, name="llama")
    api.install(claude, llama)
    for number, (field, name) in enumerate(NAMES):
        if "llama" in name:
            answer = api.reserve({"input_tokens": 100}, f"k{number}", **{field: name})
            assert answer.status == 201
            assert (answer.document["profile"]["id"], answer.document["model"]) == ("llama1", LLAMA)
            assert amounts(answer) == {"llama": 100}


def test_another_tenants_profile_is_refused(api: Api) -> None:
    api.install(TOKENS)
    for number, (field, name) in enumerate(NAMES):
        if "theirs" in name:
            answer = api.reserve({"input_tokens": 1}, f"k{number}", **{field: name})
            assert (answer.status, answer.document.get("type")) == (403, "urn:bedrock-meter:foreign-profile")


CHOSEN = {
    f"eu.{SONNET}": "eu1",
    f"global.{SONNET}": "world1",
    f"us.{SONNET}": None,
    SONNET: None,
    STEPPED: "home1",
    f"eu.{STEPPED}": None,
    f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.{SONNET}": "eu1",
}


def test_routing_is_part_of_the_name(api: Api) -> None:
    api.install(TOKENS)
    for number, (model, profile) in enumerate(CHOSEN.items()):
        found = api.reserve({"input_tokens": 1}, f"k{number}", model=model).document
        assert (found["profile"] or {}).get("id") == profile, model
        listed = [one["id"] for one in found.get("available_profiles", [])]
        assert listed == ([] if profile else ["world1", "eu1", "home1", "embed1", "llama1"])


def test_an_embedding_through_a_profile_holds_no_output(api: Api) -> None:
    api.install(TOKENS)
    for key, called in (("k1", {"profile": "embed1"}), ("k2", {"model": EMBEDDING}), ("k3", {"model": "embed1"})):
        answer = api.ask("", {"key": key, "estimate": {"input_tokens": 100, "output_tokens": 4_096}, **called})
        assert amounts(answer) == {"tokens": 100}


@pytest.mark.parametrize("is_strict", [True, False])
def test_answers_say_what_calls_do_while_the_quota_cannot_be_told(api: Api, is_strict: bool) -> None:
    api.install(limit("1h", 100, hard=is_strict))
    policy = "closed" if is_strict else "open"
    assert api.reserve({"input_tokens": 100}).document["fail"] == policy
    denied = api.reserve({"input_tokens": 1}, "k2")
    assert (denied.status, denied.document["fail"]) == (429, policy)
