"""A local stack to work with: a fresh one for one command, or the one that `make up` keeps serving.

The one that is served is known by ``.local/stack.json``; a file whose process is gone is as good as none.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bedrock_meter.local.deployment import Deployment, deploy
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.failures import LocalStackFailed, Unaccounted
from bedrock_meter.local.packaging import build_layers
from bedrock_meter.local.project import Project
from bedrock_meter.local.routes import ApiAccess, open_api
from bedrock_meter.local.sending import ensure_stream
from bedrock_meter.local.server import is_healthy, serving

Tell = Callable[[str], None]
"""Says what happens now, for a person who waits."""

SERVER_LOG = "ministack.log"
FUNCTION_LOGS = "functions.log"
"""Names in the project's ``.local``: what the local stack said last, and what the functions logged before a failure."""


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A deployed local stack.

    Attributes:
        deployment: Endpoint and outputs.
        api: How to call its quota API.
        is_served: Whether another process serves it, so that it may hold usage already.
    """

    deployment: Deployment
    api: ApiAccess
    is_served: bool

    @property
    def endpoint(self) -> Endpoint:
        """Where it lives."""
        return self.deployment.endpoint

    @property
    def outputs(self) -> Mapping[str, str]:
        """Outputs of the template."""
        return self.deployment.outputs


@contextmanager
def launched(project: Project, tell: Tell, *, announce: bool = False) -> Iterator[LocalStack]:
    """Start a fresh local stack with the real template for the length of a ``with`` block.

    Args:
        project: The checkout to deploy.
        tell: Told of each step.
        announce: Whether other commands may find and use it.

    Raises:
        LocalStackFailed: It does not start or refuses the template.
        ConfigurationError: The local stack is not installed.
    """
    python = project.stack_python()
    if announce and served_stack(project) is not None:
        raise LocalStackFailed("a local stack is being served already: one is enough, or stop it first")
    _prepare(project.state)
    tell("building the layers for this machine")
    build_layers(project, python)
    tell("starting the local AWS stack")
    log = project.state / f"ministack-{os.getpid()}.log"
    try:
        with serving(python, log, project.state / f"scratch-{os.getpid()}") as (endpoint, process_id):
            tell("deploying template.yaml")
            deployment = deploy(endpoint, project)
            stack = LocalStack(deployment, open_api(deployment), is_served=False)
            ensure_stream(endpoint.client("logs"), deployment.outputs["InvocationLogGroup"])
            if announce:
                _write(project.state, stack, process_id)
            try:
                yield stack
            except Unaccounted as failure:
                file = project.state / FUNCTION_LOGS
                keep_function_logs(stack, file)
                raise Unaccounted([*failure.problems, f"what the functions logged is in {file}"]) from failure
            finally:
                if announce:
                    _state_file(project.state).unlink(missing_ok=True)
    finally:
        if log.exists():
            log.replace(project.state / SERVER_LOG)


def keep_function_logs(stack: LocalStack, file: Path) -> None:
    """Write what the functions logged to a file: the stack's memory ends with it."""
    logs = stack.endpoint.client("logs")
    with file.open("w", encoding="utf-8") as output:
        for group in logs.describe_log_groups()["logGroups"]:
            name = group["logGroupName"]
            if name != stack.outputs["InvocationLogGroup"]:
                output.write(f"==> {name}\n")
                for event in logs.filter_log_events(logGroupName=name)["events"]:
                    output.write(event["message"].rstrip() + "\n")


def served_stack(project: Project) -> LocalStack | None:
    """Return the stack that another process serves, None if there is none."""
    try:
        document = json.loads(_state_file(project.state).read_text(encoding="utf-8"))
        stack = LocalStack(
            Deployment(Endpoint(document["endpoint"]), document["stack_name"], document["outputs"]),
            ApiAccess(**document["api"]),
            is_served=True,
        )
        os.kill(document["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stack if is_healthy(stack.endpoint) else None


@contextmanager
def replaying(project: Project) -> Iterator[None]:
    """Keep other replays away from the served stack: two at once could not tell their sums apart.

    Raises:
        LocalStackFailed: Another one is at work.
    """
    with (project.state / "replay.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise LocalStackFailed("another replay is using the served stack: wait until it has ended") from problem
        yield


def _state_file(state: Path) -> Path:
    return state / "stack.json"


def _prepare(state: Path) -> None:
    """Make the folder, keep git out of it, and remove what killed processes left behind."""
    state.mkdir(exist_ok=True)
    (state / ".gitignore").write_text("*\n", encoding="utf-8")
    (state / FUNCTION_LOGS).unlink(missing_ok=True)
    for leftover in (*state.glob("scratch-*"), *state.glob("ministack-*.log")):
        if not _is_alive(leftover.stem.partition("-")[2]):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _is_alive(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _write(state: Path, stack: LocalStack, process_id: int) -> None:
    document: dict[str, Any] = {
        "pid": process_id,
        "endpoint": stack.endpoint.url,
        "stack_name": stack.deployment.name,
        "outputs": dict(stack.outputs),
        "api": asdict(stack.api),
    }
    file = _state_file(state)
    file.touch(mode=0o600)
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
