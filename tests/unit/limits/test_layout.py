"""Layouts: their text in the gauge, and what a change keeps, seeds and drops."""

from dataclasses import replace

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.limit import (
    MAX_LIMITS,
    NO_LIMITS,
    SLOTS,
    InstalledLimit,
    Layout,
    Limit,
    decode_layout,
    encode_layout,
    plan_change,
)
from bedrock_meter.limits.meters import MAX_AMOUNT, Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import CalendarWindow, RollingWindow

MINUTE, HOUR = RollingWindow(60), RollingWindow(3_600)
MONTH = CalendarWindow("month", "Europe/Berlin", 15)


def limit(name: str, meter: Meter = Meter.TOTAL_TOKENS, window: RollingWindow | CalendarWindow = HOUR) -> Limit:
    return Limit(name, meter, window, 1_000)


CLAUDE = Scope(models=("anthropic.claude-*",))
ONE_PROFILE = Scope(profiles=("p1",))
TYPICAL = Layout(
    7,
    (
        InstalledLimit(Limit("total_tokens-1h", Meter.TOTAL_TOKENS, HOUR, 1_000_000), "0", 3),
        InstalledLimit(Limit("output_tokens-month-15", Meter.OUTPUT_TOKENS, MONTH, 2_500_000, hard=True), "1", 7),
        InstalledLimit(Limit("requests-1m", Meter.REQUESTS, MINUTE, 60), "2", 1),
    ),
)

ENCODED = [
    (NO_LIMITS, "[]"),
    (
        TYPICAL,
        '["Europe/Berlin",["0",3,"t","1h",1000000],["1",7,"o","month@15",2500000,1],["2",1,"r","1m",60]]',
    ),
    (
        Layout(
            9,
            (
                InstalledLimit(Limit("all", Meter.CACHE_READ_TOKENS, HOUR, 0, True, (1, 1000)), "Z", 9, since_ms=0),
                InstalledLimit(Limit("none", Meter.CACHE_WRITE_TOKENS, HOUR, 5, thresholds=()), "A", 1),
                InstalledLimit(Limit("since", Meter.INPUT_TOKENS, MINUTE, 5), "B", 2, since_ms=1_785_000_000_000),
            ),
        ),
        '["",["Z",9,"c","1h",0,1,"all",[1,1000],0],["A",1,"w","1h",5,0,"none",[]],'
        '["B",2,"i","1m",5,0,"since",0,1785000000000]]',
    ),
    (
        Layout(
            2,
            (
                InstalledLimit(Limit("requests-day", Meter.REQUESTS, CalendarWindow("day", "UTC"), 5), "0", 1),
                InstalledLimit(Limit("tokyo", Meter.REQUESTS, CalendarWindow("day", "Asia/Tokyo"), 5), "1", 2),
            ),
        ),
        '["UTC",["0",1,"r","day",5],["1",2,"r","day Asia/Tokyo",5,0,"tokyo"]]',
    ),
    (
        Layout(
            3,
            (
                InstalledLimit(Limit("cost_usd-1h", Meter.COST_USD, HOUR, 5 * 10**9, scope=CLAUDE), "0", 1),
                InstalledLimit(
                    Limit("weighted_tokens-1m", Meter.WEIGHTED_TOKENS, MINUTE, 5, scope=ONE_PROFILE), "1", 2, since_ms=7
                ),
            ),
        ),
        '["",["0",1,"u","1h",5000000000,0,0,0,null,[["anthropic.claude-*"],[]]],'
        '["1",2,"x","1m",5,0,0,0,7,[[],["p1"]]]]',
    ),
    (
        Layout(
            9,
            (
                InstalledLimit(
                    Limit("cost_usd-1h", Meter.COST_USD, HOUR, 5, when_unpriced="deny"), "0", 9, slot_version=7
                ),
                InstalledLimit(Limit("cost_usd-1m", Meter.COST_USD, MINUTE, 5, True, when_unpriced="allow"), "1", 2),
            ),
        ),
        '["",["0",9,"u","1h",5,0,0,0,null,0,0,0,0,"deny",2],["1",2,"u","1m",5,1,0,0,null,0,0,0,0,"allow"]]',
    ),
    (Layout(4, (), reserves=True), '["",1]'),
    (
        Layout(
            6,
            (InstalledLimit(Limit("requests-day", Meter.REQUESTS, CalendarWindow("day", "UTC"), 5), "1", 6),),
            closing=(InstalledLimit(Limit("a", Meter.REQUESTS, CalendarWindow("day", "Asia/Tokyo"), 5), "0", 1),),
        ),
        '["UTC",["1",6,"r","day",5],[["0",1,"r","day Asia/Tokyo",5,0,"a"]]]',
    ),
    (
        Layout(7, (), True, (InstalledLimit(Limit("a", Meter.REQUESTS, CalendarWindow("day", "UTC"), 5), "0", 1),)),
        '["",1,[["0",1,"r","day UTC",5,0,"a"]]]',
    ),
    (
        Layout(5, (InstalledLimit(Limit("requests-1h", Meter.REQUESTS, HOUR, 5), "0", 1),), reserves=True),
        '["",1,["0",1,"r","1h",5]]',
    ),
]


@pytest.mark.parametrize(("layout", "text"), ENCODED)
def test_the_encoded_layout_is_read_back_exactly(layout: Layout, text: str) -> None:
    assert encode_layout(layout) == text
    assert decode_layout(text, layout.version) == layout


def test_whether_a_tenant_reserves_stays_until_somebody_says_otherwise() -> None:
    marked = plan_change(TYPICAL, [], reserves=True).next
    assert marked.reserves
    assert plan_change(marked, [limit("a")]).next.reserves
    assert not plan_change(marked, [], reserves=False).next.reserves


def test_the_order_of_a_scope_is_no_change_of_its_buckets() -> None:
    one, other = (replace(limit("a"), scope=Scope(models=models)) for models in (("a.*", "b.*"), ("b.*", "a.*")))
    change = plan_change(installed(one), [other])
    assert (change.kept, change.seeded, change.next.version) == (("0",), (), 2)


def test_decoding_the_same_text_gives_the_same_object() -> None:
    text = encode_layout(TYPICAL)
    assert decode_layout(text, 7) is decode_layout(text, 7)
    assert decode_layout(text, 8) == replace(TYPICAL, version=8)


BROKEN = [
    "",
    "nonsense",
    "{}",
    "null",
    "7",
    '["",["0",1,"t","1h"]]',
    '["",["0",1,"?","1h",5]]',
    '["",["0",1,"t","1 month",5]]',
    '["",["0",1,"t",null,5]]',
    '["",["0",1,"t","1h",-5]]',
    '["",["0",1,"t","1h",5,0,0,0,0,0,0,0,0,0,0,0]]',
    '["",["0",1,"t","1h",5,0,0,0,null,0,0,0,0,"deny"]]',
    '["",["0",1,"u","1h",5,0,0,0,null,0,0,0,0,"never"]]',
    '["",["0",1,"t","1h",5,0,0,0,null,[["a"]]]]',
    '["",["0",1,"t","1h",5,0,0,0,null,[["a",7],[]]]]',
    '["",["0",1,"t","1h",5,0,0,0,null,[["a","a"],[]]]]',
    '["",["a",1,"t","1h",5]]',
    '["",[]]',
    '["",[[]]]',
    '["UTC",["0",1,"t","day",5],[["0",1,"r","day",5]]]',
    '["",["01",1,"t","1h",5]]',
    '["",["0",1,"t","1h",5],["0",1,"r","1h",5]]',
    '["Nowhere/At_All",["0",1,"t","day",5]]',
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_layout_is_refused(text: str) -> None:
    with pytest.raises(InvalidDefinition):
        decode_layout(text, 1)


def test_three_limits_take_few_bytes() -> None:
    assert len(encode_layout(TYPICAL)) == 95
    longest = Layout(
        99_999,
        tuple(
            InstalledLimit(Limit(letter * 32, Meter.TOTAL_TOKENS, MONTH, MAX_AMOUNT, hard=True), letter, 99_999)
            for letter in "ABC"
        ),
    )
    assert len(encode_layout(longest)) <= 280


def names_and_slots(layout: Layout) -> list[tuple[str, str, int]]:
    return [(installed.name, installed.slot, installed.version) for installed in layout.limits]


def installed(*limits: Limit) -> Layout:
    return plan_change(NO_LIMITS, limits).next


def test_first_limits_take_the_lowest_slots_and_are_seeded() -> None:
    change = plan_change(NO_LIMITS, [limit("a"), limit("b", Meter.REQUESTS)])
    assert names_and_slots(change.next) == [("a", "0", 1), ("b", "1", 1)]
    assert change.next.version == 1
    assert (change.kept, change.seeded, change.dropped_slots) == ((), change.next.limits, ())


def test_the_same_limits_again_change_nothing_but_the_version() -> None:
    current = installed(limit("a"), limit("b", Meter.REQUESTS))
    change = plan_change(current, [limit("a"), limit("b", Meter.REQUESTS)])
    assert change.next == replace(current, version=2)
    assert (change.kept, change.seeded, change.dropped_slots) == (("0", "1"), (), ())


@pytest.mark.parametrize(
    "changed",
    [
        replace(limit("a"), maximum=2_000),
        replace(limit("a"), hard=True),
        replace(limit("a"), thresholds=(90,)),
        replace(limit("a"), name="renamed"),
    ],
)
def test_what_does_not_touch_the_buckets_keeps_them_under_a_new_version(changed: Limit) -> None:
    since = Layout(1, tuple(replace(one, since_ms=5) for one in installed(limit("a")).limits))
    change = plan_change(since, [changed])
    assert change.next.limits == (InstalledLimit(changed, "0", 2, since_ms=5, slot_version=1),)
    assert (change.kept, change.seeded, change.dropped_slots) == (("0",), (), ())


@pytest.mark.parametrize(
    "changed",
    [
        limit("a", Meter.REQUESTS),
        limit("a", window=MINUTE),
        limit("a", window=CalendarWindow("month", "Europe/Berlin", 14)),
        limit("a", window=CalendarWindow("month", "Europe/Paris", 15)),
        limit("a", window=CalendarWindow("day", "Europe/Berlin")),
        replace(limit("a"), scope=CLAUDE),
        replace(limit("a"), scope=ONE_PROFILE),
    ],
)
def test_another_meter_or_window_is_seeded_into_a_slot_of_its_own(changed: Limit) -> None:
    change = plan_change(installed(limit("a", window=MONTH)), [changed])
    assert change.next.limits == change.seeded == (InstalledLimit(changed, "1", 2),)
    assert (change.kept, change.dropped_slots) == ((), ("0",))


def test_order_follows_the_wanted_limits() -> None:
    current = installed(limit("a"), limit("b", Meter.REQUESTS))
    change = plan_change(current, [limit("c", Meter.INPUT_TOKENS), limit("b", Meter.REQUESTS), limit("a")])
    assert names_and_slots(change.next) == [("c", "2", 2), ("b", "1", 1), ("a", "0", 1)]
    assert change.kept == ("1", "0")


def test_of_two_limits_over_the_same_buckets_each_keeps_its_own_by_name() -> None:
    current = installed(limit("soft"), replace(limit("stop"), hard=True))
    change = plan_change(current, [replace(limit("stop"), hard=True), limit("soft")])
    assert names_and_slots(change.next) == [("stop", "1", 1), ("soft", "0", 1)]


def test_a_name_wins_over_the_order_and_the_rest_is_adopted() -> None:
    current = installed(limit("a"), limit("b"))
    change = plan_change(current, [limit("new"), limit("a")])
    assert names_and_slots(change.next) == [("new", "1", 2), ("a", "0", 1)]
    assert (change.seeded, change.dropped_slots) == ((), ())


def test_a_slot_is_free_again_one_change_later() -> None:
    first = installed(limit("a"))
    second = plan_change(first, [limit("b", Meter.REQUESTS)])
    third = plan_change(second.next, [limit("b", Meter.REQUESTS), limit("a")])
    assert names_and_slots(third.next) == [("b", "1", 2), ("a", "0", 3)]
    assert third.seeded == third.next.limits[1:]


def test_all_limits_can_be_replaced_at_once() -> None:
    current = installed(*(limit(f"a{number}") for number in range(MAX_LIMITS)))
    change = plan_change(current, [limit(f"b{number}", Meter.REQUESTS) for number in range(MAX_LIMITS)])
    assert len(change.seeded) == len(change.dropped_slots) == MAX_LIMITS
    assert {one.slot for one in change.next.limits} | set(change.dropped_slots) == set(SLOTS)


def test_removing_all_limits() -> None:
    change = plan_change(installed(limit("a"), limit("b", Meter.REQUESTS)), [])
    assert change.next == Layout(2, ())
    assert change.dropped_slots == ("0", "1")


def test_too_many_limits_are_refused() -> None:
    wanted = [limit(f"a{number}") for number in range(MAX_LIMITS + 1)]
    with pytest.raises(InvalidDefinition, match="19 limits: a tenant has at most 18"):
        plan_change(NO_LIMITS, wanted)
    with pytest.raises(InvalidDefinition, match="19 limits: a tenant has at most 18"):
        Layout(1, tuple(InstalledLimit(one, slot, 1) for one, slot in zip(wanted, SLOTS, strict=False)))


def test_a_name_used_twice_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="'a' is the name of two limits: give each a name of its own"):
        plan_change(NO_LIMITS, [limit("a"), limit("a", Meter.REQUESTS)])


def test_an_installed_limit_answers_for_its_limit() -> None:
    one = InstalledLimit(Limit("a", Meter.REQUESTS, MONTH, 5, True, (10,)), "0", 1)
    assert (one.name, one.meter, one.window) == ("a", Meter.REQUESTS, MONTH)
    assert (one.maximum, one.hard, one.thresholds) == (5, True, (10,))
