"""zae-limiter on the same backend: requests and client CPU of what it calls acquire, adjust, status and a rejection.

Run by ``.venv-peer/bin/python`` with the endpoint as its argument; prints JSON. It holds three limits, as ours does.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

CALLS = 100
ROUNDS = 5
AMOUNTS = {"minute": 1_000, "hour": 1_000, "day": 1_000}
UNUSED = {"minute": -600, "hour": -600, "day": -600}


def main(endpoint: str) -> dict[str, tuple[float, float]]:
    """Return requests and CPU microseconds of each operation."""
    from zae_limiter import Limit, RateLimitExceeded, SyncRateLimiter, SyncRepository

    repository = SyncRepository(name="bench-peer", region="us-east-1", endpoint_url=endpoint)
    repository.create_table()
    repository._register_namespace("default")
    limiter = SyncRateLimiter(repository=repository)
    plenty = 10**12
    limits = [Limit.per_minute("minute", plenty), Limit.per_hour("hour", plenty), Limit.per_day("day", plenty)]
    few = [Limit.per_day("day", 10)]
    requests = 0

    def count(**_: Any) -> None:
        nonlocal requests
        requests += 1

    def reserve() -> None:
        with limiter.acquire("tenant", "bedrock", AMOUNTS, limits=limits):
            pass

    def reserve_and_settle() -> None:
        with limiter.acquire("tenant", "bedrock", AMOUNTS, limits=limits) as lease:
            lease.adjust(**UNUSED)

    def status() -> None:
        limiter.available("tenant", "bedrock", limits=limits)

    def denied() -> None:
        with suppress(RateLimitExceeded), limiter.acquire("full", "bedrock", {"day": 11}, limits=few):
            pass

    repository._get_client().meta.events.register("before-send.dynamodb", count)
    operations: dict[str, Callable[[], None]] = {
        "reserve": reserve,
        "reserve and settle": reserve_and_settle,
        "status": status,
        "denied": denied,
    }
    found = {}
    for name, operation in operations.items():
        for _ in range(5):
            operation()
        requests, spent = 0, []
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(CALLS):
                operation()
            spent.append((time.process_time() - started) / CALLS * 1e6)
        found[name] = (requests / CALLS / ROUNDS, median(spent))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(sys.argv[1])))
