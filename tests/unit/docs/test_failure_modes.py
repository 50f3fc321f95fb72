"""The map of failure modes and the argument for exactness name only what exists, and the map is whole."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
MAP = DOCS / "failure-modes.md"
ARGUMENT = DOCS / "exactness.md"
THEOREM = DOCS / "reservations.md"
ROWS = 65
CAPABILITIES = {"reservations", "prices", "reconciliation", "Kinesis mode"}
MUTANTS = ("mutants", "rating_mutants", "boost_mutants")
WRONG_DESIGNS = "tests/faults/test_faults.py::test_a_wrong_design_dies_and_only_by_faults"


def rows() -> list[list[str]]:
    """Cells of the map's rows."""
    lines = MAP.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| *\d", line)]


@cache
def defined_in(file: str) -> frozenset[str]:
    """Names of the tests that a file defines; read, not run."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    functions = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.FunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def is_test(name: str) -> bool:
    file, _, function = name.partition("::")
    return function in defined_in(file)


@cache
def wrong_designs() -> frozenset[str]:
    """Names of the designs that have to die."""
    trees = [ast.parse((ROOT / "tests" / "faults" / f"{name}.py").read_bytes()) for name in MUTANTS]
    nodes = (node for tree in trees for node in ast.walk(tree))
    calls = (node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "Design")
    return frozenset(call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant))  # type: ignore[misc]


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def is_place(target: str) -> bool:
    """Whether a link of a document in docs/ leads to a file, and to a heading if it names one."""
    file, _, anchor = target.partition("#")
    place = DOCS / file
    return place.exists() and (not anchor or anchor in anchors(place))


def is_shown(part: str) -> bool:
    """Whether one part of the last column says what it has to say, about something that exists."""
    if found := re.fullmatch(r"`(tests/[^`]+)`", part):
        return is_test(found[1])
    if found := re.fullmatch(r"dies: `([^`]+)`", part):
        return found[1] in wrong_designs()
    if found := re.fullmatch(r"capability: (.+)", part):
        return found[1] in CAPABILITIES
    if found := re.fullmatch(r"\[[^\]]+\]\((verify-on-aws\.md#[^)]+)\)", part):
        return is_place(found[1])
    return False


def parts(row: list[str]) -> list[str]:
    """Parts of a row's last column."""
    return [part.strip() for part in row[-1].split(";") if part.strip()]


def test_every_failure_mode_is_there_once_and_no_cell_is_empty() -> None:
    assert [int(row[0]) for row in rows()] == list(range(1, ROWS + 1))
    assert [row[0] for row in rows() if len(row) != 5 or not all(row)] == []


def test_every_failure_mode_is_shown_by_something_that_exists() -> None:
    assert [(row[0], part) for row in rows() for part in parts(row) or [""] if not is_shown(part)] == []
    assert is_test(WRONG_DESIGNS), "what `dies:` stands for"


@pytest.mark.parametrize(
    ("document", "least"), [(MAP, 20), (ARGUMENT, 20), (THEOREM, 3)], ids=lambda value: getattr(value, "name", None)
)
def test_every_test_and_place_that_the_documents_name_exists(document: Path, least: int) -> None:
    text = document.read_text(encoding="utf-8")
    tests = re.findall(r"tests/[\w/]+\.py::\w+", text)
    assert len(tests) > least
    assert [name for name in tests if not is_test(name)] == []
    links = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in links if not is_place(target)] == []


def test_the_argument_is_two_pages_at_most() -> None:
    assert len(ARGUMENT.read_text(encoding="utf-8").split()) < 1300


@pytest.mark.parametrize(
    "part",
    [
        "",
        "`tests/faults/test_faults.py::test_that_was_renamed`",
        "`tests/faults/no_such_file.py::test_schedules_are_exact`",
        "`tests/faults/test_faults.py`",
        "dies: `a design that nobody wrote`",
        "capability: teleportation",
        "[verify-on-aws.md](verify-on-aws.md#no-such-section)",
        "open: nothing shows this today, and that is no answer",
        "some words",
    ],
)
def test_what_shows_nothing_would_be_noticed(part: str) -> None:
    assert not is_shown(part)
