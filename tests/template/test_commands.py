"""The Makefile's promises: what each command installs, and what a machine is told that lacks something."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from requirements import environment

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("venv", "run", "up", "test", "check", "bench", "fuzz", "openapi", "requirements", "build", "deploy")


def planned(target: str) -> str:
    """What `make` would do on a fresh clone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_target_is_one_to_three_lines_and_says_what_it_is_for(target: str) -> None:
    source = (ROOT / "Makefile").read_text(encoding="utf-8")
    match = re.search(rf"^{target}:.*## \S.*\n((?:\t.*\n)*)", source, re.MULTILINE)
    assert match is not None
    assert len(match[1].splitlines()) <= 3


@pytest.mark.parametrize("target", ["run", "up"])
def test_trying_it_installs_neither_tests_nor_sam(target: str) -> None:
    plan = planned(target)
    assert re.findall(r"requirements/[\w-]+\.txt", plan) == ["requirements/run.txt", "requirements/local-stack.txt"]
    assert f".venv/bin/bedrock-meter {target}" in plan


def test_tests_do_not_install_sam() -> None:
    assert "requirements/sam.txt" not in planned("test")
    assert "requirements/sam.txt" in planned("build")


def test_check_is_everything() -> None:
    plan = planned("check")
    for part in ("ruff format --check", "ruff check", "mypy", "cfn-lint template.yaml", "sam validate --lint"):
        assert part in plan, part
    assert "tests.template.deploy_locally" in plan
    assert "-m pytest" in plan


def test_missing_venv_is_answered_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_ensurepip(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return None if name == "ensurepip" else find(name, package)

    assert environment.missing() == ""
    monkeypatch.setattr(importlib.util, "find_spec", without_ensurepip)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert environment.missing() == "sudo apt-get install --yes python3-venv"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert environment.missing() == "apt-get install --yes python3-venv"


def test_old_python_is_answered_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    line = environment.missing()
    assert line.startswith("Python 3.11 or newer is needed")
    assert "\n" not in line


def test_nothing_is_made_when_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "missing", lambda: "install this")
    monkeypatch.setattr(sys, "argv", ["environment.py", str(tmp_path / "venv"), "requirements/run.txt"])
    assert environment.main() == 1
    assert capsys.readouterr().err == "install this\n"
    assert not (tmp_path / "venv").exists()
