"""Ledger entries by their keys: each as it is in the table now, read consistently."""

from collections.abc import Iterable
from typing import Any

from bedrock_meter.settings import Tables
from bedrock_meter.storage.dynamodb import text
from bedrock_meter.storage.gauges import read_batch
from bedrock_meter.storage.patience import patiently
from bedrock_meter.storage.recording import entry_of
from bedrock_meter.usage.ledger import LedgerEntry


def entries_of(client: Any, tables: Tables, keys: Iterable[str]) -> list[LedgerEntry]:
    """Return the entries of these keys, in any order; those that do not exist are missing."""
    wanted = [{"pk": text(key)} for key in dict.fromkeys(keys)]
    return [entry_of(item) for item in patiently(lambda: read_batch(client, tables.ledger, wanted))]
