"""What the guard costs a call, in CPU, as a ratio to what botocore does for the call anyway.

Everything is below the network: Bedrock is a double in this process, and so is whoever keeps the quotas. All cases take
turns in every round, and medians are compared. Targets: a check from a lease takes under 20 µs, and less than a
twentieth of building and signing one request; a remembered denial is cheaper than a request, and sends none.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bedrock_meter.client import Amounts, TenantGuard, TenantThrottled, estimate
from tests.doubles.bedrock import CONVERSED, Bedrock, client, ok
from tests.doubles.quota import MODEL, MemoryTransport, service

ROUNDS = 15
CALLS = 60
CHECKS = 2_000
LEASED_US = 20.0
LEASED_RATIO = 1 / 20

CALL: dict[str, Any] = {
    "modelId": MODEL,
    "messages": [{"role": "user", "content": [{"text": "Summarise the order history in three points. " * 20}]}],
    "system": [{"text": "You answer in short sentences."}],
    "inferenceConfig": {"maxTokens": 512},
}


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep the garbage collector out of one measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def microseconds(work: Callable[[], object], times: int) -> float:
    """CPU time of one call of ``work``."""
    with no_collector():
        began = time.process_time_ns()
        for _ in range(times):
            work()
        return (time.process_time_ns() - began) / times / 1_000


def cases() -> tuple[dict[str, tuple[Callable[[], object], int]], MemoryTransport]:
    """Name -> what to measure and how often; and the transport that all guards share."""
    quota = service(10**12)
    quota.maximum["throttled"] = 0
    transport = MemoryTransport(quota)
    guard = TenantGuard(transport, denial_seconds=3_600)
    lease = guard.lease("acme", model=MODEL, requests=10**9, input_tokens=10**9, output_tokens=10**9, seconds=3_400)
    amounts = estimate("Converse", CALL)

    def leased() -> None:
        admitted = lease.admit(amounts)
        assert admitted is not None
        admitted.used(Amounts(1, 30, 12))

    def denied() -> None:
        with suppress(TenantThrottled):
            guard.admit("throttled", model=MODEL, estimate=amounts)

    denied()
    plain = client(Bedrock(ok(CONVERSED)))
    with_lease = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    reserving = TenantGuard(transport).wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    return {
        "converse, not guarded": (lambda: plain.converse(**CALL), CALLS),
        "converse, leased": (lambda: with_lease.converse(**CALL), CALLS),
        "converse, reserved": (lambda: reserving.converse(**CALL), CALLS),
        "leased check and its end": (leased, CHECKS),
        "remembered denial": (denied, CHECKS),
        "estimate of 0.9 KB": (lambda: estimate("Converse", CALL), CHECKS),
    }, transport


def main() -> int:
    """Print the table; return 0 if the targets are reached, else 1."""
    measured, transport = cases()
    times: dict[str, list[float]] = {name: [] for name in measured}
    for work, _ in measured.values():
        work()
    for _ in range(ROUNDS):
        for name, (work, often) in measured.items():
            if name == "remembered denial":
                before = transport.attempts
                times[name].append(microseconds(work, often))
                assert transport.attempts == before, "a remembered denial asked somebody"
            else:
                times[name].append(microseconds(work, often))
            transport.quota.held.clear()
            transport.quota.asked.clear()
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["converse, not guarded"]
    print(f"The guard: CPU against one converse call of botocore without network ({base:.0f} µs here), {ROUNDS} rounds")
    print(f"{'case':<28}{'ratio':>8}{'µs':>9}{'requests':>10}")
    requests = {"converse, reserved": "2"}
    for name, median in medians.items():
        print(f"{name:<28}{median / base:>8.3f}{median:>9.1f}{requests.get(name, '0'):>10}")
    checked = medians["leased check and its end"]
    reached = checked < LEASED_US and checked / base < LEASED_RATIO and medians["remembered denial"] < base
    print(f"to reach: a leased check under {LEASED_US:.0f} µs and a ratio under {LEASED_RATIO:.2f}")
    return 0 if reached else 1
