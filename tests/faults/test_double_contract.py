"""What the double of DynamoDB promises. Where the local stack can show it, it is held to the same; the rest says why.

Only AWS itself is the truth: what neither of the two can prove is listed for the check on a live account.
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_meter.local.endpoint import Endpoint
from tests.faults.conftest import numbers
from tests.faults.dynamodb import DynamoDB
from tests.faults.values import Unsupported
from tests.faults.wire import attached

Item = dict[str, dict[str, Any]]


class Alone:
    """The double by itself, as the backend of a client."""

    def __init__(self, double: DynamoDB) -> None:
        self._double = double

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert service == "dynamodb"
        return self._double.call(operation, request)


class Subject:
    """A table under contract: key ``pk``, ``sk``; sparse index ``due`` over ``bin``, ``at``."""

    def __init__(self, client: Any, double: DynamoDB | None = None) -> None:
        self.client, self.double, self.name = client, double, f"contract-{next(numbers)}"
        names = {"pk": "S", "sk": "S", "bin": "S", "at": "N"}
        client.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in names.items()],
            KeySchema=_schema("pk", "sk"),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "due",
                    "KeySchema": _schema("bin", "at"),
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )

    def put(self, sk: str, **attributes: dict[str, Any]) -> None:
        self.client.put_item(TableName=self.name, Item={**key(sk), **attributes})

    def get(self, sk: str) -> Item | None:
        found: Item | None = self.client.get_item(TableName=self.name, Key=key(sk), ConsistentRead=True).get("Item")
        return found

    def update(self, sk: str, expression: str, **request: Any) -> Any:
        arguments = {"UpdateExpression": expression, **request}
        return self.client.update_item(TableName=self.name, Key=key(sk), **arguments)

    def transact(self, *items: dict[str, dict[str, Any]], **request: Any) -> None:
        named = [{kind: {"TableName": self.name, **one} for kind, one in item.items()} for item in items]
        self.client.transact_write_items(TransactItems=named, **request)

    def query(self, condition: str, values: Item, **request: Any) -> Any:
        return self.client.query(
            TableName=self.name, KeyConditionExpression=condition, ExpressionAttributeValues=values, **request
        )


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def key(sk: str) -> Item:
    return {"pk": {"S": "p"}, "sk": {"S": sk}}


def number(value: int) -> dict[str, str]:
    return {"N": str(value)}


NEW = "attribute_not_exists(pk)"


@pytest.fixture(params=["double", "local stack"])
def table(request: pytest.FixtureRequest) -> Subject:
    if request.param == "double":
        return make_double()
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    return Subject(endpoint.client("dynamodb"))


@pytest.fixture
def double() -> Subject:
    return make_double()


def make_double() -> Subject:
    made = DynamoDB()
    return Subject(attached("dynamodb", Alone(made)), made)


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def reasons_of(call: Callable[[], Any]) -> list[dict[str, Any]]:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == "TransactionCanceledException"
    found: list[dict[str, Any]] = caught.value.response["CancellationReasons"]
    return found


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("attribute_exists(a)", True),
        ("attribute_not_exists(a)", False),
        ("attribute_not_exists(nowhere)", True),
        ("a = :one", True),
        ("a <> :one", False),
        ("a < :two AND b = :text", True),
        ("a > :two OR b = :text", True),
        ("NOT a = :two", True),
        ("NOT (a = :one AND b = :text)", False),
        ("a = :two OR a = :one AND b = :text", True),
        ("(a = :two OR a = :one) AND b = :other", False),
        ("a BETWEEN :one AND :two", True),
        ("a IN (:two, :one)", True),
        ("a IN (:two)", False),
        ("begins_with(b, :te)", True),
        ("begins_with(b, :other)", False),
        ("size(b) = :four", True),
        ("nowhere = :one", False),
        ("nowhere <> :one", True),
        ("nowhere < :one", False),
        ("a = :text", False),
        ("b >= :te", True),
    ],
)
def test_conditions(table: Subject, condition: str, holds: bool) -> None:
    values = {":one": number(1), ":two": number(2), ":four": number(4)}
    values |= {":text": {"S": "text"}, ":te": {"S": "te"}, ":other": {"S": "other"}}
    used = {name: value for name, value in values.items() if name in condition.replace("(", " ").replace(")", " ")}
    used = {name: value for name, value in used.items() if name in {t.strip(",()") for t in condition.split()}}
    table.put("x", a=number(1), b={"S": "text"})
    arguments = {"ConditionExpression": condition}
    values_given = {"ExpressionAttributeValues": {**used, ":new": number(9)}}

    def update() -> None:
        table.update("x", "SET done = :new", **arguments, **values_given)

    if holds:
        update()
        assert (table.get("x") or {})["done"] == number(9)
    else:
        assert code_of(update) == "ConditionalCheckFailedException"
        assert "done" not in (table.get("x") or {})


def test_updates(table: Subject) -> None:
    table.put("x", a=number(1), gone={"S": "s"}, kept={"S": "k"})
    table.update(
        "x",
        "SET b = a, c = if_not_exists(a, :ten), d = if_not_exists(nowhere, :ten), #e = a + :ten REMOVE gone, absent"
        " ADD a :minus, fresh :ten",
        ExpressionAttributeNames={"#e": "e:odd"},
        ExpressionAttributeValues={":ten": number(10), ":minus": number(-3)},
    )
    assert table.get("x") == {
        **key("x"),
        "a": number(-2),
        "b": number(1),
        "c": number(1),
        "d": number(10),
        "e:odd": number(11),
        "kept": {"S": "k"},
        "fresh": number(10),
    }
    table.update("made", "ADD a :one", ExpressionAttributeValues={":one": number(1)})
    assert table.get("made") == {**key("made"), "a": number(1)}


@pytest.mark.parametrize(
    ("expression", "names", "values"),
    [
        ("SET pk = :one", {}, {":one": number(1)}),
        ("SET a = :one, a = :one", {}, {":one": number(1)}),
        ("SET a = nowhere", {}, {}),
        ("SET a = :undefined", {}, {":one": number(1)}),
        ("SET a = :one", {}, {":one": number(1), ":unused": number(2)}),
        ("SET #a = :one", {}, {":one": number(1)}),
        ("SET a = :one SET b = :one", {}, {":one": number(1)}),
        ("SET a = :one ADD", {}, {":one": number(1)}),
        ("SET name = :one", {}, {":one": number(1)}),
        ("ADD text :one", {}, {":one": number(1)}),
    ],
)
def test_updates_that_are_refused(table: Subject, expression: str, names: dict[str, str], values: Item) -> None:
    if table.double is None and expression in _NOT_REFUSED_BY_THE_LOCAL_STACK:
        pytest.skip("the local stack is more tolerant than AWS here")
    table.put("x", text={"S": "t"})
    request: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
    if values:
        request["ExpressionAttributeValues"] = values
    assert code_of(lambda: table.update("x", expression, **request)) == "ValidationException"
    assert table.get("x") == {**key("x"), "text": {"S": "t"}}


_NOT_REFUSED_BY_THE_LOCAL_STACK = {"SET a = :one, a = :one", "SET a = :one SET b = :one", "SET a = :one ADD"}


def test_a_failed_condition_shows_the_item_when_asked(table: Subject) -> None:
    table.put("x", a=number(1))
    with pytest.raises(ClientError) as caught:
        table.client.put_item(
            TableName=table.name,
            Item=key("x"),
            ConditionExpression=NEW,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert caught.value.response["Item"] == {**key("x"), "a": number(1)}


def test_a_transaction_is_all_or_nothing(table: Subject) -> None:
    table.put("held", a=number(1))
    add = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": number(1)}}
    put_new = {"ConditionExpression": NEW, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    reasons = reasons_of(
        lambda: table.transact(
            {"Update": {"Key": key("sum"), **add}},
            {"Put": {"Item": key("held"), **put_new}},
            {"Put": {"Item": key("new"), **put_new}},
            {"Update": {"Key": key("none"), **add, "ConditionExpression": "attribute_exists(pk)"}},
        )
    )
    assert [reason["Code"] for reason in reasons] == [
        "None",
        "ConditionalCheckFailed",
        "None",
        "ConditionalCheckFailed",
    ]
    assert reasons[1]["Item"] == {**key("held"), "a": number(1)}
    assert "Item" not in reasons[3]
    assert [table.get(sk) for sk in ("sum", "new", "none")] == [None, None, None]
    table.transact({"Update": {"Key": key("sum"), **add}}, {"Put": {"Item": key("new"), **put_new}})
    assert table.get("sum") == {**key("sum"), "a": number(1)}
    table.transact(
        {"Delete": {"Key": key("new")}},
        {"ConditionCheck": {"Key": key("held"), "ConditionExpression": "attribute_exists(pk)"}},
    )
    assert table.get("new") is None


def test_a_transaction_refuses_an_item_twice_and_more_than_a_hundred(table: Subject) -> None:
    twice = [{"Put": {"Item": key("x")}}, {"Delete": {"Key": key("x")}}]
    assert code_of(lambda: table.transact(*twice)) == "ValidationException"
    many = [{"Put": {"Item": key(f"{at}")}} for at in range(101)]
    assert code_of(lambda: table.transact(*many)) == "ValidationException"
    assert table.get("0") is None
    table.transact(*many[:100])
    assert table.get("99") == key("99")


def test_queries_are_sorted_paged_and_bounded(table: Subject) -> None:
    for at in (3, 1, 5, 2, 4):
        table.put(f"k{at}", a=number(at))
    table.client.put_item(TableName=table.name, Item={"pk": {"S": "q"}, "sk": {"S": "k3"}})
    partition = {":p": {"S": "p"}}
    everything = table.query("pk = :p", partition)
    assert [one["sk"]["S"] for one in everything["Items"]] == ["k1", "k2", "k3", "k4", "k5"]
    bounds = {**partition, ":low": {"S": "k2"}, ":high": {"S": "k4"}}
    page = table.query("pk = :p AND sk BETWEEN :low AND :high", bounds, Limit=2)
    assert [one["sk"]["S"] for one in page["Items"]] == ["k2", "k3"]
    page = table.query("pk = :p AND sk BETWEEN :low AND :high", bounds, ExclusiveStartKey=page["LastEvaluatedKey"])
    assert [one["sk"]["S"] for one in page["Items"]] == ["k4"]
    assert "LastEvaluatedKey" not in page
    backwards = table.query("pk = :p", partition, ScanIndexForward=False, Limit=1)
    assert backwards["Items"][0]["sk"]["S"] == "k5"
    assert table.query("pk = :p", {":p": {"S": "nobody"}})["Items"] == []


def test_an_index_is_sparse_and_shows_keys(table: Subject) -> None:
    for sk, at in (("a", 30), ("b", 10), ("c", 20)):
        table.put(sk, bin={"S": "0"}, at=number(at), other={"S": "o"})
    table.put("half", bin={"S": "0"})
    table.put("none", at=number(1))
    due = {":bin": {"S": "0"}, ":now": number(20)}
    found = table.query("bin = :bin AND #at <= :now", due, IndexName="due", ExpressionAttributeNames={"#at": "at"})
    assert [one["sk"]["S"] for one in found["Items"]] == ["b", "c"]
    assert set(found["Items"][0]) == {"pk", "sk", "bin", "at"}
    table.update("b", "REMOVE bin, #at", ExpressionAttributeNames={"#at": "at"})
    found = table.query("bin = :bin AND #at <= :now", due, IndexName="due", ExpressionAttributeNames={"#at": "at"})
    assert [one["sk"]["S"] for one in found["Items"]] == ["c"]


def test_segments_of_a_scan_are_the_table_once_and_keep_partitions_together(table: Subject) -> None:
    partitions = [f"p{at}" for at in range(20)]
    for partition in partitions:
        for sk in ("a", "b", "c"):
            table.client.put_item(TableName=table.name, Item={"pk": {"S": partition}, "sk": {"S": sk}})
    if table.double is not None:
        table.double.page = 2

    def segment(at: int) -> list[tuple[str, str]]:
        request = {"TableName": table.name, "Segment": at, "TotalSegments": 3}
        request |= {"FilterExpression": "sk = :a OR sk = :c", "ExpressionAttributeValues": {":a": _S_A, ":c": _S_C}}
        found: list[tuple[str, str]] = []
        while True:
            page = table.client.scan(**request)
            found += [(item["pk"]["S"], item["sk"]["S"]) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return found
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    segments = [segment(at) for at in range(3)]
    assert sorted(one for found in segments for one in found) == sorted(
        (partition, sk) for partition in partitions for sk in ("a", "c")
    )
    assert all(len(one) % 2 == 0 for one in segments)
    assert segments == [segment(at) for at in range(3)]
    assert code_of(lambda: table.client.scan(TableName=table.name, Segment=3, TotalSegments=3)) == "ValidationException"


_S_A, _S_C = {"S": "a"}, {"S": "c"}


def test_batch_reads(table: Subject) -> None:
    table.put("x", a=number(1))
    keys = [key(f"{at}") for at in range(99)]

    def read(wanted: list[Item]) -> Any:
        request = {table.name: {"Keys": wanted, "ConsistentRead": True}}
        return table.client.batch_get_item(RequestItems=request)["Responses"][table.name]

    assert read([*keys, key("x")]) == [{**key("x"), "a": number(1)}]
    assert code_of(lambda: read([*keys, key("x"), key("y")])) == "ValidationException"


def test_a_token_makes_a_transaction_once(double: Subject) -> None:
    """The local stack is not asked: emulators differ from AWS in tokens, which is why nothing of ours leans on them."""
    clock = [0]
    assert double.double is not None
    double.double.clock = lambda: clock[0]
    add = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": number(1)}}
    two = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": number(2)}}

    def send(update: dict[str, Any]) -> None:
        double.transact({"Update": {"Key": key("x"), **update}}, ClientRequestToken="t")

    send(add)
    clock[0] = 600_000
    send(add)
    assert double.get("x") == {**key("x"), "a": number(1)}
    assert code_of(lambda: send(two)) == "IdempotentParameterMismatchException"
    clock[0] = 600_001
    send(add)
    assert double.get("x") == {**key("x"), "a": number(2)}


def test_conflicts_between_begin_and_commit(double: Subject) -> None:
    """Only an interleaving double can show this; emulators run one request at a time."""
    assert double.double is not None
    seen: dict[str, Any] = {}
    add = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": number(1)}}
    both = [{"Update": {"Key": key(sk), **add}} for sk in ("x", "y")]
    double.put("x", a=number(5))

    def meanwhile() -> None:
        assert double.double is not None
        double.double.pause = lambda: None
        seen["read"] = double.get("x")
        seen["plain"] = code_of(lambda: double.update("x", expression="ADD a :one", **_one()))
        seen["transaction"] = reasons_of(lambda: double.transact(both[0], {"Put": {"Item": key("z")}}))
        double.update("z", "ADD a :one", **_one())

    double.double.pause = meanwhile
    double.transact(*both)
    assert seen["read"] == {**key("x"), "a": number(5)}
    assert seen["plain"] == "TransactionConflictException"
    assert [reason["Code"] for reason in seen["transaction"]] == ["TransactionConflict", "None"]
    assert double.get("x") == {**key("x"), "a": number(6)}
    assert double.get("z") == {**key("z"), "a": number(1)}
    double.transact(*both)
    assert double.get("x") == {**key("x"), "a": number(7)}


def _one() -> dict[str, Any]:
    return {"ExpressionAttributeValues": {":one": number(1)}}


def test_size_limits(double: Subject) -> None:
    """AWS's documented numbers; the local stack does not enforce all of them."""
    names = {f"#{at}": f"attribute{at}" for at in range(301)}

    def add(count: int) -> None:
        expression = "ADD " + ", ".join(f"{name} :one" for name in list(names)[:count])
        some = dict(list(names.items())[:count])
        double.update("x", expression, ExpressionAttributeNames=some, **_one())

    add(300)
    assert code_of(lambda: add(301)) == "ValidationException"
    long = " AND ".join(f"attribute_exists(a{at:030})" for at in range(90))
    assert len(long) > 4096
    too_long = {"ConditionExpression": long, **_one()}
    assert code_of(lambda: double.update("x", "ADD a :one", **too_long)) == "ValidationException"
    digits = {":n": {"N": "1" * 39}}
    assert code_of(lambda: double.update("x", "SET a = :n", ExpressionAttributeValues=digits)) == "ValidationException"
    assert code_of(lambda: double.put("x", a={"S": "x" * 409_600})) == "ValidationException"
    assert code_of(lambda: double.put("s" * 1025)) == "ValidationException"


def test_what_the_double_has_not_learned_is_refused_loudly(double: Subject) -> None:
    for expression in ("SET a.b = :one", "SET a[0] = :one", "DELETE a :one"):
        with pytest.raises(Unsupported):
            double.update("x", expression, **_one())
    with pytest.raises(Unsupported):
        double.client.scan(TableName=double.name, ProjectionExpression="pk")
    with pytest.raises(Unsupported):
        double.client.scan(TableName=double.name, Limit=1)
    with pytest.raises(Unsupported):
        double.client.describe_table(TableName=double.name)
