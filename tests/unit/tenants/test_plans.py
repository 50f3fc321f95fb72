"""What plans and a tenant's own part say together."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.limit import MAX_LIMITS
from bedrock_meter.limits.windows import CalendarWindow
from bedrock_meter.tenants.file import parse, parse_plans
from bedrock_meter.tenants.plans import (
    Plan,
    by_name,
    completed,
    effective_fail_policy,
    effective_limits,
    own_limits,
    parse_own_limits,
    parse_plan,
    source_of,
)
from bedrock_meter.tenants.tenant import TenantDefinition

HOUR = {"name": "hour", "meter": "total_tokens", "window": "1h", "max": "300k"}
MONTH = {"name": "month", "meter": "usd", "window": "month", "max": 100}
GOLD = parse_plan({"name": "gold", "limits": [HOUR, MONTH]})
FREE = parse_plan({"name": "free", "default": True, "limits": [{**HOUR, "max": 10}]})
PLANS = by_name([GOLD, FREE])


def tenant(*limits: object, **other: Any) -> TenantDefinition:
    (found,) = parse({"tenants": [{"id": "acme", "limits": list(limits), **other}]})
    return found


def maxima(definition: TenantDefinition, plans: dict[str, Plan] = PLANS) -> dict[str, int]:
    return {limit.name: limit.maximum for limit in effective_limits(definition, plans)}


def test_a_tenant_has_the_limits_of_its_plan_then_its_own() -> None:
    own = {"meter": "requests", "window": "1h", "max": 5}
    assert maxima(tenant(own, plan="gold")) == {"hour": 300_000, "month": 100 * 10**9, "requests-1h": 5}


def test_its_own_limit_of_the_same_name_stands_in_its_place() -> None:
    own = {**HOUR, "max": 7}
    assert list(maxima(tenant(own, plan="gold")).items()) == [("hour", 7), ("month", 100 * 10**9)]


def test_a_limit_of_the_plan_can_be_taken_away() -> None:
    assert maxima(tenant({"name": "hour", "remove": True}, plan="gold")) == {"month": 100 * 10**9}
    assert maxima(tenant({"name": "nothing", "remove": True}, plan="gold")).keys() == {"hour", "month"}


def test_who_has_no_plan_has_the_default_one_if_there_is_one() -> None:
    assert maxima(tenant()) == {"hour": 10}
    assert maxima(tenant(), by_name([GOLD])) == {}


def test_a_plan_that_is_not_defined_is_refused_as_soon_as_there_are_plans() -> None:
    with pytest.raises(InvalidDefinition, match="'glod' is not defined; this stack has free, gold"):
        effective_limits(tenant(plan="glod"), PLANS)
    assert maxima(tenant(plan="glod"), {}) == {}


def test_a_plans_calendar_is_each_tenants_own_unless_it_names_a_zone() -> None:
    fixed = {**MONTH, "name": "fixed", "window": {"calendar": "month", "timezone": "UTC"}}
    plan = parse_plan({"name": "gold", "limits": [MONTH, fixed]})
    found = effective_limits(tenant(plan="gold", timezone="Asia/Tokyo"), by_name([plan]))
    assert [one.window for one in found] == [CalendarWindow("month", "Asia/Tokyo"), CalendarWindow("month", "UTC")]
    assert parse_plan(plan.document()) == plan


def test_limits_that_cannot_stand_together_are_refused() -> None:
    many = [{"name": f"own{number}", "meter": "requests", "window": "1h", "max": 1} for number in range(MAX_LIMITS)]
    with pytest.raises(InvalidDefinition, match="at most 18"):
        effective_limits(tenant(*many, plan="gold"), PLANS)
    with pytest.raises(InvalidDefinition, match="name of two limits"):
        effective_limits(tenant(HOUR, HOUR, plan="gold"), PLANS)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ([], "must be a mapping"),
        ({"name": ""}, "name: ''"),
        ({"name": "a b"}, "name: 'a b'"),
        ({"name": "a", "default": 1}, "default: 1"),
        ({"name": "a", "limits": {}}, "limits: must be a list"),
        ({"name": "a", "max": 3}, "unknown key 'max'"),
        ({"name": "a", "limits": [HOUR, HOUR]}, "name of two limits"),
        ({"name": "a", "limits": [{**HOUR, "window": "soon"}]}, r"limits\[0\].window"),
        ({"name": "a", "limits": [{**HOUR, "profiles": ["p1"]}]}, r"limits\[0\].profiles: a profile is one tenant's"),
        ({"name": "a", "limits": [{"name": "hour", "remove": True}]}, r"limits\[0\]"),
    ],
)
def test_what_is_wrong_in_a_plan_is_said(entry: object, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        parse_plan(entry)


def test_a_file_has_each_plan_once_and_one_default_at_most() -> None:
    with pytest.raises(InvalidDefinition, match=r"plans\[1\].name: plan a is defined twice"):
        parse_plans({"plans": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(InvalidDefinition, match=r"plans\[1\].default"):
        parse({"tenants": [], "plans": [{"name": "a", "default": True}, {"name": "b", "default": True}]})
    assert parse_plans({"tenants": []}) == ()


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "remove": False},
        {"name": "a", "remove": True, "max": 3},
        {"remove": True},
        {"name": 3, "remove": True},
    ],
)
def test_a_removal_is_only_that(entry: object) -> None:
    with pytest.raises(InvalidDefinition, match=r"limits\[0\]: write"):
        parse_own_limits([entry], "UTC")


def test_a_limit_is_not_both_defined_and_removed() -> None:
    with pytest.raises(InvalidDefinition, match="both defined and removed"):
        parse_own_limits([HOUR, {"name": "hour", "remove": True}], "UTC")


def test_its_own_part_is_written_as_it_is_read() -> None:
    definition = tenant(MONTH, {"name": "hour", "remove": True}, timezone="Europe/Berlin")
    assert parse_own_limits(own_limits(definition), "Europe/Berlin") == (definition.limits, ("hour",))


def test_where_a_limit_comes_from_is_said() -> None:
    definition = tenant(MONTH, plan="gold")
    assert [source_of(definition, name) for name in ("hour", "month")] == ["plan", "tenant"]


def test_what_was_stored_before_there_were_plans_owns_all_that_is_installed() -> None:
    before = replace(tenant(), is_whole=False)
    installed = tenant(HOUR).limits
    assert completed(before, installed) == replace(before, limits=installed, is_whole=True)
    assert source_of(before, "hour") == "tenant"
    assert maxima(completed(before, installed)) == {"hour": 300_000}
    whole = tenant()
    assert completed(whole, installed) is whole


@pytest.mark.parametrize(
    ("own", "of_limits", "policy"),
    [
        (None, [None], None),
        ("open", [None], "open"),
        (None, ["open"], "open"),
        ("open", ["open", "closed"], "closed"),
        ("closed", ["open"], "closed"),
    ],
)
def test_the_strictest_word_decides_what_is_answered_in_an_outage(
    own: str | None, of_limits: list[str | None], policy: str | None
) -> None:
    limits = [{**HOUR, "name": f"l{number}", "fail": word} for number, word in enumerate(of_limits)]
    definition = tenant(*limits, fail=own)
    assert effective_fail_policy(definition, effective_limits(definition, {})) == policy


def test_a_shadow_limit_has_no_word_in_an_outage() -> None:
    limits = [{**HOUR, "name": "real", "fail": "open"}, {**HOUR, "name": "tried", "fail": "closed", "shadow": True}]
    definition = tenant(*limits)
    assert effective_fail_policy(definition, effective_limits(definition, {})) == "open"
