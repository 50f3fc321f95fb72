"""Moving usage against every answer of a store; what moves and what does not."""

from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits.gauge import Gauge, Lease, read
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Evidence, MappingPeriod, attribute
from bedrock_meter.usage.ledger import Change, LedgerEntry, entry_for
from bedrock_meter.usage.packing import Chunk, writes_of
from bedrock_meter.usage.reattribution import Reattributed, Reattribution
from bedrock_meter.usage.rewriting import ATTEMPTS
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, priced, sums
from tests.unit.usage.recording_bench import RefusesPoison

DAY_MS = 86_400_000
OWNED = (MappingPeriod("acme", 0, None, "a.model", "global"),)


class Scene:
    """Tables with usage that nobody owned, and what is known today."""

    def __init__(self, store: MemoryRecordingStore | None = None) -> None:
        self.tables = store.tables if store else MemoryTables()
        self.store = store or MemoryRecordingStore(self.tables)
        self.profiles: dict[str, Sequence[MappingPeriod]] = {"acmeprofile1": OWNED}
        self.principals: dict[str, Sequence[MappingPeriod]] = {}
        self.rater = TestPrices()
        self.now_ms = NOW_MS
        self.slept: list[int] = []
        layout = plan_change(NO_LIMITS, (limit("1h"),)).next
        self.tables.gauges["acme"] = Gauge("acme", 0, layout, {})

    def hold(self, *records: Invocation, retention_days: int = 400) -> list[LedgerEntry]:
        entries = [
            entry_for(one, attribute(one, {}), now_ms=one.event_ms, retention_ms=retention_days * DAY_MS)
            for one in records
        ]
        writes = writes_of(Chunk(tuple(Change(one) for one in entries)), {}, self.now_ms)
        assert MemoryRecordingStore(self.tables).commit(writes) is None
        return entries

    def profiles_waiting(self) -> list[str]:
        return sorted({one.profile for one in self.tables.ledger.values() if one.tenant == UNATTRIBUTED})

    def waiting(self, profile: str) -> Iterator[Sequence[LedgerEntry]]:
        yield [one for one in self.tables.ledger.values() if one.tenant == UNATTRIBUTED and one.profile == profile]

    def evidence(self, model_id: str, principal: str, now_ms: int, event_ms: int) -> Evidence:
        return Evidence(self.profiles.get(model_id, ()), [self.principals.get(principal, ())])

    def sleep(self, duration_ms: int) -> None:
        self.slept.append(duration_ms)
        self.now_ms += duration_ms

    def move(self, *, dry_run: bool = False) -> Reattributed:
        work = Reattribution(
            self,  # type: ignore[arg-type]
            self.store,
            self,
            self.rater,
            clock=lambda: self.now_ms,
            sleep_ms=self.sleep,
            uniform=lambda: 0.5,
        )
        report = Reattributed()
        work.run(self.profiles_waiting(), report, dry_run=dry_run)
        return report

    def total(self, tenant: str) -> Sums:
        return sum((value for key, value in self.tables.usage.items() if key.tenant == tenant), NOTHING)

    def used(self) -> int:
        return read(self.tables.gauges["acme"], self.now_ms)[0].used


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_moved_entry_says_what_it_was_when_and_by_which_rule(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"))
    scene.move()
    moved = scene.tables.ledger[held.key]
    owned = replace(held, tenant="acme", rule="profile", model="a.model", routing="global").rated(scene.rater)
    assert moved == replace(owned, was=UNATTRIBUTED, moved_ms=NOW_MS)
    assert (scene.total(UNATTRIBUTED), scene.total("acme"), scene.used()) == (NOTHING, owned.sums, 15)


def test_a_dry_run_reports_the_same_and_writes_nothing(scene: Scene) -> None:
    scene.hold(invocation("r1"), invocation("failed", error_code="X"))
    before = dict(scene.tables.ledger)
    planned = scene.move(dry_run=True)
    assert scene.tables.ledger == before
    assert scene.store.commits == 0
    assert planned == scene.move()
    (moved,) = planned.moved.values()
    assert moved.sums == priced(1, 1, input=10, output=5)


def test_ownership_is_asked_at_the_event_time_of_each_entry(scene: Scene) -> None:
    scene.profiles["acmeprofile1"] = (MappingPeriod("acme", NOW_MS),)
    scene.hold(invocation("before", event_ms=NOW_MS - 1), invocation("after"))
    report = scene.move()
    assert report.left == {"acmeprofile1": 1}
    assert scene.total("acme") == sums(requests=1, input=10, output=5, unpriced=1)


def test_a_principal_moves_what_no_profile_owns_and_the_model_stays(scene: Scene) -> None:
    record = replace(invocation("r1"), model_id="amazon.nova-lite-v1:0")
    scene.principals[record.principal] = (MappingPeriod("acme"),)
    (held,) = scene.hold(record)
    scene.move()
    moved = scene.tables.ledger[held.key]
    assert (moved.rule, moved.model) == ("principal", "amazon.nova-lite-v1:0")


def test_the_profile_is_believed_before_the_principal(scene: Scene) -> None:
    record = invocation("r1")
    scene.principals[record.principal] = (MappingPeriod("globex"),)
    scene.hold(record)
    scene.move()
    assert scene.total("acme").requests == 1


def test_another_kind_of_resource_that_ends_like_a_profile_stays(scene: Scene) -> None:
    deployment = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/acmeprofile1"
    scene.hold(replace(invocation("r1"), model_id=deployment))
    assert scene.move().left == {"acmeprofile1": 1}


def test_an_entry_whose_retention_has_ended_stays(scene: Scene) -> None:
    scene.hold(invocation("r1", event_ms=NOW_MS - 30 * DAY_MS), retention_days=30)
    report = scene.move()
    assert (report.expired, report.moved) == (1, {})
    assert scene.total(UNATTRIBUTED).requests == 1


def test_busy_items_are_waited_for_and_the_wait_grows(scene: Scene) -> None:
    scene.hold(invocation("r1"))
    scene.store.busy = {"acme": 4}
    report = scene.move()
    assert scene.total("acme").requests == 1
    assert len(scene.slept) == 4
    assert scene.slept == sorted(scene.slept)
    assert report.refused == 0


def test_what_stays_busy_waits_for_the_next_run(scene: Scene) -> None:
    scene.hold(invocation("r1"), invocation("r2"))
    scene.store.busy = {"acme": ATTEMPTS}
    report = scene.move()
    assert (report.refused, sum(one.entries for one in report.moved.values())) == (1, 1)
    scene.move()
    assert scene.total("acme").requests == 2
    assert scene.total(UNATTRIBUTED) == NOTHING


def test_a_lease_is_waited_for_and_one_that_ran_out_is_cancelled(scene: Scene) -> None:
    scene.hold(invocation("r1"))
    scene.tables.change_gauge("acme", lease=Lease("somebody", NOW_MS + 500))
    scene.move()
    assert scene.now_ms >= NOW_MS + 500
    assert scene.tables.gauges["acme"].lease is None
    assert scene.used() == 15


def test_a_tenant_without_a_gauge_gets_one(scene: Scene) -> None:
    del scene.tables.gauges["acme"]
    scene.hold(invocation("r1"))
    scene.move()
    assert scene.tables.gauges["acme"].layout == NO_LIMITS
    assert scene.total("acme").requests == 1


def test_what_the_store_never_takes_is_told_and_does_not_stop_the_rest() -> None:
    scene = Scene(RefusesPoison(MemoryTables()))
    scene.hold(invocation("poison"), invocation("rest"))
    report = scene.move()
    assert report.refused == 1
    assert scene.total("acme").requests == 1


def test_an_entry_that_is_gone_is_no_usage_any_more(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"))
    page = [held]
    del scene.tables.ledger[held.key]
    scene.waiting = lambda profile: iter([page])  # type: ignore[method-assign]
    scene.profiles_waiting = lambda: ["acmeprofile1"]  # type: ignore[method-assign]
    assert scene.move().expired == 1
    assert scene.tables.ledger == {}


def test_a_moved_entry_is_rated_anew_with_what_is_known_now(scene: Scene) -> None:
    scene.hold(invocation("r1"))
    seen: list[tuple[str, str, str | None]] = []

    class Watching(TestPrices):
        def rate(self, call: Call) -> Rated:
            seen.append((call.tenant, call.model, call.routing))
            return super().rate(call)

    scene.rater = Watching()
    scene.move()
    assert seen == [("acme", "a.model", "global")]
    (moved,) = scene.tables.ledger.values()
    assert (moved.routing, moved.cost_nano_usd) == ("global", 10 * 3 + 5 * 15)
    assert scene.total("acme").cost_nano_usd == 10 * 3 + 5 * 15
    assert (scene.total(UNATTRIBUTED), scene.total("acme").unpriced) == (NOTHING, 0)
