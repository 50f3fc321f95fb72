from collections.abc import Iterator

import pytest

from bedrock_meter.client import TenantGuard
from tests.doubles.quota import MemoryTransport, QuotaServer, QuotaService, service, serving


class Clock:
    """Seconds that go on when told to; milliseconds of the same."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds

    def ms(self) -> int:
        return round(self.seconds * 1_000)

    def go_on(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quota(clock: Clock) -> QuotaService:
    return service(now_ms=clock.ms)


@pytest.fixture
def transport(quota: QuotaService) -> MemoryTransport:
    return MemoryTransport(quota)


@pytest.fixture
def guard(transport: MemoryTransport, clock: Clock) -> Iterator[TenantGuard]:
    with TenantGuard(transport, clock=clock) as made:
        yield made


@pytest.fixture
def server() -> Iterator[QuotaServer]:
    with serving(service()) as api:
        yield api
