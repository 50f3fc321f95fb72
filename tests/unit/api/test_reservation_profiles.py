"""What reservations answer of the profile that a call goes through: which, which others, and another tenant's."""

import json
from typing import Any

import pytest

from bedrock_meter.api.holdings import MOST_LISTED
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.desk import Desk, MemoryDirectory
from tests.doubles.records import NOW_MS, REGION, profile_arn

CLAUDE = "anthropic.claude-sonnet-4-6"
EU = ProfileReference("eu1", profile_arn("eu1").replace(REGION, "eu-central-1"), CLAUDE, "geo", geography="eu")
WORLD = ProfileReference("world1", profile_arn("world1"), CLAUDE, "global")
LLAMA = ProfileReference("a2", "a2", "meta.llama3-8b-instruct-v1:0", "in-region")
BLIND = ProfileReference("b1", "b1")
LISTED = [
    {"id": "eu1", "arn": EU.arn, "model": CLAUDE, "routing": "geo", "geography": "eu", "region": "eu-central-1"},
    {"id": "world1", "arn": WORLD.arn, "model": CLAUDE, "routing": "global", "geography": None, "region": REGION},
    {"id": "a2", "arn": None, "model": LLAMA.model, "routing": "in-region", "geography": None, "region": None},
    {"id": "b1", "arn": None, "model": None, "routing": None, "geography": None, "region": None},
]


def desk(**periods: MappingPeriod) -> Desk:
    mapped = {name: (one,) for name, one in periods.items()}
    return Desk(directory=MemoryDirectory({"acme": (EU, WORLD, LLAMA, BLIND)}, mapped))


def named(one: ProfileReference) -> dict[str, str | None]:
    return {"id": one.id, "arn": one.arn if one.arn.startswith("arn:") else None}


@pytest.mark.parametrize(
    ("called", "profile", "model"),
    [
        ({"model": f"eu.{CLAUDE}"}, EU, CLAUDE),
        ({"model": f"global.{CLAUDE}"}, WORLD, CLAUDE),
        ({"model": CLAUDE, "region": "eu-central-1"}, EU, CLAUDE),
        ({"model": CLAUDE, "region": REGION}, WORLD, CLAUDE),
        ({"profile": EU.arn}, EU, CLAUDE),
        ({"profile": "eu1"}, EU, CLAUDE),
        ({"model": "eu1"}, EU, CLAUDE),
        ({"model": EU.arn}, EU, CLAUDE),
        ({"model": CLAUDE, "profile": "eu1"}, EU, CLAUDE),
        ({"profile": "a2"}, LLAMA, LLAMA.model),
        ({"model": LLAMA.model}, LLAMA, LLAMA.model),
        ({"profile": "b1"}, BLIND, None),
    ],
)
def test_the_profile_that_a_call_goes_through(
    called: dict[str, Any], profile: ProfileReference, model: str | None
) -> None:
    answer = desk().reserve(**called)
    assert (answer.status, answer.document["profile"], answer.document["model"]) == (201, named(profile), model)
    assert "available_profiles" not in answer.document


@pytest.mark.parametrize(
    ("called", "model"),
    [
        ({"model": CLAUDE}, CLAUDE),
        ({"model": f"us.{CLAUDE}"}, f"us.{CLAUDE}"),
        ({"model": f"eu.{CLAUDE}", "region": REGION}, f"eu.{CLAUDE}"),
        ({"model": "amazon.nova-lite-v1:0"}, "amazon.nova-lite-v1:0"),
        ({"profile": "ownerless"}, None),
        ({"profile": "eu1", "region": "eu-west-1"}, None),
        ({"profile": EU.arn.replace("123456789012", "999999999999")}, None),
        ({"model": "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"}, None),
    ],
)
def test_where_no_profile_is_what_was_named_the_answer_lists_those_that_there_are(
    called: dict[str, Any], model: str | None
) -> None:
    one = desk()
    answer = one.reserve(**called)
    assert (answer.status, answer.document["profile"], answer.document["model"]) == (201, None, model)
    assert answer.document["available_profiles"] == LISTED
    assert one.reserved() == [400], "what becomes of the call is its client's decision; it is held meanwhile"
    shown = one.ask(f"/{answer.document['id']}").document
    assert (shown["profile"], "available_profiles" in shown) == (None, False)


def test_a_call_that_names_nothing_is_told_of_no_profiles() -> None:
    document = desk().reserve().document
    assert (document["profile"], document["model"], "available_profiles" in document) == (None, None, False)


def test_a_tenant_without_profiles_is_told_so_and_one_with_many_of_the_first_of_them() -> None:
    assert Desk().reserve(model=CLAUDE).document["available_profiles"] == []
    many = [ProfileReference(f"p{number}", f"p{number}", CLAUDE, "global") for number in range(50)]
    listed = Desk(directory=MemoryDirectory({"acme": many})).reserve(model=CLAUDE).document["available_profiles"]
    assert [one["id"] for one in listed] == [f"p{number}" for number in range(MOST_LISTED)]


@pytest.mark.parametrize("name", ["theirs", profile_arn("theirs")])
@pytest.mark.parametrize("field", ["model", "profile"])
def test_another_tenants_profile_is_a_403_with_a_type_of_its_own(field: str, name: str) -> None:
    one = desk(theirs=MappingPeriod("globex", 0))
    called: dict[str, Any] = {field: name}
    answer = one.reserve(**called)
    assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json")
    assert (answer.document["type"], answer.document["title"]) == (
        "urn:bedrock-meter:foreign-profile",
        "Foreign profile",
    )
    assert "globex" not in json.dumps(answer.document), "whose it is, is not said"
    assert (one.reserved(), one.world.told) == ([0], [])


def test_it_is_a_400_and_no_403_where_names_contradict_each_other() -> None:
    answer = desk().reserve(model=LLAMA.model, profile="eu1")
    assert (answer.status, answer.document["field"]) == (400, "model")


def test_an_ended_mapping_refuses_no_tenant_and_both_owners_reserve_during_a_handover() -> None:
    one = Desk(tenants=("acme", "globex"))
    one.directory.periods["p1"] = (
        MappingPeriod("acme", 0, NOW_MS + HANDOVER_MS),
        MappingPeriod("globex", NOW_MS + HANDOVER_MS, NOW_MS + 200_000),
    )
    seen = {}
    for at_ms in (0, HANDOVER_MS, 200_000):
        one.now_ms = NOW_MS + at_ms
        asked = [one.reserve({"requests": 1}, f"k{at_ms}", tenant=who, profile="p1") for who in ("acme", "globex")]
        seen[at_ms] = [answer.status for answer in asked]
    assert seen == {0: [201, 201], HANDOVER_MS: [403, 201], 200_000: [201, 201]}


def test_a_repeated_request_shows_the_profile_of_its_reservation() -> None:
    one = desk()
    first = one.reserve(model=f"eu.{CLAUDE}").document
    one.directory.profiles["acme"] = (WORLD,)
    again = one.reserve(model=f"eu.{CLAUDE}")
    assert (again.status, again.document) == (200, first)
    without = one.reserve(key="k2", model=f"eu.{CLAUDE}").document
    one.directory.profiles["acme"] = (EU,)
    again = one.reserve(key="k2", model=f"eu.{CLAUDE}")
    assert (again.status, again.document["profile"]) == (200, without["profile"])
    assert again.document["available_profiles"] == LISTED[:1]
