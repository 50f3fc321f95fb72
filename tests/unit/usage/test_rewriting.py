"""What rewriting one entry writes; the protocol behind it is tested through moving and rating anew."""

from msgspec.structs import replace

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import LedgerEntry, entry_for
from bedrock_meter.usage.rewriting import writes_between
from bedrock_meter.usage.rollup import NOTHING
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, sums

LAYOUT = plan_change(NO_LIMITS, (limit("1h", meter=Meter.COST_USD), limit("1h"))).next


def entry(tenant: str = "acme", *, model: str = "a.model") -> LedgerEntry:
    attribution = Attribution(tenant, "profile", "acmeprofile1", model)
    record = invocation("r1", tokens=TokenCounts(10, 5))
    return entry_for(record, attribution, now_ms=NOW_MS, retention_ms=86_400_000).rated(TestPrices())


def test_a_cost_that_changes_is_a_difference_on_the_row_and_on_limits_of_money_only() -> None:
    held = entry()
    wanted = held.rated(TestPrices("test-2", factor=3))
    writes = writes_between(held, wanted, LAYOUT, NOW_MS)
    assert writes.rollups == {held.rollup: sums(cost=2 * (10 * 3 + 5 * 15))}
    ((version, adds),) = writes.gauges.values()
    assert (version, list(adds.values())) == (LAYOUT.version, [2 * (10 * 3 + 5 * 15)])
    assert writes.items == 3


def test_a_price_takes_the_mark_away() -> None:
    wanted = entry()
    held = replace(wanted, cost_nano_usd=None)
    writes = writes_between(held, wanted, LAYOUT, NOW_MS)
    assert writes.rollups == {held.rollup: sums(cost=105, unpriced=-1)}
    assert sorted(writes.gauges["acme"][1].values()) == [-1, 105]


def test_where_sums_stay_only_the_entry_is_written() -> None:
    held = entry()
    writes = writes_between(held, held.rated(TestPrices("test-2")), LAYOUT, NOW_MS)
    assert (writes.items, writes.rollups, writes.gauges) == (1, {}, {})


def test_what_nobody_owns_has_no_gauge() -> None:
    held = entry(UNATTRIBUTED)
    writes = writes_between(held, held.rated(TestPrices("test-2", factor=0)), NO_LIMITS, NOW_MS)
    assert (writes.rollups, writes.gauges) == ({held.rollup: sums(cost=-105)}, {})


def test_a_move_takes_all_from_one_row_and_adds_all_to_the_other() -> None:
    held, wanted = entry(UNATTRIBUTED, model="-"), entry()
    writes = writes_between(held, wanted, LAYOUT, NOW_MS)
    assert writes.rollups == {wanted.rollup: wanted.sums, held.rollup: NOTHING - held.sums}
    assert sorted(writes.gauges["acme"][1].values()) == [15, 105]
