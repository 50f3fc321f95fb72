"""Rating anew against every answer of a store, and what its report adds up."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits.gauge import Gauge, Lease, read
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, LedgerEntry, entry_for
from bedrock_meter.usage.packing import Chunk, writes_of
from bedrock_meter.usage.rerating import Difference, Page, Rerated, Rerating
from bedrock_meter.usage.rewriting import ATTEMPTS
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import UNPRICED_MODEL, TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, priced
from tests.unit.usage.recording_bench import RefusesPoison

DAY_MS = 86_400_000
COST = 10 * 3 + 5 * 15
"""Of one call, before."""


class Scene:
    """Tables with rated usage, and other prices."""

    def __init__(self, store: MemoryRecordingStore | None = None) -> None:
        self.tables = store.tables if store else MemoryTables()
        self.store = store or MemoryRecordingStore(self.tables)
        self.rater = TestPrices("test-2", factor=3)
        self.now_ms = NOW_MS
        self.slept: list[int] = []
        layout = plan_change(NO_LIMITS, (limit("1h", 10_000, meter=Meter.COST_USD),)).next
        self.tables.gauges["acme"] = Gauge("acme", 0, layout, {})

    def hold(
        self, *records: Invocation, model: str = "a.model", retention_days: int = 400, rated: bool = True
    ) -> list[LedgerEntry]:
        owner = Attribution("acme", "profile", "acmeprofile1", model)
        entries = [entry_for(one, owner, now_ms=one.event_ms, retention_ms=retention_days * DAY_MS) for one in records]
        entries = [one.rated(TestPrices()) for one in entries] if rated else entries
        layouts = {"acme": self.tables.gauges["acme"].layout}
        writes = writes_of(Chunk(tuple(Change(one) for one in entries)), layouts, self.now_ms)
        assert MemoryRecordingStore(self.tables).commit(writes) is None
        return entries

    def pages(self) -> Iterator[Page]:
        entries = sorted(self.tables.ledger.values(), key=lambda one: one.key)
        for index, one in enumerate(entries):
            yield Page([one], 2, one.key if index + 1 < len(entries) else None)

    def sleep(self, duration_ms: int) -> None:
        self.slept.append(duration_ms)
        self.now_ms += duration_ms

    def rate(self, *, dry_run: bool = False) -> Rerated:
        work = Rerating(self.store, self.rater, clock=lambda: self.now_ms, sleep_ms=self.sleep, uniform=lambda: 0.5)
        report = Rerated()
        work.run(self.pages(), report, dry_run=dry_run)
        return report

    def total(self) -> Sums:
        return sum(self.tables.usage.values(), NOTHING)

    def reading(self) -> tuple[int, int]:
        (reading,) = read(self.tables.gauges["acme"], self.now_ms)
        return reading.used, reading.uncounted


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_difference_is_in_entry_row_and_gauge_and_twice_it_is_none(scene: Scene) -> None:
    held = scene.hold(invocation("r1"), invocation("r2"))
    report = scene.rate()
    assert report.changed == {"acme": {"a.model": Difference(2, 2 * COST, 6 * COST)}}
    assert [scene.tables.ledger[one.key] for one in held] == [one.rated(scene.rater) for one in held]
    assert scene.total() == replace(priced(2, input=20, output=10), cost_nano_usd=6 * COST)
    assert scene.reading() == (6 * COST, 0)
    commits = scene.store.commits
    again = scene.rate()
    assert (again.changed, again.same, again.looked_at, again.scanned) == ({}, 2, 2, 4)
    assert scene.store.commits == commits


def test_a_dry_run_reports_the_same_and_writes_nothing(scene: Scene) -> None:
    scene.hold(invocation("r1"), invocation("failed", error_code="X"))
    before = dict(scene.tables.ledger)
    planned = scene.rate(dry_run=True)
    assert (scene.tables.ledger, scene.store.commits) == (before, 0)
    assert planned == scene.rate()
    assert planned.failed == 1


def test_an_unpriced_call_that_gets_a_price_loses_its_mark(scene: Scene) -> None:
    scene.hold(invocation("r1"), model=UNPRICED_MODEL)
    assert (scene.total().unpriced, scene.reading()) == (1, (0, 1))

    class Known(TestPrices):
        def rate(self, call):  # type: ignore[no-untyped-def]
            return super().rate(replace(call, model="a.model"))

    scene.rater = Known("test-2")
    assert scene.rate().changed["acme"][UNPRICED_MODEL] == Difference(1, 0, COST, newly_priced=1)
    assert (scene.total(), scene.reading()) == (priced(1, input=10, output=5), (COST, 0))


def test_a_call_that_loses_its_price_is_unpriced_and_never_free(scene: Scene) -> None:
    scene.hold(invocation("r1"))

    class Unknown(TestPrices):
        def rate(self, call):  # type: ignore[no-untyped-def]
            return super().rate(replace(call, model="-"))

    scene.rater = Unknown("test-2")
    assert scene.rate().changed["acme"]["a.model"] == Difference(1, COST, 0, newly_unpriced=1)
    assert (scene.total().cost_nano_usd, scene.total().unpriced, scene.reading()) == (0, 1, (0, 1))


def test_what_was_never_rated_is_rated(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"), rated=False)
    assert held.price_version == ""
    scene.rate()
    assert scene.tables.ledger[held.key] == held.rated(scene.rater)
    assert (scene.total().cost_nano_usd, scene.total().unpriced) == (3 * COST, 0)


def test_another_name_of_the_same_price_changes_no_sum(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"))
    rev = scene.tables.gauges["acme"].rev
    scene.rater = TestPrices("test-2")
    assert scene.rate().changed["acme"]["a.model"] == Difference(1, COST, COST, same_cost=1)
    assert scene.tables.ledger[held.key].price_version == "test-2"
    assert (scene.reading(), scene.tables.gauges["acme"].rev) == ((COST, 0), rev)


def test_an_entry_whose_retention_has_ended_stays(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1", event_ms=NOW_MS - 30 * DAY_MS), retention_days=30)
    report = scene.rate()
    assert (report.expired, report.rewritten) == (1, 0)
    assert scene.tables.ledger[held.key] == held


def test_an_entry_that_is_gone_is_no_usage_any_more(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"))
    del scene.tables.ledger[held.key]
    scene.pages = lambda: iter([Page([held], 1, None)])  # type: ignore[method-assign]
    assert scene.rate().expired == 1
    assert scene.tables.ledger == {}


def test_what_stays_busy_keeps_its_cost_until_the_next_run(scene: Scene) -> None:
    scene.hold(invocation("r1"), invocation("r2"))
    scene.store.busy = {"acme": ATTEMPTS}
    report = scene.rate()
    assert (report.refused, report.rewritten, report.looked_at) == (1, 1, 2)
    assert scene.reading()[0] == 4 * COST
    assert scene.slept == sorted(scene.slept)
    scene.rate()
    assert scene.reading()[0] == 6 * COST


def test_a_lease_is_waited_for(scene: Scene) -> None:
    scene.hold(invocation("r1"))
    scene.tables.change_gauge("acme", lease=Lease("somebody", NOW_MS + 500))
    scene.rate()
    assert scene.now_ms >= NOW_MS + 500
    assert scene.tables.gauges["acme"].lease is None
    assert scene.reading()[0] == 3 * COST


def test_an_entry_that_moved_meanwhile_is_rated_where_it_is(scene: Scene) -> None:
    (held,) = scene.hold(invocation("r1"))
    moved = replace(held, tenant="globex")
    scene.tables.ledger[held.key] = moved
    scene.tables.gauges["globex"] = Gauge("globex", 0, NO_LIMITS, {})
    scene.pages = lambda: iter([Page([held], 1, None)])  # type: ignore[method-assign]
    assert scene.rate().changed == {"globex": {"a.model": Difference(1, COST, 3 * COST)}}
    assert scene.reading()[0] == COST


def test_what_the_store_never_takes_is_told_and_does_not_stop_the_rest() -> None:
    scene = Scene(RefusesPoison(MemoryTables()))
    scene.hold(invocation("poison"))
    scene.hold(invocation("rest"))
    scene.tables.ledger = dict(sorted(scene.tables.ledger.items()))
    report = scene.rate()
    assert (report.refused, report.rewritten) == (1, 1)
