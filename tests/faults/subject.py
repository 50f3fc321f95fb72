"""A table under contract, on the double or on the local stack."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.dynamodb import DynamoDB
from tests.faults.wire import attached

numbers = itertools.count()

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


def make_double() -> Subject:
    made = DynamoDB()
    return Subject(attached("dynamodb", Alone(made)), made)


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])
