"""Plans over the admin API: changed under a version, installed in parts, taken away when nobody has them."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from bedrock_meter.api.admin_plans import MARGIN_MS
from bedrock_meter.limits.gauge import Lease
from bedrock_meter.tenants.planning import MOST_NAMED
from tests.doubles.http import ARN, Answer, request
from tests.doubles.office import LIMIT, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS

GOLD = "/v1/admin/plans/gold"
HOUR = {**LIMIT, "name": "hour"}


class Context:
    """A Lambda invocation with time for some tenants: each look at the clock costs one."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def get_remaining_time_in_millis(self) -> int:
        self.looks -= 1
        return MARGIN_MS + 1 if self.looks >= 0 else MARGIN_MS


class PlanOffice(Office):
    """The admin API with tenants that have a plan."""

    def within(self, looks: int, path: str, method: str, **more: Any) -> Answer:
        answer = self.api.resolve(request(method, path, **more), Context(looks))
        return Answer(answer["statusCode"], answer["headers"], answer["body"] or "")

    def maxima(self) -> dict[str, list[int]]:
        return {name: [one.maximum for one in gauge.layout.limits] for name, gauge in self.gauges.gauges.items()}

    def plan(self, maximum: int, **other: Any) -> dict[str, Any]:
        return {"limits": [{**HOUR, "max": maximum}], **other}


@pytest.fixture
def office() -> PlanOffice:
    office = PlanOffice()
    assert office.put(office.plan(100), NEW, GOLD).status == 200
    for number in range(5):
        assert office.put({"plan": "gold"}, NEW, f"{TENANTS}/t{number}").status == 200
    office.put({}, NEW, f"{TENANTS}/without")
    office.tenants.audit.entries.clear()
    return office


def tag(office: Office) -> Mapping[str, str]:
    return {"if-match": office.ask(GOLD).headers["ETag"]}


def test_a_plan_is_changed_noted_and_installed(office: PlanOffice) -> None:
    answer = office.put(office.plan(200), tag(office), GOLD)
    assert answer.status == 200
    assert answer.document["plan"] == office.ask(GOLD).document
    assert answer.headers["ETag"] == office.ask(GOLD).headers["ETag"]
    assert answer.document["installation"] == {
        "tenants": 6,
        "settled": 6,
        "changed": 5,
        "failed": [],
        "failures": 0,
        "finished": True,
        "next": None,
    }
    assert office.maxima() == {**{f"t{number}": [200] for number in range(5)}, "without": []}
    changes = office.ask(f"{GOLD}/audit").document
    assert changes["plan"] == "gold"
    assert [(one["what"], one["by"]) for one in changes["changes"]] == [("apply", ARN)] * 2
    assert changes["changes"][0]["after"]["limits"][0]["max"] == 200
    assert changes["changes"][0]["before"]["limits"][0]["max"] == 100
    assert [(one.tenant, one.what, one.by) for one in office.tenants.notes] == [
        (f"t{number}", "plan gold", ARN) for number in range(5)
    ]


def test_what_is_read_can_be_sent_back_and_changes_nothing(office: PlanOffice) -> None:
    read, notes = office.ask(GOLD), len(office.plan_audit.entries)
    again = office.put(read.document, {"if-match": read.headers["ETag"]}, GOLD)
    assert (again.status, again.document["plan"], again.headers["ETag"]) == (200, read.document, read.headers["ETag"])
    assert again.document["installation"]["changed"] == 0
    assert (len(office.plan_audit.entries), office.tenants.notes) == (notes, [])


def test_an_installation_without_enough_time_goes_on_where_it_was(office: PlanOffice) -> None:
    first = office.within(1, GOLD, "PUT", body=office.plan(200), headers=tag(office))
    assert first.status == 202
    done = first.document["installation"]
    assert (done["tenants"], done["settled"], done["changed"], done["finished"]) == (6, 2, 2, False)
    assert [maximum for (maximum,) in list(office.maxima().values())[:5]] == [200, 200, 100, 100, 100]
    settled = [2]
    answer = first
    while answer.document["installation"]["next"] is not None:
        cursor = answer.document["installation"]["next"]
        answer = office.within(0, f"{GOLD}/installation", "POST", query=f"cursor={cursor}")
        settled.append(answer.document["installation"]["settled"])
    assert settled == [2, 3, 4, 5, 6], "one tenant at least, however little time there is"
    assert (answer.status, answer.document["installation"]["finished"]) == (200, True)
    assert answer.document["installation"]["changed"] == 5
    assert office.maxima()["t4"] == [200]
    assert len(office.tenants.notes) == 5, "each tenant's change is noted once"


def test_from_the_beginning_is_right_as_well(office: PlanOffice) -> None:
    office.within(0, GOLD, "PUT", body=office.plan(200), headers=tag(office))
    whole = office.ask(f"{GOLD}/installation", "POST")
    assert (whole.status, whole.document["installation"]["changed"]) == (200, 4)
    again = office.ask(f"{GOLD}/installation", "POST")
    assert (again.document["installation"]["settled"], again.document["installation"]["changed"]) == (6, 0)


def test_a_change_whose_answer_got_lost_can_be_sent_again(office: PlanOffice) -> None:
    before = tag(office)
    office.within(0, GOLD, "PUT", body=office.plan(200), headers=before)
    assert office.put(office.plan(300), before, GOLD).status == 412
    again = office.put(office.plan(200), before, GOLD)
    assert (again.status, again.document["installation"]["finished"]) == (200, True)
    assert len(office.plan_audit.entries) == 2


def test_a_cursor_belongs_to_one_state_of_one_plan(office: PlanOffice) -> None:
    first = office.within(0, GOLD, "PUT", body=office.plan(200), headers=tag(office))
    query = f"cursor={first.document['installation']['next']}"
    office.put(office.plan(5), NEW, "/v1/admin/plans/silver")
    assert office.ask("/v1/admin/plans/silver/installation", "POST", query=query).status == 400
    office.put(office.plan(300), tag(office), GOLD)
    changed = office.ask(f"{GOLD}/installation", "POST", query=query)
    assert (changed.status, changed.document["title"]) == (412, "Changed meanwhile")
    for wrong in ("cursor=x", "cursor=", "limit=5"):
        assert office.ask(f"{GOLD}/installation", "POST", query=wrong).status == 400
    assert office.ask("/v1/admin/plans/bronze/installation", "POST").status == 404


def test_who_cannot_be_changed_is_named_and_the_others_are(office: PlanOffice) -> None:
    held = office.gauges.gauges["t1"].lease
    office.gauges.change_gauge("t1", lease=Lease("somebody", NOW_MS + 10**9))
    answer = office.put(office.plan(200), tag(office), GOLD)
    done = answer.document["installation"]
    assert (answer.status, done["finished"], done["next"]) == (202, False, None)
    assert (done["settled"], done["failures"]) == (5, 1)
    (failed,) = done["failed"]
    assert failed["tenant"] == "t1"
    assert "being changed by somebody else" in failed["problem"]
    office.gauges.change_gauge("t1", lease=held)
    assert office.ask(f"{GOLD}/installation", "POST").document["installation"]["finished"]
    assert office.maxima()["t1"] == [200]


def test_failures_of_earlier_parts_count_and_the_list_is_bounded(office: PlanOffice) -> None:
    for number in range(MOST_NAMED + 10):
        office.put({"plan": "gold"}, NEW, f"{TENANTS}/u{number}")
        office.gauges.change_gauge(f"u{number}", lease=Lease("somebody", NOW_MS + 10**9))
    first = office.within(9, GOLD, "PUT", body=office.plan(200), headers=tag(office)).document["installation"]
    assert (first["settled"], first["failures"]) == (5, 5)
    last = office.ask(f"{GOLD}/installation", "POST", query=f"cursor={first['next']}").document["installation"]
    assert (last["failures"], len(last["failed"])) == (MOST_NAMED + 10, MOST_NAMED)
    assert (last["settled"], last["finished"], last["next"]) == (6, False, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 428), ({"if-match": "x"}, 400), ({"if-none-match": "*"}, 412), ({"if-match": '"1-0"'}, 412)],
)
def test_nobody_overwrites_or_removes_what_they_have_not_seen(
    office: PlanOffice, headers: Mapping[str, str], status: int
) -> None:
    assert office.put(office.plan(200), headers, GOLD).status == status
    assert office.ask(GOLD, "DELETE", headers=headers).status == status
    assert office.maxima()["t0"] == [100]
    assert len(office.plan_audit.entries) == 1


def test_a_version_is_another_one_also_where_a_plan_is_made_anew(office: PlanOffice) -> None:
    silver = "/v1/admin/plans/silver"
    first = office.put(office.plan(5), NEW, silver).headers["ETag"]
    assert office.ask(silver, "DELETE", headers={"if-match": first}).status == 204
    second = office.put(office.plan(6), NEW, silver).headers["ETag"]
    assert first != second
    assert office.put(office.plan(7), {"if-match": first}, silver).status == 412


def test_another_default_plan_takes_over_for_who_names_none(office: PlanOffice) -> None:
    assert office.put(office.plan(7, default=True), NEW, "/v1/admin/plans/free").status == 200
    assert office.maxima()["without"] == [7]
    assert office.put(office.plan(100, default=True), tag(office), GOLD).status == 200
    assert office.maxima()["without"] == [100]
    assert [one["name"] for one in office.ask("/v1/admin/plans").document["plans"] if one["default"]] == ["gold"]
    assert office.put(office.plan(100), tag(office), GOLD).status == 200
    assert office.maxima()["without"] == []


def test_a_plan_is_checked_against_who_has_it_before_anything_is_written(office: PlanOffice) -> None:
    many = [{**LIMIT, "name": f"own{number}", "meter": "requests"} for number in range(17)]
    office.put({"plan": "gold", "limits": many}, {"if-match": "*"}, f"{TENANTS}/t3")
    before, notes = office.ask(GOLD), len(office.plan_audit.entries)
    answer = office.put({"limits": [HOUR, {**HOUR, "name": "more"}]}, tag(office), GOLD)
    assert (answer.status, answer.document["field"]) == (400, "body")
    assert "tenant t3: limits: 19 limits" in answer.document["detail"]
    assert office.ask(GOLD).headers["ETag"] == before.headers["ETag"]
    assert len(office.plan_audit.entries) == notes


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"name": "silver"}, "name"),
        ({"name": 5}, "name"),
        ({"default": "yes"}, "default"),
        ({"limits": {}}, "limits"),
        ({"limits": [{**HOUR, "window": "soon"}]}, "limits[0].window"),
        ({"limits": [{**HOUR, "profiles": ["p1"]}]}, "limits[0].profiles"),
        ({"limits": [HOUR, HOUR]}, "limits"),
        ({"tenants": []}, "body"),
    ],
)
def test_what_is_wrong_is_named(office: PlanOffice, document: dict[str, Any], field: str) -> None:
    answer = office.put(document, tag(office), GOLD)
    assert (answer.status, answer.document["field"]) == (400, field)
    assert len(office.plan_audit.entries) == 1


@pytest.mark.parametrize("name", ["-x", "a b", "%2e%2e", "x" * 65, "ä"])
def test_a_name_that_no_plan_can_have_is_not_found(office: PlanOffice, name: str) -> None:
    path = f"/v1/admin/plans/{name}"
    for method, address in (
        ("GET", path),
        ("PUT", path),
        ("DELETE", path),
        ("POST", f"{path}/installation"),
        ("GET", f"{path}/audit"),
    ):
        assert office.ask(address, method, body=office.plan(1), headers=NEW).status == 404, method


def test_a_plan_that_somebody_has_stays(office: PlanOffice) -> None:
    refused = office.ask(GOLD, "DELETE", headers=tag(office))
    assert (refused.status, refused.document["title"]) == (409, "In use")
    assert "t0, t1, t2, t3, t4" in refused.document["detail"]
    office.put(office.plan(5), NEW, "/v1/admin/plans/silver")
    silver = office.ask("/v1/admin/plans/silver").headers["ETag"]
    assert office.ask("/v1/admin/plans/silver", "DELETE", headers={"if-match": silver}).status == 204
    assert office.ask("/v1/admin/plans/silver", "DELETE", headers={"if-match": silver}).status == 404
    (removal, made) = office.ask("/v1/admin/plans/silver/audit").document["changes"]
    assert (removal["what"], removal["after"], removal["by"], made["what"]) == ("remove", None, ARN, "apply")


def test_the_log_of_changes_comes_in_pages_and_belongs_to_one_plan(office: PlanOffice) -> None:
    for maximum in range(1, 5):
        office.put(office.plan(maximum), tag(office), GOLD)
    first = office.ask(f"{GOLD}/audit", query="limit=3").document
    second = office.ask(f"{GOLD}/audit", query=f"limit=3&cursor={first['next']}").document
    maxima = [one["after"]["limits"][0]["max"] for page in (first, second) for one in page["changes"]]
    assert maxima == [4, 3, 2, 1, 100]
    assert second["next"] is None
    assert office.ask("/v1/admin/plans/silver/audit", query=f"cursor={first['next']}").status == 400
    assert office.ask("/v1/admin/plans/silver/audit").document["changes"] == []


def test_storage_that_is_down_is_a_503(office: PlanOffice) -> None:
    headers = tag(office)
    office.tenants.error = office.plan_audit.error = EndpointConnectionError(endpoint_url="x")
    for method, path in (("PUT", GOLD), ("POST", f"{GOLD}/installation"), ("GET", f"{GOLD}/audit")):
        answer = office.ask(path, method, body=office.plan(9) if method == "PUT" else None, headers=headers)
        assert (answer.status, office.told[-1]) == (503, "EndpointConnectionError")
