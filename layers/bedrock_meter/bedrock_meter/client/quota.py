"""What is asked of whoever keeps the quotas, and what is answered: the same over HTTP and straight on the tables.

Three facts: amounts are upper bounds before a call and counts after it; an answer is a value, either a reservation or a
denial, because being denied is no failure; only "nobody could decide" is raised.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bedrock_meter.client.errors import amount
from bedrock_meter.invocations.identifiers import last_segment

RESERVATION_KEY = "bedrock-meter-reservation"
"""Key of the request metadata under which a reservation's id travels to Bedrock and back in its log."""

_APPLICATION_PROFILE = ":application-inference-profile/"
_BARE_PROFILE = re.compile(r"[a-z0-9]{12}")


@dataclass(frozen=True, slots=True)
class Amounts:
    """An amount of each kind; the token kinds are disjoint.

    Attributes:
        requests: Calls.
        input_tokens: Without both cache kinds.
        output_tokens: Written by the model.
        cache_read_tokens: Read from a prompt cache.
        cache_write_tokens: Written to a prompt cache.
        cost_nano_usd: Cost, where the caller knows better than the price book; 0 lets the meter price the tokens.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_nano_usd: int = 0

    def __post_init__(self) -> None:
        tokens = (self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens)
        if min(self.requests, self.cost_nano_usd, *tokens) < 0:
            raise ValueError(f"amounts are not negative: {self}")

    @property
    def read_tokens(self) -> int:
        """Everything that the model reads, with or without a cache."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def estimate(self) -> dict[str, int]:
        """Return upper bounds by kind; kinds of which there is nothing are left out."""
        return {name: value for name in (*_COUNTS, "cost_nano_usd") if (value := getattr(self, name))}

    def usage(self) -> dict[str, int]:
        """Return what was used, zeros included: of a kind that is not named, everything stays held."""
        return {name: getattr(self, name) for name in _COUNTS}


_COUNTS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, slots=True)
class Profile:
    """An application inference profile of a tenant.

    Attributes:
        id: Last segment of the ARN.
        arn: The ARN where the meter knows it, else the id. Bedrock takes either.
    """

    id: str
    arn: str


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A question: may this be used?

    Attributes:
        key: Idempotency key: the same key and estimate lead to one reservation, however often they are sent.
        estimate: Upper bounds.
        model: What the caller wants to use: last segment of its identifier; None if ``profile`` says it.
        profile: Id of the profile that the caller already chose.
        ttl_seconds: For how long the amounts are held unless they are settled, 10 to 3600.
        kind: ``call``, or ``lease`` for a block that many calls draw from and that log records do not settle.
    """

    key: str
    estimate: Amounts
    model: str | None = None
    profile: str | None = None
    ttl_seconds: int = 300
    kind: Literal["call", "lease"] = "call"


@dataclass(frozen=True, slots=True)
class Reservation:
    """An answer: yes, and the amounts are held.

    Attributes:
        id: None where the meter's storage was down and the tenant's policy lets calls go on: nothing is held then.
        profile: Through which the tenant calls the model; None if it has none for it.
        metadata: What has to travel in the call's request metadata.
        degraded: Whether nobody really decided.
    """

    id: str | None
    profile: Profile | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Denial:
    """An answer: no.

    Attributes:
        document: Members ``limit``, ``requested``, ``retry_after_seconds``, ``throttled_until`` of the answer.
        retry_after: Whole seconds; None where waiting does not help.
    """

    document: Mapping[str, Any]
    retry_after: int | None

    @property
    def holds_for_everyone(self) -> bool:
        """Whether any call would be denied until then: used up by what is recorded, or suspended.

        A denial because of the call's size, or of reservations that may be released at once, says nothing about the
        next call.
        """
        limit = self.document.get("limit")
        if not limit:
            return True
        used, maximum = amount(limit.get("used")), amount(limit.get("max"))
        return used is not None and maximum is not None and used >= maximum


class Transport(Protocol):
    """The way to whoever keeps the quotas. Used by many threads at once; each method may be repeated.

    Every method raises ``QuotaUnavailable`` if nobody could answer, ``QuotaRefused`` if the question is wrong.
    """

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        """Ask for amounts before a call."""

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        """Hold only what was used, never more than before; extend the hold if the log may come after its end."""

    def release(self, tenant: str, reservation_id: str) -> None:
        """Give everything back: the call did not happen. A reservation that is over already stays so."""

    def close(self) -> None:
        """Give up connections. It can be used again after that."""


def named_by(model_id: str) -> tuple[str | None, str | None]:
    """Return (model, profile) of a call's model identifier: one of them is None.

    Who passes an application inference profile has chosen already; a bare id of twelve characters is one, since a base
    model's name has a dot in it.
    """
    segment = last_segment(model_id)
    if _APPLICATION_PROFILE in model_id or _BARE_PROFILE.fullmatch(model_id):
        return None, segment
    return segment, None
