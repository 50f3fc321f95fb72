"""What a caller is told to wait while open reservations stand in its way."""

from dataclasses import replace

from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name
from bedrock_meter.limits.holds import bucket_end_ms, expiry_bucket, held_name
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import decide
from bedrock_meter.limits.suspension import suspend
from bedrock_meter.limits.waiting import REMEMBERED_TENANTS, Waits
from tests.doubles.records import NOW_MS, limit

EXPIRES_MS = NOW_MS + 300_000
BUCKET = expiry_bucket(EXPIRES_MS)
PASSED_MS = bucket_end_ms(BUCKET)
TOKENS = InstalledLimit(limit("1h", 1000, hard=True), "0", 1)


def held(amount: int = 900, *, bucket: int = BUCKET, used: int = 0) -> Gauge:
    buckets = {bucket_name("0", TOKENS.window, NOW_MS): used}
    return Gauge("acme", 1, Layout(1, (TOKENS,)), buckets, holds={held_name("t", bucket): amount})


def told(waits: Waits, gauge: Gauge, after_ms: int, tenant: str = "acme") -> int | None:
    at_ms = NOW_MS + after_ms
    return waits.wait_ms(tenant, gauge, decide(gauge, Estimate(input_tokens=200), at_ms, at_ms), at_ms)


def test_it_is_as_long_as_the_same_holds_have_stood_in_the_way() -> None:
    waits = Waits()
    assert [told(waits, held(), after_ms) for after_ms in (0, 999, 1_000, 2_500, 60_000)] == [
        1_000, 1_000, 1_000, 2_500, 60_000,
    ]  # fmt: skip


def test_a_caller_that_obeys_asks_a_few_times_and_is_there_when_the_holds_have_passed() -> None:
    waits, after_ms, asked = Waits(), 0, 0
    while after_ms < PASSED_MS - NOW_MS:
        asked += 1
        wait_ms = told(waits, held(), after_ms)
        assert wait_ms is not None
        assert after_ms + wait_ms < PASSED_MS - NOW_MS + 1_000
        after_ms += wait_ms
    assert asked <= 12
    assert decide(held(), Estimate(input_tokens=200), NOW_MS + after_ms, NOW_MS + after_ms).allowed


def test_it_begins_again_when_what_is_held_changes() -> None:
    for changed in (held(899), held(bucket=BUCKET + 1)):
        waits = Waits()
        assert [told(waits, held(), after_ms) for after_ms in (0, 50_000)] == [1_000, 50_000]
        assert told(waits, changed, 50_000) == 1_000
        assert told(waits, changed, 53_000) == 3_000


def test_each_tenant_waits_for_itself_and_few_are_remembered() -> None:
    waits = Waits()
    assert told(waits, held(), 0) == 1_000
    assert told(waits, held(), 9_000, "globex") == 1_000
    assert told(waits, held(), 9_000) == 9_000
    for number in range(REMEMBERED_TENANTS):
        told(waits, held(), 9_000, f"tenant-{number}")
    assert len(waits._standing) == REMEMBERED_TENANTS
    assert told(waits, held(), 9_000) == 1_000


def test_what_is_used_makes_it_longer_at_once_and_holds_until_they_pass() -> None:
    waits = Waits()
    frees_ms = (NOW_MS // 300_000 + 13) * 300_000
    assert told(waits, held(used=950), 0) == frees_ms - NOW_MS
    later = Gauge("acme", 1, Layout(1, (TOKENS,)), {}, holds={held_name("t", BUCKET): 900})
    assert told(waits, later, 0) == 1_000


def test_where_waiting_does_not_help_nothing_is_told() -> None:
    waits, small = Waits(), replace(TOKENS, limit=replace(TOKENS.limit, maximum=100))
    never = replace(held(0), layout=Layout(1, (small,)))
    stopped = replace(held(0), suspension=suspend(None, "unpaid", "person", NOW_MS))
    assert [told(waits, one, 0) for one in (never, stopped)] == [None, None]


def test_the_meter_of_open_reservations_waits_alike() -> None:
    one = InstalledLimit(limit("1h", 1, meter=Meter.OPEN_RESERVATIONS), "0", 1)
    gauge = Gauge("acme", 1, Layout(1, (one,)), {}, holds={held_name("n", BUCKET): 1})
    assert [told(waits, gauge, after_ms) for waits in (Waits(),) for after_ms in (0, 7_000)] == [1_000, 7_000]
