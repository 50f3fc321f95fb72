"""One suite for the double and the way over HTTP."""

import threading
from collections.abc import Iterator

import pytest
from botocore.credentials import Credentials

from bedrock_meter.client import (
    RESERVATION_KEY,
    Amounts,
    Denial,
    ForeignProfile,
    HttpTransport,
    Profile,
    QuotaRefused,
    Reservation,
    ReservationRequest,
    Transport,
)
from tests.doubles.quota import (
    MODEL,
    PROFILE_ARN,
    PROFILE_ID,
    RETRY_MS,
    MemoryTransport,
    QuotaService,
    service,
    serving,
)


@pytest.fixture
def quota() -> QuotaService:
    return service(maximum=1_000)


@pytest.fixture(params=["memory", "http"])
def transport(request: pytest.FixtureRequest, quota: QuotaService) -> Iterator[Transport]:
    if request.param == "memory":
        yield MemoryTransport(quota)
    else:
        with serving(quota) as api:
            way = HttpTransport(api.url, region="us-east-1", credentials=Credentials("key", "secret"))
            yield way
            way.close()


def wanted(key: str = "k1", tokens: int = 100, model: str | None = MODEL, **more: object) -> ReservationRequest:
    return ReservationRequest(key, Amounts(1, tokens, 0), model=model, **more)  # type: ignore[arg-type]


def reserved(answer: Reservation | Denial) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


def test_a_reservation_names_profile_and_metadata(transport: Transport, quota: QuotaService) -> None:
    answer = reserved(transport.reserve("acme", wanted()))
    assert answer.id
    assert answer.profile == Profile(PROFILE_ID, PROFILE_ARN)
    assert answer.metadata == {RESERVATION_KEY: answer.id}
    assert not answer.degraded
    assert quota.reserved("acme") == 100


def test_what_is_asked_arrives_as_it_was_meant(transport: Transport, quota: QuotaService) -> None:
    request = ReservationRequest(
        "k:9",
        Amounts(3, 5, 7, 11, 13, 17_000_000, images=2, may_cache=True),
        profile=PROFILE_ARN,
        ttl_seconds=77,
        kind="lease",
        region="eu-west-1",
        tier="priority",
    )
    transport.reserve("acme", request)
    (_, found), *_ = quota.asked
    assert (found.key, found.ttl_ms, found.kind, found.model, found.profile) == (
        "k:9",
        77_000,
        "lease",
        None,
        PROFILE_ARN,
    )
    assert (found.region, found.tier) == ("eu-west-1", "priority")
    assert found.estimate == {
        "requests": 3,
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_tokens": 11,
        "cache_write_tokens": 13,
        "cost_nano_usd": 17_000_000,
        "images": 2,
        "may_cache": True,
    }


def test_a_model_without_a_profile_is_told_so_with_what_there_is(transport: Transport) -> None:
    answer = reserved(transport.reserve("acme", wanted(model="meta.llama4")))
    assert answer.profile is None
    assert [(one["id"], one["model"]) for one in answer.available_profiles] == [(PROFILE_ID, MODEL)]
    assert not reserved(transport.reserve("acme", wanted("k2"))).available_profiles


def test_every_answer_says_the_effective_policy(transport: Transport, quota: QuotaService) -> None:
    assert reserved(transport.reserve("acme", wanted())).fail == "closed"
    quota.fail["acme"] = "open"
    assert reserved(transport.reserve("acme", wanted("k2"))).fail == "open"
    denial = transport.reserve("acme", wanted("k3", 1_001))
    assert isinstance(denial, Denial)
    assert denial.fail == "open"


def test_another_tenants_profile_is_told(transport: Transport, quota: QuotaService) -> None:
    quota.profiles["fram", MODEL] = ("f1f2f3f4f5f6", "arn:fram")
    with pytest.raises(ForeignProfile):
        transport.reserve("acme", wanted(model=None, profile="f1f2f3f4f5f6"))
    assert quota.reserved("acme") == 0


def test_the_same_key_again_holds_nothing_more(transport: Transport, quota: QuotaService) -> None:
    assert transport.reserve("acme", wanted()) == transport.reserve("acme", wanted())
    assert quota.reserved("acme") == 100
    with pytest.raises(QuotaRefused) as refused:
        transport.reserve("acme", wanted(tokens=200))
    assert refused.value.status == 409


def test_a_denial_says_which_limit_and_how_long(transport: Transport, quota: QuotaService) -> None:
    quota.used["acme"] = 1_000
    denial = transport.reserve("acme", wanted())
    assert isinstance(denial, Denial)
    assert denial.document["limit"]["name"] == "hourly-tokens"
    assert denial.document["requested"] == 100
    assert denial.document["throttled_until"].endswith("Z")
    assert denial.retry_after == RETRY_MS // 1_000
    assert denial.holds_for_everyone


@pytest.mark.parametrize("tokens", [901, 1_001])
def test_a_denial_that_is_about_this_call_only(transport: Transport, quota: QuotaService, tokens: int) -> None:
    quota.used["acme"] = 100
    denial = transport.reserve("acme", wanted(tokens=tokens))
    assert isinstance(denial, Denial)
    assert not denial.holds_for_everyone
    assert denial.retry_after == (None if tokens > 1_000 else RETRY_MS // 1_000)


def test_a_suspended_tenant(transport: Transport, quota: QuotaService) -> None:
    quota.suspended.add("acme")
    denial = transport.reserve("acme", wanted())
    assert isinstance(denial, Denial)
    assert (denial.retry_after, denial.document.get("limit")) == (None, None)
    assert denial.holds_for_everyone


def test_nobody_is_no_tenant(transport: Transport) -> None:
    with pytest.raises(QuotaRefused) as refused:
        transport.reserve("nobody", wanted())
    assert refused.value.status == 404


def test_shrinking_names_every_kind_and_extends(transport: Transport, quota: QuotaService) -> None:
    held = reserved(transport.reserve("acme", ReservationRequest("k", Amounts(1, 100, 400), MODEL)))
    assert held.id is not None
    transport.shrink("acme", held.id, Amounts(1, 30, 0))
    assert quota.reserved("acme") == 30, "output was not named, or not given back"
    transport.shrink("acme", held.id, Amounts(1, 500, 0), 3_600)
    assert quota.reserved("acme") == 30, "nothing grows"
    assert quota.asked[-1] == (
        "shrink",
        (
            held.id,
            {"requests": 1, "input_tokens": 500, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0},
            3_600_000,
        ),
    )


def test_releasing_gives_everything_back_and_may_be_repeated(transport: Transport, quota: QuotaService) -> None:
    held = reserved(transport.reserve("acme", wanted()))
    assert held.id is not None
    transport.release("acme", held.id)
    transport.release("acme", held.id)
    assert quota.reserved("acme") == 0


def test_many_threads_hold_no_more_than_there_is(transport: Transport, quota: QuotaService) -> None:
    answers: list[Reservation | Denial] = []

    def work(worker: int) -> None:
        for number in range(5):
            answers.append(transport.reserve("acme", wanted(f"{worker}-{number}", 70)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    granted = [one for one in answers if isinstance(one, Reservation)]
    assert len(answers) == 40
    assert len(granted) == len({one.id for one in granted}) == 1_000 // 70
    assert quota.reserved("acme") == 70 * len(granted)
