"""Which profile a call goes through, for any tenant and any name: what never happens."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.limits.destination import Called, Choice
from bedrock_meter.tenants.attribution import MappingPeriod
from bedrock_meter.tenants.selection import Periods, select
from bedrock_meter.tenants.tenant import ProfileReference

NOW_MS = 1_795_000_020_000
MODELS = ("anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1:0")
GEOGRAPHIES = ("eu", "us", "jp", "apac")
PREFIXES = ("", "global", *GEOGRAPHIES)
REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "ap-northeast-1")


@st.composite
def tenants(draw: st.DrawFn) -> tuple[list[ProfileReference], dict[str, Periods]]:
    """A tenant's definition, and mappings that say as much, more, something else, or nothing."""
    profiles: list[ProfileReference] = []
    mappings: dict[str, Periods] = {}
    for number in range(draw(st.integers(0, 6))):
        name = f"profile{number:05}"
        arn = f"arn:aws:bedrock:{draw(st.sampled_from(REGIONS))}:123456789012:application-inference-profile/{name}"
        model = draw(st.sampled_from((*MODELS, "-", f"eu.{MODELS[0]}")))
        routing = draw(st.sampled_from(("in-region", "geo", "global", None)))
        geography = draw(st.sampled_from((*GEOGRAPHIES, None))) if routing == "geo" else None
        profiles.append(ProfileReference(name, draw(st.sampled_from((name, arn))), model, routing, geography=geography))
        owner = draw(st.sampled_from(("acme", "acme", "globex", None)))
        if owner is not None:
            mapped = draw(st.sampled_from((model, "-", MODELS[0])))
            mappings[name] = (MappingPeriod(owner, 0, None, mapped, draw(st.sampled_from((routing, None)))),)
    return profiles, mappings


names = st.builds(
    lambda prefix, model: f"{prefix}.{model}" if prefix else model, st.sampled_from(PREFIXES), st.sampled_from(MODELS)
)


def is_usable(one: Choice, region: str) -> bool:
    return not region or one.region in ("", region)


@settings(max_examples=300, deadline=None)
@given(tenants(), names, st.sampled_from(("", *REGIONS)), st.randoms(use_true_random=False))
def test_a_call_goes_through_what_its_name_says_or_through_none(
    tenant: tuple[list[ProfileReference], dict[str, Periods]], name: str, region: str, random: object
) -> None:
    profiles, mappings = tenant
    called = Called(name, region=region)
    found = select("acme", called, profiles, mappings, NOW_MS)
    prefix, _, rest = name.partition(".")
    prefix, base = (prefix, rest) if prefix in PREFIXES else ("", name)
    mine = select("acme", Called("no.such-model"), profiles, mappings, NOW_MS).available
    through = found.through
    if through is None:
        assert (found.model, found.routing, found.region, found.available) == (name, None, region, mine)
        candidates = [one for one in found.available if one.model == base and is_usable(one, region)]
        if prefix == "global":
            fitting = [one for one in candidates if one.routing == "global"]
        elif prefix:
            fitting = [one for one in candidates if (one.routing, one.geography) == ("geo", prefix)]
        else:
            fitting = [one for one in candidates if one.routing == "in-region"] or candidates
        assert len(fitting) != 1, "one fits, and was not taken"
    else:
        assert through.model == base
        assert is_usable(through, region)
        if prefix == "global":
            assert through.routing == "global"
        elif prefix:
            assert (through.routing, through.geography) == ("geo", prefix)
        owner = mappings.get(through.id)
        assert owner is None or owner[0].tenant == "acme"
        rivals = [one for one in mine if one.model == base and is_usable(one, region) and one.id != through.id]
        if not prefix:
            assert not rivals or through.routing == "in-region", "one of several, or a global one beside a geography"
            assert all(one.routing != "in-region" for one in rivals)
        else:
            assert all((one.routing, one.geography) != (through.routing, through.geography) for one in rivals)
    # The order in a definition decides nothing.
    shuffled = list(profiles)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = select("acme", called, shuffled, mappings, NOW_MS)
    assert (again.model, again.routing, again.region, again.through) == (
        found.model, found.routing, found.region, found.through,
    )  # fmt: skip
    assert sorted(again.available, key=str) == sorted(found.available, key=str)


@settings(max_examples=200, deadline=None)
@given(tenants(), names)
def test_another_profile_less_never_changes_what_a_name_with_a_prefix_leads_to(
    tenant: tuple[list[ProfileReference], dict[str, Periods]], name: str
) -> None:
    """A profile of another geography or routing is no reason to choose or to leave one."""
    profiles, mappings = tenant
    if name in MODELS:
        name = f"eu.{name}"
    found = select("acme", Called(name), profiles, mappings, NOW_MS)
    if found.through is not None:
        alone = [one for one in profiles if one.id == found.through.id]
        assert select("acme", Called(name), alone, mappings, NOW_MS).through == found.through
