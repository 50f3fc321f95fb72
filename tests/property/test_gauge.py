"""The gauge against an exact log of events, and layouts and seeds against recording."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.explanation import explain, range_of
from bedrock_meter.limits.gauge import (
    CLOSING_GRACE_MS,
    bucket_for,
    falls_below_ms,
    late_buckets,
    read_buckets,
    stale_buckets,
)
from bedrock_meter.limits.holds import hold_key
from bedrock_meter.limits.limit import (
    DEFAULT_THRESHOLDS,
    MAX_LIMITS,
    SLOTS,
    InstalledLimit,
    Layout,
    Limit,
    decode_layout,
    encode_layout,
    plan_change,
)
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.scope import WHOLE, Scope
from bedrock_meter.limits.seeding import seed
from bedrock_meter.limits.windows import QUARTER_MS, CalendarWindow, RollingWindow
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums

BASE_MS = 1_785_000_000_000
FUTURE_MS = 300_000

Event = tuple[int, int]  # how many ms before (or, negative, after) now; amount

rolling = st.sampled_from([60, 120, 300, 3_600, 86_400, 31 * 86_400]).map(RollingWindow)
calendar = st.builds(
    CalendarWindow,
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]),
)
amounts = st.one_of(st.integers(1, 20), st.integers(1, MAX_AMOUNT))
nows = st.integers(BASE_MS, BASE_MS + 10**9)


def limit(window: RollingWindow | CalendarWindow, maximum: int = 100, *, hard: bool = False) -> InstalledLimit:
    return InstalledLimit(Limit("limit", Meter.REQUESTS, window, maximum, hard), "0", 1)


@st.composite
def logs(draw: st.DrawFn, window: RollingWindow) -> list[Event]:
    """Events around the edges of the window as well as anywhere; some from clocks that are ahead."""
    sub_ms = window.sub_ms
    edges = st.builds(lambda edge, off: edge * sub_ms + off, st.integers(0, 15), st.integers(-2, 2))
    ages = st.one_of(edges, st.integers(-FUTURE_MS, 15 * sub_ms))
    return draw(st.lists(st.tuples(ages, amounts), max_size=12))


def record(installed: InstalledLimit, log: Iterable[Event], now_ms: int, lag_ms: int = 0) -> dict[str, int]:
    """What recorders leave in the gauge; each event is recorded ``lag_ms`` after it happened, at the latest now."""
    buckets: dict[str, int] = {}
    for age_ms, amount in log:
        event_ms = now_ms - age_ms
        name = bucket_for(installed, event_ms, min(now_ms, event_ms + lag_ms))
        if name is not None:
            buckets[name] = buckets.get(name, 0) + amount
    return buckets


def used(installed: InstalledLimit, buckets: dict[str, int], now_ms: int) -> int:
    (reading,) = read_buckets(Layout(1, (installed,)), buckets, now_ms)
    return reading.used


def exact(log: Iterable[Event], length_ms: int) -> int:
    """What an exact log says: the sum over events younger than ``length_ms``."""
    return sum(amount for age_ms, amount in log if age_ms < length_ms)


lags = st.sampled_from([0, 1_000, 10**10])


@settings(max_examples=300)
@given(st.data(), rolling, nows, lags)
def test_a_hard_window_never_counts_too_little_nor_a_sub_bucket_too_long(
    data: st.DataObject, window: RollingWindow, now_ms: int, lag_ms: int
) -> None:
    log, installed = data.draw(logs(window)), limit(window, hard=True)
    total = used(installed, record(installed, log, now_ms, lag_ms), now_ms)
    assert total >= exact(log, window.length_ms + 1)
    assert total <= exact(log, window.length_ms + window.sub_ms)


@settings(max_examples=300)
@given(st.data(), rolling, nows, lags)
def test_a_soft_window_is_between_one_sub_bucket_less_and_more(
    data: st.DataObject, window: RollingWindow, now_ms: int, lag_ms: int
) -> None:
    log, installed = data.draw(logs(window)), limit(window)
    buckets = record(installed, log, now_ms, lag_ms)
    total = used(installed, buckets, now_ms)
    assert exact(log, window.length_ms - window.sub_ms + 1) <= total
    assert total <= exact(log, window.length_ms + window.sub_ms)
    assert total <= used(replace(installed, limit=replace(installed.limit, hard=True)), buckets, now_ms)


@settings(max_examples=400)
@given(st.data(), rolling, st.booleans(), nows)
def test_throttled_until_is_the_first_instant_that_allows(
    data: st.DataObject, window: RollingWindow, hard: bool, now_ms: int
) -> None:
    log = data.draw(logs(window))
    total = sum(amount for _, amount in log)
    maximum = data.draw(st.integers(0, min(max(total, 1), MAX_AMOUNT)))
    installed = limit(window, maximum, hard=hard)
    buckets = record(installed, log, now_ms)
    (reading,) = read_buckets(Layout(1, (installed,)), buckets, now_ms)
    until_ms = reading.throttled_until_ms
    assert reading.allowed == (reading.used < maximum)
    assert (until_ms is None) == (reading.allowed or maximum == 0)
    if until_ms is not None:
        assert until_ms > now_ms
        assert used(installed, buckets, until_ms) < maximum
        assert used(installed, buckets, until_ms - 1) >= maximum
        between_ms = data.draw(st.integers(now_ms, until_ms - 1))
        assert used(installed, buckets, between_ms) >= maximum
        after_ms = data.draw(st.integers(until_ms, until_ms + 2 * window.length_ms))
        assert used(installed, buckets, after_ms) < maximum
    if reading.frees_at_ms is not None:
        assert used(installed, buckets, reading.frees_at_ms) < reading.used
        assert used(installed, buckets, reading.frees_at_ms - 1) == reading.used
    assert (reading.frees_at_ms is None) == (reading.used == 0)


@given(
    st.lists(st.tuples(st.integers(0, 14 * 5_000), st.integers(1, 9)), max_size=5), st.booleans(), st.integers(1, 45)
)
def test_falling_below_agrees_with_looking_at_every_instant(log: list[Event], hard: bool, amount: int) -> None:
    # The shortest window, looked at every 250 ms until everything has left it.
    installed, now_ms = limit(RollingWindow(60), hard=hard), BASE_MS
    log = [(age_ms // 250 * 250, count) for age_ms, count in log]
    buckets = record(installed, log, now_ms)
    falls_ms = falls_below_ms(installed, buckets, amount, now_ms)
    assert falls_ms is not None
    looks = range(now_ms, now_ms + 75_000, 250)
    first_seen = next(at_ms for at_ms in looks if used(installed, buckets, at_ms) < amount)
    assert first_seen - 250 < falls_ms <= first_seen


@given(st.data(), rolling, st.booleans(), nows)
def test_usage_only_falls_when_nothing_is_used(
    data: st.DataObject, window: RollingWindow, hard: bool, now_ms: int
) -> None:
    installed = limit(window, hard=hard)
    buckets = record(installed, data.draw(logs(window)), now_ms)
    steps = data.draw(st.lists(st.integers(0, window.sub_ms * 2), max_size=8))
    seen = [used(installed, buckets, now_ms)]
    for step_ms in steps:
        now_ms += step_ms
        seen.append(used(installed, buckets, now_ms))
    assert seen == sorted(seen, reverse=True)


@given(st.data(), st.one_of(rolling, calendar), st.booleans(), nows, st.integers(0, 40 * 86_400_000))
def test_pruning_changes_no_reading_from_then_on(
    data: st.DataObject, window: RollingWindow | CalendarWindow, hard: bool, now_ms: int, later_ms: int
) -> None:
    installed = limit(window, maximum=50, hard=hard)
    layout = Layout(1, (installed,))
    span_ms = 15 * window.sub_ms if isinstance(window, RollingWindow) else 90 * 86_400_000
    log = data.draw(st.lists(st.tuples(st.integers(-FUTURE_MS, span_ms), amounts), max_size=12))
    buckets = record(installed, log, now_ms, data.draw(lags))
    stale = stale_buckets(layout, buckets, now_ms)
    pruned = {name: amount for name, amount in buckets.items() if name not in stale}
    for at_ms in (now_ms, now_ms + later_ms):
        assert read_buckets(layout, pruned, at_ms) == read_buckets(layout, buckets, at_ms)
    assert late_buckets(layout, pruned) == late_buckets(layout, buckets)
    assert stale_buckets(layout, pruned, now_ms) == ()


@given(calendar, st.lists(st.tuples(st.integers(-FUTURE_MS, 90 * 86_400_000), amounts), max_size=12), nows, lags)
def test_calendar_usage_is_exact_and_nothing_is_lost(
    window: CalendarWindow, log: list[Event], now_ms: int, lag_ms: int
) -> None:
    installed = limit(window)
    buckets = record(installed, log, now_ms, lag_ms)
    start_ms, end_ms = window.bounds(now_ms)
    assert used(installed, buckets, now_ms) == sum(
        amount for age_ms, amount in log if start_ms <= now_ms - age_ms < end_ms
    )
    assert sum(buckets.values()) == sum(amount for _, amount in log)
    late: dict[int, int] = {}
    for age_ms, amount in log:
        event_ms = now_ms - age_ms
        window_start_ms, closed_ms = window.bounds(event_ms)
        if min(now_ms, event_ms + lag_ms) >= closed_ms + CLOSING_GRACE_MS:
            late[window_start_ms] = late.get(window_start_ms, 0) + amount
    found = late_buckets(Layout(1, (installed,)), buckets)
    assert [(bucket.window_start_ms, bucket.amount) for bucket in found] == sorted(late.items())


aligned = st.one_of(calendar, st.sampled_from([3, 6, 24, 31 * 24]).map(lambda hours: RollingWindow(hours * 3_600)))


@given(aligned, st.booleans(), st.lists(st.tuples(st.integers(-FUTURE_MS, 3_100 * QUARTER_MS), amounts)), nows)
def test_seeding_equals_recording_where_buckets_are_whole_quarter_hours(
    window: RollingWindow | CalendarWindow, hard: bool, happened: list[Event], now_ms: int
) -> None:
    installed = limit(window, hard=hard)
    rows = [((now_ms - age_ms) // QUARTER_MS * QUARTER_MS, amount) for age_ms, amount in happened]
    seeded, recorded = seed(window, installed, rows, now_ms), record(installed, happened, now_ms)
    layout = Layout(1, (installed,))
    assert read_buckets(layout, seeded, now_ms) == read_buckets(layout, recorded, now_ms)
    assert seeded.items() <= recorded.items()


@given(
    st.integers(15, 300),
    st.lists(st.tuples(st.integers(-FUTURE_MS, 30 * QUARTER_MS), amounts), max_size=20),
    nows,
    st.integers(0, 300 * 60_000),
)
def test_a_seeded_hard_window_never_counts_too_little_nor_a_quarter_hour_too_long(
    length_minutes: int, happened: list[Event], now_ms: int, later_ms: int
) -> None:
    # Calls from clocks ahead of ours are among them, as far ahead as is admitted. The window goes on moving, up to the
    # last instant at which each of them is in it.
    window = RollingWindow(length_minutes * 60)
    installed = limit(window, hard=True)
    rows = [((now_ms - age_ms) // QUARTER_MS * QUARTER_MS, amount) for age_ms, amount in happened]
    seeded = seed(window, installed, rows, now_ms)
    lasts = [window.length_ms - age_ms - 1 for age_ms, _ in happened if age_ms < window.length_ms]
    for passed_ms in (0, later_ms, *lasts):
        then = [(age_ms + passed_ms, amount) for age_ms, amount in happened]
        total = used(installed, seeded, now_ms + passed_ms)
        assert total >= exact(then, window.length_ms + 1)
        assert total <= exact(then, window.length_ms + window.sub_ms + QUARTER_MS)


@settings(max_examples=200)
@given(st.data(), rolling, st.booleans(), nows, st.booleans())
def test_an_explanation_is_never_below_used_nor_a_sub_bucket_and_a_quarter_hour_above(
    data: st.DataObject, window: RollingWindow, hard: bool, now_ms: int, is_seeded: bool
) -> None:
    log, installed = data.draw(logs(window)), limit(window, hard=hard)
    rows: dict[RollupKey, Sums] = {}
    for age_ms, amount in log:
        key = RollupKey("acme", (now_ms - age_ms) // QUARTER_MS * QUARTER_MS, "p", "m")
        rows[key] = rows.get(key, NOTHING) + Sums(requests=amount)
    quarters = [(key.quarter_ms, sums.requests) for key, sums in rows.items()]
    buckets = seed(window, installed, quarters, now_ms) if is_seeded else record(installed, log, now_ms)
    (reading,) = read_buckets(Layout(1, (installed,)), buckets, now_ms)
    from_ms, to_ms = range_of(reading, now_ms)
    page = sorted((key, sums) for key, sums in rows.items() if from_ms <= key.quarter_ms < to_ms)
    found = explain(reading, [page], now_ms, max_pages=2)
    assert found.is_complete
    assert found.total >= reading.used
    assert found.total <= exact(log, window.length_ms + window.sub_ms + QUARTER_MS)


limits = st.builds(
    Limit,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True),
    st.sampled_from(Meter),
    st.one_of(rolling, calendar),
    st.integers(0, MAX_AMOUNT),
    st.booleans(),
    st.one_of(
        st.just(DEFAULT_THRESHOLDS),
        st.lists(st.integers(1, 1000), unique=True, max_size=5).map(lambda levels: tuple(sorted(levels))),
    ),
    st.builds(
        Scope,
        st.lists(st.sampled_from(["anthropic.*", "amazon.nova-?ite*", "*"]), unique=True, max_size=3).map(tuple),
        st.lists(st.from_regex(r"[a-z0-9]{12}", fullmatch=True), unique=True, max_size=3).map(tuple),
    ),
)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    defined = draw(st.lists(limits, max_size=MAX_LIMITS, unique_by=lambda one: one.name))
    slots = draw(st.permutations(SLOTS))
    version = draw(st.integers(0, 10**6))
    since = st.one_of(st.none(), st.integers(0, BASE_MS))
    return Layout(
        version,
        tuple(
            InstalledLimit(
                one, slot, changed := draw(st.integers(0, version)), draw(since), draw(st.integers(0, changed))
            )
            for one, slot in zip(defined, slots, strict=False)
        ),
    )


@given(layouts())
def test_a_layout_survives_its_encoding(layout: Layout) -> None:
    text = encode_layout(layout)
    assert decode_layout(text, layout.version) == layout
    assert text.isascii()


def counts(installed: InstalledLimit) -> tuple[object, ...]:
    scope = installed.scope
    return installed.meter, installed.window, set(scope.models), set(scope.profiles)


@given(layouts(), st.lists(limits, max_size=MAX_LIMITS, unique_by=lambda one: one.name), st.data())
def test_a_change_gives_exactly_the_wanted_limits_and_never_shares_a_bucket(
    current: Layout, wanted: list[Limit], data: st.DataObject
) -> None:
    wanted += [
        one.limit
        for one in data.draw(st.permutations(current.limits))
        if len(wanted) < MAX_LIMITS and one.name not in {other.name for other in wanted}
    ][: MAX_LIMITS - len(wanted)]
    change = plan_change(current, wanted)
    before = {one.slot: one for one in current.limits}
    after = {one.slot: one for one in change.next.limits}
    assert [one.limit for one in change.next.limits] == wanted
    assert change.next.version == current.version + 1
    assert set(change.kept) == set(before) & set(after)
    assert set(change.dropped_slots) == set(before) - set(after)
    assert {one.slot for one in change.seeded} == set(after) - set(before)
    for slot in change.kept:
        assert counts(before[slot]) == counts(after[slot])
        assert after[slot].version == (
            before[slot].version if before[slot].limit == after[slot].limit else change.next.version
        )
        assert after[slot].slot_version == before[slot].slot_version
    assert all(one.slot_version == change.next.version for one in change.seeded)
    # Whatever fits the buckets that are there is kept, not seeded.
    dropped = [counts(before[slot]) for slot in change.dropped_slots]
    assert not [one for one in change.seeded if counts(one) in dropped]
    assert plan_change(change.next, wanted).next.limits == change.next.limits


@given(st.lists(st.lists(limits, max_size=4, unique_by=lambda one: one.name), max_size=8))
def test_a_name_of_holds_means_one_thing_whatever_limits_come_and_go(wanted: list[list[Limit]]) -> None:
    layout, meant, before = Layout(0, ()), dict[str, tuple[object, ...]](), set[str]()
    for limits_now in wanted:
        layout = plan_change(layout, limits_now).next
        scoped = {hold_key(one): counts(one) for one in layout.limits if one.scope != WHOLE}
        # Who comes back finds nothing of what it was before: it may have been changed meanwhile.
        assert not scoped.keys() & (meant.keys() - before)
        assert all(meant[key] == what for key, what in scoped.items() if key in meant)
        meant |= scoped
        before = set(scoped)
