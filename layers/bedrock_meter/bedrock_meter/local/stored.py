"""What the deployed code stored: roll-ups, ledger entries and quarantine notes, each added up by itself."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bedrock_meter.invocations.quarantine import Reason
from bedrock_meter.storage.keys import bounded, parse_usage_sort_key
from bedrock_meter.storage.recording import entry_of
from bedrock_meter.storage.rollups import rollup_of
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.rollup import NOTHING, Sums

_QUARANTINE_PREFIX = "quarantine/"


@dataclass(slots=True)
class Totals:
    """Sums of usage, from one of the places where it is stored.

    Attributes:
        tenants: By tenant; what belongs to nobody yet under ``unattributed``.
        profiles: By the last segment of the record's model identifier.
    """

    tenants: dict[str, Sums] = field(default_factory=dict)
    profiles: dict[str, Sums] = field(default_factory=dict)

    def add(self, tenant: str, profile: str, sums: Sums) -> None:
        """Count ``sums`` for both."""
        self.tenants[tenant] = self.tenants.get(tenant, NOTHING) + sums
        self.profiles[profile] = self.profiles.get(profile, NOTHING) + sums

    @property
    def whole(self) -> Sums:
        """Everything."""
        return sum(self.tenants.values(), NOTHING)

    @property
    def unattributed(self) -> Sums:
        """What belongs to nobody yet."""
        return self.tenants.get(UNATTRIBUTED, NOTHING)

    def since(self, before: "Totals") -> "Totals":
        """Return what was added since ``before``; what did not change is left out."""
        return Totals(_added(self.tenants, before.tenants), _added(self.profiles, before.profiles))


@dataclass(frozen=True, slots=True)
class Stored:
    """One reading of all that is stored.

    Attributes:
        rollups: Sums of the Usage table.
        ledger: Sums of the Ledger table's entries.
        quarantined: Number of lines that quarantine has notes of.
    """

    rollups: Totals = field(default_factory=Totals)
    ledger: Totals = field(default_factory=Totals)
    quarantined: int = 0

    def since(self, before: "Stored") -> "Stored":
        """Return what was added since ``before``."""
        return Stored(
            self.rollups.since(before.rollups),
            self.ledger.since(before.ledger),
            self.quarantined - before.quarantined,
        )


def read_stored(dynamodb: Any, s3: Any, outputs: Mapping[str, str]) -> Stored:
    """Read everything; meant for the modest amounts of a local stack."""
    ledger, rollups = Totals(), Totals()
    whole_names: dict[str, str] = {}
    for item in _scan(dynamodb, outputs["LedgerTable"]):
        entry = entry_of(item)
        whole_names[_as_read_back(entry.profile)] = entry.profile
        ledger.add(entry.tenant, entry.profile, entry.sums)
    for item in _scan(dynamodb, outputs["UsageTable"]):
        key, sums = rollup_of(item)
        # Keys hold very long names cut; the ledger knows them whole.
        rollups.add(key.tenant, whole_names.get(key.profile, key.profile), sums)
    return Stored(rollups, ledger, _count_lines(s3, outputs["FailureBucket"]))


def _as_read_back(profile: str) -> str:
    return parse_usage_sort_key(f"1970-01-01T00:00Z#{bounded(profile)}#-")[1]


def _scan(dynamodb: Any, table: str) -> Iterator[Any]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _count_lines(s3: Any, bucket: str) -> int:
    """Return for how many lines there are notes: one each, but for those that say how many they stand for."""
    lines = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_QUARANTINE_PREFIX):
        for key in (one["Key"] for one in page.get("Contents", [])):
            stands_for_many = f"/{Reason.MORE}/" in key
            lines += _records_of(s3, bucket, key) if stands_for_many else 1
    return lines


def _records_of(s3: Any, bucket: str, key: str) -> int:
    records: int = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["records"]
    return records


def _added(after: Mapping[str, Sums], before: Mapping[str, Sums]) -> dict[str, Sums]:
    changes = {name: sums - before.get(name, NOTHING) for name, sums in after.items()}
    return {name: change for name, change in changes.items() if name not in before or change != NOTHING}
