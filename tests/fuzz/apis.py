"""The APIs that are fuzzed, over doubles with a few tenants in them."""

from collections.abc import Callable

from bedrock_meter.api.reservations import Wanted
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.tenants.plans import parse_plan
from bedrock_meter.usage.rollup import RollupKey
from tests.doubles.holding import MemoryReservations
from tests.doubles.http import World, gauge
from tests.doubles.records import NOW_MS, limit, sums
from tests.fuzz.gateway import Gateway
from tests.unit.api.test_admin import NEW, TENANTS, Office

QUARTER = NOW_MS - NOW_MS % 900_000


def quota() -> Gateway:
    """The quota API: one tenant with room, one without, one suspended."""
    held = MemoryReservations({"acme": 10**18, "globex": 0, "initech": 0}, {"initech"})
    used = sums(requests=2, input=5, cost=75, unpriced=1)
    rows = [(RollupKey("acme", QUARTER - ago * 900_000, "p1", "=m1"), used) for ago in range(0, 900, 7)]
    money = limit("day", 10**9, meter=Meter.COST_USD, scope=Scope(models=("m*",)))
    world = World(
        {name: gauge(name, limit("1h", 100), limit("month", 10**6), money, used=500) for name in held.room},
        dict.fromkeys(held.room, "Europe/Berlin"),
        {"acme": rows},
        reservations=held,
    )
    for key in ("first", "second"):
        held.reserve("acme", Wanted(key, {"input_tokens": 5}, 300_000), NOW_MS)
    return Gateway(world.api)


def admin() -> Gateway:
    """The admin API: a plan, and two tenants, one of them with a history."""
    office = Office()
    office.tenants.put_plan(parse_plan({"name": "gold"}), NOW_MS)
    for tenant in ("acme", "globex"):
        office.put({"limits": [{"meter": "requests", "window": "day", "max": 5}]}, NEW, f"{TENANTS}/{tenant}")
        office.put({"plan": "gold"}, {"if-match": "*"}, f"{TENANTS}/{tenant}")
    return Gateway(office.api)


APIS: dict[str, tuple[Callable[[], Gateway], str, dict[str, list[str]]]] = {
    "quota": (
        quota,
        "/v1/openapi.json",
        {"tenant": ["acme", "acme", "acme", "globex", "initech"], "reservation": ["r1", "r2"]},
    ),
    "admin": (admin, "/v1/admin/openapi.json", {"tenant": ["acme", "globex"], "name": ["gold"], "If-Match": ["*"]}),
}
"""Name -> (makes the API, path of its document, values that exist)."""
