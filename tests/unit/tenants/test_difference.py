"""What a file would change, as one document: complete, sorted, and the same whatever the clock and the order."""

from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.difference import (
    HANDOVER_SECONDS,
    Desired,
    Held,
    difference_document,
    is_empty,
)
from bedrock_meter.tenants.file import TENANT_KEYS, parse, parse_gateways, parse_plans
from bedrock_meter.tenants.plans import Plan, by_name
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from bedrock_meter.tenants.trust import GatewayDefinition

ROLE = "arn:aws:iam::123456789012:role/worker"
HOUR = {"name": "hour", "meter": "total_tokens", "window": "1h", "max": 1000}
DAY = {"name": "day", "meter": "requests", "window": "day", "max": 10}
FULL = {
    "id": "acme",
    "name": "Acme",
    "timezone": "Europe/Berlin",
    "fail": "closed",
    "reserves": True,
    "profiles": [{"id": "p1", "model": "a.model", "routing": "geo"}, "p2"],
    "principals": [ROLE],
    "limits": [HOUR, DAY],
}


def desired(*entries: dict[str, Any], plans: list[dict[str, Any]] | None = None, **more: Any) -> Desired:
    document = {"tenants": list(entries), **({"plans": plans} if plans is not None else {}), **more}
    return Desired(parse(document), parse_plans(document), parse_gateways(document))


def held(*entries: dict[str, Any], plans: list[dict[str, Any]] | None = None, **owners: str) -> Held:
    """A stack that holds these, each profile and principal being its tenant's, but for ``owners``."""
    found = desired(*entries, plans=plans)
    names = {
        name: one.id for one in found.definitions for name in [*(each.id for each in one.profiles), *one.principals]
    }
    return Held({one.id: one for one in found.definitions}, by_name(found.plans), {**names, **owners}, {None: 3})


def changes(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    (entry,) = document["tenants"]
    return {(one["kind"], one["name"]): one for one in entry["changes"]}


def test_what_is_as_wanted_is_no_difference_in_whatever_order_it_is_written() -> None:
    turned = {**FULL, "profiles": ["p2", {"id": "p1", "model": "a.model", "routing": "geo"}]}
    for entry in (FULL, turned, {**FULL, "profiles": ["p1", "p2"]}):
        document = difference_document(desired(entry), held(FULL))
        assert is_empty(document), document


def test_what_an_entry_leaves_out_is_a_change_of_each_field() -> None:
    found = changes(difference_document(desired({"id": "acme", "limits": [HOUR]}), held(FULL)))
    assert {key: (one["before"], one["after"]) for key, one in found.items() if key[0] == "field"} == {
        ("field", "timezone"): ("Europe/Berlin", "UTC"),
        ("field", "fail"): ("closed", None),
        ("field", "reserves"): (True, False),
    }
    gone = {key for key, one in found.items() if one["change"] == "removed"}
    assert gone == {("limit", "day"), ("profile", "p1"), ("profile", "p2"), ("principal", ROLE)}
    leave = {one["in_seconds"] for key, one in found.items() if key[0] in ("profile", "principal")}
    assert leave == {HANDOVER_SECONDS} == {70}
    assert ("field", "name") not in found, "a name that is left out stays"


@pytest.mark.parametrize("key", [one for one in TENANT_KEYS if one not in ("id", "name")])
def test_no_key_of_the_file_can_be_left_out_silently(key: str) -> None:
    plans = [{"name": "gold", "limits": [{**DAY, "name": "shared"}]}]
    whole = {**FULL, "plan": "gold"}
    assert set(whole) == set(TENANT_KEYS), "this test knows every key"
    wanted = desired({name: value for name, value in whole.items() if name != key})
    assert changes(difference_document(wanted, held(whole, plans=plans)))


def test_limits_are_added_changed_and_removed() -> None:
    wanted = {
        **FULL,
        "limits": [{**HOUR, "max": "2k"}, {"name": "new", "meter": "cost_usd", "window": "day", "max": "$5"}],
    }
    found = changes(difference_document(desired(wanted), held(FULL)))
    assert {name: one["change"] for (_, name), one in found.items()} == {
        "hour": "changed",
        "day": "removed",
        "new": "added",
    }
    assert (found["limit", "hour"]["before"]["max"], found["limit", "hour"]["after"]["max"]) == (1000, 2000)
    turned = changes(difference_document(desired({**FULL, "limits": [DAY, HOUR]}), held(FULL)))
    assert list(turned) == [("field", "order of own limits")]


def test_a_plan_that_goes_takes_its_limits_away_and_that_is_said() -> None:
    gold = [{"name": "gold", "limits": [HOUR]}]
    with_plan, without = {"id": "acme", "plan": "gold"}, {"id": "acme"}
    found = changes(difference_document(desired(without), held(with_plan, plans=gold)))
    assert {key: one["change"] for key, one in found.items()} == {
        ("field", "plan"): "changed",
        ("limit", "hour"): "removed",
    }
    assert found["limit", "hour"]["before"]["source"] == "plan"
    removed = changes(
        difference_document(
            desired({**with_plan, "limits": [{"name": "hour", "remove": True}]}), held(with_plan, plans=gold)
        )
    )
    assert {key: one["change"] for key, one in removed.items()} == {
        ("limit", "hour"): "removed",
        ("removed limit", "hour"): "added",
    }


def test_what_another_tenant_has_is_taken_from_it_by_name() -> None:
    stack = replace(held({"id": "zeta"}), owners={"p9": "initech", ROLE: "initech"})
    found = changes(difference_document(desired({"id": "zeta", "profiles": ["p9"], "principals": [ROLE]}), stack))
    assert {key: (one["taken_from"], one["in_seconds"]) for key, one in found.items()} == {
        ("profile", "p9"): ("initech", 70),
        ("principal", ROLE): ("initech", 70),
    }
    # Also where its own definition still lists it, and where the file moves it between two of its tenants.
    both = held({"id": "zeta", "profiles": ["p9"]}, p9="initech")
    assert changes(difference_document(desired({"id": "zeta", "profiles": ["p9"]}), both))["profile", "p9"][
        "taken_from"
    ] == ("initech")
    moved = difference_document(
        desired({"id": "acme"}, {"id": "zeta", "profiles": ["p9"]}),
        held({"id": "acme", "profiles": ["p9"]}, {"id": "zeta"}),
    )
    assert [(one["tenant"], one["changes"][0]["change"]) for one in moved["tenants"]] == [
        ("acme", "removed"),
        ("zeta", "added"),
    ]
    assert moved["tenants"][1]["changes"][0]["taken_from"] == "acme"


def test_what_is_not_the_tenants_any_more_is_no_loss_of_its() -> None:
    stored = held({"id": "acme", "profiles": ["p1"], "principals": [ROLE]}, p1="initech")
    stored = replace(stored, owners={"p1": "initech"})
    assert is_empty(difference_document(desired({"id": "acme"}), stored))


def test_what_ended_is_given_again_and_a_removed_tenant_comes_back() -> None:
    stored = held({"id": "acme", "profiles": ["p1"]})
    ended = replace(stored, owners={})
    assert changes(difference_document(desired({"id": "acme", "profiles": ["p1"]}), ended))["profile", "p1"][
        "change"
    ] == ("given again")
    removed = replace(stored, tenants={"acme": replace(stored.tenants["acme"], profiles=(), removed_ms=5)}, owners={})
    found = changes(difference_document(desired({"id": "acme"}), removed))
    assert (found["field", "removed"]["before"], found["field", "removed"]["after"]) == (True, False)


def test_a_profile_by_a_tag_stays_and_only_naming_it_makes_it_a_persons() -> None:
    tag = ProfileReference("p7", "p7", "a.model", "geo", tagged=True)
    stack = Held({"acme": TenantDefinition("acme", profiles=(tag,))}, owners={"p7": "acme"})
    for entry in ({"id": "acme"}, {"id": "acme", "profiles": [{"id": "p7", "tagged": True}]}):
        assert is_empty(difference_document(desired(entry), stack))
    found = changes(difference_document(desired({"id": "acme", "profiles": ["p7"]}), stack))
    assert (found["profile", "p7"]["before"]["tagged"], found["profile", "p7"]["after"]["tagged"]) == (True, False)
    # One that no tag gives is not given by a word about a tag.
    (new,) = difference_document(desired({"id": "new", "profiles": [{"id": "p8", "tagged": True}]}), Held())["tenants"]
    assert (new["changes"], new["is_attributed"]) == ([], False)


def test_a_new_tenant_is_a_difference_and_says_whether_anything_denies_it() -> None:
    (bare,) = difference_document(desired({"id": "beta"}), Held())["tenants"]
    assert bare == {"tenant": "beta", "is_new": True, "can_deny": False, "is_attributed": False, "changes": []}
    shadow = {"id": "beta", "profiles": ["p1"], "limits": [{**HOUR, "shadow": True}]}
    (tried,) = difference_document(desired(shadow), Held())["tenants"]
    assert (tried["can_deny"], tried["is_attributed"]) == (False, True)


def test_plans_say_how_many_tenants_they_touch_and_which_one_was_the_default() -> None:
    gold, free = {"name": "gold", "limits": [HOUR]}, {"name": "free", "default": True, "limits": [DAY]}
    stack = replace(held(plans=[gold, free]), having={"gold": 2, "free": 1, None: 10})
    document = difference_document(desired(plans=[{**gold, "default": True, "limits": []}]), stack)
    found = {
        one["plan"]: (one["tenants"], [(each["name"], each["change"]) for each in one["changes"]])
        for one in document["plans"]
    }
    assert found == {
        "free": (11, [("default", "changed")]),
        "gold": (12, [("default", "changed"), ("hour", "removed")]),
    }
    assert difference_document(desired(plans=[gold, free]), stack)["plans"] == []


def test_gateways_are_compared_only_where_the_file_has_them() -> None:
    stack = Held(gateways=GatewayDefinition((ROLE,)))
    assert is_empty(difference_document(desired(), stack))
    document = difference_document(desired(gateways={"principals": [], "metadata_key": "who"}), stack)
    assert [(one["kind"], one["name"], one["change"]) for one in document["gateways"]] == [
        ("field", "metadata_key", "changed"),
        ("principal", ROLE, "removed"),
    ]


def test_the_digest_names_a_difference_and_nothing_else() -> None:
    one, other = {"id": "a", "limits": [HOUR]}, {"id": "b", "profiles": ["p1"]}
    forth, back = (difference_document(desired(*entries), Held()) for entries in ((one, other), (other, one)))
    assert forth == back
    assert len(forth["digest"]) == 16
    # Revisions and boosts are no part of it; an owner is.
    stack = held(FULL)
    gone = desired({"id": "acme"})
    seen = difference_document(gone, stack)["digest"]
    later = replace(stack, tenants={"acme": replace(stack.tenants["acme"], revision=9)})
    assert difference_document(gone, later)["digest"] == seen
    taken = replace(stack, owners={**stack.owners, "p1": "initech"})
    assert difference_document(gone, taken)["digest"] != seen


def test_a_plan_that_is_not_defined_is_refused_before_anything() -> None:
    stack = Held(plans={"gold": Plan("gold")})
    with pytest.raises(InvalidDefinition, match="tenant acme"):
        difference_document(desired({"id": "acme", "plan": "golb"}), stack)
    # A plan that was a word for people when the tenant was stored is no reason not to show what changes.
    word = Held({"acme": TenantDefinition("acme", plan="word")}, {"gold": Plan("gold")})
    assert changes(difference_document(desired({"id": "acme", "plan": "gold"}), word))
