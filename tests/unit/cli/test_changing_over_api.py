"""``plans ... --api`` and ``tenants boost``, ``boosts``, ``end-boost --api``, over the admin API itself, in process."""

import json
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.api import admin_plans
from bedrock_meter.cli.main import execute
from bedrock_meter.limits.gauge import Lease
from tests.doubles.office import FULL, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS
from tests.unit.cli import test_administering

URL = test_administering.URL
office = test_administering.office

FILE = """
plans:
  - name: gold
    limits: [{name: hour, meter: total_tokens, window: 1h, max: 2k}]
  - {name: free, default: true}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "plans.yaml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert execute([*words, "--api", URL]) == code
    done = capsys.readouterr()
    return done.out, done.err


def test_plans_are_applied_in_parts_with_progress_and_again_change_nothing(
    office: Office, capsys: pytest.CaptureFixture[str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        office.put({"plan": "gold"}, NEW, f"{TENANTS}/t{number}")
    monkeypatch.setattr(admin_plans, "MARGIN_MS", 10**9)  # one tenant a request
    out, told = run(capsys, "plans", "apply", file, "--yes")
    assert (
        out.partition("removed, 0 taken from other tenants\n")[2]
        == "gold: changed; 4 tenants: 4 changed, 0 failed\nfree: changed; 0 tenants: 0 changed, 0 failed\n"
    )
    assert "settled 1 of 4 tenants: gold" in told
    assert [one.layout.limits[0].maximum for one in office.gauges.gauges.values()] == [2000] * 4
    assert run(capsys, "plans", "apply", file)[0].startswith("gold: as it was; 4 tenants: 0 changed")
    assert [one.what for one in office.plan_audit.entries] == ["apply", "apply"]


def test_a_tenant_that_could_not_be_changed_is_told_and_counts(
    office: Office, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    for tenant in ("acme", "globex"):
        office.put({"plan": "gold"}, NEW, f"{TENANTS}/{tenant}")
    office.gauges.change_gauge("acme", lease=Lease("somebody", NOW_MS + 10**9))
    out, told = run(capsys, "plans", "apply", file, "--yes", code=1)
    assert out.splitlines()[-2] == "gold: changed; 2 tenants: 1 changed, 1 failed"
    assert "acme: the limits of acme are being changed by somebody else" in told


def test_plans_are_listed_shown_and_removed(office: Office, capsys: pytest.CaptureFixture[str], file: str) -> None:
    run(capsys, "plans", "apply", file, "--yes")
    office.put({"plan": "gold"}, NEW)
    listed = json.loads(run(capsys, "plans", "list", "--output", "json")[0])
    assert [(one["name"], one["default"]) for one in listed] == [("free", True), ("gold", False)]
    assert "2 plans" in run(capsys, "plans", "list")[0]
    shown: dict[str, Any] = json.loads(run(capsys, "plans", "show", "gold", "--output", "json")[0])
    assert (shown["limits"][0]["max"], [one["what"] for one in shown["history"]]) == (2000, ["apply"])
    assert all(word in run(capsys, "plans", "show", "free")[0] for word in ("plan: free (default)", "1 changes"))
    assert "gold is the plan of acme: it stays" in run(capsys, "plans", "remove", "gold", "--yes", code=2)[1]
    office.put({}, {"if-match": "*"})
    assert "Plan gold has 1 limits. Remove it? Nothing was changed" in run(capsys, "plans", "remove", "gold", code=4)[1]
    assert "what tenants without a plan have" in run(capsys, "plans", "remove", "free", code=4)[1]
    assert run(capsys, "plans", "remove", "gold", "--yes")[0] == "gold: removed\n"
    assert "404" in run(capsys, "plans", "remove", "gold", code=2)[1]
    assert "404" in run(capsys, "plans", "show", "gold", code=2)[1]


def test_a_plan_that_is_wrong_is_refused_by_name(
    office: Office, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    many = ", ".join(f"{{name: l{number}, meter: requests, window: 1h, max: 1}}" for number in range(17))
    office.put({**FULL, "plan": "gold"}, NEW)
    path = tmp_path / "plans.yaml"
    path.write_text(f"plans: [{{name: gold, limits: [{many}]}}]", encoding="utf-8")
    assert "tenant acme: limits: 20 limits" in run(capsys, "plans", "apply", str(path), "--yes", code=2)[1]
    assert office.tenants.plans_by_name == {}


BOOST = ("--to", "2030-01-01T00:00Z", "--reason", "launch week")


def test_a_boost_is_given_listed_and_ended(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    office.put(FULL, NEW)
    give = ("tenants", "boost", "acme", "total_tokens-1h", "--amount", "5k", *BOOST)
    made = run(capsys, *give)[0]
    assert made.startswith("acme: total_tokens-1h boosted: 2026-")
    assert run(capsys, *give)[0].startswith("acme: total_tokens-1h has this boost")
    (listed,) = json.loads(run(capsys, "tenants", "boosts", "acme", "--output", "json")[0])
    assert (listed["amount"], listed["unit"], listed["to"]) == (5000, "tokens", "2030-01-01T00:00:00.000Z")
    assert f"({listed['id']})" in made
    assert listed["id"] in run(capsys, "tenants", "boosts", "acme")[0]
    assert listed["id"] in run(capsys, "tenants", "show", "acme")[0]
    for _ in range(2):
        ended = run(capsys, "tenants", "end-boost", "acme", listed["id"])[0]
        assert ended == f"acme: boost {listed['id']} is over\n"
    assert run(capsys, "tenants", "boosts", "acme")[0] == "0 boosts\n"
    factor = ("tenants", "boost", "acme", "total_tokens-1h", "--factor", "2", "--from", "2027-01-01T00:00Z", *BOOST)
    assert "2027-01-01T00:00:00.000Z to 2030-01-01T00:00:00.000Z" in run(capsys, *factor)[0]


def test_what_cannot_be_boosted_is_one_line(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    office.put(FULL, NEW)
    give = ("tenants", "boost", "acme", "nothing", *BOOST)
    assert "give either --amount or --factor" in run(capsys, *give, code=2)[1]
    assert "acme has no such limit; it has total_tokens-1h" in run(capsys, *give, "--amount", "5", code=2)[1]
    assert "404" in run(capsys, "tenants", "boosts", "nobody", code=2)[1]
    assert "no such boost" in run(capsys, "tenants", "end-boost", "acme", "0123456789abcdef", code=2)[1]
    for command in (
        (*give, "--amount", "5"),
        ("tenants", "end-boost", "acme", "0123456789abcdef"),
        ("plans", "remove", "gold"),
    ):
        assert "--by cannot stand beside --api" in run(capsys, *command, "--by", "me", code=2)[1]
