"""The routes' ``Reservations`` over ``limits/reserving.py``: kinds become meters, and what was asked for is kept.

Three facts: what a reservation was asked for lies beside it as a text that only this module reads, so that the same key
with another content is told from a repetition, and a reservation can be shown later as it was asked for; a profile is
looked up before anything is held, so that a failed look-up holds nothing; all that a reservation needs is loaded with
the first one, so that a function that only answers quotas does not pay for it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bedrock_meter.api.reservations import Denied, HeldAmount, KeyUsed, Reserved, Status, Wanted
from bedrock_meter.errors import Contended, UnknownReservation, UnknownTenant
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.holds import hold_key
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.limits.status import limit_status
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code

if TYPE_CHECKING:
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
        """See ``Reservations``. The model is the one stated, else that of the profile stated."""
        profile = self._profile(tenant, wanted.model, wanted.profile)
        model = wanted.model or (profile.model if profile is not None else None)
        amounts = _amounts(wanted.estimate, model)
        try:
            answer = self._reserving.reserve(
                tenant,
                amounts,
                key=wanted.key,
                lifetime_ms=wanted.ttl_ms,
                is_lease=wanted.kind == "lease",
                request=_text(wanted, now_ms),
            )
        except UnknownTenant:
            return None
        except Contended as contended:
            raise _cause(contended) from contended
        if answer.reservation is None:
            return _denied(answer, amounts, now_ms)
        held = _reserved(answer.reservation, answer.gauge, profile, now_ms, is_new=answer.is_new)
        if not answer.is_new and (held.status != "open" or _content(answer.reservation) != _content_of(wanted)):
            raise KeyUsed(held.status)
        return held

    def load(self, tenant: str, reservation: str, now_ms: int) -> Reserved | None:
        """See ``Reservations``."""
        found = self._look(tenant, reservation)
        return None if found is None else self._shown(*found, now_ms)

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> Reserved | None:
        """See ``Reservations``. A sum of kinds counts the kinds that ``usage`` leaves out as they were estimated."""
        found = self._look(tenant, reservation)
        if found is None:
            return None
        held, gauge = found
        asked = _asked(held)
        model = asked.get("model") or self._model_of(tenant, asked.get("profile"))
        amounts = _amounts({**asked.get("estimate", {}), **usage}, model)
        try:
            held = self._reserving.shrink(tenant, reservation, amounts, lifetime_ms=extend_ms, known=held)
        except UnknownReservation:
            return None
        except Contended as contended:
            raise _cause(contended) from contended
        return self._shown(held, gauge, now_ms)

    def release(self, tenant: str, reservation: str, now_ms: int) -> bool:
        """See ``Reservations``."""
        found = self._look(tenant, reservation)
        if found is None:
            return False
        held, _ = found
        if held.is_open(now_ms):
            try:
                self._reserving.release(tenant, reservation, known=held)
            except UnknownReservation:
                return False
            except Contended as contended:
                raise _cause(contended) from contended
        return True

    def _look(self, tenant: str, reservation: str) -> tuple["Reservation", Gauge] | None:
        try:
            gauge, held = self._reserving.look(tenant, reservation)
        except UnknownTenant:
            return None
        except Contended as contended:
            raise _cause(contended) from contended
        return None if held is None else (held, gauge)

    def _shown(self, held: "Reservation", gauge: Gauge, now_ms: int) -> Reserved:
        asked = _asked(held)
        return _reserved(held, gauge, self._profile(tenant=held.tenant, **_named(asked)), now_ms)

    def _model_of(self, tenant: str, profile: str | None) -> str | None:
        found = self._profile(tenant, None, profile)
        return None if found is None else found.model

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


def _amounts(kinds: Mapping[str, int], model: str | None) -> dict[Meter, int]:
    """Return amounts by meter. Without a cost, nothing is held under limits of cost: they must have room left."""
    from bedrock_meter.invocations.record import TokenCounts
    from bedrock_meter.limits.counting import weighted
    from bedrock_meter.limits.reservations import amounts_of

    tokens = TokenCounts(
        kinds.get("input_tokens", 0),
        kinds.get("output_tokens", 0),
        kinds.get("cache_read_tokens", 0),
        kinds.get("cache_write_tokens", 0),
    )
    amounts = amounts_of(tokens, kinds.get("requests", 1))
    amounts[Meter.WEIGHTED_TOKENS] = weighted(model or NO_MODEL, tokens)
    if "cost_nano_usd" in kinds:
        amounts[Meter.COST_USD] = kinds["cost_nano_usd"]
    return amounts


def _text(wanted: Wanted, now_ms: int) -> str:
    return json.dumps({**_content_of(wanted), "created_ms": now_ms}, separators=(",", ":"))


def _content_of(wanted: Wanted) -> dict[str, Any]:
    return {
        "key": wanted.key,
        "estimate": dict(wanted.estimate),
        "ttl_ms": wanted.ttl_ms,
        "kind": wanted.kind,
        "model": wanted.model,
        "profile": wanted.profile,
    }


def _asked(held: "Reservation") -> dict[str, Any]:
    """What a reservation was asked for; empty where it was not made over the API."""
    found = json.loads(held.request) if held.request else {}
    return found if isinstance(found, dict) else {}


def _content(held: "Reservation") -> dict[str, Any]:
    return {name: value for name, value in _asked(held).items() if name != "created_ms"}


def _named(asked: Mapping[str, Any]) -> dict[str, str | None]:
    return {"model": asked.get("model"), "profile": asked.get("profile")}


def _reserved(
    held: "Reservation",
    gauge: Gauge | None,
    profile: "ProfileReference | None",
    now_ms: int,
    *,
    is_new: bool = False,
) -> Reserved:
    asked = _asked(held)
    status: Status = "expired" if held.status == "open" and not held.is_open(now_ms) else held.status
    amounts = {(one.key, one.meter): one.amount for one in held.held}
    limits = gauge.layout.limits if gauge is not None else ()
    named = [(one.limit.name, one.meter, amounts.get((hold_key(one), one.meter))) for one in limits]
    return Reserved(
        id=held.id,
        key=asked.get("key"),
        kind="lease" if held.is_lease else "call",
        status=status,
        estimate=asked.get("estimate", {}),
        amounts=tuple(HeldAmount(name, str(meter), amount) for name, meter, amount in named if amount is not None),
        created_ms=asked.get("created_ms"),
        expires_ms=held.expires_ms,
        model=asked.get("model"),
        profile=None if profile is None else (profile.id, profile.arn if profile.arn.startswith("arn:") else None),
        is_new=is_new,
        gauge=gauge,
    )


def _denied(answer: "Answer", amounts: Mapping[Meter, int], now_ms: int) -> Denied:
    from bedrock_meter.limits.reservations import needed

    reading, decision = answer.denied_by, answer.decision
    if reading is None or decision is None:
        raise TypeError("a denial names the limit that denies")
    wait_ms = decision.retry_after_ms
    until_ms = None if wait_ms is None else now_ms + wait_ms
    return Denied(limit_status(reading), needed(reading.limit, amounts), until_ms, answer.gauge)


def _cause(contended: Contended) -> Exception:
    """Return the throttle that was in the way to the end, which is an outage; another writer is none."""
    busy = contended.__cause__
    error = busy.__cause__ if busy is not None else None
    return error if isinstance(error, AWS_ERRORS) and error_code(error) in _THROTTLED else contended
