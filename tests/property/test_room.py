"""When a call may be made that may not be made now: against looking at every second, for all limits at once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.boosts import Boost, least_maximum
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name, read
from bedrock_meter.limits.holds import EXPIRY_BUCKET_MS, held_name, hold_key, reserved
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import decide
from bedrock_meter.limits.scope import WHOLE, Scope
from bedrock_meter.limits.status import quota_status, rate_limit_headers
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow, Window

DAY_MS = 86_400_000
MIDNIGHT_MS = 20_500 * DAY_MS
NOW_MS = MIDNIGHT_MS - 120_000
"""Two minutes before a calendar window ends."""

LOOKS_S = (*range(900), 120 + 86_400, 120 + 2 * 86_400)
"""All has happened by the last of these seconds: boosts, holds and short windows after 900, then days alone."""

offsets = st.integers(-90_000, 600_000)
boosts = st.lists(
    st.tuples(offsets, offsets, st.integers(1, 30))
    .filter(lambda one: one[0] != one[1])
    .map(lambda one: Boost(NOW_MS + min(one[:2]), NOW_MS + max(one[:2]), one[2])),
    max_size=2,
).map(tuple)
windows: st.SearchStrategy[Window] = st.sampled_from(
    [RollingWindow(60), RollingWindow(120), CalendarWindow("day", "UTC")]
)
MODEL = "a.model"


@st.composite
def limits(draw: st.DrawFn, slot: str) -> InstalledLimit:
    limit = Limit(
        f"limit-{slot}",
        draw(st.sampled_from([Meter.TOTAL_TOKENS, Meter.COST_USD])),
        draw(windows),
        draw(st.integers(0, 20)),
        draw(st.booleans()),
        scope=draw(st.sampled_from([WHOLE, Scope(("a.*",)), Scope(("b.*",))])),
        shadow=draw(st.sampled_from([False, False, True])),
        boosts=draw(boosts),
    )
    return InstalledLimit(limit, slot, 1)


@st.composite
def gauges(draw: st.DrawFn) -> Gauge:
    installed = tuple(draw(limits(slot)) for slot in "012"[: draw(st.integers(1, 3))])
    buckets: dict[str, int] = {}
    for one in installed:
        for age_ms, amount, mark in draw(
            st.lists(
                st.tuples(st.integers(-300_000, 150_000), st.integers(1, 20), st.sampled_from(["", "", "-"])),
                max_size=3,
            )
        ):
            name = bucket_name(one.slot, one.window, NOW_MS - age_ms) + mark
            buckets[name] = buckets.get(name, 0) + amount
    holds = {
        held_name(hold_key(one), NOW_MS // EXPIRY_BUCKET_MS + ahead): amount
        for one in installed
        for ahead, amount in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 15)), max_size=2))
    }
    return Gauge("acme", 1, Layout(1, installed), buckets, holds=holds)


@settings(max_examples=150, deadline=None)
@given(gauges())
def test_retry_after_is_the_first_second_at_which_all_limits_allow(gauge: Gauge) -> None:
    headers = rate_limit_headers(gauge, NOW_MS)

    def allowed(after_s: int) -> bool:
        return all(reading.allowed for reading in read(gauge, NOW_MS + after_s * 1_000))

    expected = next((second for second in LOOKS_S if allowed(second)), None)
    if expected == 0:
        assert "Retry-After" not in headers
        assert quota_status(gauge, NOW_MS)["allowed"]
    else:
        assert headers.get("Retry-After") == (None if expected is None else str(expected))


@settings(max_examples=150, deadline=None)
@given(gauges(), st.integers(0, 25), st.sampled_from([0, 1_000, 90_000]), st.booleans())
def test_a_denial_says_the_first_second_at_which_the_call_fits(
    gauge: Gauge, amount: int, lifetime_ms: int, given_back: bool
) -> None:
    estimate = Estimate(input_tokens=amount, cost_nano_usd=amount, model=MODEL)
    decision = decide(gauge, estimate, NOW_MS, NOW_MS, lifetime_ms)

    def fits(after_s: int) -> bool:
        at_ms = NOW_MS + after_s * 1_000
        for one in read(gauge, at_ms):
            held = 0 if given_back else reserved(gauge.holds, hold_key(one.limit), at_ms)
            least = least_maximum(one.limit.maximum, one.limit.boosts, at_ms, at_ms + lifetime_ms)
            is_touched = not one.limit.shadow and one.limit.scope.covers("", MODEL)
            if is_touched and (one.used + held + max(1, amount) > least or one.is_denied_by_unpriced):
                return False
        return True

    expected = next((second * 1_000 for second in LOOKS_S if fits(second)), None)
    assert (decision.soonest_ms if given_back else decision.retry_after_ms) == expected
    if not given_back:
        assert decision.allowed == (expected == 0)
