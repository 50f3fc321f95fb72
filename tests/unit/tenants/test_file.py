"""The tenants file: what is accepted, and what is said about the rest."""

from pathlib import Path

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.file import load, parse, parse_gateways
from bedrock_meter.tenants.tenant import ProfileReference
from bedrock_meter.tenants.trust import GatewayDefinition
from tests.doubles.records import profile_arn


def test_profiles_are_named_by_id_arn_or_with_their_model(tmp_path: Path) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(
        f"""
tenants:
  - id: acme
    timezone: Europe/Berlin
    plan: gold
    name: Acme, Limited
    fail: closed
    profiles:
      - 053a3ulue40l
      - "{profile_arn("44suuwn3n98t")}"
      - {{id: 9xy, model: a.model}}
      - {{id: geo1, model: a.model, routing: geo, geography: eu}}
      - {{id: geo2, geography: us-gov}}
    limits:
      - {{meter: total_tokens, window: 1h, max: 200k, hard: true}}
      - {{name: calls, meter: requests, window: month@15, max: 1000, thresholds: [90]}}
  - id: globex
    reserves: true
"""
    )
    acme, globex = load(path)
    assert (acme.id, acme.timezone, acme.plan, acme.name) == ("acme", "Europe/Berlin", "gold", "Acme, Limited")
    assert (acme.fail_policy, globex.fail_policy) == ("closed", None)
    assert acme.profiles == (
        ProfileReference("053a3ulue40l", "053a3ulue40l"),
        ProfileReference("44suuwn3n98t", profile_arn("44suuwn3n98t")),
        ProfileReference("9xy", "9xy", "a.model"),
        ProfileReference("geo1", "geo1", "a.model", "geo", geography="eu"),
        ProfileReference("geo2", "geo2", routing="geo", geography="us-gov"),
    )
    assert [(limit.name, limit.maximum, limit.hard) for limit in acme.limits] == [
        ("total_tokens-1h", 200_000, True),
        ("calls", 1000, False),
    ]
    assert acme.limits[1].window.timezone == "Europe/Berlin"  # type: ignore[union-attr]
    assert (acme.reserves, globex.reserves) == (False, True)
    assert not globex.profiles
    assert not globex.limits


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "list 'tenants'"),
        ({"tenants": {}}, "list 'tenants'"),
        ({"tenants": [], "plan": []}, "unknown key 'plan'"),
        ({"tenants": [{"id": "acme", "name": "two\nlines"}]}, r"tenants\[0\]\.name: must be 1 to 200 printable"),
        ({"tenants": ["acme"]}, r"tenants\[0\]: must be a mapping"),
        ({"tenants": [{}]}, r"tenants\[0\]\.id: None is not a tenant id"),
        ({"tenants": [{"id": "a/b"}]}, r"tenants\[0\]\.id: 'a/b' is not a tenant id"),
        ({"tenants": [{"id": "unattributed"}]}, "reserved"),
        ({"tenants": [{"id": "a"}, {"id": "a"}]}, r"tenants\[1\]\.id: tenant a is defined twice"),
        ({"tenants": [{"id": "a", "profile": []}]}, "unknown key 'profile'"),
        ({"tenants": [{"id": "a", "timezone": "Mars/Base"}]}, r"tenants\[0\]\.timezone: 'Mars/Base'"),
        ({"tenants": [{"id": "a", "timezone": 3}]}, r"tenants\[0\]\.timezone: 3"),
        ({"tenants": [{"id": "a", "plan": 3}]}, r"tenants\[0\]\.plan"),
        ({"tenants": [{"id": "a", "fail": "safe"}]}, r"tenants\[0\]\.fail: must be open or closed"),
        ({"tenants": [{"id": "a", "fail": []}]}, r"tenants\[0\]\.fail: must be open or closed"),
        ({"tenants": [{"id": "a", "reserves": "yes"}]}, r"tenants\[0\]\.reserves: 'yes': write true or false"),
        ({"tenants": [{"id": "a", "profiles": "p1"}]}, r"tenants\[0\]\.profiles: must be a list"),
        ({"tenants": [{"id": "a", "profiles": [12]}]}, r"profiles\[0\]: .*quote"),
        ({"tenants": [{"id": "a", "profiles": [{"id": "p1", "arn": "x"}]}]}, "unknown key 'arn'"),
        *(
            (
                {"tenants": [{"id": "a", "profiles": [{"id": "p1", **wrong}]}]},
                r"profiles\[0\]\.geography: must be one of",
            )
            for wrong in (
                {"geography": "mars"},
                {"geography": "global"},
                {"geography": ["eu"]},
                {"geography": "eu", "routing": "global"},
                {"geography": "eu", "routing": "in-region"},
            )
        ),
        (
            {"tenants": [{"id": "a", "profiles": ["arn:aws:bedrock:us-east-1::foundation-model/x"]}]},
            "not the id or ARN of an application inference profile",
        ),
        (
            {"tenants": [{"id": "a", "profiles": ["p1"]}, {"id": "b", "profiles": [profile_arn("p1")]}]},
            r"tenants\[1\]\.profiles: p1 belongs to tenant a already",
        ),
        (
            {"tenants": [{"id": "a", "limits": [{"meter": "total_tokens", "window": "1h"}]}]},
            r"tenants\[0\]\.limits\[0\]",
        ),
        (
            {"tenants": [{"id": "a", "limits": [{"meter": "total_tokens", "window": "1x", "max": 1}]}]},
            r"tenants\[0\]\.limits\[0\]\.window",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(document: object, message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        parse(document)


def test_a_file_that_is_not_there_or_not_yaml_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match="No such file"):
        load(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("tenants:\n  - id: [acme\n")
    with pytest.raises(InvalidDefinition, match=r"broken\.yaml, line \d+: is not valid YAML"):
        load(broken)


def test_a_limit_on_a_profile_that_is_not_the_tenants_is_refused() -> None:
    limit = {"meter": "cost_usd", "window": "day", "max": 5, "profiles": ["p1000000000a", "p2000000000b"]}
    tenant = {"id": "acme", "profiles": ["p1000000000a"], "limits": [limit]}
    with pytest.raises(InvalidDefinition) as refusal:
        parse({"tenants": [tenant]})
    assert refusal.value.where == "tenants[0].limits[0].profiles"
    assert "'p2000000000b' is none of this tenant's profiles" in str(refusal.value)
    (found,) = parse({"tenants": [{**tenant, "profiles": ["p1000000000a", "p2000000000b"]}]})
    assert found.limits[0].scope.profiles == ("p1000000000a", "p2000000000b")


WORKER = "arn:aws:iam::123456789012:role/worker"


def test_principals_and_gateways_are_read() -> None:
    document = {
        "tenants": [{"id": "acme", "principals": [WORKER, "arn:aws:iam::123456789012:role/path/worker"]}],
        "gateways": {"principals": ["arn:aws:iam::123456789012:role/gate*"], "metadata_key": "team"},
    }
    (acme,) = parse(document)
    assert acme.principals == (WORKER,)
    assert parse_gateways(document) == GatewayDefinition(("arn:aws:iam::123456789012:role/gate*",), "team")
    assert parse_gateways({"tenants": []}) is None
    assert parse_gateways({"tenants": [], "gateways": {}}) == GatewayDefinition(())


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"tenants": [{"id": "acme", "principals": ["worker"]}]}, "tenants[0].principals[0]"),
        (
            {"tenants": [{"id": "acme", "principals": [WORKER]}, {"id": "globex", "principals": [WORKER]}]},
            "tenants[1].principals",
        ),
        ({"tenants": [], "gateways": [WORKER]}, "gateways"),
        ({"tenants": [], "gateways": {"roles": []}}, "gateways"),
        ({"tenants": [], "gateways": {"principals": ["*"]}}, "gateways.principals[0]"),
        ({"tenants": [], "gateways": {"metadata_key": ""}}, "gateways.metadata_key"),
        ({"tenants": [], "gateways": {"metadata_key": "a" * 257}}, "gateways.metadata_key"),
        ({"tenants": [], "gateways": {"principals": [f"{WORKER}{n}" for n in range(51)]}}, "gateways.principals"),
    ],
)
def test_wrong_principals_and_gateways_are_refused_with_their_place(document: object, where: str) -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        parse(document)
    assert refusal.value.where == where
