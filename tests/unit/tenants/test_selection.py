"""Which call will be made: every way to name one, against what a tenant can have."""

import itertools

import pytest

from bedrock_meter.errors import ForeignProfile, InvalidDefinition
from bedrock_meter.limits.destination import Called, Choice, Destination
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.directory import KNOWN_FOR_MS, UNKNOWN_FOR_MS
from bedrock_meter.tenants.ownership import HANDOVER_MS, give
from bedrock_meter.tenants.selection import Periods, ProfileSelection, select
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.desk import MemoryDirectory
from tests.doubles.records import NOW_MS

CLAUDE, NOVA = "anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1:0"
ACCOUNT = "123456789012"
FRANKFURT, IRELAND, TOKYO, OHIO = "eu-central-1", "eu-west-1", "ap-northeast-1", "us-east-2"


def arn(
    profile: str, region: str = FRANKFURT, account: str = ACCOUNT, kind: str = "application-inference-profile"
) -> str:
    return f"arn:aws:bedrock:{region}:{account}:{kind}/{profile}"


def profile(
    name: str, routing: str | None, geography: str | None = None, *, region: str = FRANKFURT, model: str = CLAUDE
) -> ProfileReference:
    return ProfileReference(name, arn(name, region), model, routing, geography=geography)


IN_REGION = profile("inregion0001", "in-region")
ELSEWHERE = profile("inregion0002", "in-region", region=IRELAND)
EU = profile("eu0000000001", "geo", "eu")
US = profile("us0000000001", "geo", "us", region=OHIO)
JP = profile("jp0000000001", "geo", "jp", region=TOKYO)
APAC = profile("apac00000001", "geo", "apac", region=TOKYO)
GLOBAL = profile("global000001", "global")
UNKNOWN = profile("unknown00001", None)
OTHER = profile("nova00000001", "in-region", model=NOVA)
NO_MODEL = profile("nomodel00001", None, model="-")

SYSTEM_ARN = f"arn:aws:bedrock:{FRANKFURT}:{ACCOUNT}:inference-profile/eu.{CLAUDE}"
FOUNDATION_ARN = f"arn:aws:bedrock:{FRANKFURT}::foundation-model/{CLAUDE}"
OTHER_ARNS = (
    arn("abc123", kind="provisioned-model"),
    arn("abc123", kind="imported-model"),
    arn("abc123", kind="custom-model-deployment"),
    arn("anthropic.claude:1", kind="default-prompt-router"),
    arn("ABCDEFGHIJ:1", kind="prompt"),
    f"arn:aws:sagemaker:{FRANKFURT}:{ACCOUNT}:endpoint/llm.one",
)


def chosen(*mine: ProfileReference, region: str = "", **called: str) -> str | None:
    """Return the profile that acme's call goes through."""
    found = select("acme", Called(region=region, **called), mine, {}, NOW_MS)
    return None if found.through is None else found.through.id


@pytest.mark.parametrize(
    ("model", "mine", "expected"),
    [
        # A bare id: the in-Region one, else the only one, never one of several.
        (CLAUDE, (), None),
        (CLAUDE, (OTHER,), None),
        (CLAUDE, (IN_REGION,), IN_REGION),
        (CLAUDE, (GLOBAL,), GLOBAL),
        (CLAUDE, (EU,), EU),
        (CLAUDE, (UNKNOWN,), UNKNOWN),
        (CLAUDE, (UNKNOWN, OTHER), UNKNOWN),
        (CLAUDE, (GLOBAL, EU), None),
        (CLAUDE, (EU, US), None),
        (CLAUDE, (UNKNOWN, EU), None),
        (CLAUDE, (GLOBAL, IN_REGION), IN_REGION),
        (CLAUDE, (GLOBAL, EU, US, UNKNOWN, IN_REGION), IN_REGION),
        (CLAUDE, (IN_REGION, ELSEWHERE), None),
        (CLAUDE, (IN_REGION, ELSEWHERE, GLOBAL), None),
        (NOVA, (IN_REGION, EU, GLOBAL), None),
        (NOVA, (IN_REGION, EU, OTHER), OTHER),
        # The name of a geography: a profile of it, and nothing else.
        (f"eu.{CLAUDE}", (), None),
        (f"eu.{CLAUDE}", (EU,), EU),
        (f"eu.{CLAUDE}", (GLOBAL,), None),
        (f"eu.{CLAUDE}", (IN_REGION,), None),
        (f"eu.{CLAUDE}", (UNKNOWN,), None),
        (f"eu.{CLAUDE}", (US,), None),
        (f"eu.{CLAUDE}", (GLOBAL, EU), EU),
        (f"eu.{CLAUDE}", (IN_REGION, US, GLOBAL, EU), EU),
        (f"us.{CLAUDE}", (GLOBAL, EU), None),
        (f"us.{CLAUDE}", (US, EU), US),
        (f"apac.{CLAUDE}", (JP,), None),
        (f"jp.{CLAUDE}", (APAC,), None),
        (f"jp.{CLAUDE}", (APAC, JP), JP),
        (f"apac.{CLAUDE}", (APAC, JP), APAC),
        (f"eu.{NOVA}", (EU, OTHER), None),
        (f"global.{CLAUDE}", (EU,), None),
        (f"global.{CLAUDE}", (EU, GLOBAL), GLOBAL),
        (f"global.{CLAUDE}", (IN_REGION, UNKNOWN), None),
        (f"eu.{CLAUDE}", (EU, profile("eu0000000002", "geo", "eu")), None),
        # ARNs of models and of system profiles are their names.
        (FOUNDATION_ARN, (IN_REGION, GLOBAL), IN_REGION),
        (FOUNDATION_ARN, (GLOBAL, EU), None),
        (SYSTEM_ARN, (EU, GLOBAL), EU),
        (SYSTEM_ARN, (GLOBAL,), None),
        (SYSTEM_ARN.replace("eu.", "global."), (EU, GLOBAL), GLOBAL),
        # Everything else names no known model.
        *((one, (IN_REGION, EU, GLOBAL), None) for one in OTHER_ARNS),
    ],
)
def test_a_model_goes_through_the_profile_that_its_name_says_or_through_none(
    model: str, mine: tuple[ProfileReference, ...], expected: ProfileReference | None
) -> None:
    for order in itertools.permutations(mine):
        for field in ("model", "profile"):
            assert chosen(*order, **{field: model}) == (None if expected is None else expected.id)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (CLAUDE, CLAUDE),
        (f"eu.{CLAUDE}", f"eu.{CLAUDE}"),
        (SYSTEM_ARN, f"eu.{CLAUDE}"),
        (FOUNDATION_ARN, CLAUDE),
        *((one, "-") for one in OTHER_ARNS),
        ("noowner00001", "-"),
        (arn("noowner00001"), "-"),
    ],
)
def test_where_there_is_no_profile_the_answer_lists_what_there_is(model: str, named: str) -> None:
    mine = (US, OTHER, UNKNOWN, NO_MODEL, ProfileReference("bare00000001", "bare00000001"))
    is_profile = "noowner" in model
    found = select("acme", Called(model, region=TOKYO), mine, {}, NOW_MS)
    assert (found.model, found.routing, found.through, found.region) == (named, None, None, TOKYO)
    assert found.profile == (model if is_profile else "")
    assert found.available == (
        Choice(US.id, US.arn, CLAUDE, "geo", "us", OHIO),
        Choice(OTHER.id, OTHER.arn, NOVA, "in-region", None, FRANKFURT),
        Choice(UNKNOWN.id, UNKNOWN.arn, CLAUDE, None, None, FRANKFURT),
        Choice(NO_MODEL.id, NO_MODEL.arn, "-", None, None, FRANKFURT),
        Choice("bare00000001", "bare00000001", "-", None, None, ""),
    )


def test_without_a_name_nothing_is_known() -> None:
    assert select("acme", Called(), (EU,), {}, NOW_MS) == Destination()


@pytest.mark.parametrize("field", ["model", "profile"])
@pytest.mark.parametrize("name", [EU.id, EU.arn])
def test_a_profile_of_the_tenant_is_called_in_whichever_field_it_stands(field: str, name: str) -> None:
    found = select("acme", Called(**{field: name}), (GLOBAL, EU), {}, NOW_MS)
    through = Choice(EU.id, EU.arn, CLAUDE, "geo", "eu", FRANKFURT)
    assert found == Destination(CLAUDE, "geo", FRANKFURT, through, EU.arn)


@pytest.mark.parametrize(
    ("name", "region", "expected"),
    [
        (EU.arn, "", EU.id),
        (EU.arn, FRANKFURT, EU.id),
        (EU.arn, IRELAND, None),
        (EU.id, IRELAND, None),
        (EU.id, FRANKFURT, EU.id),
        (arn(EU.id, IRELAND), "", None),
        (arn(EU.id, account="999999999999"), "", None),
        (f"eu.{CLAUDE}", FRANKFURT, EU.id),
        (f"eu.{CLAUDE}", IRELAND, None),
        (SYSTEM_ARN, "", EU.id),
        (SYSTEM_ARN, FRANKFURT, EU.id),
        (SYSTEM_ARN, IRELAND, None),
        (SYSTEM_ARN.replace(FRANKFURT, IRELAND), "", None),
        (SYSTEM_ARN.replace(ACCOUNT, "999999999999"), "", None),
    ],
)
def test_account_and_region_of_what_is_named_and_of_the_client_agree_with_the_profiles(
    name: str, region: str, expected: str | None
) -> None:
    assert chosen(EU, model=name, region=region) == expected
    assert chosen(EU, GLOBAL, profile=name, region=region) == expected


def test_the_clients_region_decides_between_profiles_of_several_regions() -> None:
    mine = (IN_REGION, ELSEWHERE)
    assert chosen(*mine, model=CLAUDE, region=FRANKFURT) == IN_REGION.id
    assert chosen(*mine, model=CLAUDE, region=IRELAND) == ELSEWHERE.id
    assert chosen(*mine, model=CLAUDE, region=TOKYO) is None
    assert chosen(*mine, US, model=CLAUDE, region=OHIO) == US.id


@pytest.mark.parametrize(
    ("called", "region"),
    [
        (Called(FOUNDATION_ARN), FRANKFURT),
        (Called(arn("noowner00001", IRELAND)), IRELAND),
        (Called(arn("noowner00001", IRELAND), region=TOKYO), TOKYO),
        (Called(OTHER_ARNS[0]), FRANKFURT),
        (Called(CLAUDE), ""),
    ],
)
def test_a_call_without_a_profile_is_made_in_the_region_of_its_client_or_of_what_it_names(
    called: Called, region: str
) -> None:
    assert select("acme", called, (), {}, NOW_MS).region == region


def test_a_profile_whose_arn_is_not_known_is_called_from_anywhere() -> None:
    bare = ProfileReference("bare00000001", "bare00000001", CLAUDE, "geo", geography="eu")
    for region in ("", FRANKFURT, OHIO):
        found = select("acme", Called("bare00000001", region=region), (bare,), {}, NOW_MS)
        assert found.through is not None
        assert (found.region, found.profile) == (region, "bare00000001")
    assert chosen(bare, profile=arn("bare00000001", OHIO, "999999999999")) == "bare00000001"
    assert select("acme", Called(arn("bare00000001", OHIO)), (bare,), {}, NOW_MS).region == OHIO


@pytest.mark.parametrize(
    "called",
    [
        Called(NOVA, EU.id),
        Called(f"us.{CLAUDE}", EU.id),
        Called(f"global.{CLAUDE}", EU.arn),
        Called(f"eu.{CLAUDE}", IN_REGION.id),
        Called(f"eu.{CLAUDE}", GLOBAL.id),
        Called(EU.id, f"us.{CLAUDE}"),
        Called(EU.id, GLOBAL.id),
        Called(arn(EU.id, IRELAND), EU.arn),
        Called(NOVA, CLAUDE),
        Called(f"us.{CLAUDE}", f"eu.{CLAUDE}"),
        Called(f"eu.{CLAUDE}", SYSTEM_ARN.replace("eu.", "global.")),
        *(pair for other in OTHER_ARNS for pair in (Called(CLAUDE, other), Called(other, EU.arn))),
    ],
)
def test_names_that_contradict_each_other_are_refused(called: Called) -> None:
    with pytest.raises(InvalidDefinition, match=r"model: .*leave one of them out"):
        select("acme", called, (EU, GLOBAL, IN_REGION), {}, NOW_MS)


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (Called(CLAUDE, EU.id), EU),
        (Called(f"eu.{CLAUDE}", EU.id), EU),
        (Called(SYSTEM_ARN, EU.arn), EU),
        (Called(EU.arn, EU.id), EU),
        (Called(EU.id, EU.arn), EU),
        (Called(f"eu.{CLAUDE}", CLAUDE), EU),
        (Called(CLAUDE, f"eu.{CLAUDE}"), EU),
        (Called(f"us.{CLAUDE}", UNKNOWN.id), UNKNOWN),
        (Called(CLAUDE, NO_MODEL.id), NO_MODEL),
    ],
)
def test_names_that_say_the_same_agree(called: Called, expected: ProfileReference) -> None:
    found = select("acme", called, (GLOBAL, IN_REGION, EU, UNKNOWN, NO_MODEL), {}, NOW_MS)
    assert found.through is not None
    assert found.through.id == expected.id


def test_a_model_that_the_directory_does_not_know_stays_unknown_whatever_the_caller_says() -> None:
    found = select("acme", Called(CLAUDE, NO_MODEL.id), (NO_MODEL,), {}, NOW_MS)
    assert (found.model, found.profile) == ("-", NO_MODEL.arn)


# What definitions and mappings say.


@pytest.mark.parametrize(
    ("defined", "mapped", "expected"),
    [
        # The mapping's word wins: records are priced by it.
        ((NOVA, "global", None), (CLAUDE, "geo", "eu"), (CLAUDE, "geo", "eu")),
        ((CLAUDE, "in-region", None), ("-", None, None), (CLAUDE, "in-region", None)),
        (("-", None, None), (CLAUDE, "global", None), (CLAUDE, "global", None)),
        ((CLAUDE, "geo", "us"), (CLAUDE, "geo", None), (CLAUDE, "geo", "us")),
        # A model's prefix says what is not said otherwise.
        ((f"us.{CLAUDE}", None, None), None, (CLAUDE, "geo", "us")),
        ((f"global.{CLAUDE}", None, None), None, (CLAUDE, "global", None)),
        (("-", None, None), (f"jp.{CLAUDE}", None, None), (CLAUDE, "geo", "jp")),
        # So does the Region that a profile of geo routing is in, where one geography alone is there.
        ((CLAUDE, "geo", None), None, (CLAUDE, "geo", "eu")),
        ((CLAUDE, None, None), None, (CLAUDE, None, None)),
        # Only geo routing has a geography.
        ((CLAUDE, "geo", "eu"), (CLAUDE, "global", None), (CLAUDE, "global", None)),
    ],
)
def test_what_a_profile_stands_for(
    defined: tuple[str, str | None, str | None],
    mapped: tuple[str, str | None, str | None] | None,
    expected: tuple[str, str | None, str | None],
) -> None:
    mine = ProfileReference("p1", arn("p1"), defined[0], defined[1], geography=defined[2])
    periods: Periods = ()
    if mapped is not None:
        periods = (MappingPeriod("acme", 0, None, mapped[0], mapped[1], geography=mapped[2]),)
    found = select("acme", Called("p1"), (mine,), {"p1": periods}, NOW_MS)
    assert found.through is not None
    assert (found.through.model, found.through.routing, found.through.geography) == expected
    assert (found.model, found.routing) == expected[:2]


def test_the_region_of_a_profile_in_japan_does_not_say_which_geography() -> None:
    mine = ProfileReference("p1", arn("p1", TOKYO), CLAUDE, "geo")
    assert chosen(mine, model=f"jp.{CLAUDE}") is None
    assert chosen(mine, model=f"apac.{CLAUDE}") is None
    assert chosen(mine, model=CLAUDE) == "p1"


# Whose a profile is.


def owned_by(tenant: str, **more: object) -> Periods:
    return (MappingPeriod(tenant, 0, None, CLAUDE, "geo", geography="eu", **more),)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["model", "profile"])
@pytest.mark.parametrize("name", ["theirs000001", arn("theirs000001"), arn("theirs000001", OHIO, "999999999999")])
@pytest.mark.parametrize("is_defined", [True, False])
def test_another_tenants_profile_is_refused_in_every_field(field: str, name: str, is_defined: bool) -> None:
    """Records join on the last segment of the ARN: what goes through it is counted there."""
    mine = [ProfileReference("theirs000001", arn("theirs000001"), CLAUDE, "geo", geography="eu")] if is_defined else []
    with pytest.raises(ForeignProfile):
        select("acme", Called(**{field: name}), mine, {"theirs000001": owned_by("globex")}, NOW_MS)


@pytest.mark.parametrize("other", [{"model": CLAUDE}, {"profile": EU.id}])
def test_it_is_refused_beside_another_name_too(other: dict[str, str]) -> None:
    (field,) = {"model", "profile"} - other.keys()
    with pytest.raises((ForeignProfile, InvalidDefinition)):
        select("acme", Called(**other, **{field: "theirs000001"}), (EU,), {"theirs000001": owned_by("globex")}, NOW_MS)


def test_another_tenants_profile_is_never_chosen_nor_listed() -> None:
    mappings = {EU.id: owned_by("globex"), GLOBAL.id: owned_by("acme")}
    found = select("acme", Called(f"eu.{CLAUDE}"), (EU, US), mappings, NOW_MS)
    assert (found.through, [one.id for one in found.available]) == (None, [US.id])


@pytest.mark.parametrize("name", ["noowner00001", arn("noowner00001")])
def test_a_profile_that_has_no_owner_is_no_profile_of_the_tenants(name: str) -> None:
    ended = (MappingPeriod("globex", 0, NOW_MS),)
    for periods in ((), ended):
        found = select("acme", Called(name), (EU,), {"noowner00001": periods}, NOW_MS)
        assert (found.model, found.through, found.profile) == ("-", None, name)
        assert [one.id for one in found.available] == [EU.id]


def test_a_profile_that_is_mapped_and_not_yet_in_the_definition_is_the_tenants() -> None:
    found = select("acme", Called(arn("new000000001")), (), {"new000000001": owned_by("acme")}, NOW_MS)
    assert found.through == Choice("new000000001", arn("new000000001"), CLAUDE, "geo", "eu", FRANKFURT)


GIVEN_MS = NOW_MS
STARTS_MS = NOW_MS + HANDOVER_MS


@pytest.mark.parametrize(
    ("now_ms", "owners"),
    [
        (GIVEN_MS - 1, {"acme"}),
        (GIVEN_MS, {"acme", "globex"}),
        (GIVEN_MS + 1, {"acme", "globex"}),
        (GIVEN_MS + 35_000, {"acme", "globex"}),
        (STARTS_MS - 1, {"acme", "globex"}),
        (STARTS_MS, {"globex"}),
        (STARTS_MS + 1, {"globex"}),
    ],
)
@pytest.mark.parametrize("is_in_definition", [True, False])
def test_both_owners_have_a_profile_during_the_70_seconds_of_its_handover(
    now_ms: int, owners: set[str], is_in_definition: bool
) -> None:
    assert HANDOVER_MS == 70_000
    given = give(owned_by("acme"), "globex", GIVEN_MS, model=CLAUDE, routing="geo", by="person", geography="eu")
    assert given is not None
    mappings = {EU.id: given[0]}
    mine = (EU,) if is_in_definition else ()
    for tenant in ("acme", "globex", "initech"):
        called = Called(profile=EU.arn)
        if tenant in owners:
            found = select(tenant, called, mine, mappings, now_ms)
            assert found.through is not None
            assert found.through.id == EU.id
        else:
            with pytest.raises(ForeignProfile):
                select(tenant, called, mine, mappings, now_ms)


# What is remembered.


class Selecting:
    """A selection over a directory in memory that counts its reads."""

    def __init__(self, directory: MemoryDirectory, **options: int) -> None:
        self.directory = directory
        self.selection = ProfileSelection(lambda: directory, **options)
        self.now_ms = NOW_MS

    def of(self, called: Called, tenant: str = "acme") -> Destination:
        self.directory.reads.clear()
        return self.selection.of(tenant, called, self.now_ms)

    @property
    def mappings_read(self) -> list[str]:
        return [one for one in self.directory.reads if one.startswith("mappings")]


def test_without_a_name_nothing_is_read() -> None:
    one = Selecting(MemoryDirectory())
    assert one.of(Called(region=FRANKFURT)) == Destination(region=FRANKFURT)
    assert one.directory.reads == []


def test_a_mapping_is_remembered_for_a_minute_and_that_there_is_none_for_five_seconds() -> None:
    assert (KNOWN_FOR_MS, UNKNOWN_FOR_MS) == (60_000, 5_000)
    one = Selecting(MemoryDirectory({"acme": (EU, GLOBAL)}, {EU.id: owned_by("acme")}))
    one.of(Called(CLAUDE))
    assert one.directory.reads == ["profiles of acme", f"mappings of {EU.id},{GLOBAL.id}"]
    one.now_ms += 4_999
    one.of(Called(CLAUDE))
    assert one.directory.reads == ["profiles of acme"], "the definition is read each time"
    one.now_ms += 1
    one.of(Called(CLAUDE))
    assert one.mappings_read == [f"mappings of {GLOBAL.id}"]
    one.now_ms = NOW_MS + 59_999
    one.of(Called(CLAUDE))
    assert one.mappings_read == [f"mappings of {GLOBAL.id}"]
    one.now_ms = NOW_MS + 60_000
    one.of(Called(CLAUDE))
    assert one.mappings_read == [f"mappings of {EU.id}"]


def test_a_profile_that_is_given_away_is_refused_at_its_old_owner_in_time() -> None:
    """What is remembered lives shorter than a handover."""
    one = Selecting(MemoryDirectory({"acme": (EU,)}, {EU.id: owned_by("acme")}))
    assert one.of(Called(EU.id)).through is not None
    given = give(owned_by("acme"), "globex", NOW_MS, model=CLAUDE, routing="geo", by="person", geography="eu")
    assert given is not None
    one.directory.periods[EU.id] = given[0]
    one.now_ms = STARTS_MS - 1
    assert one.of(Called(EU.id)).through is not None
    one.now_ms = STARTS_MS
    with pytest.raises(ForeignProfile):
        one.of(Called(EU.id))


def test_what_is_remembered_does_not_refuse_an_owner_that_got_the_profile_since() -> None:
    one = Selecting(MemoryDirectory({"acme": (EU,)}, {EU.id: owned_by("acme")}))
    with pytest.raises(ForeignProfile):
        one.of(Called(EU.id), "globex")
    given = give(owned_by("acme"), "globex", NOW_MS, model=CLAUDE, routing="geo", by="person", geography="eu")
    assert given is not None
    one.directory.periods[EU.id] = given[0]
    one.now_ms += 1_000
    assert one.of(Called(EU.id), "globex").through is not None


def test_what_makes_room_for_others_does_not_make_a_profile_ownerless() -> None:
    one = Selecting(MemoryDirectory({"acme": (GLOBAL,)}, {"theirs000001": owned_by("globex")}), capacity=2)
    with pytest.raises(ForeignProfile):
        one.of(Called("theirs000001"))
    one.directory.profiles["acme"] = (GLOBAL, IN_REGION, ELSEWHERE)
    with pytest.raises(ForeignProfile):
        one.of(Called("theirs000001"))


def test_only_so_many_mappings_are_remembered() -> None:
    one = Selecting(MemoryDirectory(), capacity=10)
    for number in range(100):
        one.of(Called(f"profile{number}"))
    assert len(one.selection._known) <= 10


def test_the_store_is_made_with_the_first_name() -> None:
    made: list[MemoryDirectory] = []

    def make() -> MemoryDirectory:
        made.append(MemoryDirectory())
        return made[-1]

    selection = ProfileSelection(make)
    selection.of("acme", Called(), NOW_MS)
    assert made == []
    for _ in range(2):
        selection.of("acme", Called(CLAUDE), NOW_MS)
    assert len(made) == 1
