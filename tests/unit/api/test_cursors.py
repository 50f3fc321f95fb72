"""Cursors that nobody gave out: whoever reads the code can make one whose digest is right. A 400 each time."""

import json
from urllib.parse import quote

import pytest

from bedrock_meter.api.cursors import Position, write, write_key
from bedrock_meter.errors import InvalidPosition
from bedrock_meter.settings import Tables
from bedrock_meter.storage.audit import DynamoDBAuditTrail
from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
from tests.doubles.http import Answer, World
from tests.doubles.office import ACME, NEW, Office
from tests.doubles.records import NOW_MS

USAGE = "/v1/tenants/acme/usage"
QUARTER_MS, DAY_MS = 900_000, 86_400_000
NOW = NOW_MS - NOW_MS % QUARTER_MS
PLAN = "/v1/admin/plans/gold"


def is_refused(answer: Answer) -> bool:
    return (answer.status, answer.document["field"]) == (400, "cursor")


def usage(position: Position, by: str = "day", from_: str = "", to: str = "") -> Answer:
    found = World(timezones={"acme": "UTC"})
    cursor = write(position, ("acme", by, "none", from_, to))
    bounds = "".join(f"&{name}={quote(value)}" for name, value in (("from", from_), ("to", to)) if value)
    return found.ask(USAGE, query=f"by={by}{bounds}&cursor={cursor}")


@pytest.mark.parametrize(("by", "days"), [("hour", 62), ("day", 400), ("month", 400)])
def test_a_cursor_asks_for_no_more_than_its_query_may(by: str, days: int) -> None:
    longest = Position(NOW - days * DAY_MS, NOW, False)
    assert usage(longest, by).status == 200
    assert is_refused(usage(longest._replace(from_ms=longest.from_ms - DAY_MS), by))
    assert is_refused(usage(Position(0, 99_999_999_900_000, False), by))


def test_a_cursor_stays_between_the_bounds_of_its_query() -> None:
    first, last = "2026-11-10T00:00:00Z", "2026-11-12T00:00:00Z"
    begin, end = 1_794_268_800_000, 1_794_441_600_000
    assert usage(Position(begin + DAY_MS, end, True), from_=first, to=last).status == 200
    for wrong in (
        Position(begin - QUARTER_MS, end, False),
        Position(begin + DAY_MS, end + QUARTER_MS, False),
        Position(begin + DAY_MS, end - QUARTER_MS, False),
    ):
        assert is_refused(usage(wrong, from_=first, to=last)), wrong


def test_what_a_mark_of_a_cursor_may_be() -> None:
    cursor = write(Position(NOW - DAY_MS, NOW, True)._replace(is_cut=7), ("acme", "day", "none", "", ""))  # type: ignore[arg-type]
    assert is_refused(World(timezones={"acme": "UTC"}).ask(USAGE, query=f"by=day&cursor={cursor}"))


def test_no_list_of_administrators_takes_a_key_that_it_did_not_return() -> None:
    office = Office()
    office.put({"limits": []}, {"if-none-match": "*"}, PLAN)
    office.put({"plan": "gold"}, NEW)
    for path, about in ((f"{ACME}/audit", ("audit", "acme")), (f"{PLAN}/audit", ("plan-audit", "gold"))):
        assert is_refused(office.ask(path, query=f"cursor={write_key(('TENANT',), about)}")), path
    (version,) = (plan.version for plan in office.tenants.plans())
    for after, counts in (("no tenant", ("1",) * 4), ("acme", ("-1", "1", "1", "1")), ("acme", ("1", "1", "1", "x"))):
        cursor = write_key((version, after, *counts), ("installation", "gold"))
        assert is_refused(office.ask(f"{PLAN}/installation", "POST", query=f"cursor={cursor}")), (after, counts)
    office.ask(ACME, "DELETE")
    cursor = write_key(("x",), ("erasure", "acme"))
    assert is_refused(office.ask(f"{ACME}/erasure", "POST", body={"cursor": cursor}))
    assert office.told == []


class Unasked:
    """A client of which nobody may ask anything."""

    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"{name} was asked")


TABLES = Tables("ledger", "usage", "quotas", "tenants")


@pytest.mark.parametrize("key", [("TENANT",), ("AUDIT",), ("AUDIT#",), ("AUDIT#x#y",), ("AUDIT#2026", "x"), ()])
def test_a_log_of_changes_is_not_asked_from_a_key_that_is_no_entrys(key: tuple[str, ...]) -> None:
    with pytest.raises(InvalidPosition):
        DynamoDBAuditTrail(Unasked(), TABLES).page("acme", key, 5)


@pytest.mark.parametrize(
    "position",
    ["x", "", "7", "null", "[]", "{}", '{"pk": "x"}', '{"pk": {"N": "1"}}', '{"pk": {"S": ""}}', "[" * 9_999,
     json.dumps({"pk": {"S": "x" * 2_049}})],
)  # fmt: skip
def test_the_ledger_is_not_read_from_a_key_that_is_no_entrys(position: str) -> None:
    with pytest.raises(InvalidPosition):
        next(DynamoDBPrincipalStore(Unasked(), TABLES).pages("acme", position))
