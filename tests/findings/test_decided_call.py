"""What a reservation is decided for: the call that will be made, not the words that its caller chose."""

import json
from typing import Any

import pytest

from tests.findings.world import ACCOUNT, Findings

MODEL = "anthropic.claude-sonnet-4-6"
EMBEDDING = "amazon.titan-embed-text-v2:0"
OWN, OTHERS = "a1c3m5e7k9q2", "b2d4n6f8l0r3"
GLOBAL_ID, EU_ID = "g0lobal0aaaa", "eu0only0bbbb"
ESTIMATE = {"input_tokens": 10_000, "output_tokens": 1_000}


def arn(profile: str, region: str = "us-east-1", account: str = ACCOUNT) -> str:
    return f"arn:aws:bedrock:{region}:{account}:application-inference-profile/{profile}"


def reserve(stack: Findings, key: str, **more: object) -> tuple[int, dict[str, Any]]:
    body = {"key": key, "estimate": ESTIMATE, **more}
    status, said = stack.ask("POST", "/v1/tenants/acme/reservations", body)
    return status, said


def test_the_price_of_the_profile_is_held_that_the_answer_names(stack: Findings) -> None:
    """The operator charges $6 and $30 a million tokens of this profile: nine cents a call, eleven fit into a dollar."""
    limit = {"name": "usd", "meter": "cost_usd", "window": "1h", "max": "1.00", "hard": True}
    row = {"from_ms": 0, "profile": OWN, "prices": {"default": {"input": 6 * 10**9, "output": 30 * 10**9}}}
    key = {"pk": {"S": "PRICES"}, "sk": {"S": "OVERRIDES"}}
    document = json.dumps({"version": 1, "rows": [row]})
    item = {**key, "version": {"N": "1"}, "rows": {"N": "1"}, "document": {"S": document}}
    stack.double.tables["tenants"].items["PRICES", "OVERRIDES"] = item
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": arn(OWN), "model": MODEL}], "limits": [limit]})
    admitted = []
    for call in range(30):
        status, said = reserve(stack, f"k{call}", model=MODEL)
        if status == 429:
            break
        admitted.append(str(said["id"]))
    stack.later(30)
    counts = {"inputTokenCount": 10_000, "outputTokenCount": 1_000}
    stack.log(*[stack.record(OWN, counts, reservation=one) for one in admitted])
    assert (len(admitted), stack.quota("acme", "usd")["overage"]) == (11, "0.00")


@pytest.mark.parametrize("name", [arn(OWN), OWN])
def test_a_profile_is_a_profile_where_a_model_stands(stack: Findings, name: str) -> None:
    """Its model is known, and a limit on that model is used up."""
    limits = [
        {"name": "claude", "meter": "requests", "window": "1h", "max": 1, "hard": True, "models": ["anthropic.*"]},
        {"name": "all", "meter": "requests", "window": "1h", "max": 100, "hard": True},
    ]
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": arn(OWN), "model": MODEL}], "limits": limits})
    stack.log(stack.record(OWN, {"inputTokenCount": 1, "outputTokenCount": 1}))
    status, said = reserve(stack, "k1", model=name)
    assert (status, said.get("limit", {}).get("name")) == (429, "claude")


@pytest.mark.parametrize(
    ("named", "expected", "order"),
    [(f"eu.{MODEL}", EU_ID, 1), (f"global.{MODEL}", GLOBAL_ID, -1), (MODEL, None, 1), (f"us.{MODEL}", None, 1)],
    ids=["a geography", "global", "a base model of two profiles", "a geography that is not there"],
)
def test_routing_is_part_of_the_name(stack: Findings, named: str, expected: str | None, order: int) -> None:
    """Whichever stands first in the definition."""
    profiles = [
        {"id": arn(GLOBAL_ID), "model": f"global.{MODEL}"},
        {"id": arn(EU_ID), "model": f"eu.{MODEL}"},
    ][::order]
    limit = {"name": "calls", "meter": "requests", "window": "1h", "max": 100}
    stack.tenant("acme", {"timezone": "UTC", "profiles": profiles, "limits": [limit]})
    status, said = reserve(stack, "k1", model=named)
    assert status == 201
    profile = said["profile"]
    assert (None if profile is None else profile["id"]) == expected


@pytest.mark.parametrize("field", ["model", "profile"])
def test_another_tenants_profile_is_refused(stack: Findings, field: str) -> None:
    limit = {"name": "calls", "meter": "requests", "window": "1h", "max": 100}
    stack.tenant("acme", {"timezone": "UTC", "profiles": [], "limits": [limit]})
    stack.tenant("globex", {"timezone": "UTC", "profiles": [{"id": arn(OTHERS), "model": MODEL}], "limits": [limit]})
    status, said = reserve(stack, "k1", **{field: arn(OTHERS)})
    assert (status, said.get("type")) == (403, "urn:bedrock-meter:foreign-profile")
    assert stack.quota("acme", "calls")["reserved"] == 0


@pytest.mark.parametrize("other", [arn(OWN, account="999999999999"), arn(OWN, region="eu-west-1")])
def test_account_and_region_of_an_arn_are_part_of_its_name(stack: Findings, other: str) -> None:
    limit = {"name": "calls", "meter": "requests", "window": "1h", "max": 100}
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": arn(OWN), "model": MODEL}], "limits": [limit]})
    status, said = reserve(stack, "k1", profile=other)
    assert (status, said["profile"]) == (201, None)


def test_an_embedding_by_its_profile_holds_no_output(stack: Findings) -> None:
    limit = {"name": "out", "meter": "output_tokens", "window": "1h", "max": 3_000, "hard": True}
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": arn(OWN), "model": EMBEDDING}], "limits": [limit]})
    estimate = {"input_tokens": 300, "output_tokens": 4_096}
    status, said = stack.ask(
        "POST", "/v1/tenants/acme/reservations", {"key": "k1", "profile": arn(OWN), "estimate": estimate}
    )
    assert (status, stack.quota("acme", "out")["reserved"]) == (201, 0), said
