import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bedrock_meter.client import (
    Amounts,
    ForeignProfile,
    HttpTransport,
    QuotaBusy,
    QuotaRefused,
    QuotaUnavailable,
    Reservation,
    ReservationRequest,
)
from bedrock_meter.client import http_transport as module
from bedrock_meter.client.pace import AT_ONCE, RetryBudget
from bedrock_meter.errors import ConfigurationError
from tests.doubles.quota import Answer, QuotaServer, problem
from tests.unit.client.conftest import Clock

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "token")
REQUEST = ReservationRequest("key-1", Amounts(1, 10, 20), "model")


@pytest.fixture
def transport(server: QuotaServer) -> Iterator[HttpTransport]:
    way = HttpTransport(server.url, region="eu-west-1", credentials=CREDENTIALS)
    yield way
    way.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.0)


def test_requests_are_signed_for_the_api(transport: HttpTransport, server: QuotaServer) -> None:
    transport.reserve("acme", REQUEST)
    (method, path, headers, _) = server.requests[0]
    assert (method, path) == ("POST", "/v1/tenants/acme/reservations")
    assert "/eu-west-1/execute-api/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "token"
    # What a verifier does: the same signature over what arrived.
    arrived = AWSRequest(method, server.url + path, {"Content-Type": headers["Content-Type"]})
    arrived.data = server_body(server)
    arrived.context["timestamp"] = headers["X-Amz-Date"]
    signer = SigV4Auth(CREDENTIALS.get_frozen_credentials(), "execute-api", "eu-west-1")
    for name in ("X-Amz-Date", "X-Amz-Security-Token"):
        arrived.headers[name] = headers[name]
    arrived.headers["X-Amz-Content-SHA256"] = headers.get("X-Amz-Content-SHA256", "")
    if not headers.get("X-Amz-Content-SHA256"):
        del arrived.headers["X-Amz-Content-SHA256"]
    signature = signer.signature(signer.string_to_sign(arrived, signer.canonical_request(arrived)), arrived)
    assert headers["Authorization"].endswith(f"Signature={signature}")


def server_body(server: QuotaServer) -> bytes:
    import json

    return json.dumps(server.requests[0][3], separators=(",", ":")).encode()


def test_a_token_takes_the_place_of_the_signature(server: QuotaServer) -> None:
    way = HttpTransport(server.url, bearer=lambda: "a.b.c")
    way.reserve("acme", REQUEST)
    assert server.requests[0][2]["Authorization"] == "Bearer a.b.c"
    way.close()


def test_one_connection_serves_many_requests(transport: HttpTransport, server: QuotaServer) -> None:
    for number in range(5):
        transport.reserve("acme", ReservationRequest(f"k{number}", Amounts(1)))
    assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.parametrize(
    "instead",
    [
        None,
        Answer(502, {"message": "Bad Gateway"}),
        Answer(500, {"message": "Internal Server Error"}),
        problem(503, "Storage unavailable"),
    ],
    ids=["dropped", "502", "500", "503 of the API"],
)
def test_what_can_pass_is_repeated_under_the_same_key(
    transport: HttpTransport, server: QuotaServer, instead: Answer | None
) -> None:
    server.instead = [instead, instead]
    assert isinstance(transport.reserve("acme", REQUEST), Reservation)
    assert [body["key"] for *_, body in server.requests] == ["key-1"] * 3
    assert len(server.quota.held) == 1


def test_a_lost_answer_is_asked_for_again_and_held_once(transport: HttpTransport, server: QuotaServer) -> None:
    answered, answer = [], server.answer

    def lose_the_first(*question: object) -> Answer | None:
        said = answer(*question)  # type: ignore[arg-type]
        answered.append(said)
        return None if len(answered) == 1 else said

    server.instead = []
    # The server holds, then drops the connection.
    server.answer = lose_the_first  # type: ignore[method-assign, assignment]
    got = transport.reserve("acme", REQUEST)
    assert isinstance(got, Reservation)
    assert got.id == answered[0].document["id"]
    assert len(answered) == 2
    assert len(server.quota.held) == 1


def test_what_cannot_pass_is_not_repeated(transport: HttpTransport, server: QuotaServer) -> None:
    for answer, words in (
        (problem(400, "Invalid request"), "Invalid request"),
        (Answer(403, {"message": "Forbidden"}), "Forbidden"),
        (problem(404, "Tenant not found"), "Tenant not found"),
    ):
        server.requests.clear()
        server.instead = [answer]
        with pytest.raises(QuotaRefused, match=words) as refused:
            transport.reserve("acme", REQUEST)
        assert refused.value.status == answer.status
        assert len(server.requests) == 1


def test_an_outage_ends_after_some_attempts(transport: HttpTransport, server: QuotaServer) -> None:
    server.instead = [Answer(502)] * 9
    with pytest.raises(QuotaUnavailable) as problem_:
        transport.reserve("acme", REQUEST)
    assert len(server.requests) == module.ATTEMPTS
    assert not problem_.value.closed
    assert not isinstance(problem_.value, QuotaBusy)
    assert problem_.value.kind == "server error"


def test_the_tenants_own_policy_closed_is_told_from_an_outage(transport: HttpTransport, server: QuotaServer) -> None:
    server.instead = [problem(503, "Quota unknown", headers={"Retry-After": "7"})] * 9
    with pytest.raises(QuotaUnavailable, match="Quota unknown") as problem_:
        transport.reserve("acme", REQUEST)
    assert problem_.value.closed
    assert problem_.value.retry_after == 7


def test_the_tenants_own_policy_open_answers_without_a_reservation(
    transport: HttpTransport, server: QuotaServer
) -> None:
    server.instead = [Answer(201, {"id": None, "degraded": True, "allowed": True, "profile": None, "metadata": {}})]
    assert transport.reserve("acme", REQUEST) == Reservation(None, degraded=True)
    server.instead = [Answer(201, {"id": None, "degraded": True, "fail": "open"})]
    assert transport.reserve("acme", REQUEST) == Reservation(None, degraded=True, fail="open")


def test_shrinking_is_tried_once_and_releasing_twice(transport: HttpTransport, server: QuotaServer) -> None:
    server.instead = [Answer(502)] * 9
    with pytest.raises(QuotaUnavailable):
        transport.shrink("acme", "r", Amounts(1))
    with pytest.raises(QuotaUnavailable):
        transport.release("acme", "r")
    assert [method for method, *_ in server.requests] == ["POST", "DELETE", "DELETE"]


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(QuotaUnavailable, match="EndpointConnectionError"):
        HttpTransport(url, region="us-east-1", credentials=CREDENTIALS).reserve("acme", REQUEST)


def test_a_server_that_says_nothing_is_left_after_a_while() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        way = HttpTransport(
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            region="us-east-1",
            credentials=CREDENTIALS,
            read_seconds=0.05,
            deadline_seconds=0,
        )
        with pytest.raises(QuotaUnavailable, match="ReadTimeoutError"):
            way.reserve("acme", REQUEST)


@pytest.mark.parametrize("status", [502, 429])
def test_no_attempt_begins_after_the_deadline(server: QuotaServer, clock: Clock, status: int) -> None:
    """Each attempt takes 1.4 s here: the third would begin after 3 s."""
    way = HttpTransport(
        server.url, region="eu-west-1", credentials=CREDENTIALS, clock=clock, sleep=clock.go_on, jitter=lambda *_: 0.2
    )
    for _ in range(50):
        way.quota("acme")
    server.requests.clear()
    send = way._http.send

    def slow(request: Any) -> Any:
        clock.go_on(1.4)
        return send(request)

    way._http.send = slow  # type: ignore[method-assign]
    server.instead = [Answer(status)] * 9
    with pytest.raises(QuotaUnavailable):
        way._ask("GET", "/v1/tenants/acme/quota", "acme", attempts=9)
    assert len(server.requests) == 2
    way.close()


# --- asked too fast

GATEWAYS_OWN = [Answer(429, {"message": "Too Many Requests"}), Answer(503, {"message": "Service Unavailable"})]


def warm(transport: HttpTransport, server: QuotaServer, first_tries: int = 100) -> None:
    """Earn retries: one for ten first tries."""
    for _ in range(first_tries):
        transport.quota("acme")
    server.requests.clear()


@pytest.mark.parametrize("instead", GATEWAYS_OWN, ids=["429", "503"])
def test_asked_too_fast_is_repeated_under_the_same_key(
    transport: HttpTransport, server: QuotaServer, instead: Answer
) -> None:
    warm(transport, server)
    server.instead = [instead, instead]
    assert isinstance(transport.reserve("acme", REQUEST), Reservation)
    assert [body["key"] for *_, body in server.requests] == ["key-1"] * 3
    assert len(server.quota.held) == 1


@pytest.mark.parametrize("instead", GATEWAYS_OWN, ids=["429", "503"])
def test_asked_too_fast_is_said_after_some_attempts(
    transport: HttpTransport, server: QuotaServer, instead: Answer
) -> None:
    warm(transport, server)
    server.instead = [instead] * 9
    with pytest.raises(QuotaBusy, match="asked too fast") as busy:
        transport.reserve("acme", REQUEST)
    assert len(server.requests) == module.ATTEMPTS
    assert (busy.value.retry_after, busy.value.closed, busy.value.remembered) == (1, False, False)


def test_a_process_repeats_one_request_in_ten_at_most(transport: HttpTransport, server: QuotaServer) -> None:
    """All that is asked and refused, of whatever kind and for whatever tenant."""
    first_tries = 0
    for number in range(200):
        server.instead = [GATEWAYS_OWN[number % 2]] * 9
        tenant = f"tenant-{number}"  # none is slowed by what another one met
        for ask in (
            lambda tenant=tenant: transport.reserve(tenant, REQUEST),
            lambda tenant=tenant: transport.release(tenant, "r"),
            lambda tenant=tenant: transport.shrink(tenant, "r", Amounts(1)),
        ):
            first_tries += 1
            with pytest.raises(QuotaBusy):
                ask()
            assert len(server.requests) <= first_tries * 1.1
    assert len(server.requests) > first_tries * 1.09, "and it does repeat"


def test_retries_cannot_be_saved_for_a_storm(transport: HttpTransport, server: QuotaServer) -> None:
    warm(transport, server, 1_000)
    server.instead = [GATEWAYS_OWN[0]] * 99
    for number in range(12):
        with pytest.raises(QuotaBusy):
            transport.reserve(f"tenant-{number}", REQUEST)
    assert len(server.requests) == 12 + RetryBudget.SAVED + 1, "what was saved, and one that twelve first tries earn"


def test_shrinking_is_not_repeated_where_it_was_too_fast_and_releasing_once(
    transport: HttpTransport, server: QuotaServer
) -> None:
    warm(transport, server)
    server.instead = [GATEWAYS_OWN[0]] * 9
    with pytest.raises(QuotaBusy):
        transport.shrink("acme", "r", Amounts(1))
    with pytest.raises(QuotaBusy):
        transport.release("acme", "r")
    assert [method for method, *_ in server.requests] == ["POST", "DELETE", "DELETE"]


def test_the_pause_is_jittered_in_full_and_waits_for_what_the_gateway_says(server: QuotaServer, clock: Clock) -> None:
    drawn: list[tuple[float, float]] = []
    waited: list[float] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 2

    way = HttpTransport(
        server.url, region="x", credentials=CREDENTIALS, clock=clock, sleep=waited.append, jitter=jitter
    )
    warm(way, server)
    server.instead = [
        Answer(429),
        Answer(429, headers={"Retry-After": "1"}),
        Answer(429, headers={"Retry-After": "30"}),
    ]
    with pytest.raises(QuotaBusy) as busy:
        way.reserve("acme", REQUEST)
    pause = module.FIRST_PAUSE_SECONDS
    assert drawn == [(0, pause), (0, 2 * pause), (0, 4 * pause)]
    assert waited == [pause / 2, 1 + pause]
    assert busy.value.retry_after == 30
    server.instead = [Answer(503, headers={"Retry-After": "30"})]
    server.requests.clear()
    with pytest.raises(QuotaBusy):
        way.reserve("globex", REQUEST)
    assert len(server.requests) == 1, "30 s are past the deadline"
    way.close()


def test_a_busy_tenant_is_no_denial_and_is_not_asked_for_again_at_once(
    transport: HttpTransport, server: QuotaServer
) -> None:
    warm(transport, server)
    server.instead = [problem(429, "Tenant busy", type="urn:bedrock-meter:tenant-busy", retry_after_seconds=3)]
    with pytest.raises(QuotaBusy, match="Tenant busy") as busy:
        transport.reserve("acme", REQUEST)
    assert busy.value.retry_after == 3
    assert len(server.requests) == 1


def test_a_tenant_that_the_gateway_refused_is_slowed_and_no_other(server: QuotaServer, clock: Clock) -> None:
    way = HttpTransport(server.url, region="x", credentials=CREDENTIALS, clock=clock, sleep=clock.go_on)
    server.quota.maximum["globex"] = 10**6
    for number in range(20):
        way.reserve("acme", ReservationRequest(f"k{number}", Amounts(1)))
    server.instead = [Answer(429)]

    def flood() -> None:
        for number in range(99):
            way.reserve("acme", ReservationRequest(f"l{number}", Amounts(1)))

    with pytest.raises(QuotaBusy) as busy:
        flood()
    assert busy.value.remembered
    assert busy.value.retry_after == 1
    asked = len(server.requests)
    assert 20 + AT_ONCE <= asked <= 20 + AT_ONCE + 2, "what may be asked at once, and what was refused"
    with pytest.raises(QuotaBusy):
        way.reserve("acme", ReservationRequest("m", Amounts(1)))
    assert len(server.requests) == asked, "without a request"
    way.release("acme", "acme:k1")
    for number in range(30):
        way.reserve("globex", ReservationRequest(f"k{number}", Amounts(1)))
    clock.go_on(busy.value.retry_after)
    assert isinstance(way.reserve("acme", ReservationRequest("n", Amounts(1))), Reservation)
    way.close()


def test_another_tenants_profile(transport: HttpTransport, server: QuotaServer) -> None:
    foreign = problem(403, "Foreign profile", type="urn:bedrock-meter:foreign-profile")
    server.instead = [foreign, problem(403, "Forbidden"), Answer(403, foreign.document)]
    with pytest.raises(ForeignProfile, match="p1p2p3p4p5p6 belongs to another tenant than acme"):
        transport.reserve("acme", ReservationRequest("k", Amounts(1), profile="p1p2p3p4p5p6"))
    for _ in range(2):
        with pytest.raises(QuotaRefused):
            transport.reserve("acme", REQUEST)


@pytest.mark.parametrize(
    "answer",
    [Answer(201, {}), Answer(200, {"id": 7}), Answer(200, {"hello": "world"})],
)
def test_something_else_at_the_address_is_no_reservation(
    transport: HttpTransport, server: QuotaServer, answer: Answer
) -> None:
    server.instead = [answer]
    with pytest.raises(QuotaUnavailable, match="address"):
        transport.reserve("acme", REQUEST)


def test_no_tenant_leads_to_another_path(transport: HttpTransport, server: QuotaServer) -> None:
    for tenant in ("", ".", ".."):
        with pytest.raises(QuotaRefused):
            transport.reserve(tenant, REQUEST)
    with pytest.raises(QuotaRefused):
        transport.reserve("a/../../admin", REQUEST)
    assert [path for _, path, *_ in server.requests] == ["/v1/tenants/a%2F..%2F..%2Fadmin/reservations"]


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("ftp://x", "quota", "http://quota.example.com", "https://quota.example.com"):
        with pytest.raises(ConfigurationError):
            HttpTransport(url)
    way = HttpTransport("https://abc123.execute-api.eu-central-1.amazonaws.com/")
    assert way._region == "eu-central-1"
    assert HttpTransport("https://quota.example.com", region="eu-west-3")._region == "eu-west-3"


def test_no_credentials_is_a_mistake_and_no_outage(server: QuotaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def get_credentials(self) -> None:
            return None

    monkeypatch.setattr(module, "get_session", Nobody)
    with pytest.raises(ConfigurationError, match="credentials"):
        HttpTransport(server.url, region="us-east-1").reserve("acme", REQUEST)


def test_looking_at_what_is_held(transport: HttpTransport) -> None:
    held = transport.reserve("acme", REQUEST)
    assert isinstance(held, Reservation)
    assert held.id is not None
    assert transport.reservation("acme", held.id)["status"] == "open"
    transport.release("acme", held.id)
    assert transport.reservation("acme", held.id)["status"] == "released"
    assert transport.quota("acme")["tenant"] == "acme"
    with pytest.raises(QuotaRefused):
        transport.quota("nobody")
