"""Names of holds, what they say at an instant, and what is charged."""

from dataclasses import replace

import pytest

from bedrock_meter.limits.gauge import Gauge, read
from bedrock_meter.limits.holds import (
    EXPIRY_BUCKET_MS,
    MARGIN_MS,
    bucket_end_ms,
    charged_name,
    charges,
    expiry_bucket,
    held_name,
    hold_key,
    is_hold,
    marked_name,
    next_end_ms,
    passed,
    reserved,
)
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit, decode_layout, encode_layout, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import Scope
from bedrock_meter.limits.windows import RollingWindow, base36
from bedrock_meter.storage.gauges import is_bucket
from tests.doubles.records import NOW_MS


def installed(meter: Meter, slot: str = "0", maximum: int = 100) -> InstalledLimit:
    return InstalledLimit(Limit(f"limit-{slot}", meter, RollingWindow(3600), maximum), slot, 1)


@pytest.mark.parametrize("expires_ms", [0, 1, EXPIRY_BUCKET_MS - MARGIN_MS, NOW_MS, NOW_MS + 299_999])
def test_a_hold_counts_for_a_margin_longer_than_its_reservation_and_no_longer_than_a_bucket(expires_ms: int) -> None:
    end_ms = bucket_end_ms(expiry_bucket(expires_ms))
    assert MARGIN_MS <= end_ms - expires_ms < MARGIN_MS + EXPIRY_BUCKET_MS


def test_an_expired_bucket_is_not_counted_from_its_end_on() -> None:
    bucket = expiry_bucket(NOW_MS)
    holds = {held_name("t", bucket): 7, held_name("t", bucket + 1): 5, held_name("r", bucket): 1}
    end_ms = bucket_end_ms(bucket)
    assert reserved(holds, "t", end_ms - 1) == 12
    assert reserved(holds, "t", end_ms) == 5
    assert reserved(holds, "r", end_ms - 1) == 1
    assert reserved(holds, "i", NOW_MS) == 0


def test_what_was_given_back_too_late_takes_nothing_from_others() -> None:
    bucket = expiry_bucket(NOW_MS)
    assert reserved({held_name("t", bucket): -3, held_name("t", bucket + 1): 5}, "t", NOW_MS) == 5


def test_buckets_are_pruned_when_every_clock_has_passed_them() -> None:
    bucket = expiry_bucket(NOW_MS)
    holds = {held_name("t", bucket): 7, charged_name("0"): 7}
    end_ms = bucket_end_ms(bucket)
    assert passed(holds, end_ms + EXPIRY_BUCKET_MS - 1) == ()
    assert passed(holds, end_ms + EXPIRY_BUCKET_MS) == (held_name("t", bucket),)


def test_names_are_neither_buckets_nor_anything_else_of_a_gauge() -> None:
    names = [held_name("t", expiry_bucket(NOW_MS)), held_name("A5", 7), charged_name("A"), marked_name("A")]
    assert len(set(names)) == 4
    assert all(is_hold(name) and not is_bucket(name) for name in names)
    others = ("pk", "sk", "schema", "rev", "v", "limits", "lease", "pending", "0abc", "Z9")
    assert not any(is_hold(name) for name in others)


def test_charges_are_what_buckets_gain_by_limit() -> None:
    assert charges({"0abc": 5, "0abd": 2, "Axyz": 1, "B1": -4, "xtABC": -9}) == {"c0": 7, "cA": 1}
    assert charges({"0abc-": 3, "0abc+": 8, "0abd-": 1, "A0-": -2}) == {"c0-": 4}
    assert charges({}) == {}


def test_a_limit_on_some_models_or_profiles_has_holds_of_its_own() -> None:
    for scope in (Scope(models=("a.*",)), Scope(profiles=("p1",))):
        limit = Limit("one", Meter.REQUESTS, RollingWindow(3600), 1, scope=scope)
        assert hold_key(InstalledLimit(limit, "B", 1)) == "B1"
    assert reserved({held_name("B1", 1): 4, held_name("r", 1): 2}, "B1", 0) == 4


def test_the_next_limit_of_a_slot_has_other_holds_and_a_changed_maximum_the_same() -> None:
    scoped = Limit("one", Meter.REQUESTS, RollingWindow(3600), 1, scope=Scope(models=("a.*",)))
    first = plan_change(Layout(35, ()), [scoped]).next
    assert [hold_key(one) for one in first.limits] == ["010"]
    changed = plan_change(first, [replace(scoped, maximum=5, name="two")]).next
    assert [(one.version, hold_key(one)) for one in changed.limits] == [(37, "010")]
    assert decode_layout(encode_layout(changed), 37) == changed
    again = plan_change(plan_change(changed, []).next, [scoped]).next
    assert [(one.slot, hold_key(one)) for one in again.limits] == [("0", "013")]
    # One key's name begins like the other's, and still they are two.
    holds = {held_name("01", 1): 4, held_name("013", 1): 2}
    assert [reserved(holds, key, 0) for key in ("01", "013", "0")] == [4, 2, 0]


def test_less_is_held_from_the_end_of_the_next_expiry_bucket_on() -> None:
    bucket = expiry_bucket(NOW_MS)
    holds = {held_name("t", bucket): 7, held_name("t", bucket + 1): -5, held_name("t", bucket + 2): 5}
    ends_ms = [bucket_end_ms(bucket), bucket_end_ms(bucket + 2)]
    assert [next_end_ms(holds, "t", at_ms) for at_ms in (NOW_MS, ends_ms[0] - 1)] == [ends_ms[0]] * 2
    assert [next_end_ms(holds, "t", at_ms) for at_ms in ends_ms] == [ends_ms[1], None]
    assert next_end_ms(holds, "r", NOW_MS) is None


def test_what_one_update_removes_is_bounded() -> None:
    names = [held_name("t", number) for number in range(150)]
    assert len(passed(names, NOW_MS)) == 100


def test_limits_of_one_meter_share_a_key_and_every_meter_has_its_own() -> None:
    keys = [hold_key(installed(meter)) for meter in Meter]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 1 and key.islower() for key in keys)


@pytest.mark.parametrize("meter", list(Meter))
def test_every_meter_can_be_stored(meter: Meter) -> None:
    layout = Layout(3, (installed(meter),))
    assert decode_layout(encode_layout(layout), 3) == layout


def test_base36() -> None:
    assert [base36(number) for number in (0, 35, 36, 1295)] == ["0", "Z", "10", "ZZ"]
    with pytest.raises(ValueError, match="1970"):
        base36(-1)


def test_a_reading_leaves_out_what_is_reserved() -> None:
    bucket = expiry_bucket(NOW_MS)
    one = installed(Meter.TOTAL_TOKENS)
    gauge = Gauge(
        "acme", 1, Layout(1, (one,)), {f"0{base36(NOW_MS // 300_000)}": 60}, holds={held_name("t", bucket): 30}
    )
    (reading,) = read(gauge, NOW_MS)
    assert (reading.used, reading.reserved, reading.remaining, reading.overage) == (60, 30, 10, 0)
    assert (reading.allowed, reading.throttled_until_ms) == (True, None)


def test_what_is_reserved_denies_without_a_throttle() -> None:
    bucket = expiry_bucket(NOW_MS)
    gauge = Gauge("acme", 1, Layout(1, (installed(Meter.TOTAL_TOKENS),)), {}, holds={held_name("t", bucket): 130})
    (reading,) = read(gauge, NOW_MS)
    assert (reading.used, reading.reserved, reading.remaining, reading.overage) == (0, 130, 0, 0)
    assert (reading.allowed, reading.throttled_until_ms, reading.frees_at_ms) == (False, None, None)
