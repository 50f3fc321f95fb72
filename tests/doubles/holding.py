"""``Reservations`` in memory: room per tenant, keys, and the errors that a test sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bedrock_meter.api.reservations import Denied, HeldAmount, KeyUsed, Reserved, Wanted

METER = "input_tokens"


@dataclass
class MemoryReservations:
    """One limit on input tokens for each tenant that is here, ``room`` of it left."""

    room: dict[str, int] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    errors: list[Exception] = field(default_factory=list)
    held: dict[tuple[str, str], Reserved] = field(default_factory=dict)
    asked: int = 0

    def reserve(self, tenant: str, wanted: Wanted, now_ms: int) -> Reserved | Denied | None:
        self._fail()
        if tenant not in self.room:
            return None
        if tenant in self.suspended:
            return Denied(None, 0, None)
        for (owner, _), one in self.held.items():
            if owner == tenant and one.key == wanted.key:
                if one.status != "open" or one.estimate != wanted.estimate:
                    raise KeyUsed(one.status)
                return replace(one, is_new=False)
        amount = wanted.estimate.get(METER, 0)
        if amount > self.room[tenant]:
            limit = {"name": "hourly", "meter": METER, "window": "1h", "max": 1000, "used": 0, "reserved": 0}
            return Denied({**limit, "remaining": self.room[tenant]}, amount, now_ms + 1_500)
        self.room[tenant] -= amount
        made = Reserved(
            id=f"r{len(self.held) + 1}",
            key=wanted.key,
            kind=wanted.kind,
            status="open",
            estimate=wanted.estimate,
            amounts=(HeldAmount("hourly", METER, amount),),
            created_ms=now_ms,
            expires_ms=now_ms + wanted.ttl_ms,
            model=wanted.model,
            profile=("p1", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p1"),
        )
        self.held[tenant, made.id] = made
        return made

    def load(self, tenant: str, reservation: str, now_ms: int) -> Reserved | None:
        self._fail()
        return self.held.get((tenant, reservation))

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> Reserved | None:
        self._fail()
        found = self.held.get((tenant, reservation))
        if found is None or found.status != "open":
            return found
        amounts = tuple(replace(one, amount=min(one.amount, usage.get(METER, one.amount))) for one in found.amounts)
        self.room[tenant] += found.amounts[0].amount - amounts[0].amount
        until_ms = found.expires_ms if extend_ms is None else max(found.expires_ms, now_ms + extend_ms)
        self.held[tenant, reservation] = replace(found, amounts=amounts, expires_ms=until_ms)
        return self.held[tenant, reservation]

    def release(self, tenant: str, reservation: str, now_ms: int) -> bool:
        self._fail()
        found = self.held.get((tenant, reservation))
        if found is None:
            return False
        if found.status == "open":
            self.room[tenant] += found.amounts[0].amount
            self.held[tenant, reservation] = replace(found, status="released")
        return True

    def _fail(self) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
