"""The local AWS stack as a child process: started on a free loopback port, stopped with us in every case.

Identities are real in it: it is told to check signatures and policies (``AUTH``), so that each function has only what
its role in the template allows.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedrock_meter.local import guard
from bedrock_meter.local.endpoint import OPERATOR, REGION, Endpoint
from bedrock_meter.local.failures import LocalStackFailed

READY_S = 60
STOP_S = 15
ATTEMPTS = 3
"""A free port can be taken by somebody else before the stack binds it."""

_HEALTH_PATH = "/_ministack/health"
_POLL_S = 0.05
_HOST = "127.0.0.1"


@contextmanager
def serving(python: Path, log: Path, scratch: Path) -> Iterator[tuple[Endpoint, int]]:
    """Serve a fresh local stack for the length of a ``with`` block; yields its endpoint and process id.

    Args:
        python: Of the environment that holds ministack.
        log: Where its output goes; an earlier one is overwritten.
        scratch: Folder for its temporary files, made and removed here.

    Raises:
        LocalStackFailed: It does not start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True)
    try:
        process, endpoint = _start(python, log, scratch)
        try:
            yield endpoint, process.pid
        finally:
            _stop(process)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_healthy(endpoint: Endpoint) -> bool:
    """Whether a local stack answers there."""
    try:
        with urllib.request.urlopen(endpoint.url + _HEALTH_PATH, timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _start(python: Path, log: Path, scratch: Path) -> tuple[subprocess.Popen[bytes], Endpoint]:
    for _ in range(ATTEMPTS):
        port = _free_port()
        endpoint = Endpoint(f"http://{_HOST}:{port}")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [python, guard.__file__],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=_environment(port, scratch),
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            )
        try:
            deadline = time.monotonic() + READY_S
            while process.poll() is None and time.monotonic() < deadline:
                if is_healthy(endpoint):
                    return process, endpoint
                time.sleep(_POLL_S)
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    raise LocalStackFailed(f"the local AWS stack did not start; its last words are in {log}")


def _environment(port: int, scratch: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "BIND_HOST": _HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": REGION,
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": OPERATOR,
        "AWS_SECRET_ACCESS_KEY": OPERATOR,
    }


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started (its functions end with their pipes); waits until it is gone."""
    if process.stdin is not None:
        process.stdin.close()  # the guard sees it and ends the stack
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
