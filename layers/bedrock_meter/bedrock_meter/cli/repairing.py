"""The repair lock around a command: which ones take it, and which only watch it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bedrock_meter.reconciliation.repair_lock import RepairLock
    from bedrock_meter.settings import Tables

Check = Callable[[], None]
"""To be called before each write."""


@contextmanager
def repairing(command: str, dynamodb: Any, tables: "Tables", *, dry_run: bool = False) -> Iterator[Check]:
    """Rewrite entries or sums while nobody else does. A dry run writes nothing and takes no lock.

    Raises:
        RepairUnderWay: Somebody else does: it says who, since when, and until when.
        RepairLost: From the check: the lock was lost.
    """
    from bedrock_meter.cli.deployed import caller

    if dry_run:
        yield lambda: None
        return
    with _lock(dynamodb, tables).hold(command, caller().by) as held:
        yield held.check


@contextmanager
def undisturbed(dynamodb: Any, tables: "Tables") -> Iterator[None]:
    """Compare entries with sums while nobody rewrites them.

    Raises:
        RepairUnderWay: Somebody does, or did meanwhile.
    """
    with _lock(dynamodb, tables).watch():
        yield


def _lock(dynamodb: Any, tables: "Tables") -> "RepairLock":
    from uuid import uuid4

    from bedrock_meter.clock import now_ms
    from bedrock_meter.reconciliation.repair_lock import RepairLock
    from bedrock_meter.storage.repair_lock import DynamoDBRepairLock

    return RepairLock(DynamoDBRepairLock(dynamodb, tables), clock=now_ms, new_id=lambda: uuid4().hex)
