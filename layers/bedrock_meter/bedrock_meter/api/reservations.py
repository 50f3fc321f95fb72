"""Reservations over HTTP: hold an amount before a call, shrink it to what was used, give it back.

What holds, and how exactly, is the business of ``limits/reserving.py``; here is what a request may say, which status
answers it, and what happens when the storage is down. All that a reservation needs is loaded with the first one, so
that a function that only answers quotas does not pay for it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api import estimates
from bedrock_meter.api.answers import json_answer, no_content
from bedrock_meter.api.outage import FailPolicies, storage_failed, tenant_busy
from bedrock_meter.api.problems import Problem, foreign_profile, invalid, tenant_not_found, too_many_open, unavailable
from bedrock_meter.api.quota import quota_unknown
from bedrock_meter.api.requests import body_bytes, json_object, matching, query, refuse_unknown, whole_number
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.unpriced import UnpricedUsage
from bedrock_meter.errors import (
    Contended,
    ForeignProfile,
    InvalidDefinition,
    KeyUsed,
    TooManyOpen,
    UnknownCost,
    UnknownReservation,
    UnknownTenant,
)
from bedrock_meter.storage.dynamodb import AWS_ERRORS, failure_name, is_throttle

if TYPE_CHECKING:
    from bedrock_meter.limits.answers import Answer
    from bedrock_meter.limits.estimates import Estimate
    from bedrock_meter.limits.reserving import Reservations as Service

KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")
ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,511}")
REGION = re.compile(r"[a-z]{2,5}(?:-[a-z0-9]{1,16}){1,4}")
CALL, LEASE = "call", "lease"
KINDS = (CALL, LEASE)
TIERS = ("default", "flex", "priority", "reserved")
SHORTEST_S, LONGEST_S, DEFAULT_S = 10, 3_600, 300

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks to be held.

    Attributes:
        key: The client's idempotency key: the same key with the same content is the same reservation.
        amounts: By kind, see ``estimates.Estimate``.
        source: Where the amounts come from: ``stated`` or ``converse-bytes``.
        ttl_ms: For how long.
        kind: ``call``, or ``lease``: a block for many calls, which no log record frees.
        model: What is to be called, as the caller names it; empty = it does not say.
        profile: Application inference profile that is to be called; empty = it does not say.
        region: Region of the caller's client; empty = it does not say.
        tier: Service tier that is asked for; None = the default one.
    """

    key: str
    amounts: estimates.Estimate
    source: str
    ttl_ms: int
    kind: str
    model: str
    profile: str
    region: str
    tier: str | None

    def estimate(self) -> "Estimate":
        """Return the amounts as the service takes them."""
        from bedrock_meter.limits.estimates import Estimate

        stated: dict[str, Any] = dict(self.amounts)
        return Estimate(**stated, tier=self.tier)


class Desk:
    """The service behind the routes, made with the first request, and what is said when its storage fails."""

    def __init__(
        self,
        make: "Callable[[], Service]",
        policies: FailPolicies,
        unpriced: UnpricedUsage,
        *,
        failed: Callable[[str], None],
        degraded: Callable[[], None],
        now: Callable[[], int],
    ) -> None:
        """Make nothing yet.

        Args:
            make: Makes the service.
            policies: What to answer when the storage fails.
            unpriced: Says which usage without a price denies.
            failed: Told the error code when it failed.
            degraded: Told when a call was allowed without a reservation.
            now: Current time in milliseconds.
        """
        self._make = make
        self.unpriced = unpriced
        self.now = now
        self._policies = policies
        self._failed = failed
        self._degraded = degraded

    @cached_property
    def service(self) -> "Service":
        """The service."""
        return self._make()

    def reserve(self, tenant: str, question: Question) -> "Answer | None":
        """Ask for a reservation; None where the storage is down and the tenant's policy lets its calls go on.

        Raises:
            Problem: What is wrong with the question, or that it cannot be answered.
        """
        from bedrock_meter.limits.destination import Called

        called = Called(question.model, question.profile, question.region)
        try:
            answer = self.service.reserve(
                tenant,
                question.estimate(),
                called=called,
                key=question.key,
                lifetime_ms=question.ttl_ms,
                is_lease=question.kind == LEASE,
            )
        except UnknownTenant as unknown:
            self._policies.forget(tenant)
            raise tenant_not_found() from unknown
        except KeyUsed as used:
            raise self.key_used(tenant, used.reservation) from used
        except UnknownCost as unknown:
            raise self._unknown_cost(unknown) from unknown
        except ForeignProfile as foreign:
            raise foreign_profile() from foreign
        except TooManyOpen as full:
            raise too_many_open(tenant, full.most, max(1, -(-full.retry_after_ms // 1_000))) from full
        except InvalidDefinition as wrong:
            raise invalid(wrong.where, wrong.problem) from wrong
        except (Contended, *AWS_ERRORS) as error:
            cause = _cause(error)
            busy = tenant_busy(cause)
            if busy is not None:
                raise busy from error
            self._failed(failure_name(cause))
            if isinstance(cause, Contended):
                raise unavailable("Many others reserve for this tenant at the moment. Try again.") from error
            if not self._policies.allows(tenant, cause):
                raise quota_unknown() from error
            self._degraded()
            return None
        if answer.gauge is not None:
            self._policies.remember(tenant, answer.gauge.fail_policy)
        return answer

    @staticmethod
    def _unknown_cost(unknown: UnknownCost) -> Problem:
        from bedrock_meter.api.holdings import available_profiles

        field = "estimate.cost_usd"
        detail = (
            f"{field}: must be given: a limit in US dollars that denies unpriced calls may be touched, and the call"
        )
        if unknown.destination is None or unknown.destination.through is not None:
            return Problem(400, "Invalid request", f"{detail} has no price", field=field)
        return Problem(
            400, "Invalid request", f"{detail}, which goes through no profile of the tenant, has no price", field=field,
            **available_profiles(unknown.destination),
        )  # fmt: skip

    def fail(self, answer: "Answer") -> str | None:
        """Return what the tenant's calls are to do while its quota cannot be told; None where that is not known."""
        return None if answer.gauge is None else self._policies.effective(answer.gauge)

    def asked(self, tenant: str, send: Callable[[], T]) -> T:
        """Read or change a reservation.

        Raises:
            Problem: There is none, or the storage cannot be asked.
        """
        try:
            return send()
        except UnknownReservation as unknown:
            raise not_found() from unknown
        except InvalidDefinition as wrong:
            raise invalid(wrong.where, wrong.problem) from wrong
        except (Contended, *AWS_ERRORS) as error:
            detail = "The reservation cannot be read or changed at the moment. Try again."
            raise storage_failed(_cause(error), self._failed, detail) from error

    def key_used(self, tenant: str, reservation: str) -> Problem:
        """Return the answer for a key that leads to another reservation."""
        held = self.asked(tenant, lambda: self.service.load(tenant, reservation))
        return _conflict(held.status_at(self.now()))


def add_reservations(api: Resolver, desk: Desk) -> None:
    """Add the routes.

    Args:
        api: Gets them.
        desk: The service.
    """
    now = desk.now

    @api.routes.post("/v1/tenants/<tenant>/reservations")
    def reserve(tenant: str) -> Response:  # type: ignore[type-arg]
        from bedrock_meter.api.holdings import denial, reservation_document, unheld_document

        tenant = api.tenant(tenant)
        query(api.event, ())
        question = _question(body_bytes(api.event))
        answer = desk.reserve(tenant, question)
        now_ms = now()
        if answer is None:
            return json_answer(unheld_document(tenant, question, now_ms), 201)
        fail = desk.fail(answer)
        held = answer.reservation
        if held is None:
            unpriced = None if answer.gauge is None else desk.unpriced.document(answer.gauge, now_ms)
            raise denial(tenant, answer, fail, unpriced, now_ms)
        if not held.is_open(now_ms):
            raise _conflict(held.status_at(now_ms))
        document = reservation_document(held, now_ms, source=question.source, answer=answer, fail=fail)
        location = {"Location": f"/v1/tenants/{tenant}/reservations/{held.id}"} if answer.is_new else {}
        return json_answer(document, 201 if answer.is_new else 200, location)

    @api.routes.get("/v1/tenants/<tenant>/reservations/<reservation>")
    def load(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        from bedrock_meter.api.holdings import reservation_document

        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        held = desk.asked(tenant, lambda: desk.service.load(tenant, reservation))
        return json_answer(reservation_document(held, now()))

    @api.routes.post("/v1/tenants/<tenant>/reservations/<reservation>/settlement")
    def settle(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        from bedrock_meter.api.holdings import reservation_document

        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        body = json_object(body_bytes(api.event))
        refuse_unknown("", body, ("usage", "extend_seconds"))
        usage = estimates.stated(body.get("usage"), "usage", is_usage=True)
        extend_s = body.get("extend_seconds")
        if extend_s is not None:
            extend_s = whole_number("extend_seconds", extend_s, SHORTEST_S, LONGEST_S)
        extend_ms = None if extend_s is None else extend_s * 1_000
        held = desk.asked(tenant, lambda: desk.service.shrink(tenant, reservation, usage, lifetime_ms=extend_ms))
        return json_answer(reservation_document(held, now()))

    @api.routes.delete("/v1/tenants/<tenant>/reservations/<reservation>")
    def release(tenant: str, reservation: str) -> Response:  # type: ignore[type-arg]
        tenant, reservation = api.tenant(tenant), _id(reservation)
        query(api.event, ())
        desk.asked(tenant, lambda: desk.service.release(tenant, reservation))
        return no_content()


def _question(content: bytes) -> Question:
    body = json_object(content)
    names = ("key", "model", "profile", "region", "tier", "estimate", "converse", "ttl_seconds", "kind")
    refuse_unknown("", body, names)
    if ("estimate" in body) == ("converse" in body):
        raise invalid("estimate", "send either 'estimate' or 'converse'")
    tier = None
    if "estimate" in body:
        amounts, source = estimates.stated(body["estimate"], "estimate"), estimates.STATED
    else:
        amounts, source = estimates.from_converse(body["converse"], len(content)), estimates.FROM_BYTES
        tier = estimates.tier_of(body["converse"], TIERS)
    kind = body.get("kind", CALL)
    if kind not in KINDS:
        raise invalid("kind", f"must be one of {', '.join(KINDS)}")
    if "tier" in body:
        tier = body["tier"]
        if tier not in TIERS:
            raise invalid("tier", f"must be one of {', '.join(TIERS)}")
    return Question(
        key=matching("key", body.get("key"), KEY, "1 to 64 letters, digits, '.', '_', ':' or '-'"),
        amounts=amounts,
        source=source,
        ttl_ms=whole_number("ttl_seconds", body.get("ttl_seconds", DEFAULT_S), SHORTEST_S, LONGEST_S) * 1_000,
        kind=kind,
        model=_text("model", body, NAME, "the id or ARN of a model or profile"),
        profile=_text("profile", body, NAME, "the id or ARN of a profile"),
        region=_text("region", body, REGION, "the name of a Region such as eu-central-1"),
        tier=tier,
    )


def _text(field: str, body: dict[str, object], form: re.Pattern[str], right: str) -> str:
    value = body.get(field)
    return "" if value is None else matching(field, value, form, right)


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise not_found()
    return text


def _conflict(status: str) -> Problem:
    detail = "The key was used with another content." if status == "open" else f"Its reservation is {status}."
    return Problem(409, "Key already used", f"{detail} Take a new key for a new reservation.", reservation=status)


def not_found() -> Problem:
    """Return the answer for a reservation that the tenant does not have."""
    return Problem(404, "Reservation not found", "The tenant has no such reservation.")


def _cause(error: Exception) -> Exception:
    """Return the throttle that was in the way to the end, which is an outage; another writer is none."""
    busy = error.__cause__ if isinstance(error, Contended) else None
    throttle = busy.__cause__ if busy is not None else None
    return throttle if isinstance(throttle, AWS_ERRORS) and is_throttle(throttle) else error
