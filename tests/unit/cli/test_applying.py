"""``tenants apply``, ``plans apply``, ``tenants remove``: what they change is shown and agreed to, by both ways."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bedrock_meter.cli.deployed import Caller
from bedrock_meter.cli.main import execute
from bedrock_meter.tenants.offboarding import Actor
from tests.doubles.office import FULL, NEW, TENANTS, Office
from tests.doubles.records import NOW_MS
from tests.unit.cli import test_administering

office = test_administering.office

INITECH = {"profiles": ["i1"], "limits": [{"meter": "requests", "window": "1h", "max": 5}]}
ROLE = "arn:aws:iam::123456789012:role/acme-worker"
SHORT = """
tenants:
  - {id: acme, limits: [{meter: total_tokens, window: 1h, max: 1000}]}
  - {id: zeta, profiles: [i1]}
"""
AGREED = "acme: limits, "


class Stack:
    """A stack with acme and initech, and one way to it."""

    def __init__(
        self, office: Office, option: tuple[str, str], capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        self.office = office
        self.option = option
        self.capsys = capsys
        self.file = folder / "tenants.yaml"
        self.write(SHORT)
        office.put(FULL, NEW)
        office.put(INITECH, NEW, f"{TENANTS}/initech")

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        assert execute([*words, *self.option]) == code, self.capsys.readouterr().err
        done = self.capsys.readouterr()
        return done.out, done.err

    def apply(self, *words: str, code: int = 0) -> tuple[str, str]:
        return self("tenants", "apply", str(self.file), *words, code=code)

    def state(self) -> tuple[Any, ...]:
        tables = self.office.tenants
        return dict(tables.definitions), dict(tables.mappings), dict(tables.plans_by_name), len(tables.notes)

    def profiles(self, tenant: str) -> list[str]:
        definition, _ = self.office.tenants.definitions[tenant]
        return [one.id for one in definition.profiles]


@pytest.fixture(params=["tables", "api"])
def stack(
    request: pytest.FixtureRequest,
    office: Office,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stack:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    if request.param == "api":
        return Stack(office, ("--api", test_administering.URL), capsys, tmp_path)
    from bedrock_meter.cli import apply_commands, exporting, plan_commands, removing, tenants, ways

    for module in (apply_commands, plan_commands, exporting, removing):
        monkeypatch.setattr(module, "outputs_of_stack", lambda name: {})
    for module in (apply_commands, plan_commands):
        monkeypatch.setattr(module, "caller", lambda name: Caller(name or "me", "aws", "1" * 12, "us-east-1"))
    monkeypatch.setattr(
        ways, "table_way", lambda outputs, by="": ways.TableWay(office.administration, office.tenants, by)
    )
    monkeypatch.setattr(tenants, "planning", lambda outputs, by: office.administration.planning(by))
    monkeypatch.setattr(removing, "office_of", lambda outputs: office.administration)
    monkeypatch.setattr(removing, "caller", lambda name: Caller(name or "me", "aws", "1" * 12, "us-east-1"))
    monkeypatch.setattr(removing, "tables_of", lambda outputs: None)
    monkeypatch.setattr(removing, "actor_of", lambda outputs, by: Actor(by, NOW_MS, office.tenants.audit))
    monkeypatch.setattr("bedrock_meter.storage.tenants.PynamoDBTenantStore", lambda tables: office.tenants)
    return Stack(office, ("--stack", "local"), capsys, tmp_path)


def answering(monkeypatch: pytest.MonkeyPatch, answer: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Put a person with this answer at a terminal; ``meanwhile`` happens while that person thinks."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *_: Any) -> str:  # type: ignore[override]
            meanwhile()
            return answer

    monkeypatch.setattr("sys.stdin", Terminal())


def digest(told: str) -> str:
    return told.rpartition("difference ")[2].partition(":")[0]


def test_without_a_terminal_nothing_changes_and_the_difference_is_the_result(stack: Stack) -> None:
    before = stack.state()
    out, told = stack.apply(code=4)
    assert stack.state() == before
    for line in (
        "tenant acme",
        "  ~ timezone: Europe/Berlin -> UTC, the default",
        "  ~ plan: gold -> none, the default",
        "  ~ fail policy: closed -> none, the default",
        "  - limit requests-month-15: 1000 requests in month@15, hard",
        "  - profile p1 goes 70 s later",
        "  - profile p2 goes 70 s later (model a.model)",
        f"  - principal {ROLE} goes 70 s later",
        "tenant zeta: new",
        "  + profile i1: taken from initech 70 s later",
    ):
        assert line in out.splitlines(), out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert f"--accept {digest(out)}" in told
    assert "no limit of it denies: it is metered only" in out


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_dry_run_shows_the_same_and_is_no_failure(stack: Stack, output: str) -> None:
    before = stack.state()
    shown, told = stack.apply("--dry-run", "--output", output)
    assert (shown, told) == (stack.apply("--output", output, code=4)[0], "")
    assert stack.state() == before
    if output == "json":
        document = json.loads(shown)
        assert (document["applied"], [one["tenant"] for one in document["tenants"]]) == (None, ["acme", "zeta"])


def test_exactly_the_accepted_difference_is_done(stack: Stack) -> None:
    seen = digest(stack.apply("--dry-run")[0])
    out, _ = stack.apply("--accept", seen)
    assert [line.partition(": ")[0] for line in out.splitlines()] == ["acme", "zeta"]
    assert (stack.profiles("acme"), stack.profiles("zeta")) == ([], ["i1"])
    # It is done: nothing is left to accept, and nothing changes.
    before = stack.state()
    again = stack.apply("--accept", seen)[0]
    assert ["as it was" in line for line in again.splitlines()] == [True, True]
    assert stack.state() == before
    assert stack.apply("--dry-run")[0] == "as it was: nothing would change\n"


def test_another_difference_than_the_accepted_one_is_refused_and_shown(stack: Stack) -> None:
    seen = digest(stack.apply("--dry-run")[0])
    stack.office.put({**FULL, "profiles": ["p1", "p2", "p3"]}, {"if-match": "*"})
    before = stack.state()
    out, told = stack.apply("--accept", seen, code=4)
    assert "  - profile p3 goes 70 s later" in out.splitlines()
    assert f"the difference is {digest(out)}, not {seen}" in told
    assert stack.state() == before


@pytest.mark.parametrize("words", [("--yes", "--dry-run"), ("--yes", "--accept", "x"), ("--dry-run", "--accept", "x")])
def test_one_way_to_agree_is_enough(stack: Stack, words: tuple[str, ...]) -> None:
    assert "exclude each other" in stack.apply(*words, code=2)[1]


def test_a_person_is_asked_and_no_is_the_default(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stack.state()
    answering(monkeypatch, "\n")
    out, told = stack.apply(code=4)
    assert "profile i1: taken from initech" in out
    assert "Do this? [y/N]" in told
    assert stack.state() == before
    answering(monkeypatch, "y\n")
    assert AGREED in stack.apply()[0]
    assert stack.profiles("acme") == []


def test_what_changes_while_a_person_thinks_is_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "y\n", lambda: stack.office.put({**FULL, "profiles": ["p1"]}, {"if-match": "*"}))
    assert "another one by now" in stack.apply(code=4)[1]
    assert stack.profiles("acme") == ["p1"]


def test_what_changes_between_the_difference_and_its_tenant_is_not_overwritten(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedrock_meter.cli.ways import held_again as true

    def late(*words: Any) -> Any:
        stack.office.put({**FULL, "name": "Others were here"}, {"if-match": "*"})
        return true(*words)

    monkeypatch.setattr("bedrock_meter.cli.applying.held_again", late)
    assert "tenant acme was changed by another writer meanwhile" in stack.apply("--yes", code=4)[1]
    assert stack.profiles("acme") == ["p1", "p2"]
    assert stack.office.tenants.definitions["acme"][0].name == "Others were here"
    assert "zeta" not in stack.office.tenants.definitions, "tenants after it stay as they are"


def test_a_profile_that_another_tenant_got_meanwhile_is_not_taken_from_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.write("tenants: [{id: zeta, profiles: [z9]}]")
    from bedrock_meter.cli.ways import held_again as true

    def late(*words: Any) -> Any:
        stack.office.put({**INITECH, "profiles": ["i1", "z9"]}, {"if-match": "*"}, f"{TENANTS}/initech")
        return true(*words)

    monkeypatch.setattr("bedrock_meter.cli.applying.held_again", late)
    assert "tenant zeta was changed" in stack.apply("--yes", code=4)[1]
    assert stack.office.tenants.mappings["z9"][1][-1].tenant == "initech"


def test_profiles_may_move_within_one_file(stack: Stack) -> None:
    stack.write("tenants: [{id: initech}, {id: zeta, profiles: [i1]}]")
    out = stack.apply("--yes")[0]
    assert "  + profile i1: taken from initech 70 s later" in out.splitlines()
    assert (stack.profiles("initech"), stack.profiles("zeta")) == ([], ["i1"])


def test_the_result_is_one_json_document(stack: Stack) -> None:
    out, told = stack.apply("--yes", "--output", "json")
    document = json.loads(out)
    assert [one["tenant"] for one in document["applied"]] == ["acme", "zeta"]
    assert "taken from initech" in told


def test_plans_are_agreed_to_as_well(stack: Stack) -> None:
    limits = "[{name: hour, meter: requests, window: 1h, max: 5}]"
    stack.write(f"plans: [{{name: gold, limits: {limits}}}]")
    assert "plan gold: new, 1 tenant with it" in stack("plans", "apply", str(stack.file), code=4)[0]
    assert stack.office.tenants.plans_by_name == {}
    stack("plans", "apply", str(stack.file), "--yes")
    stack.write("plans: [{name: gold}]")
    out, _ = stack("plans", "apply", str(stack.file), code=4)
    assert out.splitlines()[:2] == ["plan gold: 1 tenant with it", "  - limit hour: 5 requests in 1h"]
    assert "hour" in [one.limit.name for one in stack.office.gauges.gauges["acme"].layout.limits]
    accepted = ("plans", "apply", str(stack.file), "--accept", digest(out))
    assert stack(*accepted)[0].startswith("gold: changed")
    assert "hour" not in [one.limit.name for one in stack.office.gauges.gauges["acme"].layout.limits]
    assert stack(*accepted)[0].startswith("gold: as it was")


def test_the_default_plan_may_change_hands_within_one_file(stack: Stack) -> None:
    stack.write("plans: [{name: free, default: true}, {name: gold}]\ntenants: []")
    stack.apply("--yes")
    stack.write("plans: [{name: gold, default: true}, {name: free}]\ntenants: []")
    out = stack.apply("--yes")[0]
    assert "  ~ default: yes -> no" in out.splitlines()
    assert {name: one.is_default for name, one in stack.office.tenants.plans_by_name.items()} == {
        "free": False,
        "gold": True,
    }


def test_an_export_is_a_file_that_changes_nothing(stack: Stack) -> None:
    out = stack("tenants", "export", "acme")[0]
    document = yaml.safe_load(out)
    assert [one["id"] for one in document["tenants"]] == ["acme"]
    assert document["tenants"][0]["principals"] == [ROLE]
    stack.write(out)
    assert stack.apply("--dry-run")[0] == "as it was: nothing would change\n"
    stack.write(stack("tenants", "export")[0])
    assert [one["id"] for one in yaml.safe_load(stack.file.read_text())["tenants"]] == ["acme", "initech"]
    assert ["as it was" in line for line in stack.apply()[0].splitlines()] == [True, True]
    assert "there is no tenant nobody" in stack("tenants", "export", "nobody", code=2)[1]
    stack("tenants", "remove", "acme", "--yes")
    assert "would bring it back" in stack("tenants", "export", "acme", code=2)[1]
    assert [one["id"] for one in yaml.safe_load(stack("tenants", "export")[0])["tenants"]] == ["initech"]


def test_removing_says_what_is_lost_and_asks(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stack.state()
    told = stack("tenants", "remove", "acme", code=4)[1]
    for words in ("p1, p2", ROLE, "limits (3)", "boosts that are not over (0)", "say --yes"):
        assert words in told, told
    answering(monkeypatch, "n\n")
    stack("tenants", "remove", "acme", code=4)
    assert stack.state() == before
    answering(monkeypatch, "yes\n")
    assert stack("tenants", "remove", "acme")[0].startswith("acme: 3 mappings end")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "as it was" in stack("tenants", "remove", "acme")[0], "nothing is left to lose"
