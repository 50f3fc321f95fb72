"""Reservations over HTTP: hold an amount before a call, shrink it to what was used, give it back.

What holds, and how exactly, is the business of whoever implements ``Reservations``; here is what a request may say,
which status answers it, and what happens when the storage is down.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api import estimates
from bedrock_meter.api.answers import json_answer, no_content
from bedrock_meter.api.outage import FailPolicies
from bedrock_meter.api.problems import Problem, invalid, tenant_not_found, unavailable
from bedrock_meter.api.quota import quota_unknown
from bedrock_meter.api.requests import body_bytes, json_object, matching, query, refuse_unknown, whole_number
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.clock import iso
from bedrock_meter.errors import Contended, UnknownCost
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.gauge import Gauge
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.status import rate_limit_headers
from bedrock_meter.money import usd_text
from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, failure_name
from bedrock_meter.storage.gauges import CONFLICT

KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")
ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,511}")
KINDS = ("call", "lease")
SHORTEST_S, LONGEST_S, DEFAULT_S = 10, 3_600, 300
PAUSES_MS = (25, 50, 100, 200, 400)
"""Before another attempt after a transaction conflict, at most, with full jitter: other writers, no outage."""

Status = Literal["open", "settled", "released", "expired"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to hold something.

    Attributes:
        key: The client's idempotency key: the same key with the same content is the same reservation.
        estimate: Amounts by kind, see ``estimates.Estimate``.
        ttl_ms: For how long.
        kind: ``call``, or ``lease``: a block for many calls, which no log record frees.
        model: Base model that is to be called, where the caller says so.
        profile: Application inference profile that is to be called, where the caller says so.
    """

    key: str
    estimate: Mapping[str, int]
    ttl_ms: int
    kind: str = "call"
    model: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class HeldAmount:
    """What a reservation holds of one limit."""

    limit: str
    meter: str
    amount: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation, open or over.

    Attributes:
        id: What goes into ``requestMetadata``.
        is_new: False where the same request had been made before.
        key: None where its maker had none.
        profile: ``(id, ARN)`` of the tenant's profile for the model, where there is one; the ARN is None where its
            definition names the id alone.
        gauge: The tenant's gauge as it was seen last, where it was seen.
    """

    id: str
    key: str | None
    kind: str
    status: Status
    estimate: Mapping[str, int]
    amounts: tuple[HeldAmount, ...]
    created_ms: int
    expires_ms: int
    model: str | None = None
    profile: tuple[str, str | None] | None = None
    is_new: bool = True
    gauge: Gauge | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """No room: the most restrictive limit, and how much of it the request wanted.

    Attributes:
        limit: ``{name, meter, window, max, used, reserved, remaining}``; None for a suspended tenant.
        requested: In the limit's meter.
        throttled_until_ms: When the request may fit if nothing more is used; None where waiting does not help.
        gauge: What the decision was made of, for the ``RateLimit`` headers.
    """

    limit: Mapping[str, Any] | None
    requested: int
    throttled_until_ms: int | None
    gauge: Gauge | None = None


class KeyUsed(Exception):
    """The key belongs to a reservation with another content, or to one that is over.

    Attributes:
        status: Status of that reservation.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Reservations(Protocol):
    """Who holds amounts. Errors of the storage pass through as botocore raises them.

    Whatever changes something may raise ``Contended``: others were writing each time.
    """

    def reserve(self, tenant: str, wanted: Wanted, now_ms: int) -> Reserved | Denied | None:
        """Hold an amount; None if there is no such tenant. The same again gives the same reservation.

        Raises:
            KeyUsed: The key is taken by something else.
            UnknownCost: A hard limit in US dollars may be touched, and nobody knows what the call costs at most.
        """

    def load(self, tenant: str, reservation: str, now_ms: int) -> Reserved | None:
        """Return a reservation; None if the tenant has none of this id."""

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> Reserved | None:
        """Lower what an open reservation holds to ``usage``; kinds that are missing stay, and nothing is ever raised.

        With ``extend_ms`` it lives until ``now_ms + extend_ms`` at least. One that is over stays as it is. None if the
        tenant has none of this id.
        """

    def release(self, tenant: str, reservation: str, now_ms: int) -> bool:
        """Give back what an open reservation holds; False if unknown. One that is over stays as it is."""


def add_reservations(
    api: Resolver,
    reservations: Reservations,
    policies: FailPolicies,
    *,
    failed: Callable[[str], None],
    degraded: Callable[[], None],
    now: Callable[[], int],
    pause: Callable[[float], None],
) -> None:
    """Add the routes.

    Args:
        api: Gets them.
        reservations: Who holds.
        policies: What to answer when that fails.
        failed: Told the error code when the storage failed.
        degraded: Told when a call was allowed without a reservation.
        now: Current time in milliseconds.
        pause: Waits for some seconds, between attempts after a conflict.
    """

    def attempt(send: Callable[[], T]) -> T:
        for pause_ms in PAUSES_MS:
            try:
                return send()
            except AWS_ERRORS as error:
                if not _is_conflict(error):
                    raise
                pause(random.uniform(0, pause_ms) / 1_000)
        return send()

    def others_were_faster(error: Exception) -> Problem:
        failed(failure_name(error))
        return unavailable("Many others reserve for this tenant at the moment. Try again.")

    def asked(send: Callable[[], T]) -> T:
        try:
            return attempt(send)
        except Contended as contended:
            raise others_were_faster(contended) from contended
        except AWS_ERRORS as error:
            failed(failure_name(error))
            raise unavailable("The reservation cannot be read or changed at the moment. Try again.") from error

    @api.routes.post("/v1/tenants/<tenant>/reservations")
    def reserve(tenant: str) -> Response:  # type: ignore[type-arg]
        tenant = api.tenant(tenant)
        query(api.event, ())
        wanted, source = _wanted(body_bytes(api.event))
        now_ms = now()
        try:
            answer = attempt(lambda: reservations.reserve(tenant, wanted, now_ms))
        except KeyUsed as used:
            raise _conflict(used) from used
        except UnknownCost as unknown:
            detail = "must be given: a hard limit in US dollars may be touched, and the model has no price"
            raise invalid("estimate.cost_usd", detail) from unknown
        except Contended as contended:
            raise others_were_faster(contended) from contended
        except AWS_ERRORS as error:
            if _is_conflict(error):
                raise others_were_faster(error) from error
            failed(failure_name(error))
            if not policies.allows(tenant, error):
                raise quota_unknown() from error
            degraded()
            document = _document(tenant, _unheld(wanted, now_ms), source=source, is_degraded=True)
            return json_answer(document, 201)
        if answer is None:
            policies.forget(tenant)
            raise tenant_not_found()
        if answer.gauge is not None:
            policies.remember(tenant, answer.gauge.fail_policy)
        if isinstance(answer, Denied):
            raise _denial(tenant, answer, now_ms)
        location = {"Location": f"/v1/tenants/{tenant}/reservations/{answer.id}"} if answer.is_new else {}
        return json_answer(_document(tenant, answer, source=source), 201 if answer.is_new else 200, location)

    @api.routes.get("/v1/tenants/<tenant>/reservations/<reservation>")
    def load(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        found = asked(lambda: reservations.load(tenant, reservation, now()))
        if found is None:
            raise _not_found()
        return json_answer(_document(tenant, found))

    @api.routes.post("/v1/tenants/<tenant>/reservations/<reservation>/settlement")
    def settle(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        body = json_object(body_bytes(api.event))
        refuse_unknown("", body, ("usage", "extend_seconds"))
        usage = estimates.stated(body.get("usage"), "usage", is_usage=True)
        extend_s = body.get("extend_seconds")
        if extend_s is not None:
            extend_s = whole_number("extend_seconds", extend_s, SHORTEST_S, LONGEST_S)
        extend_ms = None if extend_s is None else extend_s * 1_000
        found = asked(lambda: reservations.shrink(tenant, reservation, usage, extend_ms, now()))
        if found is None:
            raise _not_found()
        return json_answer(_document(tenant, found))

    @api.routes.delete("/v1/tenants/<tenant>/reservations/<reservation>")
    def release(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        if not asked(lambda: reservations.release(tenant, reservation, now())):
            raise _not_found()
        return no_content()


def _wanted(content: bytes) -> tuple[Wanted, str]:
    body = json_object(content)
    refuse_unknown("", body, ("key", "model", "profile", "estimate", "converse", "ttl_seconds", "kind"))
    if ("estimate" in body) == ("converse" in body):
        raise invalid("estimate", "send either 'estimate' or 'converse'")
    if "estimate" in body:
        estimate, source = estimates.stated(body["estimate"], "estimate"), estimates.STATED
    else:
        estimate, source = estimates.from_converse(body["converse"], len(content)), estimates.FROM_BYTES
    kind = body.get("kind", "call")
    if kind not in KINDS:
        raise invalid("kind", f"must be one of {', '.join(KINDS)}")
    wanted = Wanted(
        key=matching("key", body.get("key"), KEY, "1 to 64 letters, digits, '.', '_', ':' or '-'"),
        estimate=estimate,
        ttl_ms=whole_number("ttl_seconds", body.get("ttl_seconds", DEFAULT_S), SHORTEST_S, LONGEST_S) * 1_000,
        kind=kind,
        model=_name("model", body.get("model")),
        profile=_name("profile", body.get("profile")),
    )
    return wanted, source


def _name(where: str, value: object) -> str | None:
    return None if value is None else matching(where, value, NAME, "the id or ARN of a model or profile")


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise _not_found()
    return text


def _unheld(wanted: Wanted, now_ms: int) -> Reserved:
    """What stands for a reservation that could not be made: it holds nothing and has no id."""
    return Reserved(
        "", wanted.key, wanted.kind, "open", wanted.estimate, (), now_ms, now_ms + wanted.ttl_ms, wanted.model
    )


def _document(tenant: str, held: Reserved, *, source: str | None = None, is_degraded: bool = False) -> dict[str, Any]:
    estimate: dict[str, Any] = dict(held.estimate)
    if "cost_nano_usd" in estimate:
        estimate["cost_usd"] = usd_text(estimate.pop("cost_nano_usd"))
    profile = None if held.profile is None else {"id": held.profile[0], "arn": held.profile[1]}
    return {
        "id": held.id or None,
        "tenant": tenant,
        "key": held.key,
        "kind": held.kind,
        "status": held.status,
        "model": held.model,
        "profile": profile,
        "estimate": estimate,
        **({} if source is None else {"estimate_source": source}),
        "amounts": [
            {"limit": one.limit, "meter": one.meter, "amount": Meter(one.meter).shown(one.amount)}
            for one in held.amounts
        ],
        "created_at": iso(held.created_ms),
        "expires_at": iso(held.expires_ms),
        **({"allowed": True} if is_degraded else {}),
        "degraded": is_degraded,
        "metadata": {RESERVATION_KEY: held.id} if held.id else {},
    }


def _denial(tenant: str, denied: Denied, now_ms: int) -> Problem:
    if denied.limit is None:
        return Problem(
            429, "Tenant suspended", "The tenant is suspended; waiting does not help.", tenant=tenant,
            retry_after_seconds=None,
        )  # fmt: skip
    until_ms = denied.throttled_until_ms
    retry_s = None if until_ms is None else max(1, -(-(until_ms - now_ms) // 1_000))
    requested = Meter(denied.limit["meter"]).shown(denied.requested)
    headers = rate_limit_headers(denied.gauge, now_ms) if denied.gauge is not None else {}
    headers.pop("Retry-After", None)
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    return Problem(
        429,
        "Quota exceeded",
        f"Limit {denied.limit['name']} has no room for {requested}.",
        headers=headers,
        tenant=tenant,
        limit=dict(denied.limit),
        requested=requested,
        retry_after_seconds=retry_s,
        throttled_until=iso(until_ms),
    )


def _conflict(used: KeyUsed) -> Problem:
    detail = "The key was used with another content." if used.status == "open" else f"Its reservation is {used.status}."
    return Problem(409, "Key already used", f"{detail} Take a new key for a new reservation.", reservation=used.status)


def _not_found() -> Problem:
    return Problem(404, "Reservation not found", "The tenant has no such reservation.")


def _is_conflict(error: Exception) -> bool:
    return error_code(error) == CONFLICT or _cancelled_by_conflict(error)


def _cancelled_by_conflict(error: Exception) -> bool:
    """Whether a transaction was cancelled for nothing but conflicts."""
    if error_code(error) != "TransactionCanceledException":
        return False
    reasons = [one.get("Code") for one in getattr(error, "response", {}).get("CancellationReasons", [])]
    return bool(reasons) and set(reasons) <= {"None", "TransactionConflict"} and "TransactionConflict" in reasons
