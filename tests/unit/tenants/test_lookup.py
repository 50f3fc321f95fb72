"""Profiles that nobody mapped, asked for at Bedrock: rarely, briefly, and never on the word of a caller."""

from collections.abc import Collection, Iterable, Sequence

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.tenants.attribution import BY_TAG, UNATTRIBUTED, MappingPeriod
from bedrock_meter.tenants.directory import Answer, CachedDirectory, Question
from bedrock_meter.tenants.lookup import (
    CAPACITY,
    MAXIMUM_MS,
    MAXIMUM_QUESTIONS,
    PAUSE_MS,
    USELESS_FOR_MS,
    FoundProfile,
    LiveLookup,
    LookupFailed,
)
from bedrock_meter.tenants.trust import NO_TRUST
from tests.doubles.records import NOW_MS, invocation, profile_arn

ACME = FoundProfile({"tenantId": "acme", "team": "x"}, "a.model", "geo", "eu")


class Scene:
    """Bedrock, the Tenants table and a clock, with a directory over them."""

    def __init__(self) -> None:
        self.profiles: dict[str, FoundProfile] = {}
        self.mappings: dict[str, Sequence[MappingPeriod]] = {}
        self.tenants = {"acme"}
        self.now_ms = NOW_MS
        self.takes_ms = 0
        self.is_out = False
        self.is_busy = False
        self.asked: list[str] = []
        self.directory = CachedDirectory(self, lookup=LiveLookup(self, self, tag_key="tenantId", clock=self.clock))

    def clock(self) -> int:
        return self.now_ms

    def look_up(self, profile: str) -> FoundProfile | None:
        self.asked.append(profile)
        self.now_ms += self.takes_ms
        if self.is_out:
            raise LookupFailed("ThrottlingException")
        return self.profiles.get(profile)

    def ask(self, question: Question) -> Answer:
        known = {one: self.mappings[one] for one in question.profiles if one in self.mappings}
        return Answer(known, {}, (), NO_TRUST if question.trust else None)

    def registered(self, tenants: Iterable[str]) -> Collection[str]:
        return self.tenants.intersection(tenants)

    def adopt(self, profile: str, period: MappingPeriod) -> Sequence[MappingPeriod]:
        if self.is_busy:
            return ()
        return self.mappings.setdefault(profile, (period,))

    def tenants_of(self, *records: Invocation) -> list[str]:
        return [one.tenant for one in self.directory.attribute(records, self.now_ms)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_tagged_profile_is_found_once_and_written_so_that_nobody_asks_again(scene: Scene) -> None:
    scene.profiles["p1"] = ACME
    records = [invocation("r1", profile="p1"), invocation("r2", profile="p1")]
    (first, _) = scene.directory.attribute(records, scene.now_ms)
    assert (first.tenant, first.rule, first.model, first.routing) == ("acme", "profile", "a.model", "geo")
    assert scene.mappings == {"p1": (MappingPeriod("acme", 0, None, "a.model", "geo", BY_TAG, "eu"),)}
    scene.now_ms += 10 * USELESS_FOR_MS
    assert scene.tenants_of(*records) == ["acme", "acme"]
    assert scene.asked == ["p1"]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="no application profile"),
        pytest.param(FoundProfile({}), id="no tag"),
        pytest.param(FoundProfile({"TenantID": "acme"}), id="another tag"),
        pytest.param(FoundProfile({"tenantId": "nobody"}), id="a tenant that is not registered"),
        pytest.param(FoundProfile({"tenantId": UNATTRIBUTED}), id="reserved"),
        pytest.param(FoundProfile({"tenantId": "a b"}), id="no id of a tenant"),
    ],
)
def test_an_answer_of_no_use_is_remembered_and_decides_nothing(scene: Scene, found: FoundProfile | None) -> None:
    if found is not None:
        scene.profiles["p1"] = found
    for _ in range(3):
        assert scene.tenants_of(invocation("r1", profile="p1")) == [UNATTRIBUTED]
        scene.now_ms += USELESS_FOR_MS // 3
    assert scene.asked == ["p1"]
    assert scene.mappings == {}
    scene.tenants_of(invocation("r1", profile="p1"))
    assert scene.asked == ["p1", "p1"]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(invocation("r", profile="p1", error_code="ValidationException"), id="a failed call"),
        pytest.param(replace(invocation("r"), model_id="amazon.nova-lite-v1:0"), id="a model"),
        pytest.param(
            replace(invocation("r"), model_id=profile_arn("p1").replace("us-east-1", "eu-west-1")), id="Region"
        ),
        pytest.param(replace(invocation("r"), model_id=profile_arn("p1").replace("1234", "4321")), id="account"),
        pytest.param(replace(invocation("r"), model_id=profile_arn("p1").replace("application-", "")), id="system"),
        pytest.param(replace(invocation("r"), model_id="P1"), id="no profile's id"),
        pytest.param(replace(invocation("r"), model_id="arn:" + ":" * 500), id="an ARN of nothing"),
    ],
)
def test_nothing_that_a_caller_can_make_up_is_asked_for(scene: Scene, record: Invocation) -> None:
    assert scene.tenants_of(record) == [UNATTRIBUTED]
    assert scene.asked == []


def test_a_bare_id_of_twelve_characters_is_asked_for(scene: Scene) -> None:
    scene.profiles["a1c3m5e7k9q2"] = ACME
    assert scene.tenants_of(replace(invocation("r"), model_id="a1c3m5e7k9q2")) == ["acme"]


def test_a_delivery_asks_a_few_times_only(scene: Scene) -> None:
    flood = [invocation(f"r{number}", profile=f"p{number}") for number in range(50)]
    scene.tenants_of(*flood)
    assert len(scene.asked) == MAXIMUM_QUESTIONS
    scene.tenants_of(*flood)
    assert len(set(scene.asked)) == 2 * MAXIMUM_QUESTIONS


def test_a_delivery_waits_for_answers_no_longer_than_said(scene: Scene) -> None:
    scene.takes_ms = MAXIMUM_MS + 1
    scene.tenants_of(*(invocation(f"r{number}", profile=f"p{number}") for number in range(3)))
    assert len(scene.asked) == 1


def test_a_failure_ends_all_questions_for_a_while_and_says_nothing_about_the_profile(scene: Scene) -> None:
    scene.profiles["p1"] = ACME
    scene.is_out = True
    assert scene.tenants_of(invocation("r1", profile="p1"), invocation("r2", profile="p2")) == [UNATTRIBUTED] * 2
    assert len(scene.asked) == 1
    scene.is_out = False
    scene.now_ms += PAUSE_MS - 1
    assert scene.tenants_of(invocation("r1", profile="p1")) == [UNATTRIBUTED]
    scene.now_ms += 1
    assert scene.tenants_of(invocation("r1", profile="p1")) == ["acme"]


def test_what_could_not_be_written_decides_nothing_yet(scene: Scene) -> None:
    scene.profiles["p1"] = ACME
    scene.is_busy = True
    assert scene.tenants_of(invocation("r1", profile="p1")) == [UNATTRIBUTED]
    scene.is_busy = False
    assert scene.tenants_of(invocation("r1", profile="p1")) == ["acme"]


def test_a_mapping_that_somebody_else_wrote_meanwhile_holds(scene: Scene) -> None:
    scene.profiles["p1"] = ACME

    def adopt(profile: str, period: MappingPeriod) -> Sequence[MappingPeriod]:
        return (MappingPeriod("globex"),)

    scene.adopt = adopt  # type: ignore[method-assign]
    assert scene.tenants_of(invocation("r1", profile="p1")) == ["globex"]


def test_useless_answers_do_not_fill_the_memory(scene: Scene) -> None:
    lookup = LiveLookup(scene, scene, tag_key="tenantId", clock=scene.clock)
    for number in range(CAPACITY + 10):
        lookup.find([invocation("r", profile=f"p{number}")], {f"p{number}"})
    assert len(lookup._useless) <= CAPACITY


MODEL = "foundation-model/anthropic.claude-sonnet-4-6"


@pytest.mark.parametrize("is_out", [True, False])
@pytest.mark.parametrize(("later_ms", "asks"), [(PAUSE_MS - 1, 1), (3_600_000, 2), (-3_600_000, 2)])
def test_what_bedrock_could_not_say_is_asked_again_after_its_time_whatever_the_clock_does(
    is_out: bool, later_ms: int, asks: int
) -> None:
    scene = Scene()
    scene.is_out = is_out
    for at_ms in (NOW_MS, NOW_MS + later_ms):
        scene.now_ms = at_ms
        scene.directory.attribute([replace(invocation("r1", profile="unmapped0001"), event_ms=at_ms)], at_ms)
    assert len(scene.asked) == asks
