"""The usage and explanation routes: parameters, pages, formats."""

import csv
import io
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.api import usage as usage_routes
from bedrock_meter.api.cursors import Position, write
from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.api.spreadsheet import csv_text
from bedrock_meter.clock import iso
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.usage.rollup import RollupKey, Sums
from tests.doubles.http import World, gauge
from tests.doubles.records import NOW_MS, limit, sums
from tests.unit.api.test_outage import throttle

USAGE = "/v1/tenants/acme/usage"
WHY = "/v1/tenants/acme/explanation"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def row(text: str, profile: str = "p1", model: str = "m1") -> tuple[RollupKey, Sums]:
    amounts = {"requests": 1, "errors": 2, "input": 10, "output": 5, "cache_read": 3, "cost": 75, "unpriced": 1}
    return RollupKey("acme", at(text), profile, model), sums(**amounts)


def world(*rows: tuple[RollupKey, Sums], page: int = 100, budget: ReportBudget | None = None) -> World:
    budget = budget or ReportBudget()
    return World({"acme": gauge("acme")}, {"acme": "Europe/Berlin"}, {"acme": list(rows)}, page=page, budget=budget)


def test_usage_by_local_days() -> None:
    found = world(row("2026-11-22T23:00Z"), row("2026-11-23T22:45Z"), row("2026-11-23T23:00Z"))
    answer = found.ask(USAGE, query="from=2026-11-23&to=2026-11-25")
    assert answer.status == 200
    document = answer.document
    assert (document["from"], document["to"]) == ("2026-11-22T23:00:00.000Z", "2026-11-24T23:00:00.000Z")
    assert (document["timezone"], document["by"], document["group"], document["next"]) == (
        "Europe/Berlin",
        "day",
        "none",
        None,
    )
    first, second = document["usage"]
    assert (first["period"], first["requests"], second["period"]) == ("2026-11-23", 2, "2026-11-24")
    assert first == {
        "period": "2026-11-23",
        "start": "2026-11-22T23:00:00.000Z",
        "end": "2026-11-23T23:00:00.000Z",
        "complete": True,
        "requests": 2,
        "errors": 4,
        "input_tokens": 20,
        "output_tokens": 10,
        "cache_read_tokens": 6,
        "cache_write_tokens": 0,
        "total_tokens": 36,
        "cost_usd": "0.00000015",
        "unpriced": 2,
    }  # fmt: skip


def test_without_a_range_it_is_this_local_month_until_now() -> None:
    document = world().ask(USAGE).document
    assert document["from"] == "2026-10-31T23:00:00.000Z"
    assert at(document["to"]) - 900_000 <= NOW_MS < at(document["to"])


def test_grouped_and_as_csv() -> None:
    found = world(row("2026-11-23T10:00Z", model='=HYPERLINK("x")'), row("2026-11-23T10:00Z", model="m2"))
    answer = found.ask(USAGE, query="from=2026-11-23&to=2026-11-24&group=model&format=csv")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    header, *rows = csv.reader(io.StringIO(answer.text))
    assert header == ["period", "start", "end", "model", "complete", *usage_routes.SUMS]
    assert [one[3] for one in rows] == ['\'=HYPERLINK("x")', "m2"]
    assert rows[0][4:] == ["true", "1", "2", "10", "5", "3", "0", "18", "0.000000075", "1"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1", "=cmd|' /C calc'!A0", "\0=1"])
def test_no_text_becomes_a_formula(text: str) -> None:
    (cells,) = csv.reader(io.StringIO(csv_text((), [[text, -5]]).partition("\r\n")[2], newline=""))
    assert cells[0].startswith("'")
    assert cells[1] == "-5"


ROWS = [row(f"2026-11-{day:02}T{hour:02}:00Z", f"p{hour % 3}") for day in range(2, 12) for hour in range(0, 24, 3)]


def read_all(found: World, query: str) -> list[tuple[str, str, int]]:
    lines, cursor = [], ""
    while True:
        answer = found.ask(USAGE, query=query + (f"&cursor={quote(cursor)}" if cursor else ""))
        assert answer.status == 200
        lines += [(one["period"], one.get("profile", ""), one["requests"]) for one in answer.document["usage"]]
        cursor = answer.document["next"] or ""
        assert answer.headers.get("X-Next-Cursor", "") == cursor
        if not cursor:
            return lines


@pytest.mark.parametrize(
    "query", ["from=2026-11-01&to=2026-12-01&by=day&group=profile", "by=hour&group=profile", "by=month"]
)
def test_pages_are_the_whole_report(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_all(world(*ROWS), query)
    monkeypatch.setattr(usage_routes, "LINES", 2)
    parts = read_all(world(*ROWS), query)
    if "month" not in query:
        assert parts == whole
    assert sum(requests for *_, requests in parts) == sum(requests for *_, requests in whole) == len(ROWS)


def test_parts_of_a_period_say_that_they_are_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_routes, "LINES", 1)
    found, query, seen = world(*ROWS, budget=ReportBudget(at_once=10_000)), "by=month&group=profile", []
    answer = found.ask(USAGE, query=query)
    while True:
        seen += [line["complete"] for line in answer.document["usage"]]
        if answer.document["next"] is None:
            break
        answer = found.ask(USAGE, query=f"{query}&cursor={answer.document['next']}")
    assert len(seen) > 3
    assert not any(seen)


def test_one_answer_reads_so_many_pages_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_routes, "PAGES", 4)
    found = world(*ROWS, page=5)
    answer = found.ask(USAGE, query="by=month")
    assert found.pages_read == 5  # the fifth shows that there is more
    assert answer.document["next"] is not None
    assert answer.document["usage"][0]["complete"] is False


def test_a_cursor_belongs_to_its_tenant_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_routes, "LINES", 2)
    found = world(*ROWS)
    found.timezones["globex"] = "Europe/Berlin"
    cursor = found.ask(USAGE, query="by=day").document["next"]
    assert found.ask(USAGE, query=f"by=day&cursor={cursor}").status == 200
    for path, query in [
        (USAGE, "by=hour"),
        (USAGE, "by=day&group=model"),
        (USAGE, "by=day&from=2026-11-01"),
        ("/v1/tenants/globex/usage", "by=day"),
    ]:
        answer = found.ask(path, query=f"{query}&cursor={cursor}")
        assert (answer.status, answer.document["field"]) == (400, "cursor")


FORGED = write(Position(2 * 900_000, 900_000, False), ("acme", "day", "none", "", ""))
"""Ends before it begins."""


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "W10", "%00", "a" * 300, "WzEsMSwyLDAsInh4Il0", "bnVsbA", "WzEsLTEsMiwwLCJ4Il0", "ÿ", "[" * 190, FORGED],
)
def test_no_cursor_is_a_400(cursor: str) -> None:
    answer = world().ask(USAGE, query=f"cursor={quote(cursor)}")
    assert (answer.status, answer.document["field"]) == (400, "cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=week", "by"),
        ("by=", "by"),
        ("group=tenant", "group"),
        ("format=xml", "format"),
        ("from=yesterday", "from"),
        ("from=2026-13-01", "from"),
        ("from=2026-11-24T10:07:00Z", "from"),
        ("from=2026-11-24T10:00:00.5Z", "from"),
        ("from=2026-11-24T10:00:00", "from"),
        ("to=1969-12-31", "to"),
        ("from=0001-01-01", "from"),
        ("to=9999-12-31", "to"),
        ("from=2026-11-24&to=2026-11-24", "from"),
        ("from=2020-01-01", "from"),
        ("by=hour&from=2026-01-01&to=2026-04-01", "from"),
    ],
)
def test_parameters_are_read_strictly(query: str, field: str) -> None:
    answer = world().ask(USAGE, query=query)
    assert (answer.status, answer.document.get("field")) == (400, field)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query", ["form=2026-11-01", "by=day&by=day", "from=%ff", "x" * 3000, "&".join("a=1" for _ in range(200))]
)
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    assert world().ask(USAGE, query=query).status == 400


def test_offsets_other_than_utc_are_understood() -> None:
    answer = world().ask(USAGE, query=f"from={quote('2026-11-24T01:00+01:00')}&to=2026-11-24T10:15:00Z")
    assert answer.document["from"] == "2026-11-24T00:00:00.000Z"


@pytest.mark.parametrize("path", [USAGE, WHY])
def test_storage_that_is_down_is_a_503(path: str) -> None:
    down = world()
    down.error = ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")
    answer = down.ask(path)
    assert (answer.status, answer.headers["Retry-After"], down.told) == (503, "1", ["ThrottlingException"])


@pytest.mark.parametrize("path", [USAGE, WHY])
def test_a_tenant_that_heats_its_own_keys_is_told_to_wait(path: str) -> None:
    hot = world()
    hot.error = throttle("ProvisionedThroughputExceededException", "TableReadKeyRangeThroughputExceeded")
    answer = hot.ask(path)
    assert (answer.status, answer.document["type"]) == (429, "urn:bedrock-meter:tenant-busy")
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert hot.told == []


@pytest.mark.parametrize("path", ["/v1/tenants/globex/usage", "/v1/tenants/globex/explanation"])
def test_a_tenant_that_is_not_there(path: str) -> None:
    assert world().ask(path).document["title"] == "Tenant not found"


def throttled() -> World:
    found = world(row("2026-11-18T10:00Z", "p1", "m1"), row("2026-11-18T10:15Z", "p2", "m1"))
    found.gauges["acme"] = gauge("acme", limit("1h", 10), limit("month", 10), limit("day", 100, name="roomy"), used=50)
    return found


def test_why_a_tenant_is_throttled() -> None:
    answer = throttled().ask(WHY)
    document = answer.document
    assert answer.status == 200
    assert document["allowed"] is False
    assert document["denied_by"] == ["total_tokens-month", "total_tokens-1h"], "the longest first"
    assert document["decisive"] == "total_tokens-month"
    month, hour = document["limits"]
    assert (month["name"], hour["name"]) == ("total_tokens-month", "total_tokens-1h")
    explained = month["explained"]
    assert (explained["exact"], explained["complete"], explained["total"]) == (True, True, 36)
    assert explained["models"] == [
        {"model": "m1", "amount": 36, "requests": 2, "uncounted_requests": 0, "percent": 100.0}
    ]
    assert [(one["profile"], one["percent"]) for one in explained["profiles"]] == [("p1", 50.0), ("p2", 50.0)]
    assert (hour["explained"]["exact"], hour["explained"]["granularity_seconds"]) == (False, 900)


def test_money_is_explained_as_text_and_says_what_it_leaves_out() -> None:
    found = throttled()
    priced = limit("month", 100, meter=Meter.COST_USD, scope=Scope(models=("m*",)))
    found.gauges["acme"] = gauge("acme", priced, used=150)
    found.rows["acme"].append(row("2026-11-18T10:30Z", "p3", "other"))
    (one,) = found.ask(WHY).document["limits"]
    explained = one["explained"]
    assert (one["unit"], one["used"], one["overage"]) == ("USD", "0.00000015", "0.00000005")
    assert (explained["total"], explained["uncounted_requests"]) == ("0.00000015", 2)
    assert [(share["profile"], share["amount"], share["uncounted_requests"]) for share in explained["profiles"]] == [
        ("p1", "0.000000075", 1),
        ("p2", "0.000000075", 1),
    ]
    assert explained["models"][0]["percent"] == 100.0


def test_a_suspended_tenant_is_not_allowed_whatever_its_limits_say() -> None:
    found = world()
    stopped = Suspension(1, "unpaid", NOW_MS, "arn:aws:iam::123456789012:user/a", public_reason="Please call us.")
    found.gauges["acme"] = replace(gauge("acme", limit("1h", 10)), suspension=stopped)
    document = found.ask(WHY).document
    assert (document["allowed"], document["denied_by"]) == (False, [])
    assert document["suspended"] == {"public_reason": "Please call us.", "since": iso(NOW_MS)}


def test_one_limit_by_name() -> None:
    answer = throttled().ask(WHY, query="limit=roomy")
    assert [one["name"] for one in answer.document["limits"]] == ["roomy"]
    assert throttled().ask(WHY, query="limit=nope").status == 404


def test_nothing_to_explain() -> None:
    document = world().ask(WHY).document
    assert (document["allowed"], document["decisive"], document["limits"]) == (True, None, [])
