"""One tenant asks at twenty times its share; what becomes of the others' decisions, and of their strict limits."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest

from bedrock_meter.client import Amounts, HttpTransport, QuotaBusy, TenantGuard, TenantThrottled
from tests.doubles.gateway import Gateway, Simulation
from tests.doubles.quota import MODEL

RATE, BURST = 200.0, 400.0
"""A tenth of the stage's defaults, 2,000 a second and 4,000 at once: the same proportions in a tenth of the time."""

TENANTS = [f"tenant-{number}" for number in range(10)]
FLOODING, *OTHERS = TENANTS
SHARE = RATE / len(TENANTS)
SECONDS = 120.0


@dataclass
class Run:
    """What became of the calls, by tenant; and what the gateway saw.

    Attributes:
        ended: (tenant, how) of each call: ``admitted``, ``denied``, ``busy``, or ``unheld`` without a decision.
    """

    gateway: Gateway
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)

    def of(self, tenant: str, *hows: str) -> int:
        return sum(self.ended[tenant, how] for how in hows)

    def kept(self, tenant: str) -> float:
        """The part of a tenant's calls that got a decision of the API."""
        return self.of(tenant, "admitted", "denied") / self.of(tenant, "admitted", "denied", "busy", "unheld")

    @property
    def first_tries(self) -> int:
        return len(self.gateway.keys)

    @property
    def retries(self) -> int:
        return sum(self.gateway.keys.values()) - self.first_tries


def run(*, one_process: bool, shrinks: bool, others: float, seed: int) -> Run:
    """Let all ask: nine at ``others`` times their share of the gateway, one at twenty times it.

    With ``shrinks`` a call that was admitted is a second request, so that the nine make half as many calls. Each
    tenant's strict limit has room for half of the calls that the nine make.
    """
    simulation = Simulation(seed)
    calls = SHARE / 2 if shrinks else SHARE
    most = dict.fromkeys(TENANTS, round(calls * others * SECONDS / 2))
    gateway = Gateway(simulation, rate=RATE, burst=BURST, most=most)
    made = Run(gateway)

    def guard() -> TenantGuard:
        transport = HttpTransport(
            "http://127.0.0.1:9",
            bearer=lambda: "token",
            clock=simulation.clock,
            sleep=simulation.sleep,
            jitter=simulation.random.uniform,
            session=lambda: gateway,
        )
        return TenantGuard(transport, clock=simulation.clock)

    shared = guard()
    guards = {tenant: shared if one_process else guard() for tenant in TENANTS}

    def arrive(tenant: str, rate: float) -> None:
        following = simulation.now + simulation.random.expovariate(rate)
        if following < SECONDS:
            simulation.at(following, lambda: arrive(tenant, rate))
        try:
            admitted = guards[tenant].admit(tenant, model=MODEL, estimate=Amounts(1))
            made.ended[tenant, "unheld" if admitted.degraded else "admitted"] += 1
            if shrinks:
                admitted.used(Amounts(1))
        except TenantThrottled:
            made.ended[tenant, "denied"] += 1
        except QuotaBusy:
            made.ended[tenant, "busy"] += 1

    for tenant in TENANTS:
        rate = 20 * SHARE if tenant == FLOODING else calls * others
        simulation.at(simulation.random.uniform(0, 1 / rate), partial(arrive, tenant, rate))
    simulation.run()
    return made


@pytest.mark.parametrize("shrinks", [False, True], ids=["asked", "asked and shrunk"])
@pytest.mark.parametrize("one_process", [False, True], ids=["a process each", "one process"])
def test_a_flood_costs_the_others_no_decisions_and_no_tenant_its_strict_limit(one_process: bool, shrinks: bool) -> None:
    found = run(one_process=one_process, shrinks=shrinks, others=0.95, seed=1)
    assert min(found.kept(tenant) for tenant in OTHERS) >= 0.95
    for tenant in TENANTS:
        assert found.of(tenant, "unheld") == 0
        assert found.of(tenant, "admitted") == found.gateway.held[tenant] == found.gateway.most[tenant]
    assert found.retries <= 0.1 * found.first_tries
    assert found.gateway.requests["refused"] > 0
    assert found.kept(FLOODING) < 0.2, "it is slowed to what is left"
