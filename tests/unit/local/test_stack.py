"""How a command finds the stack that another one serves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.local.failures import LocalStackFailed
from bedrock_meter.local.project import STACK_PYTHON_VARIABLE, STATE_VARIABLE, Project, find_project
from bedrock_meter.local.stack import replaying, served_stack


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listening() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / ".local").mkdir()
    return Project(tmp_path)


def write(project: Project, **changes: object) -> None:
    document = {
        "pid": os.getpid(),
        "endpoint": "http://127.0.0.1:1",
        "stack_name": "s",
        "outputs": {"QuotasTable": "q"},
        "api": {"url": "u", "access_key": "a", "secret_key": "s"},
    }
    (project.state / "stack.json").write_text(json.dumps(document | changes))


def test_a_stack_that_answers_is_used(project: Project, listening: str) -> None:
    write(project, endpoint=listening)
    stack = served_stack(project)
    assert stack is not None
    assert (stack.endpoint.url, stack.outputs, stack.api.url, stack.is_served) == (
        listening,
        {"QuotasTable": "q"},
        "u",
        True,
    )


def test_a_dead_process_is_as_good_as_none(project: Project, listening: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(project, endpoint=listening, pid=ended.pid)
    assert served_stack(project) is None


def test_a_process_that_does_not_answer_is_as_good_as_none(project: Project) -> None:
    write(project)
    assert served_stack(project) is None


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_no_file_or_a_damaged_one_is_none(project: Project, content: str | None) -> None:
    if content is not None:
        (project.state / "stack.json").write_text(content)
    assert served_stack(project) is None


def test_one_replay_at_a_time(project: Project) -> None:
    with replaying(project), pytest.raises(LocalStackFailed, match="another replay"), replaying(project):
        pass
    with replaying(project):
        pass


def test_the_environment_can_say_where_things_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    project = find_project()
    assert project.state == project.root / ".local"
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    assert project.state == tmp_path
    monkeypatch.setenv(STACK_PYTHON_VARIABLE, sys.executable)
    assert project.stack_python() == Path(sys.executable)
    monkeypatch.setenv(STACK_PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match="make run"):
        project.stack_python()
