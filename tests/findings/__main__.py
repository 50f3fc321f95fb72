"""Each test of this folder at a former commit and here: it has to fail there and to pass here.

``python -m tests.findings [COMMIT]`` makes a worktree of the commit for a moment, copies this folder into it, runs the
tests in both trees with this interpreter, and prints both columns. Exit code 0 only if every test failed there, by what
it asserts, and passed here.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("tests") / "findings"
AUDITED = "85c3969"
WIDTH = 80
_COLUMN = 9
_NAME = WIDTH - 2 * _COLUMN


@dataclass(frozen=True)
class Outcome:
    """What became of a test: ``passes``, ``fails`` (by what it asserts), ``error`` or ``skipped``; why, in a line."""

    word: str
    why: str = ""


MISSING = Outcome("missing")


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A tree of a commit with this folder in it; nothing of it is left behind, also when the run is interrupted."""
    with TemporaryDirectory(prefix="findings-") as made:
        tree = Path(made) / "tree"
        try:
            added = _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
            if added.returncode != 0:
                raise SystemExit(f"there is no worktree of {commit}: {added.stderr.strip()}")
            shutil.rmtree(tree / FOLDER, ignore_errors=True)
            shutil.copytree(ROOT / FOLDER, tree / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))
            _git("worktree", "prune")


def run(tree: Path) -> dict[str, Outcome]:
    """Run the tests in a tree, with the package of that tree and no other."""
    package = tree / "layers" / "bedrock_meter"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree), str(package)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    where = [sys.executable, "-c", "import bedrock_meter; print(bedrock_meter.__file__)"]
    found = subprocess.run(where, cwd=tree, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_relative_to(package):
        raise SystemExit(f"{found} would be tested, and not the package of {tree}")
    with TemporaryDirectory() as made:
        report = Path(made) / "report.xml"
        command = [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            raise SystemExit(f"the tests did not run in {tree}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return outcomes(report.read_text(encoding="utf-8"))


def outcomes(report: str) -> dict[str, Outcome]:
    """Read a report of pytest (JUnit's XML): by module and name."""
    found = {}
    for case in ElementTree.fromstring(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        module = case.get("classname", "").rpartition(".")[2]
        found[f"{module}: {case.get('name')}"] = _outcome(case)
    return found


def _outcome(case: ElementTree.Element) -> Outcome:
    for tag in ("error", "failure", "skipped"):
        problem = case.find(tag)
        if problem is not None:
            why = problem.get("message", "").partition("\n")[0]
            # Only what a test states may fail it: another exception says nothing about the finding.
            is_stated = tag == "failure" and re.match(r"AssertionError|assert ", why)
            return Outcome("fails" if is_stated else "skipped" if tag == "skipped" else "error", why)
    return Outcome("passes")


def table(there: Mapping[str, Outcome], here: Mapping[str, Outcome], commit: str) -> list[str]:
    """Return both columns, and below what failed there and how."""
    lines = [f"{'':{_NAME}}{commit[:7]:>{_COLUMN}}{'here':>{_COLUMN}}"]
    for name in sorted({**there, **here}):
        before, now = there.get(name, MISSING), here.get(name, MISSING)
        words = name.removeprefix("test_").replace(": test_", ": ").replace("_", " ")
        *first, last = textwrap.wrap(words, _NAME - 2, subsequent_indent="  ")
        lines += [*first, f"{last:{_NAME}}{before.word:>{_COLUMN}}{now.word:>{_COLUMN}}"]
        for label, one in ((commit[:7], before), ("here", now)):
            if one.why:
                said = f"{label}: {one.why.removeprefix('AssertionError: ')}"
                lines.append("    " + textwrap.shorten(said, WIDTH - 4, placeholder=" ..."))
    return lines


def is_shown(there: Mapping[str, Outcome], here: Mapping[str, Outcome]) -> bool:
    """Whether there are tests, and each of them fails there and passes here."""
    every = {**there, **here}
    return bool(every) and all(
        (there.get(name, MISSING).word, here.get(name, MISSING).word) == ("fails", "passes") for name in every
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)


def main(arguments: list[str]) -> int:
    """Compare; see the module."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print("usage: python -m tests.findings [COMMIT]")
        return 2
    commit = arguments[0] if arguments else AUDITED
    with worktree(commit) as tree:
        there = run(tree)
    here = run(ROOT)
    print("\n".join(table(there, here, commit)))
    shown = is_shown(there, here)
    print(f"\n{len({**there, **here})} tests: ", end="")
    print(f"each fails at {commit[:7]} and passes here" if shown else "NOT each of them fails there and passes here")
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
