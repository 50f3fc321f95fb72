"""Attribution: by profile, at event time, from answers of a bounded age."""

from collections.abc import Iterable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution, MappingPeriod, attribute
from bedrock_meter.tenants.directory import KNOWN_FOR_MS, UNKNOWN_FOR_MS, CachedDirectory
from tests.doubles.records import NOW_MS, invocation, profile_arn

HANDED_OVER = (MappingPeriod("acme", 0, NOW_MS, "a.model"), MappingPeriod("globex", NOW_MS, None, "a.model"))


@pytest.mark.parametrize(
    ("event_ms", "tenant"), [(NOW_MS - 1, "acme"), (NOW_MS, "globex"), (NOW_MS + 1, "globex"), (0, "acme")]
)
def test_a_profile_that_changed_hands_is_attributed_at_event_time(event_ms: int, tenant: str) -> None:
    record = invocation("r1", profile="shared000001", event_ms=event_ms)
    assert attribute(record, {"shared000001": HANDED_OVER}) == Attribution(tenant, "profile", "shared000001", "a.model")


@pytest.mark.parametrize(
    ("model_id", "profile", "model"),
    [
        (profile_arn("nobodys00001"), "nobodys00001", "-"),
        ("nobodys00001", "nobodys00001", "-"),
        ("anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0",
            "amazon.titan-embed-text-v2:0",
            "amazon.titan-embed-text-v2:0",
        ),
    ],
)
def test_without_a_mapping_usage_is_unattributed_and_keeps_its_identifier(
    model_id: str, profile: str, model: str
) -> None:
    record = replace(invocation("r1"), model_id=model_id)
    assert attribute(record, {}) == Attribution(UNATTRIBUTED, "none", profile, model)


def test_a_gap_between_two_owners_belongs_to_nobody() -> None:
    periods = (MappingPeriod("acme", 0, NOW_MS - 10), MappingPeriod("globex", NOW_MS + 10))
    assert attribute(invocation("r1"), {"acmeprofile1": periods}).tenant == UNATTRIBUTED


def test_another_resource_with_the_same_last_segment_is_not_the_profile() -> None:
    record = replace(invocation("r1"), model_id="arn:aws:bedrock:us-east-1:123456789012:provisioned-model/acmeprofile1")
    assert attribute(record, {"acmeprofile1": (MappingPeriod("acme"),)}).tenant == UNATTRIBUTED


class Store:
    """Counts what it is asked."""

    def __init__(self, **known: Sequence[MappingPeriod]) -> None:
        self.known = dict(known)
        self.asked: list[list[str]] = []

    def mappings(self, profiles: Iterable[str]) -> Mapping[str, Sequence[MappingPeriod]]:
        wanted = list(profiles)
        self.asked.append(wanted)
        return {profile: self.known[profile] for profile in wanted if profile in self.known}


def test_a_batch_asks_once_for_what_is_not_remembered() -> None:
    store = Store(a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store)
    records = [invocation(f"r{number}", profile=("a1", "b1")[number % 2]) for number in range(10)]
    assert [one.tenant for one in directory.attribute(records, NOW_MS)] == ["acme", UNATTRIBUTED] * 5
    directory.attribute(records, NOW_MS + UNKNOWN_FOR_MS - 1)
    assert store.asked == [["a1", "b1"]]


def test_unknown_profiles_are_asked_again_soon_and_known_ones_later() -> None:
    store = Store(a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store)
    records = [invocation("r1", profile="a1"), invocation("r2", profile="b1")]
    directory.attribute(records, NOW_MS)
    store.known["b1"] = (MappingPeriod("globex"),)
    later = directory.attribute(records, NOW_MS + UNKNOWN_FOR_MS)
    assert [one.tenant for one in later] == ["acme", "globex"]
    directory.attribute(records, NOW_MS + KNOWN_FOR_MS)
    assert store.asked == [["a1", "b1"], ["b1"], ["a1"]]


def test_a_flood_of_identifiers_does_not_fill_the_memory() -> None:
    directory = CachedDirectory(Store(), capacity=100)
    for number in range(1000):
        directory.attribute([invocation("r", profile=f"p{number}")], NOW_MS)
    assert len(directory._answers) <= 100
