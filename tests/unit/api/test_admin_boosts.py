"""Boosts over the admin API: given once, listed, ended early, and sent back with the tenant that was read."""

from typing import Any

import pytest

from bedrock_meter.api.admin_boosts import MEMBERS
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.tenants.boosting import ID
from tests.doubles.http import ARN, Answer
from tests.doubles.office import ACME, FULL, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS

BOOSTS = f"{ACME}/boosts"
HOUR_MS = 3_600_000
WANTED = {
    "limit": "total_tokens-1h",
    "from": iso(NOW_MS),
    "to": iso(NOW_MS + HOUR_MS),
    "amount": "5k",
    "reason": "launch week",
}


@pytest.fixture
def office() -> Office:
    office = Office()
    assert office.put(FULL, NEW).status == 200
    return office


def give(office: Office, **other: Any) -> Answer:
    wanted = {**WANTED, **other}
    return office.ask(BOOSTS, "POST", body={name: value for name, value in wanted.items() if value is not None})


def maxima(office: Office, at_ms: int) -> list[int]:
    return [one.maximum_at(at_ms) for one in office.gauges.gauges["acme"].layout.limits]


def test_a_boost_is_given_once_installed_and_listed(office: Office) -> None:
    made = give(office)
    assert made.status == 201
    assert ID.fullmatch(made.document["id"])
    assert made.document == {
        "id": made.document["id"],
        "limit": "total_tokens-1h",
        "amount": 5000,
        "unit": "tokens",
        "from": iso(NOW_MS),
        "to": iso(NOW_MS + HOUR_MS),
        "reason": "launch week",
        "by": ARN,
    }
    assert made.headers["Location"] == f"{BOOSTS}/{made.document['id']}"
    assert maxima(office, NOW_MS)[0] == 6000
    assert maxima(office, NOW_MS + HOUR_MS)[0] == 1000
    again = give(office, amount=5000, reason="once more")
    assert (again.status, again.document) == (200, made.document)
    assert office.ask(BOOSTS).document == {"tenant": "acme", "boosts": [made.document]}
    (entry,) = [one for one in office.tenants.notes if one.what == "boost"]
    assert (entry.by, entry.before, entry.after) == (ARN, {"boosts": []}, {"boosts": [made.document]})


def test_a_factor_a_beginning_of_now_and_money(office: Office) -> None:
    factor = give(office, amount=None, factor=1.5, **{"from": None})
    assert (factor.status, factor.document["factor"], "amount" in factor.document) == (201, "1.5", False)
    again = give(office, amount=None, factor="1.5", **{"from": None})
    assert (again.status, again.document) == (200, factor.document), "sent again, since its answer got lost"
    money = give(office, limit="cost_usd-day", amount="$2.50").document
    assert (money["amount"], money["unit"]) == ("2.50", "USD")
    assert maxima(office, NOW_MS + 60_000) == [1500, 1000, 15_000_000_000]


def test_what_is_read_of_a_tenant_has_its_boosts_and_can_be_sent_back(office: Office) -> None:
    boost = give(office).document
    read = office.ask(ACME)
    assert read.document["boosts"] == [boost]
    again = office.put(read.document, {"if-match": read.headers["ETag"]})
    assert again.document["applied"]["changed"] == []
    document = {name: one for name, one in again.document.items() if name != "applied"}
    assert (again.status, document, again.headers["ETag"]) == (200, read.document, read.headers["ETag"])
    limits = office.ask(f"{ACME}/limits")
    assert office.put(limits.document, {"if-match": limits.headers["ETag"]}, f"{ACME}/limits").status == 200
    without = office.put({**FULL, "boosts": []}, {"if-match": "*"})
    assert without.document["boosts"] == [boost], "a definition has no say in boosts"


def test_one_that_has_begun_ends_now_and_one_that_has_not_is_taken_away(office: Office) -> None:
    begun = give(office).document["id"]
    later = give(office, **{"from": iso(NOW_MS + HOUR_MS // 2)}).document["id"]
    tag = office.ask(ACME).headers["ETag"]
    for identity in (begun, later):
        for _ in range(2):
            answer = office.ask(f"{BOOSTS}/{identity}", "DELETE")
            assert (answer.status, answer.text) == (204, "")
    assert office.ask(BOOSTS).document["boosts"] == []
    assert office.ask(ACME).headers["ETag"] != tag
    assert maxima(office, NOW_MS + 60_000)[0] == 1000
    (kept,) = office.gauges.gauges["acme"].layout.limits[0].boosts
    assert kept.from_ms == NOW_MS
    assert kept.to_ms < NOW_MS + 100
    listed = office.ask(f"{ACME}/audit").document["changes"]
    assert [one["what"] for one in listed[:4]] == ["end boost", "end boost", "boost", "boost"]
    refused = give(office)
    assert (refused.status, refused.document["field"]) == (400, "from")


@pytest.mark.parametrize("identity", ["0123456789abcdef", "0" * 15, "0123456789ABCDEF", "..", "a b", "%2e%2e"])
def test_a_boost_that_is_not_there_is_not_found(office: Office, identity: str) -> None:
    office.put({}, NEW, f"{TENANTS}/globex")
    given = give(office).document["id"]
    answers = [
        office.ask(f"{BOOSTS}/{identity}", "DELETE"),
        office.ask(f"{TENANTS}/globex/boosts/{given}", "DELETE"),
    ]
    for answer in answers:
        assert (answer.status, answer.document["title"]) == (404, "Boost not found")
    assert len(office.ask(BOOSTS).document["boosts"]) == 1


def test_of_a_tenant_that_is_not_there_nothing_is(office: Office) -> None:
    path = f"{TENANTS}/nobody/boosts"
    for method, address, body in (
        ("GET", path, None),
        ("POST", path, WANTED),
        ("DELETE", f"{path}/0123456789abcdef", None),
    ):
        answer = office.ask(address, method, body=body)
        assert (answer.status, answer.document["title"]) == (404, "Tenant not found"), method


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit": None}, "limit"),
        ({"limit": 5}, "limit"),
        ({"limit": "nothing"}, "limit"),
        ({"reason": None}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"to": None}, "to"),
        ({"to": "2027-01-01"}, "to"),
        ({"to": "2027-01-01T00:00"}, "to"),
        ({"to": 1}, "to"),
        ({"to": iso(NOW_MS)}, "to"),
        ({"from": "soon"}, "from"),
        ({"from": "1969-01-01T00:00:00Z"}, "from"),
        ({"from": iso(NOW_MS + HOUR_MS)}, "to"),
        ({"amount": None}, "amount"),
        ({"factor": 2}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**400}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": {"a": 1}}, "amount"),
        ({"amount": None, "factor": 1}, "factor"),
        ({"amount": None, "factor": "1.23456"}, "factor"),
        ({"amount": None, "factor": 1002}, "factor"),
        ({"amount": None, "factor": []}, "factor"),
        ({"until": 5}, "body"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_done(office: Office, changes: dict[str, Any], field: str) -> None:
    notes = len(office.tenants.notes)
    answer = give(office, **changes)
    assert (answer.status, answer.document["field"]) == (400, field)
    assert len(answer.document["detail"]) <= 500
    assert len(office.tenants.notes) == notes
    assert office.ask(BOOSTS).document["boosts"] == []


def test_a_fifth_is_one_too_many(office: Office) -> None:
    for number in range(4):
        assert give(office, amount=number + 1).status == 201
    refused = give(office, amount=9)
    assert (refused.status, refused.document["field"]) == (400, "limit")


def test_a_boost_that_died_halfway_is_finished_by_sending_it_again(office: Office) -> None:
    office.gauges.change_gauge("acme", lease=Lease("somebody", NOW_MS + 10**9))
    refused = give(office)
    assert (refused.status, refused.headers["Retry-After"]) == (409, "1")
    assert maxima(office, NOW_MS)[0] == 1000
    office.gauges.change_gauge("acme", lease=None)
    assert give(office).status == 200
    assert maxima(office, NOW_MS)[0] == 6000
    assert [one.what for one in office.tenants.notes].count("boost") == 1


def test_the_members_that_are_read_are_the_documents() -> None:
    from bedrock_meter.api import admin_openapi

    request = admin_openapi.document()["components"]["schemas"]["BoostRequest"]
    assert set(request["properties"]) == set(MEMBERS)
