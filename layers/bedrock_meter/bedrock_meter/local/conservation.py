"""Nothing is lost and nothing invented: the same numbers from independent sources, compared.

Sources: what was sent, what the recorder measured, the roll-ups, the ledger, the quarantine, what the evaluator
published and what the consumer received. No number is computed as the rest of others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bedrock_meter.local.stored import Stored, Totals
from bedrock_meter.money import usd_text
from bedrock_meter.usage.rollup import Sums

READ = "RecordsRead"
RECORDED = "RecordsRecorded"
DUPLICATE = "RecordsDuplicate"
FAILED = "RecordsFailed"
QUARANTINED = "RecordsQuarantined"
UNATTRIBUTED = "RecordsUnattributed"
UNPRICED = "RecordsUnpriced"
PUBLISHED = "EventsPublished"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records of one replay, as the recorder measured it."""

    read: int
    recorded: int
    duplicates: int
    errors: int
    quarantined: int
    unattributed: int
    unpriced: int

    @classmethod
    def measured(cls, metrics: Mapping[str, int]) -> "Counts":
        """Take the counts from the recorder's metrics."""
        names = (READ, RECORDED, DUPLICATE, FAILED, QUARANTINED, UNATTRIBUTED, UNPRICED)
        return cls(*(metrics.get(name, 0) for name in names))


@dataclass(frozen=True, slots=True)
class Delivered:
    """How many event deliveries were published, as the functions measured it, and how many the consumer received."""

    published: int = 0
    received: int = 0


def contradictions(sent: int, counts: Counts, added: Stored, now: Stored, events: Delivered) -> list[str]:
    """Compare all sources; returns one line for each pair that contradicts each other, empty if all agree.

    Args:
        sent: Records that were sent.
        counts: What the recorder measured of them.
        added: What was added to the stores meanwhile.
        now: What the stores hold altogether: roll-ups and ledger must agree on everything they ever counted.
        events: Published and received.
    """
    found: list[str] = []

    def agree(what: str, one: str, first: int, other: str, second: int) -> None:
        if first != second:
            found.append(f"{what}: {one} {first}, {other} {second}")

    agree("records", "sent", sent, "the recorder read", counts.read)
    parts = counts.recorded + counts.duplicates + counts.errors + counts.quarantined
    agree("records", "read", counts.read, "recorded + duplicates + errors + quarantined", parts)
    for store, totals in (("the roll-ups", added.rollups), ("the ledger", added.ledger)):
        whole = totals.whole
        agree("requests", "the recorder measured", counts.recorded, f"{store} hold", whole.requests)
        agree("errors", "the recorder measured", counts.errors, f"{store} hold", whole.errors)
        agree("unpriced requests", "the recorder measured", counts.unpriced, f"{store} hold", whole.unpriced)
        requests = totals.unattributed.requests
        agree("unattributed requests", "the recorder measured", counts.unattributed, f"{store} hold", requests)
    agree("quarantined records", "the recorder measured", counts.quarantined, "the bucket holds", added.quarantined)
    found += _differences(now.rollups, now.ledger)
    agree("events", "published", events.published, "the consumer received", events.received)
    return found


def _differences(rollups: Totals, ledger: Totals) -> list[str]:
    return [
        f"usage of {kind} {name}: the roll-ups hold {_words(ours.get(name, Sums()))}, "
        f"the ledger {_words(theirs.get(name, Sums()))}"
        for kind, ours, theirs in (
            ("tenant", rollups.tenants, ledger.tenants),
            ("profile", rollups.profiles, ledger.profiles),
        )
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name, Sums()) != theirs.get(name, Sums())
    ]


def _words(sums: Sums) -> str:
    tokens = sums.tokens
    return (
        f"{sums.requests} requests, {sums.errors} errors, tokens {tokens.input} in, {tokens.output} out, "
        f"{tokens.cache_read} read, {tokens.cache_write} written, {usd_text(sums.cost_nano_usd)} USD, "
        f"{sums.unpriced} unpriced"
    )
