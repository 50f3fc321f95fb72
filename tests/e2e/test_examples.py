"""The examples as a user runs them, against the stack that `make up` serves."""

import re
import subprocess
import sys
import time

from bedrock_meter.local.project import Project
from tests.e2e.conftest import Command, Up


def run(example: str, served: Command, project: Project) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{example}"],
        cwd=project.root,
        env=served.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_service_that_keeps_a_throttle_list(up: Up, served: Command, project: Project) -> None:
    said = run("throttle_list", served, project).splitlines()
    assert [line[:2] for line in said] == ["1.", "2.", "3."]
    assert said[0].endswith("on the list: False")
    assert re.search(r"limit hourly-calls, until \d{4}-", said[1])


def test_a_guarded_service(up: Up, served: Command, project: Project) -> None:
    began_s = time.time()
    said = run("guarded_service", served, project)
    ended_s = time.time()
    assert "1. admitted" in said
    assert "2. its log record settled it" in said
    denied = re.search(r"3\. call \d+ is denied before Bedrock sees it: .* try again in (\d+) s", said)
    assert denied
    # The first call fits again when its five minutes have left the hour as a whole.
    free_s = {(int(called_s) // 300 + 1) * 300 + 3_600 for called_s in (began_s, ended_s)}
    assert any(one - ended_s - 1 <= int(denied[1]) <= one - began_s + 1 for one in free_s)


def test_without_a_stack_an_example_says_what_to_do(fresh: Command, project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.throttle_list"],
        cwd=project.root,
        env=fresh.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "make up" in done.stderr
