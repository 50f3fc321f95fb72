"""The recorder against every answer that a store can give."""

import dataclasses
from collections.abc import Sequence

import pytest
from msgspec.structs import asdict, replace

from bedrock_meter.errors import DeliverAgain, OutOfTime
from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.gauge import Lease, read
from bedrock_meter.limits.limit import plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Recorded, Refused
from bedrock_meter.usage.rewriting import writes_between
from bedrock_meter.usage.rollup import NOTHING
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import UNPRICED_MODEL, TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, priced, sums
from tests.unit.usage.recording_bench import Bench, ByProfile, RefusesPoison


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.tenant("acme", limit("1h"), limit("day"))
    made.tenant("globex", limit("1h"))
    return made


def test_a_call_is_counted_in_ledger_roll_up_and_gauge(bench: Bench) -> None:
    report = bench.record(invocation("r1"), invocation("r2", tokens=TokenCounts(1, 2, 3, 4)))
    assert (report.recorded, report.duplicates, report.errors) == (2, 0, 0)
    assert bench.total("acme") == priced(2, input=11, output=7, cache_read=3, cache_write=4)
    assert bench.used("acme") == [25, 25]
    assert len(bench.tables.ledger) == 2


def test_a_redelivery_changes_nothing(bench: Bench) -> None:
    bench.record(invocation("r1"), invocation("r2"))
    report = bench.record(invocation("r2"), invocation("r1"), invocation("r2"))
    assert (report.recorded, report.duplicates) == (0, 3)
    assert bench.total("acme").requests == 2
    assert bench.used("acme") == [30, 30]


def test_a_batch_half_old_half_new_counts_the_new_half(bench: Bench) -> None:
    old = [invocation(f"r{number}") for number in range(0, 40, 2)]
    bench.record(*old)
    report = bench.record(*[invocation(f"r{number}") for number in range(40)])
    assert (report.recorded, report.duplicates) == (20, 20)
    assert bench.total("acme").requests == 40


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_a_zero_usage_twin_never_hides_the_real_record(bench: Bench, order: tuple[int, int], together: bool) -> None:
    twins = [invocation("r1", tokens=NO_TOKENS), invocation("r1", tokens=TokenCounts(100, 20))]
    first, second = (twins[index] for index in order)
    reports = [bench.record(first, second)] if together else [bench.record(first), bench.record(second)]
    assert bench.total("acme") == priced(1, input=100, output=20)
    assert bench.used("acme") == [120, 120]
    assert sum(report.recorded for report in reports) == 1
    assert sum(report.duplicates for report in reports) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_an_error_beside_a_success_is_one_request_and_no_error(
    bench: Bench, order: tuple[int, int], together: bool
) -> None:
    twins = [invocation("r1", error_code="ModelErrorException"), invocation("r1")]
    first, second = (twins[index] for index in order)
    reports = [bench.record(first, second)] if together else [bench.record(first), bench.record(second)]
    assert bench.total("acme") == priced(1, input=10, output=5)
    assert sum(report.recorded for report in reports) == 1
    assert sum(report.errors for report in reports) == 0
    assert sum(report.duplicates for report in reports) == 1


def test_a_raise_goes_where_the_first_record_was_counted(bench: Bench) -> None:
    bench.record(invocation("r1", tokens=NO_TOKENS))
    report = bench.record(invocation("r1", profile="globexprofile", tokens=TokenCounts(7)))
    assert report.duplicates == 1
    assert bench.total("acme") == priced(1, input=7)
    assert bench.total("globex") == NOTHING


def test_failed_calls_count_once_as_errors(bench: Bench) -> None:
    first = bench.record(invocation("r1", error_code="AccessDeniedException"))
    again = bench.record(invocation("r1", error_code="AccessDeniedException"))
    assert (first.errors, first.recorded, again.duplicates) == (1, 0, 1)
    assert bench.total("acme") == sums(errors=1)
    assert bench.used("acme") == [0, 0]


def test_unattributed_usage_is_counted_and_announced_before_it_is_recorded(bench: Bench) -> None:
    report = bench.record(invocation("r1", profile="nobodys"), invocation("r2", profile="nobodys", error_code="X"))
    assert (report.recorded, report.unattributed, report.errors) == (1, 1, 1)
    assert bench.announced.profiles == ["nobodys"]
    assert bench.total(UNATTRIBUTED) == sums(1, 1, input=10, output=5, unpriced=1)


def test_usage_is_not_recorded_while_it_cannot_be_announced(bench: Bench) -> None:
    bench.announced.busy = 2
    report = bench.record(invocation("r1", profile="nobodys"))
    assert report.recorded == 1
    assert len(bench.slept) == 2


def test_changed_limits_are_learned_from_the_refusal_without_another_read(bench: Bench) -> None:
    bench.record(invocation("r1"))
    layout = plan_change(bench.tables.gauges["acme"].layout, [limit("1h"), limit("2h")]).next
    bench.tables.change_gauge("acme", layout=layout)
    report = bench.record(invocation("r2"))
    assert report.recorded == 1
    assert bench.slept == []
    assert bench.used("acme") == [30, 15]


def test_a_tenant_whose_limits_are_being_changed_waits_and_the_others_do_not(bench: Bench) -> None:
    bench.tables.change_gauge("acme", lease=Lease("installer", NOW_MS + 10_000))
    bench.remaining_ms = 5_000
    report = Recorded()
    with pytest.raises(OutOfTime, match="1 invocations"):
        bench.recorder.record(
            [invocation("r1"), invocation("r2", profile="globexprofile")], report, lambda: bench.remaining_ms
        )
    assert bench.total("globex").requests == 1
    assert bench.total("acme") == NOTHING
    assert report.recorded == 1


def test_a_lease_that_ran_out_is_removed_and_the_old_limits_count(bench: Bench) -> None:
    bench.tables.change_gauge("acme", lease=Lease("dead installer", NOW_MS - 1))
    assert bench.record(invocation("r1")).recorded == 1
    assert bench.tables.gauges["acme"].lease is None
    assert bench.slept == []


def test_a_hot_tenant_does_not_stall_nine_others(bench: Bench) -> None:
    names = [f"tenant{number}" for number in range(9)]
    for name in names:
        bench.tenant(name)
    bench.store.busy = {"acme": 3}
    batch = [invocation("hot"), *[invocation(name, profile=f"{name}profile") for name in names]]
    seen_waiting: list[int] = []
    sleep = bench._sleep
    bench.recorder._sleep_ms = lambda duration: (seen_waiting.append(len(bench.tables.ledger)), sleep(duration))  # type: ignore[assignment,func-returns-value]
    report = bench.record(*batch)
    assert report.recorded == 10
    assert report.conflicts == 3
    assert seen_waiting[0] == 9, "the nine were recorded before anybody waited"


def test_waiting_grows_and_stays_inside_the_time_that_is_left(bench: Bench) -> None:
    bench.store.busy = {"acme": 10_000}
    with pytest.raises(OutOfTime):
        bench.record(invocation("r1"))
    assert bench.slept[0] < bench.slept[3] < bench.slept[6]
    assert max(bench.slept) <= 2_001
    assert bench.remaining_ms >= 1_500


def test_a_tenant_without_a_gauge_gets_one(bench: Bench) -> None:
    report = bench.record(invocation("r1", profile="initechprofile"))
    assert report.recorded == 1
    assert bench.tables.gauges["initech"].rev == 1


class CommitsThenFails(MemoryRecordingStore):
    """Commits the n-th transaction and loses the reply, as a time-out does."""

    lose_at = 1

    def commit(self, writes: Writes) -> Refused | None:
        outcome = super().commit(writes)
        if self.commits == self.lose_at:
            return Refused(busy=frozenset(change.entry.tenant for change in writes.changes))
        return outcome


def test_a_lost_reply_is_sent_again_and_the_ledger_decides() -> None:
    bench = Bench(CommitsThenFails(MemoryTables()))
    bench.tenant("acme", limit("1h"))
    report = bench.record(*[invocation(f"r{number}") for number in range(150)])
    assert report.recorded + report.duplicates == 150
    assert bench.total("acme").requests == 150
    assert bench.used("acme") == [150 * 15]


def test_a_call_that_cannot_be_stored_is_singled_out_and_told() -> None:
    bench = Bench(RefusesPoison(MemoryTables()))
    bench.tenant("acme")
    report = Recorded()
    batch = [invocation(f"r{number}") for number in range(50)] + [invocation("poison")]
    with pytest.raises(DeliverAgain, match="1 invocations cannot be stored"):
        bench.recorder.record(batch, report, lambda: 60_000)
    assert report.recorded == 50
    assert bench.total("acme").requests == 50


def test_a_new_environment_goes_on_where_the_old_one_died(bench: Bench) -> None:
    batch = [invocation(f"r{number}") for number in range(250)]
    bench.record(*batch[:130])
    bench.recorder = bench.fresh()
    report = bench.record(*batch)
    assert (report.recorded, report.duplicates) == (120, 130)
    assert bench.used("acme") == [250 * 15, 250 * 15]


class ByModel(ByProfile):
    """The same, but a profile ``…new`` stands for a model without a price."""

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        return [
            dataclasses.replace(one, model=UNPRICED_MODEL) if one.profile.endswith("new") else one
            for one in super().attribute(invocations, now_ms)
        ]


@pytest.fixture
def money(bench: Bench) -> Bench:
    bench.tenant("acme", limit("1h", meter=Meter.COST_USD), limit("day", meter=Meter.COST_USD))
    bench.recorder._directory = ByModel()
    return bench


def test_cost_goes_to_ledger_roll_up_and_gauge_to_the_nano_dollar(money: Bench) -> None:
    report = money.record(invocation("r1"), invocation("r2", tokens=TokenCounts(1, 2, 3, 4)))
    expected = (10 * 3 + 5 * 15) + (3 + 30 + 3 + 16)
    assert sum(entry.cost_nano_usd or 0 for entry in money.tables.ledger.values()) == expected
    assert money.total("acme").cost_nano_usd == expected
    assert money.used("acme") == [expected, expected]
    assert report.unpriced == 0


def test_prices_that_change_between_deliveries_change_nothing_that_is_recorded(money: Bench) -> None:
    money.record(invocation("r1"))
    money.prices.version, money.prices.factor = "later", 7
    money.record(invocation("r1"), invocation("r2"))
    assert [entry.price_version for entry in money.tables.ledger.values()] == ["test-1", "later"]
    assert money.total("acme").cost_nano_usd == 105 + 7 * 105
    assert money.used("acme") == [8 * 105, 8 * 105]


def test_a_raise_is_rated_anew_and_its_difference_goes_to_the_same_places(money: Bench) -> None:
    money.record(invocation("r1", tokens=NO_TOKENS))
    money.prices.version, money.prices.factor = "later", 2
    money.record(invocation("r1", profile="globexprofile", tokens=TokenCounts(7)))
    (entry,) = money.tables.ledger.values()
    assert (entry.tenant, entry.cost_nano_usd, entry.price_version) == ("acme", 42, "later")
    assert money.total("acme").cost_nano_usd == 42
    assert money.used("acme") == [42, 42]


def test_an_unpriced_call_counts_is_announced_and_leaves_no_cost_limit_complete(money: Bench) -> None:
    report = money.record(invocation("r1", profile="acmeprofilenew"), invocation("r2"))
    assert (report.recorded, report.unpriced) == (2, 1)
    assert money.announced.unpriced == [("acmeprofilenew", UNPRICED_MODEL)]
    assert money.total("acme") == sums(2, input=20, output=10, cost=105, unpriced=1)
    readings = read(money.tables.gauges["acme"], money.now_ms)
    assert [(one.used, one.uncounted, one.is_complete) for one in readings] == [(105, 1, False)] * 2


def test_nothing_unpriced_is_recorded_before_it_is_announced(money: Bench) -> None:
    money.announced.busy = 2
    report = money.record(invocation("r1", profile="acmeprofilenew"))
    assert (report.recorded, report.conflicts, len(money.slept)) == (1, 2, 2)


def test_a_twin_that_can_be_priced_takes_the_mark_away(money: Bench) -> None:
    class LearnsTheModel(TestPrices):
        def rate(self, call: Call) -> Rated:
            return super().rate(Call(**{**asdict(call), "model": "a.model", "tokens": call.tokens}))

    money.record(invocation("r1", profile="acmeprofilenew"))
    money.recorder._rater = LearnsTheModel("later")
    report = money.record(invocation("r1", profile="acmeprofilenew", tokens=TokenCounts(20, 5)))
    assert (report.recorded, report.duplicates, report.unpriced) == (0, 1, -1)
    assert money.total("acme") == priced(1, input=20, output=5)
    (hour, day) = read(money.tables.gauges["acme"], money.now_ms)
    assert (hour.used, hour.is_complete, day.used, day.is_complete) == (135, True, 135, True)


def test_contradicted_records_are_counted_for_whom_the_higher_source_names(bench: Bench) -> None:
    class Contradicted(ByProfile):
        def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
            found = super().attribute(invocations, now_ms)
            return [dataclasses.replace(one, contradiction="profile acme, principal globex") for one in found]

    bench.recorder._directory = Contradicted()
    report = bench.record(invocation("r1"), invocation("r2"))
    assert report.contradictions == {"profile acme, principal globex": 2}
    assert bench.total("acme").requests == 2
    assert bench.total("globex").requests == 0


def test_a_raise_follows_an_entry_that_was_moved_meanwhile(bench: Bench) -> None:
    bench.record(invocation("r1", profile="nobodys00001", tokens=NO_TOKENS))
    (held,) = bench.tables.ledger.values()
    moved = replace(held, tenant="acme", model="a.model", was=UNATTRIBUTED, moved_ms=NOW_MS)
    real = bench.store.commit

    def move_first(writes: Writes) -> Refused | None:
        if writes.changes[0].held is not None and bench.tables.ledger[held.key] == held:
            assert real(writes_between(held, moved, bench.tables.gauges["acme"].layout, NOW_MS)) is None
        return real(writes)

    bench.store.commit = move_first  # type: ignore[method-assign]
    report = bench.record(invocation("r1", profile="nobodys00001", tokens=TokenCounts(7)))
    assert (report.recorded, report.duplicates, report.unattributed) == (0, 1, 0)
    assert bench.total("acme") == priced(1, input=7)
    assert bench.total(UNATTRIBUTED) == NOTHING
    assert bench.used("acme") == [7, 7]
