"""The connection against botocore's own client: what is sent, what comes back, what is sent again."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.session import get_session
from pynamodb.connection import Connection as Pynamodb
from pynamodb.exceptions import GetError

from bedrock_meter.storage import dynamodb
from bedrock_meter.storage.connection import THROTTLED_CODES, Connection, connected

URL = "https://dynamodb.us-east-1.amazonaws.com"
KEY = {"pk": {"S": "acme"}, "sk": {"S": "GAUGE"}}
CANCELLED = {
    "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
    "Message": "Transaction cancelled",
    "CancellationReasons": [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "acme"}}}],
}
REFUSED = {
    "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
    "message": "The conditional request failed",
    "Item": {"pk": {"S": "acme"}, "v": {"N": "3"}},
}
REQUESTS = [
    ("get_item", {"TableName": "quotas", "Key": KEY, "ConsistentRead": True}, {"Item": {**KEY, "v": {"N": "1"}}}),
    ("get_item", {"TableName": "quotas", "Key": KEY}, {}),
    (
        "batch_get_item",
        {"RequestItems": {"quotas": {"Keys": [KEY], "ConsistentRead": True}}},
        {"Responses": {"quotas": [KEY]}, "UnprocessedKeys": {"quotas": {"Keys": [KEY]}}},
    ),
    (
        "query",
        {
            "TableName": "usage",
            "KeyConditionExpression": "pk=:pk",
            "ExpressionAttributeValues": {":pk": {"S": "Zürich"}},
        },
        {"Items": [KEY], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": KEY},
    ),
    ("scan", {"TableName": "usage", "Limit": 3}, {"Items": [], "Count": 0, "ScannedCount": 0}),
    ("put_item", {"TableName": "quotas", "Item": {**KEY, "names": {"L": [{"S": "a"}, {"NULL": True}]}}}, {}),
    (
        "update_item",
        {
            "TableName": "quotas",
            "Key": KEY,
            "UpdateExpression": "ADD #0 :0",
            "ExpressionAttributeNames": {"#0": "c0"},
            "ExpressionAttributeValues": {":0": {"N": "5"}},
            "ReturnValues": "ALL_NEW",
        },
        {"Attributes": {**KEY, "c0": {"N": "5"}}},
    ),
    ("delete_item", {"TableName": "quotas", "Key": KEY, "ReturnValues": "ALL_OLD"}, {"Attributes": KEY}),
    (
        "transact_write_items",
        {"TransactItems": [{"Delete": {"TableName": "quotas", "Key": KEY}}], "ClientRequestToken": "t" * 36},
        {},
    ),
]


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


class Way:
    """What is sent, and what comes back: (status, document or bytes), or an exception. The last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.sent: list[tuple[str, Any]] = []
        self._answers = list(answers) or [(200, {})]

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = target if isinstance(target, str) else target.decode()
        self.sent.append((operation, json.loads(request.body)))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, content = answer
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return AWSResponse(request.url, status, {"x-amzn-requestid": "r-1"}, _Body(body))

    @property
    def tokens(self) -> list[str]:
        return [body["ClientRequestToken"] for _, body in self.sent]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(dynamodb, "_session", None)
    taken: list[float] = []
    monkeypatch.setattr("time.sleep", taken.append)
    return taken


def over(way: Way, attempts: int = 3) -> Connection:
    return Connection(dynamodb.client(), lambda _: None, way, attempts=attempts)


def client_over(way: Way) -> Any:
    made = dynamodb.client()
    made.meta.events.register("before-send.dynamodb", way)
    return made


@pytest.mark.parametrize(("operation", "request_", "answer"), REQUESTS, ids=[one[0] for one in REQUESTS])
def test_it_sends_and_answers_what_botocores_client_does(
    operation: str, request_: dict[str, Any], answer: dict[str, Any]
) -> None:
    ours, theirs = Way((200, answer)), Way((200, answer))
    said = getattr(over(ours), operation)(**request_)
    expected = getattr(client_over(theirs), operation)(**request_)
    assert ours.sent == theirs.sent
    assert said == {name: value for name, value in expected.items() if name != "ResponseMetadata"}


@pytest.mark.parametrize("refusal", [REFUSED, CANCELLED], ids=["condition", "transaction"])
def test_a_refusal_is_the_exception_that_botocore_raises(refusal: dict[str, Any]) -> None:
    found = []
    for client in (over(Way((400, refusal))), client_over(Way((400, refusal)))):
        with pytest.raises(ClientError) as raised:
            client.update_item(TableName="quotas", Key=KEY)
        found.append(raised.value)
    ours, theirs = found
    assert ours.response["Error"] == theirs.response["Error"]
    assert ours.operation_name == theirs.operation_name
    for name in ("Item", "CancellationReasons"):
        assert ours.response.get(name) == theirs.response.get(name)
    assert ours.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert ours.response["ResponseMetadata"]["RequestId"] == "r-1"
    assert str(ours).startswith(str(theirs).partition(" (")[0])


def throttle(code: str, *reasons: str) -> dict[str, Any]:
    """A throttle as the service model writes it: the list of reasons begins small in ``ThrottlingException``."""
    name = "throttlingReasons" if code == "ThrottlingException" else "ThrottlingReasons"
    table = "arn:aws:dynamodb:us-east-1:123456789012:table/quotas"
    given = [{"reason": reason, "resource": table} for reason in reasons]
    document = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "Too much"}
    return {**document, name: given} if reasons else document


def cancelled(*codes: str) -> dict[str, Any]:
    return {**CANCELLED, "CancellationReasons": [{"Code": code, "Message": "as it is"} for code in codes]}


THROTTLES = sorted(THROTTLED_CODES)
HOT = ["TableReadKeyRangeThroughputExceeded", "TableWriteKeyRangeThroughputExceeded"]
WIDE = ["TableWriteAccountLimitExceeded", "TableReadMaxOnDemandThroughputExceeded"]


@lru_cache
def pynamodb() -> Any:
    return Pynamodb(region="us-east-1", max_retry_attempts=0)


def refusals(status: int, document: dict[str, Any]) -> dict[str, Exception]:
    """How one refusal is raised, by who asked: our connection, botocore's client, and pynamodb over botocore's."""
    way = Way((status, document))
    events = pynamodb().client.meta.events
    events.register("before-send.dynamodb", way)
    asks: dict[str, Callable[[], Any]] = {
        "connection": lambda: over(Way((status, document))).get_item(TableName="quotas", Key=KEY),
        "botocore": lambda: client_over(Way((status, document))).get_item(TableName="quotas", Key=KEY),
        "pynamodb": lambda: pynamodb().dispatch("GetItem", {"TableName": "quotas", "Key": KEY}),
    }
    found: dict[str, Exception] = {}
    for name, ask in asks.items():
        try:
            ask()
        except ClientError as error:
            found[name] = GetError("Failed to get item", error) if name == "pynamodb" else error
    events.unregister("before-send.dynamodb", way)
    assert set(found) == set(asks)
    return found


@pytest.mark.parametrize("code", THROTTLES)
@pytest.mark.parametrize(
    ("reasons", "is_of_keys"),
    [
        *(([reason], True) for reason in HOT),
        *(([reason], False) for reason in WIDE),
        (["TableReadProvisionedThroughputExceeded"], False),
        ([WIDE[0], HOT[1]], True),
        (WIDE, False),
        ([], None),
    ],
    ids=str,
)
def test_a_throttle_says_whether_one_range_of_keys_is_busy(
    code: str, reasons: list[str], is_of_keys: bool | None
) -> None:
    for name, error in refusals(400, throttle(code, *reasons)).items():
        assert dynamodb.throttled_keys(error) is is_of_keys, name
        assert dynamodb.is_throttle(error), name


@pytest.mark.parametrize("given", [[], [{}], [{"resource": "arn"}], [{"reason": ""}], None])
def test_reasons_that_say_nothing_are_none(given: Any) -> None:
    document = {**throttle("ThrottlingException"), "throttlingReasons": given}
    for name, error in refusals(400, document).items():
        assert dynamodb.throttled_keys(error) is None, name
        assert dynamodb.is_throttle(error), name


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_throttled_part_of_a_transaction_has_no_reason(code: str) -> None:
    for client in (over(Way((400, cancelled("None", code)))), client_over(Way((400, cancelled("None", code))))):
        with pytest.raises(ClientError) as raised:
            client.transact_write_items(TransactItems=[])
        assert dynamodb.is_throttle(raised.value)
        assert dynamodb.throttled_keys(raised.value) is None
        assert not dynamodb.is_passing(raised.value), "nothing is allowed for it"


@pytest.mark.parametrize(
    "document",
    [CANCELLED, REFUSED, {"__type": "x#TransactionConflictException"}, {"__type": "x#ValidationException"}],
    ids=["transaction", "condition", "conflict", "wrong"],
)
def test_what_is_no_throttle_has_no_reason(document: dict[str, Any]) -> None:
    for error in refusals(400, document).values():
        assert not dynamodb.is_throttle(error)
        assert dynamodb.throttled_keys(error) is None
    assert not dynamodb.is_throttle(ReadTimeoutError(endpoint_url=URL))
    assert dynamodb.throttled_keys(ReadTimeoutError(endpoint_url=URL)) is None


def test_the_throttle_behind_what_was_raised_from_it_is_found() -> None:
    def hold() -> None:
        try:
            over(Way((400, throttle("ThrottlingException", HOT[1])))).get_item(TableName="quotas", Key=KEY)
        except ClientError as error:
            raise RuntimeError("nothing was held") from error

    with pytest.raises(RuntimeError) as raised:
        hold()
    assert dynamodb.throttled_keys(raised.value) is True
    assert dynamodb.is_throttle(raised.value)


def test_an_error_that_is_raised_from_its_own_consequence_is_looked_at_once() -> None:
    error = ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")
    consequence = RuntimeError("nothing was held")
    consequence.__cause__, error.__cause__ = error, consequence
    assert dynamodb.throttled_keys(error) is None
    assert dynamodb.is_throttle(consequence)


def test_the_service_model_gives_reasons_where_they_are_looked_for() -> None:
    model = dynamodb.client().meta.service_model
    names = {code: [one for one in model.shape_for(code).members if "reasons" in one.lower()] for code in THROTTLES}
    assert names == {code: [one for one in throttle(code, HOT[0]) if "reasons" in one.lower()] for code in THROTTLES}
    assert "reason" in model.shape_for("ThrottlingReason").members
    assert set(model.shape_for("CancellationReason").members) == {"Item", "Code", "Message"}


PASSING = [
    (400, {"__type": "x#ProvisionedThroughputExceededException"}),
    (400, {"__type": "x#ThrottlingException"}),
    (400, {"__type": "x#RequestLimitExceeded"}),
    (400, {"__type": "x#TransactionInProgressException"}),
    (500, {"__type": "x#InternalServerError"}),
    (503, b"<html>busy</html>"),
    (200, b"<html>hello</html>"),
    EndpointConnectionError(endpoint_url=URL),
    ReadTimeoutError(endpoint_url=URL),
]


@pytest.mark.parametrize("passing", PASSING, ids=str)
def test_what_passes_is_sent_again_after_a_pause(passing: Any, pauses: list[float]) -> None:
    way = Way(passing, (200, {"Item": KEY}))
    assert over(way).get_item(TableName="quotas", Key=KEY) == {"Item": KEY}
    assert len(way.sent) == 2
    assert [0 <= pause <= 0.05 for pause in pauses] == [True]


@pytest.mark.parametrize("passing", PASSING, ids=str)
def test_nothing_is_sent_more_often_than_allowed(passing: Any, pauses: list[float]) -> None:
    way = Way(passing)
    with pytest.raises(dynamodb.AWS_ERRORS) as raised:
        over(way, attempts=2).get_item(TableName="quotas", Key=KEY)
    assert dynamodb.is_passing(raised.value)
    assert (len(way.sent), len(pauses)) == (2, 1)


@pytest.mark.parametrize(
    "final",
    [
        (400, REFUSED),
        (400, CANCELLED),
        (400, {"__type": "x#TransactionConflictException"}),
        (400, {"__type": "x#ValidationException", "message": "wrong"}),
        (403, b"forbidden"),
    ],
    ids=["condition", "transaction", "conflict", "wrong", "no JSON"],
)
def test_what_the_caller_decides_is_sent_once(final: Any) -> None:
    way = Way(final)
    with pytest.raises(ClientError):
        over(way).update_item(TableName="quotas", Key=KEY)
    assert len(way.sent) == 1


def test_a_transaction_keeps_its_token_over_all_attempts_and_no_other_has_it() -> None:
    way = Way(ReadTimeoutError(endpoint_url=URL), (500, {}), (200, {}))
    connection = over(way)
    connection.transact_write_items(TransactItems=[])
    assert len(way.tokens) == 3
    assert len(set(way.tokens)) == 1
    connection.transact_write_items(TransactItems=[])
    assert way.tokens[3] != way.tokens[0]


def test_a_refusal_without_json_is_known_by_its_status() -> None:
    with pytest.raises(ClientError) as raised:
        over(Way((413, b"too large"))).get_item(TableName="quotas", Key=KEY)
    assert dynamodb.error_code(raised.value) == "413"


def test_an_answer_of_somebody_in_between_is_a_failure_of_the_way() -> None:
    with pytest.raises(HTTPClientError):
        over(Way((200, b"<html>sign in</html>"))).get_item(TableName="quotas", Key=KEY)


def test_other_operations_are_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way((200, {"Items": [KEY], "Count": 1}))
    connection = Connection(client_over(way), lambda _: None, Way(), attempts=1)
    pages = list(connection.get_paginator("query").paginate(TableName="usage", KeyConditionExpression="x"))
    assert [page["Items"] for page in pages] == [[KEY]]
    assert connection.meta.region_name == "us-east-1"


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    session = get_session()
    made = dynamodb.client()
    monkeypatch.setattr(session, "get_credentials", lambda: None)
    with pytest.raises(NoCredentialsError):
        connected(made, session).get_item(TableName="quotas", Key=KEY)


@pytest.fixture
def server() -> Iterator[Any]:
    """A server on loopback that keeps what arrived, and answers one item."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append((dict(self.headers), body))
            answer = json.dumps({"Item": KEY}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    arrived: list[tuple[dict[str, str], bytes]] = []
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.arrived = arrived
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_over_a_socket_it_is_signed_and_sent_without_waiting(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    opened: list[socket.socket] = []
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        opened.append(self)
        plain(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    connection = dynamodb.connection(is_quick=True)
    assert connection.get_item(TableName="quotas", Key=KEY) == {"Item": KEY}
    assert connection.get_item(TableName="quotas", Key=KEY) == {"Item": KEY}
    assert len(opened) == 1
    assert opened[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    headers, body = server.arrived[0]
    assert json.loads(body) == {"TableName": "quotas", "Key": KEY}
    assert "/us-east-1/dynamodb/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "token"
    assert headers["Content-Type"] == "application/x-amz-json-1.0"
