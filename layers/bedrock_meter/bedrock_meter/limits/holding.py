"""What reserving asks of the tables: one conditional hold on the gauge, and one item for each reservation."""

from dataclasses import dataclass
from typing import Protocol

from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.suspension import Suspension


class Busy(Exception):
    """The store met another writer, or a throttle: nothing was done, try again."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a reservation does to the gauge.

    Attributes:
        reservation: For whom.
        version: Of the layout that it was decided on.
        ceilings: Charges that must not be passed, by name: a missing one is 0.
        charges: What is added to charges.
        passed: Names of holds that have passed: removed by the way.
        suspension: What the gauge must hold of a suspension: the image's, which is over; None = there was none.
    """

    reservation: Reservation
    version: int
    ceilings: dict[str, int]
    charges: dict[str, int]
    passed: tuple[str, ...]
    suspension: Suspension | None = None


class ReservationStore(Protocol):
    """Gauges and reservations. Every call may raise ``Busy``."""

    def look(self, tenant: str, identity: str | None) -> tuple[Gauge | None, Reservation | None]:
        """Read the gauge, and the reservation of this id, consistently and in one request."""

    def find(self, tenant: str, identity: str) -> Reservation | None:
        """Read a reservation consistently."""

    def hold(self, hold: Hold) -> tuple[bool, Gauge | None]:
        """Hold on the gauge if nothing is in the way; returns whether it did, and the gauge as it is then.

        A lost reply may make it hold twice: too much is held then, never too little.
        """

    def put(self, reservation: Reservation) -> Reservation | None:
        """Write a reservation down; returns the one that is there already, whose nonce tells whose it is."""

    def give_back(self, reservation: Reservation) -> None:
        """Take from the gauge what was held for a reservation that was not written down, at most once."""

    def change(self, before: Reservation, after: Reservation, now_ms: int) -> Reservation | None:
        """Replace ``before`` and move what it holds, all or nothing.

        Returns:
            The reservation as it is: ``after``, or what is there instead of ``before``; None where there is none.
        """
