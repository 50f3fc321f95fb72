"""Entries of a range of event time, by scanning the ledger: it has no index by time.

A scan reads, and costs, the whole table whatever it is filtered by. Reads are consistent: an entry that a recorder has
written is seen as it is. An entry that comes while the scan is past its place was rated when it was recorded.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import get_text, number, text
from bedrock_meter.storage.patience import patiently
from bedrock_meter.storage.recording import entry_of
from bedrock_meter.usage.rerating import Page

_PAGE = 1000
"""Entries in a request: what a stopped run reads again at most."""

READ_UNIT_BYTES = 4096


class Size(NamedTuple):
    """How large the ledger is, as DynamoDB said some hours ago at worst.

    Attributes:
        entries: How many it holds.
        read_units: What reading all of it consistently costs.
    """

    entries: int
    read_units: int


class DynamoDBLedgerRange:
    """Entries with an event time in [from_ms, to_ms), of some tenants and models or of all."""

    def __init__(
        self,
        client: Any,
        tables: Tables,
        from_ms: int,
        to_ms: int,
        *,
        tenants: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._table = tables.ledger
        self._units: list[float] = []
        names = {"#event": "event_ms"}
        values = {":from": number(from_ms), ":to": number(to_ms)}
        wanted = ["#event >= :from", "#event < :to"]
        for column, chosen in (("tenant", tenants), ("model", models)):
            if chosen:
                names[f"#{column}"] = column
                placed = {f":{column}{index}": text(one) for index, one in enumerate(chosen)}
                values |= placed
                wanted.append(f"#{column} IN ({', '.join(placed)})")
        self._request: dict[str, Any] = {
            "TableName": self._table,
            "FilterExpression": " AND ".join(wanted),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "Limit": _PAGE,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }

    @property
    def units(self) -> float:
        """Read units used so far, as DynamoDB reports them; 0 where it does not."""
        return sum(self._units)

    def size(self) -> Size:
        """Return how large the whole ledger is."""
        table = patiently(lambda: self._client.describe_table(TableName=self._table))["Table"]
        return Size(int(table.get("ItemCount", 0)), -(-int(table.get("TableSizeBytes", 0)) // READ_UNIT_BYTES))

    def pages(self, after: str | None = None) -> Iterator[Page]:
        """Scan.

        Args:
            after: ``Page.after`` of the page before; None = from the beginning.
        """
        while True:
            place = {} if after is None else {"ExclusiveStartKey": {"pk": text(after)}}
            page = self._page({**self._request, **place})
            last = page.get("LastEvaluatedKey")
            after = get_text(last, "pk") if last else None
            entries = [entry_of(item) for item in page.get("Items", [])]
            yield Page(entries, int(page.get("ScannedCount", len(entries))), after)
            if after is None:
                return

    def _page(self, request: dict[str, Any]) -> Any:
        page = patiently(lambda: self._client.scan(**request))
        self._units.append(float(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0)))
        return page
