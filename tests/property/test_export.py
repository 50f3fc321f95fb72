"""Files of tenants there and back: what is applied and exported is found unchanged, over all that a file can say.

Both ways to a stack are used, over the same memory: the tables, and the admin API behind its own routes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bedrock_meter.cli.administering import AdminApi
from bedrock_meter.cli.applying import put_plans, put_tenants
from bedrock_meter.cli.exporting import exported
from bedrock_meter.cli.ways import ApiWay, TableWay, Way, held_of
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.attribution import BY_TAG, MappingPeriod
from bedrock_meter.tenants.boosting import WantedBoost
from bedrock_meter.tenants.difference import Desired, difference_document, is_empty
from bedrock_meter.tenants.file import parse, parse_gateways, parse_plans
from bedrock_meter.tenants.tenant import ProfileReference, TenantDefinition
from bedrock_meter.tenants.trust import Trust
from tests.doubles.office import Office
from tests.doubles.records import NOW_MS

METERS = ("requests", "input_tokens", "total_tokens", "cache_read_tokens", "weighted_tokens", "cost_usd")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Los_Angeles")
NAMES = ("hour", "day", "month", "x.1", "12e4", "null", "true")
TENANTS = ("acme", "globex", "0012", "null", "1e5")
PROFILES = (
    "p1",
    "012345678901",
    "12e4567890ab",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p4",
)
ROLE = "arn:aws:iam::123456789012:role/"
PRINCIPALS = (f"{ROLE}a", f"{ROLE}b,c=d+e", f"{ROLE}teams-*", "arn:aws:sts::123456789012:assumed-role/x/session")

words = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1, max_size=12).filter(
    str.isprintable
)
windows = st.one_of(
    st.sampled_from(["1m", "5m", "1h", "7d", "31d", "day", "week", "week@mon", "month", "month@15"]),
    st.builds(
        lambda window, zone: {"calendar": window, "timezone": zone},
        st.sampled_from(["day", "month@15"]),
        st.sampled_from(ZONES),
    ),
)
amounts = st.one_of(st.sampled_from(["200k", "2M", "1_000_000", 0, 1, 10**12]), st.integers(0, 10**15))
dollars = st.sampled_from(["$500", "0.19", "12.50", "0.000000001", 3, 0])


def limits(profiles: Sequence[str] = ()) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Lists of limits as people write them."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "hard": st.booleans(),
        "shadow": st.booleans(),
        "fail": st.sampled_from(["open", "closed"]),
        "thresholds": st.lists(st.sampled_from([1, 50, 80, 95, 100, 120]), max_size=4),
        "models": st.lists(
            st.sampled_from(["anthropic.*", "amazon.nova-?ro-v1:0"]), min_size=1, max_size=2, unique=True
        ),
    }
    if profiles:
        optional["profiles"] = st.lists(st.sampled_from(list(profiles)), min_size=1, max_size=2, unique=True)
    shape = {"name": st.sampled_from(NAMES), "meter": st.sampled_from(METERS), "window": windows}

    def with_maximum(limit: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        return (dollars if limit["meter"] == "cost_usd" else amounts).map(lambda most: {**limit, "max": most})

    one = st.fixed_dictionaries(shape, optional=optional).flatmap(with_maximum)
    return st.lists(one, max_size=3, unique_by=lambda limit: limit["name"])


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of tenants files."""
    plans = draw(st.lists(st.sampled_from(["gold", "1e3"]), max_size=2, unique=True))
    free = {"profiles": list(PROFILES), "principals": list(PRINCIPALS)}
    entries = []
    for tenant in draw(st.lists(st.sampled_from(TENANTS), max_size=3, unique=True)):
        owned = {
            kind: draw(st.lists(st.sampled_from(left), max_size=2, unique=True)) if left else []
            for kind, left in free.items()
        }
        for kind, names in owned.items():
            free[kind] = [one for one in free[kind] if one not in names]
        own = draw(limits(owned["profiles"]))
        removed = draw(st.lists(st.sampled_from(NAMES), max_size=1))
        own += [{"name": one, "remove": True} for one in removed if one not in [each["name"] for each in own]]
        more = {
            "geography": st.sampled_from(["eu", "us"]),
            "model": st.sampled_from(["anthropic.claude-sonnet-4-6", "-"]),
            "routing": st.sampled_from(["in-region", "geo", "global"]),
        }
        said = {
            "name": words,
            "timezone": st.sampled_from(ZONES),
            "plan": st.sampled_from(plans or ["a word"]),
            "fail": st.sampled_from(["open", "closed"]),
            "reserves": st.booleans(),
        }
        profiles = [
            draw(st.one_of(st.just(one), st.fixed_dictionaries({"id": st.just(one)}, optional=more)))
            for one in owned["profiles"]
        ]
        entries.append(
            {
                "id": tenant,
                **draw(st.fixed_dictionaries({}, optional=said)),
                "profiles": profiles,
                "principals": owned["principals"],
                "limits": own,
            }
        )
    document: dict[str, Any] = {"tenants": entries}
    if plans:
        default = draw(st.sampled_from([None, *plans]))
        document["plans"] = [{"name": one, "default": one == default, "limits": draw(limits())} for one in plans]
    return document


def desired_of(document: Mapping[str, Any]) -> Desired:
    """Read a file's document, as YAML would have it."""
    read = yaml.safe_load(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100))
    try:
        return Desired(parse(read), parse_plans(read), parse_gateways(read))
    except InvalidDefinition:
        assume(False)
        raise


def ways_of(office: Office) -> tuple[Way, Way]:
    """Both ways to one stack."""

    def send(
        method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], str]:
        parts = urlsplit(url)
        text = body.decode() if body is not None else None
        answer = office.ask(parts.path, method, query=parts.query, body=text, headers=dict(headers))
        return answer.status, answer.headers, answer.text

    return TableWay(office.administration, office.tenants, "x"), ApiWay(AdminApi("http://127.0.0.1", send))


def load(office: Office, way: Way, desired: Desired) -> dict[str, list[str]]:
    """Apply a file; returns what changed, by tenant."""
    held, changed = held_of(way, desired), {}
    put_plans(office.administration.planning("x"), desired, held)
    put_tenants(way, desired, held, lambda tenant, what, _: changed.update({tenant: list(what)}))
    return changed


def tagged(office: Office, tenant: str) -> None:
    """Give a tenant a profile by a tag in Bedrock, as ``sync_profiles`` does."""
    held, at_ms = office.tenants.definitions[tenant]
    reference = ProfileReference("bytag0000001", "bytag0000001", "a.model", "geo", tagged=True)
    office.tenants.definitions[tenant] = replace(held, profiles=(reference, *held.profiles)), at_ms
    office.tenants.mappings["bytag0000001"] = 1, (MappingPeriod(tenant, 0, None, "a.model", "geo", BY_TAG),)


@settings(max_examples=150, deadline=None)
@given(document=files(), by_api=st.booleans(), with_tag=st.booleans(), with_boost=st.booleans())
def test_what_is_exported_is_found_unchanged(
    document: dict[str, Any], by_api: bool, with_tag: bool, with_boost: bool
) -> None:
    office = Office()
    ways = ways_of(office)
    desired = desired_of(document)
    load(office, ways[by_api], desired)
    ids = [one.id for one in desired.definitions]
    boosted = []
    for tenant in ids[:1]:
        if with_tag:
            tagged(office, tenant)
        described = office.administration.tenant(tenant)
        assert described is not None
        in_force = [one["name"] for one in described.document["effective"]]
        if with_boost and in_force:
            office.administration.boost(tenant, WantedBoost(in_force[0], NOW_MS + 10**7, "why", "x", factor="1.5"))
            boosted = [(tenant, in_force[0])]
    before = definitions(office)
    texts = []
    for way in ways:
        found = exported(way, ())
        again = desired_of(found)
        assert [one.id for one in again.definitions] == sorted(ids)
        for each in ways:
            assert is_empty(difference_document(again, held_of(each, again)))
        changed = load(office, way, again)
        assert changed == {tenant: [] for tenant in ids}
        texts.append(found)
    assert texts[0] == texts[1]
    assert definitions(office) == before
    for tenant, name in boosted:
        listed = office.administration.boosts(tenant)
        assert listed is not None
        assert [one["limit"] for one in listed] == [name], "boosts are neither shown nor touched"


def definitions(office: Office) -> dict[str, TenantDefinition]:
    """All stored definitions."""
    return {one.id: one for one in office.tenants.all_tenants()}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two files: of their own, or one that leaves out what the other says of a tenant."""
    first = draw(files())
    if not first["tenants"] or draw(st.booleans()):
        return first, draw(files())
    number = draw(st.integers(0, len(first["tenants"]) - 1))
    entry = first["tenants"][number]
    left_out = draw(st.sampled_from([key for key in entry if key != "id"]))
    shorter = {key: value for key, value in entry.items() if key != left_out}
    return first, {**first, "tenants": [*first["tenants"][:number], shorter, *first["tenants"][number + 1 :]]}


@settings(max_examples=150, deadline=None)
@given(pair=pairs())
def test_a_difference_is_empty_exactly_where_applying_changes_nothing(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    first, second = pair
    office = Office()
    way, _ = ways_of(office)
    load(office, way, desired_of(first))
    # Plans stay: a tenant whose plan the second file does not define would be refused.
    desired = Desired(desired_of({"tenants": second["tenants"]}).definitions)
    try:
        document = difference_document(desired, held_of(way, desired))
    except InvalidDefinition:
        assume(False)
    assert document == difference_document(desired, held_of(way, desired))
    named = {one["tenant"] for one in document["tenants"]}
    before = definitions(office)
    changed = load(office, way, desired)
    # What is mapped to another tenant changes hands, and with it a definition that stays as it is.
    assert {tenant for tenant, what in changed.items() if what} == named
    assert {tenant for tenant, one in definitions(office).items() if before.get(tenant) != one} <= named
    assert is_empty(difference_document(desired, held_of(way, desired)))


def test_gateways_come_back_too() -> None:
    office = Office()
    way, _ = ways_of(office)
    office.tenants.trusted = Trust((f"{ROLE}gateway", f"{ROLE}more-*"), "customer")
    again = desired_of(exported(way, ()))
    assert again.gateways is not None
    assert is_empty(difference_document(again, held_of(way, again)))
