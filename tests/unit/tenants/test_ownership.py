"""How a profile changes hands: dates ahead of the caches, and people before tags."""

from dataclasses import replace

import pytest

from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, MappingPeriod
from bedrock_meter.tenants.directory import KNOWN_FOR_MS
from bedrock_meter.tenants.ownership import HANDOVER_MS, Periods, end, give, nameless, owner_of

NOW_MS = 1_795_000_020_000
MINE = MappingPeriod("acme", 0, None, "m", "geo", BY_PERSON)
TAGGED = MappingPeriod("acme", 0, None, "m", "geo", BY_TAG)


def given(
    periods: Periods, tenant: str, *, model: str = "m", routing: str | None = "geo", by: str = BY_PERSON
) -> tuple[Periods, int] | None:
    return give(periods, tenant, NOW_MS, model=model, routing=routing, by=by)


def test_handing_over_takes_longer_than_any_answer_lives() -> None:
    assert HANDOVER_MS > KNOWN_FOR_MS


def test_the_first_owner_owns_it_from_the_beginning() -> None:
    assert given((), "acme") == ((MINE,), NOW_MS)


def test_what_is_so_already_is_left_alone() -> None:
    assert given((MINE,), "acme") is None
    assert given((MINE,), "acme", model="-", routing=None) is None
    assert given((TAGGED,), "acme", by=BY_TAG) is None


def test_a_person_who_says_what_a_tag_said_takes_it_over_and_not_the_other_way_round() -> None:
    assert given((TAGGED,), "acme") == ((MINE,), NOW_MS)
    assert given((MINE,), "acme", by=BY_TAG) is None


GEOGRAPHY_IS_KNOWN = replace(MINE, geography="eu")


@pytest.mark.parametrize(
    ("held", "routing", "geography", "kept"),
    [
        (MINE, "geo", "eu", "eu"),
        (MINE, None, "eu", "eu"),
        (GEOGRAPHY_IS_KNOWN, "geo", None, "eu"),
        (GEOGRAPHY_IS_KNOWN, None, None, "eu"),
        (GEOGRAPHY_IS_KNOWN, "geo", "us", "us"),
        # Another routing has no geography, or another one.
        (GEOGRAPHY_IS_KNOWN, "global", None, None),
        (GEOGRAPHY_IS_KNOWN, "in-region", None, None),
    ],
)
@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_a_geography_that_is_known_is_kept_with_its_routing(
    held: MappingPeriod, routing: str | None, geography: str | None, kept: str | None, tenant: str
) -> None:
    found = give((held,), tenant, NOW_MS, model="-", routing=routing, by=BY_PERSON, geography=geography)
    periods = (held,) if found is None else found[0]
    assert (periods[-1].tenant, periods[-1].routing, periods[-1].geography) == (tenant, routing or "geo", kept)


def test_another_owner_begins_where_the_first_ends() -> None:
    periods, from_ms = given((MINE,), "globex") or ((), 0)
    assert from_ms == NOW_MS + HANDOVER_MS
    assert [(one.tenant, one.from_ms, one.to_ms) for one in periods] == [
        ("acme", 0, from_ms),
        ("globex", from_ms, None),
    ]


@pytest.mark.parametrize("ends_ms", [NOW_MS + 5, NOW_MS - 5])
def test_an_end_ahead_moves_to_the_new_beginning_and_one_behind_stays(ends_ms: int) -> None:
    ended = MappingPeriod("acme", 0, ends_ms, "m", "geo")
    periods, from_ms = given((ended,), "acme") or ((), 0)
    assert periods[0].to_ms == (from_ms if ends_ms > NOW_MS else ends_ms)
    assert periods[1].from_ms == from_ms


def test_ending_is_ahead_too_and_only_the_owners() -> None:
    assert end((MINE,), "globex", NOW_MS, by=BY_PERSON) is None
    assert end((), "acme", NOW_MS, by=BY_PERSON) is None
    periods, to_ms = end((MINE,), "acme", NOW_MS, by=BY_PERSON) or ((), 0)
    assert to_ms == NOW_MS + HANDOVER_MS == periods[-1].to_ms
    assert owner_of(periods) is None
    assert owner_of((MINE,)) == "acme"
    assert owner_of(()) is None


def test_an_end_that_a_person_confirms_is_a_persons() -> None:
    by_tag, to_ms = end((TAGGED,), "acme", NOW_MS, by=BY_TAG) or ((), 0)
    assert by_tag[-1].by == BY_TAG
    assert end(by_tag, "acme", NOW_MS + 1, by=BY_TAG) is None
    confirmed, again_ms = end(by_tag, "acme", NOW_MS + 1, by=BY_PERSON) or ((), 0)
    assert (confirmed[-1].by, confirmed[-1].to_ms, again_ms) == (BY_PERSON, to_ms, to_ms)
    assert end(confirmed, "acme", NOW_MS + 2, by=BY_PERSON) is None


@pytest.mark.parametrize(("until_ms", "from_ms"), [(5, NOW_MS + HANDOVER_MS), (NOW_MS + 10**9, NOW_MS + 10**9)])
def test_who_gets_what_a_forgotten_owner_had_is_not_the_first_and_no_nameless_period_is_kept(
    until_ms: int, from_ms: int
) -> None:
    changed = given((nameless(until_ms),), "acme")
    assert changed == ((replace(MINE, from_ms=from_ms),), from_ms)
    assert end((nameless(until_ms),), "acme", NOW_MS, by=BY_PERSON) is None
    assert owner_of((nameless(until_ms),)) is None
