"""Attribution: by profile, at event time, from answers of a bounded age."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution, MappingPeriod, attribute
from bedrock_meter.tenants.directory import KNOWN_FOR_MS, UNKNOWN_FOR_MS, Answer, CachedDirectory, Question
from bedrock_meter.tenants.trust import NO_TRUST, Trust
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

    def __init__(self, trust: Trust = NO_TRUST, **profiles: Sequence[MappingPeriod]) -> None:
        self.trust = trust
        self.profiles = dict(profiles)
        self.principals: dict[str, Sequence[MappingPeriod]] = {}
        self.tenants: set[str] = set()
        self.asked: list[Question] = []

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(
            {one: self.profiles[one] for one in question.profiles if one in self.profiles},
            {one: self.principals[one] for one in question.principals if one in self.principals},
            {one for one in question.tenants if one in self.tenants},
            self.trust if question.trust else None,
        )

    @property
    def profiles_asked(self) -> list[list[str]]:
        return [list(question.profiles) for question in self.asked if question.profiles]


def test_a_batch_asks_once_for_what_is_not_remembered() -> None:
    store = Store(a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store)
    records = [invocation(f"r{number}", profile=("a1", "b1")[number % 2]) for number in range(10)]
    assert [one.tenant for one in directory.attribute(records, NOW_MS)] == ["acme", UNATTRIBUTED] * 5
    directory.attribute(records, NOW_MS + UNKNOWN_FOR_MS - 1)
    assert store.asked == [Question(["a1", "b1"], [], [], True)]


def test_unknown_profiles_are_asked_again_soon_and_known_ones_later() -> None:
    store = Store(a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store)
    records = [invocation("r1", profile="a1"), invocation("r2", profile="b1")]
    directory.attribute(records, NOW_MS)
    store.profiles["b1"] = (MappingPeriod("globex"),)
    later = directory.attribute(records, NOW_MS + UNKNOWN_FOR_MS)
    assert [one.tenant for one in later] == ["acme", "globex"]
    directory.attribute(records, NOW_MS + KNOWN_FOR_MS)
    assert store.profiles_asked == [["a1", "b1"], ["b1"], ["a1"]]


def test_a_flood_of_identifiers_does_not_fill_the_memory() -> None:
    store = Store(Trust(names_principals=True))
    directory = CachedDirectory(store, capacity=100)
    for number in range(1000):
        session = f"arn:aws:sts::123456789012:assumed-role/service/s{number}"
        record = replace(invocation("r", profile=f"p{number}"), principal=session)
        directory.attribute([record], NOW_MS)
    assert len(directory._answers) + len(directory._older) <= 100
    assert len(directory._callers) <= 100


def test_what_a_delivery_needs_survives_a_flood_in_the_same_delivery() -> None:
    store = Store(a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store, capacity=100)
    known = invocation("known", profile="a1")
    directory.attribute([known], NOW_MS)
    flood = [invocation(f"r{number}", profile=f"p{number}") for number in range(200)]
    assert directory.attribute([known, *flood], NOW_MS)[0].tenant == "acme"


ROLE = "arn:aws:iam::123456789012:role/worker"
SESSION = "arn:aws:sts::123456789012:assumed-role/worker/blue"
OTHER_SESSION = "arn:aws:sts::123456789012:assumed-role/worker/green"
GATEWAY = "arn:aws:iam::123456789012:role/gateway"
GATEWAY_SESSION = "arn:aws:sts::123456789012:assumed-role/gateway/i-1"


def by(principal: str, *, model: str = "amazon.nova-lite-v1:0", claims: str | None = None) -> Invocation:
    metadata = (("team", "x"), ("tenantId", claims)) if claims is not None else ()
    return replace(invocation("r1"), model_id=model, principal=principal, metadata=metadata)


def decision(directory: CachedDirectory, record: Invocation, now_ms: int = NOW_MS) -> tuple[str, str]:
    (found,) = directory.attribute([record], now_ms)
    return found.tenant, found.rule


def test_a_role_attributes_all_of_its_sessions_and_an_exact_session_beats_it() -> None:
    store = Store(Trust(names_principals=True))
    store.principals = {ROLE: (MappingPeriod("acme"),), OTHER_SESSION: (MappingPeriod("globex"),)}
    directory = CachedDirectory(store)
    assert decision(directory, by(SESSION)) == ("acme", "principal")
    assert decision(directory, by(ROLE)) == ("acme", "principal")
    assert decision(directory, by(OTHER_SESSION)) == ("globex", "principal")
    (found,) = directory.attribute([by(SESSION)], NOW_MS)
    assert (found.profile, found.model) == ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0")


def test_a_principal_that_changed_hands_is_attributed_at_event_time() -> None:
    store = Store(Trust(names_principals=True))
    store.principals = {ROLE: HANDED_OVER}
    directory = CachedDirectory(store)
    before = replace(by(SESSION), event_ms=NOW_MS - 1)
    assert [one.tenant for one in directory.attribute([before, by(SESSION)], NOW_MS)] == ["acme", "globex"]


def test_patterns_are_part_of_what_is_trusted_and_the_longest_decides() -> None:
    patterns = {
        "arn:aws:iam::123456789012:role/work*": (MappingPeriod("acme"),),
        "arn:aws:iam::123456789012:role/*": (MappingPeriod("globex"),),
    }
    store = Store(Trust(patterns=patterns))
    directory = CachedDirectory(store)
    assert decision(directory, by(SESSION)) == ("acme", "principal")
    assert decision(directory, by(GATEWAY_SESSION)) == ("globex", "principal")
    assert [question.principals for question in store.asked] == [[]], "no exact principal is mapped"


def test_metadata_decides_only_where_a_listed_gateway_sends_it_and_the_tenant_is_registered() -> None:
    store = Store(Trust(gateways=(GATEWAY,)))
    store.tenants = {"acme"}
    directory = CachedDirectory(store)
    assert decision(directory, by(GATEWAY_SESSION, claims="acme")) == ("acme", "metadata")
    assert decision(directory, by(SESSION, claims="acme")) == (UNATTRIBUTED, "none")
    assert decision(directory, by(GATEWAY_SESSION, claims="nobody")) == (UNATTRIBUTED, "none")
    for hostile in ("", "unattributed", "a" * 65, "a#b", "../acme"):
        assert decision(directory, by(GATEWAY_SESSION, claims=hostile)) == (UNATTRIBUTED, "none")
    asked = {tenant for question in store.asked for tenant in question.tenants}
    assert asked == {"acme", "nobody"}, "what cannot be a tenant is not asked for"


def test_the_key_of_the_metadata_can_be_chosen() -> None:
    store = Store(Trust(gateways=("arn:aws:iam::123456789012:role/gate*",), metadata_key="team"))
    store.tenants = {"x"}
    assert decision(CachedDirectory(store), by(GATEWAY_SESSION, claims="acme")) == ("x", "metadata")


def test_a_gateway_that_is_trusted_no_more_is_believed_no_longer_than_a_minute() -> None:
    store = Store(Trust(gateways=(GATEWAY,)))
    store.tenants = {"acme"}
    directory = CachedDirectory(store)
    assert decision(directory, by(GATEWAY_SESSION, claims="acme")) == ("acme", "metadata")
    store.trust = NO_TRUST
    assert decision(directory, by(GATEWAY_SESSION, claims="acme"), NOW_MS + KNOWN_FOR_MS) == (UNATTRIBUTED, "none")


def test_the_higher_source_wins_and_the_contradiction_is_told() -> None:
    store = Store(Trust(gateways=(GATEWAY,), names_principals=True), acmeprofile1=(MappingPeriod("acme"),))
    store.principals = {ROLE: (MappingPeriod("globex"),), GATEWAY: (MappingPeriod("acme"),)}
    store.tenants = {"initech", "acme"}
    directory = CachedDirectory(store)
    profile = profile_arn("acmeprofile1")

    def contradiction(record: Invocation) -> tuple[str, str, str | None]:
        (found,) = directory.attribute([record], NOW_MS)
        return found.tenant, found.rule, found.contradiction

    assert contradiction(by(SESSION, model=profile)) == ("acme", "profile", "profile acme, principal globex")
    assert contradiction(by(GATEWAY_SESSION, model=profile, claims="acme")) == ("acme", "profile", None)
    by_gateway = by(GATEWAY_SESSION, model=profile, claims="initech")
    assert contradiction(by_gateway) == ("acme", "profile", "profile acme, metadata initech")
    assert contradiction(by(GATEWAY_SESSION, claims="initech"))[1:] == ("principal", "principal acme, metadata initech")
    assert contradiction(by(SESSION, model=profile, claims="initech"))[2] == "profile acme, principal globex"


def test_everything_is_asked_in_one_read_and_what_is_trusted_along_with_it() -> None:
    store = Store(Trust(gateways=(GATEWAY,), names_principals=True), a1=(MappingPeriod("acme"),))
    directory = CachedDirectory(store)
    records = [invocation("r0", profile="a1"), by(SESSION), by(GATEWAY_SESSION, claims="acme")]
    directory.attribute(records, NOW_MS)
    directory.attribute(records, NOW_MS + 1)
    service = "arn:aws:iam::123456789012:role/service"
    sessions = ["arn:aws:sts::123456789012:assumed-role/service/session", SESSION, GATEWAY_SESSION]
    whole = Question(["a1", "amazon.nova-lite-v1:0"], sorted([GATEWAY, ROLE, service, *sessions]), ["acme"], False)
    first = Question(["a1", "amazon.nova-lite-v1:0"], [], [], True)
    assert store.asked == [first, replace_question(whole, profiles=[])], "the first trust makes more worth asking"
    directory.attribute(records, NOW_MS + KNOWN_FOR_MS)
    assert store.asked[2:] == [replace_question(whole, trust=True)], "the same trust, one question"


def replace_question(question: Question, **changes: Any) -> Question:
    return dataclasses.replace(question, **changes)


def test_hostile_principals_are_nobody_and_cost_no_read() -> None:
    store = Store(Trust(gateways=(GATEWAY,), names_principals=True))
    directory = CachedDirectory(store)
    for hostile in ("", "x" * 2048, "arn:aws:iam::123456789012:role/" + "a" * 2000, "arn:aws:iam::1:role/x", ROLE[:20]):
        assert decision(directory, by(hostile, claims="acme")) == (UNATTRIBUTED, "none")
    assert [question.principals for question in store.asked if question.principals] == []


OLD_PATTERN = "arn:aws:iam::123456789012:role/gate*"
CHANGES: dict[str, tuple[Trust, Trust, str]] = {
    "a gateway is listed": (NO_TRUST, Trust(gateways=(GATEWAY,)), "acme"),
    "a gateway is taken off": (Trust(gateways=(GATEWAY,)), NO_TRUST, UNATTRIBUTED),
    "another key": (Trust(gateways=(GATEWAY,), metadata_key="team"), Trust(gateways=(GATEWAY,)), "acme"),
    "the first principal": (NO_TRUST, Trust(names_principals=True), "initech"),
    "a pattern": (NO_TRUST, Trust(patterns={OLD_PATTERN: (MappingPeriod("hooli"),)}), "hooli"),
    "a pattern ends": (Trust(patterns={OLD_PATTERN: (MappingPeriod("hooli"),)}), NO_TRUST, UNATTRIBUTED),
}


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("age_ms", [KNOWN_FOR_MS, KNOWN_FOR_MS + 1, 3_600_000, -3_600_000])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_trusted_decides_in_the_first_delivery_after_a_minute(change: str, age_ms: int, is_first: bool) -> None:
    before, after, expected = CHANGES[change]
    store = Store(before)
    store.tenants, store.principals = {"acme", "x"}, {GATEWAY: (MappingPeriod("initech"),)}
    directory = CachedDirectory(store)
    if not is_first:
        decision(directory, by(GATEWAY_SESSION, claims="acme"))
    store.trust = after
    asked = len(store.asked)
    record = replace(by(GATEWAY_SESSION, claims="acme"), event_ms=NOW_MS + age_ms)
    assert decision(directory, record, NOW_MS + age_ms)[0] == expected
    assert len(store.asked) - asked <= 2
    asked = len(store.asked)
    decision(directory, record, NOW_MS + age_ms)
    assert len(store.asked) == asked, "what was asked is remembered"


@pytest.mark.parametrize("age_ms", [0, 1, KNOWN_FOR_MS - 1, KNOWN_FOR_MS, 3_600_000])
@pytest.mark.parametrize("kind", ["profile", "principal", "tenant"])
def test_an_answer_is_a_minute_old_at_most(kind: str, age_ms: int) -> None:
    store = Store(Trust(gateways=(GATEWAY,), names_principals=kind == "principal"))
    if kind == "profile":
        store.profiles = {"acmeprofile1": (MappingPeriod("acme"),)}
    elif kind == "principal":
        store.principals = {GATEWAY: (MappingPeriod("acme"),)}
    else:
        store.tenants = {"acme"}
    model = profile_arn("acmeprofile1") if kind == "profile" else "amazon.nova-lite-v1:0"
    record = by(GATEWAY_SESSION, model=model, claims="acme" if kind == "tenant" else None)
    directory = CachedDirectory(store)
    assert decision(directory, record) == ("acme", "metadata" if kind == "tenant" else kind)
    store.profiles, store.principals, store.tenants = {}, {}, set()
    asked = len(store.asked)
    found = decision(directory, record, NOW_MS + age_ms)[0]
    assert found == ("acme" if age_ms < KNOWN_FOR_MS else UNATTRIBUTED)
    assert len(store.asked) - asked <= (1 if age_ms >= UNKNOWN_FOR_MS else 0)


HANDED_OVER_LATER = (MappingPeriod("acme", 0, NOW_MS + 70_000), MappingPeriod("globex", NOW_MS + 70_000))
"""As somebody decides at ``NOW_MS``, 70 s ahead."""


@pytest.mark.parametrize("kind", ["profile", "principal", "pattern"])
@pytest.mark.parametrize("read_ms", [NOW_MS - 1, NOW_MS - 59_000])
@pytest.mark.parametrize("ahead_ms", [-1, 0, 1, 10_000, 60_000, 290_000])
def test_what_was_read_before_a_handover_decides_nothing_after_it(kind: str, read_ms: int, ahead_ms: int) -> None:
    """``ahead_ms``: of the handover, by the record's own time; it is delivered right after somebody decided."""
    store = Store()

    def owned(periods: Sequence[MappingPeriod]) -> None:
        store.trust = Trust(
            patterns={OLD_PATTERN: periods} if kind == "pattern" else {}, names_principals=kind == "principal"
        )
        store.principals = {GATEWAY: periods} if kind == "principal" else {}
        store.profiles = {"shared000001": periods} if kind == "profile" else {}

    model = profile_arn("shared000001") if kind == "profile" else "amazon.nova-lite-v1:0"
    directory = CachedDirectory(store)
    owned((MappingPeriod("acme"),))
    decision(directory, replace(by(GATEWAY_SESSION, model=model), event_ms=read_ms), read_ms)
    owned(HANDED_OVER_LATER)
    record = replace(by(GATEWAY_SESSION, model=model), event_ms=NOW_MS + 70_000 + ahead_ms)
    assert decision(directory, record, NOW_MS + 1)[0] == ("acme" if ahead_ms < 0 else "globex")
    asked = len(store.asked)
    decision(directory, record, NOW_MS + 1)
    assert len(store.asked) == asked, "what was read this instant is not asked again"
