"""The ledger: one entry per call. The entry *is* the marker that makes counting exact.

Twins decide the shape of this module. One request id can appear in two records: a zero-usage or token-less one beside
the real one, or an error beside a success, in either order. Joining is therefore a lattice: success beats error, the
larger count of each kind wins. It is commutative, associative and idempotent, so any order and any number of
deliveries end in the same counts. Tenant, time, profile and model are those of the record that came first; a
correction goes where the first one was counted.
"""

from msgspec import Struct
from msgspec.structs import replace

from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.reservations import named_in
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.rollup import RollupKey, Sums, quarter_start


class LedgerEntry(Struct, frozen=True):
    """One accepted invocation.

    Attributes:
        key: ``account#region#requestId``.
        tenant: Who it is counted for, or ``unattributed``.
        rule: Which attribution rule matched.
        profile: Last segment of the record's model identifier.
        model: Base model, where the mapping or the record names it; ``-`` otherwise.
        principal: The calling identity's ARN, empty when unknown.
        operation: Bedrock operation as logged.
        event_ms: When the call happened.
        tokens: Counts by kind, all zero for a failed call.
        error_code: Set for a failed call.
        expires_s: Unix seconds at which DynamoDB may forget the entry. Later than any time at which its record is
            admitted.
        reservation: Id of the reservation that the first record named, empty when none.
    """

    key: str
    tenant: str
    rule: str
    profile: str
    model: str
    principal: str
    operation: str
    event_ms: int
    tokens: TokenCounts
    error_code: str | None
    expires_s: int
    reservation: str = ""

    @property
    def sums(self) -> Sums:
        """What this entry adds to its tenant's usage."""
        if self.error_code is not None:
            return Sums(errors=1)
        return Sums(requests=1, tokens=self.tokens)

    @property
    def rollup(self) -> RollupKey:
        """The roll-up row that counts this entry."""
        return RollupKey(self.tenant, quarter_start(self.event_ms), self.profile, self.model)

    def joined(self, twin: "LedgerEntry") -> "LedgerEntry":
        """Return this entry raised by another record of the same call; ``self`` where that adds nothing."""
        error_code = self.error_code if twin.error_code is not None else None
        return replace(self, error_code=error_code, tokens=self.tokens.highest(twin.tokens))


def entry_for(invocation: Invocation, attribution: Attribution, *, now_ms: int, retention_ms: int) -> LedgerEntry:
    """Make the entry of one invocation.

    Args:
        invocation: The admitted record.
        attribution: Whom it is counted for.
        now_ms: Ingest time.
        retention_ms: How long the ledger keeps entries, from event or ingest time, whichever is later.
    """
    failed = invocation.error_code is not None
    return LedgerEntry(
        key=invocation.call_id,
        tenant=attribution.tenant,
        rule=attribution.rule,
        profile=attribution.profile,
        model=attribution.model,
        principal=invocation.principal,
        operation=invocation.operation,
        event_ms=invocation.event_ms,
        tokens=NO_TOKENS if failed else invocation.tokens,
        error_code=invocation.error_code,
        expires_s=(max(now_ms, invocation.event_ms) + retention_ms) // 1000,
        reservation=named_in(invocation.metadata),
    )


class Change(Struct, frozen=True):
    """One conditional write to the ledger: a new entry, or a held one raised by its twin.

    Attributes:
        entry: What the ledger holds afterwards.
        held: What it must hold now; None = nothing.
        records: How many records of the batch this write stands for.
        reservation: Id of the reservation that they name, empty when none.
    """

    entry: LedgerEntry
    held: LedgerEntry | None = None
    records: int = 1
    reservation: str = ""

    @property
    def sums(self) -> Sums:
        """What the write adds to roll-up and gauge."""
        return self.entry.sums if self.held is None else self.entry.sums - self.held.sums

    def against(self, held: LedgerEntry) -> "Change | None":
        """Return the write that is still needed where the ledger holds ``held``; None if this is a duplicate."""
        raised = held.joined(self.entry)
        return None if raised == held else Change(raised, held, self.records, self.reservation)
