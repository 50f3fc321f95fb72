"""What the guard raises.

::

    MeterError
    ├── TenantThrottled      the tenant may not make this call now; carries the answer
    ├── QuotaUnavailable     no decision, and the policy is `closed`
    │   └── QuotaBusy        no decision because the quota API was asked too fast; says when to ask again
    ├── QuotaRefused         the quota API understood the question and refused it: fix it, do not repeat it
    ├── NoProfile            the tenant has no application inference profile for what the call names
    ├── ForeignProfile       the profile that the call names is another tenant's
    └── InvalidMetadata      the caller's request metadata leave no room for the reservation's id, or are none

None of them is a botocore ``ClientError``, so that neither botocore's retries nor a caller's ``except ClientError``
takes a denial for an error of Bedrock.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from bedrock_meter.errors import MeterError


class TenantThrottled(MeterError):
    """The tenant may not make this call now.

    Attributes:
        tenant: Whom it concerns.
        limit: Name of the limit that denied; None where the tenant is suspended.
        meter: What that limit counts.
        maximum: Its maximum, in the meter's unit; US dollars as ``Decimal`` where it counts cost.
        remaining: What is left of it, reservations taken off; never negative. Less than was asked for, not always 0.
        requested: What this call would have taken of it.
        retry_after: Whole seconds after which asking again can help; None where waiting does not help.
        throttled_until: The same as an instant, ISO 8601 in UTC, where the quota API named one.
        suspended: Whether the tenant is suspended rather than out of quota.
        remembered: Whether the answer is one that the guard remembered, without asking again.
    """

    def __init__(self, tenant: str, document: Mapping[str, Any], retry_after: int | None, *, remembered: bool) -> None:
        limit = document.get("limit") or {}
        self.tenant = tenant
        self.limit: str | None = limit.get("name")
        self.meter: str | None = limit.get("meter")
        self.maximum = amount(limit.get("max"))
        self.remaining = amount(limit.get("remaining"))
        self.requested = amount(document.get("requested"))
        self.retry_after = retry_after
        self.throttled_until: str | None = document.get("throttled_until")
        self.suspended = not limit
        self.remembered = remembered
        self._document = document
        self._limit: Mapping[str, Any] = limit
        super().__init__(self._sentence())

    def __reduce__(self) -> tuple[Any, ...]:
        return _throttled, (self.tenant, dict(self._document), self.retry_after, self.remembered)

    def problem(self) -> dict[str, Any]:
        """Return an RFC 9457 problem document, for a service that answers its own caller with 429."""
        return {
            "type": "about:blank",
            "title": "Tenant suspended" if self.suspended else "Quota exceeded",
            "status": 429,
            "detail": str(self),
            "tenant": self.tenant,
            **({"limit": dict(self._limit)} if self._limit else {}),
            "retry_after_seconds": self.retry_after,
            "throttled_until": self.throttled_until,
        }

    def _sentence(self) -> str:
        if self.suspended:
            return f"tenant {self.tenant} is suspended"
        wait = "waiting does not help" if self.retry_after is None else f"try again in {self.retry_after} s"
        if "unpriced" in self._limit.get("denied_because", ()):
            models = [str(one.get("model") or one.get("profile")) for one in self._unpriced_models()]
            which = f" ({', '.join(models)})" if models else ""
            named = f"limit {self.limit} ({self.meter})"
            return f"tenant {self.tenant}: {named} denies while usage without a price{which} is in its window; {wait}"
        left = (
            f"{self.remaining:,} of {self.maximum:,} left" if None not in (self.remaining, self.maximum) else "used up"
        )
        wanted = f", {self.requested:,} wanted" if self.requested is not None else ""
        if self.remaining is not None and self.requested is not None and self.remaining >= self.requested:
            wanted += ", but less than that when a boost of it ends"
        return f"tenant {self.tenant}: limit {self.limit} ({self.meter}) has {left}{wanted}; {wait}"

    def _unpriced_models(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = (self._document.get("unpriced") or {}).get("models", ())
        return found


def _throttled(tenant: str, document: Mapping[str, Any], retry_after: int | None, remembered: bool) -> TenantThrottled:
    return TenantThrottled(tenant, document, retry_after, remembered=remembered)


class QuotaUnavailable(MeterError):
    """No answer said whether the call may be made.

    Attributes:
        closed: Whether the tenant's own policy says that this means no. The guard's policy cannot open it.
        retry_after: Whole seconds after which asking again is worth it; None where no answer said so.
        kind: What kind of failure it is: only a row of failures of one kind is an outage.
    """

    def __init__(self, why: str, *, closed: bool = False, retry_after: int | None = None, kind: str = "") -> None:
        super().__init__(why)
        self.closed = closed
        self.retry_after = retry_after
        self.kind = kind


class QuotaBusy(QuotaUnavailable):
    """The quota API, or the tenant's part of its storage, was asked too fast. It is no outage, and no denial.

    A service answers its own caller with 503 and ``Retry-After``.

    Attributes:
        retry_after: Whole seconds after which asking again is worth it, at least 1.
        remembered: Whether the guard slowed the tenant down by itself, without a request.
    """

    retry_after: int

    def __init__(self, why: str, retry_after: int = 1, *, remembered: bool = False) -> None:
        super().__init__(why, retry_after=max(1, retry_after))
        self.remembered = remembered


class QuotaRefused(MeterError):
    """The quota API answered that the question itself is wrong: no such tenant, no right to ask, no valid estimate.

    Attributes:
        status: HTTP status of the answer, or the one that it would have had.
        title: The kind of problem.
        detail: What is wrong here.
        available_profiles: The tenant's profiles, where what the call names is none of them; None where it is not said.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        available_profiles: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(status, title, detail, available_profiles)
        self.available_profiles = available_profiles
        self.status = status
        self.title = title
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}" if self.detail else self.title


class NoProfile(MeterError):
    """The tenant has no application inference profile for what the call names: it could not be attributed to it.

    Attributes:
        tenant: Whose call it was.
        model: What the call named: a model, a profile that is not the tenant's, or another resource.
        available_profiles: The tenant's profiles as the quota API lists them: ``id``, ``arn``, ``model``, ``routing``,
            ``geography``, ``region``.
    """

    def __init__(self, tenant: str, model: str, available_profiles: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(tenant, model, available_profiles)
        self.tenant = tenant
        self.model = model
        self.available_profiles = available_profiles

    def __str__(self) -> str:
        found = ", ".join(_described(one) for one in self.available_profiles)
        return (
            f"tenant {self.tenant} has no application inference profile for {self.model}"
            + (f" (it has {found})" if found else "")
            + ': add one to the tenant, or pass missing_profile="pass" to let such calls go out as they are'
        )


def _described(profile: Mapping[str, Any]) -> str:
    where = (profile.get("geography") or profile.get("routing"), profile.get("region"))
    facts = [str(one) for one in (profile.get("model"), *where) if one]
    return f"{profile.get('id')}: {' '.join(facts)}" if facts else str(profile.get("id"))


class ForeignProfile(MeterError):
    """The application inference profile that the call names is another tenant's. Always refused.

    Attributes:
        tenant: Whose call it was.
        profile: What the call named.
    """

    def __init__(self, tenant: str, profile: str) -> None:
        super().__init__(tenant, profile)
        self.tenant = tenant
        self.profile = profile

    def __str__(self) -> str:
        return (
            f"profile {self.profile} belongs to another tenant than {self.tenant}: name a model or a profile of the "
            "tenant's own"
        )


class InvalidMetadata(MeterError, ValueError):
    """The call's own request metadata cannot carry the reservation's id."""


def amount(value: object) -> int | Decimal | None:
    """Return an amount of a document: an integer, or US dollars from a decimal string; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            dollars = Decimal(value)
        except InvalidOperation:
            return None
        return dollars if dollars.is_finite() else None
    return None
