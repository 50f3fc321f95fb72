"""What erasing leaves: no person, and until when what was owned; and when it may begin."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.doubles.http import request
from tests.findings.world import ACCOUNT, ROOT, Findings, _context

OWN, OTHERS = "a1c3m5e7k9q2", "b2d4n6f8l0r3"
ROLE, STS = f"arn:aws:iam::{ACCOUNT}:role/", f"arn:aws:sts::{ACCOUNT}:assumed-role/"
CANARY = "zebra"
PERSON = f"{STS}app/{CANARY}.smith"
STAFF = f"{STS}staff/{CANARY}.operator"
OFFICER = f"arn:aws:iam::{ACCOUNT}:user/officer"
LIMIT = {"name": "tokens", "meter": "total_tokens", "window": "month", "max": 1_000, "hard": True}
ACME = "/v1/admin/tenants/acme"
PERSONS = "/v1/admin/principals/erasure"

Answered = tuple[int, Any]


@pytest.fixture
def meter(stack: Findings, monkeypatch: pytest.MonkeyPatch) -> Findings:
    """The stack with a bus that takes nothing; a Scan that selects attributes is answered with all of them."""
    monkeypatch.setenv("EVENT_BUS", "bus")
    tables, others = stack.double.call, stack.call

    def on_tables(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        ignored = ("Select", "ProjectionExpression") if operation == "Scan" else ()
        return tables(operation, {name: value for name, value in asked.items() if name not in ignored})

    def on_all(service: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if (service, operation) == ("events", "PutEvents"):
            refused = [{"ErrorCode": "InvalidArgument", "ErrorMessage": "never"} for _ in asked["Entries"]]
            return {"FailedEntryCount": len(refused), "Entries": refused}
        return others(service, operation, asked)

    monkeypatch.setattr(stack.double, "call", on_tables)
    monkeypatch.setattr(stack, "call", on_all)
    return stack


def admin(stack: Findings, method: str, path: str, body: object = None, *, by: str = STAFF, **headers: str) -> Answered:
    """Send a request to the admin API as somebody."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = {"iam": {"userArn": by, "accountId": ACCOUNT}}
    event = request(method, path, body=body, authorizer=signed, headers=named)
    answer = stack._handler("admin_api")(event, _context())
    return answer["statusCode"], json.loads(answer["body"] or "null")


def put(stack: Findings, definition: Mapping[str, Any], path: str = ACME) -> Answered:
    known = admin(stack, "GET", path)[0] == 200
    return admin(stack, "PUT", path, definition, **({"if_match": "*"} if known else {"if_none_match": "*"}))


def erase(stack: Findings, path: str = f"{ACME}/erasure", **more: Any) -> Answered:
    """Do all steps of an erasure."""
    status, said = admin(stack, "POST", path, more, by=OFFICER)
    while status == 200 and said["next"] is not None:
        status, said = admin(stack, "POST", path, {**more, "cursor": said["next"]}, by=OFFICER)
    return status, said


def evaluate(stack: Findings, *, times: int) -> None:
    """Judge acme as the stream of its gauge and the minutes after it do."""
    for number in range(times):
        record = {
            "eventID": str(number),
            "dynamodb": {"Keys": {"pk": {"S": "acme"}, "sk": {"S": "GAUGE"}}, "SequenceNumber": str(number)},
        }
        stack._handler("evaluate_quotas")({"Records": [record]}, _context())
        stack.later(61)


# --- who is found, and where

_ROW = re.compile(r"^\| (?P<table>\w+), (?:`(?P<kind>[^`]+)`|entry): `(?P<name>[^`]+)` \|", re.MULTILINE)


def rows() -> set[tuple[str, str, str]]:
    """The places that the documents name."""
    document = ROOT / "docs" / "privacy.md"
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    return {(one["table"].lower(), one["kind"] or "", one["name"]) for one in _ROW.finditer(text)}


def places(stack: Findings, name: str = CANARY) -> Iterator[tuple[str, str, str]]:
    """Where a name stands now, in the words of the documents."""
    for table, held in stack.double.tables.items():
        for item in held.items.values():
            sort_key = item["sk"]["S"] if "sk" in item else ""
            kind = re.sub(r"#.*", "#" if not sort_key.startswith("OVERRIDES") else "", sort_key)
            for attribute, value in item.items():
                if name in json.dumps(value) + attribute:
                    yield table, kind, re.sub(r"^(out|parked):.*", r"\1:", attribute)
    for key, body in stack.notes.items():
        if name in key or name.encode() in (body if isinstance(body, bytes) else str(body).encode()):
            yield "bucket", "", key


def whole_life(stack: Findings) -> set[tuple[str, str, str]]:
    """Put a name into all that a tenant's people and its operators can write; returns where it stood."""
    seen: set[tuple[str, str, str]] = set()
    limits = [LIMIT, {"name": "calls", "meter": "requests", "window": "1h", "max": 1_000}]
    base = {"timezone": "UTC", "name": f"Ms {CANARY}", "profiles": [OWN], "limits": limits}
    had = [PERSON, f"{STS}app/{CANARY}.p*", f"{ROLE}{CANARY}-role"]
    assert put(stack, {**base, "principals": had})[0] == 200
    stack.later(120)
    assert put(stack, {**base, "principals": had[2:]})[0] == 200
    stack.later(120)
    own = stack.record(OWN, {"inputTokenCount": 5}, identity={"arn": PERSON})
    nobodys = stack.record("unknown00000", {"inputTokenCount": 5}, identity={"arn": PERSON})
    spoilt = stack.record(OWN, {"inputTokenCount": -1}, identity={"arn": PERSON})
    stack.log(own, nobodys, spoilt)
    until = datetime.fromtimestamp(stack.now_ms / 1_000 + 86_400).astimezone().isoformat()
    boost = {"limit": "tokens", "amount": 20, "to": until, "reason": f"{CANARY} asked"}
    assert admin(stack, "POST", f"{ACME}/boosts", boost)[0] in (200, 201)
    held = {"key": f"{CANARY}-1", "model": f"{CANARY}-model", "estimate": {"input_tokens": 1}}
    assert stack.ask("POST", "/v1/tenants/acme/reservations", held)[0] == 201
    why = {"reason": f"{CANARY} did not pay"}
    # Only this part is told to the tenant and in events; the audited state knew one reason for all.
    if admin(stack, "PUT", f"{ACME}/suspension", {**why, "public_reason": f"dear {CANARY}"})[0] != 200:
        assert admin(stack, "PUT", f"{ACME}/suspension", why)[0] == 200
    evaluate(stack, times=1)
    seen |= set(places(stack))
    evaluate(stack, times=6)
    assert admin(stack, "DELETE", f"{ACME}/suspension")[0] == 204
    # Only commands with the tables' own rights write these two.
    for pk, sk, author in (("PRICES", "OVERRIDES", "updated_by"), ("REPAIR", "LOCK", "by")):
        item = {"pk": {"S": pk}, "sk": {"S": sk}, author: {"S": STAFF}}
        stack.double.call("PutItem", {"TableName": "tenants", "Item": item})
    evaluate(stack, times=1)
    return seen | set(places(stack))


def test_no_place_keeps_a_person_and_each_is_in_the_documents(meter: Findings) -> None:
    seen = whole_life(meter)
    # Who is listed there is a program; of a forgotten one there is a hash, which no name can be found in.
    never = {("tenants", "TRUST", "gateways"), ("tenants", "FORGOTTEN", "pk")}
    assert seen == rows() - never, sorted(seen ^ (rows() - never))
    assert admin(meter, "DELETE", ACME)[0] == 200
    meter.later(200)
    assert erase(meter)[0] == 200
    # A caller of usage that nobody owns, and staff, are forgotten by name.
    assert erase(meter, PERSONS, principal=PERSON)[0] == 200
    status, said = erase(meter, PERSONS, principal=STAFF, dry_run=True)
    assert (status, said["history_entries_changed"] > 5) == (200, True)
    assert erase(meter, PERSONS, principal=f"{ROLE}staff")[0] == 200
    assert sorted(set(places(meter))) == []
    noted = admin(meter, "GET", "/v1/admin/tenants/unattributed/audit", by=OFFICER)[1]["changes"]
    assert [(one["what"], one["by"]) for one in noted] == [("erase principal", OFFICER)] * 2


def test_erasing_a_tenant_forgets_those_who_had_left_its_definition_and_a_parked_reason(meter: Findings) -> None:
    whole_life(meter)
    assert admin(meter, "DELETE", ACME)[0] == 200
    meter.later(200)
    assert erase(meter)[0] == 200
    texts = [json.dumps(item) for table in ("quotas", "tenants") for item in meter.double.tables[table].items.values()]
    found = [one for one in texts if re.search(f"{CANARY}(?!.operator)", one)]
    assert found == []


@pytest.mark.parametrize("of_staff", [False, True])
def test_a_person_is_forgotten_by_name_and_a_mapped_one_is_refused(meter: Findings, of_staff: bool) -> None:
    whole_life(meter)
    name = STAFF if of_staff else PERSON
    if not of_staff:
        assert put(meter, {"timezone": "UTC", "principals": [PERSON], "limits": [LIMIT]})[0] == 200
        meter.later(120)
        assert erase(meter, PERSONS, principal=PERSON)[0] == 409
        assert put(meter, {"timezone": "UTC", "limits": [LIMIT]})[0] == 200
        meter.later(120)
    assert erase(meter, PERSONS, principal=name)[0] == 200
    assert list(places(meter, name)) == []


def test_a_stack_can_keep_roles_and_no_sessions_which_decide_all_the_same(
    meter: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_SESSION_NAMES", "false")
    put(meter, {"timezone": "UTC", "principals": [f"{STS}app/{CANARY}.*"], "limits": [LIMIT]})
    meter.later(120)
    federated = {"arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{CANARY}"}
    calls = [meter.record("unknown00000", {"inputTokenCount": 5}, identity=one) for one in ({"arn": PERSON}, federated)]
    meter.log(*calls)
    assert meter.quota("acme", "tokens")["used"] == 5
    kept = sorted(item["principal"]["S"] for item in meter.double.tables["ledger"].items.values())
    assert kept == [f"{STS}app", f"arn:aws:sts::{ACCOUNT}:federated-user"]


# --- what was owned


@pytest.mark.parametrize("principal", [f"{ROLE}app", f"{ROLE}te*", f"{STS}app/nightly"])
def test_a_late_call_of_a_forgotten_principals_time_is_nobodys(meter: Findings, principal: str) -> None:
    caller = f"{STS}team/s" if principal.endswith("*") else f"{STS}app/nightly"
    globex = "/v1/admin/tenants/globex"
    put(meter, {"timezone": "UTC", "principals": [principal]})
    meter.later(120)
    late = meter.record("unknown00000", {"inputTokenCount": 5_000}, identity={"arn": caller})
    meter.later(10)
    assert admin(meter, "DELETE", ACME)[0] == 200
    meter.later(120)
    assert erase(meter)[0] == 200
    assert put(meter, {"timezone": "UTC", "principals": [principal], "limits": [LIMIT]}, globex)[0] == 200
    meter.later(300)
    meter.log(late)
    assert meter.quota("globex", "tokens")["used"] == 0
    meter.log(meter.record("unknown00000", {"inputTokenCount": 7}, identity={"arn": caller}))
    assert meter.quota("globex", "tokens")["used"] == 7


# --- when


def test_erasing_waits_for_the_end_of_what_was_handed_over(meter: Findings) -> None:
    put(meter, {"timezone": "UTC", "profiles": [OWN]})
    meter.later(120)
    assert admin(meter, "DELETE", ACME)[0] == 200
    meter.later(60)
    assert put(meter, {"timezone": "UTC", "profiles": [OWN]}, "/v1/admin/tenants/globex")[0] == 200
    meter.later(15)
    assert erase(meter)[0] == 409
    meter.later(60)
    assert erase(meter)[0] == 200


def test_erasing_waits_while_recorders_remember_a_tenant_that_gateways_name(meter: Findings) -> None:
    put(meter, {"timezone": "UTC"})
    meter.later(120)
    assert admin(meter, "DELETE", ACME)[0] == 200
    meter.later(30)
    assert erase(meter)[0] == 409


POINTS = 40


def test_a_tenant_that_comes_back_beside_its_erasure_keeps_all_of_it(meter: Findings, monkeypatch: Any) -> None:
    """At each point between two requests of the erasure, somebody brings the tenant back."""
    wrong, points = [], 0
    for point in range(POINTS):
        came, after, is_over = _comes_back_at(meter, monkeypatch, point)
        points += not is_over
        if is_over:
            break
        if came is not None and came != after:
            wrong.append(point)
    assert points > 5
    assert wrong == [], f"{len(wrong)} of {points} points"


def _comes_back_at(stack: Findings, monkeypatch: Any, point: int) -> tuple[Any, Any, bool]:
    """Return what the tenant was when it was back and what it is after the erasure; whether the point is past it."""
    path = f"/v1/admin/tenants/acme{point}"
    definition = {"timezone": "UTC", "name": "Smith", "principals": [f"{ROLE}app{point}"], "limits": [LIMIT]}
    assert put(stack, definition, path)[0] == 200
    stack.later(120)
    until = datetime.fromtimestamp(stack.now_ms / 1_000 + 86_400).astimezone().isoformat()
    boost = {"limit": "tokens", "amount": 20, "to": until, "reason": "launch"}
    assert admin(stack, "POST", f"{path}/boosts", boost)[0] in (200, 201)
    assert admin(stack, "DELETE", path)[0] == 200
    stack.later(200)
    came: list[Any] = []
    left = [point]
    tables = stack.double.call
    # Another environment of the function.
    erasing = stack._handlers.get("erasing") or stack._handlers.pop("admin_api")
    stack._handlers["erasing"] = erasing

    def beside(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        left[0] -= 1
        if left[0] == -1 and put(stack, definition, path)[0] == 200:
            came.append(_state(stack, path))
        return tables(operation, asked)

    with monkeypatch.context() as patched:
        patched.setattr(stack.double, "call", beside)
        _erase_with(erasing, path)
    is_over = left[0] >= 0
    after = _state(stack, path)
    stack.later(200)
    return came[0] if came else None, after, is_over


def _erase_with(handler: Callable[..., Any], path: str) -> None:
    signed = {"iam": {"userArn": STAFF, "accountId": ACCOUNT}}
    handler(request("POST", f"{path}/erasure", body={}, authorizer=signed), _context())


def _state(stack: Findings, path: str) -> Any:
    """What the tenant is: name, principals, boosts, and the maximum in force."""
    document = admin(stack, "GET", path)[1]
    boosts = admin(stack, "GET", f"{path}/boosts")[1]["boosts"]
    return (
        document.get("name"),
        document.get("principals"),
        boosts,
        stack.quota(path.rpartition("/")[2], "tokens")["max"],
    )
