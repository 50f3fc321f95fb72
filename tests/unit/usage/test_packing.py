"""What fits into one transaction."""

import pytest

from bedrock_meter.limits.limit import NO_LIMITS, Layout, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import Change, entry_for
from bedrock_meter.usage.packing import MAXIMUM_BUCKETS, MAXIMUM_ITEMS, pack, writes_of
from tests.doubles.records import NOW_MS, invocation, limit, sums

THREE_LIMITS = plan_change(NO_LIMITS, [limit("1h"), limit("day"), limit("5m", meter=Meter.REQUESTS)]).next


def change(number: int, tenant: str = "acme", *, event_ms: int = NOW_MS, error_code: str | None = None) -> Change:
    record = invocation(f"r{number}", event_ms=event_ms, error_code=error_code)
    attribution = Attribution(tenant, "profile", f"{tenant}-profile", "a.model")
    return Change(entry_for(record, attribution, now_ms=NOW_MS, retention_ms=34_560_000_000))


def layouts(*tenants: str, layout: Layout = THREE_LIMITS) -> dict[str, Layout]:
    return dict.fromkeys(tenants, layout)


@pytest.mark.parametrize(
    ("records", "chunks"), [(1, 1), (97, 1), (98, 1), (99, 2), (100, 2), (196, 2), (197, 3), (5000, 52)]
)
def test_one_tenant_fills_chunks_of_98_entries_and_two_sums(records: int, chunks: int) -> None:
    packed = pack([change(number) for number in range(records)], layouts("acme"), NOW_MS)
    assert len(packed) == chunks
    assert sum(len(chunk.changes) for chunk in packed) == records
    assert all(writes_of(chunk, layouts("acme"), NOW_MS).items <= MAXIMUM_ITEMS for chunk in packed)


def test_a_tenant_is_kept_whole_where_it_fits() -> None:
    changes = [change(number, "acme") for number in range(60)] + [
        change(100 + number, "globex") for number in range(60)
    ]
    packed = pack(changes, layouts("acme", "globex"), NOW_MS)
    assert [{one.entry.tenant for one in chunk.changes} for chunk in packed] == [{"acme"}, {"globex"}]


def test_small_tenants_share_a_chunk() -> None:
    changes = [change(number, f"tenant-{number % 10}") for number in range(50)]
    names = [f"tenant-{number}" for number in range(10)]
    (chunk,) = pack(changes, layouts(*names), NOW_MS)
    assert writes_of(chunk, layouts(*names), NOW_MS).items == 50 + 10 + 10


def test_one_gauge_is_never_asked_for_more_buckets_than_an_expression_holds() -> None:
    windows = ["1h", "2h", "3h", "4h", "5h", "6h"]
    layout = plan_change(NO_LIMITS, [limit(window) for window in windows]).next
    spread = [change(number, event_ms=NOW_MS - number * 30_000) for number in range(90)]
    packed = pack(spread, layouts("acme", layout=layout), NOW_MS)
    sizes = [len(writes_of(chunk, layouts("acme", layout=layout), NOW_MS).gauges["acme"][1]) for chunk in packed]
    assert max(sizes) <= MAXIMUM_BUCKETS
    assert sum(len(chunk.changes) for chunk in packed) == 90


def test_failed_calls_leave_the_gauge_alone() -> None:
    (chunk,) = pack([change(1, error_code="X")], layouts("acme"), NOW_MS)
    writes = writes_of(chunk, layouts("acme"), NOW_MS)
    assert writes.gauges == {}
    assert list(writes.rollups.values()) == [sums(errors=1)]


def test_unattributed_usage_has_a_roll_up_and_no_gauge() -> None:
    (chunk,) = pack([change(1, UNATTRIBUTED)], {}, NOW_MS)
    writes = writes_of(chunk, {}, NOW_MS)
    assert writes.gauges == {}
    assert [key.tenant for key in writes.rollups] == [UNATTRIBUTED]


def test_a_tenant_without_limits_still_goes_through_its_gauge() -> None:
    (chunk,) = pack([change(1)], layouts("acme", layout=NO_LIMITS), NOW_MS)
    assert writes_of(chunk, layouts("acme", layout=NO_LIMITS), NOW_MS).gauges == {"acme": (0, {})}
