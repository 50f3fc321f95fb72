"""``tenants add`` and its results: what goes on after a failure, what does not, and cells that are no formulas."""

import csv
import io
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from bedrock_meter.cli import adding
from bedrock_meter.cli.adding import (
    CHANGED,
    FAILED,
    NOT_TRIED,
    UNCHANGED,
    Result,
    provide,
    result_document,
    safe_cell,
    warnings,
)
from bedrock_meter.cli.main import execute
from bedrock_meter.cli.progress import Progress
from bedrock_meter.local.failures import NotAgreed
from bedrock_meter.tenants.batch import Line
from bedrock_meter.tenants.catalog import ProfileCatalog
from bedrock_meter.tenants.plans import Plan
from bedrock_meter.tenants.profiles import profile_name
from bedrock_meter.tenants.provisioning import Provisioner, Wanted
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import HAIKU, MemoryAudit, MemoryControlPlane, MemoryTenantStore


class Scene:
    """The parts of ``tenants add``, in memory."""

    def __init__(self) -> None:
        self.tenants, self.control, self.gauges = MemoryTenantStore(), MemoryControlPlane(), MemoryTables()

    def provisioner(self) -> Provisioner:
        return Provisioner(
            self.tenants,
            MemoryInstallationStore(self.gauges),
            ProfileCatalog(self.control, self.tenants, "tenantId"),
            MemoryAudit(),
            by="x",
            clock=lambda: NOW_MS,
            new_id=lambda: "x",
        )

    def run(self, lines: list[Line], *, dry_run: bool = False) -> list[Result]:
        return list(provide(self.provisioner(), lines, dry_run=dry_run))


def lines(count: int) -> list[Line]:
    return [Line(number + 2, Wanted(f"t{number}", (HAIKU,))) for number in range(count)]


def test_a_thousand_tenants_and_a_second_run_that_changes_nothing() -> None:
    scene = Scene()
    assert {one.result for one in scene.run(lines(1000))} == {CHANGED}
    writes = scene.tenants.writes
    scene.control.asked.clear()
    assert {one.result for one in scene.run(lines(1000))} == {UNCHANGED}
    assert scene.tenants.writes == writes
    assert scene.control.asked == ["list"], "one list, no tags, no creations"


def test_one_line_that_fails_does_not_stop_the_others_and_a_second_run_does_what_is_missing() -> None:
    scene = Scene()
    stranger = scene.control.add("stranger", HAIKU, name=profile_name("t1", HAIKU))
    results = scene.run(lines(3))
    assert [(one.line, one.result) for one in results] == [(2, CHANGED), (3, FAILED), (4, CHANGED)]
    assert stranger.arn in results[1].problem
    scene.control.tags_by_arn[stranger.arn] = {"tenantId": "t1"}
    assert [one.result for one in scene.run(lines(3))] == [UNCHANGED, CHANGED, UNCHANGED]


def test_a_full_quota_is_met_once() -> None:
    scene = Scene()
    scene.control.quota = 2
    wanted = [*lines(4), Line(9, Wanted("without-profiles"))]
    results = scene.run(wanted)
    assert [one.result for one in results] == [CHANGED, CHANGED, FAILED, NOT_TRIED, CHANGED]
    assert scene.control.asked.count("create") == 3


def test_a_dry_run_finds_what_would_fail() -> None:
    scene = Scene()
    scene.control.add("stranger", HAIKU, name=profile_name("t1", HAIKU))
    assert [one.result for one in scene.run(lines(2), dry_run=True)] == [CHANGED, FAILED]
    assert scene.tenants.definitions == {}


def test_a_result_is_a_document() -> None:
    (result,) = Scene().run(lines(1))
    document = json.loads(json.dumps(result_document(result)))
    assert (document["line"], document["tenant"], document["result"], document["problem"]) == (2, "t0", CHANGED, None)
    assert document["profiles"][0]["how"] == "created"


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(value: str) -> None:
    assert safe_cell(value) == f"'{value}"


def test_csv_of_results_escapes_what_the_file_and_aws_said(capsys: pytest.CaptureFixture[str]) -> None:
    adding._print([Result(2, "acme", FAILED, problem='=HYPERLINK("x","y")')], [], "csv", dry_run=False)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[1] == ["2", "acme", "failed", "", "", '\'=HYPERLINK("x","y")']
    assert [safe_cell(one) for one in (None, 2, "acme")] == ["", "2", "acme"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name one tenant, or a file"),
        (["acme", "--file", "x.csv"], "name one tenant, or a file"),
        (["--file", "x.csv", "--plan", "gold"], "everything about a tenant stands in the file"),
        (["acme", "--tag", "x"], "write KEY=VALUE"),
        (["acme", "--tag", "tenantId=other"], "with a key of its own"),
        (["acme", "--tag-key", "aws:tenant"], "not after aws:"),
    ],
)
def test_arguments_that_cannot_be_are_told_before_anything_is_asked_of_aws(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["tenants", "add", *arguments]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "is_agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_question_on_a_terminal_is_answered_no_by_default(
    answer: str, is_agreed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.local.failures import NotAgreed

    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    with nullcontext() if is_agreed else pytest.raises(NotAgreed, match="nothing was changed"):
        confirm("Really?", yes=False)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Really? [y/N] ")


def test_erasing_and_deleting_ask_and_without_anybody_to_ask_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.local.failures import NotAgreed

    confirm("Really?", yes=True)
    with pytest.raises(NotAgreed, match="say --yes"):
        confirm("Really?", yes=False)
    assert capsys.readouterr().out == ""


def test_a_tenant_that_nothing_denies_or_that_owns_nothing_is_told_with_the_way_out() -> None:
    scene = Scene()
    (bare,) = scene.run([Line(0, Wanted("beta"))])
    metered, unattributed = warnings(bare, "prod")
    assert "beta is metered only" in metered
    assert "bedrock-meter tenants add beta --limit meter=total_tokens,window=1h,max=200k --stack prod" in metered
    assert "no call will be attributed to it" in unattributed
    assert "bedrock-meter tenants add beta --model MODEL --stack prod" in unattributed
    assert (result_document(bare)["can_deny"], result_document(bare)["is_attributed"]) == (False, False)
    shadow = limit("1h", shadow=True)
    (tried,) = scene.run([Line(0, Wanted("tried", (HAIKU,), limits=(shadow,)))])
    assert len(warnings(tried, "prod")) == 1, "a shadow denies nothing"
    (whole,) = scene.run([Line(0, Wanted("whole", (HAIKU,), limits=(limit("1h"),)))])
    assert warnings(whole, "prod") == []
    assert warnings(Result(1, "x", FAILED, problem="no"), "prod") == []
    scene.tenants.plans_by_name["free"] = Plan(
        "free", ({"name": "d", "meter": "requests", "window": "day", "max": 1},), True
    )
    assert len(warnings(scene.run([Line(0, Wanted("planned"))])[0], "prod")) == 1, "its plan denies"


def test_limits_that_go_are_asked_for_and_without_a_terminal_they_stay(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    before = Wanted("acme", (HAIKU,), limits=(limit("1h", name="hour"), limit("day", name="day")))
    scene.run([Line(0, before)])
    fewer = [Line(0, Wanted("acme", limits=(limit("1h", name="hour", maximum=5),)))]
    (looked,) = scene.run(fewer, dry_run=True)
    assert looked.added is not None
    assert [words.partition(",meter")[0] for words in looked.added.lost] == ["name=hour", "name=day"]
    with pytest.raises(NotAgreed, match=r"These limits go, or become others: acme: name=hour.*--yes does it"):
        adding._ask(scene.provisioner(), fewer, Progress())
    assert [one.limit.name for one in scene.gauges.gauges["acme"].layout.limits] == ["hour", "day"]
    # More limits, or the same, take nothing away.
    more = (*(before.limits or ()), limit("7d", name="week"))
    for wanted in (before, replace(before, limits=more), Wanted("acme", name="Acme"), Wanted("new", limits=more)):
        adding._ask(scene.provisioner(), [Line(0, wanted)], Progress())
