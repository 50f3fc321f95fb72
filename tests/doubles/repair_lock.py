"""The repair lock in memory: the contract suite holds it to what the one over DynamoDB promises."""

from dataclasses import dataclass, field, replace

from bedrock_meter.reconciliation.repair_lock import Holder, LockState


@dataclass
class MemoryRepairLock:
    """``RepairLockStore``.

    Attributes:
        held: What the item says.
        renewals: Ends that it was moved to.
        outage: Raised by each renewal, if there is one.
    """

    held: LockState = field(default_factory=LockState)
    renewals: tuple[int, ...] = ()
    outage: Exception | None = None

    def take(self, holder: Holder, now_ms: int) -> Holder | None:
        other = self.held.holder
        if other is not None and now_ms < other.expires_ms and other.id != holder.id:
            return other
        self.held = LockState(holder, self.held.taken + 1)
        return None

    def renew(self, holder: Holder, expires_ms: int) -> bool:
        if self.outage is not None:
            raise self.outage
        found = self.held.holder
        if found is None or found.id != holder.id:
            return False
        self.held = replace(self.held, holder=replace(found, expires_ms=expires_ms))
        self.renewals += (expires_ms,)
        return True

    def release(self, holder: Holder) -> None:
        if self.held.holder is not None and self.held.holder.id == holder.id:
            self.held = replace(self.held, holder=None)

    def state(self) -> LockState:
        return self.held
