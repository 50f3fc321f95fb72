"""What the double of DynamoDB promises. Where the local stack can show it, it is held to the same; the rest says why.

Only AWS itself is the truth: what neither of the two can prove is listed for the check on a live account.
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.subject import Item, Subject, code_of, key, number
from tests.faults.values import Unsupported

NEW = "attribute_not_exists(pk)"


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
        double.client.describe_table(TableName=double.name)
