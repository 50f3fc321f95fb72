"""A stack for each test, that only the double answers."""

import os

import pytest

from tests.findings.world import Findings


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Findings:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return Findings(monkeypatch)
