"""The admin API: who comes in, changes under a version, notes, pages."""

from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import EndpointConnectionError
from pynamodb.exceptions import PutError

from bedrock_meter.api import admin_openapi
from bedrock_meter.api.admin_protocol import MAX_BODY_BYTES
from bedrock_meter.api.callers import ADMIN_SCOPE
from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.limits.suspension import resume, suspend
from bedrock_meter.tenants.audit import limit_words
from bedrock_meter.tenants.plans import parse_plan
from tests.doubles.http import ARN, token
from tests.doubles.memory import MemorySuspensionStore
from tests.doubles.office import ACME, FULL, LIMIT, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS
from tests.unit.api.test_openapi import operations, routes_of
from tests.unit.api.test_outage import throttle


@pytest.fixture
def office() -> Office:
    return Office()


def test_the_document_has_the_routes_that_there_are(office: Office) -> None:
    assert operations(admin_openapi.document()) == routes_of(office.api)


def test_a_new_tenant_is_made_whole_and_noted(office: Office) -> None:
    answer = office.put(FULL, NEW)
    assert answer.status == 200
    assert {name: one for name, one in answer.document.items() if name != "applied"} == office.ask(ACME).document
    words = ["limits", "fail policy", "profile p1", "profile p2", f"principal {FULL['principals'][0]}", "tenant"]
    assert answer.document["applied"] == {"changed": words, "effective": answer.document["applied"]["effective"]}
    assert answer.headers["ETag"] == office.ask(ACME).headers["ETag"]
    assert answer.document["limits"][1] == {
        "name": "requests-month-15",
        "meter": "requests",
        "window": "month@15",
        "max": 1000,
        "hard": True,
        "thresholds": [90],
    }
    assert answer.document["limits"][2] == {
        "name": "cost_usd-day",
        "meter": "cost_usd",
        "window": "day",
        "max": "12.50",
        "hard": False,
        "thresholds": [50, 80, 100],
        "models": ["anthropic.*"],
        "profiles": ["p1"],
    }
    assert answer.document["principals"] == FULL["principals"]
    assert office.tenants.mappings["arn:aws:iam::123456789012:role/acme-worker"][1][0].tenant == "acme"
    assert office.tenants.mappings["p2"][1] == office.tenants.periods("p2")[1]
    assert [one.limit.name for one in office.gauges.gauges["acme"].layout.limits] == [
        "total_tokens-1h",
        "requests-month-15",
        "cost_usd-day",
    ]
    assert office.gauges.gauges["acme"].fail_policy == "closed"
    (note,) = office.tenants.notes
    assert (note.tenant, note.by, note.what, note.before) == ("acme", ARN, "put", None)
    assert note.after is not None
    assert (note.after["plan"], note.after["fail"], note.after["principals"]) == ("gold", "closed", FULL["principals"])
    assert note.after["limits"][0] == limit_words(office.gauges.gauges["acme"].layout.limits[0].limit)


def test_plans_can_be_read_and_limits_say_where_they_come_from(office: Office) -> None:
    assert office.ask("/v1/admin/plans").document == {"plans": []}
    office.tenants.put_plan(parse_plan({"name": "gold", "limits": [{**LIMIT, "name": "hour"}]}), NOW_MS)
    (listed,) = office.ask("/v1/admin/plans").document["plans"]
    one = office.ask("/v1/admin/plans/gold")
    assert (one.document, one.headers["ETag"]) == (listed, f'"{office.tenants.plans_by_name["gold"].version}"')
    assert office.ask("/v1/admin/plans/silver").status == 404
    made = office.put({"plan": "gold", "limits": [{"meter": "requests", "window": "day", "max": 5}]}, NEW)
    assert [(limit["name"], limit["source"]) for limit in made.document["effective"]] == [
        ("hour", "plan"),
        ("requests-day", "tenant"),
    ]
    assert [limit["name"] for limit in made.document["limits"]] == ["requests-day"]
    answer = office.put({"limits": [{"name": "hour", "remove": True}]}, {"if-match": "*"}, f"{ACME}/limits")
    assert answer.document == {"limits": [{"name": "hour", "remove": True}], "effective": []}
    refused = office.put({"plan": "glod"}, {"if-match": "*"})
    assert (refused.status, refused.document["field"]) == (400, "plan")


def test_what_is_read_can_be_sent_back(office: Office) -> None:
    first = office.put(FULL, NEW)
    assert first.document["applied"]["changed"]
    again = office.put(first.document, {"if-match": first.headers["ETag"]})
    assert again.document["applied"]["changed"] == []
    assert (again.status, {**again.document, "applied": 0}) == (200, {**first.document, "applied": 0})
    assert again.headers["ETag"] == first.headers["ETag"]
    assert len(office.tenants.notes) == 1


def test_a_change_is_noted_by_what_differs_and_who_made_it(office: Office) -> None:
    tag = office.put(FULL, NEW).headers["ETag"]
    wanted = {**office.ask(ACME).document, "plan": "silver"}
    changed = office.ask(
        ACME, "PUT", body=wanted, headers={"If-Match": tag}, authorizer=token(None, scope=f"openid {ADMIN_SCOPE}")
    )
    assert changed.headers["ETag"] != tag
    note = office.tenants.notes[-1]
    assert (note.by, note.before, note.after) == ("jwt:user-1", {"plan": "gold"}, {"plan": "silver"})
    listed = office.ask(f"{ACME}/audit").document
    assert [one["what"] for one in listed["changes"]] == ["put", "put"]
    assert listed["changes"][0]["before"] == {"plan": "gold"}


def test_limits_alone(office: Office) -> None:
    tag = office.put(FULL, NEW).headers["ETag"]
    answer = office.put({"limits": [LIMIT]}, {"if-match": tag}, f"{ACME}/limits")
    assert [one["name"] for one in answer.document["limits"]] == ["total_tokens-1h"]
    assert office.ask(f"{ACME}/limits").document == answer.document
    assert office.ask(ACME).headers["ETag"] == answer.headers["ETag"] != tag
    assert office.ask(ACME).document["profiles"] == [{"id": "p1"}, {"id": "p2", "model": "a.model"}]
    note = office.tenants.notes[-1]
    assert (note.what, list(note.after or {})) == ("put limits", ["limits"])


def test_a_window_in_another_zone_comes_back_as_it_is(office: Office) -> None:
    window = {"calendar": "week@3", "timezone": "Asia/Tokyo"}
    first = office.put({"timezone": "UTC", "limits": [{"meter": "requests", "window": window, "max": 5}]}, NEW)
    assert first.document["limits"][0]["window"] == window
    again = office.put(first.document, {"if-match": first.headers["ETag"]})
    assert {**again.document, "applied": 0} == {**first.document, "applied": 0}


@pytest.mark.parametrize("path", [ACME, f"{ACME}/limits"])
def test_nobody_overwrites_what_they_have_not_seen(office: Office, path: str) -> None:
    body: dict[str, Any] = {"limits": []}
    old = office.put(FULL, NEW).headers["ETag"]
    for headers, status in (
        ({}, 428),
        ({"if-match": "W/" + old}, 400),
        ({"if-match": "x"}, 400),
        ({"if-match": old, "if-none-match": "*"}, 428),
        ({"if-none-match": old}, 400),
        ({"if-none-match": "*"}, 412),
        ({"if-match": '"1-1"'}, 412),
        ({"if-match": f'"1-1", {old}'}, 200),
        ({"if-match": old}, 412),
        ({"if-match": "*"}, 200),
    ):
        answer = office.put(body, headers, path)
        assert answer.status == status, headers


def test_a_tenant_that_is_not_there_is_not_changed(office: Office) -> None:
    assert office.put(FULL, {"if-match": "*"}).status == 412
    assert office.put({"limits": []}, {"if-match": "*"}, f"{ACME}/limits").status == 404
    for path in (ACME, f"{ACME}/limits"):
        assert office.ask(path).status == 404
    assert office.tenants.definitions == {}
    assert office.tenants.notes == []


def test_of_two_changes_from_one_version_one_is_refused_before_anything_happened(office: Office) -> None:
    tag = office.put(FULL, NEW).headers["ETag"]
    claim = office.tenants.claim

    def late(seen_ms: int | None, timezone: str, entry: Any) -> bool:
        office.tenants.claim = claim  # type: ignore[method-assign]
        assert office.put({**FULL, "plan": "bronze"}, {"if-match": tag}).status == 200
        return claim(seen_ms, timezone, entry)

    office.tenants.claim = late  # type: ignore[method-assign]
    answer = office.put({**FULL, "limits": [], "profiles": []}, {"if-match": tag})
    assert (answer.status, answer.document["title"]) == (412, "Changed meanwhile")
    assert office.ask(ACME).document["plan"] == "bronze"
    assert len(office.gauges.gauges["acme"].layout.limits) == 3
    assert [note.after for note in office.tenants.notes[1:]] == [{"plan": "bronze"}]


def test_a_change_that_died_halfway_is_finished_by_sending_it_again(office: Office) -> None:
    office.put({}, NEW)
    gauge = office.gauges.gauges["acme"]
    office.gauges.change_gauge("acme", lease=Lease("somebody", NOW_MS + 10**9))
    refused = office.put({"profiles": ["p9"], "limits": [LIMIT]}, {"if-match": "*"})
    assert (refused.status, refused.headers["Retry-After"]) == (409, "1")
    assert "p9" not in office.tenants.mappings
    office.gauges.change_gauge("acme", lease=gauge.lease)
    assert office.put({"profiles": ["p9"], "limits": [LIMIT]}, {"if-match": "*"}).status == 200
    assert "p9" in office.tenants.mappings


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": 5}, "timezone"),
        ({"plan": []}, "plan"),
        ({"fail": "safe"}, "fail"),
        ({"profiles": "p1"}, "profiles"),
        ({"profiles": ["a.model/x y"]}, "profiles[0]"),
        ({"profiles": ["p1", "p1"]}, "profiles"),
        ({"limits": [{}]}, "limits[0]"),
        ({"limits": [{**LIMIT, "max": -1}]}, "limits[0].max"),
        ({"limits": [{**LIMIT, "max": 10**400}]}, "limits[0].max"),
        ({"limits": [{**LIMIT, "thresholds": [10**400]}]}, "limits[0].thresholds"),
        ({"limits": [{**LIMIT, "window": "1 fortnight"}]}, "limits[0].window"),
        ({"limits": [LIMIT, LIMIT]}, "limits"),
        ({"limits": [{**LIMIT, "name": f"l{number}"} for number in range(40)]}, "limits"),
        ({"id": "globex"}, "id"),
        ({"holidays": []}, "body"),
    ],
)
def test_definitions_are_read_as_a_tenants_file_is(office: Office, document: dict[str, Any], field: str) -> None:
    answer = office.put(document, NEW)
    assert (answer.status, answer.document.get("field")) == (400, field)
    assert office.tenants.definitions == {} or field == "limits"


def test_half_a_character_is_no_text(office: Office) -> None:
    assert office.put('{"plan": "\\ud800"}', NEW).status == 400
    assert office.put('{"plan": "\\ud83d\\ude00"}', NEW).document["plan"] == "\N{GRINNING FACE}"


def test_bodies_are_bounded(office: Office) -> None:
    assert office.put("x" * (MAX_BODY_BYTES + 1), NEW).status == 413
    assert office.put({"limits": {}}, {"if-match": "*"}, f"{ACME}/limits").status == 400


def test_lists_come_in_pages(office: Office) -> None:
    for number in range(7):
        assert office.put({"timezone": "UTC"}, NEW, f"{TENANTS}/t{number}").status == 200
    seen, cursor = [], ""
    while True:
        page = office.ask(TENANTS, query=f"limit=3{cursor}").document
        assert len(page["tenants"]) <= 3
        seen += [one["id"] for one in page["tenants"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"t{number}" for number in range(7)]
    for query in ("limit=0", "limit=201", "limit=x", "limit=٣", "limit=1e2", "cursor=x", "sort=id"):
        assert office.ask(TENANTS, query=query).status == 400
    assert office.ask(f"{TENANTS}/t0/audit", query=cursor[1:] or "cursor=x").status == 400


def test_the_log_of_changes_comes_in_pages_and_belongs_to_one_tenant(office: Office) -> None:
    office.put({"plan": "p0"}, NEW)
    for number in range(1, 5):
        office.put({"plan": f"p{number}"}, {"if-match": "*"})
    office.put({}, NEW, f"{TENANTS}/globex")
    first = office.ask(f"{ACME}/audit", query="limit=3").document
    second = office.ask(f"{ACME}/audit", query=f"limit=3&cursor={first['next']}").document
    plans = [one["after"]["plan"] for page in (first, second) for one in page["changes"]]
    assert plans == ["p4", "p3", "p2", "p1", "p0"]
    assert second["next"] is None
    assert office.ask(f"{TENANTS}/globex/audit", query=f"cursor={first['next']}").status == 400


def test_a_tenant_is_stopped_and_let_go_and_both_are_noted(office: Office) -> None:
    path = f"{ACME}/suspension"
    assert office.ask(path, "PUT", body={"reason": "x"}).status == 404
    office.put({}, NEW)
    tag = office.ask(ACME).headers["ETag"]
    for body in ({}, {"reason": ""}, {"reason": "x" * 201}, {"reason": "a\nb"}, {"reason": "x", "until": 1}):
        assert office.ask(path, "PUT", body=body).status == 400
    for shown in ("", "x" * 201, "a\x1bb", 7):
        refused = office.ask(path, "PUT", body={"reason": "x", "public_reason": shown})
        assert (refused.status, refused.document["field"]) == (400, "public_reason")
    answer = office.ask(path, "PUT", body={"reason": "invoice 7 is open"}).document
    assert (answer["suspended"]["reason"], answer["suspended"]["by"]) == ("invoice 7 is open", ARN)
    held = office.gauges.gauges["acme"].suspension
    assert held is not None
    assert answer["suspended"]["since"] == iso(held.since_ms)
    again = office.ask(path, "PUT", body={"reason": "another"}, authorizer=token(None, scope=ADMIN_SCOPE))
    assert (again.status, again.document) == (200, answer)
    assert office.ask(ACME).headers["ETag"] == tag, "a definition is not changed by it"
    for _ in range(2):
        assert office.ask(path, "DELETE").status == 204
    assert answer["suspended"]["public_reason"] is None
    over = office.gauges.gauges["acme"].suspension
    assert over is not None
    assert (over.is_in_force, over.resumed_by) == (False, ARN)
    assert office.ask(f"{TENANTS}/globex/suspension", "DELETE").status == 404
    changes = office.ask(f"{ACME}/audit").document["changes"]
    assert [(one["what"], one["after"]) for one in changes[:2]] == [
        ("resume", {"suspended": False}),
        ("suspend", {"suspended": True, "reason": "invoice 7 is open"}),
    ]
    assert len(changes) == 3


def test_what_the_tenant_may_read_is_noted_too(office: Office) -> None:
    office.put({}, NEW)
    body = {"reason": "invoice 7 is open", "public_reason": "Please call us."}
    answer = office.ask(f"{ACME}/suspension", "PUT", body=body).document
    assert answer["suspended"]["public_reason"] == "Please call us."
    assert office.ask(f"{ACME}/overview").document["suspended"] == answer["suspended"]
    assert office.ask(f"{ACME}/audit").document["changes"][0]["after"] == {"suspended": True, **body}


def test_a_suspension_that_others_keep_changing_is_a_conflict(office: Office) -> None:
    office.put({}, NEW)
    stopped = suspend(None, "unpaid", "somebody", NOW_MS)

    def ended(_: object, tenant: str, *written: object) -> bool:
        office.gauges.change_gauge(tenant, suspension=resume(stopped, "somebody", NOW_MS))
        return True

    for put in (lambda *written: False, ended):
        with patch.object(MemorySuspensionStore, "put_suspension", put):
            answer = office.ask(f"{ACME}/suspension", "PUT", body={"reason": "x"})
        assert (answer.status, answer.headers["Retry-After"]) == (409, "1")


def paths_of(office: Office) -> list[tuple[str, str]]:
    known = {"tenant": "acme", "name": "gold", "boost": "0123456789abcdef"}
    return sorted((method.upper(), path.format(**known)) for method, path in routes_of(office.api))


def test_nobody_comes_in_unchecked_or_without_the_scope(office: Office) -> None:
    office.put(FULL, NEW)
    office.tenants.put_plan(parse_plan({"name": "gold"}), NOW_MS)
    before = dict(office.tenants.definitions), dict(office.tenants.plans_by_name)
    for method, path in paths_of(office):
        for authorizer, status in (
            (None, 401),
            ({}, 401),
            (token("acme"), 403),
            (token("acme", scope="openid"), 403),
            (token("acme", scope=ADMIN_SCOPE + "s"), 403),
        ):
            answer = office.ask(path, method, body={"reason": "x"}, headers={"if-match": "*"}, authorizer=authorizer)
            assert answer.status == status, (method, path, authorizer)
            assert "gold" not in answer.text
    assert (office.tenants.definitions, office.tenants.plans_by_name) == before
    assert office.ask(TENANTS, authorizer=token(None, scope=ADMIN_SCOPE)).status == 200
    assert office.ask("/v1/tenants/acme/quota").status == 404


def test_storage_that_is_down_is_a_503(office: Office) -> None:
    office.put(FULL, NEW)
    office.tenants.error = office.tenants.audit.error = EndpointConnectionError(endpoint_url="x")
    for path in (TENANTS, ACME, f"{ACME}/limits", f"{ACME}/audit"):
        assert (office.ask(path).status, office.told[-1]) == (503, "EndpointConnectionError")
    assert office.put(FULL, {"if-match": "*"}).status == 503


def test_a_tenant_whose_keys_are_busy_can_be_changed_in_a_moment(office: Office) -> None:
    office.put(FULL, NEW)
    busy = throttle("ThrottlingException", "TableWriteKeyRangeThroughputExceeded")
    office.tenants.error = office.tenants.audit.error = PutError("Failed to put item", busy)
    answers = [office.ask(path) for path in (ACME, f"{ACME}/limits", f"{ACME}/audit")]
    for answer in (*answers, office.put(FULL, {"if-match": "*"})):
        assert (answer.status, answer.document["type"]) == (429, "urn:bedrock-meter:tenant-busy")
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert office.told == []


def test_an_error_that_nobody_foresaw_says_nothing(office: Office) -> None:
    office.tenants.error = ZeroDivisionError("secret")
    answer = office.ask(TENANTS)
    assert (answer.status, office.told) == (500, ["ZeroDivisionError"])
    assert "secret" not in answer.text
