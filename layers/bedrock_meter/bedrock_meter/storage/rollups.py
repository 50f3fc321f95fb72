"""Roll-up rows as items: what they hold, and reading them by tenant and time.

A row holds how many of its calls are *priced*, not how many are not: what was written before there were prices holds
neither, and reads as unpriced, never as free.
"""

from collections.abc import Iterator
from typing import Any

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.storage.dynamodb import Item, get_number, get_text, text
from bedrock_meter.storage.keys import parse_usage_sort_key, quarter_label
from bedrock_meter.usage.rollup import RollupKey, Sums, quarter_start

COUNTS = ("input", "output", "cache_read", "cache_write")
"""Token kinds as attributes of rows and ledger entries."""


def row_amounts(sums: Sums) -> dict[str, int]:
    """Return what a row of these sums holds, by attribute; a missing attribute holds 0."""
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        **{name: getattr(sums.tokens, name) for name in COUNTS},
        "cost_nano_usd": sums.cost_nano_usd,
        "priced": sums.requests - sums.unpriced,
    }


def rollup_of(item: Item) -> tuple[RollupKey, Sums]:
    """Read a Usage item."""
    quarter_ms, profile, model = parse_usage_sort_key(get_text(item, "sk"))
    tokens = TokenCounts(*(get_number(item, name) for name in COUNTS))
    key = RollupKey(get_text(item, "pk"), quarter_ms, profile, model)
    requests = get_number(item, "requests")
    unpriced = requests - get_number(item, "priced")
    return key, Sums(requests, get_number(item, "errors"), tokens, get_number(item, "cost_nano_usd"), unpriced)


def read_rollups(
    client: Any,
    table: str,
    tenant: str,
    *,
    from_ms: int,
    to_ms: int | None = None,
    newest_first: bool = False,
    is_consistent: bool = True,
) -> Iterator[list[tuple[RollupKey, Sums]]]:
    """Yield a tenant's rows with a quarter-hour that starts in [quarter of ``from_ms``, ``to_ms``), page by page.

    The read is in the order of time or, with ``newest_first``, against it. It is consistent, unless that is not asked
    for: then it costs half, and may lack what was written within the last second or so.

    ``to_ms`` = None reads to the end, rows in the future included.
    """
    upper = "9999" if to_ms is None else quarter_label(quarter_start(to_ms - 1)) + "$"
    request: dict[str, Any] = {
        "TableName": table,
        "ConsistentRead": is_consistent,
        "ScanIndexForward": not newest_first,
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
