"""A tenant that a person has stopped, whatever its limits say.

It stands on the gauge, where every decision looks anyway: a suspended tenant's answer is no, and its usage is recorded
as before, since what was used is used. Transitions are counted: an odd ordinal is a suspension, the even one after it
its end. Whoever announces them remembers the last ordinal that it announced; a suspension and its end that both happen
before it looks are both announced.

Two texts, for two readers. ``reason`` and who did it are the provider's own: administrators read them, and the log of
changes. ``public_reason`` is written for the tenant: its callers read it, and it goes into events, which leave our
reach.
"""

import json
from dataclasses import astuple, dataclass, replace
from typing import Any

from bedrock_meter.clock import iso

MAXIMUM_REASON = 200


@dataclass(frozen=True, slots=True)
class Suspension:
    """The last suspension of a tenant, in force or over.

    Attributes:
        ordinal: Transitions so far; odd while in force.
        reason: Why, in a person's words, at most 200 characters.
        since_ms: From when on.
        by: Who suspended: the caller's ARN, or the name given.
        resumed_ms: When it ended, or None.
        resumed_by: Who ended it, or empty.
        public_reason: What the tenant may read, at most 200 characters; empty = nothing.
    """

    ordinal: int
    reason: str
    since_ms: int
    by: str
    resumed_ms: int | None = None
    resumed_by: str = ""
    public_reason: str = ""

    @property
    def is_in_force(self) -> bool:
        """Whether the tenant may not call now."""
        return self.ordinal % 2 == 1

    def encode(self) -> str:
        """Return the text that the gauge holds."""
        return json.dumps(astuple(self), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> "Suspension":
        """Inverse of ``encode``."""
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class SuspensionTransition:
    """One change that is worth an event.

    Attributes:
        ordinal: Which transition of the tenant it is.
        suspension: What it belongs to.
    """

    ordinal: int
    suspension: Suspension

    @property
    def is_start(self) -> bool:
        """Whether the tenant was stopped by it, and not let go."""
        return self.ordinal % 2 == 1


def suspend(
    present: Suspension | None, reason: str, by: str, now_ms: int, public_reason: str = ""
) -> Suspension | None:
    """Return what the gauge is to hold; None where the tenant is suspended already (its reasons stay)."""
    if present is not None and present.is_in_force:
        return None
    ordinal = (present.ordinal if present else 0) + 1
    return Suspension(ordinal, reason[:MAXIMUM_REASON], now_ms, by, public_reason=public_reason[:MAXIMUM_REASON])


def resume(present: Suspension | None, by: str, now_ms: int) -> Suspension | None:
    """Return what the gauge is to hold; None where the tenant is not suspended."""
    if present is None or not present.is_in_force:
        return None
    return replace(present, ordinal=present.ordinal + 1, resumed_ms=now_ms, resumed_by=by)


def unannounced(announced: int, present: Suspension | None) -> tuple[SuspensionTransition, ...]:
    """Return the transitions after the one with the ordinal ``announced``, oldest first.

    The gauge holds the last suspension only: one that had ended, with its end, before anybody looked and another one
    began is not among them.
    """
    if present is None:
        return ()
    first = present.ordinal if present.is_in_force else present.ordinal - 1
    return tuple(
        SuspensionTransition(ordinal, present) for ordinal in range(max(first, announced + 1), present.ordinal + 1)
    )


def suspension_document(present: Suspension | None) -> dict[str, Any] | None:
    """Return ``{reason, public_reason, since, by}``, for administrators, while a suspension is in force, else None."""
    shown = public_suspension_document(present)
    if present is None or shown is None:
        return None
    return {"reason": present.reason, **shown, "by": present.by}


def public_suspension_document(present: Suspension | None) -> dict[str, Any] | None:
    """Return ``{public_reason, since}``, for the tenant's callers, while a suspension is in force, else None.

    ``public_reason`` is None where nobody wrote one.
    """
    if present is None or not present.is_in_force:
        return None
    return {"public_reason": present.public_reason or None, "since": iso(present.since_ms)}
