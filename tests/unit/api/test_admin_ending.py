"""Removing and erasing over the admin API, and what it shows that no change can send."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest
from botocore.exceptions import EndpointConnectionError

from bedrock_meter.api import admin_openapi
from bedrock_meter.api.admin_ending import MOST_PROFILES
from bedrock_meter.api.admin_overview import MOST_PRINCIPALS
from bedrock_meter.api.callers import ADMIN_SCOPE
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.marks import UNCOUNTED
from bedrock_meter.tenants.leaving import STEP_MS
from bedrock_meter.tenants.ownership import HANDOVER_MS
from tests.doubles.http import token
from tests.doubles.office import ACME, FULL, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS

CALLER = "arn:aws:iam::123456789012:role/acme-worker"
PROFILES = "/v1/admin/profiles"
PRINCIPALS = "/v1/admin/principals"


@pytest.fixture
def office() -> Office:
    made = Office()
    made.put({**FULL, "name": "Acme"}, NEW)
    return made


def forget_the_handover(office: Office) -> None:
    """Let the minute pass after which nothing is recorded for the tenant any more."""
    office.passing_ms = HANDOVER_MS + 1_000


def check(name: str, document: object) -> None:
    """Hold a document against the schema that the OpenAPI document has for it."""
    schemas = admin_openapi.document()["components"]
    jsonschema.validate(document, {"$ref": f"#/components/schemas/{name}", "components": schemas})


def test_a_tenant_is_removed_and_noted_once(office: Office) -> None:
    answer = office.ask(ACME, "DELETE")
    assert answer.status == 200
    check("Removed", answer.document)
    assert (answer.document["tenant"], answer.document["changed"]) == ("acme", True)
    assert answer.document["ended"] == ["p1", "p2", CALLER]
    to = office.tenants.periods("p1")[1][-1].to_ms
    assert answer.document["effective"] == iso(to)
    assert to is not None
    assert to - NOW_MS in range(HANDOVER_MS, HANDOVER_MS + 1_000)
    refused = office.ask(f"{ACME}/limits", "PUT", body={"limits": []}, headers={"if-match": "*"})
    assert (refused.status, refused.document["field"]) == (400, "limits"), "its callers would be its own again"
    assert office.tenants.periods(CALLER)[1][-1].to_ms == to
    (note,) = [one for one in office.tenants.notes if one.what == "remove"]
    assert note.after == {"removed": True, "profiles": [], "delete_profiles": []}
    again = office.ask(ACME, "DELETE").document
    assert (again["changed"], again["ended"]) == (False, [])
    assert len([one for one in office.tenants.notes if one.what == "remove"]) == 1
    assert office.ask(f"{TENANTS}/nobody", "DELETE").status == 404
    assert office.gauges.gauges["acme"].layout.limits, "what it used and how much it might stays"


def test_profiles_that_the_caller_will_delete_are_noted_also_later(office: Office) -> None:
    assert office.ask(ACME, "DELETE", query="delete_profiles=p1,p2,p1").status == 200
    assert office.ask(ACME, "DELETE", query="delete_profiles=p3").document["changed"] is True
    notes = [one.after["delete_profiles"] for one in office.tenants.notes if one.what == "remove" and one.after]
    assert notes == [["p1", "p2"], ["p3"]]
    many = ",".join(f"p{number}" for number in range(MOST_PROFILES + 1))
    for wrong in ("", "p1,", "a/b", "arn:aws:bedrock:us-east-1:1:application-inference-profile/p1", many):
        refused = office.ask(ACME, "DELETE", query=f"delete_profiles={wrong}")
        assert (refused.status, refused.document["field"]) == (400, "delete_profiles"), wrong
    assert len([one for one in office.tenants.notes if one.what == "remove"]) == 2


def test_a_removed_tenant_that_comes_back_as_it_was_is_noted(office: Office) -> None:
    lean = {"timezone": "Europe/Berlin"}
    other = f"{TENANTS}/other"
    office.put(lean, NEW, other)
    office.ask(other, "DELETE")
    notes = len(office.tenants.notes)
    back = office.put(lean, {"if-match": "*"}, other)
    assert back.document["applied"]["changed"] == ["tenant"]
    (note,) = office.tenants.notes[notes:]
    assert (note.what, note.before, note.after) == ("put", {"removed": True}, {"removed": None})
    assert office.ask(f"{other}/overview").document["removed"] is None


def test_persons_are_forgotten_in_steps_that_say_where_they_stopped(office: Office) -> None:
    for number in range(6):
        office.ledger.entries[f"k{number}"] = ("acme" if number % 2 else "globex", "arn")
    early = office.ask(f"{ACME}/erasure", "POST", body={})
    assert (early.status, "retry-after" in {name.lower() for name in early.headers}) == (409, False)
    assert "still there" in early.document["detail"]
    office.ask(ACME, "DELETE")
    assert "for another minute" in office.ask(f"{ACME}/erasure", "POST", body={}).document["detail"]
    assert "Acme" in repr(office.tenants.notes)
    forget_the_handover(office)
    office.clock_step_ms = STEP_MS  # each look at the clock: a page of two entries a step
    steps = [office.ask(f"{ACME}/erasure", "POST", body={}).document]
    while steps[-1]["next"] is not None:
        steps.append(office.ask(f"{ACME}/erasure", "POST", body={"cursor": steps[-1]["next"]}).document)
    for step in steps:
        check("Erased", step)
    assert [(one["ledger_entries_read"], one["principals_forgotten"]) for one in steps] == [(2, 1)] * 3
    assert [one["history_entries_changed"] > 0 for one in steps] == [True, False, False]
    assert [one.what for one in office.tenants.notes].count("erase") == 1
    assert "Acme" not in repr(office.tenants.notes)
    assert office.ask(f"{ACME}/overview").document["name"] is None
    assert CALLER not in repr(office.tenants.mappings[CALLER][1])
    assert [one for one in office.ledger.entries.values() if one[1]] == [("globex", "arn")] * 3
    assert office.ask(f"{TENANTS}/nobody/erasure", "POST", body={}).status == 404


def test_a_step_of_another_tenant_or_of_one_that_came_back_is_refused(office: Office) -> None:
    office.ledger.entries.update({f"k{number}": ("acme", "arn") for number in range(4)})
    office.ask(ACME, "DELETE")
    forget_the_handover(office)
    office.clock_step_ms = STEP_MS
    cursor = office.ask(f"{ACME}/erasure", "POST", body={"cursor": None}).document["next"]
    office.put({}, NEW, f"{TENANTS}/globex")
    for path, body in (
        (f"{TENANTS}/globex/erasure", {"cursor": cursor}),
        (f"{ACME}/erasure", {"cursor": "x"}),
        (f"{ACME}/erasure", {"cursor": 7}),
        (f"{ACME}/erasure", {"position": cursor}),
    ):
        assert office.ask(path, "POST", body=body).status == 400, body
    office.put(FULL, {"if-match": "*"})
    refused = office.ask(f"{ACME}/erasure", "POST", body={"cursor": cursor})
    assert (refused.status, refused.document["detail"]) == (
        409,
        "acme was added again meanwhile: it keeps what it has now",
    )
    assert office.ledger.entries["k3"] == ("acme", "arn")


def test_an_overview_says_why_a_limit_denies(office: Office) -> None:
    money = {"meter": "cost_usd", "window": "1h", "max": 5, "hard": True}
    assert office.put({**FULL, "limits": [money]}, {"if-match": "*"}).status == 200
    gauge = office.gauges.gauges["acme"]
    installed = next(one for one in gauge.layout.limits if one.name == "cost_usd-1h")
    mark = bucket_name(installed.slot, installed.window, NOW_MS) + UNCOUNTED
    office.gauges.gauges["acme"] = replace(gauge, buckets={mark: 2})
    document = office.ask(f"{ACME}/overview").document
    check("Overview", document)
    one = next(limit for limit in document["limits"] if limit["name"] == "cost_usd-1h")
    assert document["allowed"] is False
    assert (one["when_unpriced"], one["denied_because"], one["uncounted_requests"]) == ("deny", ["unpriced"], 2)


def test_an_overview_is_what_the_document_promises(office: Office) -> None:
    office.ask(f"{ACME}/suspension", "PUT", body={"reason": "unpaid"})
    definition = office.tenants.definitions["acme"]
    profiles = (
        definition[0].profiles[0],
        replace(definition[0].profiles[1], tagged=True, routing="geo", geography="eu"),
    )
    office.tenants.definitions["acme"] = replace(definition[0], profiles=profiles), definition[1]
    answer = office.ask(f"{ACME}/overview")
    assert answer.status == 200
    check("Overview", answer.document)
    assert (answer.document["tenant"], answer.document["allowed"]) == ("acme", False)
    assert answer.document["suspended"]["reason"] == "unpaid"
    assert [one["by"] for one in answer.document["profiles"]] == ["person", "tag"]
    assert [one["geography"] for one in answer.document["profiles"]] == [None, "eu"]
    assert answer.document["profiles"][1]["routing"] == "geo"
    shown = office.ask(ACME).document["profiles"][1]
    assert shown == {"id": "p2", "model": "a.model", "routing": "geo", "geography": "eu", "tagged": True}
    assert office.ask(f"{TENANTS}/nobody/overview").status == 404


def test_who_owned_profiles_is_one_answer_for_many(office: Office) -> None:
    answer = office.ask(PROFILES, query="ids=p2,unknown,p1")
    assert answer.status == 200
    check("Profiles", answer.document)
    period = {"tenant": "acme", "from": "1970-01-01T00:00:00.000Z", "to": None}
    assert answer.document == {"profiles": [{"id": "p2", "periods": [period]}, {"id": "p1", "periods": [period]}]}
    for wrong in ("", "ids=", "ids=a/b", "id=p1", "ids=" + ",".join(f"p{number}" for number in range(101))):
        assert office.ask(PROFILES, query=wrong).status == 400, wrong


def test_whom_principals_call_for_is_one_answer_for_many(office: Office) -> None:
    pattern = "arn:aws:iam::123456789012:role/with,comma-*"
    office.put({"principals": [pattern]}, NEW, f"{TENANTS}/globex")
    unknown = "arn:aws:iam::123456789012:user/unknown"
    answer = office.ask(PRINCIPALS, query=urlencode({"arns": f"{pattern} {unknown} {CALLER}"}))
    assert answer.status == 200
    check("Principals", answer.document)
    found = {one["principal"]: [period["tenant"] for period in one["periods"]] for one in answer.document["principals"]}
    assert found == {pattern: ["globex"], CALLER: ["acme"]}
    many = " ".join(f"{CALLER}{number}" for number in range(MOST_PRINCIPALS + 1))
    for wrong in ("", "arns=", "arns=acme", urlencode({"arns": many}), urlencode({"ids": CALLER})):
        assert office.ask(PRINCIPALS, query=wrong).status == 400, wrong


def test_what_was_read_can_be_sent_back_and_a_tags_profile_stays_the_tags(office: Office) -> None:
    definition, at_ms = office.tenants.definitions["acme"]
    by_tag = replace(definition, profiles=(definition.profiles[0], replace(definition.profiles[1], tagged=True)))
    office.tenants.definitions["acme"] = by_tag, at_ms
    read = office.ask(ACME)
    check("TenantChange", read.document)
    assert office.put(read.document, {"if-match": read.headers["ETag"]}).status == 200
    assert office.tenants.definitions["acme"][0].profiles == by_tag.profiles


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (ACME, "DELETE"),
        (f"{ACME}/erasure", "POST"),
        (f"{ACME}/overview", "GET"),
        (f"{PROFILES}?ids=p1", "GET"),
        (f"{PRINCIPALS}?arns={CALLER}", "GET"),
    ],
)
def test_only_administrators_come_in_and_an_outage_is_said(office: Office, path: str, method: str) -> None:
    path, _, query = path.partition("?")
    body: dict[str, Any] = {"body": {}} if method == "POST" else {}
    before = list(office.tenants.notes)
    assert office.ask(path, method, query=query, authorizer=None, **body).status == 401
    tenant = office.ask(path, method, query=query, authorizer=token("acme"), **body)
    assert (tenant.status, ADMIN_SCOPE in tenant.document["detail"]) == (403, True)
    assert office.tenants.notes == before
    office.tenants.error = EndpointConnectionError(endpoint_url="tables")
    assert office.ask(path, method, query=query, **body).status == 503
    assert office.told == ["EndpointConnectionError"]
