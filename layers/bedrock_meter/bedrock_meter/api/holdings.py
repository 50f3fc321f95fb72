"""What the API says of reservations and denials: documents, made of the reservation service's own types."""

from typing import TYPE_CHECKING, Any

from bedrock_meter.api.estimates import KINDS as STATED_KINDS
from bedrock_meter.api.problems import Problem
from bedrock_meter.clock import iso
from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.limits.estimates import KINDS, Estimate
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.limits.status import limit_status, rate_limit_headers
from bedrock_meter.limits.suspension import public_suspension_document
from bedrock_meter.money import usd_text

if TYPE_CHECKING:
    from bedrock_meter.api.reservations import Question
    from bedrock_meter.limits.answers import Answer
    from bedrock_meter.limits.destination import Destination

MOST_LISTED = 20
"""So many profiles are named where none fits."""


def reservation_document(
    held: Reservation,
    now_ms: int,
    *,
    source: str | None = None,
    answer: "Answer | None" = None,
    fail: str | None = None,
) -> dict[str, Any]:
    """Return a reservation.

    Args:
        held: The reservation.
        now_ms: The instant.
        source: Where its amounts come from, in the answer to the request that asks for it.
        answer: That answer: it says which profiles there are where none was found.
        fail: The tenant's effective policy, in the answer to the request that asks for it.
    """
    is_without_profile = held.called.names_something and not held.through
    return {
        "id": held.id,
        "tenant": held.tenant,
        "key": held.key or None,
        "kind": "lease" if held.is_lease else "call",
        "status": held.status_at(now_ms),
        "model": None if held.estimate.model == NO_MODEL else held.estimate.model,
        "profile": _profile(held.through),
        **(available_profiles(answer.destination) if answer is not None and is_without_profile else {}),
        "estimate": _amounts(held.estimate),
        **({} if source is None else {"estimate_source": source}),
        "amounts": [
            {"limit": name, "meter": str(one.meter), "amount": one.meter.shown(one.amount)}
            for one in held.held
            for name in one.limits
        ],
        "created_at": iso(held.created_ms),
        "expires_at": iso(held.expires_ms),
        **({} if fail is None else {"fail": fail}),
        "degraded": False,
        "metadata": {RESERVATION_KEY: held.id},
    }


def unheld_document(tenant: str, question: "Question", now_ms: int) -> dict[str, Any]:
    """Return what stands for a reservation that could not be made: it holds nothing and has no id.

    Which profile the call should go through was not decided either.
    """
    return {
        "id": None,
        "tenant": tenant,
        "key": question.key,
        "kind": question.kind,
        "status": "open",
        "model": question.model or None,
        "profile": None,
        "estimate": _amounts(question.estimate()),
        "estimate_source": question.source,
        "amounts": [],
        "created_at": iso(now_ms),
        "expires_at": iso(now_ms + question.ttl_ms),
        "allowed": True,
        "degraded": True,
        "metadata": {},
    }


def denial(tenant: str, answer: "Answer", fail: str | None, unpriced: dict[str, Any] | None, now_ms: int) -> Problem:
    """Return the answer for a call that does not fit, or whose tenant is suspended.

    Args:
        tenant: Whose call.
        answer: The denial.
        fail: The tenant's effective policy.
        unpriced: Which usage without a price denies, and what an operator does about it; None = none does.
        now_ms: The instant.
    """
    decision, reading = answer.decision, answer.denied_by
    if decision is None:
        raise TypeError("a denial has a decision")
    if decision.suspended is not None:
        return Problem(
            429, "Tenant suspended", "The tenant is suspended; waiting does not help.", tenant=tenant,
            retry_after_seconds=None, fail=fail, suspended=public_suspension_document(decision.suspended),
        )  # fmt: skip
    if reading is None:
        raise TypeError("a denial names the limit that denies")
    wait_ms = decision.retry_after_ms
    retry_s = None if wait_ms is None else max(1, -(-wait_ms // 1_000))
    requested = reading.limit.meter.shown(decision.needs)
    headers = rate_limit_headers(answer.gauge, now_ms) if answer.gauge is not None else {}
    headers.pop("Retry-After", None)
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    limit = limit_status(reading, now_ms)
    detail = f"Limit {limit['name']} has no room for {requested}."
    if reading.remaining >= decision.needs:
        detail = (
            f"Limit {limit['name']} has no room for {requested} when a boost of it ends, before the reservation does."
        )
    if reading.is_denied_by_unpriced:
        detail = f"Limit {limit['name']} denies while usage without a price is in its window; 'unpriced' says which."
    more: dict[str, Any] = {"fail": fail} if unpriced is None else {"fail": fail, "unpriced": unpriced}
    return Problem(
        429,
        "Quota exceeded",
        detail,
        headers=headers,
        tenant=tenant,
        limit=limit,
        requested=requested,
        retry_after_seconds=retry_s,
        throttled_until=iso(None if wait_ms is None else now_ms + wait_ms),
        **more,
    )


def _amounts(estimate: Estimate) -> dict[str, Any]:
    amounts: dict[str, Any] = {kind: value for kind in KINDS if (value := getattr(estimate, kind))}
    if "cost_nano_usd" in amounts:
        amounts["cost_usd"] = usd_text(amounts.pop("cost_nano_usd"))
    ordered = {kind: amounts[kind] for kind in STATED_KINDS if kind in amounts}
    return {**ordered, **({"may_cache": True} if estimate.may_cache else {})}


def _profile(through: str) -> dict[str, Any] | None:
    if not through:
        return None
    return {"id": through.rpartition("/")[2], "arn": through if through.startswith("arn:") else None}


def available_profiles(destination: "Destination | None") -> dict[str, Any]:
    """Return which profiles the tenant has, where the call goes through none of them; nothing without a destination."""
    if destination is None:
        return {}
    # A key that is sent again may meet a profile that the tenant got since: it is no part of this reservation.
    there = destination.available if destination.through is None else (destination.through,)
    listed = [
        {
            "id": one.id,
            "arn": one.arn if one.arn.startswith("arn:") else None,
            "model": None if one.model == NO_MODEL else one.model,
            "routing": one.routing,
            "geography": one.geography,
            "region": one.region or None,
        }
        for one in there[:MOST_LISTED]
    ]
    return {"available_profiles": listed}
