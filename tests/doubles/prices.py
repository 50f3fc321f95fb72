"""The store of overrides, in memory. Same promises as over DynamoDB: the contract suite holds both to them."""

from collections.abc import Iterator

from bedrock_meter.pricing.overrides import NONE, OverrideSet
from bedrock_meter.storage.prices import Change


class MemoryOverrideStore:
    """``OverrideStore``; counts how often it was read."""

    def __init__(self, held: OverrideSet = NONE) -> None:
        self.held = held
        self.reads = 0
        self._changes: list[Change] = []

    def read(self) -> OverrideSet:
        self.reads += 1
        return self.held

    def replace(self, held: OverrideSet, new: OverrideSet, *, now_ms: int, by: str) -> bool:
        if self.held.version != held.version:
            return False
        self.held = new
        self._changes.append(Change(new.version, now_ms, by, len(new.rows)))
        return True

    def changes(self) -> Iterator[Change]:
        return iter(self._changes)
