"""The APIs that are fuzzed, over doubles with a few tenants in them."""

from collections.abc import Callable

from bedrock_meter.api.report_budget import ReportBudget
from bedrock_meter.clock import iso
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import reservation_id
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.suspension import Suspension
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.plans import parse_plan
from bedrock_meter.tenants.tenant import BoostGrant, ProfileReference
from bedrock_meter.usage.rollup import RollupKey
from tests.doubles.desk import Desk, MemoryDirectory
from tests.doubles.http import gauge
from tests.doubles.office import NEW, TENANTS, Office
from tests.doubles.records import NOW_MS, limit, profile_arn, sums
from tests.fuzz.gateway import Gateway

HELD = [reservation_id("acme", key) for key in ("first", "second")]
QUARTER = NOW_MS - NOW_MS % 900_000


LLAMA, CLAUDE = "meta.llama3-8b-instruct-v1:0", "anthropic.claude-sonnet-4-6"
FOREIGN = "theirs"
MINE = (
    ProfileReference("p1", "p1", LLAMA, "in-region"),
    ProfileReference("p2", profile_arn("p2"), CLAUDE, "geo", geography="eu"),
    ProfileReference("p3", profile_arn("p3"), CLAUDE, "global"),
)


def quota() -> Gateway:
    """The quota API: one tenant with room, one with hard limits, one suspended and over its limits."""
    most = 10**18 - 1
    money = limit("day", 10**9, meter=Meter.COST_USD, scope=Scope(models=("m*",)))
    directory = MemoryDirectory({"acme": MINE}, {FOREIGN: (MappingPeriod("globex", 0),)})
    desk = Desk(tenants=(), directory=directory, budget=ReportBudget(at_once=10**9))
    gauges = desk.tables.gauges
    gauges["acme"] = gauge("acme", limit("1h", most), limit("month", most), money, used=500)
    dollars = limit("month", most, meter=Meter.COST_USD, hard=True)
    gauges["globex"] = gauge("globex", limit("1h", 10**6, hard=True), dollars, used=500)
    gauges["initech"] = gauge("initech", limit("1h", 100), limit("month", 10**6), money, used=500)
    desk.tables.change_gauge("initech", suspension=Suspension(1, "unpaid", NOW_MS, "arn:aws:iam::123456789012:user/a"))
    used = sums(requests=2, input=5, cost=75, unpriced=1)
    rows = [(RollupKey("acme", QUARTER - ago * 900_000, "p1", "=m1"), used) for ago in range(0, 900, 7)]
    desk.world.timezones.update(dict.fromkeys(gauges, "Europe/Berlin"))
    desk.world.rows["acme"] = rows
    for key in ("first", "second"):
        assert desk.reserve({"input_tokens": 5}, key).status == 201
    return Gateway(desk.world)


def admin() -> Gateway:
    """The admin API: two plans, one of them used, and tenants, one of them with a history and boosts."""
    office = Office()
    office.tenants.put_plan(parse_plan({"name": "gold", "default": True, "limits": [LIMITED]}), NOW_MS)
    office.tenants.put_plan(parse_plan({"name": "spare"}), NOW_MS)
    for tenant in ("acme", "globex"):
        office.put({"limits": [{"meter": "requests", "window": "day", "max": 5}]}, NEW, f"{TENANTS}/{tenant}")
        office.put({"plan": "gold"}, {"if-match": "*"}, f"{TENANTS}/{tenant}")
    # Nobody knows of this one, so that somebody has the plan to the end.
    office.put({"plan": "gold"}, NEW, f"{TENANTS}/initech")
    for amount in (1, 2):
        office.ask(f"{TENANTS}/acme/boosts", "POST", body={**BOOST, "amount": amount})
    office.ledger.entries.update({f"k{number}": ("leaving", "arn") for number in range(9)})
    office.clock_step_ms = 2 * HANDOVER_MS  # whoever is removed may be erased by the next request
    office.put({"profiles": ["p1"]}, NEW, f"{TENANTS}/leaving")
    office.ask(f"{TENANTS}/leaving", "DELETE")
    return Gateway(office.api)


LIMITED = {"name": "hour", "meter": "requests", "window": "1h", "max": 5}
"""Of the default plan, so that whatever a request makes of a tenant, it has a limit to boost."""

BOOST = {"limit": "hour", "from": iso(NOW_MS), "to": "2030-01-01T00:00:00.000Z", "reason": "launch week"}
BOOSTS = [
    BoostGrant("hour", Boost(NOW_MS, 1_893_456_000_000, amount), "", "", Meter.REQUESTS).id_of("acme")
    for amount in (1, 2)
]

ADMIN_VALUES = {
    "tenant": ["acme", "acme", "globex", "leaving"],
    "name": ["gold", "gold", "spare"],
    "boost": BOOSTS,
    "If-Match": ["*"],
    "body.limit": ["hour"],
    "body.to": ["2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"],
    "body.from": [iso(NOW_MS), "2027-01-01T00:00:00Z"],
    "body.amount": ["7", "9"],
    "body.factor": ["1.5", "2"],
    "body.reason": ["launch week"],
}

QUOTA_VALUES = {
    "tenant": ["acme", "acme", "acme", "globex", "initech"],
    "reservation": HELD,
    "body.model": [CLAUDE, f"eu.{CLAUDE}", f"us.{CLAUDE}", LLAMA, "p2", FOREIGN],
    "body.profile": ["p2", profile_arn("p2"), "unknown", FOREIGN],
}

APIS: dict[str, tuple[Callable[[], Gateway], str, dict[str, list[str]]]] = {
    "quota": (
        quota,
        "/v1/openapi.json",
        QUOTA_VALUES,
    ),
    "admin": (admin, "/v1/admin/openapi.json", ADMIN_VALUES),
}
"""Name -> (makes the API, path of its document, values that exist)."""
