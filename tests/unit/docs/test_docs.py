"""The documents against the code: commands exist and are exercised, links lead somewhere, lists are whole."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer
import yaml

from bedrock_meter.cli import main
from bedrock_meter.cli.main import app
from bedrock_meter.invocations.quarantine import Reason

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "layers" / "bedrock_meter" / "bedrock_meter"
NEEDS_AWS = "# needs AWS"

EXERCISED = {
    "make run": "tests/e2e/test_up.py::test_run_shows_usage_limits_events_and_an_answer_and_ends",
    "make up": "tests/e2e/test_up.py::test_the_printed_curl_line_works",
    "make build": "Makefile::deploy: build",
    "make test": "Makefile::\t$(MAKE) test",
    "make check": ".ci/run::make check",
    "make bench": ".ci/run::make bench",
    ".venv/bin/bedrock-meter replay --output json events/": (
        "tests/e2e/test_replay.py::test_the_sample_events_equal_sums_counted_independently"
    ),
    ".venv/bin/bedrock-meter tenants apply events/tenants.yaml": (
        "tests/e2e/test_up.py::test_tenants_can_be_applied_to_a_served_stack_again_and_again"
    ),
    ".venv/bin/python -m examples.guarded_service": "tests/e2e/test_examples.py::test_a_guarded_service",
}
"""Where CI runs each of the README's commands: a file, and a text in it. `make check` runs all of tests/ and, twice,
`make deploy CONFIG=local`, which builds.
"""


def documents() -> list[Path]:
    """All tracked documents."""
    return [ROOT / name for name in tracked() if name.endswith(".md")]


@cache
def tracked() -> tuple[str, ...]:
    """Names of all files that git knows and that are there."""
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(name for name in listed if (ROOT / name).is_file())


def packages() -> set[str]:
    """Folders of our package that git knows."""
    return {
        found[1] for name in tracked() if (found := re.search(r"/bedrock_meter/bedrock_meter/(\w+)/__init__.py$", name))
    }


def modules(package: str) -> list[Path]:
    """Modules of a folder of our package that git knows."""
    return [ROOT / name for name in tracked() if (ROOT / name).parent == PACKAGE / package and name.endswith(".py")]


def fences(document: Path, language: str) -> Iterator[str]:
    """Contents of a document's fenced blocks in one language."""
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if block[1] == language:
            yield block[2]


def commands(document: Path) -> list[str]:
    """Commands of a document, one a line."""
    return [line.strip() for block in fences(document, "sh") for line in block.splitlines() if line.strip()]


def without_mark(command: str) -> tuple[str, str]:
    """A command and its mark, if it has one."""
    text, _, mark = command.partition("  #")
    return text.strip(), f"#{mark}" if mark else ""


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def parse_arguments(words: list[str]) -> None:
    """Let the command's own parser take its arguments apart; it raises for what it does not know."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("bedrock-meter", list(words), resilient_parsing=False)
    while hasattr(group, "commands"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, list(rest), parent=context)


OURS = ("make ", "bedrock-meter ", ".venv/bin/bedrock-meter ")


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(document: Path) -> None:
    for command in commands(document):
        words = shlex.split(without_mark(command)[0])
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            assert targets, command
            assert set(targets) <= makefile_targets(), command
        elif words[0].endswith("bedrock-meter"):
            parse_arguments(words[1:])


def test_a_wrong_command_would_be_noticed() -> None:
    for words in (["replay", "--no-such-option", "x"], ["tenants", "rename", "x"], ["replay"], ["run", "x"]):
        with pytest.raises(typer.TyperException):
            parse_arguments(words)


def test_every_command_of_the_readme_runs_in_ci_or_says_why_not() -> None:
    found = [without_mark(command) for command in commands(ROOT / "README.md")]
    assert found
    assert {mark for _, mark in found} <= {"", NEEDS_AWS}
    unmarked = {command for command, mark in found if not mark}
    assert unmarked == EXERCISED.keys(), "say which test runs each"
    for command, where in EXERCISED.items():
        file, _, evidence = where.partition("::")
        assert evidence in (ROOT / file).read_text(encoding="utf-8"), f"{command}: {where} is gone"


def test_what_needs_aws_is_marked() -> None:
    for document in documents():
        for command in commands(document):
            text, mark = without_mark(command)
            calls_aws = (
                text.startswith("aws ")
                or text == "make deploy"
                or ("--stack " in text and "--stack local" not in text)
                or "--api https" in text
            )
            assert calls_aws == mark.startswith(NEEDS_AWS), f"{document.name}: {command}"


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", lambda match: match[1] or "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (document.parent / file).resolve() if file else document
        assert place.exists(), f"{document.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{document.name}: {target}"


REGISTRIES = (
    "py" + r"pi\.org",
    "python" + r"hosted\.org",
    "np" + r"mjs\.(?:org|com)",
    "arti" + "factory",
    r"j" + r"frog\.io",
)
MACHINE_PATHS = (
    r"(?<![\w.])/" + r"home/\w",
    r"(?<![\w.])/" + r"root/\w",
    r"(?<![\w./}*-])/" + r"work/\w",
    r"/" + r"tmp/\w",
)
SECRETS = (
    "-----BEGIN [A-Z ]*" + "PRIVATE KEY",
    r"\bAK" + r"IA(?!IOSFODNN7EXAMPLE)[A-Z0-9]{16}\b",
    r"://[^\s/:@]+:[^\s/@]+@",
)


def test_no_file_names_a_registry_a_machine_or_a_secret() -> None:
    forbidden = re.compile("|".join((*REGISTRIES, *MACHINE_PATHS, *SECRETS)), re.IGNORECASE)
    found = []
    for name in tracked():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and not content.startswith(b"\x1f\x8b"):
            for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
                if match := forbidden.search(line):
                    found.append(f"{name}:{number}: {match[0]}")
    assert found == []


def test_documents_promise_nothing_for_later() -> None:
    for document in documents():
        assert not re.search(r"\b(TODO|FIXME|TBD|XXX)\b", document.read_text(encoding="utf-8")), document


def test_output_in_the_readme_is_of_the_present_samples() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    run = next(block for block in fences(ROOT / "README.md", "text") if block.startswith("Usage"))
    for tenant in yaml.safe_load((ROOT / "events" / "tenants.yaml").read_text(encoding="utf-8"))["tenants"]:
        assert re.search(rf"^{re.escape(tenant['id'])} +\d", run, re.MULTILINE), tenant["id"]
    samples = (ROOT / "events" / "README.md").read_text(encoding="utf-8")
    counts = re.search(r"^(\d+) records read = (\d+) recorded \+ (\d+) duplicates \+ (\d+) errors", run, re.MULTILINE)
    assert counts is not None
    assert f"Of {counts[1]} records that are read, {counts[2]} are recorded, {counts[3]} are duplicates" in samples
    assert "throttled until" in text


# --- lists that have to be whole


def template() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Ignores CloudFormation's tags."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader)  # noqa: S506
    return loaded


def first_column(document: Path, heading: str) -> set[str]:
    """Code words in the first column of the tables under a heading."""
    text = document.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    cells = re.findall(r"^\| ([^|]*) \|", section[1], re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_alarm_says_what_to_do() -> None:
    alarms = {name for name, one in template()["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assert first_column(ROOT / "docs" / "operations.md", "Alarms") == alarms
    for document in ("README.md", "docs/verify-on-aws.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        assert {int(number) for number in re.findall(r"(\d+) alarms", text)} == {len(alarms)}, document


def test_every_reason_of_quarantine_is_explained() -> None:
    assert first_column(ROOT / "docs" / "operations.md", "Quarantine") == {reason.value for reason in Reason}


def leaves(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all commands, at any depth, by their names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def test_every_option_of_the_command_is_explained() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    described = dict(leaves(group))
    assert "tenants apply" in described
    for name, command in described.items():
        assert f"bedrock-meter {name}" in reference, name
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        for option in (one for one in options if one != "--help"):
            assert re.search(f"`{option}[ `]", reference), f"{name} {option}"
    for name, values in get_type_hints(main.replay).items():
        for value in get_args(values) if get_origin(values) is Literal else ():
            assert f"`--{name} {value}`" in reference, f"replay --{name} {value}"


def test_decisions_are_short_numbered_and_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text(encoding="utf-8")
        title = text.splitlines()[0]
        assert title.startswith(f"# {record.name[:4]}: ")
        assert f"]({record.name}) | {title[len('# 0000: ') :]} |" in index, record.name
        assert text.count("\n") <= 100, record.name
        for part in ("**Status:**", "## Decision", "## Why", "## Consequences", "## Not taken"):
            assert part in text, f"{record.name}: {part}"


def test_the_map_names_every_folder_and_each_says_what_it_does_not_own() -> None:
    folders = packages()
    listed = set(
        re.findall(r"^\| `(\w+)/` \|", (PACKAGE.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert listed == folders
    for folder in folders:
        about = (PACKAGE / folder / "README.md").read_text(encoding="utf-8")
        assert "does not own" in about, folder
        named = set(re.findall(r"`(\w+)(?:\.py)?`", about))
        there = {module.stem for module in modules(folder)} - {"__init__", "__main__"}
        assert there <= named, f"{folder}: {there - named}"


# --- what the architecture says about imports


def imports_of(module: Path) -> Iterator[str]:
    """Dotted names that a module imports when it runs, wherever in it."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for_types_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for_types_only.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in for_types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_arrow_between_packages_that_the_architecture_does_not_show() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text[text.index("## Arrows") :], re.MULTILINE))
    assert rows.keys() == packages()
    everything = {path.stem for path in PACKAGE.iterdir()} - {"__init__"}
    for package, row in rows.items():
        words = set(re.findall(r"`(\w+)`", row))
        allowed = everything - words if row.startswith("everything but") else words
        for module in modules(package):
            for name in imports_of(module):
                if name.startswith("bedrock_meter."):
                    other = name.split(".")[1]
                    assert other in {*allowed, package}, f"{package}/{module.name} imports {other}"


@pytest.mark.parametrize("concept", ["invocations", "tenants", "pricing", "usage", "limits", "alerts"])
def test_concepts_know_no_aws_library(concept: str) -> None:
    for module in modules(concept):
        for name in imports_of(module):
            assert name.split(".")[0] not in {"boto3", "botocore", "pynamodb"}, module
            in_storage = name.startswith("bedrock_meter.storage")
            assert not in_storage or module.stem in {"wiring", "publisher"}, module


# --- programs in documents are run
