"""The ledger: one entry per call. The entry *is* the marker that makes counting exact.

Twins decide the shape of this module. One request id can appear in two records: a zero-usage or token-less one beside
the real one, or an error beside a success, in either order. Joining is therefore a lattice: success beats error, the
larger count of each kind wins, what one record can tell and the other cannot is known. It is commutative, associative
and idempotent, so any order and any number of deliveries end in the same counts. Tenant, time, profile and model are
those of the record that came first; a correction goes where the first one was counted.

Money follows the counts. An entry is rated once, when it is accepted, and keeps that rating whatever the price book
says later; only where a twin adds something is the joined entry rated anew, and the difference goes where the first
rating went. So the sums of cost are always the sums over the entries.
"""

from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.reservations import named_in
from bedrock_meter.pricing.rating import Call, Rated
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.tenants.principals import without_session
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums, quarter_start


class Rater(Protocol):
    """Says what a call costs."""

    def rate(self, call: Call) -> Rated:
        """Return the cost of one call. The same call and the same prices give the same answer."""


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
        routing: How the call was routed, where the mapping says so: ``in-region``, ``geo`` or ``global``.
        cache_write_1h: How many of ``tokens.cache_write`` are written for an hour; None = the records cannot tell.
        tier: Service tier; None = the records cannot tell.
        images: Images produced; None = the records cannot tell.
        cost_nano_usd: What the call costs; None = unpriced. None for a failed call too, which costs nothing.
        price_version: Which prices said so; empty = never rated (a failed call, an entry from before there were
            prices).
        assumptions: What the rating had to assume: short codes with commas between.
        was: The tenant that it was counted for before it was moved (``usage/reattribution.py``), or None.
        moved_ms: When it was moved, or None.
        removed_ms: When its usage was taken back (``usage/removal.py``), or None. It adds nothing from then on,
            whatever other records of the call say.
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
    routing: str | None = None
    cache_write_1h: int | None = None
    tier: str | None = None
    images: int | None = None
    cost_nano_usd: int | None = None
    price_version: str = ""
    assumptions: str = ""
    was: str | None = None
    moved_ms: int | None = None
    reservation: str = ""
    removed_ms: int | None = None

    @property
    def sums(self) -> Sums:
        """What this entry adds to its tenant's usage."""
        if self.removed_ms is not None:
            return NOTHING
        if self.error_code is not None:
            return Sums(errors=1)
        return Sums(1, 0, self.tokens, self.cost_nano_usd or 0, int(self.cost_nano_usd is None))

    @property
    def call(self) -> Call:
        """What rating looks at."""
        return Call(
            self.tenant,
            self.profile,
            self.model,
            self.key.split("#", 2)[1],
            self.routing,
            self.event_ms,
            self.tokens,
            self.cache_write_1h,
            self.tier,
            self.images,
        )

    @property
    def rollup(self) -> RollupKey:
        """The roll-up row that counts this entry."""
        return RollupKey(self.tenant, quarter_start(self.event_ms), self.profile, self.model)

    def joined(self, twin: "LedgerEntry") -> "LedgerEntry":
        """Return this entry raised by another record of the same call; equal to ``self`` where that adds nothing.

        The rating stays this entry's: where anything was added, rate the answer. A part of the cache writes belongs to
        its whole: it is the one of the larger count, and of equal counts the known one or the larger. To an entry whose
        usage was taken back nothing is added.
        """
        if self.removed_ms is not None:
            return self
        error_code = self.error_code if twin.error_code is not None else None
        _, hour = max(
            (one.tokens.cache_write, -1 if one.cache_write_1h is None else one.cache_write_1h) for one in (self, twin)
        )
        return replace(
            self,
            error_code=error_code,
            tokens=self.tokens.highest(twin.tokens),
            cache_write_1h=None if hour < 0 else hour,
            tier=max(self.tier or "", twin.tier or "") or None,
            images=max((one.images for one in (self, twin) if one.images is not None), default=None),
        )

    def rated(self, rater: Rater) -> "LedgerEntry":
        """Return this entry with its cost; a failed call costs nothing and is not rated, nor is what was taken back."""
        if self.error_code is not None or self.removed_ms is not None:
            return self
        return self.with_rating(rater.rate(self.call))

    def with_rating(self, rated: Rated) -> "LedgerEntry":
        """Return this entry, which succeeded and stands, with this cost."""
        return replace(
            self,
            cost_nano_usd=rated.cost_nano_usd,
            price_version=rated.price_version,
            assumptions=",".join(rated.assumptions),
        )


def entry_for(
    invocation: Invocation, attribution: Attribution, *, now_ms: int, retention_ms: int, keeps_sessions: bool = True
) -> LedgerEntry:
    """Make the entry of one invocation, not rated yet.

    Args:
        invocation: The admitted record.
        attribution: Whom it is counted for.
        now_ms: Ingest time.
        retention_ms: How long the ledger keeps entries, from event or ingest time, whichever is later.
        keeps_sessions: Whether the caller keeps the name of its session; else its role is what is left of it.
    """
    failed = invocation.error_code is not None
    return LedgerEntry(
        key=invocation.call_id,
        tenant=attribution.tenant,
        rule=attribution.rule,
        profile=attribution.profile,
        model=attribution.model,
        principal=invocation.principal if keeps_sessions else without_session(invocation.principal),
        operation=invocation.operation,
        event_ms=invocation.event_ms,
        tokens=NO_TOKENS if failed else invocation.tokens,
        error_code=invocation.error_code,
        expires_s=(max(now_ms, invocation.event_ms) + retention_ms) // 1000,
        routing=attribution.routing,
        cache_write_1h=None if failed else invocation.cache_write_1h,
        tier=None if failed else invocation.tier,
        images=None if failed else invocation.images,
        reservation=named_in(invocation.metadata),
    )


class Change(Struct, frozen=True):
    """One conditional write to the ledger: a new entry, or a held one raised by its twin.

    Attributes:
        entry: What the ledger holds afterwards.
        held: What it must hold now; None = nothing.
        records: How many records of the batch this write stands for.
        reservation: Id of the reservation that they name, empty when none.
        counts_tokens: Whether records of this call are incomplete as long as none of them has tokens: see ``Rated``.
    """

    entry: LedgerEntry
    held: LedgerEntry | None = None
    records: int = 1
    reservation: str = ""
    counts_tokens: bool = True

    @property
    def sums(self) -> Sums:
        """What the write adds to roll-up and gauge."""
        return self.entry.sums if self.held is None else self.entry.sums - self.held.sums

    def rated(self, rater: Rater) -> "Change":
        """Return the write with the cost of its entry; of a failed or removed one, itself."""
        if self.entry.error_code is not None or self.entry.removed_ms is not None:
            return self
        rated = rater.rate(self.entry.call)
        return replace(self, entry=self.entry.with_rating(rated), counts_tokens=rated.counts_tokens)

    def against(self, held: LedgerEntry, rater: Rater) -> "Change | None":
        """Return the write that is still needed where the ledger holds ``held``; None if this is a duplicate."""
        raised = held.joined(self.entry)
        if raised == held:
            return None
        return Change(raised, held, self.records, self.reservation).rated(rater)
