"""The routes' ``Reservations`` over ``limits/reserving.py``.

Three facts: a profile is looked up before anything is held, so that a failed look-up holds nothing; where only the
profile is stated, its model is the one that the tenant's definition names; all that a reservation needs is loaded with
the first one, so that a function that only answers quotas does not pay for it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from bedrock_meter.api.reservations import Denied, HeldAmount, KeyUsed, Reserved, Status, Wanted
from bedrock_meter.errors import Contended, UnknownReservation, UnknownTenant
from bedrock_meter.errors import KeyUsed as KeyTaken
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.limits.status import limit_status
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code

if TYPE_CHECKING:
    from bedrock_meter.limits.gauge import Gauge
    from bedrock_meter.limits.reservations import Reservation
    from bedrock_meter.limits.reserving import Answer
    from bedrock_meter.limits.reserving import Reservations as Reserving
    from bedrock_meter.tenants.tenant import ProfileReference

_THROTTLED = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})


class Holding:
    """``Reservations`` of the routes."""

    def __init__(
        self, reserving: Callable[[], "Reserving"], profiles_of: Callable[[str], Sequence["ProfileReference"]]
    ) -> None:
        """Load nothing yet.

        Args:
            reserving: Makes what holds; called once, with the first request.
            profiles_of: Reads the profiles of a tenant; none for one that is not there.
        """
        self._make = reserving
        self._profiles_of = profiles_of

    @cached_property
    def _reserving(self) -> "Reserving":
        return self._make()

    def reserve(self, tenant: str, wanted: Wanted, now_ms: int) -> Reserved | Denied | None:
        """See ``Reservations``. The content of a key is the estimate, the model, the profile and the kind."""
        from bedrock_meter.limits.estimates import Estimate

        profile = self._profile(tenant, wanted.model, wanted.profile)
        model = wanted.model or (NO_MODEL if profile is None else profile.model)
        estimate = Estimate(**wanted.estimate, model=model, profile=wanted.profile or "")
        try:
            answer = self._reserving.reserve(
                tenant, estimate, key=wanted.key, lifetime_ms=wanted.ttl_ms, is_lease=wanted.kind == "lease"
            )
        except UnknownTenant:
            return None
        except KeyTaken as taken:
            raise KeyUsed(self._status_under(tenant, wanted.key, now_ms)) from taken
        except Contended as contended:
            raise _cause(contended) from contended
        if answer.reservation is None:
            return _denied(answer, now_ms)
        held = _reserved(answer.reservation, profile, now_ms, is_new=answer.is_new, gauge=answer.gauge)
        if held.status != "open":
            raise KeyUsed(held.status)
        return held

    def load(self, tenant: str, reservation: str, now_ms: int) -> Reserved | None:
        """See ``Reservations``."""
        return self._shown(lambda: self._reserving.load(tenant, reservation), now_ms)

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> Reserved | None:
        """See ``Reservations``. A sum of kinds counts the kinds that ``usage`` leaves out as they were estimated."""
        return self._shown(lambda: self._reserving.shrink(tenant, reservation, usage, lifetime_ms=extend_ms), now_ms)

    def release(self, tenant: str, reservation: str, now_ms: int) -> bool:
        """See ``Reservations``."""
        try:
            held = self._reserving.load(tenant, reservation)
            if held.is_open(now_ms):
                self._reserving.release(tenant, reservation, known=held)
        except UnknownReservation:
            return False
        except Contended as contended:
            raise _cause(contended) from contended
        return True

    def _shown(self, find: "Callable[[], Reservation]", now_ms: int) -> Reserved | None:
        try:
            held = find()
        except UnknownReservation:
            return None
        except Contended as contended:
            raise _cause(contended) from contended
        asked = held.estimate
        profile = self._profile(held.tenant, None if asked.model == NO_MODEL else asked.model, asked.profile or None)
        return _reserved(held, profile, now_ms)

    def _status_under(self, tenant: str, key: str, now_ms: int) -> Status:
        from bedrock_meter.limits.reservations import reservation_id

        found = self.load(tenant, reservation_id(tenant, key), now_ms)
        return "open" if found is None else found.status

    def _profile(self, tenant: str, model: str | None, profile: str | None) -> "ProfileReference | None":
        """Return the tenant's profile that a call goes through: the one stated, else the first one for the model."""
        if profile is None and model is None:
            return None
        from bedrock_meter.pricing.models import base_model

        for one in self._profiles_of(tenant):
            if profile is not None:
                if one.id == profile.rpartition("/")[2]:
                    return one
            elif model is not None and base_model(one.model).model == base_model(model).model:
                return one
        return None


def _reserved(
    held: "Reservation",
    profile: "ProfileReference | None",
    now_ms: int,
    *,
    is_new: bool = False,
    gauge: "Gauge | None" = None,
) -> Reserved:
    from bedrock_meter.limits.estimates import KINDS

    asked = held.estimate
    estimate = {kind: getattr(asked, kind) for kind in KINDS}
    return Reserved(
        id=held.id,
        key=held.key or None,
        kind="lease" if held.is_lease else "call",
        status="expired" if held.status == "open" and not held.is_open(now_ms) else held.status,
        estimate={kind: amount for kind, amount in estimate.items() if amount},
        amounts=tuple(HeldAmount(name, str(one.meter), one.amount) for one in held.held for name in one.limits),
        created_ms=held.created_ms,
        expires_ms=held.expires_ms,
        model=None if asked.model == NO_MODEL else asked.model,
        profile=None if profile is None else (profile.id, profile.arn if profile.arn.startswith("arn:") else None),
        is_new=is_new,
        gauge=gauge,
    )


def _denied(answer: "Answer", now_ms: int) -> Denied:
    decision, reading = answer.decision, answer.denied_by
    if decision is not None and decision.suspended is not None:
        return Denied(None, 0, None, answer.gauge)
    if reading is None or decision is None:
        raise TypeError("a denial names the limit that denies")
    until_ms = None if decision.retry_after_ms is None else now_ms + decision.retry_after_ms
    return Denied(limit_status(reading, now_ms), decision.needs, until_ms, answer.gauge)


def _cause(contended: Contended) -> Exception:
    """Return the throttle that was in the way to the end, which is an outage; another writer is none."""
    busy = contended.__cause__
    error = busy.__cause__ if busy is not None else None
    return error if isinstance(error, AWS_ERRORS) and error_code(error) in _THROTTLED else contended
