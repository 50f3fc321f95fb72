"""What holds for all tests."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

# How long an example takes, or takes to be made, says how busy the machine is. Speed is `make bench`.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "BedrockMeter")
"""Before the first module that counts: Powertools reads it once, and handlers are run by tests of other folders too."""

END_TO_END = "tests/e2e/"


class Spread(LoadScopeScheduling):  # type: ignore[misc]
    """Tests spread over processes one by one; the end-to-end tests stay together and in order, on one stack.

    Groups by mark (``--dist loadgroup``) have no effect: pytest-xdist 3.8 writes a name that pytest 9.2 does not read.
    """

    def _split_scope(self, nodeid: str) -> str:
        return END_TO_END if nodeid.startswith(END_TO_END) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread | None:
    """Schedule ``--dist loadscope``."""
    return Spread(config, log) if config.getvalue("dist") == "loadscope" else None
