"""What a file would change, and an export that it finds unchanged: over our doubles, and over DynamoDB."""

import itertools
from typing import Any

import pytest
import yaml

from bedrock_meter.cli.applying import put_plans, put_tenants
from bedrock_meter.cli.exporting import exported
from bedrock_meter.cli.ways import TableWay, held_of
from bedrock_meter.settings import Tables
from bedrock_meter.storage.administration import DynamoDBAdministrationStore
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import plan_key
from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
from bedrock_meter.storage.tenants import PynamoDBTenantStore
from bedrock_meter.tenants.administration import Administration
from bedrock_meter.tenants.boosting import WantedBoost
from bedrock_meter.tenants.difference import Desired, Document, difference_document, is_empty
from bedrock_meter.tenants.file import parse, parse_gateways, parse_plans
from tests.doubles.office import Office
from tests.doubles.records import NOW_MS

ROLE = "arn:aws:iam::123456789012:role/"
FILE = f"""
plans:
  - {{name: gold, default: true, limits: [{{name: hour, meter: total_tokens, window: 1h, max: 200k, hard: true}}]}}
tenants:
  - id: acme
    name: "Ac: me, \u00dcnlimited"
    timezone: Europe/Berlin
    plan: gold
    fail: closed
    reserves: true
    profiles: ["012345678901", {{id: p2, model: a.model, routing: geo}}]
    principals: ["{ROLE}a", "{ROLE}teams-*"]
    limits:
      - {{meter: cost_usd, window: month@15, max: $12.50, profiles: ["012345678901"], thresholds: [7]}}
      - {{meter: requests, window: {{calendar: day, timezone: Asia/Tokyo}}, max: 0, shadow: true, fail: open}}
      - {{name: hour, remove: true}}
  - {{id: globex, profiles: [g1]}}
"""


@pytest.fixture(params=["memory", "dynamodb"])
def scene(request: pytest.FixtureRequest) -> tuple[Administration, Any]:
    if request.param == "memory":
        office = Office()
        return office.administration, office.tenants
    tables: Tables = request.getfixturevalue("tables")
    client, ticks = request.getfixturevalue("endpoint").client("dynamodb"), itertools.count(NOW_MS)
    store = PynamoDBTenantStore(tables)
    administration = Administration(
        DynamoDBAdministrationStore(client, tables),
        store,
        DynamoDBInstallationStore(client, tables),
        DynamoDBSuspensionStore(client, tables),
        DynamoDBAuditTrail(client, tables),
        DynamoDBAuditTrail(client, tables, plan_key),
        clock=lambda: next(ticks),
        new_id=lambda: "x",
    )
    return administration, store


def desired(text: str) -> Desired:
    document = yaml.safe_load(text)
    return Desired(parse(document), parse_plans(document), parse_gateways(document))


def difference(way: TableWay, wanted: Desired) -> Document:
    return difference_document(wanted, held_of(way, wanted))


def load(administration: Administration, way: TableWay, wanted: Desired) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    held = held_of(way, wanted)
    work = administration.planning("x")
    put_plans(work, wanted, held)
    put_tenants(way, wanted, held, lambda tenant, changed, _: found.update({tenant: list(changed)}))
    list(work.settle({one.name for one in wanted.plans}))
    return found


def test_a_file_changes_what_its_difference_says_and_an_export_changes_nothing(
    scene: tuple[Administration, Any],
) -> None:
    administration, store = scene
    way = TableWay(administration, store, "x")
    wanted = desired(FILE)
    before = difference(way, wanted)
    assert [one["is_new"] for one in before["tenants"]] == [True, True]
    assert set(load(administration, way, wanted)) == {"acme", "globex"}
    assert is_empty(difference(way, wanted))
    administration.boost("globex", WantedBoost("hour", NOW_MS + 10**7, "why", "x", factor="1.5"))
    text = yaml.safe_dump(exported(way, ()), sort_keys=False, allow_unicode=True, width=100)
    again = desired(text)
    assert is_empty(difference(way, again))
    assert load(administration, way, again) == {"acme": [], "globex": []}
    boosts = administration.boosts("globex")
    assert boosts is not None
    assert len(boosts) == 1


def test_what_goes_is_named_and_whose_it_was(scene: tuple[Administration, Any]) -> None:
    administration, store = scene
    way = TableWay(administration, store, "x")
    load(administration, way, desired(FILE))
    taking = desired(f'tenants: [{{id: globex, profiles: [p2], principals: ["{ROLE}a", "{ROLE}teams-*"]}}]')
    document = difference(way, taking)
    (entry,) = document["tenants"]
    found = {(one["name"], one["change"], one.get("taken_from"), one.get("in_seconds")) for one in entry["changes"]}
    assert found == {
        ("g1", "removed", None, 70),
        ("p2", "added", "acme", 70),
        (f"{ROLE}a", "added", "acme", 70),
        (f"{ROLE}teams-*", "added", "acme", 70),
    }
    load(administration, way, taking)
    # The former owner still lists them: that is a difference, until one of them gives way.
    (back,) = difference(way, desired(FILE))["tenants"][:1]
    assert {one["taken_from"] for one in back["changes"]} == {"globex"}
    # An export lists what is a tenant's own, once, and so takes nothing back.
    text = yaml.safe_dump(exported(way, ()))
    assert [[each["id"] for each in one["profiles"]] for one in yaml.safe_load(text)["tenants"]] == [
        ["012345678901"],
        ["p2"],
    ]
    again = desired(text)
    assert is_empty(difference(way, again))
    load(administration, way, again)
    assert way.owners(["012345678901", "p2"], [f"{ROLE}a"]) == {
        "012345678901": "acme",
        "p2": "globex",
        f"{ROLE}a": "globex",
    }
    plans = desired("plans: [{name: gold}]\ntenants: []")
    (plan,) = difference(way, plans)["plans"]
    assert (plan["tenants"], [(one["name"], one["change"]) for one in plan["changes"]]) == (
        2,
        [("default", "changed"), ("hour", "removed")],
    )


def test_another_version_is_refused_before_anything_of_the_tenant_changes(scene: tuple[Administration, Any]) -> None:
    from bedrock_meter.local.failures import NotAgreed

    administration, store = scene
    way = TableWay(administration, store, "x")
    load(administration, way, desired(FILE))
    seen = way.tenant("globex")
    load(administration, way, desired("tenants: [{id: globex, profiles: [g1, g2]}]"))
    (emptied,) = desired("tenants: [{id: globex}]").definitions
    with pytest.raises(NotAgreed, match="globex was changed"):
        way.put(emptied, seen.version)
    held = way.tenant("globex").definition
    assert held is not None
    assert [one.id for one in held.profiles] == ["g1", "g2"]
    assert way.owners(["g1", "g2"], []) == {"g1": "globex", "g2": "globex"}
