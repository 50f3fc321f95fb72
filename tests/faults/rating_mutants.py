"""Wrong ways to rate anew: exact where nothing happens beside them and nobody dies."""

from collections.abc import Callable, Iterator
from typing import Any

from bedrock_meter.storage.dynamodb import Item
from bedrock_meter.storage.recording import DynamoDBRecordingStore
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Refused
from bedrock_meter.usage.rerating import Page, Rerating
from tests.faults.designs import Design
from tests.faults.world import TABLES, World


class SumsApart(DynamoDBRecordingStore):
    """Adds the difference, then writes the entry: who dies in between, or is refused, adds it again."""

    def commit(self, writes: Writes) -> Refused | None:
        if writes.rollups or writes.gauges:
            refused = super().commit(Writes((), writes.rollups, writes.gauges))
            if refused is not None:
                return refused
        return super().commit(Writes(writes.changes, {}, {}))


class Overwriting(DynamoDBRecordingStore):
    """Writes the entry that it has read, with its new cost, whatever the entry is by now."""

    def _entry_update(self, held: Item, wanted: Item) -> dict[str, Any]:
        key = {"pk": wanted["pk"]}
        names = [name for name in wanted if name != "pk"]
        return {
            "TableName": self._tables.ledger,
            "Key": key,
            "UpdateExpression": "SET " + ", ".join(f"#{at} = :{at}" for at in range(len(names))),
            "ExpressionAttributeNames": {f"#{at}": name for at, name in enumerate(names)},
            "ExpressionAttributeValues": {f":{at}": wanted[name] for at, name in enumerate(names)},
        }


class PositionFirst:
    """Notes a page as done before it is."""

    def __init__(self, made: Rerating) -> None:
        self._made = made

    def run(self, pages: Iterator[Page], report: Any, *, done: Callable[[Page], None]) -> None:
        def noted() -> Iterator[Page]:
            for page in pages:
                done(page)
                yield page

        self._made.run(noted(), report)


def _stored(store: type[DynamoDBRecordingStore]) -> Callable[[Rerating, World], Rerating]:
    def change(made: Rerating, world: World) -> Rerating:
        made._rewriter._store = store(world.client("dynamodb"), TABLES)
        return made

    return change


def _position_first(made: Rerating, world: World) -> Any:
    return PositionFirst(made)


MUTANTS = (
    Design("rating anew: the difference, then the entry", rerating=_stored(SumsApart)),
    Design("rating anew: an old reading overwrites", rerating=_stored(Overwriting)),
    Design("rating anew: the position before the work", rerating=_position_first),
)
