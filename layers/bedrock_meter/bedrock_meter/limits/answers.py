"""What a request for a reservation leads to."""

from dataclasses import dataclass

from bedrock_meter.errors import KeyUsed
from bedrock_meter.limits.destination import Called, Destination
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, Reading
from bedrock_meter.limits.reservations import Decision, Reservation, is_same_question


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request for a reservation.

    Attributes:
        reservation: The reservation; None when denied.
        decision: Why; None where the reservation was there already.
        is_new: Whether this request made it.
        gauge: The gauge as it was seen last.
        destination: The call that it was decided for; None where the caller named none.
    """

    reservation: Reservation | None
    decision: Decision | None = None
    is_new: bool = False
    gauge: Gauge | None = None
    destination: Destination | None = None

    @property
    def denied_by(self) -> Reading | None:
        """The limit that denied it; None also where the tenant is suspended (``decision.suspended``)."""
        return self.decision.denied_by if self.decision is not None else None


def through(destination: Destination | None) -> str:
    """Return the ARN or id of the profile that a call goes through; empty where it goes through none."""
    return "" if destination is None or destination.through is None else destination.through.arn


def again(
    existing: Reservation,
    asked: Estimate,
    called: Called | None,
    gauge: Gauge,
    destination: Destination | None,
    *,
    is_lease: bool,
) -> Answer:
    """Return what a key that was used before leads to.

    Raises:
        KeyUsed: It belongs to a reservation that was asked for differently.
    """
    if not is_same_question(existing, asked, called, is_lease=is_lease):
        raise KeyUsed(
            f"{existing.tenant}: the key belongs to reservation {existing.id}, which was asked for differently",
            existing.id,
        )
    return Answer(existing, gauge=gauge, destination=destination)
