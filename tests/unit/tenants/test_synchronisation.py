"""Profiles and tags followed into the directory: adds, re-tags, deletions, and whose word counts."""

from collections.abc import Mapping

import pytest

from bedrock_meter.errors import LeaseLost
from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, MappingPeriod
from bedrock_meter.tenants.ownership import HANDOVER_MS, owner_of
from bedrock_meter.tenants.profiles import Route
from bedrock_meter.tenants.synchronisation import (
    COMPLETED,
    CONTRADICTED,
    ENDED,
    KEPT,
    LAST_CALL_MS,
    MAPPED,
    MOVED,
    UNKNOWN_TENANT,
    Synchronised,
    Synchroniser,
    decide,
    fullness_percent,
    profiles_named,
)
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import (
    GLOBAL_SONNET,
    HAIKU,
    HAIKU_ID,
    HERE,
    SONNET,
    MemoryAudit,
    MemoryControlPlane,
    MemoryTenantStore,
)

ROUTE = Route(HAIKU_ID, "in-region")


class Lost(Exception):
    """A request that got no answer."""


class Scene:
    """Two tenants, a control plane, a clock."""

    def __init__(self) -> None:
        self.control = MemoryControlPlane()
        self.tenants = MemoryTenantStore()
        self.audit = MemoryAudit()
        self.now_ms = NOW_MS
        for tenant in ("acme", "globex"):
            self.tenants.put_tenant(TenantDefinition(tenant), NOW_MS)

    def synchroniser(self) -> Synchroniser:
        return Synchroniser(
            self.control,
            self.tenants,
            self.audit,
            tag_key="tenantId",
            here=HERE,
            by="sync",
            clock=lambda: self.now_ms,
            passing=(Lost,),
        )

    def run(self, *, remaining_ms: int = 10**9) -> Synchronised:
        report = Synchronised()
        self.synchroniser().run(report, lambda: remaining_ms)
        return report

    def run_one(self, profile: str) -> Synchronised:
        report = Synchronised()
        self.synchroniser().run_one(report, profile)
        return report

    def retag(self, profile: str, **tags: str) -> None:
        self.control.tags_by_arn[f"{HERE}application-inference-profile/{profile}"] = tags

    def periods(self, profile: str) -> list[tuple[str, int, int | None]]:
        return [(one.tenant, one.from_ms, one.to_ms) for one in self.tenants.periods(profile)[1]]

    def profiles(self, tenant: str) -> list[str]:
        definition = self.tenants.tenant(tenant)
        assert definition is not None
        return [one.id for one in definition.profiles]


def test_a_new_profile_is_the_tenants_whom_its_tag_names() -> None:
    scene = Scene()
    profile = scene.control.add("p1", HAIKU, tenantId="acme", other="x")
    report = scene.run()
    assert (report.listed, report.examined, report.counts, report.findings) == (1, 1, {MAPPED: 1}, [])
    assert scene.tenants.periods("p1")[1] == (MappingPeriod("acme", 0, None, HAIKU_ID, "in-region", BY_TAG),)
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert definition.profiles == (ProfileReference("p1", profile.arn, HAIKU_ID, "in-region", tagged=True),)


@pytest.mark.parametrize(
    ("source", "routing", "geography"),
    [(HAIKU, "in-region", None), (SONNET, "geo", "us"), (GLOBAL_SONNET, "global", None)],
)
def test_routing_and_geography_are_those_of_the_models_that_it_reaches(
    source: str, routing: str, geography: str | None
) -> None:
    scene = Scene()
    scene.control.add("p1", source, tenantId="acme")
    scene.run()
    (period,) = scene.tenants.periods("p1")[1]
    definition = scene.tenants.tenant("acme")
    assert definition is not None
    assert (period.routing, period.geography) == (routing, geography)
    assert [(one.routing, one.geography) for one in definition.profiles] == [(routing, geography)]


@pytest.mark.parametrize("by", [BY_TAG, BY_PERSON])
def test_a_geography_that_was_not_known_is_filled_in_and_one_that_a_person_said_stays(by: str) -> None:
    scene = Scene()
    scene.control.add("p1", SONNET, tenantId="acme")
    scene.control.add("p2", SONNET, tenantId="acme")
    scene.control.add("p3", SONNET, tenantId="acme")
    model = "anthropic.claude-sonnet-4-6"
    scene.tenants.put_periods("p1", 0, [MappingPeriod("acme", 0, None, model, "geo", by)])
    scene.tenants.put_periods("p2", 0, [MappingPeriod("acme", 0, None, model, "geo", BY_PERSON, "eu")])
    scene.tenants.put_periods("p3", 0, [MappingPeriod("acme", 0, None, model, "global", BY_PERSON)])
    scene.run()
    found = [scene.tenants.periods(name)[1][-1] for name in ("p1", "p2", "p3")]
    assert [(one.routing, one.geography) for one in found] == [("geo", "us"), ("geo", "eu"), ("global", None)]
    assert {one.to_ms for one in found} == {None}
    writes = scene.tenants.writes
    scene.run()
    assert scene.tenants.writes == writes


def test_a_second_run_changes_nothing() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.control.add("p2", HAIKU)
    scene.run()
    writes, entries = scene.tenants.writes, len(scene.audit.entries)
    assert scene.run().counts == {KEPT: 2}
    assert (scene.tenants.writes, len(scene.audit.entries)) == (writes, entries)


def test_a_new_tag_moves_the_profile_ahead_of_the_caches() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.run()
    scene.retag("p1", tenantId="globex")
    assert scene.run().counts == {MOVED: 1}
    at_ms = NOW_MS + HANDOVER_MS
    assert scene.periods("p1") == [("acme", 0, at_ms), ("globex", at_ms, None)]
    assert (scene.profiles("acme"), scene.profiles("globex")) == ([], ["p1"])
    assert {entry.tenant for entry in scene.audit.entries if entry.what == "sync: moved"} == {"acme", "globex"}


def test_a_tag_that_goes_ends_what_it_made_and_one_that_comes_back_begins_again() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.run()
    scene.retag("p1")
    assert scene.run().counts == {ENDED: 1}
    assert scene.periods("p1") == [("acme", 0, NOW_MS + HANDOVER_MS)]
    assert scene.profiles("acme") == []
    scene.now_ms += 10 * HANDOVER_MS
    scene.retag("p1", tenantId="acme")
    assert scene.run().counts == {MOVED: 1}
    assert scene.periods("p1")[-1] == ("acme", scene.now_ms + HANDOVER_MS, None)


@pytest.mark.parametrize("tags", [{"tenantId": "globex"}, {}, {"tenantId": "acme"}])
def test_a_tag_never_changes_what_a_person_made(tags: dict[str, str]) -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, **tags)
    before = (MappingPeriod("acme", 0, None, HAIKU_ID, "in-region", BY_PERSON),)
    scene.tenants.put_periods("p1", 0, before)
    report = scene.run()
    assert scene.tenants.periods("p1")[1] == before
    contradicted = tags == {"tenantId": "globex"}
    assert report.counts == {CONTRADICTED if contradicted else KEPT: 1}
    assert len(report.findings) == contradicted


def test_a_tag_does_not_reopen_what_a_person_has_ended() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    ended = (MappingPeriod("acme", 0, NOW_MS - 1, HAIKU_ID, "in-region", BY_PERSON),)
    scene.tenants.put_periods("p1", 0, ended)
    report = scene.run()
    assert scene.tenants.periods("p1")[1] == ended
    assert report.counts == {CONTRADICTED: 1}


def test_facts_are_filled_into_a_persons_mapping_and_nothing_else_of_it_changes() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU)
    scene.tenants.put_periods("p1", 0, [MappingPeriod("acme", 5)])
    assert scene.run().counts == {COMPLETED: 1}
    assert scene.tenants.periods("p1")[1] == (MappingPeriod("acme", 5, None, HAIKU_ID, "in-region", BY_PERSON),)
    named = decide([MappingPeriod("acme", 5, None, "said.by-a-person", "geo")], None, ROUTE, NOW_MS)
    assert (named.what, named.periods) == (KEPT, None)


@pytest.mark.parametrize("value", ["nobody", "not an id", "", "unattributed", "x" * 65])
def test_a_tag_never_makes_a_tenant(value: str) -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId=value)
    report = scene.run()
    assert scene.periods("p1") == []
    assert report.counts == {UNKNOWN_TENANT: 1, KEPT: 1}
    assert "is no tenant" in report.findings[0]


def test_a_removed_tenant_gets_nothing_by_a_tag() -> None:
    scene = Scene()
    scene.tenants.put_tenant(TenantDefinition("acme", removed_ms=NOW_MS, revision=1), NOW_MS)
    scene.control.add("p1", HAIKU, tenantId="acme")
    assert scene.run().counts == {UNKNOWN_TENANT: 1, KEPT: 1}
    assert scene.run_one("p1").counts == {UNKNOWN_TENANT: 1, KEPT: 1}


def test_a_deleted_profile_loses_its_owner_whoever_made_the_mapping() -> None:
    scene = Scene()
    profile = scene.control.add("p1", HAIKU, tenantId="acme")
    scene.control.add("p2", HAIKU, tenantId="acme")
    scene.run()
    reference = ProfileReference("p1", profile.arn, HAIKU_ID)
    scene.tenants.put_periods("p1", 1, [MappingPeriod("acme")])
    scene.tenants.definitions["acme"] = TenantDefinition(
        "acme", profiles=(reference, *scene.tenants.definitions["acme"].profiles[1:]), revision=3
    )
    for one in ("p1", "p2"):
        scene.control.delete(one)
    assert scene.run().counts == {ENDED: 2}
    assert scene.periods("p1") == [("acme", 0, NOW_MS + HANDOVER_MS)]
    assert scene.profiles("acme") == []


@pytest.mark.parametrize(
    "arn", ["elsewhere", HERE.replace("us-east-1", "eu-west-1") + "application-inference-profile/"]
)
def test_a_persons_mapping_of_another_place_is_not_ended_for_being_missing_here(arn: str) -> None:
    scene = Scene()
    scene.tenants.put_periods("elsewhere", 0, [MappingPeriod("acme")])
    reference = ProfileReference("elsewhere", arn)
    scene.tenants.put_tenant(TenantDefinition("acme", profiles=(reference,), revision=1), NOW_MS)
    assert scene.run().counts == {}
    assert scene.periods("elsewhere") == [("acme", 0, None)]


def test_a_profile_that_is_missing_in_the_list_only_keeps_its_owner() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.run()
    listing = scene.control.application_profiles
    scene.control.application_profiles = lambda: iter(())  # type: ignore[method-assign]
    assert scene.run().counts == {}
    assert scene.periods("p1") == [("acme", 0, None)]
    scene.control.application_profiles = listing  # type: ignore[method-assign]


def test_one_profile_that_fails_does_not_hold_up_the_others() -> None:
    scene = Scene()
    for name in ("p1", "p2", "p3"):
        scene.control.add(name, HAIKU, tenantId="acme")
    asked = scene.control.tags

    def tags(arn: str) -> Mapping[str, str] | None:
        if arn.endswith("p2"):
            raise Lost
        return asked(arn)

    scene.control.tags = tags  # type: ignore[method-assign]
    report = scene.run()
    assert (report.examined, list(report.failures)) == (3, ["p2"])
    assert sorted(scene.profiles("acme")) == ["p1", "p3"]


def test_a_run_that_ends_early_begins_elsewhere_the_next_time_and_ends_no_mapping() -> None:
    scene = Scene()
    for number in range(50):
        scene.control.add(f"p{number:02}", HAIKU, tenantId="acme")
    seen: set[str] = set()
    for hour in range(40):
        scene.now_ms = NOW_MS + hour * 3_600_000
        report, calls = Synchronised(), [0]

        def remaining_ms(calls: list[int] = calls) -> int:
            calls[0] += 1
            return LAST_CALL_MS if calls[0] <= 20 else 0

        scene.synchroniser().run(report, remaining_ms)
        assert not report.is_complete
        assert report.examined == 20
        seen = set(scene.tenants.mappings_by_id)
    assert len(seen) == 50


def test_what_a_crash_left_half_done_is_finished() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.run()
    scene.tenants.definitions["acme"] = TenantDefinition("acme", revision=9)
    scene.tenants.definitions["globex"] = TenantDefinition(
        "globex", profiles=(ProfileReference("p1", "p1", tagged=True),), revision=9
    )
    scene.retag("p1", tenantId="globex")
    scene.run()
    assert (scene.profiles("acme"), scene.profiles("globex")) == ([], ["p1"])
    scene.tenants.definitions["acme"] = TenantDefinition(
        "acme", profiles=(ProfileReference("p1", "p1", tagged=True),), revision=9
    )
    assert scene.run().counts == {KEPT: 1}
    assert (scene.profiles("acme"), scene.profiles("globex")) == ([], ["p1"])


def test_somebody_who_maps_meanwhile_wins_if_a_person() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")

    def person(what: str) -> None:
        scene.tenants.before_write = lambda what: None
        scene.tenants.put_periods("p1", 0, [MappingPeriod("globex")])

    scene.tenants.before_write = person
    report = scene.run()
    assert report.counts == {COMPLETED: 1}
    assert owner_of(scene.tenants.periods("p1")[1]) == "globex"
    assert scene.tenants.periods("p1")[1][-1].by == BY_PERSON


def test_a_mapping_that_changes_all_the_time_is_left_for_the_next_run() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.tenants.put_periods = lambda *arguments: False  # type: ignore[method-assign]
    report = scene.run()
    assert report.failures["p1"].startswith(LeaseLost.__name__)


def test_an_event_about_one_profile_follows_that_one() -> None:
    scene = Scene()
    scene.control.add("p1", HAIKU, tenantId="acme")
    scene.control.add("p2", HAIKU, tenantId="acme")
    assert scene.run_one("p1").counts == {MAPPED: 1}
    assert scene.run_one("p1").counts == {KEPT: 1}
    assert scene.profiles("acme") == ["p1"]
    scene.control.delete("p1")
    assert scene.run_one("p1").counts == {ENDED: 1}
    assert scene.run_one("p1").counts == {}
    assert scene.run_one("never-was").counts == {}
    assert scene.run_one("us.anthropic.claude-sonnet-4-6").counts == {}
    assert "list" not in scene.control.asked


PROFILE_ARN = f"{HERE}application-inference-profile/053a3ulue40l"


@pytest.mark.parametrize(
    ("detail", "named"),
    [
        ({"responseElements": {"inferenceProfileArn": PROFILE_ARN}}, ("053a3ulue40l",)),
        (
            {"requestParameters": {"inferenceProfileIdentifier": "053a3ulue40l"}, "responseElements": None},
            ("053a3ulue40l",),
        ),
        ({"requestParameters": {"resourceARN": PROFILE_ARN, "tags": []}}, ("053a3ulue40l",)),
        (
            {
                "requestParameters": {"resourceARN": PROFILE_ARN},
                "responseElements": {"inferenceProfileArn": PROFILE_ARN},
            },
            ("053a3ulue40l",),
        ),
        ({"requestParameters": {"resourceARN": f"{HERE}guardrail/abc"}}, ()),
        ({"requestParameters": {"resourceARN": 5}, "responseElements": "x"}, ()),
        ({"requestParameters": {"inferenceProfileIdentifier": "x y"}}, ()),
        ({}, ()),
    ],
)
def test_events_of_cloudtrail_name_profiles(detail: dict[str, object], named: tuple[str, ...]) -> None:
    event = {"source": "aws.bedrock", "detail": {"eventSource": "bedrock.amazonaws.com", **detail}}
    assert profiles_named(event) == named


@pytest.mark.parametrize("event", [{}, {"detail": None}, {"detail": {"eventSource": "s3.amazonaws.com"}}])
def test_everything_else_is_a_run_over_all(event: dict[str, object]) -> None:
    assert profiles_named(event) is None


@pytest.mark.parametrize(
    ("listed", "maximum", "percent"), [(0, 1000, 0), (799, 1000, 79), (800, 1000, 80), (3, 0, 100), (5, None, None)]
)
def test_fullness(listed: int, maximum: int | None, percent: int | None) -> None:
    assert fullness_percent(listed, maximum) == percent
