"""Every change over the admin API shows in the log of changes: for each operation of the served document that changes.

An operation that is added without a case here fails the test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bedrock_meter.api import admin_openapi
from bedrock_meter.api.callers import ADMIN_SCOPE
from bedrock_meter.clock import iso
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.plans import parse_plan
from tests.doubles.http import token
from tests.doubles.office import ACME, FULL, LIMIT, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS

GOLD = "/v1/admin/plans/gold"
HOUR = {**LIMIT, "name": "hour"}
LATER = iso(NOW_MS + 3_600_000)
ANY = {"if-match": "*"}
CHANGING = {"put", "post", "patch", "delete"}


@dataclass(frozen=True)
class Case:
    """How an operation is carried out, and what the log says of it.

    Attributes:
        path: Where.
        what: The entry's word.
        before: A member of what was, and its value; None = there was nothing.
        after: A member of what is to be, and its value; None = nothing is.
        body: What is sent.
        headers: Beside the caller.
        prepare: What has to be there.
        of_plan: Whether the plan's log has the entry, and not the tenant's.
        of: Whose log has it, else.
    """

    path: str
    what: str
    before: tuple[str, Any] | None
    after: tuple[str, Any] | None
    body: Any = None
    headers: Mapping[str, str] | None = None
    prepare: Callable[[Office], None] = lambda office: None
    of_plan: bool = False
    of: str = "acme"


def _tenant(office: Office) -> None:
    assert office.put(FULL, NEW).status == 200


def _suspended(office: Office) -> None:
    _tenant(office)
    assert office.ask(f"{ACME}/suspension", "PUT", body={"reason": "unpaid"}).status == 200


WANTED = {"limit": "total_tokens-1h", "from": iso(NOW_MS), "to": LATER, "amount": 5, "reason": "launch"}


def _boosted(office: Office) -> None:
    _tenant(office)
    assert office.ask(f"{ACME}/boosts", "POST", body=WANTED).status == 201


def _removed(office: Office) -> None:
    _tenant(office)
    assert office.ask(ACME, "DELETE").status == 200
    office.passing_ms = 2 * HANDOVER_MS  # what was recorded for it meanwhile is


def _plan(office: Office) -> None:
    assert office.put({"limits": [HOUR]}, NEW, GOLD).status == 200


def _plan_half_installed(office: Office) -> None:
    _plan(office)
    assert office.put({"plan": "gold"}, NEW).status == 200
    written = parse_plan({"name": "gold", "limits": [{**HOUR, "max": 7}]})
    assert office.tenants.put_plan(replace(written, revision=1), NOW_MS)


def _boost_id(office: Office) -> str:
    (found,) = office.ask(f"{ACME}/boosts").document["boosts"]
    return str(found["id"])


CASES = {
    "putTenant": Case(
        ACME, "put", ("plan", "gold"), ("plan", "silver"), {**FULL, "plan": "silver"}, ANY, prepare=_tenant
    ),
    "putLimits": Case(
        f"{ACME}/limits", "put limits", ("limits", 3), ("limits", 0), {"limits": []}, ANY, prepare=_tenant
    ),
    "suspendTenant": Case(
        f"{ACME}/suspension",
        "suspend",
        ("suspended", False),
        ("suspended", True),
        {"reason": "unpaid"},
        prepare=_tenant,
    ),
    "resumeTenant": Case(f"{ACME}/suspension", "resume", ("suspended", True), ("suspended", False), prepare=_suspended),
    "removeTenant": Case(ACME, "remove", ("removed", False), ("removed", True), prepare=_tenant),
    "eraseTenant": Case(f"{ACME}/erasure", "erase", None, ("erased", True), {}, prepare=_removed),
    "erasePrincipal": Case(
        "/v1/admin/principals/erasure",
        "erase principal",
        None,
        ("erased", True),
        {"principal": "jane@corp.example"},
        of=UNATTRIBUTED,
    ),
    "boostLimit": Case(f"{ACME}/boosts", "boost", ("boosts", 0), ("boosts", 1), WANTED, prepare=_tenant),
    "endBoost": Case(f"{ACME}/boosts/{{boost}}", "end boost", ("boosts", 1), ("boosts", 0), prepare=_boosted),
    "putPlan": Case(GOLD, "apply", ("limits", 1), ("limits", 0), {"limits": []}, ANY, prepare=_plan, of_plan=True),
    "removePlan": Case(GOLD, "remove", ("name", "gold"), None, headers=ANY, prepare=_plan, of_plan=True),
    # It changes no plan: the entries are those of the tenants that it changes.
    "installPlan": Case(
        f"{GOLD}/installation", "plan gold", ("limits", 1), ("limits", 1), prepare=_plan_half_installed
    ),
}


def changing() -> dict[str, tuple[str, str]]:
    """Method and path of each operation of the served document that changes something, by its name."""
    document = Office().ask("/v1/admin/openapi.json").document
    assert document == admin_openapi.document()
    return {
        operation["operationId"]: (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in CHANGING
    }


def test_every_operation_that_changes_something_has_a_case() -> None:
    assert set(changing()) == set(CASES)
    document = admin_openapi.document()
    others = {method for methods in document["paths"].values() for method in methods} - CHANGING
    assert others == {"get"}, "a reading by another method would have to be looked at"


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_change_is_in_the_log_with_author_and_what_was_and_is(name: str) -> None:
    case, (method, template) = CASES[name], changing()[name]
    office = Office()
    case.prepare(office)
    path = case.path.replace("{boost}", _boost_id(office)) if "{boost}" in case.path else case.path
    assert len(path.split("/")) == len(template.split("/"))
    log = office.plan_audit.entries if case.of_plan else office.tenants.notes
    seen = len(log)
    who = token(None, scope=f"openid {ADMIN_SCOPE}")
    answer = office.ask(path, method.upper(), body=case.body, headers=case.headers or {}, authorizer=who)
    assert answer.status in {200, 201, 204}, answer.text
    (entry,) = log[seen:]
    assert (entry.tenant, entry.what, entry.by) == ("gold" if case.of_plan else case.of, case.what, "jwt:user-1")
    assert entry.at_ms >= NOW_MS
    assert said(entry.before, case.before)
    assert said(entry.after, case.after)
    assert entry.before != entry.after
    listed = office.ask(f"{GOLD if case.of_plan else f'{TENANTS}/{case.of}'}/audit").document["changes"][0]
    assert (listed["what"], listed["by"]) == (case.what, "jwt:user-1")
    assert (listed["before"], listed["after"]) == (entry.before, entry.after)


def said(side: Mapping[str, Any] | None, expected: tuple[str, Any] | None) -> bool:
    """Whether a side of an entry says this: a value, or how long a list is."""
    if expected is None or side is None:
        return expected is None and side is None
    name, value = expected
    found = side[name]
    return bool((len(found) if isinstance(found, list) else found) == value)
