"""Reading roll-up rows by tenant and time."""

from collections.abc import Iterator
from typing import Any

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, text
from bedrock_meter.storage.keys import parse_usage_sort_key, quarter_label
from bedrock_meter.usage.rollup import RollupKey, Sums, quarter_start


def rollup_of(item: Item) -> tuple[RollupKey, Sums]:
    """Read a Usage item."""
    quarter_ms, profile, model = parse_usage_sort_key(get_text(item, "sk"))
    tokens = TokenCounts(*(get_number(item, name) for name in ("input", "output", "cache_read", "cache_write")))
    key = RollupKey(get_text(item, "pk"), quarter_ms, profile, model)
    return key, Sums(get_number(item, "requests"), get_number(item, "errors"), tokens)


def read_rollups(
    client: Any, table: str, tenant: str, *, from_ms: int, to_ms: int | None = None
) -> Iterator[list[tuple[RollupKey, Sums]]]:
    """Yield a tenant's rows with a quarter-hour that starts in [quarter of ``from_ms``, ``to_ms``), page by page.

    The read is consistent.

    ``to_ms`` = None reads to the end, rows in the future included.
    """
    upper = "9999" if to_ms is None else quarter_label(quarter_start(to_ms - 1)) + "$"
    request: dict[str, Any] = {
        "TableName": table,
        "ConsistentRead": True,
        "KeyConditionExpression": "pk = :tenant AND sk BETWEEN :from AND :to",
        "ExpressionAttributeValues": {
            ":tenant": text(tenant),
            ":from": text(quarter_label(quarter_start(max(0, from_ms)))),
            ":to": text(upper),
        },
    }
    while True:
        page = client.query(**request)
        yield [rollup_of(item) for item in page.get("Items", [])]
        if not page.get("LastEvaluatedKey"):
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
