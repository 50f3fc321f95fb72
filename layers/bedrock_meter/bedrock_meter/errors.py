"""Every error that this package raises on purpose.

::

    MeterError
    ├── ConfigurationError      a setting or deployment is incomplete: fix it, then try again
    ├── InvalidDefinition       a tenant, limit or window that a person wrote is wrong: says what, where, what to do
    │   ├── UnknownPlan         ... because there is no plan of this name
    │   └── PlanUsed            ... because a tenant has the plan that was to be removed
    ├── UnreadablePayload       a whole subscription event cannot be opened (base64, gzip, size, JSON)
    ├── DeliverAgain            work is left over; the same input must be delivered again (safe: the ledger decides)
    │   └── OutOfTime           ... because the invocation's time is nearly used up
    ├── RepairUnderWay          another command rewrites entries or sums: says who, since when and until when
    ├── RepairLost              the repair lock was lost while a command worked: run it again
    ├── LeaseLost               another process changed a tenant's limits meanwhile: read them and try again
    ├── ProfileRefused          an application inference profile cannot be made or taken: says why
    │   └── ProfileQuotaFull    ... because the account may have no more of them in this Region
    ├── Contended               others were writing each time; nothing was done: try again
    ├── TooManyOpen             the tenant has as many reservations open as one may have: settle or release some
    ├── InvalidPosition         a place to go on from is none that was given out: begin anew
    ├── UnknownTenant           there is no tenant of this id
    ├── UnknownBoost            the tenant has no boost of this id
    ├── UnknownReservation      the tenant has no reservation of this id
    ├── KeyUsed                 the key belongs to a reservation of another estimate: take a new key
    ├── ForeignProfile          the profile that a call names is another tenant's
    ├── UnknownCost             a limit that denies what has no price, and an estimate without one: give its cost
    └── ...                     what the client's guard raises: ``client/errors.py``

Messages carry identifiers and numbers only, never the content of a record.
"""

from typing import Any


class MeterError(Exception):
    """Base of all errors of the meter."""


class ConfigurationError(MeterError):
    """A setting is missing or wrong. Nothing was done."""


class InvalidDefinition(MeterError):
    """Something that a person defined is not valid.

    Attributes:
        where: Path to the offending value, for example ``tenants[2].limits[0].window``.
        problem: What is wrong, and what would be right.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.where = where
        self.problem = problem

    def under(self, parent: str) -> "InvalidDefinition":
        """Return the same error seen from one level further out."""
        if not self.where:
            return InvalidDefinition(parent, self.problem)
        joint = "" if self.where.startswith("[") else "."
        return InvalidDefinition(f"{parent}{joint}{self.where}", self.problem)


class UnknownPlan(InvalidDefinition):
    """There is no plan of this name."""


class PlanUsed(InvalidDefinition):
    """A tenant has this plan: it stays."""


class UnreadablePayload(MeterError):
    """A subscription event whose envelope cannot be opened; ``reason`` is one of the quarantine reasons."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the log event's envelope cannot be read: {reason}")
        self.reason = reason


class DeliverAgain(MeterError):
    """Part of the input is not recorded yet. Whoever sent it must send it again; nothing is counted twice."""


class OutOfTime(DeliverAgain):
    """The invocation ends before the work does."""


class LeaseLost(MeterError):
    """A change of limits was overtaken: its lease ran out or somebody else changed the tenant first."""


class RepairUnderWay(MeterError):
    """Another command holds the repair lock, or has held it while sums were compared. Nothing was written."""


class RepairLost(MeterError):
    """The repair lock was lost. What was written until then is right; the rest is not done."""


class ProfileRefused(MeterError):
    """A profile cannot be made or taken for a tenant. Nothing of it is registered."""


class ProfileQuotaFull(ProfileRefused):
    """The service quota of inference profiles is used up: every further creation would be refused as well."""


class Contended(MeterError):
    """Other writers were faster each time. This is not an outage: try again."""


class TooManyOpen(MeterError):
    """A tenant has as many reservations open as one may have. Nothing was held.

    Attributes:
        most: How many that are.
        retry_after_ms: Until when the first of them will have expired, if none is settled or released before.
    """

    def __init__(self, tenant: str, most: int, retry_after_ms: int) -> None:
        super().__init__(f"{tenant} has {most} reservations open, and one may have no more: settle or release some")
        self.most = most
        self.retry_after_ms = retry_after_ms


class InvalidPosition(MeterError):
    """A place in a table to go on from, which came back from outside, cannot be one of that table. Nothing was read."""


class UnknownTenant(MeterError):
    """There is no tenant of this id, or it has no gauge yet."""


class UnknownBoost(MeterError):
    """The tenant has no boost of this id; one is forgotten with the next boost, one that was ended a day later."""


class UnknownReservation(MeterError):
    """The tenant has no reservation of this id; one is forgotten a day after it expired."""


class KeyUsed(MeterError):
    """The key belongs to a reservation that was asked for with another estimate, or as another kind.

    Attributes:
        reservation: Id of that reservation.
    """

    def __init__(self, why: str, reservation: str) -> None:
        super().__init__(why)
        self.reservation = reservation


class ForeignProfile(MeterError):
    """The profile that a call names belongs to another tenant. Nothing was held."""


class UnknownCost(MeterError):
    """A limit denies what has no price, and what the call costs at most is not known. Nothing was done.

    Attributes:
        destination: The call that it was decided for, a ``limits.destination.Destination``; None where nothing
            was named.
    """

    destination: Any = None
