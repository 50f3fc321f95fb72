"""Rebuilt is live, after any history; and whatever is broken is found and put right."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.limits.gauge import read, stale_buckets
from bedrock_meter.limits.installation import LEASE_MS, install_limits
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import base36
from bedrock_meter.reconciliation import rebuild
from bedrock_meter.reconciliation.rebuild import Rebuild
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.packing import MAXIMUM_BUCKETS
from bedrock_meter.usage.recorder import Recorded, Recorder
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.doubles.announcing import Silent
from tests.doubles.memory import MemoryEvaluationStore, MemoryInstallationStore, MemoryRecordingStore, MemoryTables
from tests.doubles.rater import TestPrices
from tests.doubles.reconciliation import MemoryReconciliationStore
from tests.doubles.records import NOW_MS, invocation, limit, priced, sums_of

DAY_MS = 86_400_000
TENANTS = ("acme", "globex")
CHOICES = [
    limit("1h"),
    limit("1h", hard=True, name="hard"),
    limit("5m", meter=Meter.REQUESTS),
    limit("20m", meter=Meter.OUTPUT_TOKENS),
    limit("1h", meter=Meter.COST_USD),
    limit("day", meter=Meter.COST_USD, scope=Scope(models=("a.*",))),
    limit("20m", meter=Meter.WEIGHTED_TOKENS),
    limit("7d", meter=Meter.CACHE_READ_TOKENS),
    limit("day"),
    limit("month@15", meter=Meter.REQUESTS),
]

Step = Callable[["History"], None]


class ByProfile:
    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        names = [one.model_id.rpartition("/")[2] for one in invocations]
        return [
            Attribution(name, "profile", f"{name}-profile", "-" if one.tokens.output % 4 == 3 else "a.model")
            if name in TENANTS
            else Attribution(UNATTRIBUTED, "none", name, "-")
            for one, name in zip(invocations, names, strict=True)
        ]


class History:
    """Everything in memory, and a clock that steps move."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.tables = MemoryTables()
        self.recorder = Recorder(
            MemoryRecordingStore(self.tables),
            ByProfile(),
            Silent(),
            TestPrices(),
            retention_ms=400 * DAY_MS,
            clock=lambda: self.now_ms,
            sleep_ms=self.advance,
            uniform=lambda: 0.5,
        )

    def advance(self, duration_ms: int) -> None:
        self.now_ms += duration_ms

    def record(self, invocations: Sequence[Invocation]) -> None:
        self.recorder.record(invocations, Recorded(), lambda: 60_000)

    def install(self, tenant: str, wanted: Sequence[Limit]) -> None:
        store = MemoryInstallationStore(self.tables)
        install_limits(store, tenant, wanted, clock=lambda: self.now_ms, new_id=lambda: f"install-{self.now_ms}")

    def prune(self, tenant: str) -> None:
        gauge = self.tables.gauges.get(tenant)
        if gauge is not None:
            stale = stale_buckets(gauge.layout, gauge.buckets, self.now_ms)
            MemoryEvaluationStore(self.tables).prune(tenant, gauge.layout.version, stale)

    def rebuild(self, meanwhile: Callable[[], None] = lambda: None, segments: int = 1) -> Rebuild:
        return Rebuild(
            MemoryReconciliationStore(self.tables, meanwhile=meanwhile),
            retention_ms=400 * DAY_MS,
            clock=lambda: self.now_ms,
            new_id=lambda: f"rebuild-{self.now_ms}",
            tell=lambda _: None,
            segments=segments,
        )


COUNTS = st.integers(0, 50)
CALLS = st.tuples(
    st.integers(0, 25),  # few ids: twins, growing counts, errors before and after a success
    st.sampled_from([*TENANTS, "nobody"]),
    st.builds(TokenCounts, COUNTS, COUNTS, COUNTS, COUNTS),
    st.one_of(st.integers(0, 2 * 3_600_000), st.integers(-240_000, 40 * DAY_MS)),
    st.sampled_from([None, None, None, "ThrottlingException"]),
)


def recording(calls: list[tuple[int, str, TokenCounts, int, str | None]]) -> Step:
    def step(history: History) -> None:
        history.record(
            [
                invocation(f"r{number}", profile=name, tokens=tokens, event_ms=history.now_ms - age_ms, error_code=code)
                for number, name, tokens, age_ms, code in calls
            ]
        )

    return step


def advancing(duration_ms: int) -> Step:
    return lambda history: history.advance(duration_ms)


def installing(tenant: str, wanted: list[Limit]) -> Step:
    return lambda history: history.install(tenant, wanted)


def pruning(tenant: str) -> Step:
    return lambda history: history.prune(tenant)


STEPS = st.lists(
    st.one_of(
        st.lists(CALLS, min_size=1, max_size=12).map(recording),
        st.one_of(st.integers(1, 600_000), st.integers(1, 40 * DAY_MS)).map(advancing),
        st.builds(installing, st.sampled_from(TENANTS), st.lists(st.sampled_from(CHOICES), unique_by=lambda o: o.name)),
        st.sampled_from(TENANTS).map(pruning),
    ),
    min_size=2,
    max_size=14,
)


def lived(steps: list[Step]) -> History:
    history = History()
    for step in steps:
        step(history)
    return history


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_rebuilt_is_live_after_any_history(steps: list[Step]) -> None:
    history = lived(steps)
    report = history.rebuild(segments=2).compare()
    assert report.differing == []
    assert report.entries == len(history.tables.ledger)
    for tenant, compared in report.tenants.items():
        assert compared.moving == 0
        live = sum((sums for key, sums in history.tables.usage.items() if key.tenant == tenant), NOTHING)
        assert sums_of(report.rebuilt.get(tenant, {})) == live


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_limits_in_force_for_longer_than_their_windows_are_exact(steps: list[Step]) -> None:
    """Nothing is excused as seeded or partial once every window has passed since the last change of limits."""
    history = History()
    for tenant in TENANTS:
        history.install(tenant, CHOICES)
    before = [(history.tables.gauges[tenant].layout.version) for tenant in TENANTS]
    history.advance(40 * DAY_MS)
    for step in steps:
        if "installing" not in step.__qualname__:
            step(history)
    report = history.rebuild().compare()
    assert [history.tables.gauges[tenant].layout.version for tenant in TENANTS] == before
    for compared in report.tenants.values():
        assert (compared.differs, compared.seeded, compared.partial, compared.moving) == (False, [], [], 0)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_what_is_broken_is_found_put_right_and_found_right(steps: list[Step]) -> None:
    history = lived([*steps, installing("acme", [limit("day")])])
    tables = history.tables
    history.record([invocation("known", profile="acme", event_ms=history.now_ms)])
    ledger = dict(tables.ledger)
    key = ledger["123456789012#us-east-1#known"].rollup
    tables.usage[key] += Sums(3, 1, TokenCounts(1, 0, 2))
    (slot,) = (installed.slot for installed in tables.gauges["acme"].layout.limits)
    bucket = max(name for name in tables.gauges["acme"].buckets if name[0] == slot and name[-1] != "+")
    tables.change_gauge("acme", adds={bucket: 77})
    version = tables.gauges["acme"].layout.version

    broken = history.rebuild().compare()
    assert [compared.tenant for compared in broken.differing] == ["acme"]
    repaired = history.rebuild().put_right()
    assert (repaired.rows, repaired.limits, repaired.refused) == (1, 1, {})
    assert tables.gauges["acme"].layout.version == version + 1
    assert [installed.version for installed in tables.gauges["acme"].layout.limits] == [version + 1]  # judged anew
    assert tables.gauges["acme"].lease is None
    assert history.rebuild().compare().differing == []
    assert tables.ledger == ledger
    again = history.rebuild().put_right()
    assert (again.rows, again.limits, again.refused) == (0, 0, {})


def test_usage_recorded_while_comparing_is_no_difference() -> None:
    history = History()
    history.install("acme", CHOICES)
    numbers = iter(range(1000))

    def record() -> None:
        history.record([invocation(f"m{next(numbers)}", profile="acme")])

    for _ in range(12):
        record()
    report = history.rebuild(meanwhile=record).compare()
    assert report.differing == []
    (compared,) = report.tenants.values()
    assert compared.partial == ["requests-5m"]
    assert compared.moving == 1 + len(CHOICES) - 1


def test_nothing_recorded_while_putting_right_is_lost_or_doubled() -> None:
    """Recorders try all the while: those of the tenant wait for the lease, and everything is exact in the end."""
    history = History()
    history.install("acme", [limit("day"), limit("1h")])
    history.record([invocation(f"r{number}", profile="acme") for number in range(12)])
    tables = history.tables
    (key,) = tables.usage
    tables.usage[key] += Sums(5)
    tables.change_gauge("acme", adds=dict.fromkeys(tables.gauges["acme"].buckets, -20))
    numbers = iter(range(1000))
    waited: list[str] = []

    def record() -> None:
        name = f"m{next(numbers)}"
        if tables.gauges["acme"].lease is not None:
            waited.append(name)
        else:
            history.record([invocation(name, profile="acme")])

    repaired = history.rebuild(meanwhile=record).put_right()
    assert (repaired.rows, repaired.limits, repaired.refused) == (1, 2, {})
    assert waited
    history.record([invocation(name, profile="acme") for name in waited])
    report = history.rebuild().compare()
    assert report.differing == []
    assert report.tenants["acme"].moving == 0
    assert tables.usage[key].requests == len(tables.ledger) == 12 + next(numbers)
    assert {reading.used for reading in read(tables.gauges["acme"], history.now_ms)} == {15 * len(tables.ledger)}


def test_a_lease_that_runs_out_leaves_the_gauge_to_the_recorders() -> None:
    history = History()
    history.install("acme", [limit("day")])
    history.record([invocation(f"r{number}", profile="acme") for number in range(12)])
    tables = history.tables
    wrong = dict.fromkeys(tables.gauges["acme"].buckets, 5)
    tables.change_gauge("acme", adds=wrong)
    numbers = iter(range(1000))

    def stall() -> None:
        """Longer than a lease passes with each page, and a recorder takes the lease that ran out away."""
        if tables.gauges["acme"].lease is not None:
            history.advance(LEASE_MS)
            history.record([invocation(f"m{next(numbers)}", profile="acme")])

    version = tables.gauges["acme"].layout.version
    repaired = history.rebuild(meanwhile=stall).put_right()
    assert (repaired.limits, list(repaired.refused)) == (0, ["acme"])
    gauge = tables.gauges["acme"]
    assert (gauge.lease, gauge.layout.version) == (None, version)
    assert next(numbers) == 1
    assert [reading.used for reading in read(gauge, history.now_ms)] == [15 * 13 + 5]
    assert (history.rebuild().put_right().limits, history.rebuild().compare().differing) == (1, [])


def test_a_slow_scan_keeps_its_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "POLL_S", 0.001)
    history = History()
    history.install("acme", [limit("month@15")])
    history.record([invocation(f"r{number}", profile="acme") for number in range(30)])
    tables = history.tables
    tables.change_gauge("acme", adds=dict.fromkeys(tables.gauges["acme"].buckets, 5))
    seen: set[int] = set()

    def slowly() -> None:
        lease = tables.gauges["acme"].lease
        if lease is not None:
            assert lease.is_held(history.now_ms)
            seen.add(lease.expires_ms)
            history.advance(LEASE_MS // 3)
            while tables.gauges["acme"].lease == lease:  # until the other thread has renewed it
                time.sleep(0.001)

    repaired = history.rebuild(meanwhile=slowly).put_right()
    assert (repaired.limits, repaired.refused) == (1, {})
    assert len(seen) == 10
    assert history.rebuild().compare().differing == []


def test_rows_that_the_ledger_has_forgotten_are_left_alone() -> None:
    history = History()
    history.record([invocation("old", profile="acme")])
    history.tables.ledger.clear()
    assert [one.tenant for one in history.rebuild().compare().differing] == ["acme"]
    history.advance(400 * DAY_MS)
    report = history.rebuild().compare()
    assert (report.differing, report.tenants["acme"].rows) == ([], 0)
    history.rebuild().put_right()
    assert [sums.requests for sums in history.tables.usage.values()] == [1]


def test_a_row_that_is_being_written_is_left_alone_and_said() -> None:
    """Failed calls go past the gauge, and so past its lease."""
    history = History()
    history.install("acme", [limit("day")])
    history.record([invocation(f"r{number}", profile="acme") for number in range(12)])
    (key,) = history.tables.usage
    history.tables.usage[key] += Sums(requests=100)
    numbers = iter(range(1000))

    def fail() -> None:
        if history.tables.gauges["acme"].lease is not None:
            history.record([invocation(f"e{next(numbers)}", profile="acme", error_code="ThrottlingException")])

    repaired = history.rebuild(meanwhile=fail).put_right()
    assert (repaired.rows, list(repaired.refused)) == (0, ["acme"])
    assert (history.rebuild().put_right().rows, history.rebuild().compare().differing) == (1, [])
    assert history.tables.usage[key] == priced(12, next(numbers), input=120, output=60)


def test_a_clock_ahead_of_the_one_that_seeded_is_no_difference() -> None:
    history = History()
    history.record([invocation("ahead", profile="acme", event_ms=history.now_ms + 100_000)])
    history.install("acme", [limit("1h")])
    history.advance(3_790_000)  # the bucket of the call has left the window, the bucket of seeding has not
    report = history.rebuild().compare()
    assert (report.differing, report.tenants["acme"].seeded) == ([], ["total_tokens-1h"])


def test_a_machine_that_seeded_with_a_clock_behind_is_no_difference() -> None:
    history = History()
    history.advance(400_000)
    history.record([invocation("ahead", profile="acme", event_ms=history.now_ms + 240_000)])
    history.advance(-290_000)
    history.install("acme", [limit("1h")])
    history.advance(290_000 + 3_790_000)
    report = history.rebuild().compare()
    assert (report.differing, report.tenants["acme"].seeded) == ([], ["total_tokens-1h"])


def test_more_wrong_buckets_than_one_update_carries_are_put_right() -> None:
    history = History()
    for hours in range(26):
        history.record([invocation(f"r{hours}", profile="acme", event_ms=history.now_ms - hours * 3_600_000)])
    history.install("acme", [limit(f"{1440 + minutes}m", name=f"l{minutes}") for minutes in range(18)])
    gauge = history.tables.gauges["acme"]
    history.tables.gauges["acme"] = replace(gauge, buckets=dict.fromkeys(gauge.buckets, 10**9))
    stray = {f"{one.slot}{base36(10**7 + number)}": 1 for one in gauge.layout.limits for number in range(3)}
    history.tables.change_gauge("acme", adds=stray)
    assert len(history.tables.gauges["acme"].buckets) > MAXIMUM_BUCKETS
    repaired = history.rebuild().put_right()
    assert (repaired.limits, repaired.refused) == (18, {})
    assert history.rebuild().compare().differing == []
    assert history.tables.gauges["acme"].lease is None


def test_a_call_dated_ahead_of_a_limit_that_counts_from_now_is_no_difference() -> None:
    history = History()
    history.record([invocation("ahead", profile="acme", event_ms=history.now_ms + 240_000)])
    history.install("acme", [limit("1m")])
    history.advance(250_000)  # the call is in the window, which began to count after it was recorded
    report = history.rebuild().compare()
    assert (report.differing, report.tenants["acme"].partial) == ([], ["total_tokens-1m"])
    history.advance(10 * 60_000)
    report = history.rebuild().compare()
    assert (report.differing, report.tenants["acme"].partial) == ([], [])
