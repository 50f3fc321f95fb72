"""One stack for the whole session: `bedrock-meter up`, started as a user starts it, from the real template."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.local.project import STATE_VARIABLE, Project, find_project

STOP_S = 120


@dataclass(frozen=True)
class Command:
    """Runs ``bedrock-meter`` in processes of its own."""

    environment: dict[str, str]

    def start(self, *arguments: str | Path, stdout: TextIO, stderr: TextIO) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "bedrock_meter.cli", *map(str, arguments)]
        return subprocess.Popen(words, env=self.environment, text=True, stdout=stdout, stderr=stderr)

    def __call__(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "bedrock_meter.cli", *map(str, arguments)]
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)

    def replay(self, *arguments: str | Path) -> dict[str, Any]:
        """Replay and return the document; the command must have accounted for everything."""
        done = self("replay", "--output", "json", *arguments)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@dataclass(frozen=True)
class Up:
    """What ``bedrock-meter up`` serves.

    Attributes:
        process: The command.
        output: What it printed until it served.
        state: What it told other commands.
    """

    process: subprocess.Popen[str]
    output: str
    state: dict[str, Any]

    @property
    def curl(self) -> str:
        """The line that it printed for a shell."""
        found = re.search(r"^ +(curl .*)$", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]


def command_with(state: Path) -> Command:
    """Return the command with a state folder of its own, so that it meets no stack that somebody serves."""
    return Command({**os.environ, STATE_VARIABLE: str(state)})


@pytest.fixture(scope="session")
def project() -> Project:
    found = find_project()
    try:
        found.stack_python()
    except ConfigurationError as gap:
        pytest.fail(f"{gap}. `make test` installs it too.")
    return found


@pytest.fixture(scope="session")
def fresh(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command where nothing is served: each replay has a stack of its own."""
    return command_with(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, up: Up) -> Command:
    """The command where ``up`` serves."""
    return command_with(Path(up.state["folder"]))


@pytest.fixture(scope="session")
def up(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    command = command_with(folder)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = command.start("up", stdout=out, stderr=err)
    try:
        wait_until_serving(process, folder)
        output = (folder / "out").read_text()
        state = {**json.loads((folder / "stack.json").read_text()), "folder": str(folder)}
        yield Up(process, output, state)
        assert process.poll() is None, "it stopped serving"
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0, (folder / "err").read_text()
        assert not (folder / "stack.json").exists()
        assert not list(folder.glob("scratch-*"))
        assert not Path(f"/proc/{state['pid']}").exists(), "the local stack is still running"
    finally:
        if process.poll() is None:
            process.kill()


def wait_until_serving(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for the last line that ``up`` prints."""
    while "Ctrl-C" not in (folder / "out").read_text():
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"`bedrock-meter up` ended with {process.returncode}: {(folder / 'err').read_text()}")
