"""Clients that only the double answers, and the local stack for the double's contract."""

import os
from collections.abc import Iterator

import pytest

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.project import find_project
from bedrock_meter.local.server import serving
from tests.faults.subject import Subject, make_double
from tests.faults.wire import SETTINGS


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("stack")
    with serving(find_project().stack_python(), folder / "stack.log", folder / "scratch") as (endpoint, _):
        yield endpoint


@pytest.fixture(params=["double", "local stack"])
def table(request: pytest.FixtureRequest) -> Subject:
    if request.param == "double":
        return make_double()
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    return Subject(endpoint.client("dynamodb"))


@pytest.fixture
def double() -> Subject:
    return make_double()
