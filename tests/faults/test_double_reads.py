"""What the double of DynamoDB promises of reads; see ``test_double_contract.py``."""

from typing import Any

from tests.faults.subject import Item, Subject, code_of, key, number


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


def test_a_scan_reads_no_more_than_its_limit_and_goes_on_after_it(table: Subject) -> None:
    """The limit is of what is read: what the filter leaves out counts."""
    for at in range(7):
        table.put(f"k{at}", a=number(at % 2))
    request = {
        "TableName": table.name,
        "FilterExpression": "a = :one",
        "ExpressionAttributeValues": {":one": number(1)},
    }
    pages = [table.client.scan(**request, Limit=3)]
    while "LastEvaluatedKey" in pages[-1]:
        pages.append(table.client.scan(**request, Limit=3, ExclusiveStartKey=pages[-1]["LastEvaluatedKey"]))
    assert [page["ScannedCount"] for page in pages] == [3, 3, 1]
    assert [item["sk"]["S"] for page in pages for item in page["Items"]] == ["k1", "k3", "k5"]


def test_batch_reads(table: Subject) -> None:
    table.put("x", a=number(1))
    keys = [key(f"{at}") for at in range(99)]

    def read(wanted: list[Item]) -> Any:
        request = {table.name: {"Keys": wanted, "ConsistentRead": True}}
        return table.client.batch_get_item(RequestItems=request)["Responses"][table.name]

    assert read([*keys, key("x")]) == [{**key("x"), "a": number(1)}]
    assert code_of(lambda: read([*keys, key("x"), key("y")])) == "ValidationException"
