"""What follows from a profile's models, and the names and tokens under which profiles are made."""

import re

import pytest

from bedrock_meter.tenants.profiles import (
    InferenceProfile,
    Route,
    client_token,
    invocation_policy,
    is_source,
    is_tag_key,
    named_route,
    profile_name,
    route_of,
    source_of_model,
)

MODEL = "anthropic.claude-sonnet-4-6"


def model_arn(region: str, model: str = MODEL) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


@pytest.mark.parametrize(
    ("models", "route"),
    [
        ([model_arn("us-east-1")], Route(MODEL, "in-region")),
        ([model_arn("us-east-1"), model_arn("us-west-2")], Route(MODEL, "geo", "us")),
        # Regions of one geography may begin differently: us- and ca-.
        ([model_arn("us-east-1"), model_arn("ca-central-1")], Route(MODEL, "geo", "us")),
        ([model_arn("eu-central-1"), model_arn("eu-north-1")], Route(MODEL, "geo", "eu")),
        ([model_arn("ap-northeast-1"), model_arn("ap-northeast-3")], Route(MODEL, "geo", "jp")),
        ([model_arn("ap-northeast-1"), model_arn("ap-southeast-1")], Route(MODEL, "geo", "apac")),
        ([model_arn("ap-southeast-2"), model_arn("ap-southeast-4")], Route(MODEL, "geo", "au")),
        # Japan's Regions and Australia's have only Asia and the Pacific in common.
        ([model_arn("ap-northeast-1"), model_arn("ap-southeast-2")], Route(MODEL, "geo", "apac")),
        # No geography holds them both, and which it is cannot be told.
        ([model_arn("eu-west-1"), model_arn("us-east-1")], Route(MODEL, "geo")),
        ([model_arn("eu-west-1"), model_arn("xx-new-1")], Route(MODEL, "geo")),
        ([model_arn(""), model_arn("us-east-1")], Route(MODEL, "global")),
        ([model_arn("us-east-1"), model_arn("us-east-1")], Route(MODEL, "in-region")),
        ([model_arn("us-east-1"), model_arn("us-west-2", "another.model")], Route("-", "geo", "us")),
        (["arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/a.b-v1:0"], Route("a.b-v1:0", "in-region")),
        (
            [f"arn:aws-us-gov:bedrock:us-gov-{side}-1::foundation-model/a.b-v1:0" for side in ("west", "east")],
            Route("a.b-v1:0", "geo", "us-gov"),
        ),
        ([f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{MODEL}"], Route(MODEL, "geo", "us")),
        ([f"arn:aws:bedrock:ap-northeast-1:123456789012:inference-profile/jp.{MODEL}"], Route(MODEL, "geo", "jp")),
        ([f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.{MODEL}"], Route(MODEL, "global")),
        (
            [f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{prefix}.{MODEL}" for prefix in ("us", "eu")],
            Route(MODEL, None),
        ),
        (["arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"], Route("-", None)),
        ([], Route("-", None)),
        ([""], Route("-", None)),
    ],
)
def test_models_say_what_a_profile_stands_for(models: list[str], route: Route) -> None:
    assert route_of(models) == route
    assert route_of(models[::-1]) == route


@pytest.mark.parametrize(
    ("identifier", "route"),
    [
        (MODEL, Route(MODEL, "in-region")),
        (f"us.{MODEL}", Route(MODEL, "geo", "us")),
        (f"us-gov.{MODEL}", Route(MODEL, "geo", "us-gov")),
        (f"apac.{MODEL}", Route(MODEL, "geo", "apac")),
        (f"jp.{MODEL}", Route(MODEL, "geo", "jp")),
        (f"global.{MODEL}", Route(MODEL, "global")),
        ("us.only", Route("us.only", "in-region")),
    ],
)
def test_a_prefix_is_a_routing_and_a_geography(identifier: str, route: Route) -> None:
    assert named_route(identifier) == route


def test_a_model_id_leads_to_the_arn_that_profiles_are_made_from() -> None:
    place = {"partition": "aws", "region": "eu-central-1", "account": "123456789012"}
    plain, system = source_of_model(MODEL, **place), source_of_model(f"eu.{MODEL}", **place)
    assert plain == f"arn:aws:bedrock:eu-central-1::foundation-model/{MODEL}"
    assert system == f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.{MODEL}"
    assert is_source(plain)
    assert is_source(system)
    assert not is_source(system.replace("inference-profile", "application-inference-profile"))
    assert not is_source("arn:aws:bedrock:eu-central-1::foundation-model/")


@pytest.mark.parametrize("tenant", ["acme", "A.b_c-", "x" * 64, "a--b__c..d", "0", "customer-with-a-very-long-id-0001"])
@pytest.mark.parametrize("source", [model_arn("us-east-1", "amazon.nova-micro-v1:0"), model_arn("", "a" * 100)])
def test_a_name_is_one_that_bedrock_takes_and_always_the_same(tenant: str, source: str) -> None:
    name = profile_name(tenant, source)
    assert re.fullmatch(r"([0-9a-zA-Z][ _-]?)+", name)
    assert len(name) <= 64
    assert name == profile_name(tenant, source)


def test_names_that_the_alphabet_makes_equal_stay_apart() -> None:
    source = model_arn("us-east-1")
    tenants = ["a.b", "a_b", "a-b", "x" * 63, "x" * 64]
    assert len({profile_name(tenant, source) for tenant in tenants}) == len(tenants)
    assert profile_name("a", source) != profile_name("a", model_arn("us-west-2"))


def test_a_token_is_one_that_bedrock_takes_and_differs_with_everything_that_matters() -> None:
    tokens = {
        client_token("a", "s", "tenantId", 0),
        client_token("b", "s", "tenantId", 0),
        client_token("a", "t", "tenantId", 0),
        client_token("a", "s", "tenant", 0),
        client_token("a", "s", "tenantId", 1),
    }
    assert len(tokens) == 5
    assert all(re.fullmatch(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,254}[a-zA-Z0-9])?", token) for token in tokens)


@pytest.mark.parametrize(
    ("key", "is_fine"),
    [
        ("tenantId", True),
        ("cost center/1", True),
        ("aws:tenant", False),
        ("", False),
        ("x" * 129, False),
        ("a;b", False),
    ],
)
def test_tag_keys(key: str, is_fine: bool) -> None:
    assert is_tag_key(key) is is_fine


def test_the_policy_allows_the_models_through_the_profile_only() -> None:
    profile = InferenceProfile("p", "arn:p", "n", (model_arn("us-west-2"), model_arn("")))
    through, models = invocation_policy(profile)
    assert through["Resource"] == "arn:p"
    assert models["Resource"] == [model_arn(""), model_arn("us-west-2")]
    assert models["Condition"] == {"StringEquals": {"bedrock:InferenceProfileArn": "arn:p"}}
