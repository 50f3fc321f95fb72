"""What every recording store promises."""

from typing import Any

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import NO_TOKENS, TokenCounts
from bedrock_meter.limits.gauge import Lease, read
from bedrock_meter.limits.limit import NO_LIMITS, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import Change, LedgerEntry, entry_for
from bedrock_meter.usage.packing import Chunk, Writes, writes_of
from bedrock_meter.usage.recorder import GaugeHead, UnacceptableWrites
from tests.contract.conftest import Stores
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, limit, priced


def entry(
    number: int, *, tenant: str = "acme", tokens: TokenCounts | None = None, error: str | None = None
) -> LedgerEntry:
    record = invocation(f"r{number}", tokens=tokens, error_code=error)
    attribution = Attribution(tenant, "profile", f"{tenant}-profile", "a.model")
    return entry_for(record, attribution, now_ms=NOW_MS, retention_ms=400 * 86_400_000).rated(TestPrices())


def writes(stores: Stores, *changes: Change) -> Writes:
    layouts: dict[str, Layout] = {}
    for tenant in {change.entry.tenant for change in changes}:
        gauge = stores.installation.gauge(tenant)
        layouts[tenant] = gauge.layout if gauge else NO_LIMITS
    return writes_of(Chunk(changes), layouts, NOW_MS)


def install(stores: Stores, tenant: str = "acme") -> None:
    from bedrock_meter.limits.installation import install_limits

    wanted = [limit("1h"), limit("month")]
    install_limits(stores.installation, tenant, wanted, clock=lambda: NOW_MS, new_id=lambda: "x")


def test_a_commit_writes_entry_roll_up_and_gauge(stores: Stores) -> None:
    install(stores)
    rev = stores.gauge("acme").rev
    one, two = entry(1), entry(2, tokens=TokenCounts(1, 2, 3, 4))
    assert stores.recording.commit(writes(stores, Change(one), Change(two))) is None
    assert stores.entry(one.key) == one
    assert stores.used("acme") == priced(requests=2, input=11, output=7, cache_read=3, cache_write=4)
    gauge = stores.gauge("acme")
    assert sorted(gauge.buckets.values()) == [25, 25]
    assert gauge.rev == rev + 1


def test_nothing_is_written_when_one_position_is_refused(stores: Stores) -> None:
    install(stores)
    stores.recording.commit(writes(stores, Change(entry(1))))
    refused = stores.recording.commit(writes(stores, Change(entry(1)), Change(entry(2))))
    assert refused is not None
    assert refused.held == {entry(1).key: entry(1)}
    assert (refused.gauges, refused.busy) == ({}, frozenset())
    assert stores.entry(entry(2).key) is None
    assert stores.used("acme").requests == 1


def test_a_refused_entry_shows_what_is_held(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    failed = entry(1, error="ThrottlingException")
    stores.recording.commit(writes(stores, Change(failed)))
    refused = stores.recording.commit(writes(stores, Change(entry(1))))
    assert refused is not None
    assert refused.held == {failed.key: failed}


def test_a_raise_needs_exactly_what_it_was_derived_from(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    first, larger = entry(1, tokens=NO_TOKENS), entry(1, tokens=TokenCounts(7))
    stores.recording.commit(writes(stores, Change(first)))
    assert stores.recording.commit(writes(stores, Change(larger, held=first))) is None
    assert stores.used("acme") == priced(requests=1, input=7)
    again = stores.recording.commit(writes(stores, Change(larger, held=first)))
    assert again is not None
    assert again.held == {larger.key: larger}
    assert stores.used("acme") == priced(requests=1, input=7)


RAISES = {
    "cost": {"cost_nano_usd": 1_000},
    "price version": {"price_version": "another"},
    "assumptions": {"assumptions": "cache-write-5m"},
    "hour part": {"cache_write_1h": 3},
    "tier": {"tier": "flex"},
    "images": {"images": 2},
    "no cost": {"cost_nano_usd": None},
}


@pytest.mark.parametrize("other", RAISES.values(), ids=RAISES)
def test_a_raise_needs_the_rating_and_the_details_that_it_was_derived_from(
    stores: Stores, other: dict[str, Any]
) -> None:
    stores.recording.create_gauge("acme")
    first, larger = entry(1, tokens=TokenCounts(3)), entry(1, tokens=TokenCounts(7))
    stores.recording.commit(writes(stores, Change(first)))
    seen = replace(first, **other)
    refused = stores.recording.commit(writes(stores, Change(larger, held=seen)))
    assert refused is not None
    assert refused.held == {first.key: first}
    changed = replace(larger, **other)
    assert stores.recording.commit(writes(stores, Change(changed, held=first))) is None
    assert stores.entry(first.key) == changed
    assert stores.recording.commit(writes(stores, Change(entry(1, tokens=TokenCounts(8)), held=changed))) is None
    assert stores.entry(first.key) == entry(1, tokens=TokenCounts(8))


def test_unpriced_calls_are_told_from_free_ones(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    free = replace(entry(1), cost_nano_usd=0)
    unpriced = replace(entry(2), cost_nano_usd=None)
    stores.recording.commit(writes(stores, Change(free), Change(unpriced)))
    assert (stores.entry(free.key), stores.entry(unpriced.key)) == (free, unpriced)
    used = stores.used("acme")
    assert (used.requests, used.cost_nano_usd, used.unpriced) == (2, 0, 1)
    assert stores.recording.commit(writes(stores, Change(entry(2), held=unpriced))) is None
    used = stores.used("acme")
    assert (used.requests, used.cost_nano_usd, used.unpriced) == (2, entry(2).cost_nano_usd, 0)


def test_a_cost_limit_and_its_marks_are_written_beside_each_other(stores: Stores) -> None:
    from bedrock_meter.limits.installation import install_limits

    wanted = [limit("1h", meter=Meter.COST_USD), limit("month", meter=Meter.COST_USD)]
    install_limits(stores.installation, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "x")
    unpriced = replace(entry(2), cost_nano_usd=None)
    assert stores.recording.commit(writes(stores, Change(entry(1)), Change(unpriced))) is None
    readings = read(stores.gauge("acme"), NOW_MS)
    assert [(one.used, one.uncounted) for one in readings] == [(10 * 3 + 5 * 15, 1)] * 2
    assert stores.gauge("acme").holds == {"c0": 105, "c0-": 1, "c1": 105, "c1-": 1}
    more = [*wanted, limit("day", meter=Meter.COST_USD)]
    install_limits(stores.installation, "acme", more, clock=lambda: NOW_MS, new_id=lambda: "y")
    assert [(one.used, one.uncounted) for one in read(stores.gauge("acme"), NOW_MS)] == [(105, 1)] * 3


def test_a_success_replaces_the_failure_of_the_same_call(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    failed = entry(1, error="ModelErrorException")
    stores.recording.commit(writes(stores, Change(failed)))
    raised = failed.joined(entry(1)).rated(TestPrices())
    assert stores.recording.commit(writes(stores, Change(raised, held=failed))) is None
    assert stores.entry(failed.key) == raised
    assert stores.used("acme") == priced(requests=1, input=10, output=5)


def test_a_raise_of_something_that_is_gone_shows_nothing(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    refused = stores.recording.commit(writes(stores, Change(entry(1, tokens=TokenCounts(9)), held=entry(1))))
    assert refused is not None
    assert refused.held == {entry(1).key: None}


def test_other_limits_than_expected_are_shown_by_the_refusal(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    stale = writes(stores, Change(entry(1)))
    install(stores)
    refused = stores.recording.commit(stale)
    assert refused is not None
    assert refused.gauges == {"acme": GaugeHead(stores.gauge("acme").layout)}
    assert stores.entry(entry(1).key) is None


def test_a_lease_holds_recorders_off_until_it_is_cancelled(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    lease = Lease("somebody", NOW_MS + 10_000)
    assert stores.installation.begin("acme", Layout(1, ()), lease, None)
    refused = stores.recording.commit(writes(stores, Change(entry(1))))
    assert refused is not None
    assert refused.gauges == {"acme": GaugeHead(NO_LIMITS, lease)}
    stores.recording.cancel_lease("acme", Lease("another", NOW_MS + 10_000))
    assert stores.gauge("acme").lease == lease
    stores.recording.cancel_lease("acme", lease)
    assert stores.recording.commit(writes(stores, Change(entry(1)))) is None


def test_a_missing_gauge_is_told_and_can_be_made(stores: Stores) -> None:
    change = Change(entry(1))
    refused = stores.recording.commit(writes(stores, change))
    assert refused is not None
    assert refused.gauges == {"acme": None}
    stores.recording.create_gauge("acme")
    stores.recording.create_gauge("acme")
    assert stores.recording.commit(writes(stores, change)) is None


def test_unattributed_usage_needs_no_gauge(stores: Stores) -> None:
    held = entry(1, tenant=UNATTRIBUTED)
    assert stores.recording.commit(writes(stores, Change(held))) is None
    assert stores.entry(held.key) == held


def test_heads_are_read_in_any_number(stores: Stores) -> None:
    names = [f"tenant-{number}" for number in range(120)]
    for name in names:
        stores.recording.create_gauge(name)
    heads = stores.recording.heads([*names, "nobody"])
    assert heads == dict.fromkeys(names, GaugeHead(NO_LIMITS))


def test_a_hundred_items_pass_and_more_never_do(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    changes = [Change(entry(number)) for number in range(99)]
    assert stores.recording.commit(writes(stores, *changes[:98])) is None
    with pytest.raises(UnacceptableWrites):
        stores.recording.commit(writes(stores, *[Change(entry(1000 + number)) for number in range(99)]))
    assert stores.used("acme").requests == 98


def test_a_call_twice_in_one_transaction_is_never_accepted(stores: Stores) -> None:
    stores.recording.create_gauge("acme")
    with pytest.raises(UnacceptableWrites):
        stores.recording.commit(writes(stores, Change(entry(1)), Change(entry(1))))
