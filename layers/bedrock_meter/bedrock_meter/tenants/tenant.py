"""What a person defines of a tenant."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from bedrock_meter.clock import iso
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.tenants.attribution import UNATTRIBUTED, UNKNOWN_MODEL

_TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
DEFAULT_TIMEZONE = "UTC"


def is_tenant_id(value: str) -> bool:
    """Whether a text can be the id of a tenant; says nothing about whether there is one."""
    return value != UNATTRIBUTED and _TENANT_ID.fullmatch(value) is not None


def checked_tenant_id(value: object) -> str:
    """Return ``value`` if it can be a tenant's id.

    Raises:
        InvalidDefinition: It is no text of 1 to 64 letters, digits, dots, dashes and underscores, or it is reserved.
    """
    if not isinstance(value, str) or not _TENANT_ID.fullmatch(value):
        raise InvalidDefinition(
            "id",
            f"{value!r} is not a tenant id: use 1 to 64 letters, digits, '.', '-' or '_', a letter or digit first",
        )
    if value == UNATTRIBUTED:
        raise InvalidDefinition("id", f"'{UNATTRIBUTED}' is reserved for usage that belongs to nobody yet")
    return value


@dataclass(frozen=True, slots=True)
class ProfileReference:
    """A profile that a tenant owns.

    Attributes:
        id: Last segment of the ARN: what records and metrics are joined on.
        arn: The ARN where it was given, else the id.
        model: Base model that the profile stands for, or ``-`` where nobody said.
        routing: ``in-region``, ``geo``, ``global`` or None where nobody said.
        tagged: Owned because a tag in Bedrock says so, and not because a person did.
        geography: Where calls of geo routing stay: ``eu``, ``us``, ``apac`` ...; None where that is not said.
    """

    id: str
    arn: str
    model: str = UNKNOWN_MODEL
    routing: str | None = None
    tagged: bool = False
    geography: str | None = None


@dataclass(frozen=True, slots=True)
class BoostGrant:
    """A boost of one of a tenant's limits, and who gave it. What was given stays; an early end stands beside it.

    Attributes:
        limit: Name of the limit, of the tenant's plan or its own.
        boost: What is added, from when to when, as it was given.
        reason: Why, in a person's words.
        by: Who gave it.
        meter: What ``amount`` is of: it adds nothing to a limit of this name that counts something else. None for a
            factor, and for what was stored before this was kept.
        ended_ms: When a person ended it early; None = nobody did.
    """

    limit: str
    boost: Boost
    reason: str
    by: str
    meter: Meter | None = None
    ended_ms: int | None = None

    @property
    def segment(self) -> Boost | None:
        """What of it counts: it ends where it was ended; None where it was ended before it began."""
        if self.ended_ms is None or self.ended_ms >= self.boost.to_ms:
            return self.boost
        return replace(self.boost, to_ms=self.ended_ms) if self.ended_ms > self.boost.from_ms else None

    @property
    def over_ms(self) -> int:
        """First instant at which it is over, by itself or early."""
        return self.boost.to_ms if self.ended_ms is None else min(self.boost.to_ms, self.ended_ms)

    def adds_to(self, limit: Limit) -> bool:
        """Whether a limit is the one that is meant."""
        return self.limit == limit.name and (self.meter is None or self.meter is limit.meter)

    def id_of(self, tenant: str) -> str:
        """Return its id: 16 hexadecimal digits that tell it apart from the tenant's others, and stay when it ends."""
        boost = self.boost
        facts = [tenant, self.limit, self.meter, boost.from_ms, boost.to_ms, boost.amount, boost.permille]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def document(self, tenant: str, meter: Meter | None = None) -> dict[str, Any]:
        """Return it as readings and the history spell it; ``to`` is when it ends, early or by itself.

        An amount whose ``unit`` is null is in the smallest unit of its limit, which nobody knows any more.

        Args:
            tenant: Whose it is.
            meter: What the amount is of, where the boost does not say.
        """
        meter = self.meter or meter
        amount = self.boost.amount if meter is None else meter.shown(self.boost.amount)
        added = {"amount": amount, "unit": None if meter is None else meter.unit}
        return {
            "id": self.id_of(tenant),
            "limit": self.limit,
            **(added if self.boost.amount else {"factor": str(self.factor)}),
            "from": iso(self.boost.from_ms),
            "to": iso(self.over_ms),
            "reason": self.reason,
            "by": self.by,
        }

    @property
    def factor(self) -> Decimal:
        """What the maximum is multiplied by."""
        return 1 + Decimal(self.boost.permille) / 1000


@dataclass(frozen=True, slots=True)
class TenantDefinition:
    """A tenant as a person defined it.

    Attributes:
        id: Name in keys, events and the API. It stays in usage for ever, so it should say nothing about a person.
        timezone: IANA zone of its calendar windows.
        plan: Name of its plan; None = the stack's default plan, if there is one. See ``plans.py``.
        profiles: Profiles that it owns.
        limits: Its own limits, in order: beside those of its plan, or instead of one of the same name.
        principals: Canonical principals and patterns that call for it alone.
        name: What people call it, for lists only; forgotten by ``tenants erase``.
        fail_policy: What the API answers for it while the tables are down: ``open``, ``closed``, or None for the
            stack's default.
        removed_ms: When it was removed, or None.
        removes: Names of limits of its plan that it does not have.
        boosts: What was added to its limits for a time; also what is over, until ``boosting.py`` forgets it.
        is_whole: Whether ``limits`` and ``removes`` are known. False for a definition that was stored before they were
            kept: then all limits on its gauge are its own.
        revision: Of the stored definition that this one was made from; 0 = there was none.
        reserves: Whether it reserves every call, so that usage without a reservation is announced.
    """

    id: str
    timezone: str = DEFAULT_TIMEZONE
    plan: str | None = None
    profiles: tuple[ProfileReference, ...] = ()
    limits: tuple[Limit, ...] = ()
    principals: tuple[str, ...] = ()
    name: str | None = None
    fail_policy: str | None = None
    removed_ms: int | None = None
    removes: tuple[str, ...] = ()
    boosts: tuple[BoostGrant, ...] = ()
    is_whole: bool = True
    revision: int = field(default=0, compare=False)
    reserves: bool = False
